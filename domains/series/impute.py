"""Filling gaps: from values with NaN to posterior samples, and from a request to its artifacts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from domains.common.task import Sampling
from domains.series.posterior import Posterior, series_model

QUANTILE_LEVELS = tuple(round(0.05 * k, 2) for k in range(1, 20))


def impute_values(
    values: NDArray[np.floating],
    *,
    samples: int = 32,
    sampling: Sampling | None = None,
    model: str | None = None,
    device: str = "cpu",
    progress: Callable[[float, float], None] | None = None,
) -> NDArray[np.float64]:
    """Posterior samples of a table's missing values.

    Args:
        values: `[rows, columns]` in any units, NaN where missing; rows are in time order and evenly spaced.
        samples: Number of joint samples.
        sampling: Solver, steps, seed; `model` here overrides its model.
        model: Built-in model or a folder made by `train`.
        progress: Called with (done, total); may raise to stop.

    Returns:
        `[samples, rows, columns]`; observed entries are repeated as they are.

    Raises:
        BadInput: If the model cannot be used or the options do not fit it.
    """
    sampling = sampling or Sampling()
    posterior = Posterior(values, series_model(model or sampling.model, device), sampling, samples, device)
    return posterior.draw(None if progress is None else lambda done, total, _: progress(done, total))


def anchor_bands(values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The classical estimate that the model starts from: mean and standard deviation, `[rows, columns]`."""
    return Posterior(values, series_model(None), Sampling(), 2).anchor()
