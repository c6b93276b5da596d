"""The anchors: exact where nothing is missing, blind to what is hidden, and better than their parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from domains.series.anchors import anchors, table_facts
from domains.series.season import find_season


def example(seed: int = 0, columns: int = 3, rows: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    t = np.arange(rows)
    base = 2 * np.sin(2 * np.pi * t / 24) + np.cumsum(rng.normal(size=rows)) * 0.1
    values = np.stack(
        [(-1) ** c * (c + 1) * base + rng.normal(size=rows) * 0.2 + 10 * c for c in range(columns)]
    )
    observed = rng.random((columns, rows)) > 0.4
    return torch.tensor(values, dtype=torch.float32)[None], torch.tensor(observed)[None]


def test_hidden_values_are_not_looked_at() -> None:
    values, observed = example()
    start = torch.tensor([100])
    a = anchors(values, observed, start, 96)
    b = anchors(torch.where(observed, values, 1e6), observed, start, 96)
    for name, one in vars(a).items():
        assert torch.equal(one, getattr(b, name)), name


def test_units_and_offsets_do_not_matter() -> None:
    values, observed = example()
    start = torch.tensor([100])
    a, b = anchors(values, observed, start, 96), anchors(1000 * values - 5e4, observed, start, 96)
    torch.testing.assert_close(a.mean, b.mean, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(a.std, b.std, rtol=2e-2, atol=1e-2)


def test_squash_and_restore_are_inverses() -> None:
    values, observed = example()
    a = anchors(values, observed, torch.tensor([100]), 96)
    piece = values[..., 100:196]
    torch.testing.assert_close(a.restore(a.squash(piece)), piece, rtol=1e-4, atol=1e-3)


def test_combined_estimate_beats_each_of_its_parts_and_its_deviation_is_honest() -> None:
    error = {"mean": [], "bridge": [], "season": []}
    inside = []
    for seed in range(8):
        values, observed = example(seed)
        observed[:, 0, 150:190] = False  # a long gap, which the other columns see across
        observed[:, 1, 230:260] = False
        a = anchors(values, observed, torch.tensor([100]), 192)
        hidden = a.mask == 0
        truth = (values[..., 100:292] - a.level) / a.scale
        for name, found in error.items():
            found.append(float((getattr(a, name) - truth)[hidden].square().mean()))
        inside.append(float(((a.mean - truth).abs() < 1.645 * a.std)[hidden].float().mean()))
    assert np.mean(error["mean"]) < np.mean(error["bridge"])
    assert np.mean(error["mean"]) < np.mean(error["season"])
    assert 0.8 < np.mean(inside) < 0.98


@pytest.mark.parametrize("period", [7, 24, 52])
@pytest.mark.parametrize("share", [0.0, 0.8])
def test_the_season_is_found_through_gaps_and_trends(period: int, share: float) -> None:
    rng = np.random.default_rng(period)
    t = np.arange(900)
    wave = np.sin(2 * np.pi * t / period) + 0.4 * np.cos(4 * np.pi * t / period)
    y = wave + 0.3 * rng.normal(size=(2, 900)) + 0.002 * t
    values = torch.tensor(y, dtype=torch.float32)[None]
    observed = torch.tensor(rng.random((1, 2, 900)) >= share)
    found, strength = table_facts(values, observed, 384)[2:]
    assert (found - period).abs().max() <= 1
    assert float(strength.min()) > 0.3


def test_noise_has_no_season() -> None:
    y = torch.randn(4, 2, 600, generator=torch.Generator().manual_seed(0))
    _, strength = find_season(y, torch.ones_like(y))
    assert float(strength.max()) < 0.2


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_columns_with_hardly_a_value_stay_finite(kept: int) -> None:
    values, observed = example()
    observed[:, 1] = False
    observed[:, 1, :kept] = True
    a = anchors(values, observed, torch.tensor([300]), 96)
    for name, one in vars(a).items():
        assert bool(torch.isfinite(one.float()).all()), name


def test_constant_columns_stay_constant() -> None:
    values, observed = torch.full((1, 1, 300), 5.0), torch.rand(1, 1, 300) > 0.5
    a = anchors(values, observed, torch.tensor([50]), 96)
    torch.testing.assert_close(a.level + a.scale * a.mean, torch.full((1, 1, 96), 5.0))


def test_a_future_keeps_the_level_of_its_past() -> None:
    """Rising seasonal data: past its end the estimate must not fall back to the mean of the whole table."""
    t = torch.arange(700.0)
    values = (0.05 * t + torch.sin(2 * torch.pi * t / 12))[None, None]
    observed = (t < 650)[None, None]
    a = anchors(values, observed, torch.tensor([508]), 192)
    ahead = (a.level + a.scale * a.mean)[0, 0, 142:]
    assert float((ahead - values[0, 0, 650:]).abs().max()) < 4.0
    assert float(ahead.min()) > 29.0
