"""Synthetic tables of wide variety: correlated columns of trends, cycles, noise and events.

A table is drawn in five stages: composed latent series (`kernels`), their mixture into columns with shared
factors, random lags and noise (`_mix`), the kind of quantity that a column measures (`_observe`: plain,
positive and skewed, counts, intermittent, bounded ...), exact relations between columns (`_relate`: copies,
sums, delayed responses), and what instruments do (`_instrument`: rounding, spikes, clipping, stuck values).
Scales and offsets are arbitrary.
"""

from __future__ import annotations

import numpy as np

from domains.series.kernels import (
    Array,
    draw_latents,
    gaussian_process,
    heavy_noise,
    log_uniform,
    normal,
    standardise,
    uniform,
)

MARGIN = 24
"""Rows drawn before and after the table, so that lagged columns have values at both ends."""

CYCLES: tuple[tuple[float, float, float], ...] = (
    (24, 168, 0.30),
    (7, 365.25, 0.12),
    (12, 144, 0.06),
    (48, 336, 0.06),
    (96, 672, 0.06),
    (144, 1008, 0.04),
    (288, 2016, 0.03),
    (52.18, 26.09, 0.04),
    (60, 1440, 0.02),
    (8, 56, 0.03),
    (4, 12, 0.02),
    (0, 0, 0.22),
)
"""Main cycle, long cycle (time steps) and share of tables; a main cycle of 0 stands for a random one."""


def synthetic_batch(rng: np.random.Generator, batch: int, columns: int, length: int) -> Array:
    """Draws `batch` synthetic tables.

    Args:
        rng: Source of randomness; the same state gives the same tables.
        batch: Number of tables, at least 1.
        columns: Number of columns of each table, at least 1.
        length: Number of rows, at least 16.

    Returns:
        Finite float32 array [batch, columns, length] on arbitrary scales.
    """
    x = _mix(rng, batch, columns, length)
    x = _observe(rng, x)
    x = _relate(rng, x)
    x = _instrument(rng, x)
    scale = log_uniform(rng, 1e-2, 1e3, (batch, columns, 1))
    offset = normal(rng, (batch, columns, 1)) * log_uniform(rng, 0.1, 20.0, (batch, columns, 1))
    offset *= rng.random((batch, columns, 1)) < 0.5
    return ((x + offset) * scale).astype(np.float32)


def _periods(rng: np.random.Generator, batch: int, rows: int, length: int) -> Array:
    """Periods [batch * rows, 3] of the components of `rows` latent series a table, mostly the table's own."""
    table = np.array(CYCLES, np.float32)
    kind = rng.choice(len(table), batch, p=table[:, 2] / table[:, 2].sum())
    main = np.where(table[kind, 0] > 0, table[kind, 0], log_uniform(rng, 3.0, length / 2, batch))
    long = np.where(table[kind, 1] > 0, table[kind, 1], main * log_uniform(rng, 2.0, 12.0, batch))
    shape = (batch, rows, 3)
    options = [np.broadcast_to(p[:, None, None], shape) for p in (main, long, main / 2)]
    options.append(log_uniform(rng, 3.0, float(length), shape))
    choice = rng.choice(4, shape, p=[0.68, 0.14, 0.06, 0.12])
    return np.maximum(np.choose(choice, options), 2.0).reshape(-1, 3).astype(np.float32)


def _mix(rng: np.random.Generator, batch: int, columns: int, length: int) -> Array:
    """Columns [batch, columns, length] of unit variance: shared factors with lags, own parts, noise."""
    factors = min(columns, 4)
    long = length + 2 * MARGIN
    latents = draw_latents(rng, long, _periods(rng, batch, factors + columns, length))
    latents = latents.reshape(batch, factors + columns, long)
    shared, own = latents[:, :factors], latents[:, factors:, MARGIN : MARGIN + length]

    rank = rng.integers(1, factors + 1, (batch, 1, 1))
    loading = normal(rng, (batch, columns, factors)) * (np.arange(factors) < rank)
    sparse = (rng.random((batch, 1, 1)) < 0.4) & (rng.random(loading.shape) < 0.5)
    loading[..., 1:] *= ~sparse[..., 1:]
    same_sign = rng.random((batch, 1, 1)) < 0.4
    loading = np.where(same_sign, np.abs(loading), loading)
    loading /= np.sqrt((loading**2).sum(-1, keepdims=True)) + 1e-6
    mixed = np.matmul(loading, shared[..., MARGIN : MARGIN + length])
    lagged = np.flatnonzero(rng.random(batch) < 0.25)
    if lagged.size:
        reach = np.where(rng.random((lagged.size, 1, 1)) < 0.6, 3, MARGIN)
        lag = np.rint(uniform(rng, -1, 1, (lagged.size, columns, factors)) * reach).astype(np.int64)
        rows = MARGIN + lag[..., None] + np.arange(length)
        moved = np.take_along_axis(shared[lagged][:, None], rows, -1)
        mixed[lagged] = np.einsum("bcf,bcfl->bcl", loading[lagged], moved)

    kind = rng.choice(3, (batch, 1, 1), p=[0.15, 0.5, 0.35])
    uneven = uniform(rng, 0, 1, (batch, columns, 1))
    coupling = np.where(kind == 0, 0.0, np.where(kind == 1, uneven, 1 - 0.1 * uneven**2)).astype(np.float32)
    together = np.sqrt(coupling) * standardise(mixed.astype(np.float32))
    x = standardise((together + np.sqrt(1 - coupling) * own).astype(np.float32, copy=False))
    return standardise(x + _noise(rng, x))


def _noise(rng: np.random.Generator, x: Array) -> Array:
    """Noise for `x` [batch, columns, length]: none, small or large; even, or changing with time or level."""
    batch, columns, length = x.shape
    level = log_uniform(rng, 0.003, 0.8, (batch, 1, 1)) * log_uniform(rng, 0.4, 2.5, (batch, columns, 1))
    level *= rng.random((batch, 1, 1)) < 0.85
    noise = heavy_noise(rng, batch * columns, length).reshape(x.shape)
    uneven = np.flatnonzero(rng.random(batch) < 0.2)
    unused = np.ones(uneven.size * columns, np.float32)
    slow = gaussian_process(rng, uneven.size * columns, length, unused)
    noise[uneven] *= np.exp(0.7 * slow.reshape(uneven.size, columns, length))
    by_level = np.flatnonzero(rng.random(batch) < 0.2)
    noise[by_level] *= np.exp(0.5 * np.clip(x[by_level], -3, 3))
    return (level * noise).astype(np.float32)


QUANTITIES = ("plain", "positive", "count", "intermittent", "floored", "bounded", "squared", "states")
_SHARES = np.array([0.56, 0.16, 0.08, 0.06, 0.05, 0.04, 0.02, 0.03])


def _observe(rng: np.random.Generator, x: Array) -> Array:
    """Turns columns of unit variance into what each measures; most tables have one kind throughout."""
    batch, columns, length = x.shape
    table_kind = rng.choice(len(QUANTITIES), (batch, 1), p=_SHARES)
    own_kind = rng.choice(len(QUANTITIES), (batch, columns), p=_SHARES)
    kind = np.where(rng.random((batch, 1)) < 0.6, table_kind, own_kind).reshape(-1)
    rows = x.reshape(-1, length).copy()
    for k, name in enumerate(QUANTITIES):
        chosen = np.flatnonzero(kind == k)
        if name != "plain" and chosen.size:
            rows[chosen] = _quantity(rng, name, rows[chosen])
    return rows.reshape(x.shape)


def _quantity(rng: np.random.Generator, name: str, x: Array) -> Array:
    """Columns `x` [rows, length] of unit variance seen as the quantity `name`."""
    one = (len(x), 1)
    if name == "positive":  # concentrations, prices, durations: skewed to the right
        return np.exp(log_uniform(rng, 0.2, 1.2, one) * np.clip(x, -5, 5))
    if name == "count":  # sales, visits: Poisson, or negative binomial where a gamma factor spreads the rate
        swing = log_uniform(rng, 0.1, 1.0, one)
        mean = log_uniform(rng, 0.3, 3000.0, one) * np.exp(swing * np.clip(x, -4, 4))
        spread = log_uniform(rng, 1.0, 50.0, one)
        factor = rng.standard_gamma(spread, x.shape) / spread
        mean = mean * np.where(rng.random(one) < 0.4, factor, 1)
        return rng.poisson(mean).astype(np.float32)
    if name == "intermittent":  # rain, demand for spare parts: zero most of the time
        excess = np.maximum(0, x - uniform(rng, 0.0, 1.8, one))
        amount = excess ** uniform(rng, 0.6, 2.0, one)
        uneven = rng.standard_exponential(x.shape, dtype=np.float32)
        return (amount * np.where(rng.random(one) < 0.5, uneven, 1)).astype(np.float32)
    if name == "floored":  # a detection limit below, a capacity above, or both
        low = np.where(rng.random(one) < 0.7, uniform(rng, -1.5, 0.5, one), -np.inf)
        high = np.where(rng.random(one) < 0.4, uniform(rng, 0.6, 2.0, one), np.inf)
        return np.clip(x, low, high).astype(np.float32)
    if name == "bounded":  # percentages: saturation, humidity, cloud cover
        return 1 / (1 + np.exp(-np.clip(log_uniform(rng, 0.5, 4.0, one) * x + normal(rng, one), -30, 30)))
    if name == "squared":  # energy, power
        return (x + normal(rng, one)) ** 2
    levels = rng.integers(2, 6, one)  # states of a machine
    return np.rint(np.clip((x + 2) / 4, 0, 1) * (levels - 1)).astype(np.float32)


def _relate(rng: np.random.Generator, x: Array) -> Array:
    """Makes some columns noisy functions of others: copies, sums, differences, delayed responses."""
    batch, columns, length = x.shape
    if columns < 2:
        return x
    for item in np.flatnonzero(rng.random(batch) < 0.4):
        table = x[item]
        count = int(rng.integers(1, max(2, columns // 2 + 1)))
        order = rng.permutation(columns)
        sources = order[count:]
        for target in order[:count]:
            first, second = table[rng.choice(sources)], table[rng.choice(sources)]
            relation = rng.integers(0, 6)
            if relation == 0:
                made = rng.normal() * first
            elif relation == 1:
                made = first + rng.uniform(0.1, 2) * second
            elif relation == 2:
                made = first - rng.uniform(0.1, 2) * second
            elif relation == 3:
                made = _response(rng, first)
            elif relation == 4:
                made = np.tanh(rng.uniform(0.3, 2) * standardise(first))
            else:
                made = first[np.clip(np.arange(length) + rng.integers(-3, 4), 0, length - 1)]
            noise = rng.standard_normal(length, dtype=np.float32)
            level = np.exp(rng.uniform(np.log(1e-3), np.log(0.5))) * (rng.random() < 0.85)
            table[target] = made + level * (np.std(made) + 1e-6) * noise
    return x


def _response(rng: np.random.Generator, x: Array) -> Array:
    """Slow response of a body to what drives it (oil to load, ground to air): a moving average."""
    length = x.shape[-1]
    weights = np.exp(-np.arange(length) / rng.uniform(1.5, 30))
    weights /= weights.sum()
    padded = np.concatenate([np.full(length, x[: max(1, length // 16)].mean()), x])
    size = 3 * length
    return np.fft.irfft(np.fft.rfft(padded, size) * np.fft.rfft(weights, size), size)[
        length : 2 * length
    ].astype(np.float32)


def _instrument(rng: np.random.Generator, x: Array) -> Array:
    """What measuring adds to `x` [batch, columns, length]: steps, spikes, clipping, holding, rounding."""
    batch, columns, length = x.shape
    rows = x.reshape(-1, length)
    spread = rows.std(-1, keepdims=True) + 1e-6
    centre = rows.mean(-1, keepdims=True)

    def some(share: float) -> np.ndarray:
        """Rows to which an effect applies: whole tables and single columns in equal parts."""
        whole = np.repeat(rng.random(batch) < share / 2, columns)
        return np.flatnonzero(whole | (rng.random(len(rows)) < share / 2))

    stepped = some(0.05)
    after = np.arange(length) >= rng.integers(0, length, (stepped.size, 1))
    rows[stepped] += after * normal(rng, (stepped.size, 1)) * spread[stepped]

    spiked = some(0.08)
    where = rng.random((spiked.size, length)) < log_uniform(rng, 0.001, 0.03, (spiked.size, 1))
    sign = np.where(rng.random((spiked.size, 1)) < 0.6, 1, rng.choice([-1, 1], (spiked.size, length)))
    height = log_uniform(rng, 1.0, 6.0, (spiked.size, 1)) * (0.5 + rng.random((spiked.size, length)))
    rows[spiked] += where * sign * height * spread[spiked]

    clipped = some(0.05)
    low = np.where(rng.random((clipped.size, 1)) < 0.5, -uniform(rng, 0.5, 2.5, (clipped.size, 1)), -np.inf)
    high = np.where(rng.random((clipped.size, 1)) < 0.5, uniform(rng, 0.5, 2.5, (clipped.size, 1)), np.inf)
    part = np.clip((rows[clipped] - centre[clipped]) / spread[clipped], low, high)
    rows[clipped] = part * spread[clipped] + centre[clipped]

    held = some(0.05)
    every = np.where(rng.random((held.size, 1)) < 0.5, rng.integers(2, 7, (held.size, 1)), 1)
    index = np.arange(length) // every * every
    begin = rng.integers(0, length, (held.size, 1))
    end = begin + log_uniform(rng, 4.0, length / 3, (held.size, 1))
    stuck = (every == 1) & (np.arange(length) >= begin) & (np.arange(length) < end)
    rows[held] = np.take_along_axis(rows[held], np.where(stuck, begin, index), -1)

    rounded = some(0.3)
    grid = spread[rounded] * log_uniform(rng, 0.01, 0.7, (rounded.size, 1))
    rows[rounded] = np.rint(rows[rounded] / grid) * grid
    return rows.reshape(x.shape)
