"""ΠGDM: pseudo-inverse guidance for linear measurements."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.gradients import differentiable, fresh
from core.guidance.guide import Guide, gain, projected
from core.guidance.operators import Operator
from core.requirements import require
from core.schedules import scales_at
from core.spaces.gaussian import Gaussian
from core.state import Time, time64, wide


@dataclass(frozen=True)
class PiGDM(Guide):
    """Conditions on y = A x_0 + std n with p(x_0 | x_t) taken for N(q, r^2) (Song et al. 2023).

    p(y | x_t) = N(A q, r^2 A A^T + std^2), whose gradient is one vector–Jacobian product.  r^2 is the posterior
    variance of normal data, sigma^2 d^2 / (alpha^2 d^2 + sigma^2), which for d = 1 and alpha = 1 is the paper's
    sigma^2 / (1 + sigma^2).  Exact for normal data of that width; for others as wrong as that variance is.

    Attributes:
        inner: The denoiser of the prior.
        operator: A.
        y: The measurement `[m]` or `[batch, m]`.
        std: Standard deviation of its noise, 0 for none.
        data_std: d, standard deviation of clean data.
    """

    operator: Operator
    y: Tensor
    std: float = 0.0
    data_std: float = 1.0

    def __call__(self, x: Tensor, t: Time) -> Tensor:
        """The guided prediction `[batch, ...]` at one time for all samples: one evaluation, differentiated.

        Raises:
            Unsuited: Outside R^n.
            ValueError: If samples have times of their own.
        """
        process = require(self.process, Gaussian, "ΠGDM")
        if time64(t).ndim:
            raise ValueError("ΠGDM walks all samples at one time")
        alpha, sigma = scales_at(process.schedule, float(t))
        variance = (sigma * self.data_std) ** 2 / ((alpha * self.data_std) ** 2 + sigma**2)
        with differentiable():
            leaf = wide(fresh(x)).requires_grad_(True)
            q = self.inner(leaf, t)
            residual = self.y - self.operator(q.detach())
            pull = self.operator.adjoint(self.operator.solve(residual, variance, self.std**2))
            slope = torch.autograd.grad(q, leaf, pull.to(q))[0]
        guided: Tensor = q.detach() + gain(process, x, t) * projected(process, slope)
        return guided.detach()
