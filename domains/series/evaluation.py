"""`launch.py eval series.impute`: our model and the classical methods on tables that no training has seen.

Every method gets the same table with the same cells taken away and returns a distribution for each of them. Errors
are divided by the standard deviation of their column over the test part, so that columns weigh the same; cells that
were missing from the start are never scored.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from core.metrics.probabilistic import crps_gaussian, crps_samples, sample_quantiles
from domains.common.evaluation_table import EvaluationTable, Metric
from domains.series.baselines import imputers
from domains.series.benchmark_data import MASKS, Benchmark, beijing_stations, data_folder, etth1
from domains.series.column_statistics import column_scale
from domains.series.forecast_evaluation import Progress, Watch, evaluate_forecast, watching
from domains.series.residual_bands import Array, Bands, Mask

__all__ = ["evaluate_forecast", "evaluate_impute", "score", "write_results"]

Filler = Callable[[Array, int, Watch], Bands | Array]
"""`(values [T, C] with NaN, seed, watch)` -> Gaussian bands, or samples `[S, T, C]`; `watch` is told the share done."""

METRICS = (
    Metric("CRPS", "lower", 4),
    Metric("MAE", "lower", 4),
    Metric("RMSE", "lower", 4),
    Metric("coverage of 90 %", 0.9, 3),
    Metric("seconds", "lower", 1, compared=False),
)
OURS, ANCHOR, TRIVIAL = "Langevin", "Langevin's anchor alone", "mean"
QUICK_ROWS = 1000
SAMPLES = 32

NOTES = (
    "All errors are divided by the standard deviation of their column over the test part; cells that were missing "
    "from the start are not scored. The true values themselves would score 0 in CRPS, MAE and RMSE.",
    "CRPS of Gaussian bands is the closed form; CRPS of samples is the fair estimator (Ferro 2014), which, like the "
    "closed form, does not depend on the number of samples on average. MAE judges the median, RMSE the mean.",
    "Our bands are the quantiles that the task writes: the k-th smallest of S samples stands at k / (S + 1).",
    "Methods without bands of their own get Gaussian ones from their errors on observed cells hidden in the same "
    "pattern: one spread a column or one a distance to the next observation, from squared or absolute errors, "
    "whichever has the lower CRPS on errors it was not fitted to. kNN's k is chosen on hidden cells as well.",
    "The Kalman smoother is the best of six structural models a column (local level, smooth trend, AR(2), the first "
    "and AR(1) and AR(2) with a season) by CRPS on hidden cells, fitted by maximum likelihood on up to 1,500 rows; "
    "it works on each column alone. Seasonal methods are told the season of 24 rows; our model is not.",
    "Seconds are processor time: a busy machine does not change them.",
    "How the baselines are set up (how spreads are scaled, the rows that models are fitted to, unweighted "
    "neighbours) was settled while looking at their scores on these very tables, always for the lower CRPS: that "
    "favours the baselines.",
    "No method sees anything but the table with gaps; ours has seen other tables in training, none of these.",
    "Spread (±) is the standard deviation over seeds, each with its own mask and its own noise.",
)


def score(filled: Bands | Array, truth: Array, judged: Mask, scale: Array) -> dict[str, float]:
    """Metrics of one filled table over the cells `judged`.

    Args:
        filled: Gaussian bands, or samples `[S, T, C]`.
        truth: `[T, C]`; may be NaN where not judged.
        judged: `[T, C]`.
        scale: `[C]`, by which errors are divided.

    Raises:
        ValueError: If there is no cell to judge, or a filled cell is not a finite number.
    """
    if not judged.any():
        raise ValueError("no cell to judge")
    unit = np.broadcast_to(scale, truth.shape)[judged]
    y = torch.from_numpy(truth[judged] / unit)
    if isinstance(filled, Bands):
        centre = torch.from_numpy(filled.mean[judged] / unit)
        spread = torch.from_numpy(filled.std[judged] / unit)
        crps, median = crps_gaussian(centre, spread, y), centre
        lower, upper = (torch.from_numpy(filled.quantile(level)[judged] / unit) for level in (0.05, 0.95))
    else:
        samples = torch.from_numpy(np.asarray(filled, dtype=np.float64)[:, judged] / unit)
        crps, centre = crps_samples(samples, y), samples.mean(dim=0)
        lower, median, upper = sample_quantiles(samples, torch.tensor([0.05, 0.5, 0.95]))
    if not bool(crps.isfinite().all()):
        raise ValueError("a filled cell is not a finite number")
    return {
        "CRPS": crps.mean().item(),
        "MAE": (median - y).abs().mean().item(),
        "RMSE": (centre - y).square().mean().sqrt().item(),
        "coverage of 90 %": ((y >= lower) & (y <= upper)).double().mean().item(),
    }


def taken_away(mask: str, benchmark: str, shape: tuple[int, int], seed: int) -> Mask:
    """The cells `[T, C]` taken away by `MASKS[mask]`; the same for the same names and seed, whatever else is run."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{benchmark}/{mask}".encode())])
    return MASKS[mask](rng, shape)


def fill_and_score(
    table: EvaluationTable,
    benchmarks: Sequence[Benchmark],
    methods: Callable[[Benchmark], Mapping[str, Filler]],
    seeds: Sequence[int],
    masks: Sequence[str] = tuple(MASKS),
    progress: Progress | None = None,
) -> None:
    """Adds to `table` the scores of every method on every benchmark's test part, mask and seed."""
    jobs = [(b, m, s) for b in benchmarks for m in masks for s in seeds]
    for number, (benchmark, mask, seed) in enumerate(jobs):
        truth = benchmark.test
        missing = taken_away(mask, benchmark.name, truth.shape, seed)
        judged = missing & ~np.isnan(truth)
        offered = methods(benchmark)
        for rank, (name, fill) in enumerate(offered.items()):
            message = f"{benchmark.name}, {mask}, seed {seed}: {name}"
            watch = watching(progress, number + rank / len(offered), 1 / len(offered), len(jobs), message)
            watch(0.0)
            started = time.process_time()
            filled = fill(np.where(missing, np.nan, truth), seed, watch)
            seconds = time.process_time() - started
            metrics = score(filled, truth, judged, column_scale(truth))
            table.add(name, f"{benchmark.name}, {mask}", seed, {**metrics, "seconds": seconds})
    if progress is not None:
        progress(len(jobs), len(jobs), "done")


def _baseline(impute: Callable[[Array], Bands]) -> Filler:
    return lambda values, seed, watch: impute(values)


def _ours(model: str | None, samples: int) -> dict[str, Filler]:
    """The task's own function, and the classical estimate that it starts from."""
    from domains.common.task import Sampling
    from domains.series.imputation import anchor_bands, impute_values

    def fill(values: Array, seed: int, watch: Watch) -> Array:
        return impute_values(
            values,
            samples=samples,
            sampling=Sampling(seed=seed, model=model),
            progress=lambda done, total: watch(done / max(total, 1e-9)),
        )

    def anchor(values: Array, seed: int, watch: Watch) -> Bands:
        return Bands(*anchor_bands(values))

    return {OURS: fill, ANCHOR: anchor}


def evaluate_impute(
    data: Path | None = None,
    *,
    model: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    quick: bool = False,
    progress: Progress | None = None,
    baselines_only: bool = False,
) -> EvaluationTable:
    """The table of `series.impute` on ETTh1 and the two Beijing stations left out of training, with its baselines.

    Args:
        data: Folder with the benchmark tables; `../shared/data` beside the project where None.
        model: Name or folder of the model; the task's own where None.
        seeds: One mask and one stream of noise each.
        quick: One seed, the first 1,000 rows of each test part, half the samples: a first look.
        progress: Called with `(done, total, message)`; what it raises stops the evaluation.
        baselines_only: Leave our model out.

    Raises:
        BadInput: If the data or the model are not there.
    """
    folder = data_folder(data)
    benchmarks = [etth1(folder), *beijing_stations(folder)]
    if quick:
        benchmarks, seeds = [b.first_of_test(QUICK_ROWS) for b in benchmarks], seeds[:1]
    samples = SAMPLES // 2 if quick else SAMPLES
    ours = {} if baselines_only else _ours(model, samples)
    table = EvaluationTable(
        "series.impute",
        "Filling gaps in tables never seen: " + ", ".join(b.name for b in benchmarks),
        METRICS,
        ours=tuple(ours),
        references=(TRIVIAL,),
        notes=[
            *NOTES,
            f"{OURS}: {samples} samples of every missing cell.",
            *(f"{b.name}: {b.test.shape[0]:,} rows x {b.test.shape[1]} columns." for b in benchmarks),
        ],
        command="python launch.py eval series.impute" + (" --quick" if quick else ""),
    )

    def methods(benchmark: Benchmark) -> dict[str, Filler]:
        return {**ours, **{name: _baseline(f) for name, f in imputers(benchmark.period).items()}}

    fill_and_score(table, benchmarks, methods, seeds, progress=progress)
    return table


def write_results(table: EvaluationTable, folder: Path = Path("docs/results")) -> list[Path]:
    """Writes the table as Markdown, CSV and JSON; returns the paths."""
    return table.write(folder)
