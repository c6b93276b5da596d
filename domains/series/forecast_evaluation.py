"""`launch.py eval series.forecast`: joint forecasts from rolling origins beside the classical ones.

Marginals are scored by CRPS in units of the column's standard deviation before the test part; the joint law by

    CRPS-sum = mean over origins and steps of CRPS(sum_c X_c / s_c, sum_c y_c / s_c)  /  mean of |sum_c y_c / s_c|

with s_c that standard deviation. CRPS is the closed form for Gaussian forecasts and the fair estimator for samples,
so that neither gains from the number of draws. The customary form of GluonTS and TimeGrad (Salinas et al. 2019,
"High-dimensional multivariate forecasting with low-rank Gaussian copula processes"), twice the summed pinball loss at
the levels 0.05, 0.10, ..., 0.95 over the summed |sum|, averaged over levels, is printed beside it. There columns are
summed as they are; here they are scaled first, or the largest column would be all that counts.
"""

from __future__ import annotations

import itertools
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor

from core.metrics.probabilistic import crps_gaussian, crps_quantiles, crps_samples, sample_quantiles
from domains.common.evaluation_table import EvaluationTable, Metric
from domains.series.benchmark_data import Benchmark, data_folder, etth1, exchange_rates
from domains.series.column_statistics import column_scale
from domains.series.forecast_baselines import Forecast, JointGaussian, forecasters
from domains.series.residual_bands import Array

Progress = Callable[[float, float, str], None]
Watch = Callable[[float], None]
SeededForecaster = Callable[[Array, int, int, Watch], Forecast]
"""`(past [T, C], horizon, seed, watch)` -> a forecast; `watch` is told the share done."""

LEVELS = torch.arange(1, 20, dtype=torch.float64) / 20
METRICS = (
    Metric("CRPS-sum", "lower", 4),
    Metric("CRPS-sum (19 quantiles)", "lower", 4),
    Metric("CRPS", "lower", 4),
    Metric("MAE", "lower", 4),
    Metric("coverage of 90 %", 0.9, 3),
    Metric("seconds", "lower", 1, compared=False),
)
OURS = "Langevin"
SAMPLES = 100
CONTEXT_ROWS = 5000  # of the past are handed to our model, which looks at its own window's length of them

NOTES = (
    "CRPS-sum is the CRPS of the sum over columns, each divided by its standard deviation before the test part, over "
    "the mean absolute value of that sum; closed form for Gaussian forecasts, fair estimator for samples. The second "
    "row of tables is the customary form with 19 quantiles (GluonTS, TimeGrad) on the same scaled sum.",
    "CRPS and MAE are in units of each column's standard deviation before the test part; MAE judges the median.",
    "Naive and seasonal naive: Gaussian with the covariance of their own past errors at each step ahead. ETS: "
    "additive errors, trend none or damped, season none or additive, by AICc a column, paths with jointly drawn "
    "innovations. VAR: lags by AIC, rows fitted to and a factor on each column's spread by CRPS on past forecasts.",
    "How the baselines are set up (500 rows for ETS, the choices of rows for VAR) was settled while looking at their "
    "scores on some origins of these test parts, for the lower CRPS: that favours the baselines.",
    "Baselines see the whole past of the origin, which on ETTh1 includes its training part; our model is zero-shot "
    "on both: it is trained on neither.",
    "Seconds are processor time per origin. Spread (±) is the standard deviation over seeds: other origins and other "
    "noise.",
)


@dataclass(frozen=True)
class Setting:
    """A benchmark with a horizon and a number of origins, spread evenly over its test part."""

    benchmark: Benchmark
    horizon: int
    origins: int

    @property
    def name(self) -> str:
        """As tables print it."""
        return f"{self.benchmark.name}, {self.horizon} steps"

    def origin_rows(self, seed: int) -> list[int]:
        """First rows that are forecast: one drawn in each of equal parts of the test part."""
        rng = np.random.default_rng([seed, zlib.crc32(self.name.encode())])
        room = len(self.benchmark.values) - self.horizon + 1 - self.benchmark.test_start
        edges = np.linspace(0, room, self.origins + 1)
        return [
            self.benchmark.test_start + int(a + rng.random() * (b - a)) for a, b in itertools.pairwise(edges)
        ]


def watching(progress: Progress | None, begun: float, part: float, total: float, message: str) -> Watch:
    """A function that turns the share done of one part of the work into progress of the whole."""

    def watch(share: float) -> None:
        if progress is not None:
            progress(begun + share * part, total, message)

    return watch


def _marginal(forecast: Forecast, scale: Array, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """CRPS, absolute error of the median, and inside the 90 % band, `[H, C]` each, in units of `scale`."""
    if isinstance(forecast, JointGaussian):
        mean, std = torch.from_numpy(forecast.mean / scale), torch.from_numpy(forecast.std / scale)
        half = float(norm.ppf(0.95)) * std
        return crps_gaussian(mean, std, y), (mean - y).abs(), (y - mean).abs() <= half
    samples = torch.from_numpy(np.asarray(forecast, dtype=np.float64) / scale)
    lower, median, upper = sample_quantiles(samples, torch.tensor([0.05, 0.5, 0.95]))
    return crps_samples(samples, y), (median - y).abs(), (y >= lower) & (y <= upper)


def _sum(forecast: Forecast, scale: Array, total: Tensor) -> tuple[Tensor, Tensor]:
    """CRPS of the scaled sum over columns, exact and by 19 quantiles, `[H]` each."""
    if isinstance(forecast, JointGaussian):
        mean, std = (torch.from_numpy(part) for part in forecast.total(1 / scale))
        quantiles = mean + torch.from_numpy(norm.ppf(LEVELS.numpy()))[:, None] * std
        return crps_gaussian(mean, std, total), crps_quantiles(quantiles, LEVELS, total)
    sums = torch.from_numpy((np.asarray(forecast, dtype=np.float64) / scale).sum(axis=-1))
    return crps_samples(sums, total), crps_quantiles(sample_quantiles(sums, LEVELS), LEVELS, total)


def score_forecasts(forecasts: Sequence[Forecast], truths: Sequence[Array], scale: Array) -> dict[str, float]:
    """Metrics over origins.

    Args:
        forecasts: One an origin.
        truths: `[H, C]` each, complete.
        scale: `[C]`.

    Raises:
        ValueError: If a forecast is not finite.
    """
    marginal: list[tuple[Tensor, Tensor, Tensor]] = []
    summed: list[tuple[Tensor, Tensor]] = []
    totals: list[Tensor] = []
    for forecast, truth in zip(forecasts, truths, strict=True):
        y = torch.from_numpy(truth / scale)
        marginal.append(_marginal(forecast, scale, y))
        totals.append(y.sum(dim=-1))
        summed.append(_sum(forecast, scale, totals[-1]))
    crps, error, inside = (torch.stack(parts).double().mean().item() for parts in zip(*marginal, strict=True))
    exact, quantile = (torch.stack(parts).mean().item() for parts in zip(*summed, strict=True))
    size = torch.stack(totals).abs().mean().item()
    if not np.isfinite([crps, exact]).all():
        raise ValueError("a forecast is not a finite number")
    return {
        "CRPS-sum": exact / size,
        "CRPS-sum (19 quantiles)": quantile / size,
        "CRPS": crps,
        "MAE": error,
        "coverage of 90 %": inside,
    }


def forecast_and_score(
    table: EvaluationTable,
    settings: Sequence[Setting],
    methods: Callable[[Setting], Mapping[str, SeededForecaster]],
    seeds: Sequence[int],
    progress: Progress | None = None,
) -> None:
    """Adds to `table` the scores of every method in every setting with every seed."""
    jobs = [(setting, seed) for setting in settings for seed in seeds]
    for number, (setting, seed) in enumerate(jobs):
        values = setting.benchmark.values
        scale = column_scale(values[: setting.benchmark.test_start])
        rows = setting.origin_rows(seed)
        truths = [values[row : row + setting.horizon] for row in rows]
        offered = methods(setting)
        for rank, (name, forecast) in enumerate(offered.items()):
            made = []
            started = time.process_time()
            for k, row in enumerate(rows):
                begun = number + (rank + k / len(rows)) / len(offered)
                message = f"{setting.name}, seed {seed}: {name}"
                watch = watching(progress, begun, 1 / len(rows) / len(offered), len(jobs), message)
                watch(0.0)
                made.append(forecast(values[:row], setting.horizon, seed * 1000 + k, watch))
            seconds = (time.process_time() - started) / len(rows)
            table.add(name, setting.name, seed, {**score_forecasts(made, truths, scale), "seconds": seconds})
    if progress is not None:
        progress(len(jobs), len(jobs), "done")


def _ours(model: str | None, samples: int) -> dict[str, SeededForecaster]:
    """The task's own function."""
    from domains.common.task import Sampling
    from domains.series.forecasting import forecast_values

    def forecast(past: Array, horizon: int, seed: int, watch: Watch) -> Array:
        return forecast_values(
            past[-CONTEXT_ROWS:],
            horizon,
            samples=samples,
            sampling=Sampling(seed=seed, model=model),
            watch=lambda done, total, _: watch(done / max(total, 1e-9)),
        )

    return {OURS: forecast}


def evaluate_forecast(
    data: Path | None = None,
    *,
    model: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    quick: bool = False,
    progress: Progress | None = None,
    baselines_only: bool = False,
) -> EvaluationTable:
    """The table of `series.forecast` on ETTh1 and the exchange rates, with its baselines.

    Args:
        data: Folder with the benchmark tables; `../shared/data` beside the project where None.
        model: Name or folder of the model; the task's own where None.
        seeds: Each gives other origins and other noise.
        quick: One seed, four origins, fewer samples: a first look.
        progress: Called with `(done, total, message)`; what it raises stops the evaluation.
        baselines_only: Leave our model out.

    Raises:
        BadInput: If the data or the model are not there.
    """
    folder = data_folder(data)
    settings = [Setting(etth1(folder), 24, 12), Setting(exchange_rates(folder), 30, 10)]
    if quick:
        settings, seeds = [Setting(s.benchmark, s.horizon, 4) for s in settings], seeds[:1]
    ours = {} if baselines_only else _ours(model, SAMPLES // 2 if quick else SAMPLES)
    table = EvaluationTable(
        "series.forecast",
        "Forecasting from rolling origins: ETTh1 and exchange rates",
        METRICS,
        ours=tuple(ours),
        notes=[*NOTES, *(f"{s.name}: {s.origins} origins a seed." for s in settings)],
        command="python launch.py eval series.forecast" + (" --quick" if quick else ""),
    )

    def methods(setting: Setting) -> dict[str, SeededForecaster]:
        def named(name: str) -> SeededForecaster:
            def forecast(past: Array, horizon: int, seed: int, watch: Watch) -> Forecast:
                return forecasters(setting.benchmark.period, seed)[name](past, horizon)

            return forecast

        return {**ours, **{name: named(name) for name in forecasters(setting.benchmark.period)}}

    forecast_and_score(table, settings, methods, seeds, progress=progress)
    return table
