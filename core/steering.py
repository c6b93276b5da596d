"""Feynman–Kac steering: particles that resample by how much the reward of their prediction grew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.denoiser import Denoiser
from core.noise import Noise
from core.process import Process
from core.sampling import Solver, Step
from core.state import Prediction, State, Time, take


@dataclass(frozen=True)
class Known:
    """A denoiser whose answer is already at hand."""

    process: Process
    prediction: Prediction

    def __call__(self, x: State, t: Time) -> Prediction:
        """The answer."""
        return self.prediction


def systematic(log_weights: Tensor, noise: Noise) -> Tensor:
    """Indices `[particles]` by systematic resampling: one uniform draw, the least variance of the simple schemes."""
    n = len(log_weights)
    u = (torch.arange(n, dtype=torch.float64) + float(noise.shared().random())) / n
    cumulative = log_weights.detach().cpu().double().softmax(0).cumsum(0)
    return torch.searchsorted(cumulative, u).clamp(max=n - 1).to(log_weights.device)


@dataclass(frozen=True)
class Steered:
    """Steering by a reward of the prediction, in every space (Singhal et al. 2025; Wu et al. 2023).

    The reward telescopes over the steps, so the law of x_0 is tilted by exp(reward) whatever the steps between; the
    batch is the population of particles.

    Attributes:
        solver: The step inside; one that needs no memory (ancestral).
        reward: prediction -> `[particles]`, in nats.
    """

    solver: Solver
    reward: Callable[[Prediction], Tensor]

    def __call__(self, f: Denoiser, x: State, t: Time, s: Time, memory: Any, noise: Noise) -> Step:
        """One step, one evaluation (two at the first)."""
        if memory is None:  # the first tilt acts on x_1 itself
            q = f(x, t)
            chosen = systematic(self.reward(q), noise.at("first"))
            x, q = take(x, chosen), take(q, chosen)
        else:
            q = memory
        step = self.solver(Known(f.process, q), x, t, s, None, noise.at("move"))
        new = f(step.x, s)
        chosen = systematic(self.reward(new) - self.reward(q), noise.at("resample"))
        return Step(s, take(step.x, chosen), take(q, chosen), take(new, chosen))
