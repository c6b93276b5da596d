"""Filling and forecasting with the built-in model: what it must respect, whatever its skill."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from domains.common.errors import BadInput
from domains.common.models import builtin_models
from domains.common.task import Sampling, SolverName
from domains.series.forecasting import forecast_values
from domains.series.imputation import anchor_bands, impute_values, quantiles_of

pytestmark = pytest.mark.skipif(
    "series-base" not in builtin_models(), reason="the built-in series-base is not there"
)
FAST = Sampling(steps=3, seed=4)


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    rng = np.random.default_rng(0)
    t = np.arange(330)
    base = np.sin(2 * np.pi * t / 24)
    values = np.stack([50 + 5 * base, 3 - 2 * base + 0.1 * rng.normal(size=330)], 1)
    values[rng.random(values.shape) < 0.3] = np.nan
    values[100:130, 0] = np.nan
    return values


def test_observed_values_are_kept_and_gaps_are_filled(table: np.ndarray) -> None:
    samples = impute_values(table, samples=4, sampling=FAST)
    assert samples.shape == (4, *table.shape)
    assert np.isfinite(samples).all()
    there = np.isfinite(table)
    np.testing.assert_allclose(samples[:, there], np.broadcast_to(table[there], (4, there.sum())), rtol=1e-5)
    assert (samples[:, ~there].std(axis=0) > 0).all()


def test_it_finds_a_clean_season_in_a_gap(table: np.ndarray) -> None:
    """A day is missing from a noiseless sine that another column follows: the median must be near, not the mean."""
    samples = impute_values(table, samples=16, sampling=Sampling(steps=8))
    truth = 50 + 5 * np.sin(2 * np.pi * np.arange(330) / 24)
    error = np.abs(np.median(samples[:, 100:130, 0], axis=0) - truth[100:130])
    assert error.mean() < 0.25 * 5


def test_the_same_seed_repeats_and_sample_i_does_not_depend_on_how_many(table: np.ndarray) -> None:
    four = impute_values(table, samples=4, sampling=FAST)
    assert np.array_equal(four, impute_values(table, samples=4, sampling=FAST))
    two = impute_values(table, samples=2, sampling=FAST)
    scale = np.nanstd(table, axis=0)
    np.testing.assert_allclose(two / scale, four[:2] / scale, atol=1e-4)
    other = impute_values(table, samples=4, sampling=Sampling(steps=3, seed=5))
    assert not np.allclose(four, other)


@pytest.mark.parametrize("solver", [name for name in get_args(SolverName) if name != "fitted"])
def test_every_solver_of_the_core_drives_it(table: np.ndarray, solver: str) -> None:
    samples = impute_values(table[:120], samples=2, sampling=Sampling(steps=3, solver=solver))
    assert np.isfinite(samples).all()


def test_what_was_never_negative_stays_so() -> None:
    rng = np.random.default_rng(1)
    rain = np.maximum(0, rng.normal(size=(300, 1)) - 0.8) * 10
    holes = rng.random(rain.shape) < 0.4
    samples = impute_values(np.where(holes, np.nan, rain), samples=6, sampling=FAST)
    assert samples.min() >= 0


def test_large_offsets_keep_their_digits() -> None:
    t = np.arange(250.0)
    values = (1.7e9 + 60 * t + 5 * np.sin(t / 3))[:, None]
    values[60:70] = np.nan
    samples = impute_values(values, samples=4, sampling=FAST)
    assert np.abs(samples[:, 60:70, 0] - (1.7e9 + 60 * t[60:70])).max() < 2000


@pytest.mark.parametrize("rows", [1, 5, 30])
def test_short_tables_work(rows: int) -> None:
    values = np.linspace(1, 2, rows + 1)[:, None].repeat(2, 1)
    values[rows // 2, 0] = np.nan
    assert np.isfinite(impute_values(values, samples=2, sampling=FAST)).all()


def test_forecast_paths_go_on_through_several_windows(table: np.ndarray) -> None:
    paths = forecast_values(table, 130, samples=3, sampling=FAST)
    assert paths.shape == (3, 130, 2)
    assert np.isfinite(paths).all()
    assert np.array_equal(paths, forecast_values(table, 130, samples=3, sampling=FAST))
    assert (np.abs(paths[..., 0] - 50) < 25).all()


def test_progress_reaches_the_end_and_may_stop_the_walk(table: np.ndarray) -> None:
    seen: list[float] = []
    impute_values(table, samples=2, sampling=FAST, progress=lambda done, total: seen.append(done / total))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0

    class Stop(Exception):
        pass

    calls = 0

    def stop(done: float, total: float) -> None:
        nonlocal calls
        calls += 1
        raise Stop

    with pytest.raises(Stop):
        impute_values(table, samples=2, sampling=FAST, progress=stop)
    assert calls == 1


def test_snapshots_belong_to_the_samples_that_are_walked(table: np.ndarray) -> None:
    """The last snapshot of each part of the samples is what the walk then returns for them."""
    last: dict[int, np.ndarray] = {}

    def watch(done: float, total: float, snapshot: object) -> None:
        shot = snapshot()  # type: ignore[operator]
        if np.isfinite(shot).all():
            last[len(last)] = shot

    paths = forecast_values(table, 130, samples=100, sampling=Sampling(steps=2), watch=watch)
    assert len(last) > 2  # more than one part
    for shot in last.values():
        assert shot.shape[1:] == (130, 2)
    ends = [shot for shot in last.values() if any(np.allclose(shot[0], path, atol=1e-4) for path in paths)]
    assert {next(i for i, p in enumerate(paths) if np.allclose(s[0], p, atol=1e-4)) for s in ends} > {0}


def test_anchor_bands_have_the_shape_of_the_table(table: np.ndarray) -> None:
    mean, std = anchor_bands(table)
    assert mean.shape == std.shape == table.shape
    there = np.isfinite(table)
    np.testing.assert_allclose(mean[there], table[there], rtol=1e-4)
    assert (std[~there] > 0).all()


def test_quantiles_of_few_samples_are_not_too_narrow() -> None:
    rng = np.random.default_rng(0)
    quantiles = quantiles_of(rng.normal(size=(32, 20_000)))
    truth = rng.normal(size=20_000)
    assert ((truth >= quantiles[0]) & (truth <= quantiles[-1])).mean() == pytest.approx(0.9, abs=0.012)


def test_options_that_do_not_fit_are_refused(table: np.ndarray) -> None:
    with pytest.raises(BadInput, match="guidance"):
        impute_values(table, sampling=Sampling(guidance=2.0))
    with pytest.raises(BadInput, match="no model"):
        impute_values(table, model="nothing-of-this-name")
