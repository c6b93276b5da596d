"""DPS: diffusion posterior sampling for measurements by any differentiable function of clean data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.denoiser import Denoiser
from core.gradients import differentiable, fresh
from core.guidance.guide import Guide, gain, projected
from core.noise import Noise
from core.requirements import require
from core.sampling import Solver, Step
from core.spaces.gaussian import Gaussian
from core.state import Time, wide
from core.steering import Known

Measurement = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class DPS(Guide):
    """Conditions on y = A(x_0) + std n as if x_0 were its prediction (Chung et al. 2023, theorem 1 and eq. 11).

    The true likelihood p(y | x_t) is wider, by what x_0 still varies given x_t: the guide trusts y too much at high
    noise.  For small `std` its gradients are stiff, and `DPSSteps` is the form that is used.

    Attributes:
        inner: The denoiser of the prior.
        operator: A, linear or not, from `[batch, ...]` to `[batch, m]`.
        y: The measurement `[m]` or `[batch, m]`.
        std: Standard deviation of its noise; above 0.
        scale: Factor on the gradient.
    """

    operator: Measurement
    y: Tensor
    std: float
    scale: float = 1.0

    def __call__(self, x: Tensor, t: Time) -> Tensor:
        """The guided prediction `[batch, ...]`: one evaluation, differentiated.

        Raises:
            Unsuited: Outside R^n.
        """
        process = require(self.process, Gaussian, "DPS")
        with differentiable():
            leaf = wide(fresh(x)).requires_grad_(True)
            q = self.inner(leaf, t)
            misfit = (self.y - self.operator(q)).square().sum() / (2 * self.std**2)
            slope = torch.autograd.grad(misfit, leaf)[0]
        guided: Tensor = q.detach() - self.scale * gain(process, x, t) * projected(process, slope)
        return guided.detach()


@dataclass(frozen=True)
class DPSSteps:
    """DPS as its algorithm 1 has it: each step of a solver, then a step down the misfit (Chung et al. 2023).

    x_s <- x_s - (step / ||y - A(q)||) grad ||y - A(q)||^2.  The step size stands for no noise level: the walk ends near
    the measurement, not in the posterior.

    Attributes:
        solver: The step inside, of one evaluation.
        operator: A, linear or not, from `[batch, ...]` to `[batch, m]`.
        y: The measurement `[m]` or `[batch, m]`.
        step: zeta', the paper's step size, 0.1 to 1.
    """

    solver: Solver
    operator: Measurement
    y: Tensor
    step: float = 0.5

    def __call__(self, f: Denoiser, x: Tensor, t: Time, s: Time, memory: Any, noise: Noise) -> Step:
        """One step, one evaluation, differentiated.

        Raises:
            Unsuited: Outside R^n.
        """
        process = require(f.process, Gaussian, "DPS")
        with differentiable():
            leaf = wide(fresh(x)).requires_grad_(True)
            q = f(leaf, t)
            misfit = (self.y - self.operator(q)).flatten(1).norm(dim=1)
            slope = torch.autograd.grad(misfit.sum(), leaf)[0]  # of the norm: half of grad square / norm
        step = self.solver(Known(process, q.detach()), x, t, s, memory, noise)
        return step._replace(x=step.x - 2 * self.step * projected(process, slope))
