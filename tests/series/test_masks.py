"""Masks: what the random ones cover, and that the evaluation's take away what they say."""

from __future__ import annotations

import numpy as np
import pytest

from domains.series.masks import future_mask, missing_at_random, missing_blocks, random_mask


def runs(missing: np.ndarray) -> list[int]:
    """Lengths of the runs of true in a vector."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(int)))
    return list(edges[1::2] - edges[::2])


def test_random_mask_covers_every_rate_and_kind() -> None:
    mask = random_mask(np.random.default_rng(0), (600, 4, 192))
    assert mask.shape == (600, 4, 192)
    assert mask.dtype == bool
    rate = 1 - mask.mean((1, 2))
    counts, _ = np.histogram(rate, bins=[0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
    assert (counts > 20).all()
    longest = np.array([max(runs(~m[0]), default=0) for m in mask])
    assert (longest > 40).mean() > 0.1
    assert (longest < 10).mean() > 0.2
    whole_rows = np.array([(~m).all(0).sum() for m in mask])
    assert (whole_rows > 20).mean() > 0.1
    poor = (mask.mean(-1) < 0.1).any(-1) & (mask.mean(-1) > 0.9).any(-1)
    assert poor.mean() > 0.01


def test_random_mask_is_reproducible() -> None:
    first, again = (random_mask(np.random.default_rng(5), (7, 3, 50)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_end_of_series() -> None:
    mask = random_mask(np.random.default_rng(1), (200, 3, 96), forecast_share=1.0)
    horizon = np.array([min(runs(~c)[-1] if not c[-1] else 10**6 for c in m if not c[-1]) for m in mask])
    assert (~mask[:, :, -1]).any(-1).all()
    assert horizon.min() <= 2
    assert mask[:, :, : 96 // 2].any((1, 2)).mean() > 0.95, "the past is seldom blank"
    assert (~random_mask(np.random.default_rng(1), (200, 3, 96), forecast_share=0.0)[:, :, -1]).mean() < 0.7


@pytest.mark.parametrize("columns", [1, 5])
def test_future_mask_hides_the_future(columns: int) -> None:
    rng = np.random.default_rng(2)
    partly = 0
    for _ in range(100):
        mask = future_mask(rng, columns, 60, 40)
        hidden = ~mask[:, 40:].any(-1)
        assert hidden.any()
        partly += not hidden.all()
    assert (partly > 0) == (columns > 1)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_missing_at_random_is_exact(rate: float) -> None:
    missing = missing_at_random(np.random.default_rng(3), (101, 7), rate)
    assert missing.shape == (101, 7)
    assert missing.sum() == round(rate * 707)


def test_missing_at_random_has_no_favourites() -> None:
    total = sum(missing_at_random(np.random.default_rng(s), (20, 3), 0.5).astype(int) for s in range(400))
    assert np.min(total) > 150
    assert np.max(total) < 250


@pytest.mark.parametrize(("block", "rate"), [(24, 0.2), (1, 0.5), (100, 0.01), (7, 0.9)])
def test_missing_blocks(block: int, rate: float) -> None:
    missing = missing_blocks(np.random.default_rng(4), (500, 3), block, rate)
    expected = max(1, round(rate * 500 / block)) * block
    for column in missing.T:
        assert column.sum() == expected
        assert all(length % block == 0 for length in runs(column))
    assert not np.array_equal(missing[:, 0], missing[:, 1])


def test_missing_blocks_may_lie_at_both_ends() -> None:
    draws = [missing_blocks(np.random.default_rng(s), (12, 1), 4, 0.3)[:, 0] for s in range(200)]
    assert any(d[0] for d in draws)
    assert any(d[-1] for d in draws)


def test_missing_blocks_refuses_blocks_longer_than_the_table() -> None:
    with pytest.raises(ValueError, match="1 to 10 rows"):
        missing_blocks(np.random.default_rng(0), (10, 2), 11, 0.5)
