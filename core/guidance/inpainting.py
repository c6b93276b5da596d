"""Inpainting by replacement, in every space: what is known is put back, noisy, before each step; and time travel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.denoiser import Denoiser
from core.noise import Noise
from core.sampling import Solver, Step
from core.state import State, Time, each, leaves


def merged(mask: Any, known: State, x: State) -> State:
    """`known` where the mask is set, `x` elsewhere.

    Args:
        mask: Booleans over the leading axes of the state, or one a part: a rotation is known as a whole.
        known: A state.
        x: A state of the same shapes.
    """

    def one(m: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return torch.where(m.reshape(m.shape + (1,) * (b.ndim - m.ndim)), a.to(b.dtype), b)

    return each(one, mask, known, x)


@dataclass(frozen=True)
class Inpainted:
    """A solver whose state holds the known part, corrupted to the time of each step (Song et al. 2021, appendix I.2).

    The rest sees a noisy copy of what is known and not the known itself, so the law drawn is biased, the more the fewer
    steps look back; `time_travel` makes the bias small at a price (Lugmayr et al. 2022, algorithm 1).  A step of the
    grid that goes up in time draws x_t from q(x_t | x_s) and forgets the memory of the solver inside.

    Attributes:
        solver: The step inside; one whose memory holds no states (not UniPC, whose corrector redoes the last step).
        known: Clean data; only what the mask shows is read.
        mask: Where it is known: booleans over the state's leading axes, or one a part.
        renoised: False keeps the known part clean at all times, which is right where that is a state that the denoiser
            takes for what it is: unmasked tokens of an absorbing process.
    """

    solver: Solver
    known: State
    mask: Any
    renoised: bool = True

    def __call__(self, f: Denoiser, x: State, t: Time, s: Time, memory: Any, noise: Noise) -> Step:
        """One step down, with the evaluations of the solver inside; or one jump up, with none.

        Memory: (memory of the solver inside, the last prediction).
        """
        inner, last = memory if memory is not None else (None, f.process.point(x))
        if _compared(s, t, "gt"):
            y = f.process.renoise(x, t, s, noise.at("travel"))
            return Step(s, y, last, (None, last))
        there = self.known
        if self.renoised:
            there = f.process.corrupt(self.known, t, noise.at("known"))
        step = self.solver(f, merged(self.mask, there, x), t, s, inner, noise)
        if not self.renoised or _compared(s, each(torch.zeros_like, s), "eq", every=True):
            step = step._replace(x=merged(self.mask, self.known, step.x))
        return step._replace(memory=(step.memory, step.prediction))


def _compared(a: Time, b: Time, how: str, every: bool = False) -> bool:
    found = [
        bool(v.all())
        for _, v in leaves(each(lambda u, w: getattr(torch.as_tensor(u), how)(torch.as_tensor(w)), a, b))
    ]
    return all(found) if every else any(found)


def time_travel(times: Tensor, length: int, repeats: int) -> Tensor:
    """A grid that goes back up `length` steps, `repeats` - 1 times from every `length`-th level (RePaint, §4.2).

    Args:
        times: Decreasing times `[steps + 1]`, the last one clean data.
        length: Steps a jump ("jump length").
        repeats: How often each stretch is walked ("number of resamplings"); 1 leaves the grid as it is.

    Returns:
        Times with jumps up; the steps down are about `repeats` times as many.

    Raises:
        ValueError: If `length` or `repeats` is below 1.
    """
    if length < 1 or repeats < 1:
        raise ValueError("time travel needs length >= 1 and repeats >= 1")
    levels = len(times) - 1  # noisy ones; level k counts from the least noisy up
    due = dict.fromkeys(range(0, levels - length, length), repeats - 1)
    walk, level = [], levels
    while level >= 1:
        level -= 1
        walk.append(level)
        if due.get(level, 0) > 0:
            due[level] -= 1
            level += length + 1  # the next step down lands on the top of the jump
    return torch.cat([times[[levels - 1 - k for k in walk]], times[-1:]])
