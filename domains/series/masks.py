"""Which entries of a table are observed: random patterns to train with, and fixed ones to evaluate with.

Random masks are true where a value is observed. The two `missing_*` helpers of the evaluation are true where
a value is taken away, as their names say.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def random_mask(rng: np.random.Generator, shape: tuple[int, int, int], forecast_share: float = 0.2) -> Mask:
    """Draws a mask of a random kind for every table of a batch.

    The kinds: entries missing at random (2 to 95 %), blocks in single columns, blocks through all columns,
    single columns nearly missing, the end of the table missing, and pairs of these.

    Args:
        rng: Source of randomness.
        shape: (batch, columns, length), length at least 8.
        forecast_share: Share of tables whose end is missing.

    Returns:
        Boolean array of this shape, true where observed. A column may have no observed entry.
    """
    batch, columns, length = shape
    out = np.empty(shape, bool)
    for item in range(batch):
        if rng.random() < forecast_share:
            horizon = int(_log_uniform(rng, 1, length / 2))
            out[item] = future_mask(rng, columns, length, length - horizon)
        else:
            out[item] = gap_mask(rng, columns, length)
    return out


def gap_mask(rng: np.random.Generator, columns: int, length: int) -> Mask:
    """A mask [columns, length] with gaps inside the table, true where observed: one kind, or two at once."""
    mask = _one_kind(rng, columns, length)
    return mask & _one_kind(rng, columns, length) if rng.random() < 0.25 else mask


def future_mask(rng: np.random.Generator, columns: int, length: int, first: int) -> Mask:
    """A mask [columns, length] whose rows from `first` on are missing, in all columns or, at times, in some.

    The past is whole half of the time, and has gaps otherwise.
    """
    mask = np.ones((columns, length), bool) if rng.random() < 0.5 else gap_mask(rng, columns, length)
    unknown = np.ones(columns, bool)
    if columns > 1 and rng.random() < 0.25:  # the other columns are known ahead: a plan, a weather forecast
        unknown[:] = False
        unknown[rng.permutation(columns)[: rng.integers(1, columns)]] = True
    mask[unknown, first:] = False
    return mask


def _one_kind(rng: np.random.Generator, columns: int, length: int) -> Mask:
    """A mask [columns, length] of one kind, true where observed."""
    kind = rng.choice(4, p=[0.5, 0.28, 0.12, 0.10])
    if kind == 0:
        rate = rng.uniform(0.02, 0.95)
        rates = np.full((columns, 1), rate)
        if rng.random() < 0.3:  # instruments differ in how often they fail
            rates = np.clip(rates * rng.uniform(0.2, 1.8, (columns, 1)), 0.0, 0.97)
        return rng.random((columns, length)) >= rates
    if kind == 1:
        return ~_random_blocks(rng, columns, length)
    if kind == 2:
        return np.broadcast_to(~_random_blocks(rng, 1, length), (columns, length)).copy()
    mask = np.ones((columns, length), bool)
    poor = rng.permutation(columns)[: rng.integers(1, columns // 2 + 2)]
    mask[poor] = rng.random((len(poor), length)) < _log_uniform(rng, 3 / length, 0.1)
    return mask


def _random_blocks(rng: np.random.Generator, columns: int, length: int) -> Mask:
    """Blocks [columns, length] of 2 to length / 2 rows, alike or mixed, covering 3 to 85 % in expectation."""
    typical = _log_uniform(rng, 2, length / 2)
    rate = rng.uniform(0.03, 0.85)
    count = max(1, round(-np.log1p(-rate) * (length + typical) / typical))
    lengths = np.full((columns, count), round(typical))
    if rng.random() < 0.5:
        varied = np.rint(typical * np.exp(0.7 * rng.standard_normal(lengths.shape)))
        lengths = np.clip(varied, 1, length // 2).astype(np.int64)
    begin = rng.integers(-lengths + 1, length)
    edges = np.zeros((columns, length + 1), np.int64)
    column = np.broadcast_to(np.arange(columns)[:, None], begin.shape)
    np.add.at(edges, (column, np.maximum(begin, 0)), 1)
    np.add.at(edges, (column, np.minimum(begin + lengths, length)), -1)
    return np.cumsum(edges, -1)[:, :length] > 0


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A draw whose logarithm is uniform on [log low, log high]."""
    return float(np.exp(rng.uniform(np.log(low), np.log(max(low, high)))))


def missing_at_random(rng: np.random.Generator, shape: tuple[int, int], rate: float) -> Mask:
    """Takes away exactly round(rate * size) entries of a table, drawn evenly without replacement.

    Args:
        rng: Source of randomness; the same state gives the same mask.
        shape: (rows, columns) of the table.
        rate: Share of entries to take away, in [0, 1].

    Returns:
        Boolean array [rows, columns], true where MISSING.
    """
    size = shape[0] * shape[1]
    missing = np.zeros(size, bool)
    missing[rng.permutation(size)[: round(rate * size)]] = True
    return missing.reshape(shape)


def missing_blocks(rng: np.random.Generator, shape: tuple[int, int], block: int, rate: float) -> Mask:
    """Takes away blocks of consecutive rows in each column by itself until `rate` of the column is missing.

    Blocks do not overlap, but may touch. The number of blocks of a column is round(rate * rows / block), at
    least one.

    Args:
        rng: Source of randomness; the same state gives the same mask.
        shape: (rows, columns) of the table.
        block: Rows in a block, from 1 to the number of rows.
        rate: Share of entries to take away, in [0, 1].

    Returns:
        Boolean array [rows, columns], true where MISSING.

    Raises:
        ValueError: If a block is longer than the table.
    """
    rows, columns = shape
    if not 1 <= block <= rows:
        raise ValueError(f"block must be from 1 to {rows} rows, not {block}")
    count = min(max(1, round(rate * rows / block)), rows // block)
    free = rows - count * block
    missing = np.zeros(shape, bool)
    for column in range(columns):
        # Places drawn evenly among the rows left free, each then widened to a block: blocks never overlap.
        places = np.sort(rng.permutation(free + count)[:count]) + np.arange(count) * (block - 1)
        missing[(places[:, None] + np.arange(block)).reshape(-1), column] = True
    return missing
