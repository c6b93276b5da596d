"""Damped Langevin diffusion: data coupled to a velocity, and only the velocity is noised.

In units in which the velocity's stationary law is standard normal (v / sqrt(M) of Dockhorn, Vahdat & Kreis 2022),

    dx = r v dt        dv = -r (x + 2 zeta v) dt + sqrt(4 zeta r) dw

is a damped oscillator in a bath: it oscillates for zeta < 1, creeps for zeta > 1, and forgets fastest at the critical
zeta = 1.  Every law is normal and known: u = (x, v) has mean Phi(t) (x_0, 0) and covariance Sigma(t) given x_0, where
the velocity at clock 0 is averaged out (hybrid score matching), so predictions are of the data alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from core.noise import Noise
from core.state import time64, wide

_NODES, _WEIGHTS = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(64))
_FLOOR = 1e-6  # clocks below it stand for clean data where a covariance is to be inverted


def flow_matrix(tau: Tensor, damping: float) -> Tensor:
    """exp(tau A), A = [[0, 1], [-1, -2 damping]]: how means move, `[..., 2, 2]` for clocks `[...]`, float64."""
    kappa = damping**2 - 1
    rate = math.sqrt(abs(kappa))
    if kappa > 0:
        c, s = torch.cosh(rate * tau), torch.sinh(rate * tau) / rate
    elif kappa < 0:
        c, s = torch.cos(rate * tau), torch.sin(rate * tau) / rate
    else:
        c, s = torch.ones_like(tau), tau
    decay = torch.exp(-damping * tau)
    rows = [c + damping * s, s, -s, c - damping * s]
    flow: Tensor = (torch.stack(rows, -1) * decay[..., None]).unflatten(-1, (2, 2))
    return flow


def noise_covariance(tau: Tensor, damping: float) -> Tensor:
    """Covariance of (x, v) at clocks `[...]` from a known start, `[..., 2, 2]`, float64.

    The integral of 4 damping Phi e_v e_v^T Phi^T by Gauss–Legendre: the closed form I - Phi Phi^T cancels where short.
    """
    places = (tau[..., None] / 2) * (_NODES.to(tau.device) + 1)
    response = flow_matrix(places, damping)[..., 1]
    weight = 4 * damping * (tau[..., None] / 2) * _WEIGHTS.to(tau.device)
    return torch.einsum("...n,...ni,...nj->...ij", weight, response, response)


def _lower(c: Tensor, corner: float = 0.0) -> Tensor:
    """Lower triangular factor of covariances `[..., 2, 2]`, singular ones included; (corner, 0) where x is certain."""
    a = c[..., 0, 0].clamp_min(0).sqrt()
    sure = a <= 0
    b = torch.where(sure, corner, c[..., 0, 1] / a.clamp_min(1e-300))
    rest = (c[..., 1, 1] - b**2).clamp_min(0).sqrt()
    if corner:
        rest = torch.where(sure, 0.0, rest)
    factor: Tensor = torch.stack([a, torch.zeros_like(a), b, rest], -1).unflatten(-1, (2, 2))
    return factor


def _rotation(angle: Tensor) -> Tensor:
    c, s = angle.cos(), angle.sin()
    turn: Tensor = torch.stack([c, -s, s, c], -1).unflatten(-1, (2, 2))
    return turn


def _apply(m: Tensor, x: Tensor) -> Tensor:
    """`m` `[2, 2]` or `[batch, 2, 2]` on the second axis of `x` `[batch, 2, ...]`."""
    return (m.to(x) @ x.flatten(2)).reshape(x.shape)


def _spread_out(c: Tensor, q: Tensor) -> Tensor:
    """Columns `c` `[2]` or `[batch, 2]` times predictions `[batch, ...]`: `[batch, 2, ...]`."""
    return c.to(q).reshape(*c.shape, *(1,) * (q.ndim - 1)) * q[:, None]


@dataclass(frozen=True)
class Coupled:
    """A normal kernel over (x, v) with one covariance for all pairs.

    Attributes:
        mean: `[batch, 2, ...]`.
        factor: Lower triangular root of the covariance, `[2, 2]` or `[batch, 2, 2]`.
    """

    mean: Tensor
    factor: Tensor

    def sample(self, noise: Noise) -> Tensor:
        """A draw; the mean itself, with no numbers drawn, where there is no noise at all."""
        if self.factor.ndim == 2 and not bool(self.factor.any()):
            return self.mean
        return self.mean + _apply(self.factor, noise.normal(self.mean))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats, `[batch]`."""
        away = (x - self.mean).flatten(2)
        a, b, c = (self.factor[..., i, j, None].to(x) for i, j in ((0, 0), (1, 0), (1, 1)))
        first = away[:, 0] / a
        second = (away[:, 1] - b * first) / c
        each_pair = -0.5 * (first.square() + second.square()) - a.log() - c.log() - math.log(2 * math.pi)
        return each_pair.sum(1)


@dataclass(frozen=True)
class Langevin:
    """Damped Langevin diffusion on R^n (Dockhorn, Vahdat & Kreis 2022); states `[batch, 2, ...]` of data and velocity.

    Predictions are the mean of clean data, `[batch, ...]`.  Velocities at clock 0 are normal, independent of the data,
    and carry no information: `state` attaches them.

    Attributes:
        damping: zeta = Gamma / (2 sqrt(M)); 1 is critical.
        rate: r = beta / sqrt(M), how far the clock runs from t = 0 to 1; 8 is the paper's beta = 4, M = 1/4.
        spread: gamma, variance of velocities at clock 0, where 1 is stationary.

    Raises:
        ValueError: If damping or rate is not positive, or spread not in (0, 1].
    """

    damping: float = 1.0
    rate: float = 8.0
    spread: float = 0.04

    def __post_init__(self) -> None:
        if not (self.damping > 0 and self.rate > 0 and 0 < self.spread <= 1):
            raise ValueError("damping and rate must be positive, and spread in (0, 1]")

    @property
    def smooth(self) -> bool:
        """Predictions vary smoothly with noise."""
        return True

    def state(self, data: Tensor, noise: Noise) -> Tensor:
        """Clean states `[batch, 2, ...]`: `data` `[batch, ...]` with velocities drawn at clock 0."""
        data = wide(data)
        return torch.stack([data, math.sqrt(self.spread) * noise.normal(data)], 1)

    def moments(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(column `[..., 2]`, covariance `[..., 2, 2]`) of u_t given x_0, whose mean is column x_0; float64."""
        tau = self.rate * time64(t)
        flow = flow_matrix(tau, self.damping)
        fresh = noise_covariance(tau, self.damping)
        velocity = flow[..., :, 1]
        return flow[..., :, 0], fresh + self.spread * velocity[..., :, None] * velocity[..., None, :]

    def log_snr(self, t: Tensor) -> Tensor:
        """Half the log of the information column^T Sigma^-1 column that u_t has of x_0, float64."""
        column, c = self.moments(t)
        p, r = column.unbind(-1)
        part = c[..., 1, 1] * p**2 - 2 * c[..., 0, 1] * p * r + c[..., 0, 0] * r**2
        return 0.5 * (part.log() - _determinant(c).log())

    def prior(self, like: Tensor, noise: Noise) -> Tensor:
        """x_1: standard normal data and velocities, of the shape of `like` `[batch, 2, ...]`."""
        return noise.normal(like)

    def renoise(self, x: Tensor, s: Tensor, t: Tensor, noise: Noise) -> Tensor:
        """x_t given x_s, t >= s, with its velocity."""
        x = wide(x)
        tau = self.rate * (time64(t) - time64(s)).clamp_min(0)
        factor = _lower(noise_covariance(tau, self.damping))
        return _apply(flow_matrix(tau, self.damping), x) + _apply(factor, noise.normal(x))

    def corrupt(self, x0: Tensor, t: Tensor, noise: Noise) -> Tensor:
        """x_t given x_0 and its velocity."""
        return self.renoise(x0, torch.zeros((), dtype=torch.float64), t, noise)

    def point(self, x0: Tensor) -> Tensor:
        """The data of `x0`, `[batch, ...]`."""
        return x0[:, 0]

    def target(self, x0: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """The data of `x0`: hybrid score matching, whose velocity at clock 0 is averaged out (section 3.2)."""
        return x0[:, 0]

    def score(self, q: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Grad log p(u_t) = -Sigma^-1 (u_t - column q) for both data and velocity, of the shape of `x`.

        With q the clean data, its second half is the target of hybrid score matching.
        """
        column, c = self.moments(t)
        return -_apply(torch.linalg.inv(c), wide(x) - _spread_out(column, wide(q)))

    def hybrid_weight(self, t: Tensor) -> Tensor:
        """What the squared error of the data counts in the paper's loss of the velocity's noise, `[...]`, float64.

        |eps_v - eps_v(q)|^2 = weight |x_0 - q|^2, since the noise is L^-1 (u_t - column x_0) (section 3.2).
        """
        column, c = self.moments(t)
        factor = _lower(c)
        noise = (column[..., 1] - factor[..., 1, 0] / factor[..., 0, 0] * column[..., 0]) / factor[..., 1, 1]
        return noise**2

    def bridge(self, q: Tensor, x: Tensor, t: Tensor, s: Tensor, eta: float = 1.0) -> Coupled:
        """The kernel of u_s given u_t and clean data `q`: u_s = column_s q + gain (u_t - column_t q) + noise.

        eta 1 is the exact posterior of the process, eta 0 the deterministic map of the probability-flow ODE (gDDIM,
        Zhang, Tao & Chen 2023, section 4), which is exact where the data are one point.
        """
        q, x = wide(q), wide(x)
        t, s = time64(t), time64(s)
        if t.ndim == 0 and s.ndim == 0:
            first, last, gain, factor = _step_at(self, float(t), float(s), float(eta))
        else:
            both = torch.broadcast_tensors(t, s)
            first, last, gain, factor = _step(self, both[0], both[1], eta)
        mean = _spread_out(last, q) + _apply(gain, x - _spread_out(first, q))
        return Coupled(mean, factor)

    def blend(self, x: Tensor, qs: Sequence[Tensor], ws: Sequence[float | Tensor]) -> Tensor:
        """The weighted sum of means."""
        total = wide(qs[0]) * ws[0]
        for q, w in zip(qs[1:], ws[1:], strict=True):
            total = total + w * wide(q)
        return total

    def divergence(self, x: Tensor, p: Tensor, q: Tensor) -> Tensor:
        """Mean squared difference over all axes but the first, `[batch]`."""
        return (wide(p) - wide(q)).square().flatten(1).mean(1)


def _determinant(c: Tensor) -> Tensor:
    return (c[..., 0, 0] * c[..., 1, 1] - c[..., 0, 1] ** 2).clamp_min(0)


def _turn(process: Langevin, t: Tensor) -> Tensor:
    """The angle of gDDIM's root of the covariance, R = L rotation(angle).

    R solves R' = (A + G G^T Sigma^-1 / 2) R.  In terms of the triangular root L this leaves one unknown, the angle, and
    the upper right entry of the equation says that it falls at the rate sqrt(det Sigma) / Sigma_xx.  In the square root
    of the clock that is smooth.
    """
    root = t.sqrt()[..., None] / 2
    places = root * (_NODES.to(t.device) + 1)
    c = process.moments(places**2)[1]
    speed = _determinant(c).sqrt() / c[..., 0, 0].clamp_min(1e-300)
    return -(process.rate * speed * 2 * places * root * _WEIGHTS.to(t.device)).sum(-1)


def deterministic_root(process: Langevin, t: Tensor) -> Tensor:
    """GDDIM's R_t with R R^T = Sigma_t, such that R_s R_t^-1 is the probability-flow map of one data point.

    `[..., 2, 2]` for times `[...]`, float64; singular at t = 0.
    """
    c = process.moments(t)[1]
    return _lower(c, math.sqrt(process.spread)) @ _rotation(_turn(process, t))


def _step(process: Langevin, t: Tensor, s: Tensor, eta: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(column_t, column_s, gain, factor) of the bridge, float64."""
    floor = _FLOOR / process.rate
    (first, _), (last, goal) = process.moments(t), process.moments(s)
    eye = torch.eye(2, dtype=torch.float64, device=t.device)
    still = (t == s)[..., None, None]
    if eta == 0:
        above = deterministic_root(process, t.clamp_min(floor))
        gain = deterministic_root(process, s) @ torch.linalg.inv(above)
        return first, last, torch.where(still, eye, gain), torch.zeros_like(gain)
    tau = process.rate * (t - s).clamp_min(0)
    flow = flow_matrix(tau, process.damping)
    above = process.moments(t.clamp_min(floor))[1]
    gain = goal @ flow.mT @ torch.linalg.inv(above)
    left = eye - gain @ flow
    spread = left @ goal @ left.mT + gain @ noise_covariance(tau, process.damping) @ gain.mT
    if eta != 1:
        high, low = (deterministic_root(process, u.clamp_min(floor)) for u in (t, s))
        whole, root = torch.linalg.inv(low) @ gain @ high, deterministic_root(process, s)
        gain = root @ _partial(whole, eta) @ torch.linalg.inv(high)
        spread = eta * root @ (eye - whole @ whole.mT) @ root.mT
    factor = _lower(spread)
    return first, last, torch.where(still, eye, gain), torch.where(still, 0.0, factor)


def _partial(p: Tensor, eta: float) -> Tensor:
    """The contraction of noise that leaves the share `eta` of fresh variance: `p` at 1, the identity at 0."""
    eye = torch.eye(2, dtype=p.dtype, device=p.device)
    m = eye - eta * (eye - p @ p.mT)
    det = _determinant(m).sqrt()[..., None, None]
    trace = (m[..., 0, 0] + m[..., 1, 1])[..., None, None]
    root = (m + det * eye) / (trace + 2 * det).sqrt()  # the square root of a symmetric 2 x 2 matrix
    angle = torch.atan2(p[..., 1, 0] - p[..., 0, 1], p[..., 0, 0] + p[..., 1, 1])
    return root @ _rotation(eta * angle)


@lru_cache(maxsize=4096)
def _step_at(process: Langevin, t: float, s: float, eta: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`_step` between two times, remembered: grids are walked again and again."""
    with torch.inference_mode(False):  # what is remembered may be asked for by a training next
        first, second = (torch.tensor(u, dtype=torch.float64) for u in (t, s))
        return _step(process, first, second, eta)
