"""A change of mind on the way: another denoiser from a time on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

from core.denoiser import Denoiser
from core.process import Process
from core.state import Prediction, State, Time, each, leaves, time64


@dataclass(frozen=True)
class Staged:
    """One denoiser down to a time, the next from there on: other words, other networks, other guides, in every space.

    What is decided early, such as a layout, is decided by the first, details by the last: prompt editing in the manner
    of AUTOMATIC1111's web UI, and experts by noise level (Balaji et al. 2022, §4).

    Attributes:
        stages: (time, denoiser), the times falling; each denoiser serves times at or below its own, the first
            also those above.  All have one process.

    Raises:
        ValueError: If there is no stage, or the times do not fall.
    """

    stages: Sequence[tuple[float, Denoiser]]

    def __post_init__(self) -> None:
        times = [t for t, _ in self.stages]
        if not times or any(a <= b for a, b in pairwise(times)):
            raise ValueError("stages need falling times, and one of them at least")

    @property
    def process(self) -> Process:
        """The process that all stages share."""
        return self.stages[0][1].process

    def given(self, cond: Any) -> Self:
        """The same stages, each with `cond` bound."""
        bound: Any = [(t, getattr(f, "given")(cond)) for t, f in self.stages]  # noqa: B009 - conditional ones have it
        return replace(self, stages=bound)

    def __call__(self, x: State, t: Time) -> Prediction:
        """The prediction of the stage that `t` lies in; the latest time of any sample or part decides."""
        now = max(float(v.max()) for _, v in leaves(each(time64, t)))
        chosen = self.stages[0][1]
        for begins, f in self.stages[1:]:
            if now <= begins:
                chosen = f
        return chosen(x, t)
