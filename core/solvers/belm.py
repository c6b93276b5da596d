"""O-BELM: a two-step method that walks back exactly the way it came."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from core.denoiser import Denoiser
from core.noise import Noise
from core.requirements import require
from core.sampling import Step
from core.spaces.gaussian import Gaussian
from core.state import time64, wide


@dataclass(frozen=True)
class BELM:
    """The bidirectional explicit linear multistep method of least local error (Wang et al. 2024, "O-BELM").

    In y = x / alpha and the noise level v = sigma / alpha the flow is dy = noise dv.  From two states and the noise at
    the newer one, with h the next stride in v and g the last one,

        y_s = (h / g)^2 y_u + (1 - (h / g)^2) y_t + h (1 + h / g) noise(x_t, t)

    which is exact for parabolas, so of order 2 with one evaluation.  Solved for y_u it is the same formula with h and g
    exchanged: the same class walking upward undoes its own steps to rounding, whatever the network says.  The first
    step has no older state and is a deterministic bridge; whoever inverts keeps the last two states (see
    `core.inversion`).

    Rounding errors grow on the way up by (h / g)^2 a step: grids with equal strides in sigma / alpha keep them, grids
    that crowd near data multiply them up to the squared ratio of their longest to their shortest stride.
    """

    order = 2
    evaluations = 1

    def __call__(self, f: Denoiser, x: Tensor, t: Tensor, s: Tensor, memory: Any, noise: Noise) -> Step:
        """One step, one evaluation.  Memory: the last time and the state there.

        Raises:
            Unsuited: If the process is not Gaussian.
        """
        process = require(f.process, Gaussian, "BELM")
        t, s, x = time64(t), time64(s), wide(x)
        q = f(x, t)
        if memory is None:
            return Step(s, process.bridge(q, x, t, s, 0.0).sample(noise), q, (t, x))
        u, before = memory
        level, last, following = (process.noise_level(v) for v in (t, u, s))
        ratio = (following - level) / (level - last)
        if (
            ratio == 0 or not math.isfinite(ratio) or not math.isfinite(following)
        ):  # at pure noise: as the first
            return Step(s, process.bridge(q, x, t, s, 0.0).sample(noise), q, (t, x))
        (alpha_u, _), (alpha, _), (alpha_s, _) = (process.scales(v, x) for v in (u, t, s))
        old = ratio**2 / alpha_u * wide(before) + (1 - ratio**2) / alpha * x
        fresh = (following - level) * (1 + ratio) * process.noise_in(q, x, t)
        return Step(s, alpha_s * (old + fresh), q, (t, x))
