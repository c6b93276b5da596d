"""Forecasting: the rows past the end of a table are a gap without a right side; long horizons go window by window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.noise import Noise
from core.sampling import NotFinite
from domains.common.errors import BadInput
from domains.common.resuming import Forgetful, Keeps
from domains.common.sampling import noise_of, refuse_guidance
from domains.common.task import Artifact, Result, Run, Sampling
from domains.series.anchors import Anchors, anchors, table_facts
from domains.series.figure import forecast_figure
from domains.series.imputation import Preview, quantiles_of, write_figure
from domains.series.model import SeriesModel
from domains.series.outputs import (
    LEVELS,
    write_forecast,
    write_forecast_quantiles,
    write_forecast_quantiles_parquet,
)
from domains.series.posterior import Units, Watch, denoise, series_model
from domains.series.table import read_table
from domains.series.tasks import ForecastRequest
from domains.series.windows import slice_rows


def forecast_values(
    values: NDArray[np.floating],
    horizon: int,
    *,
    samples: int = 64,
    sampling: Sampling | None = None,
    model: str | None = None,
    device: str = "cpu",
    watch: Watch | None = None,
) -> NDArray[np.float64]:
    """Joint sample paths past the end of a table.

    Half a window is sampled at a time; each next one sees the paths drawn so far as its past (TimeGrad's idea, Rasul et
    al. 2021, with windows in place of rows).

    Args:
        values: `[rows, columns]` in any units, NaN where missing; rows are in time order and evenly spaced.
        horizon: Rows to forecast.
        samples: Paths.
        sampling: Solver, steps, seed; `model` here overrides its model.
        watch: Called with (work done, work in all, snapshot) at every denoiser step; may raise to stop.

    Returns:
        `[samples, horizon, columns]`.

    Raises:
        BadInput: If the model cannot be used or the options do not fit it.
    """
    sampling = sampling or Sampling()
    found = series_model(model or sampling.model, device)
    return Future(values, horizon, found, sampling, samples, device).draw(watch)


class Future:
    """The paths of one table, grown window by window; see `forecast_values` for the arguments.

    Attributes:
        evaluations: Of the denoiser, a path and window; 0 before `draw`.

    Raises:
        BadInput: If the options do not fit the model.
    """

    def __init__(
        self,
        values: NDArray[np.floating],
        horizon: int,
        model: SeriesModel,
        sampling: Sampling,
        samples: int,
        device: str,
    ) -> None:
        refuse_guidance(sampling)
        self.model, self.sampling, self.samples, self.device = model, sampling, samples, device
        self.evaluations = 0
        self.units = Units.of(values[-8 * model.context :])
        keep = min(len(values), model.context)
        # The history is one for all paths at first, and one a path once paths have been drawn.
        self.history = self.units.values[None, :, -keep:]
        self.present = self.units.present[None, :, -keep:]
        self.horizon = horizon
        facts = table_facts(self.units.values[None], self.units.present[None], model.context // 2)
        self.season = facts[2:]

    @torch.inference_mode()
    def draw(self, watch: Watch | None = None, keeps: Keeps | None = None) -> NDArray[np.float64]:
        """The paths `[samples, horizon, columns]`; `watch` and `keeps` as for `Posterior.draw`."""
        chunk = self.model.window // 2
        starts = range(0, self.horizon, chunk)
        total = float(len(starts) * self.sampling.steps)
        noise = noise_of(self.sampling, self.samples)
        keeps = keeps or Forgetful()
        kept = keeps.kept("future") or {"paths": [], "evaluations": 0, "walk": None}
        paths: list[Tensor] = list(kept["paths"])
        self.evaluations = kept["evaluations"]
        for path in paths:
            self._append(path)
        for k, start in enumerate(starts):
            if k < len(kept["paths"]):
                continue
            rows = min(chunk, self.horizon - start)

            def report(step: int, which: range, future: Tensor, k: int = k) -> None:
                if watch is not None:

                    def snapshot() -> NDArray[np.float64]:
                        so_far = torch.cat([*[p[which.start : which.stop] for p in paths], future], -1)
                        grown = torch.nn.functional.pad(
                            so_far, (0, self.horizon - so_far.shape[-1]), value=torch.nan
                        )
                        return self.units.restore(grown)

                    watch(k * self.sampling.steps + step, total, snapshot)

            def keep(make: Callable[[], dict[str, Any]]) -> None:
                drawn = {"paths": paths, "evaluations": self.evaluations}
                keeps.keep("future", lambda: {"walk": make(), **drawn})

            walk = kept["walk"] if k == len(kept["paths"]) else None
            future = self._extend(rows, noise.at("window", start), report, keep, walk)
            paths.append(future)
            self._append(future)
        return self.units.restore(torch.cat(paths, -1))

    def _extend(
        self,
        rows: int,
        noise: Noise,
        report: Callable[[int, range, Tensor], None],
        keep: Callable[[Callable[[], dict[str, Any]]], None],
        kept: Mapping[str, Any] | None,
    ) -> Tensor:
        """The next `rows` of every path, `[samples, columns, rows]` in stored units."""
        context, window = self.model.context, self.model.window
        many = len(self.history)
        shown = min(self.history.shape[-1], context - rows)
        values, present = self.history[..., -shown:], self.present[..., -shown:]
        end = shown + rows
        begin = max(0, end - window)
        values = torch.stack([slice_rows(v, 0, context) for v in values])
        present = torch.stack([slice_rows(p, 0, context) for p in present])
        season = (self.season[0].expand(many, -1, -1), self.season[1].expand(many, -1, -1))
        a = anchors(values, present, torch.full((many,), begin), window, season=season)
        hole = torch.zeros(many, values.shape[1], context)
        hole[..., :end] = (~present[..., :end]).float()
        where = hole[..., begin : begin + window]
        device_anchors = Anchors(**{name: v.to(self.device) for name, v in vars(a).items()})
        with torch.autocast(torch.device(self.device).type, torch.bfloat16):
            memory = self.model.read(device_anchors)
        prior = noise.at("prior").normal(torch.empty(self.samples, *where.shape[1:]))
        ahead = slice(shown - begin, end - begin)

        def restored(state: Tensor, which: range) -> Tensor:
            mine = slice(None) if many == 1 else slice(which.start, which.stop)
            one_each = Anchors(**{name: v[mine] for name, v in vars(a).items()})
            return one_each.restore(state.float().cpu())[..., ahead]

        try:
            states, evaluations = denoise(
                self.model,
                memory,
                where,
                prior,
                noise,
                self.sampling,
                lambda step, which, x: report(step, which, restored(x, which)),
                keep,
                kept,
            )
        except NotFinite as error:
            raise BadInput("table", f"sampling broke down ({error}); look for extreme values") from None
        # What never fell below zero does not in the next window's past either.
        floor = torch.from_numpy((self.units.floor - self.units.centre) / self.units.unit).float()[:, None]
        self.evaluations = max(self.evaluations, evaluations)
        return torch.maximum(restored(states, range(self.samples)), floor)

    def _append(self, future: Tensor) -> None:
        history = self.history.expand(self.samples, -1, -1)
        present = self.present.expand(self.samples, -1, -1)
        keep = self.model.context
        self.history = torch.cat([history, future], -1)[..., -keep:]
        self.present = torch.cat([present, torch.ones_like(future, dtype=torch.bool)], -1)[..., -keep:]


def forecast_table(request: ForecastRequest, run: Run) -> Result:
    """The task `series.forecast`: reads the table, samples paths past its end, writes them and their plots."""
    run.progress(0, 1, "reading the table")
    table = read_table(request.table, request.time_column)
    sampling = request.sampling

    def figure(samples: NDArray[np.float64]) -> dict[str, Any]:
        known = int(np.isfinite(samples).all(axis=(0, 2)).sum())
        return forecast_figure(table, quantiles_of(samples[:, : max(1, known)]), max_points=6000)

    preview = Preview(run, figure, request.samples * request.horizon * len(table.columns))
    model = series_model(sampling.model, run.device)
    future = Future(table.values, request.horizon, model, sampling, request.samples, run.device)
    quantiles = quantiles_of(future.draw(preview, run))
    run.progress(1, 1, "writing the results")
    write_forecast(table, quantiles[LEVELS.index(0.5)], run.directory / "forecast.csv")
    write_forecast_quantiles(table, quantiles, run.directory / "quantiles.csv")
    write_forecast_quantiles_parquet(table, quantiles, run.directory / "quantiles.parquet")
    artifacts = [
        Artifact("forecast.csv", "table", "Forecast, the median of each cell"),
        Artifact("quantiles.csv", "table", "Quantiles of each forecast cell"),
        Artifact("quantiles.parquet", "table", "Quantiles, in full precision"),
        *write_figure(forecast_figure(table, quantiles), run, "plot"),
    ]
    spread = np.nanstd(table.values, axis=0)
    width = float(np.mean((quantiles[-1] - quantiles[0]) / np.where(spread > 0, spread, 1.0)))
    metrics: dict[str, float | int | str] = {
        "rows": table.rows,
        "columns": len(table.columns),
        "forecast rows": request.horizon,
        "90 % band, in column standard deviations": round(width, 3),
    }
    return Result(artifacts, metrics, future.evaluations, list(table.notes))
