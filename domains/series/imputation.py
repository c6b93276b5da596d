"""Filling gaps: from values with NaN to posterior samples, and from a request to its artifacts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.common.plot_png import write_png
from domains.common.task import Artifact, Result, Run, Sampling
from domains.series.figure import gap_figure
from domains.series.outputs import LEVELS, write_completed, write_quantiles, write_quantiles_parquet
from domains.series.posterior import Posterior, series_model
from domains.series.table import SeriesTable, read_table
from domains.series.tasks import ImputeRequest

PREVIEW_SECONDS = 1.0
# Samples times cells beyond which a preview costs more than it shows.
PREVIEW_SIZE = 3_000_000


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
        `[samples, rows, columns]`; observed entries are repeated, to float32 precision of their column's range.

    Raises:
        BadInput: If the model cannot be used or the options do not fit it.
    """
    sampling = sampling or Sampling()
    posterior = Posterior(values, series_model(model or sampling.model, device), sampling, samples, device)
    return posterior.draw(None if progress is None else lambda done, total, _: progress(done, total))


def anchor_bands(values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The classical estimate that the model starts from: mean and standard deviation, `[rows, columns]`."""
    return Posterior(values, series_model(None), Sampling(), 2).anchor()


def quantiles_of(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[samples, ...]` to quantiles at 0.05, 0.10, …, 0.95, `[19, ...]`.

    Of n samples the i-th smallest stands at i / (n + 1), so that bands of few samples are not too narrow.
    """
    quantiles: NDArray[np.float64] = np.quantile(samples, LEVELS, axis=0, method="weibull")
    return quantiles


class Preview:
    """Shows a figure of the state now, at most once a second and only where that is cheap."""

    def __init__(self, run: Run, figure: Callable[[NDArray[np.float64]], dict[str, Any]], size: int) -> None:
        self.run, self.figure, self.allowed = run, figure, size <= PREVIEW_SIZE
        self.last = 0.0

    def __call__(self, done: float, total: float, snapshot: Callable[[], NDArray[np.float64]]) -> None:
        """Reports progress (which raises where the person cancelled) and perhaps a preview."""
        self.run.progress(done, total, "denoising")
        if self.allowed and time.monotonic() - self.last > PREVIEW_SECONDS:
            self.run.preview(self.figure(snapshot()))
            self.last = time.monotonic()


def _preview_figure(table: SeriesTable) -> Callable[[NDArray[np.float64]], dict[str, Any]]:
    def figure(samples: NDArray[np.float64]) -> dict[str, Any]:
        known = np.isfinite(samples).all(axis=0) & table.missing
        quantiles = quantiles_of(np.nan_to_num(samples))
        return gap_figure(table, quantiles, known, max_points=6000)

    return figure


def impute_table(request: ImputeRequest, run: Run) -> Result:
    """The task `series.impute`: reads the table, samples its gaps, writes completed table, quantiles and plots."""
    run.progress(0, 1, "reading the table")
    table = read_table(request.table, request.time_column)
    notes = list(table.notes)
    sampling = request.sampling
    gaps = int(table.missing.sum())
    evaluations = 0
    if gaps:
        model = series_model(sampling.model, run.device)
        posterior = Posterior(table.values, model, sampling, request.samples, run.device)
        preview = Preview(run, _preview_figure(table), request.samples * table.values.size)
        samples = posterior.draw(preview, run)
        quantiles, evaluations = quantiles_of(samples), posterior.evaluations
    else:
        notes.append("The table has no gap: completed.csv is the table as it came.")
        quantiles = np.broadcast_to(table.values, (len(LEVELS), *table.values.shape)).copy()
    run.progress(1, 1, "writing the results")
    median = quantiles[LEVELS.index(0.5)]
    artifacts = [
        Artifact(path.name, "table", "Completed table")
        for path in write_completed(table, median, run.directory / "completed.csv")
    ]
    write_quantiles(table, quantiles, run.directory / "quantiles.csv")
    write_quantiles_parquet(table, quantiles, run.directory / "quantiles.parquet")
    figure = gap_figure(table, quantiles)
    artifacts += [
        Artifact("quantiles.csv", "table", "Quantiles of each filled cell"),
        Artifact("quantiles.parquet", "table", "Quantiles, in full precision"),
        *write_figure(figure, run, "plot"),
    ]
    return Result(artifacts, _metrics(table, quantiles), evaluations, notes)


def write_figure(figure: dict[str, Any], run: Run, name: str) -> list[Artifact]:
    """Writes a figure as interactive JSON and as PNG."""
    import json

    (run.directory / f"{name}.json").write_text(json.dumps(figure, allow_nan=False), encoding="utf-8")
    write_png(figure, run.directory / f"{name}.png")
    return [Artifact(f"{name}.json", "plot", "Interactive plot"), Artifact(f"{name}.png", "figure", "Plot")]


def _metrics(table: SeriesTable, quantiles: NDArray[np.float64]) -> dict[str, float | int | str]:
    missing = table.missing
    metrics: dict[str, float | int | str] = {
        "rows": table.rows,
        "columns": len(table.columns),
        "filled cells": int(missing.sum()),
        "filled share": round(float(missing.mean()), 4),
    }
    if missing.any():
        width = quantiles[-1] - quantiles[0]
        spread = np.nanstd(table.values, axis=0)
        relative = (width / np.where(spread > 0, spread, 1.0))[missing]
        metrics["90 % band, in column standard deviations"] = round(float(np.mean(relative)), 3)
    return metrics
