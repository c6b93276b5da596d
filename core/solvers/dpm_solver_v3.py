"""DPM-Solver-v3: the best linear part and the best parameterisation for one model, from statistics of its walks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.denoiser import Denoiser
from core.gradients import differentiable, fresh
from core.noise import Noise
from core.requirements import require
from core.sampling import Step, sample
from core.solvers.unipc import UniPC
from core.spaces.gaussian import Gaussian
from core.state import Time

NODES = 65  # of the quadratures over a step


@dataclass(frozen=True, eq=False)
class ModelStatistics:
    """Empirical model statistics l, s, b of Zheng et al. 2023 (section 3.1), at clocks, one a number of the state.

    With y = x / alpha the flow is dy/dl = -(y - q).  `linear` is the part of its right side that is taken out as
    linear in y, N = (1 - linear) y - q is what remains, and slope and offset tell how N itself runs along the clock,
    dN/dl = slope N + offset.

    Attributes:
        clocks: log(alpha / sigma), increasing, `[points]`.
        linear: `[points, ...]`; 1 leaves N = -q, data prediction, and 0 leaves the noise, scaled.
        slope: `[points, ...]`.
        offset: `[points, ...]`.
    """

    clocks: Tensor
    linear: Tensor
    slope: Tensor
    offset: Tensor

    @classmethod
    def plain(cls, like: Tensor, linear: float = 1.0, slope: float = 0.0) -> ModelStatistics:
        """Constant statistics for states of the shape of `like` `[batch, ...]`.

        (1, 0) makes DPM-Solver++ of DPM-Solver-v3, (0, -1) DPM-Solver in noise prediction.
        """
        row = torch.ones_like(like[:1]).double().expand(2, *like.shape[1:])
        clocks = torch.tensor([-50.0, 50.0], dtype=torch.float64)
        return cls(clocks, linear * row, slope * row, 0 * row)

    def at(self, clocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(linear, slope, offset) at `clocks` `[n]`, each `[n, ...]`; linear between points, constant beyond."""
        wanted = clocks.clamp(float(self.clocks[0]), float(self.clocks[-1]))
        right = torch.searchsorted(self.clocks, wanted).clamp(1, len(self.clocks) - 1)
        share = (wanted - self.clocks[right - 1]) / (self.clocks[right] - self.clocks[right - 1])
        share = share.reshape(-1, *[1] * (self.linear.ndim - 1))
        linear, slope, offset = (
            torch.lerp(v[right - 1], v[right], share) for v in (self.linear, self.slope, self.offset)
        )
        return linear, slope, offset


def estimate_statistics(
    f: Denoiser, x: Tensor, times: Sequence[float | Tensor], noise: Noise, probes: int = 4
) -> ModelStatistics:
    """Walks from `x` and fits the statistics to what it meets (Zheng et al. 2023, section 3.1).

    linear is the mean of the diagonal of 1 - alpha dq/dx, which makes the remainder depend least on the state; slope
    and offset are the regression of dN/dl on N over the walks.

    Args:
        f: The denoiser; differentiable in its state.
        x: States at `times[0]`, `[batch, ...]`.
        times: Decreasing, many, with finite clocks.
        noise: One stream a sample; for the probes.
        probes: Random signs a sample for the diagonal (Hutchinson 1990); 0 computes it exactly, a number at a time.

    Raises:
        Unsuited: If the process is not Gaussian.
    """
    process = require(f.process, Gaussian, "DPM-Solver-v3")
    states = [x, *(step.x for step in sample(f, UniPC(3), x, times, noise))]
    clocks, scaled, clean, linear = [], [], [], []
    for k, (y, t) in enumerate(zip(states, times, strict=True)):
        time = torch.as_tensor(t, dtype=torch.float64)
        alpha = float(process.schedule(time)[0])
        q, diagonal = _with_diagonal(f, y, time, noise.at("probe", k), probes)
        clocks.append(float(process.log_snr(time)))
        scaled.append(y.double() / alpha)
        clean.append(q.double())
        linear.append((1 - alpha * diagonal.double()).mean(0))
    grid = torch.tensor(clocks, dtype=torch.float64)
    ways = torch.stack(linear)
    remainder = (1 - ways)[:, None] * torch.stack(scaled) - torch.stack(clean)  # [points, batch, ...]
    (rate,) = torch.gradient(remainder, spacing=(grid,), dim=0)
    mean, mean_rate = remainder.mean(1), rate.mean(1)
    spread = remainder - mean[:, None]
    slope = (spread * rate).mean(1) / spread.square().mean(1).clamp_min(1e-12)
    return ModelStatistics(grid, ways, slope, mean_rate - slope * mean)


def _with_diagonal(f: Denoiser, x: Tensor, t: Tensor, noise: Noise, probes: int) -> tuple[Tensor, Tensor]:
    """The prediction at `x` and the diagonal of its derivative, both of the shape of `x`."""
    with differentiable():
        inner = fresh(x).requires_grad_(True)
        q: Tensor = f(inner, t)
        if probes:
            signs = [torch.sign(noise.at(k).normal(x)) for k in range(probes)]
        else:
            eye = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device)
            signs = [row.reshape(x[:1].shape).expand_as(x) for row in eye]
        total = torch.zeros_like(x)
        for v in signs:
            total += v * torch.autograd.grad(q, inner, v, retain_graph=True)[0]
    return q.detach(), total / probes if probes else total


@dataclass(frozen=True, eq=False)
class DPMSolverV3:
    """DPM-Solver-v3 on R^n, multistep predictor (Zheng et al. 2023, section 3.2), for the probability-flow ODE.

    y' = -linear y - N is solved with N = e^S (g + B), where S and B are the integrals of the statistics, and g, which
    is constant for a model that obeys them, is read off a polynomial through the last predictions.  Steps from pure
    noise and onto clean data are DDIM's.

    Attributes:
        statistics: Of the model.
        order: Predictions that are used, 1 to 3.
    """

    statistics: ModelStatistics
    order: int = 3
    evaluations = 1

    def __call__(self, f: Denoiser, x: Tensor, t: Time, s: Time, memory: Any, noise: Noise) -> Step:
        """One step, one evaluation.  Memory: [(clock, N)], newest first.

        Raises:
            Unsuited: If the process is not Gaussian.
        """
        process = require(f.process, Gaussian, "DPM-Solver-v3")
        q = f(x, t)
        start, goal = float(process.log_snr(t)), float(process.log_snr(s))
        if not (math.isfinite(start) and math.isfinite(goal)):
            return Step(s, process.bridge(q, x, t, s, 0.0).sample(noise), q, memory)
        alpha, next_alpha = (float(process.schedule(u)[0]) for u in (t, s))
        y = x.double() / alpha
        here = self.statistics.at(torch.tensor([start], dtype=torch.float64))[0][0]
        known = [(start, (1 - here) * y - q.double()), *(memory or [])][: self.order]
        end = self._solve(y, known, goal)
        moved = (next_alpha * end).to(x.dtype)
        return Step(s, moved, q, known[: self.order - 1])

    def _solve(self, y: Tensor, known: list[Any], goal: float) -> Tensor:
        """Y at the clock `goal`."""
        start = known[0][0]
        grid, linear, bend, shift = self._integrals(start, goal)
        weight = torch.exp(linear + bend)  # of g + B under the integral
        ratio = (grid - start) / (goal - start)
        places = [(clock - start) / (goal - start) for clock, _ in known]
        total = _integral(weight * shift, grid)
        for k, (clock, n) in enumerate(known):
            basis = torch.ones_like(ratio)
            for j, place in enumerate(places):
                if j != k:
                    basis = basis * (ratio - place) / (places[k] - place)
            basis = basis.reshape(-1, *[1] * (weight.ndim - 1))
            total = total + _integral(weight * basis, grid) * self._constant(start, clock, n)
        return torch.exp(-linear[-1]) * (y - total)

    def _constant(self, start: float, clock: float, n: Tensor) -> Tensor:
        """G of a prediction, told from the start of the step."""
        if clock == start:
            return n
        _, _, bend, shift = self._integrals(start, clock)
        return torch.exp(-bend[-1]) * n - shift[-1]

    def _integrals(self, start: float, goal: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(clocks, integrals of linear and slope, B) at points between two clocks, the last three `[points, ...]`."""
        grid = torch.linspace(start, goal, NODES, dtype=torch.float64)
        linear, slope, offset = self.statistics.at(grid)
        whole, bend = _running(linear, grid), _running(slope, grid)
        return grid, whole, bend, _running(torch.exp(-bend) * offset, grid)


def _running(values: Tensor, grid: Tensor) -> Tensor:
    """Running integrals from the first of even points, by the trapezoid rule."""
    pieces = (values[1:] + values[:-1]) / 2 * float(grid[1] - grid[0])
    return torch.cat([torch.zeros_like(values[:1]), pieces.cumsum(0)])


def _integral(values: Tensor, grid: Tensor) -> Tensor:
    """Simpson's rule over an odd number of even points, `[points, ...]` to `[...]`."""
    inner = values[0] + values[-1] + 4 * values[1:-1:2].sum(0) + 2 * values[2:-1:2].sum(0)
    return inner * float(grid[1] - grid[0]) / 3
