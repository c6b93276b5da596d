"""Noise schedules: t -> (alpha, sigma) with x_t = alpha x_0 + sigma z, alpha(0) = 1 and sigma(0) = 0.

Variance preserving, variance exploding, EDM and flow differ in nothing else.  Each is evaluated in float64 on times in
[0, 1]; `time_of` inverts the log signal-to-noise ratio log(alpha / sigma), so that grids can be laid in any clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import torch
from torch import Tensor

from core.gradients import differentiable, fresh
from core.state import time64

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class Schedule(Protocol):
    """A noise schedule.

    Schedules are frozen and hashable, save for those that learn: what they say of a time is `remembered`.
    """

    def __hash__(self) -> int:
        """Equal schedules have equal hashes."""
        ...

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at times `t`, float64, of the shape of `t`."""
        ...

    def time_of(self, log_snr: Tensor) -> Tensor:
        """The time at which log(alpha / sigma) is `log_snr`; clipped to [0, 1]."""
        ...


def remembered(
    function: Callable[Concatenate[Schedule, Arguments], Answer],
) -> Callable[Concatenate[Schedule, Arguments], Answer]:
    """Remembers what `function` says of a schedule at scalars.

    A solver asks for each time several times, and arithmetic on 0-dimensional tensors costs microseconds an operation.
    A schedule that learns is a `torch.nn.Module`, changes under its hash, and is asked anew.
    """
    kept = lru_cache(maxsize=4096)(function)

    @wraps(function)
    def ask(schedule: Schedule, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        if isinstance(schedule, torch.nn.Module):
            with torch.no_grad():  # answers are plain numbers
                return function(schedule, *args, **kwargs)
        return kept(schedule, *args, **kwargs)  # type: ignore[arg-type]  # lru_cache takes what is hashable

    return ask


def log_snr(schedule: Schedule, t: Tensor) -> Tensor:
    """log(alpha_t / sigma_t), float64; plus infinity at t = 0."""
    alpha, sigma = schedule(time64(t))
    return alpha.log() - sigma.log()


@remembered
def log_snr_at(schedule: Schedule, t: float) -> float:
    """`log_snr` at one time, remembered."""
    return float(log_snr(schedule, torch.tensor(t, dtype=torch.float64)))


def terminal_log_snr(schedule: Schedule) -> float:
    """log(alpha / sigma) at t = 1: minus infinity where no signal is left (zero terminal SNR, Lin et al. 2024)."""
    return log_snr_at(schedule, 1.0)


@dataclass(frozen=True)
class ScheduleReport:
    """What is to be known of a schedule before a model is trained on it.

    Attributes:
        falling: Whether the signal-to-noise ratio falls strictly on a grid of times.
        first: log(alpha / sigma) at t = 0.001.
        terminal: The same at t = 1.
        signal: Share of the standard deviation at t = 1 that unit data have, alpha / sqrt(alpha^2 + sigma^2): what a
            walk from the pure prior gets wrong.
    """

    falling: bool
    first: float
    terminal: float
    signal: float

    def __str__(self) -> str:
        end = "none" if self.signal == 0 else f"{self.signal:.2g} of the standard deviation"
        order = "falls" if self.falling else "DOES NOT FALL"
        return f"log SNR {order}, {self.first:.2f} at t = 0.001 to {self.terminal:.2f} at t = 1; signal left: {end}"


def report(schedule: Schedule, count: int = 1001) -> ScheduleReport:
    """Whether the signal-to-noise ratio falls over `count` even times, and how much signal is left at the end."""
    clock = log_snr(schedule, torch.linspace(0, 1, count, dtype=torch.float64)[1:]).detach()
    alpha, sigma = scales_at(schedule, 1.0)
    return ScheduleReport(
        bool((clock.diff() < 0).all()),
        log_snr_at(schedule, 1e-3),
        terminal_log_snr(schedule),
        alpha / math.hypot(alpha, sigma),
    )


def rates(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
    """(d alpha / dt, d sigma / dt) at times `t`, float64, of the shape of `t`, by automatic differentiation."""
    with differentiable():
        inner = fresh(time64(t)).requires_grad_(True)
        pieces = [
            torch.autograd.grad(c.sum(), inner, retain_graph=True, allow_unused=True)[0]
            if c.requires_grad
            else None
            for c in schedule(inner)
        ]
    alpha, sigma = (torch.zeros_like(inner) if p is None else p.detach() for p in pieces)
    return alpha.detach(), sigma.detach()


@remembered
def rates_at(schedule: Schedule, t: float) -> tuple[float, float]:
    """`rates` at one time, remembered."""
    alpha, sigma = rates(schedule, torch.tensor(t, dtype=torch.float64))
    return float(alpha), float(sigma)


@remembered
def scales_at(schedule: Schedule, t: float) -> tuple[float, float]:
    """(alpha, sigma) at one time, remembered."""
    alpha, sigma = schedule(torch.tensor(t, dtype=torch.float64))
    return float(alpha), float(sigma)


def _vp(log_alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Variance preserving: sigma^2 = 1 - alpha^2 without cancellation."""
    return log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt()


@dataclass(frozen=True)
class VPLinear:
    """Variance preserving with beta rising linearly (Ho et al. 2020; Song et al. 2021, eq. 32).

    alpha_t = exp(-(beta_max - beta_min) t^2 / 4 - beta_min t / 2).
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at `t`, float64."""
        t = time64(t)
        return _vp(-(self.beta_max - self.beta_min) * t**2 / 4 - self.beta_min * t / 2)

    def time_of(self, log_snr: Tensor) -> Tensor:
        """Inverse of the log signal-to-noise ratio."""
        rise = self.beta_max - self.beta_min
        # -2 log alpha, kept finite where there is no signal at all
        integral = torch.nn.functional.softplus(-2 * time64(log_snr)).clamp(max=1e9)
        time = 2 * integral / ((self.beta_min**2 + 2 * rise * integral).sqrt() + self.beta_min)
        return time.clamp(0, 1)


@dataclass(frozen=True)
class VPCosine:
    """Variance preserving on a quarter circle, alpha_t = cos(pi t / 2) (Nichol & Dhariwal 2021, eq. 17, offset 0)."""

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at `t`, float64; alpha is exactly 0 at t = 1."""
        angle = time64(t) * (math.pi / 2)
        # Exactly 0 at the end, where rounding would leave 6e-17, and yet with the cosine's slope there.
        return torch.where(angle >= math.pi / 2, math.pi / 2 - angle, angle.cos()), angle.sin()

    def time_of(self, log_snr: Tensor) -> Tensor:
        """Inverse of the log signal-to-noise ratio."""
        return torch.atan(torch.exp(-time64(log_snr))) * (2 / math.pi)


@dataclass(frozen=True)
class SubVP:
    """Sub-variance preserving, sigma = 1 - alpha^2 with the alpha of `VPLinear` (Song et al. 2021, eq. 29)."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at `t`, float64."""
        alpha, sigma = VPLinear(self.beta_min, self.beta_max)(t)
        return alpha, sigma**2

    def time_of(self, log_snr: Tensor) -> Tensor:
        """Inverse of the log signal-to-noise ratio: (1 - sigma) / sigma^2 = r^2 is a quadratic in sigma."""
        clock = time64(log_snr)
        sigma = 2 / (1 + (1 + 4 * torch.exp(2 * clock)).sqrt())
        # The clock of `VPLinear`, log alpha - log(sigma) / 2, with log alpha from whichever side keeps its digits.
        log_alpha = torch.where(clock > 0, 0.5 * torch.log1p(-sigma), clock + sigma.log())
        vp = log_alpha - 0.5 * sigma.log()
        return VPLinear(self.beta_min, self.beta_max).time_of(vp)


@dataclass(frozen=True)
class VE:
    """Variance exploding, sigma geometric from `sigma_min` to `sigma_max` (Song et al. 2021, eq. 30); sigma(0) = 0."""

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(1, sigma) at `t`, float64."""
        t = time64(t)
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        return torch.ones_like(t), torch.where(t <= 0, 0.0, torch.exp(low + (high - low) * t))

    def time_of(self, log_snr: Tensor) -> Tensor:
        """Inverse of the log signal-to-noise ratio; 0 below `sigma_min`."""
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        return ((-time64(log_snr) - low) / (high - low)).clamp(0, 1)


@dataclass(frozen=True)
class EDM:
    """Variance exploding on Karras' warp, sigma^(1/rho) linear in t (Karras et al. 2022, eq. 5); sigma(0) = 0."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(1, sigma) at `t`, float64."""
        t = time64(t)
        low, high = self._warped()
        return torch.ones_like(t), torch.where(t <= 0, 0.0, (low + t * (high - low)) ** self.rho)

    def _warped(self) -> tuple[float, float]:
        return math.pow(self.sigma_min, 1 / self.rho), math.pow(self.sigma_max, 1 / self.rho)

    def time_of(self, log_snr: Tensor) -> Tensor:
        """Inverse of the log signal-to-noise ratio; 0 below `sigma_min`."""
        low, high = self._warped()
        return ((torch.exp(-time64(log_snr) / self.rho) - low) / (high - low)).clamp(0, 1)


@dataclass(frozen=True)
class Flow:
    """Rectified flow and optimal-transport paths, alpha = 1 - t, sigma = t (Liu et al. 2023; Lipman et al. 2023).

    `shift` moves time towards noise, t -> shift t / (1 + (shift - 1) t), as large images want (Esser et al. 2024,
    eq. 23).
    """

    shift: float = 1.0

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at `t`, float64."""
        t = time64(t)
        sigma = self.shift * t / (1 + (self.shift - 1) * t)
        return (1 - t) / (1 + (self.shift - 1) * t), sigma

    def time_of(self, log_snr: Tensor) -> Tensor:
        """Inverse of the log signal-to-noise ratio."""
        ratio = self.shift * torch.exp(time64(log_snr))
        return (1 + ratio).reciprocal()


@dataclass(frozen=True)
class Tabulated:
    """A schedule given at training timesteps, as public checkpoints have it; linear in log-SNR between them.

    Timestep k of n stands at t = (k + 1) / n, so that t = 0 is clean data and t = 1 the last timestep.

    Attributes:
        alpha_bar: alpha^2 at the timesteps 0 … n-1 of a variance-preserving process, strictly decreasing.

    Raises:
        ValueError: If alpha_bar does not fall strictly within [0, 1).
    """

    alpha_bar: tuple[float, ...]

    def __post_init__(self) -> None:
        bars = torch.tensor(self.alpha_bar, dtype=torch.float64)
        if len(bars) < 2 or not bool((bars[1:] < bars[:-1]).all()) or bars[0] >= 1 or bars[-1] < 0:
            raise ValueError("alpha_bar must fall strictly within [0, 1) over at least two timesteps")
        bars = bars.clamp_min(1e-12)  # zero terminal SNR keeps a finite clock
        object.__setattr__(self, "_table", (bars.log() - torch.log1p(-bars)) / 2)
        # A thousand numbers are slow to hash each time.
        object.__setattr__(self, "_hash", hash(self.alpha_bar))

    def __hash__(self) -> int:
        value: int = self._hash  # type: ignore[attr-defined]
        return value

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at `t`, float64; below the first timestep alpha_bar is linear down to clean data."""
        t = time64(t)
        table = self._clocks(t)
        u = self.timestep(t).clamp(0, len(table) - 1)
        i = u.floor().long().clamp(max=len(table) - 2)
        inner = torch.lerp(table[i], table[i + 1], u - i)
        first = torch.sigmoid(-2 * table[0])  # sigma^2 of timestep 0
        early = first * (t * len(table)).clamp(0, 1)
        variance = torch.where(t * len(table) < 1, early, torch.sigmoid(-2 * inner))
        signal = torch.where(t * len(table) < 1, 1 - early, torch.sigmoid(2 * inner))
        return signal.sqrt(), variance.sqrt()

    def _clocks(self, like: Tensor) -> Tensor:
        table: Tensor = self._table  # type: ignore[attr-defined]
        return table.to(like.device)

    def timestep(self, t: Tensor) -> Tensor:
        """The (fractional) training timestep at time `t`, as the network wants it."""
        return time64(t) * len(self.alpha_bar) - 1

    def time_of(self, log_snr: Tensor) -> Tensor:
        """Inverse of the log signal-to-noise ratio, by search in the table."""
        wanted = time64(log_snr)
        table = self._clocks(wanted)
        falling = -table
        i = torch.searchsorted(falling, -wanted).clamp(1, len(table) - 1)
        share = ((wanted - table[i - 1]) / (table[i] - table[i - 1])).clamp(0, 1)
        inner = (i + share) / len(table)
        early = torch.sigmoid(-2 * wanted) / torch.sigmoid(-2 * table[0]) / len(table)
        return torch.where(wanted > table[0], early, inner)


SCHEDULES = {
    "vp-linear": VPLinear,
    "vp-cosine": VPCosine,
    "sub-vp": SubVP,
    "ve": VE,
    "edm": EDM,
    "flow": Flow,
}
