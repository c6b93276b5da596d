"""The classical methods: what they fill, how wide their bands are, and that they are as strong as they should be."""

from __future__ import annotations

import numpy as np
import pytest

from domains.series import baselines, forecast_baselines
from domains.series.baselines import fill_knn, fill_linear, fill_locf, fill_seasonal, imputers
from domains.series.forecast_baselines import JointGaussian, ets, seasonal_naive, vector_autoregression
from domains.series.kalman import kalman_smoother
from domains.series.masks import missing_at_random, missing_blocks
from domains.series.periodicity import find_period
from domains.series.residual_bands import (
    Bands,
    block_length,
    gap_distances,
    gaussian_crps,
    held_back,
    with_residual_bands,
)

NAN = np.nan


def daily(rows: int, seed: int = 0) -> np.ndarray:
    """Two columns with a season of 24 rows, a common slow part and noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(rows)
    slow = np.cumsum(rng.standard_normal(rows)) * 0.05
    season = np.sin(2 * np.pi * t / 24)
    noise = 0.2 * rng.standard_normal((rows, 2))
    return np.stack([season + slow, 2 * np.cos(2 * np.pi * t / 24) - slow], axis=1) + noise


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


def test_fills_by_hand() -> None:
    gaps = column(NAN, 1, NAN, NAN, 4, NAN)
    np.testing.assert_allclose(fill_locf(gaps), column(1, 1, 1, 1, 4, 4))
    np.testing.assert_allclose(fill_linear(gaps), column(1, 1, 2, 3, 4, 4))
    np.testing.assert_allclose(baselines.fill_mean(gaps), column(2.5, 1, 2.5, 2.5, 4, 2.5))
    seasonal = fill_seasonal(column(1, 10, NAN, 20, 3, NAN, 5), period=2)
    np.testing.assert_allclose(seasonal, column(1, 10, 2, 20, 3, 20, 5))


def test_gap_distances_by_hand() -> None:
    back, forward = gap_distances(np.array([[False], [True], [False], [False], [True]]))
    np.testing.assert_array_equal(back[:, 0], [np.inf, 0, 1, 2, 0])
    np.testing.assert_array_equal(forward[:, 0], [1, 0, 2, 1, 0])


def test_seasonal_distance_and_bridge_by_hand() -> None:
    observed = np.array([[True], [True], [False], [False], [False], [True]])
    np.testing.assert_array_equal(baselines.seasonal_distance(observed, 2)[:, 0], [0, 0, 1, 1, 2, 0])
    np.testing.assert_allclose(baselines.bridge_distance(observed)[:, 0], [0, 0, 0.75, 1, 0.75, 0])


CASES = [(name, pattern) for name in imputers(24) for pattern in ("random", "blocks")]


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        pytest.param(*case, marks=pytest.mark.slow) if case == ("Kalman smoother", "random") else case
        for case in CASES
    ],
)
def test_every_imputer_keeps_what_is_observed_and_covers_what_is_not(name: str, pattern: str) -> None:
    truth = daily(600)
    rng = np.random.default_rng(1)
    shape = truth.shape
    missing = (
        missing_at_random(rng, shape, 0.3) if pattern == "random" else missing_blocks(rng, shape, 24, 0.2)
    )
    bands = imputers(24)[name](np.where(missing, NAN, truth))
    np.testing.assert_array_equal(bands.mean[~missing], truth[~missing])
    np.testing.assert_array_equal(bands.std[~missing], 0)
    assert np.isfinite(bands.mean).all()
    assert (bands.std[missing] > 0).all()
    inside = (truth >= bands.quantile(0.05)) & (truth <= bands.quantile(0.95))
    assert 0.8 < inside[missing].mean() < 0.995  # above 0.98 where errors are bounded, as a sine's are


@pytest.mark.parametrize(
    "table",
    [
        np.array([[1.0, NAN], [NAN, NAN], [2.0, NAN]]),  # a column without any value
        np.array([[3.0, 1.0], [3.0, NAN], [NAN, 4.0], [3.0, 2.0]] * 10),  # a constant column
        np.array([[1.0, NAN]]),  # a single row
    ],
)
@pytest.mark.parametrize("name", list(imputers(24)))
def test_poor_tables_are_still_filled(name: str, table: np.ndarray) -> None:
    bands = imputers(24)[name](table)
    assert np.isfinite(bands.mean).all()
    assert np.isfinite(bands.std).all()
    assert (bands.std >= 0).all()


def test_kalman_smoother_uses_season_and_neighbours() -> None:
    truth = daily(600, seed=3)[:, :1]
    missing = missing_at_random(np.random.default_rng(2), truth.shape, 0.8)
    gaps = np.where(missing, NAN, truth)

    def score(bands: Bands) -> float:
        return float(gaussian_crps(bands.mean, bands.std, truth)[missing].mean())

    kalman = score(kalman_smoother(gaps, period=24))
    assert kalman < 0.8 * score(baselines.impute_linear(gaps))
    assert kalman < 0.9 * score(baselines.impute_seasonal(gaps, period=24))


def test_bands_widen_with_the_distance_to_the_next_observation() -> None:
    walk = np.cumsum(np.random.default_rng(5).standard_normal((6000, 1)), axis=0)
    missing = missing_blocks(np.random.default_rng(6), walk.shape, 24, 0.3)
    bands = baselines.impute_linear(np.where(missing, NAN, walk))
    back, forward = (d[:, 0] for d in gap_distances(~missing))
    edge = (np.minimum(back, forward) == 1) & (back + forward == 25)
    middle = (np.minimum(back, forward) == 12) & (back + forward == 25)
    # A Brownian bridge of 25 rows has variance 24 / 25 beside its ends and 12 * 13 / 25 in the middle.
    assert bands.std[edge, 0].mean() == pytest.approx(np.sqrt(24 / 25), rel=0.3)
    assert bands.std[middle, 0].mean() == pytest.approx(np.sqrt(12 * 13 / 25), rel=0.3)


def test_spread_of_plain_noise_is_the_spread_of_the_noise() -> None:
    noise = 3 * np.random.default_rng(7).standard_normal((3000, 1))
    missing = missing_at_random(np.random.default_rng(8), noise.shape, 0.2)
    bands = with_residual_bands(
        baselines.fill_mean, baselines.nearest_distance, np.where(missing, NAN, noise)
    )
    assert bands.std[missing].mean() == pytest.approx(3, rel=0.1)


def test_patterns_of_missing_cells_are_told_apart_and_imitated() -> None:
    rng = np.random.default_rng(9)
    scattered = ~missing_at_random(rng, (3000, 3), 0.5)
    blocks = ~missing_blocks(rng, (3000, 3), 24, 0.2)
    assert block_length(scattered) is None
    assert block_length(np.ones((100, 2), bool)) is None
    length = block_length(blocks)
    assert length is not None
    assert 24 <= length <= 48  # blocks may touch
    for observed in (scattered, blocks):
        hidden = held_back(observed, rng)
        assert not (hidden & ~observed).any()
        assert hidden.sum() / observed.sum() == pytest.approx(0.1, abs=0.03)
    assert block_length(~held_back(blocks, rng)) == length
    assert block_length(~held_back(scattered, rng)) is None


@pytest.mark.parametrize(("rate", "period"), [(0.0, 24), (0.5, 24), (0.5, 7), (0.3, 52)])
def test_season_is_found_through_gaps_noise_and_trend(rate: float, period: int) -> None:
    rng = np.random.default_rng(10)
    t = np.arange(2000)
    wave = np.sin(2 * np.pi * t / period) + 0.4 * np.sin(4 * np.pi * t / period + 1)
    table = np.stack([wave + t / 500, wave[::-1]], axis=1) + 0.5 * rng.standard_normal((2000, 2))
    table[missing_at_random(rng, table.shape, rate)] = NAN
    assert find_period(table) == period


def test_no_season_is_found_in_noise_or_a_trend() -> None:
    rng = np.random.default_rng(11)
    noise = rng.standard_normal((1500, 2))
    assert find_period(noise) == 1
    assert find_period(np.arange(900.0)[:, None]) == 1
    assert find_period(np.zeros((3, 1))) == 1


def test_knn_of_some_rows_is_knn_of_all() -> None:
    from sklearn.impute import KNNImputer

    truth = daily(200)
    scaled = truth / truth.std(axis=0)
    gaps = np.where(missing_at_random(np.random.default_rng(12), truth.shape, 0.3), NAN, scaled)
    gaps = (gaps - np.nanmean(gaps, axis=0)) / np.nanstd(gaps, axis=0)
    everything = fill_knn(gaps, 5)
    np.testing.assert_allclose(everything, KNNImputer(n_neighbors=5).fit_transform(gaps), atol=1e-12)
    rows = np.array([3, 50, 199])
    np.testing.assert_allclose(fill_knn(gaps, 5, rows), everything[rows], atol=1e-12)


def test_naive_forecast_of_a_correlated_walk_is_its_law() -> None:
    rng = np.random.default_rng(13)
    step = np.array([[1.0, 0.0], [1.6, 1.2]])  # columns of spread 1 and 2, correlation 0.8
    walk = np.cumsum(rng.standard_normal((20_000, 2)) @ step.T, axis=0)
    forecast = seasonal_naive(walk, 4, period=1)
    np.testing.assert_allclose(forecast.mean, np.repeat(walk[-1:], 4, axis=0))
    np.testing.assert_allclose(forecast.std, np.sqrt(np.arange(1, 5))[:, None] * [1, 2], rtol=0.15)
    correlation = forecast.covariance[:, 0, 1] / forecast.std.prod(axis=1)
    np.testing.assert_allclose(correlation, 0.8, atol=0.05)


def test_seasonal_naive_repeats_a_season_over_a_long_horizon() -> None:
    pattern = np.array([0.0, 5.0, 1.0])
    past = np.tile(pattern, 50)[:-1, None]  # ends on phase 1
    forecast = seasonal_naive(past, 7, period=3)
    np.testing.assert_allclose(forecast.mean[:, 0], [1, 0, 5, 1, 0, 5, 1])
    np.testing.assert_allclose(forecast.std, 0)


def test_vector_autoregression_recovers_the_law_it_was_drawn_from() -> None:
    rng = np.random.default_rng(14)
    a = np.array([[0.7, 0.2], [0.0, 0.5]])
    x = np.zeros((6000, 2))
    noise = rng.standard_normal((6000, 2))
    for t in range(1, 6000):
        x[t] = a @ x[t - 1] + noise[t]
    forecast = vector_autoregression(x + 100, 3, most_lags=4)
    expected = np.stack([np.linalg.matrix_power(a, h) @ x[-1] for h in (1, 2, 3)]) + 100
    np.testing.assert_allclose(forecast.mean, expected, atol=0.25)
    np.testing.assert_allclose(forecast.std[0], 1, rtol=0.15)
    np.testing.assert_allclose(forecast.std[1], np.sqrt(1 + (a**2).sum(axis=1)), rtol=0.15)


def test_ets_finds_the_season_and_draws_columns_jointly() -> None:
    rng = np.random.default_rng(15)
    t = np.arange(240)
    shared = rng.standard_normal((240, 1))
    past = 10 * np.sin(2 * np.pi * t / 12)[:, None] + shared + 0.1 * rng.standard_normal((240, 2))
    paths = ets(past, 12, 12, samples=200, seed=0)
    assert paths.shape == (200, 12, 2)
    expected = 10 * np.sin(2 * np.pi * np.arange(240, 252) / 12)
    np.testing.assert_allclose(paths.mean(axis=0)[:, 0], expected, atol=1.5)
    assert np.corrcoef(paths[:, 0].T)[0, 1] > 0.9
    np.testing.assert_array_equal(paths, ets(past, 12, 12, samples=200, seed=0))


def test_joint_gaussian_sums_with_its_covariance() -> None:
    law = JointGaussian(np.array([[1.0, 2.0]]), np.array([[[4.0, -1.0], [-1.0, 9.0]]]))
    mean, std = law.total(np.array([1.0, 2.0]))
    assert mean[0] == pytest.approx(5)
    assert std[0] == pytest.approx(6)  # 4 + 4 * 9 - 4
    np.testing.assert_allclose(law.rescaled(np.array([2.0, 1.0])).covariance[0], [[16, -2], [-2, 9]])
    np.testing.assert_allclose(law.in_units(np.array([10.0, 1.0])).mean, [[10, 2]])


def test_scale_with_the_lowest_crps_is_below_one_for_heavy_tails() -> None:
    rng = np.random.default_rng(16)
    heavy, normal = rng.standard_t(3, (500, 2, 1)), rng.standard_normal((500, 2, 1))
    errors = np.concatenate([heavy / heavy.std(), normal / normal.std()], axis=-1)
    scale = forecast_baselines.best_scale(errors, np.ones((2, 2)))
    assert scale[0] < 0.9
    assert scale[1] == pytest.approx(1, abs=0.11)
