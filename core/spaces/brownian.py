"""Heat flow on a manifold: every formula is the Euclidean one with + and - read as exp and log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.noise import Noise
from core.schedules import VE, Schedule, log_snr
from core.spaces.rotations import SO3, igso3_log_density, wrapped_log_density
from core.state import append_axes, time64, wide


@dataclass(frozen=True)
class Wrapped:
    """A normal law in the tangent space at `mean` `[batch, ..., 3, 3]`, carried to the group by the exponential."""

    manifold: SO3
    mean: Tensor
    std: Tensor

    def sample(self, noise: Noise) -> Tensor:
        """A draw; the mean itself where the standard deviation is zero."""
        if self.std.ndim == 0 and float(self.std) == 0.0:
            return self.mean
        return self.manifold.exp(self.mean, self.std * self.manifold.normal(self.mean, noise))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density against the Haar measure of total mass one, `[batch]`."""
        angle = self.manifold.distance(self.mean, x)
        std = self.std.squeeze(-1) if self.std.ndim else self.std
        value = wrapped_log_density(angle, std).to(x)
        return value.reshape(len(x), -1).sum(1)


@dataclass(frozen=True)
class Brownian:
    """Brownian motion on SO(3) (Leach et al. 2022; De Bortoli et al. 2022).  alpha is 1 and sigma grows.

    Predictions are rotations: exp_x(sigma^2 score), where the score is that of p(x_t).  Regressing clean rotations
    instead biases the weights of a mixture, since a mean of tangent vectors to x_0 is not the score's; see `target`.

    Attributes:
        schedule: Exploding; at `sigma(1)` the law must be close to uniform (2 rad is; 1.5 is not quite).
    """

    schedule: Schedule = VE(0.05, 2.0)
    manifold: SO3 = SO3()

    @property
    def smooth(self) -> bool:
        """Predictions vary smoothly with noise."""
        return True

    def sigma(self, t: Tensor, x: Tensor) -> Tensor:
        """sigma_t, ready to multiply with tangent vectors at `x`."""
        return append_axes(self.schedule(time64(t))[1], x[..., 0])

    def log_snr(self, t: Tensor) -> Tensor:
        """-log sigma, float64."""
        return log_snr(self.schedule, t)

    def point(self, x0: Tensor) -> Tensor:
        """The rotation itself."""
        return x0

    def target(self, x0: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """exp_x(sigma^2 grad log p(x | x0)), with the score of IGSO(3) (Yim et al. 2023, proposition 3.4).

        Its tangent at x is the regression target whose mean over x_0 given x_t is the score of the marginal law.
        """
        # Narrower, and at t = 0, the answer is x0 to all digits.
        sigma = self.schedule(time64(t))[1].clamp_min(1e-4)
        away = self.manifold.log(x0, x)  # body frames at both ends agree along the geodesic
        angle = away.norm(dim=-1)
        width = sigma if sigma.ndim == 0 else append_axes(sigma, angle)
        slope = igso3_log_density(angle, width)[1]
        scale = (width.double() ** 2 * slope / angle.double().clamp_min(1e-7)).to(x)
        return self.manifold.exp(x, scale[..., None] * away)

    def prior(self, like: Tensor, noise: Noise) -> Tensor:
        """Uniform rotations of the shape of `like`."""
        return self.manifold.uniform(like, noise)

    def corrupt(self, x0: Tensor, t: Tensor, noise: Noise) -> Tensor:
        """x_t given x_0, an exact draw from IGSO(3)(x_0, sigma_t)."""
        sigma = self.schedule(time64(t))[1]
        return self.manifold.igso3(x0, sigma if sigma.ndim == 0 else append_axes(sigma, x0[..., 0, 0]), noise)

    def bridge(self, q: Tensor, x: Tensor, t: Tensor, s: Tensor, eta: float = 1.0) -> Wrapped:
        """A step along the geodesic from `x` towards `q` with fresh noise of share `eta` (geodesic random walk)."""
        q, x = wide(q), wide(x)
        clock = torch.nan_to_num(2 * (self.log_snr(t) - self.log_snr(s)), nan=0.0)  # a part held at 0 stays
        fresh = eta * (-torch.expm1(clock)).clamp(0, 1)
        ratio = torch.exp(clock / 2)  # sigma_s / sigma_t
        way = append_axes(1 - ratio * (1 - fresh).sqrt(), x[..., 0])
        std = append_axes(self.schedule(time64(s))[1] * fresh.sqrt(), x[..., 0])
        return Wrapped(self.manifold, self.manifold.exp(x, way * self.manifold.log(x, q)), std)

    def blend(self, x: Tensor, qs: Sequence[Tensor], ws: Sequence[float | Tensor]) -> Tensor:
        """The weighted sum of tangent vectors at `x`."""
        x = wide(x)
        total = self.manifold.log(x, wide(qs[0])) * ws[0]
        for q, w in zip(qs[1:], ws[1:], strict=True):
            total = total + w * self.manifold.log(x, wide(q))
        return self.manifold.exp(x, total)

    def divergence(self, x: Tensor, p: Tensor, q: Tensor) -> Tensor:
        """Mean squared difference of tangent vectors at `x`, rad^2, `[batch]`."""
        x = wide(x)
        return (self.manifold.log(x, wide(p)) - self.manifold.log(x, wide(q))).square().flatten(1).mean(1)
