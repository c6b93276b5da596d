"""The two-stage walk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from core.denoiser import Denoiser
from core.noise import Noise
from core.sampling import Step
from core.state import State, Time, each, leaves


@dataclass(frozen=True)
class Heun:
    """Averages the predictions at both ends of the step: the exponential-integrator form of Heun's method, order 2.

    On R^n with eta 0 it is DPM-Solver++'s second order with its inner point at the end of the step (Lu et al. 2022b,
    algorithm 1 with r = 1).  The last step onto t = 0 needs no second evaluation and takes none.

    Parts whose predictions jump take first-order steps.

    Attributes:
        eta: Share of fresh noise, one number or one a part; both stages draw the same numbers.
    """

    eta: Any = 0.0
    order = 2
    evaluations = 2

    def __call__(self, f: Denoiser, x: State, t: Time, s: Time, memory: Any, noise: Noise) -> Step:
        """One step, two evaluations; one where it ends on clean data."""
        q, bridge = f(x, t), f.process.bridge
        y = bridge(q, x, t, s, self.eta).sample(noise)
        if all(bool((v == 0).all()) for _, v in leaves(each(torch.as_tensor, s))):
            return Step(s, y, q)
        ahead = each(lambda smooth: 0.5 if smooth else 0.0, f.process.smooth)
        p = f.process.blend(x, [q, f(y, s)], [each(lambda w: 1 - w, ahead), ahead])
        return Step(s, bridge(p, x, t, s, self.eta).sample(noise), p)
