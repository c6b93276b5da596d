"""The first-order walk: aim at the prediction, bridge to the next time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.denoiser import Denoiser
from core.noise import Noise
from core.sampling import Step
from core.state import State, Time


@dataclass(frozen=True)
class Ancestral:
    """DDPM at eta 1 (Ho et al. 2020), DDIM at eta 0 (Song, Meng & Ermon 2021).

    On tokens it is D3PM's and MDLM's sampler, on rotations the geodesic random walk.

    Attributes:
        eta: Share of fresh noise, one number or one a part.
    """

    eta: Any = 1.0
    order = 1
    evaluations = 1

    def __call__(self, f: Denoiser, x: State, t: Time, s: Time, memory: Any, noise: Noise) -> Step:
        """One step, one evaluation."""
        q = f(x, t)
        return Step(s, f.process.bridge(q, x, t, s, self.eta).sample(noise), q)
