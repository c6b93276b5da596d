"""Classical ways to fill the gaps of a table, each with Gaussian bands: what the diffusion model has to beat.

All of them see the same thing as the model: one table with gaps, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from domains.series.column_statistics import column_means, column_scale
from domains.series.kalman import kalman_smoother
from domains.series.periodicity import find_period
from domains.series.residual_bands import (
    Array,
    Bands,
    Mask,
    gap_distances,
    held_back,
    residual_spread,
    with_residual_bands,
)

Imputer = Callable[[Array], Bands]
"""A table `[T, C]` with NaN in its gaps -> bands over the whole table, with zero spread at observed cells."""

NEIGHBOURS = (5, 15, 50, 150)  # k is chosen among these
JUDGED_ROWS = 2000


def fill_mean(values: Array) -> Array:
    """The mean of the column."""
    return np.where(np.isnan(values), column_means(values), values)


def fill_locf(values: Array) -> Array:
    """The last observation carried forward; before a column's first one, that one carried back."""
    observed = ~np.isnan(values)
    rows = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(observed, rows, -1), axis=0)
    first = np.where(observed.any(axis=0), observed.argmax(axis=0), 0)
    filled = np.take_along_axis(values, np.where(last < 0, first, last), axis=0)
    return fill_mean(filled)


def fill_linear(values: Array) -> Array:
    """The straight line between the neighbouring observations; level past the ends."""
    rows = np.arange(len(values))
    filled = values.copy()
    for c in range(values.shape[1]):
        observed = ~np.isnan(values[:, c])
        if observed.any():
            filled[:, c] = np.interp(rows, rows[observed], values[observed, c])
    return fill_mean(filled)


def _by_phase(table: Array, period: int, padding: float) -> Array:
    """`[T, C]` -> `[periods, period * C]`: cells of the same phase and column under each other."""
    rows = -(-len(table) // period) * period
    padded = np.full((rows, table.shape[1]), padding)
    padded[: len(table)] = table
    return padded.reshape(rows // period, -1)


def fill_seasonal(values: Array, period: int) -> Array:
    """The mean of the nearest observations of the same phase on both sides; linear where none."""
    columns = values.shape[1]
    phased = _by_phase(values, period, np.nan)

    def carried(table: Array) -> Array:
        rows = np.arange(len(table))[:, None]
        last = np.maximum.accumulate(np.where(np.isnan(table), -1, rows), axis=0)
        return np.where(last < 0, np.nan, np.take_along_axis(table, np.maximum(last, 0), axis=0))

    before, after = carried(phased), carried(phased[::-1])[::-1]
    both = np.where(np.isnan(before), after, np.where(np.isnan(after), before, (before + after) / 2))
    filled = both.reshape(-1, columns)[: len(values)]
    return np.where(np.isnan(filled), fill_linear(values), filled)


def seasonal_distance(observed: Mask, period: int) -> Array:
    """Whole periods to the nearest observed cell of the same phase and column, `[T, C]`."""
    phased = _by_phase(observed.astype(np.float64), period, 0.0) > 0
    nearest = np.minimum(*gap_distances(phased))
    return nearest.reshape(-1, observed.shape[1])[: len(observed)]


def nearest_distance(observed: Mask) -> Array:
    """Rows to the nearest observed cell of the same column, either way."""
    return np.minimum(*gap_distances(observed))


def backward_distance(observed: Mask) -> Array:
    """Rows back to the last observed cell; forward to the first where there is none before."""
    back, forward = gap_distances(observed)
    return np.where(np.isfinite(back), back, forward)


def bridge_distance(observed: Mask) -> Array:
    """Variance of a Brownian bridge between the neighbouring observations: a b / (a + b), or the one there
    is.

    It is what linear interpolation's squared error grows with where a series is a random walk.
    """
    a, b = gap_distances(observed)
    nearest = np.minimum(a, b)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.isfinite(a) & np.isfinite(b) & (nearest > 0), a * b / (a + b), nearest)


def fill_knn(values: Array, neighbours: int, rows: NDArray[np.int64] | None = None) -> Array:
    """The mean over the rows most alike in what they have in common (scikit-learn's KNNImputer).

    Columns are scaled to unit spread first.  Neighbours weigh the same: weighting them by inverse distance, as is
    sometimes done, was worse in every setting of ours, since rows with one column in common are often at distance 0.

    Args:
        values: `[T, C]` with NaN in gaps.
        neighbours: k.
        rows: The rows to fill, all of them by default; every row may be a neighbour.

    Returns:
        The filled rows.
    """
    from sklearn.impute import KNNImputer

    means, scale = column_means(values), column_scale(values)
    scaled = (values - means) / scale
    imputer = KNNImputer(n_neighbors=neighbours, keep_empty_features=True).fit(scaled)
    return np.asarray(imputer.transform(scaled if rows is None else scaled[rows]) * scale + means)


def impute_mean(values: Array) -> Bands:
    """Column means, with the spread of the column."""
    return with_residual_bands(fill_mean, nearest_distance, values)


def impute_locf(values: Array) -> Bands:
    """Last observation carried forward."""
    return with_residual_bands(fill_locf, backward_distance, values)


def impute_linear(values: Array) -> Bands:
    """Linear interpolation."""
    return with_residual_bands(fill_linear, bridge_distance, values)


def impute_seasonal(values: Array, period: int | None = None) -> Bands:
    """Seasonal naive; the period is found by autocorrelation where it is not given."""
    chosen = find_period(values) if period is None else period
    return with_residual_bands(
        partial(fill_seasonal, period=chosen), partial(seasonal_distance, period=chosen), values
    )


def impute_knn(values: Array) -> Bands:
    """k nearest rows; k is the one of `NEIGHBOURS` with the least absolute error on cells held back.

    The errors of that k on these cells (in at most `JUDGED_ROWS` rows, to save time) also give the bands.
    """
    observed = ~np.isnan(values)
    rng = np.random.default_rng(1)
    hidden = held_back(observed, rng)
    rows = np.flatnonzero(hidden.any(axis=1))
    rows = np.sort(rng.permutation(rows)[:JUDGED_ROWS])
    reduced = np.where(hidden, np.nan, values)
    scale = column_scale(values)
    errors = {
        k: np.where(hidden[rows], values[rows] - fill_knn(reduced, k, rows), 0.0) if len(rows) else values[:0]
        for k in NEIGHBOURS
    }
    best = min(errors, key=lambda k: float(np.abs(errors[k] / scale).sum()))
    spread = residual_spread([(errors[best], nearest_distance(observed & ~hidden)[rows], hidden[rows])])
    std = spread(nearest_distance(observed))
    return Bands(np.where(observed, values, fill_knn(values, best)), np.where(observed, 0.0, std))


def imputers(period: int | None = None) -> Mapping[str, Imputer]:
    """The baselines by name, in the order in which tables print them.

    Args:
        period: Rows in a season, for the methods that use one; looked for in the data where None.
    """
    return {
        "mean": impute_mean,
        "LOCF": impute_locf,
        "linear": impute_linear,
        "seasonal naive": partial(impute_seasonal, period=period),
        "kNN": impute_knn,
        "Kalman smoother": partial(kalman_smoother, period=period),
    }
