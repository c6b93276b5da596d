"""R^n: x_t = alpha_t x_0 + sigma_t z.  VP, VE, EDM and rectified flow differ in the schedule only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from core.noise import Noise
from core.schedules import (
    Schedule,
    VPCosine,
    log_snr,
    log_snr_at,
    rates,
    rates_at,
    remembered,
    scales_at,
)
from core.state import append_axes, time64, wide


@runtime_checkable
class Projection(Protocol):
    """An orthogonal projection onto a subspace that knows how many degrees of freedom it leaves."""

    def __call__(self, z: Tensor) -> Tensor:
        """The part of `z` `[batch, ...]` within the subspace."""
        ...

    def shares(self, like: Tensor) -> Tensor:
        """Degrees of freedom an element, broadcastable with `like` `[batch, ...]`: their sum is the dimension."""
        ...


@dataclass(frozen=True)
class Normal:
    """The normal kernel with `mean` `[batch, ...]` and standard deviation `std` (0-dimensional or broadcastable)."""

    mean: Tensor
    std: Tensor
    project: Callable[[Tensor], Tensor] | None = None

    def sample(self, noise: Noise) -> Tensor:
        """A draw; the mean itself, with no numbers drawn, where the standard deviation is zero."""
        if self.std.ndim == 0 and float(self.std) == 0.0:
            return self.mean
        z = noise.normal(self.mean)
        return self.mean + self.std * (z if self.project is None else self.project(z))

    def log_probs(self, x: Tensor) -> Tensor:
        """Log-density in nats, element by element, of the shape of `x`.

        On a subspace each element counts the share of a degree of freedom that its projection says; a projection that
        is a plain function says nothing, and the density is that of the full space.
        """
        std = self.std.expand(self.mean.shape) if self.std.ndim else self.std
        z = (x - self.mean) / std
        width = torch.as_tensor(std).log() + 0.5 * math.log(2 * math.pi)
        share = self.project.shares(z) if isinstance(self.project, Projection) else 1.0
        return -0.5 * z.square() - share * width

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats, `[batch]`; on the subspace of a `Projection`."""
        return self.log_probs(x).flatten(1).sum(1)


def _step(schedule: Schedule, t: Tensor, s: Tensor, eta: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(lead, keep, std) of the bridge x_s = lead q + keep x_t + std z, float64."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    # On the way down log-SNR rises; where x_t is pure noise or x_s clean data the difference is infinite.
    # In this order of subtraction it is exactly zero where s = t.
    clock = 2 * ((alpha_t.log() - sigma_t.log()) - (alpha_s.log() - sigma_s.log()))
    fresh = eta * (-torch.expm1(torch.nan_to_num(clock, nan=0.0))).clamp(0, 1)
    # On the way up from clean data no noise is known to scale: the state itself shrinks with the signal.
    keep = torch.where(sigma_t > 0, sigma_s * (1 - fresh).sqrt() / sigma_t.clamp_min(1e-300), alpha_s)
    lead = torch.where(sigma_t > 0, alpha_s - keep * alpha_t, 0.0)
    return lead, keep, sigma_s * fresh.sqrt()


@remembered
def _step_at(schedule: Schedule, t: float, s: float, eta: float) -> tuple[float, float, float]:
    """`_step` between two times, remembered: grids are walked again and again."""
    first, second = (torch.tensor(u, dtype=torch.float64) for u in (t, s))
    lead, keep, std = _step(schedule, first, second, eta)
    return float(lead), float(keep), float(std)


@dataclass(frozen=True)
class Gaussian:
    """Gaussian diffusion on R^n (Sohl-Dickstein et al. 2015; Ho et al. 2020; Kingma et al. 2021).

    Predictions are the mean of clean data, of the state's own shape `[batch, ...]`.

    Attributes:
        schedule: t -> (alpha, sigma).
        project: Linear projection applied to all noise, for data on a subspace (see `core.spaces.points`).
    """

    schedule: Schedule = VPCosine()
    project: Callable[[Tensor], Tensor] | None = None

    @property
    def smooth(self) -> bool:
        """Predictions vary smoothly with noise."""
        return True

    def scales(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at `t`, ready to multiply with `x`."""
        alpha, sigma = self.schedule(time64(t))
        return append_axes(alpha, x), append_axes(sigma, x)

    def _numbers(self, t: Tensor, x: Tensor) -> tuple[float | Tensor, float | Tensor]:
        """`scales`, as remembered floats where all samples share one time."""
        t = time64(t)
        return scales_at(self.schedule, float(t)) if t.ndim == 0 else self.scales(t, x)

    def noise_in(self, q: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """The noise (x - alpha q) / sigma that `x` holds if `q` is clean, of the shape of `x`; sigma must not be 0."""
        alpha, sigma = self._numbers(t, x)
        return (wide(x) - alpha * wide(q)) / sigma

    def clean_in(self, z: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """The prediction (x - sigma z) / alpha if `x` holds the noise `z` `[batch, ...]`; alpha must not be 0."""
        alpha, sigma = self._numbers(t, x)
        return (wide(x) - sigma * wide(z)) / alpha

    def score(self, q: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Grad log p(x_t) = (alpha q - x) / sigma^2, of the shape of `x` (Vincent 2011; Song et al. 2021)."""
        alpha, sigma = self._numbers(t, x)
        return (alpha * wide(q) - wide(x)) / sigma**2

    def velocity(self, q: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """dx/dt = alpha' q + sigma' (x - alpha q) / sigma: the probability-flow ODE, of the shape of `x`.

        The same as f x - g^2 score / 2 (Song et al. 2021, eq. 13), but finite where alpha is 0.
        """
        t = time64(t)
        if t.ndim == 0:
            pieces: tuple[float | Tensor, ...] = rates_at(self.schedule, float(t))
        else:
            pieces = tuple(append_axes(c, x) for c in rates(self.schedule, t))
        return pieces[0] * wide(q) + pieces[1] * self.noise_in(q, x, t)

    def log_snr(self, t: Tensor) -> Tensor:
        """log(alpha / sigma), float64."""
        if t.ndim == 0:
            return torch.tensor(log_snr_at(self.schedule, float(t)), dtype=torch.float64)
        return log_snr(self.schedule, t)

    def _noise(self, like: Tensor, noise: Noise) -> Tensor:
        z = noise.normal(like)
        return z if self.project is None else self.project(z)

    def prior(self, like: Tensor, noise: Noise) -> Tensor:
        """x_1 of the shape of `like`."""
        return self._noise(like, noise) * self.schedule(torch.ones((), dtype=torch.float64))[1]

    def corrupt(self, x0: Tensor, t: Tensor, noise: Noise) -> Tensor:
        """x_t given x_0."""
        x0 = wide(x0)
        alpha, sigma = self.scales(t, x0)
        return alpha * x0 + sigma * self._noise(x0, noise)

    def renoise(self, x: Tensor, s: Tensor, t: Tensor, noise: Noise) -> Tensor:
        """x_t = (alpha_t / alpha_s) x_s + std z given x_s = `x`, t >= s (Kingma et al. 2021, appendix A.1).

        The variance sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2 is computed from the difference of clocks.
        """
        x = wide(x)
        (alpha_s, _), (alpha_t, sigma_t) = self.schedule(time64(s)), self.schedule(time64(t))
        clock = torch.nan_to_num(2 * (log_snr(self.schedule, t) - log_snr(self.schedule, s)), nan=0.0)
        keep = torch.where(alpha_s > 0, alpha_t / alpha_s.clamp_min(1e-300), 1.0)  # pure noise stays as it is
        std = sigma_t * (-torch.expm1(clock)).clamp(0, 1).sqrt()
        return append_axes(keep, x) * x + append_axes(std, x) * self._noise(x, noise)

    def point(self, x0: Tensor) -> Tensor:
        """The mean of a distribution that is certain of `x0`."""
        return x0

    def target(self, x0: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Clean data itself: the posterior mean minimises the squared error."""
        return x0

    def step(self, t: float, s: float, eta: float = 1.0) -> tuple[float, float, float]:
        """(lead, keep, std) of the bridge x_s = lead q + keep x_t + std z between two times."""
        return _step_at(self.schedule, t, s, eta)

    def noise_level(self, t: Tensor) -> float:
        """Sigma / alpha at a scalar time: the standard deviation of the noise on data of unit scale."""
        return math.exp(-float(self.log_snr(t)))

    def bridge(self, q: Tensor, x: Tensor, t: Tensor, s: Tensor, eta: float = 1.0) -> Normal:
        """q(x_s | x_t, x_0 = q): DDPM's posterior at eta 1, DDIM's map at eta 0 (Song, Meng & Ermon 2021, eq. 12).

        The share of fresh noise, eta (1 - SNR_t / SNR_s), is computed from the difference of clocks by expm1, which
        keeps its digits in float32 however short the step.  Half precision is widened to float32.
        """
        q, x = wide(q), wide(x)
        t, s = time64(t), time64(s)
        if t.ndim == 0 and s.ndim == 0 and isinstance(eta, int | float):
            lead, keep, std = self.step(float(t), float(s), float(eta))
            mean = torch.add(x * keep, q, alpha=lead)
            return Normal(mean, torch.tensor(std, dtype=torch.float64), self.project)
        several = _step(self.schedule, t, s, eta)
        leads, keeps, stds = (append_axes(c, x) for c in several)
        return Normal(leads * q + keeps * x, stds, self.project)

    def blend(self, x: Tensor, qs: Sequence[Tensor], ws: Sequence[float | Tensor]) -> Tensor:
        """The weighted sum of means."""
        total = wide(qs[0]) * ws[0]
        for q, w in zip(qs[1:], ws[1:], strict=True):
            total = total + w * wide(q)
        return total

    def divergence(self, x: Tensor, p: Tensor, q: Tensor) -> Tensor:
        """Mean squared difference over all axes but the first, `[batch]`."""
        return (wide(p) - wide(q)).square().flatten(1).mean(1)
