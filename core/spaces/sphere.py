"""The sphere S^2 of directions, and its heat kernel.

A Brownian motion on SO(3) turns any fixed direction into a Brownian motion on the sphere.  So draws come from IGSO(3)
and its cached tables, and the kernel of the sphere is IGSO(3) averaged over the turns about that direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from core.noise import Noise
from core.spaces.manifold import radial
from core.spaces.rotations import SO3, igso3_log_density

_NARROW = 0.5  # below, the Legendre series cancels its digits away where the law is thin
_DEGREES = 26
_NODES = 48


def sphere_log_density(angle: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Log-density of the heat kernel of time sigma^2 against the uniform law, and its slope in the angle, float64.

    Wide laws by the series sum_l (2l + 1) exp(-l (l + 1) sigma^2 / 2) P_l(cos angle) (Perrin 1928; Roberts & Ursell
    1960), narrow ones, of which it would need many terms that cancel, by the average over the fibre of SO(3) -> S^2.

    Args:
        angle: `[...]` in radians, in [0, pi].
        sigma: Broadcastable with `angle`, radians, positive.
    """
    angle = angle.double().clamp(1e-7, math.pi - 1e-7)
    angle, sigma = torch.broadcast_tensors(angle, torch.as_tensor(sigma).double().to(angle.device))
    log_density, slope = torch.empty_like(angle), torch.empty_like(angle)
    narrow = sigma < _NARROW
    for chosen, function in ((narrow, _fibre_average), (~narrow, _legendre_series)):
        if bool(chosen.any()):
            log_density[chosen], slope[chosen] = function(angle[chosen], sigma[chosen])
    return log_density, slope


def _legendre_series(angle: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    cosine = angle.cos()
    before, now = torch.ones_like(cosine), cosine
    slope_before, slope_now = torch.zeros_like(cosine), torch.ones_like(cosine)
    total, rise = torch.ones_like(cosine), torch.zeros_like(cosine)
    for degree in range(1, _DEGREES):
        weight = (2 * degree + 1) * torch.exp(-degree * (degree + 1) * sigma**2 / 2)
        total, rise = total + weight * now, rise + weight * slope_now
        # (l + 1) P_{l+1} = (2l + 1) c P_l - l P_{l-1}, and P'_{l+1} = P'_{l-1} + (2l + 1) P_l
        step, slope_step = ((2 * degree + 1) * cosine * now - degree * before) / (degree + 1), slope_before
        slope_before, slope_now = slope_now, slope_step + (2 * degree + 1) * now
        before, now = now, step
    total = total.clamp_min(1e-300)
    return total.log(), -angle.sin() * rise / total


@lru_cache(maxsize=1)
def _rule() -> tuple[Tensor, Tensor]:
    """Gauss–Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    with torch.inference_mode(False):  # what is remembered may be asked for by a training next
        return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)


def _fibre_average(angle: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of IGSO(3) over rotations of angle phi, cos(phi / 2) = cos(angle / 2) cos(psi), psi uniform.

    With the integral of the small-time expansion's Gaussian in psi this is sqrt(angle / sin(angle)) exp(-angle^2 / 2
    sigma^2), up to its constant; here it is exact, and holds at the far pole too.
    """
    nodes, weights = (v.to(angle.device) for v in _rule())
    half = (angle / 2).cos()
    # Only as far as the integrand is above exp(-40) of its peak, so that the nodes stand where it is.
    furthest = (angle**2 + 80 * sigma**2).sqrt().clamp(max=math.pi)
    most = torch.acos(((furthest / 2).cos() / half).clamp(-1, 1))
    psi = most[:, None] * nodes
    phi = 2 * torch.acos((half[:, None] * psi.cos()).clamp(-1, 1))
    log_density, slope = igso3_log_density(phi, sigma[:, None])
    log_mass = log_density + (weights * most[:, None] * (2 / math.pi)).log()
    # d phi / d angle = sin(angle / 2) cos(psi) / sin(phi / 2)
    turn = (angle / 2).sin()[:, None] * psi.cos() / (phi / 2).sin().clamp_min(1e-12)
    return log_mass.logsumexp(1), (log_mass.softmax(1) * slope * turn).sum(1)


def sphere_wrapped_log_density(angle: Tensor, sigma: Tensor) -> Tensor:
    """Log-density against the uniform law of exp(w), w a normal tangent vector of standard deviation `sigma`, float64.

    All ways of length |angle + 2 pi k| lead to one point; each counts by how much the exponential thins areas there.

    Args:
        angle: `[...]` in radians, in [0, pi].
        sigma: Broadcastable with `angle`, radians, positive.
    """
    angle = angle.double().clamp(1e-7, math.pi - 1e-7)
    std = torch.as_tensor(sigma).double().to(angle.device)
    k = torch.arange(-4, 5, dtype=torch.float64, device=angle.device)
    way = (angle[..., None] + 2 * math.pi * k).abs()
    total = (way.log() - way**2 / (2 * (std[..., None] if std.ndim else std) ** 2)).logsumexp(-1)
    return total + math.log(2) - 2 * std.log() - angle.sin().log()


def _unit(x: Tensor) -> Tensor:
    length: Tensor = x.norm(dim=-1, keepdim=True)
    return x / length.clamp_min(1e-30)


@dataclass(frozen=True)
class Sphere:
    """Unit vectors `[..., 3]`; tangent vectors `[..., 3]` orthogonal to their point, of a length in radians."""

    @property
    def point_axes(self) -> int:
        """A point is a vector."""
        return 1

    def exp(self, x: Tensor, w: Tensor) -> Tensor:
        """The point reached from `x` along the great circle of `w` `[..., 3]`."""
        angle = w.square().sum(-1, keepdim=True).clamp_min(1e-20).sqrt()
        # Normalising takes off what rounding adds, step by step.
        return _unit(angle.cos() * x + torch.sinc(angle / math.pi) * w)

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """The tangent vector at `x` of the shortest way to `y` `[..., 3]`; at the far pole, one of the shortest."""
        x, y = torch.broadcast_tensors(x, y)
        across = torch.linalg.cross(torch.linalg.cross(x, y), x)  # y less its part along x, with all digits
        sine, cosine = across.norm(dim=-1, keepdim=True), (x * y).sum(-1, keepdim=True)
        way = across / sine.clamp_min(1e-30) * torch.atan2(sine, cosine)
        axis = torch.nn.functional.one_hot(x.abs().argmin(-1), 3).to(x)
        pole = _unit(torch.linalg.cross(x, axis)) * math.pi
        return torch.where(sine > 1e-15, way, torch.where(cosine < 0, pole, 0.0))

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """Angle between directions `[..., 3]` in radians, `[...]`."""
        sine: Tensor = torch.linalg.cross(*torch.broadcast_tensors(x, y)).norm(dim=-1)
        return torch.atan2(sine, (x * y).sum(-1))

    def normal(self, x: Tensor, noise: Noise) -> Tensor:
        """A standard normal tangent vector at each point of `x` `[batch, ..., 3]`."""
        z = noise.normal(x)
        return z - (z * x).sum(-1, keepdim=True) * x

    def uniform(self, like: Tensor, noise: Noise) -> Tensor:
        """Uniform directions of the shape of `like`."""
        return _unit(noise.normal(like))

    def diffuse(self, mean: Tensor, sigma: Tensor, noise: Noise) -> Tensor:
        """An exact draw from the heat kernel around `mean` `[batch, ..., 3]`: `mean` turned by a draw of IGSO(3).

        `sigma` is 0-dimensional or `[batch, ...]`, in radians.
        """
        eye = torch.eye(3, dtype=mean.dtype, device=mean.device).expand(*mean.shape, 3)
        turned: Tensor = (SO3().diffuse(eye, sigma, noise) @ mean[..., None])[..., 0]
        return _unit(turned)

    def heat(self, x: Tensor, mean: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """(log-density `[...]`, score `[..., 3]`) of the heat kernel around `mean` at `x`; see `Manifold.heat`."""
        away = -self.log(x, mean)
        log_density, slope = sphere_log_density(away.norm(dim=-1), sigma)
        return log_density, radial(away, slope)

    def wrapped_log_density(self, x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Log-density at `x` of exp(mean, std z), `[...]`; see `sphere_wrapped_log_density`."""
        return sphere_wrapped_log_density(self.distance(mean, x), std)
