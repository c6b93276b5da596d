"""Measured orders of convergence, in float64, against the closed form of the flow that each solver discretises.

In one dimension the probability-flow ODE carries quantiles: F_s(x_s) = F_t(x_t) for the marginal laws F.  On SO(3)
around a single centre it does the same with the angle's law; around several, a fine walk of high order stands in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.exact import GaussianMixture, RotationMixture
from core.noise import Noise
from core.schedules import EDM, VE, Flow, Schedule, SubVP, VPCosine, VPLinear
from core.solvers.ancestral import Ancestral
from core.solvers.heun import Heun
from core.solvers.multistep import Multistep
from core.solvers.unipc import UniPC
from core.spaces.brownian import Brownian
from core.spaces.gaussian import Gaussian
from core.spaces.rotations import igso3_log_density
from core.time_grids import uniform

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
# (solver, least order, greatest order); UniPC's corrector raises its order by up to one.
FIRST = (Ancestral(0.0), 0.85, 1.15)
SECOND = ((Multistep(), 1.85, 2.15), (Heun(), 1.85, 2.15))
HIGHER = ((UniPC(2), 2.5, 3.3), (UniPC(3), 2.5, 4.5))
CASES = (FIRST, *SECOND, *HIGHER)


def name_of(value: Any) -> str | None:
    if isinstance(value, UniPC):
        return f"unipc{value.order}"
    return type(value).__name__.lower() if hasattr(value, "evaluations") else ""


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


@pytest.mark.parametrize(("solver", "least", "most"), CASES, ids=name_of)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
def test_order_on_the_line_in_uniform_time(
    walk: Callable[..., Any], schedule: Schedule, solver: Any, least: float, most: float
) -> None:
    measured = measure_euclid(walk, mixture(schedule), schedule, solver, uniform_t, (64, 128, 192))
    check_order(measured, least, most)


@pytest.mark.parametrize(("solver", "least", "most"), CASES, ids=name_of)
@pytest.mark.parametrize("schedule", [VPCosine(), VPLinear(), Flow()], ids=["vp-cosine", "vp-linear", "flow"])
def test_order_on_the_line_in_uniform_clock(
    walk: Callable[..., Any], schedule: Schedule, solver: Any, least: float, most: float
) -> None:
    measured = measure_euclid(walk, mixture(schedule), schedule, solver, uniform_clock, (32, 64, 96))
    check_order(measured, least, most)


def test_a_fine_walk_ends_on_the_closed_form(walk: Callable[..., Any]) -> None:
    schedule = VPCosine()
    x = starts(schedule)
    y = walk(mixture(schedule), UniPC(3), x, uniform_clock(schedule, 1024))
    assert torch.allclose(y, carried(schedule, x), atol=1e-9)


@pytest.mark.parametrize(
    ("solver", "most"),
    [(Multistep(), 5e-4), (Heun(), 5e-4), (UniPC(2), 1.5e-4), (UniPC(3), 2e-4)],
    ids=name_of,
)
@pytest.mark.parametrize("schedule", [VPCosine(), Flow()], ids=["vp-cosine", "flow"])
def test_walks_from_pure_noise(
    walk: Callable[..., Any], schedule: Schedule, solver: Any, most: float
) -> None:
    """The clock starts at minus infinity, so the first steps are of lower order; the rest still tells."""
    x, steps = torch.linspace(-2, 2, 12, dtype=torch.float64)[:, None], (48, 144)
    want = carried(schedule, x, 1.0)
    errors = [
        float((walk(mixture(schedule), solver, x, uniform(n, 1.0, END)) - want).abs().max()) for n in steps
    ]
    assert order(steps, errors) > 1.5
    assert errors[-1] < most


@pytest.fixture(scope="module")
def rotations(walk: Callable[..., Any]) -> tuple[RotationMixture, Tensor, Tensor]:
    """An exact mixture on SO(3), states at START and, by a fine walk, at the end of `rotation_grid`."""
    process = Brownian()
    centres = process.manifold.uniform(torch.empty(3, 3, 3, dtype=torch.float64), Noise.of(3, 3))
    f = RotationMixture(process, centres, torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64))
    x = process.manifold.uniform(torch.empty(12, 3, 3, dtype=torch.float64), Noise.of(4, 12))
    return f, x, walk(f, UniPC(3), x, rotation_grid(400))


def rotation_grid(steps: int) -> Tensor:
    return uniform(steps, 0.9, 0.4)


def measure_rotations(
    walk: Callable[..., Any], rotations: tuple[RotationMixture, Tensor, Tensor], f: Any, solver: Any
) -> float:
    exact, x, want = rotations
    distance, steps = exact.process.manifold.distance, (24, 48, 96)
    return order(steps, [float(distance(walk(f, solver, x, rotation_grid(n)), want).max()) for n in steps])


@pytest.mark.parametrize(("solver", "least", "most"), [FIRST, *SECOND], ids=name_of)
def test_order_on_rotations(
    walk: Callable[..., Any],
    rotations: tuple[RotationMixture, Tensor, Tensor],
    solver: Any,
    least: float,
    most: float,
) -> None:
    check_order(measure_rotations(walk, rotations, rotations[0], solver), least, most)


def test_the_flow_on_rotations_carries_the_quantiles_of_the_angle(walk: Callable[..., Any]) -> None:
    """Around one centre the flow is radial: its closed form, with no solver of ours in the reference."""
    process = Brownian()
    centre = torch.eye(3, dtype=torch.float64)
    f = RotationMixture(process, centre[None], torch.ones(1, dtype=torch.float64))
    fine = torch.linspace(0, math.pi, 20001, dtype=torch.float64)

    def cumulative(t: float) -> np.ndarray:
        sigma = process.schedule(torch.tensor(t, dtype=torch.float64))[1]
        mass = igso3_log_density(fine, sigma)[0].exp() * (1 - fine.cos()) / math.pi
        return torch.cumulative_trapezoid(mass, fine).numpy()

    angles = np.linspace(0.3, 2.8, 6)
    axis = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    x = process.manifold.exp(centre.expand(6, 3, 3), torch.from_numpy(angles)[:, None] * axis)
    levels = np.interp(angles, fine[1:], cumulative(START))
    want = np.interp(levels, cumulative(0.4), fine[1:])
    y = walk(f, Multistep(), x, uniform(200, START, 0.4))
    tangents = process.manifold.log(centre, y)
    assert torch.allclose(tangents, torch.from_numpy(want)[:, None] * axis, atol=1e-4)


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


MUTANTS = [({"stretch": 1.1} if case[0].order > 1 else {"missing": 0.1}, *case) for case in CASES]


@pytest.mark.parametrize(("fault", "solver", "least", "most"), MUTANTS, ids=name_of)
def test_a_wrong_coefficient_is_seen_on_the_line(
    walk: Callable[..., Any], fault: dict[str, float], solver: Any, least: float, most: float
) -> None:
    schedule = VPCosine()
    f = mutant(mixture(schedule), **fault)
    measured = measure_euclid(walk, f, schedule, solver, uniform_t, (64, 128, 192))
    with pytest.raises(AssertionError, match="measured order"):
        check_order(measured, least, most)


@pytest.mark.parametrize(("fault", "solver", "least", "most"), MUTANTS[:3], ids=name_of)
def test_a_wrong_coefficient_is_seen_on_rotations(
    walk: Callable[..., Any],
    rotations: tuple[RotationMixture, Tensor, Tensor],
    fault: dict[str, float],
    solver: Any,
    least: float,
    most: float,
) -> None:
    measured = measure_rotations(walk, rotations, mutant(rotations[0], **fault), solver)
    with pytest.raises(AssertionError, match="measured order"):
        check_order(measured, least, most)


def test_an_unbent_mutant_has_the_full_order(walk: Callable[..., Any]) -> None:
    """The harness of the mutation tests itself changes nothing."""
    schedule = VPCosine()
    measured = measure_euclid(
        walk, mutant(mixture(schedule)), schedule, Multistep(), uniform_t, (64, 128, 192)
    )
    check_order(measured, 1.85, 2.15)
