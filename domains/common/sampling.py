"""From the request's `Sampling` to the core: solver, time grid, noise."""

from __future__ import annotations

from torch import Tensor

from core.noise import Noise
from core.sampling import Solver
from core.schedules import Schedule
from core.solvers.ancestral import Ancestral
from core.solvers.heun import Heun
from core.solvers.multistep import Multistep
from core.solvers.unipc import UniPC
from core.time_grids import uniform
from domains.common.errors import BadInput
from domains.common.task import Sampling


def solver_of(sampling: Sampling) -> Solver:
    """The solver that the request names."""
    if sampling.solver == "ancestral":
        return Ancestral(1.0)
    if sampling.solver == "multistep":
        return Multistep(0.0)
    if sampling.solver == "heun":
        return Heun(0.0)
    return UniPC(3, lower_final=True, steps=sampling.steps)


def grid_of(sampling: Sampling, schedule: Schedule) -> Tensor:
    """Times `[steps + 1]`: even in t, which on the cosine schedule is even in angle."""
    return uniform(sampling.steps)


def noise_of(sampling: Sampling, count: int) -> Noise:
    """One stream a sample, from the request's seed."""
    return Noise.of(sampling.seed, count)


def evaluations(sampling: Sampling) -> int:
    """Denoiser evaluations per sample without guidance."""
    return 2 * sampling.steps - 1 if sampling.solver == "heun" else sampling.steps


def refuse_guidance(sampling: Sampling) -> None:
    """For models without an unconditional branch.

    Raises:
        BadInput: If a guidance weight other than 1 is asked for.
    """
    if sampling.guidance != 1.0:
        raise BadInput("guidance", "this model has no unconditional branch to guide away from; leave it at 1")
