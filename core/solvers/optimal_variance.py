"""How wide a reverse step should be: fixed, within a range, or optimal (Nichol & Dhariwal 2021; Bao et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.denoiser import Denoiser
from core.noise import Noise
from core.requirements import require
from core.sampling import Step
from core.spaces.gaussian import Gaussian, Normal
from core.state import append_axes, time64, wide


@dataclass(frozen=True)
class PredictionErrors:
    """E ||x_0 - q(x_t, t)||^2 / d along the clock: what a prediction leaves open, measured once.

    Between the measured times its logarithm is linear in the clock; beyond them it stays.

    Attributes:
        clocks: log(alpha / sigma), falling with time; `estimate` makes them.
        errors: Mean squared error an element, one a clock.
    """

    clocks: tuple[float, ...]
    errors: tuple[float, ...]

    def __call__(self, clock: float) -> float:
        """The mean squared error at a clock."""
        rising = np.argsort(self.clocks)
        logs = np.log(np.maximum(self.errors, 1e-300))[rising]
        return float(np.exp(np.interp(clock, np.asarray(self.clocks)[rising], logs)))


def estimate(f: Denoiser, x0: Tensor, times: Iterable[float | Tensor], noise: Noise) -> PredictionErrors:
    """Measures a denoiser's errors on data once, as Analytic-DPM measures the norm of its score.

    Args:
        f: The denoiser.
        x0: Clean data `[batch, ...]`.
        times: Where to measure, within (0, 1]: the grid that will be walked, or a few dozen times for any grid.
        noise: One stream a sample.

    Raises:
        Unsuited: If the process is not Gaussian.
    """
    process = require(f.process, Gaussian, "Analytic-DPM")
    clocks, errors = [], []
    for k, time in enumerate(times):
        t = time64(time)
        if float(t) == 0:
            continue
        x = process.corrupt(x0, t, noise.at("estimate", k))
        # Pure noise has the clock minus infinity, and there the table ends.
        clocks.append(max(float(process.log_snr(t)), -1e3))
        errors.append(float(process.divergence(x, x0, f(x, t)).double().mean()))
    return PredictionErrors(tuple(clocks), tuple(errors))


@dataclass(frozen=True)
class OptimalVariance:
    """Ancestral steps with the isotropic variance that is best for the prediction at hand (Bao et al. 2022, theorem 1).

    The bridge is aimed at a prediction q as if it were certain.  Averaged over what x_0 may yet be, the kernel has the
    variance std^2 + lead^2 E ||x_0 - q||^2 / d by the law of total variance, and no isotropic normal kernel of that
    mean is nearer to the true one.  It matters most where steps are few.  With eta 0 it is Analytic-DDIM.

    Attributes:
        errors: From `estimate`.
        eta: Share of fresh noise of the bridge itself, 1 for DDPM, 0 for DDIM.
        final_noise: Whether the step onto t = 0 draws too.  The law wants it; an image is better shown without.
    """

    errors: PredictionErrors
    eta: float = 1.0
    final_noise: bool = True
    order = 1
    evaluations = 1

    def __call__(self, f: Denoiser, x: Tensor, t: Tensor, s: Tensor, memory: Any, noise: Noise) -> Step:
        """One step, one evaluation.

        Raises:
            Unsuited: If the process is not Gaussian.
        """
        process = require(f.process, Gaussian, "Analytic-DPM")
        q = f(x, t)
        kernel = self.kernel(process, q, x, time64(t), time64(s))
        if float(s) == 0 and not self.final_noise:
            return Step(s, kernel.mean, q)
        return Step(s, kernel.sample(noise), q)

    def kernel(self, process: Gaussian, q: Tensor, x: Tensor, t: Tensor, s: Tensor) -> Normal:
        """The kernel of x_s given `x` `[batch, ...]` at time `t` and the prediction `q` of its shape."""
        mean = process.bridge(q, x, t, s, self.eta).mean
        lead, _, std = process.step(float(t), float(s), self.eta)
        variance = std**2 + lead**2 * self.errors(max(float(process.log_snr(t)), -1e3))
        return Normal(mean, torch.tensor(math.sqrt(variance), dtype=torch.float64), process.project)


Share = float | Callable[[Tensor, Tensor], Tensor | float]


@dataclass(frozen=True)
class RangeVariance:
    """Ancestral steps with a variance between beta-tilde and beta, interpolated in logarithms.

    exp(v log beta + (1 - v) log beta-tilde) with v in [0, 1] (Nichol & Dhariwal 2021, eq. 15): 0 is the variance that
    is right for data of one point, 1 the one that is right for unit normal data.  v may be learned: train what `share`
    calls by the bound of `core.training.variational_bound`, with the mean held fixed.

    Attributes:
        share: v: a number, or a function (x, t) -> v of the shape of `x`, 0-dimensional or `[batch]`.
    """

    share: Share = 0.0
    order = 1
    evaluations = 1

    def __call__(self, f: Denoiser, x: Tensor, t: Tensor, s: Tensor, memory: Any, noise: Noise) -> Step:
        """One step, one evaluation; the step onto t = 0 is the prediction itself.

        Raises:
            Unsuited: If the process is not Gaussian.
        """
        process = require(f.process, Gaussian, "learned-range variance")
        q = f(x, t)
        if float(s) == 0:
            return Step(s, q, q)
        return Step(s, self.kernel(process, q, x, time64(t), time64(s)).sample(noise), q)

    def kernel(self, process: Gaussian, q: Tensor, x: Tensor, t: Tensor, s: Tensor) -> Normal:
        """The kernel of x_s, s > 0, given `x` `[batch, ...]` at time `t` and the prediction `q` of its shape."""
        mean = process.bridge(q, x, t, s, 1.0).mean
        small = math.log(process.step(float(t), float(s))[2]) * 2
        # beta-tilde is beta sigma_s^2 / sigma_t^2
        large = small + 2 * float(process.scales(t, x)[1].log() - process.scales(s, x)[1].log())
        share = self.share(wide(x), t) if callable(self.share) else self.share
        v = torch.as_tensor(share, dtype=torch.float64 if not isinstance(share, Tensor) else None)
        std = torch.exp((v * large + (1 - v) * small) / 2)
        return Normal(mean, append_axes(std, x) if std.ndim <= 1 else std, process.project)
