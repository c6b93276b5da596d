"""Means and spreads of the columns of a table with gaps, defined for every table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def column_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each column's known cells `[C]`; zero for a column without any."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.asarray(total / np.maximum(known.sum(axis=0), 1))


def column_scale(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation of each column's known cells `[C]`; 1 where that is zero or nothing is known."""
    known = ~np.isnan(values)
    offsets = np.where(known, values - column_means(values), 0.0)
    variance = np.square(offsets).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(variance > 0, np.sqrt(variance), 1.0)
