"""Finds the season of a table that has gaps."""

from __future__ import annotations

import numpy as np

from domains.series.column_statistics import column_means, column_scale
from domains.series.residual_bands import Array


def find_period(values: Array, longest: int | None = None) -> int:
    """The period of a table by its autocorrelation, pooled over columns and observed pairs; 1 where none is seen.

    A lag L is scored by the mean over its multiples k L of the autocorrelation there less that half a lag away on
    both sides: the strength of the season, free of slow trends. Of the lags that score at least 0.7 of the highest,
    the shortest wins (multiples of a period are periods too), moved to the best of its neighbours. A slow wander may
    pass for a season nearly as long as `longest`.

    Args:
        values: `[T, C]` with NaN in gaps.
        longest: Longest lag looked at; a third of the rows, at most 400, by default.
    """
    longest = min(len(values) // 3, 400) if longest is None else longest
    if longest < 4:
        return 1
    observed = ~np.isnan(values)
    scaled = np.where(observed, (values - column_means(values)) / column_scale(values), 0.0)
    size = 2 * len(values)  # zero padding: the products below must not wrap round
    reach = min(3 * longest, len(values) - 1)

    def products(table: Array) -> Array:
        spectrum = np.fft.rfft(table, size, axis=0)
        return np.asarray(np.fft.irfft(np.abs(spectrum) ** 2, size, axis=0)[: reach + 1].sum(axis=1))

    pairs = np.maximum(np.round(products(observed.astype(np.float64))), 1.0)
    correlation = products(scaled) / pairs
    lags = np.arange(reach + 1)
    scores = np.zeros(longest + 1)
    for lag in range(2, longest + 1):
        multiples = np.arange(lag, reach - lag // 2, lag)
        if len(multiples) == 0:
            continue
        dips = np.interp([multiples - lag / 2, multiples + lag / 2], lags, correlation).mean(axis=0)
        strength = float((correlation[multiples] - dips).mean())
        error = np.sqrt(1.5 * (1 / pairs[multiples]).sum()) / len(multiples)  # of independent noise
        if strength > 4.5 * error:
            scores[lag] = strength
    if not scores.any():
        return 1
    shortest = int(np.argmax(scores >= 0.7 * scores.max()))
    around = np.arange(max(2, shortest - shortest // 6), min(longest, shortest + shortest // 6) + 1)
    return int(around[np.argmax(scores[around])])
