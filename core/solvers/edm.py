"""EDM's stochastic Heun sampler: stir the state a little, then take a step of second order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.denoiser import Denoiser
from core.noise import Noise
from core.requirements import require
from core.sampling import Step
from core.spaces.gaussian import Gaussian, Normal
from core.state import time64, wide


@dataclass(frozen=True)
class StochasticHeun:
    """Algorithm 2 of Karras et al. 2022, for every schedule by way of y = x / alpha at the noise level sigma / alpha.

    Before each step the noise level is raised by the factor 1 + churn, within [low, high], by fresh noise of standard
    deviation `inflation`; then slopes at both ends of the step are averaged.  With churn 0 it is EDM's Heun method of
    order 2.  Levels above the process's last one do not exist: there the state is stirred less, or not at all.

    Attributes:
        churn: gamma; the paper's min(S_churn / steps, sqrt(2) - 1).
        low: S_tmin, in units of sigma / alpha.
        high: S_tmax.
        inflation: S_noise, standard deviation of the fresh noise.

    Raises:
        ValueError: If churn is outside [0, sqrt(2) - 1].
    """

    churn: float = 0.0
    low: float = 0.0
    high: float = math.inf
    inflation: float = 1.0
    order = 2
    evaluations = 2

    def __post_init__(self) -> None:
        if not 0 <= self.churn <= math.sqrt(2) - 1 + 1e-12:
            raise ValueError("churn must lie within [0, sqrt(2) - 1]")

    def __call__(self, f: Denoiser, x: Tensor, t: Tensor, s: Tensor, memory: Any, noise: Noise) -> Step:
        """One step, two evaluations; one where it ends on clean data or begins at pure noise.

        Raises:
            Unsuited: If the process is not Gaussian.
        """
        process = require(f.process, Gaussian, "EDM's stochastic Heun")
        t, s, x = time64(t), time64(s), wide(x)
        x, t = self._stirred(process, x, t, noise)
        q = f(x, t)
        y = process.bridge(q, x, t, s, 0.0).sample(noise)  # Euler's step along (y - q) / level
        level, following = process.noise_level(t), process.noise_level(s)
        if following == 0 or level == 0 or math.isinf(level) or math.isinf(following):
            return Step(s, y, q)
        (alpha, _), (alpha_s, _) = process.scales(t, x), process.scales(s, x)
        ahead = (y / alpha_s - f(y, s)) / following
        # The prediction to which a bridge is the step along the mean slope.
        p = (q + x / alpha - level * ahead) / 2
        return Step(s, process.bridge(p, x, t, s, 0.0).sample(noise), p)

    def _stirred(self, process: Gaussian, x: Tensor, t: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """The state at a raised noise level, and the time of that."""
        level = process.noise_level(t)
        if self.churn == 0 or not self.low <= level <= self.high or not 0 < level < math.inf:
            return x, t
        raised = process.schedule.time_of(
            torch.tensor(-math.log(level * (1 + self.churn)), dtype=torch.float64)
        )
        alpha, target = process.scales(t, x)[0], process.scales(raised, x)[0]
        reached = process.noise_level(raised)
        if not level < reached < math.inf:
            return x, t
        std = target * math.sqrt(reached**2 - level**2) * self.inflation
        return Normal(target / alpha * x, std, process.project).sample(noise.at("churn")), raised
