"""Solvers and grids by name, and walks that look at the run at every evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.noise import Noise
from core.requirements import Unsuited, suits
from core.sampling import Counted, NotFinite, Step, sample
from core.schedules import Schedule
from core.solvers import SOLVERS
from core.solvers.adaptive_ode import NotConverged
from core.time_grids import karras, uniform, uniform_log_snr
from domains.common.errors import BadInput
from domains.common.task import Run


@dataclass(frozen=True)
class Watched:
    """A denoiser that asks the run before each evaluation whether to go on, so that a long step can be left."""

    inner: Any
    run: Run

    @property
    def process(self) -> Any:
        """The process of the denoiser inside."""
        return self.inner.process

    def __call__(self, x: Any, t: Any) -> Any:
        """One evaluation."""
        self.run.check()
        return self.inner(x, t)


def fitting(process: Any) -> list[str]:
    """Names of the solvers that do here what they are named for: in jumps, those of smooth spaces would not."""
    return [
        name
        for name, named in SOLVERS.items()
        if suits(named.space, process) and (process.smooth or named.space != "every smooth space")
    ]


def solver_name(wanted: str, process: Any, space: str) -> str:
    """The solver that is meant, if it is defined for a process.

    Args:
        wanted: A name, or `auto`.
        process: Of the denoiser.
        space: Its space in words, for the message.

    Raises:
        BadInput: If it is not defined there, with those that are.
    """
    if wanted == "auto":
        return "multistep" if process.smooth else "ancestral"
    named, known = SOLVERS[wanted], fitting(process)
    if wanted not in known:
        raise BadInput(
            "solver",
            f"{named.title} is defined for {named.space}, not for {space}; choose {', '.join(known)}",
        )
    return wanted


def grid_of(name: str, schedule: Schedule, steps: int, start: float) -> Tensor:
    """Times `[steps + 1]` from `start` to 0."""
    if name == "karras":
        return karras(schedule, steps, start)
    return uniform_log_snr(schedule, steps, start) if name == "log-snr" else uniform(steps, start)


def counted(f: Any, run: Run) -> Counted:
    """`f`, counting its evaluations and seeing a cancel between them."""
    return Counted(Watched(f, run))


@torch.no_grad()
def walked(
    f: Any,
    solver: Any,
    x: Any,
    times: Tensor,
    noise: Noise,
    *,
    field: str = "solver",
    resume: Step | None = None,
) -> Iterator[Step]:
    """The steps of a walk.

    Args:
        f: The denoiser.
        solver: The step.
        x: State at the first time.
        times: `[steps + 1]`.
        noise: One stream a sample.
        field: The field to blame where the solver breaks down.
        resume: A step of an earlier attempt, after which the walk goes on.

    Raises:
        BadInput: If the solver is not defined for the process, or breaks down.
    """
    try:
        yield from sample(f, solver, x, times, noise, resume=resume)
    except Unsuited as error:
        raise BadInput(field, str(error)) from None
    except (NotFinite, NotConverged) as error:
        raise BadInput(
            field, f"broke down: {error}; take more steps, less guidance or another grid"
        ) from None
