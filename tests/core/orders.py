"""Measuring orders of convergence in float64: the harness of every solver's tests.

In one dimension the probability-flow ODE carries quantiles: F_s(x_s) = F_t(x_t) for the marginal laws F, so the state
at the end of a walk is known in closed form.  `Bent` and `mutant` make a solver's coefficient wrong on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.exact import GaussianMixture
from core.metrics.transport import wasserstein
from core.noise import Noise
from core.schedules import EDM, VE, Flow, Schedule, SubVP, VPCosine, VPLinear
from core.spaces.gaussian import Gaussian
from core.time_grids import uniform
from tests.core.conftest import Packed, double

SCHEDULES: dict[str, Schedule] = {
    "vp-linear": VPLinear(),
    "vp-cosine": VPCosine(),
    "sub-vp": SubVP(),
    "ve": VE(0.01, 20.0),
    "edm": EDM(0.01, 20.0),
    "flow": Flow(),
}
START, END = 0.9, 0.05
MEANS, STDS, WEIGHTS = (torch.tensor(v, dtype=torch.float64) for v in ([-1.0, 1.0], [0.5, 0.6], [0.3, 0.7]))


def uniform_t(schedule: Schedule, steps: int) -> Tensor:
    return uniform(steps, START, END)


def uniform_clock(schedule: Schedule, steps: int) -> Tensor:
    """Equal steps of the log signal-to-noise ratio."""
    alpha, sigma = schedule(torch.tensor([START, END], dtype=torch.float64))
    first, last = (alpha.log() - sigma.log()).tolist()
    return schedule.time_of(torch.linspace(first, last, steps + 1, dtype=torch.float64))


def mixture(schedule: Schedule) -> GaussianMixture:
    return GaussianMixture(Gaussian(schedule), MEANS[:, None], STDS, WEIGHTS)


def starts(schedule: Schedule) -> Tensor:
    alpha, sigma = schedule(torch.tensor(START, dtype=torch.float64))
    return torch.linspace(-2, 2, 12, dtype=torch.float64)[:, None] * (alpha**2 + sigma**2).sqrt()


def carried(schedule: Schedule, x: Tensor, start: float = START) -> Tensor:
    """The state at END of the flow that starts in `x` at `start`, by bisection of its quantile."""

    def level(x: Tensor, t: float) -> Tensor:
        alpha, sigma = schedule(torch.tensor(t, dtype=torch.float64))
        std = ((alpha * STDS) ** 2 + sigma**2).sqrt()
        return (WEIGHTS * torch.special.ndtr((x - alpha * MEANS) / std)).sum(-1, keepdim=True)

    wanted = level(x, start)
    low, high = torch.full_like(x, -100.0), torch.full_like(x, 100.0)
    for _ in range(64):
        middle = (low + high) / 2
        below = level(middle, END) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def quantiles(schedule: Schedule, t: float, count: int) -> Tensor:
    """Of the mixture's law at time t, `[1, count]`, by bisection."""
    alpha, sigma = schedule(double(t))
    wanted = (torch.arange(count, dtype=torch.float64)[:, None] + 0.5) / count
    low, high = torch.full_like(wanted, -100.0), torch.full_like(wanted, 100.0)
    for _ in range(60):
        middle = (low + high) / 2
        z = (middle - alpha * MEANS) / ((alpha * STDS) ** 2 + sigma**2).sqrt()
        below = (WEIGHTS * torch.special.ndtr(z)).sum(-1, keepdim=True) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return ((low + high) / 2).reshape(1, count)


def distance_to_law(walk: Callable[..., Any], f: Any, solver: Any, grid: Tensor, draws: int = 4000) -> float:
    """First Wasserstein distance of walks from START to the mixture's law at END; many walks in one sample."""
    schedule = f.process.schedule
    x = f.process.corrupt(quantiles(schedule, 0.0, draws), double(START), Noise.of(1, 1)).reshape(1, draws, 1)
    y = walk(Packed(f), solver, x, grid, Noise.of(2, 1))
    return float(wasserstein(y.reshape(draws, 1), quantiles(schedule, END, draws).T))


def order(steps: Sequence[int], errors: Sequence[float]) -> float:
    """Slope of the regression of log error on log step."""
    return -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


def check_order(measured: float, least: float, most: float) -> None:
    assert least <= measured <= most, f"measured order {measured:.2f}, wanted {least} to {most}"


def measure_euclid(
    walk: Callable[..., Any],
    f: Any,
    schedule: Schedule,
    solver: Any,
    grid: Callable[..., Tensor],
    steps: Sequence[int],
) -> float:
    x = starts(schedule)
    want = carried(schedule, x)
    return order(steps, [float((walk(f, solver, x, grid(schedule, n)) - want).abs().max()) for n in steps])


@dataclass(frozen=True)
class Bent:
    """A process with one coefficient of the solver's formula off by a tenth.

    Attributes:
        stretch: Factor on the weights of all predictions of a blend but the first.
        missing: Share of each step that is not walked.
    """

    inner: Any
    stretch: float = 1.0
    missing: float = 0.0

    @property
    def smooth(self) -> Any:
        return self.inner.smooth

    def log_snr(self, t: Any) -> Any:
        return self.inner.log_snr(t)

    def blend(self, x: Any, qs: Any, ws: Any) -> Any:
        others = [w * self.stretch for w in ws[1:]]
        return self.inner.blend(x, qs, [1 - sum(others), *others])

    def bridge(self, q: Any, x: Any, t: Any, s: Any, eta: Any = 1.0) -> Any:
        return self.inner.bridge(q, x, t, torch.lerp(s, t, self.missing), eta)


@dataclass(frozen=True)
class Mutant:
    """An exact denoiser that hands out a bent process."""

    inner: Any
    process: Bent

    def __call__(self, x: Any, t: Any) -> Any:
        return self.inner(x, t)


def mutant(f: Any, **fault: float) -> Mutant:
    return Mutant(f, Bent(f.process, **fault))
