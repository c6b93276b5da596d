"""Frozen denoisers on which solvers are measured: a light table, so that no domain has to import another."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domains.common.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from core.noise import Noise

# Name -> `module:function` that makes it: (noise, device, model) -> BenchProblem, one sample a stream of the noise.
PROBLEMS: dict[str, str] = {
    "mixture-2": "domains.lab.problems:mixture_2",
    "mixture-16": "domains.lab.problems:mixture_16",
    "mixture-256": "domains.lab.problems:mixture_256",
    "series-base": "domains.series.bench_problem:series_problem",
}


@dataclass(frozen=True)
class BenchProblem:
    """A denoiser bound to some samples, with their states at the first time.

    Attributes:
        title: For people.
        denoiser: f(x, t) of a smooth process with a schedule.
        state: Prior states at `start`, `[samples, ...]`.
        start: The first time.
        draw: Exact draws of clean data, one a stream; None where the law is not known.
        calibrate: (folder of the model, steps) -> what its card says under "calibration", "grids" of a fitted grid of
            so many steps; raises BadInput where the data is not there; None where there is nothing to calibrate.
    """

    title: str
    denoiser: Any
    state: Tensor
    start: float
    draw: Callable[[Noise], Tensor] | None = None
    calibrate: Callable[[Path, int], dict[str, float]] | None = None


def bench_problem(name: str, noise: Noise, device: str = "cpu", model: str | None = None) -> BenchProblem:
    """The problem called `name`, with one sample a stream of `noise`.

    Args:
        name: One of `PROBLEMS`.
        noise: One stream a sample.
        device: Where the network runs.
        model: A folder made by `train`, in place of the built-in model that the problem is named after.

    Raises:
        BadInput: If there is none, or what it needs is not installed.
    """
    if name not in PROBLEMS:
        raise BadInput("problem", f"no problem {name[:60]!r}; choose one of {', '.join(PROBLEMS)}")
    module, _, function = PROBLEMS[name].partition(":")
    problem: BenchProblem = getattr(importlib.import_module(module), function)(noise, device, model)
    return problem
