"""Restart sampling: walk down, go back up with fresh noise, and walk down again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.denoiser import Denoiser
from core.noise import Noise
from core.sampling import Solver, Step
from core.state import State, Time, each, leaves


def restart_grid(times: Tensor, low: float, high: float, steps: int, repeats: int) -> Tensor:
    """`times` with `repeats` returns from `low` to `high`, each followed by `steps` equal steps in t down again.

    Args:
        times: Decreasing times `[n]`.
        low: Where the walk turns back; the time of the grid nearest to it is taken.
        high: Up to where; above `low`.
        steps: Of each repetition.
        repeats: How often.

    Returns:
        Times `[n + repeats * (steps + 1)]` that jump up; walk them with `Restart`.

    Raises:
        ValueError: If `high` is not above `low`, or a count is not positive.
    """
    turn = int((times - low).abs().argmin())
    bottom = float(times[turn])
    if not bottom < high <= 1 or steps < 1 or repeats < 0:
        raise ValueError("restarts need low < high <= 1, steps >= 1 and repeats >= 0")
    again = torch.linspace(high, bottom, steps + 1, dtype=torch.float64)
    return torch.cat([times[: turn + 1].double(), *[again] * repeats, times[turn + 1 :].double()])


@dataclass(frozen=True)
class Restart:
    """Any solver on a grid whose times jump up: there the state is renoised (Xu et al. 2023, algorithm 1).

    Noise between the walks contracts the error that the walks have gathered, as an SDE would, while the walks
    themselves keep the order of an ODE solver.  It holds in every space that has a forward kernel.

    Attributes:
        solver: For the way down; it begins anew after each jump.
    """

    solver: Solver

    @property
    def order(self) -> Any:
        """That of the solver inside."""
        return getattr(self.solver, "order", None)

    @property
    def evaluations(self) -> Any:
        """Those of the solver inside; a jump takes none."""
        return getattr(self.solver, "evaluations", None)

    def __call__(self, f: Denoiser, x: State, t: Time, s: Time, memory: Any, noise: Noise) -> Step:
        """One step down, or one jump up.  Memory: (the last prediction, the solver's memory)."""
        shown, inner = memory if memory is not None else (x, None)
        rises = each(lambda u, v: torch.as_tensor(v > u), t, s)
        if any(bool(up.any()) for _, up in leaves(rises)):
            return Step(s, f.process.renoise(x, t, s, noise.at("restart")), shown, (shown, None))
        step = self.solver(f, x, t, s, inner, noise)
        return step._replace(memory=(step.prediction, step.memory))
