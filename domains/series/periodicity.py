"""Finds the season of a table that has gaps."""

from __future__ import annotations

import numpy as np

from domains.series.residual_bands import Array


def column_means(values: Array) -> Array:
    """Mean of each column's observed cells `[C]`; zero for a column without any."""
    observed = ~np.isnan(values)
    count = observed.sum(axis=0)
    return np.where(observed, values, 0.0).sum(axis=0) / np.maximum(count, 1)


def find_period(values: Array, longest: int | None = None) -> int:
    """The period of a table by its autocorrelation over observed pairs, pooled over columns; 1 where none
    stands out.

    A period is a lag at which the autocorrelation peaks above the dips on both sides by more than four
    standard errors; of several, the shortest that rises at least half as high as the highest, since the
    multiples of a period are periods too.

    Args:
        values: `[T, C]` with NaN in gaps.
        longest: Longest lag looked at; a third of the rows, at most 400, by default.
    """
    longest = min(len(values) // 3, 400) if longest is None else longest
    if longest < 4:
        return 1
    observed = ~np.isnan(values)
    centred = np.where(observed, values - column_means(values), 0.0)
    power = np.square(centred).sum(axis=0) / np.maximum(observed.sum(axis=0), 1)
    scaled = centred / np.sqrt(np.where(power > 0, power, 1.0))
    size = 2 * len(values)  # zero padding: the products below must not wrap round

    def products(table: Array) -> Array:
        spectrum = np.fft.rfft(table, size, axis=0)
        return np.fft.irfft(np.abs(spectrum) ** 2, size, axis=0)[: longest + 2].sum(axis=1)

    pairs = np.maximum(np.round(products(observed.astype(np.float64))), 1.0)
    correlation = products(scaled) / pairs
    rises: dict[int, float] = {}
    for lag in range(2, longest + 1):
        left, right = correlation[max(1, lag - lag // 2) : lag], correlation[lag + 1 : lag + lag // 2 + 1]
        if len(right) == 0 or correlation[lag] < max(left.max(), right.max()):
            continue
        rise = float(correlation[lag] - max(left.min(), right.min()))
        if rise > 4.0 / np.sqrt(pairs[lag]):
            rises[lag] = rise
    highest = max(rises.values(), default=0.0)
    return next((lag for lag, rise in rises.items() if rise >= highest / 2), 1)
