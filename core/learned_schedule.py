"""A schedule that learns: the monotone network of variational diffusion models.

The bound on the likelihood does not depend on the schedule between its ends, but the variance of its estimate does
(Kingma et al. 2021, section 5).  So the ends learn by the bound and what lies between by its variance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from core.denoiser import Denoiser
from core.gradients import differentiable, fresh
from core.noise import Noise
from core.requirements import require
from core.spaces.gaussian import Gaussian
from core.state import append_axes, time64


def _scales(clock: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Variance preserving (alpha, sigma) at log(alpha / sigma) = `clock`; clean data at t = 0."""
    alpha, sigma = torch.sigmoid(2 * clock).sqrt(), torch.sigmoid(-2 * clock).sqrt()
    return torch.where(t <= 0, 1.0, alpha), torch.where(t <= 0, 0.0, sigma)


@torch.no_grad()
def _bisected(clock: Callable[[Tensor], Tensor], wanted: Tensor) -> Tensor:
    """The time in [0, 1] at which the falling `clock` is `wanted`, to 2^-56."""
    low, high = torch.zeros_like(wanted), torch.ones_like(wanted)
    for _ in range(56):
        middle = (low + high) / 2
        early = clock(middle) > wanted  # the time is further on
        low, high = torch.where(early, middle, low), torch.where(early, high, middle)
    return (low + high) / 2


class LearnedSchedule(torch.nn.Module):
    """A variance-preserving schedule with a monotone network for its clock (Kingma et al. 2021, appendix H).

    log(alpha / sigma) falls from one end to the other along l1(t) + l3(sigmoid(l2(l1(t)))), whose weights are positive,
    scaled and shifted so that the ends are met exactly.  At t = 0 itself the state is clean, as in all schedules.

    Nothing of it is remembered between calls (`core.schedules.remembered`); walk with `frozen()`, which is.

    Args:
        first: log(alpha / sigma) just after t = 0; 6.65 is the paper's initial gamma_0 = -13.3.
        last: The same at t = 1; -2.5 is its gamma_1 = 5.
        hidden: Width of the network.
        seed: Of its first weights.

    Raises:
        ValueError: If the clock does not fall from first to last.
    """

    def __init__(self, first: float = 6.65, last: float = -2.5, hidden: int = 256, seed: int = 0) -> None:
        super().__init__()
        if not first > last:
            raise ValueError("the clock must fall: first > last")
        draw = torch.Generator().manual_seed(seed)
        self.first = torch.nn.Parameter(torch.tensor(first, dtype=torch.float64))
        self.log_fall = torch.nn.Parameter(torch.tensor(math.log(first - last), dtype=torch.float64))
        # Weights before softplus.  Their start makes the curve nearly straight, and its bends lie all over [0, 1].
        self.slope = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.inner = torch.nn.Parameter(torch.randn(hidden, dtype=torch.float64, generator=draw) + 5)
        self.shift = torch.nn.Parameter(-6 * torch.rand(hidden, dtype=torch.float64, generator=draw))
        self.outer = torch.nn.Parameter(torch.full((hidden,), -7.0, dtype=torch.float64))

    def ends(self) -> Iterator[torch.nn.Parameter]:
        """The parameters of both ends, which learn by the bound itself."""
        yield from (self.first, self.log_fall)

    def between(self) -> Iterator[torch.nn.Parameter]:
        """The other parameters, which learn by the variance of the bound's estimate."""
        yield from (self.slope, self.inner, self.shift, self.outer)

    def _rise(self, t: Tensor) -> Tensor:
        line = functional.softplus(self.slope.double()) * t
        hidden = torch.sigmoid(
            functional.softplus(self.inner.double()) * line[..., None] + self.shift.double()
        )
        return line + (functional.softplus(self.outer.double()) * hidden).sum(-1)

    def clock(self, t: Tensor) -> Tensor:
        """log(alpha / sigma) at `t`, float64, finite at t = 0 too."""
        t = time64(t)
        start, end = self._rise(torch.zeros_like(t)), self._rise(torch.ones_like(t))
        share = (self._rise(t) - start) / (end - start)
        clock: Tensor = self.first.double() - self.log_fall.double().exp() * share
        return clock

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at `t`, float64, with gradients to the parameters and to `t`."""
        t = time64(t)
        return _scales(self.clock(t), t)

    def time_of(self, log_snr: Tensor) -> Tensor:
        """Inverse of the clock by bisection; no gradients."""
        return _bisected(self.clock, time64(log_snr))

    @torch.no_grad()
    def frozen(self, knots: int = 1025) -> Frozen:
        """A copy that no longer learns, tabulated at `knots` even times: what a finished model samples with."""
        t = torch.linspace(0, 1, knots, dtype=torch.float64)
        with differentiable():
            inner = fresh(t).requires_grad_()
            clock = self.clock(inner)
            (slope,) = torch.autograd.grad(clock.sum(), inner)
        return Frozen(tuple(clock.detach().tolist()), tuple(slope.tolist()))


@dataclass(frozen=True)
class Frozen:
    """A variance-preserving schedule whose clock is a cubic Hermite curve through a table.

    Attributes:
        clocks: log(alpha / sigma) at even times from 0 to 1, falling.
        slopes: Its derivative in time at them.

    Raises:
        ValueError: If the clocks do not fall over at least two times.
    """

    clocks: tuple[float, ...]
    slopes: tuple[float, ...]

    def __post_init__(self) -> None:
        table = torch.tensor([self.clocks, self.slopes], dtype=torch.float64)
        if table.shape[1] < 2 or not bool((table[0].diff() < 0).all()):
            raise ValueError("clocks must fall over at least two times")
        object.__setattr__(self, "_table", table)
        object.__setattr__(self, "_hash", hash((self.clocks, self.slopes)))

    def __hash__(self) -> int:
        value: int = self._hash  # type: ignore[attr-defined]  # a thousand numbers are slow to hash each time
        return value

    def clock(self, t: Tensor) -> Tensor:
        """log(alpha / sigma) at `t`, float64, finite at t = 0 too."""
        t = time64(t)
        table: Tensor = self._table.to(t.device)  # type: ignore[attr-defined]
        last = len(self.clocks) - 1
        i = (t * last).floor().long().clamp(0, last - 1)
        u, width = (t * last - i).clamp(0, 1), 1 / last
        (a, b), (da, db) = (table[0][i], table[0][i + 1]), (table[1][i] * width, table[1][i + 1] * width)
        bend = u * (1 - u)
        # Hermite's form, written from the chord so that the knots are met exactly.
        chord = torch.lerp(a, b, u)
        rest: Tensor = bend * ((1 - u) * (da - (b - a)) - u * (db - (b - a)))
        return chord + rest

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at `t`, float64."""
        t = time64(t)
        return _scales(self.clock(t), t)

    def time_of(self, log_snr: Tensor) -> Tensor:
        """Inverse of the clock by bisection."""
        return _bisected(self.clock, time64(log_snr))


def diffusion_bound(f: Denoiser, x0: Tensor, t: Tensor, noise: Noise) -> Tensor:
    """One-draw estimates of the bound's diffusion term, in nats, `[batch]` (Kingma et al. 2021, section 5).

    -(1/2) SNR'(t) |x_0 - q|^2 with one time and one noise a sample; its mean over uniform times is the term.  Gradients
    reach the denoiser and the schedule, whose mean they leave alone between the ends and whose square they do not.

    Args:
        f: A denoiser of a `Gaussian` process with a `LearnedSchedule`.
        x0: Clean data `[batch, ...]`.
        t: Times in (0, 1), `[batch]`.
        noise: One stream a sample.

    Raises:
        Unsuited: If the process is not Gaussian.
    """
    process = require(f.process, Gaussian, "the bound's diffusion term")
    times = time64(t).detach().requires_grad_()
    alpha, sigma = process.schedule(times)
    clock = alpha.log() - sigma.log()
    (rate,) = torch.autograd.grad(clock.sum(), times, create_graph=True)
    x = process.corrupt(x0, t, noise)
    error = (x0 - f(x, t)).square().flatten(1).sum(1)
    # SNR' = 2 SNR l'
    estimate: Tensor = -append_axes(rate * torch.exp(2 * clock), error) * error
    return estimate
