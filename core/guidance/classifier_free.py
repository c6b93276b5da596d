"""Classifier-free guidance and its kin: prediction = (1 - w) weak + w strong."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from core.denoiser import Denoiser, Preconditioned, concatenated
from core.guidance.weights import Weight, all_are, at_clock, blended
from core.joint_denoiser import PreconditionedParts
from core.process import Process
from core.sampling import Counted
from core.state import Prediction, State, Time, batch_size, each, take


@dataclass(frozen=True)
class Guided:
    """Guidance by `blend`, in every space (Ho & Salimans 2022, with w = 1 + their w; w = 1 is no guidance).

    With an unconditional `weak` it is classifier-free guidance, with a negative prompt negative prompting, with a
    lesser network autoguidance (Karras et al. 2024).  On logits it is the exact tilt p^w q^(1-w), on rotations a
    combination of tangent vectors.  Branches that share a network are evaluated in one batch.

    Attributes:
        strong: The branch to go towards.
        weak: The branch to go away from.
        weight: w: a number, one a part, or a function of the clock log(alpha / sigma), such as `Interval`.
    """

    strong: Denoiser
    weak: Denoiser
    weight: Weight

    @property
    def process(self) -> Process:
        """The process of both branches."""
        return self.strong.process

    def __call__(self, x: State, t: Time) -> Prediction:
        """The guided prediction."""
        weight = at_clock(self.weight, self.process, t)
        if all_are(weight, 1.0):
            return self.strong(x, t)
        p, q = both(self.strong, self.weak, x, t)
        return blended(self.process, x, p, q, weight)


def both(strong: Denoiser, weak: Denoiser, x: State, t: Time) -> tuple[Prediction, Prediction]:
    """The predictions of two branches at `x`, in one batch where they share a network."""
    if isinstance(strong, Counted) and isinstance(weak, Counted) and strong.counter is weak.counter:
        strong.counter[0] += 2  # one batch or two, both branches count
        return both(strong.inner, weak.inner, x, t)
    shared = (
        isinstance(strong, Preconditioned | PreconditionedParts)
        and isinstance(weak, Preconditioned | PreconditionedParts)
        and type(strong) is type(weak)
        and strong.network is weak.network
        and replace(strong, cond=None) == replace(weak, cond=None)
        and set(strong.cond or ()) == set(weak.cond or ())
    )
    if not shared:
        return strong(x, t), weak(x, t)
    assert isinstance(strong, Preconditioned | PreconditionedParts)
    assert isinstance(weak, Preconditioned | PreconditionedParts)
    n = batch_size(x)
    twice = each(lambda v: torch.cat([v, v]), x)
    times = each(lambda v: torch.cat([v, v]) if torch.as_tensor(v).ndim else v, t)
    both_at_once = strong.given(concatenated([strong.cond, weak.cond]))(twice, times)
    return take(both_at_once, slice(0, n)), take(both_at_once, slice(n, None))
