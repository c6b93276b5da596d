"""Moment-matched measurements: the likelihood of y with the true covariance of x_0 given x_t, by Jacobian products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from core.gradients import differentiable, fresh
from core.guidance.guide import Guide, gain, projected
from core.requirements import require
from core.spaces.gaussian import Gaussian
from core.state import Time, wide


@dataclass(frozen=True)
class MomentMatched(Guide):
    """Conditions on y = A(x_0) + std n with the normal law of mean and covariance of x_0 given x_t (Boys et al. 2024).

    The covariance is (sigma^2 / alpha) dq/dx, Tweedie's second formula, so p(y | x_t) = N(A q, A C A^T + std^2)
    (TMPD; Peng et al. 2024).  Exact for normal data; on mixtures off only where x_t leaves several components open.  A
    nonlinear A is linearised at the prediction.

    Attributes:
        inner: The denoiser of the prior.
        operator: A, linear or not, from `[batch, ...]` to `[batch, m]`.
        y: The measurement `[m]` or `[batch, m]`.
        std: Standard deviation of its noise, 0 for none.
        diagonal: Take A C A^T for a diagonal matrix with its row sums, as the paper does where m is large: two
            vector–Jacobian products in place of m.
    """

    operator: Callable[[Tensor], Tensor]
    y: Tensor
    std: float = 0.0
    diagonal: bool = False

    def __call__(self, x: Tensor, t: Time) -> Tensor:
        """The guided prediction `[batch, ...]`: one evaluation, differentiated m times.

        Raises:
            Unsuited: Outside R^n.
        """
        process = require(self.process, Gaussian, "moment matching")
        with differentiable():
            leaf = wide(fresh(x)).requires_grad_(True)
            q = self.inner(leaf, t)
            seen = self.operator(q)
            amount = gain(process, x, t)
            residual = (self.y - seen).detach()
            find = self._by_rows if self.diagonal else self._by_matrix
            slope = find(leaf, q, seen, residual, amount)
        guided: Tensor = q.detach() + amount * projected(process, slope)
        return guided.detach()

    def _by_matrix(self, leaf: Tensor, q: Tensor, seen: Tensor, residual: Tensor, amount: Tensor) -> Tensor:
        pulled, plain = [], []
        for i in range(seen.shape[1]):
            a, b = torch.autograd.grad(seen[:, i].sum(), (leaf, q), retain_graph=True)
            pulled.append(a)
            plain.append(b)
        rows, images = torch.stack(pulled, 1), torch.stack(plain, 1)  # [batch, m, ...]: A J and A
        covariance = (amount * rows).flatten(2) @ images.flatten(2).mT
        values, vectors = torch.linalg.eigh((covariance + covariance.mT) / 2)
        # A learned denoiser's Jacobian need not be a covariance, and without noise nothing else keeps it off zero.
        floor = values.amax(1, keepdim=True).clamp_min(0) * torch.finfo(values.dtype).eps ** 0.5
        values = values.clamp_min(0) + self.std**2 + floor
        solved = (vectors @ ((vectors.mT @ residual[..., None]) / values[..., None]))[..., 0]
        return torch.einsum("bm,bm...->b...", solved, rows)

    def _by_rows(self, leaf: Tensor, q: Tensor, seen: Tensor, residual: Tensor, amount: Tensor) -> Tensor:
        summed = torch.autograd.grad(seen.sum(), leaf, retain_graph=True)[0]
        sums: Tensor = torch.func.jvp(self.operator, (q.detach(),), ((amount * summed).to(q),))[1]
        solved = residual / (sums.clamp_min(0) + self.std**2).clamp_min(torch.finfo(sums.dtype).eps)
        slope: Tensor = torch.autograd.grad(seen, leaf, solved)[0]
        return slope
