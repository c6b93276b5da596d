"""The synthetic tables: their shape, their variety, and that each ingredient is what it says."""

from __future__ import annotations

import numpy as np
import pytest

from domains.series import kernels, synthetic
from domains.series.synthetic import synthetic_batch


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def autocorrelation(x: np.ndarray, lag: int) -> np.ndarray:
    x = kernels.standardise(x)
    return (x[..., lag:] * x[..., :-lag]).mean(-1)


@pytest.mark.parametrize(
    ("batch", "columns", "length"), [(1, 1, 16), (3, 2, 100), (2, 12, 768), (40, 3, 193)]
)
def test_shape_and_finite(batch: int, columns: int, length: int) -> None:
    x = synthetic_batch(rng(), batch, columns, length)
    assert x.shape == (batch, columns, length)
    assert x.dtype == np.float32
    assert np.isfinite(x).all()


def test_same_state_gives_the_same_tables() -> None:
    first, again, other = (synthetic_batch(rng(s), 8, 4, 200) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_variety() -> None:
    x = np.concatenate([synthetic_batch(rng(s), 40, 5, 384) for s in range(5)])
    assert (x.std(-1) > 1e-6 * np.abs(x).max(-1)).mean() > 0.98, "few columns are constant"
    memory = autocorrelation(x, 1)
    assert (memory > 0.98).mean() > 0.05, "some are smooth"
    assert (memory < 0.5).mean() > 0.1, "some are noisy"
    assert (memory < 0).mean() < 0.1
    z = kernels.standardise(x)
    skew = (z**3).mean(-1)
    assert (skew > 1).mean() > 0.15
    assert (np.abs(skew) < 0.5).mean() > 0.3
    repeats = (np.diff(x, axis=-1) == 0).mean(-1)
    assert (repeats > 0.2).mean() > 0.05, "rounded, held or intermittent columns"
    assert (repeats < 0.01).mean() > 0.4
    scale = x.std(-1)
    assert np.quantile(scale, 0.95) > 100 * np.quantile(scale, 0.05)


def test_columns_of_a_table_belong_together() -> None:
    z = kernels.standardise(synthetic_batch(rng(3), 200, 3, 256))
    within = np.abs((z[:, 0] * z[:, 1]).mean(-1))
    across = np.abs((z[:, 0] * np.roll(z[:, 1], 1, 0)).mean(-1))
    assert within.mean() > across.mean() + 0.15
    assert (within > 0.97).any(), "near-duplicates occur"
    assert (within < 0.1).mean() > 0.1, "unrelated columns occur"


@pytest.mark.parametrize("generator", [g for g, _ in kernels.GENERATORS], ids=lambda g: g.__name__)
def test_generators_are_standardised_and_vary(generator: kernels.Generator) -> None:
    periods = np.full(64, 24, np.float32)
    x = generator(rng(4), 64, 300, periods)
    assert x.shape == (64, 300)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x.mean(-1), 0, atol=1e-3)
    spread = x.std(-1)
    flat = spread < 1e-6
    assert flat.mean() < 0.4
    np.testing.assert_allclose(spread[~flat], 1, atol=1e-2)
    assert generator(rng(4), 0, 300, periods[:0]).shape == (0, 300)


def test_seasonal_repeats_after_its_period() -> None:
    periods = np.repeat(np.array([7, 24, 52.18, 96], np.float32), 100)
    x = kernels.seasonal(rng(5), 400, 768, periods)
    for period in (7, 24, 52.18, 96):
        rows = x[periods == np.float32(period)]
        whole = np.median(autocorrelation(rows, round(period)))
        half = np.median(autocorrelation(rows, round(period / 2)))
        assert whole > 0.7, period
        assert half < whole - 0.5, period


def test_gaussian_process_does_not_wrap_around() -> None:
    x = kernels.gaussian_process(rng(6), 2000, 128, np.ones(2000, np.float32))
    ends = (x[:, 0] * x[:, -1]).mean()
    neighbours = (x[:, 0] * x[:, 1]).mean()
    assert neighbours > 0.6
    assert ends < 0.1


def test_autoregressive_oscillates_at_its_period() -> None:
    period = 12
    x = kernels.autoregressive(rng(7), 500, 1024, np.full(500, period, np.float32))
    power = (np.abs(np.fft.rfft(x)) ** 2).mean(0)
    frequency = np.fft.rfftfreq(1024)
    peak = power[np.abs(frequency - 1 / period) < 0.004].mean()
    aside = power[np.abs(frequency - 1.5 / period) < 0.004].mean()
    assert peak > 2 * aside


def test_shot_noise_is_one_sided() -> None:
    x = kernels.shot_noise(rng(8), 200, 512, np.ones(200, np.float32))
    assert np.median((x**3).mean(-1)) > 1


@pytest.mark.parametrize("name", synthetic.QUANTITIES[1:])
def test_quantities(name: str) -> None:
    x = kernels.draw_latents(rng(9), 400, np.full((100, 3), 24, np.float32))
    y = synthetic._quantity(rng(10), name, x)
    assert y.shape == x.shape
    assert np.isfinite(y).all()
    if name in ("count", "states"):
        np.testing.assert_array_equal(y, np.rint(y))
    if name in ("positive", "count", "intermittent", "bounded", "squared", "states"):
        assert (y >= 0).all()
    if name == "intermittent":
        assert (y == 0).mean() > 0.5
    if name == "bounded":
        assert (y <= 1).all()
    if name == "floored":
        at_limit = (y == y.min(-1, keepdims=True)) | (y == y.max(-1, keepdims=True))
        assert at_limit.mean() > 0.2


def test_delayed_response_is_causal_and_smooth() -> None:
    x = np.zeros(200, np.float32)
    x[100] = 1
    y = synthetic._response(rng(11), x)
    np.testing.assert_allclose(y[:100], 0, atol=1e-6)
    assert y[100] > y[110] > y[130] >= 0
    np.testing.assert_allclose(synthetic._response(rng(11), np.full(200, 3, np.float32)), 3, rtol=1e-5)
