"""The series model as a bench problem: windows of a table with gaps that is made here, so no data is needed."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from core.noise import Noise
from domains.common.bench_problems import BenchProblem
from domains.common.sampling import FITTED
from domains.common.task import Sampling
from domains.series.anchors import Anchors, anchors, table_facts
from domains.series.model import load_series_model
from domains.series.posterior import series_model

WINDOWS = 2
_ROWS, _COLUMNS = 1400, 2
_START = 2 / math.pi * math.atan(100.0)  # sigma / alpha = 100, as for the exact laws
_GAP, _BETWEEN = 24, 190


def _table() -> tuple[Tensor, Tensor]:
    """Values and presence `[columns, rows]`: hourly, with a day, a week, a random walk, gaps of a day, 30 % holes."""
    generator = torch.Generator().manual_seed(5)
    hours = torch.arange(_ROWS, dtype=torch.float64)
    noise = torch.randn(_COLUMNS, _ROWS, generator=generator, dtype=torch.float64)
    day, week = torch.sin(2 * math.pi * hours / 24), torch.sin(2 * math.pi * hours / 168 + 1)
    values = (
        torch.stack([3 * day + week, 2 * day.roll(6) - 0.5 * week]) + 0.08 * noise.cumsum(1) + 0.4 * noise
    )
    present = torch.rand(_COLUMNS, _ROWS, generator=generator) > 0.3
    for begin in range(60, _ROWS - _GAP, _BETWEEN):
        present[begin // _BETWEEN % _COLUMNS, begin : begin + _GAP] = False
    return values.float(), present


@lru_cache(maxsize=2)
def _windows(device: str, name: str | None) -> tuple[Tensor, Tensor]:
    """The model's memory of each window, and 1 at its missing entries."""
    model = series_model(name, device)
    values, present = _table()
    level, scale, period, strength = (
        v.expand(WINDOWS, -1, -1) for v in table_facts(values[None], present[None], model.context // 2)
    )
    lead = (model.context - model.window) // 2
    begins = [k * ((_ROWS - model.context) // max(1, WINDOWS - 1)) for k in range(WINDOWS)]
    spans = [slice(b, b + model.context) for b in begins]
    with torch.inference_mode(False), torch.no_grad():
        several = anchors(
            torch.stack([values[:, s] for s in spans]),
            torch.stack([present[:, s] for s in spans]),
            torch.full((WINDOWS,), lead),
            model.window,
            level,
            scale,
            (period, strength),
        )
        memory = model.read(Anchors(**{k: v.to(device) for k, v in vars(several).items()}))
    inner = [slice(b + lead, b + lead + model.window) for b in begins]
    return memory, torch.stack([(~present[:, s]).float() for s in inner]).to(device)


def series_problem(noise: Noise, device: str = "cpu", name: str | None = None) -> BenchProblem:
    """`series-base`, or a model of its kind, on windows with gaps, which the samples take in turn."""
    model = series_model(name, device)
    memory, where = _windows(device, name)
    chosen = torch.arange(len(noise)) % WINDOWS
    f = model.denoiser(where[chosen])
    f = replace(f, cond={"memory": memory[chosen], "where": where[chosen]})
    sigma = float(f.process.schedule(torch.tensor(_START, dtype=torch.float64))[1]) * model.prior_std
    like = torch.empty(len(noise), _COLUMNS, model.window)
    state = noise.at("prior").normal(like).to(device) * where[chosen] * sigma
    return BenchProblem("series-base on two windows with gaps", f, state, _START, calibrate=calibrated_grid)


def calibrated_grid(folder: Path, steps: int) -> dict[str, float]:
    """The prior's standard deviation for walks along a fitted grid, and the scores with it on tables kept aside.

    Args:
        folder: Of the model, on whose card the grid stands.
        steps: Of the grid.

    Raises:
        BadInput: If the tables are not there.
    """
    from domains.series.judge import calibrate
    from domains.series.kept_aside import data_folder, kept_aside

    cases = kept_aside(data_folder(None), load_series_model(folder).context)
    _, tried = calibrate(load_series_model(folder), cases, "cpu", Sampling(solver=FITTED, steps=steps))
    return min(tried, key=lambda row: row["crps"])
