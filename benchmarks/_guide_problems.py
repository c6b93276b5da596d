"""Problems of the guide benchmark on R^n: mixtures whose posteriors are known, and the guides that try them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.exact import GaussianMixture
from core.guidance.classifier import ClassifierGuided
from core.guidance.classifier_free import Guided
from core.guidance.constraints import Constrained, ConstrainedSteps, HalfSpace
from core.guidance.ddnm import DDNM, DDNMPlus
from core.guidance.dps import DPS, DPSSteps
from core.guidance.inpainting import Inpainted, time_travel
from core.guidance.moment_matching import MomentMatched
from core.guidance.operators import Mask, Matrix
from core.guidance.pigdm import PiGDM
from core.guidance.weights import Interval
from core.metrics.transport import sliced_wasserstein
from core.noise import Noise
from core.sampling import Counted
from core.schedules import VPCosine
from core.solvers.ancestral import Ancestral
from core.spaces.gaussian import Gaussian
from core.spaces.masked import Knowing, Masked
from core.state import batch_size, each
from core.time_grids import uniform_log_snr
from core.twisted import Twisted, by_uncertainty

STEPS = 100


@dataclass(frozen=True)
class Stream(Noise):
    """One stream for a whole batch: a law is asked for here, not that sample 3 alone be sample 3 of many."""

    def at(self, *address: int | str) -> Stream:
        return Stream(self.seeds, self.address + address)

    def _draw(self, kind: str, like: Tensor) -> Tensor:
        generator = Noise(self.seeds, (*self.address, kind)).shared()
        draw = generator.standard_normal if kind == "normal" else generator.random
        floating = like.dtype if like.is_floating_point() else torch.float32
        return torch.from_numpy(np.asarray(draw(tuple(like.shape)))).to(floating)


@dataclass(frozen=True)
class Way:
    """A guide on its way from noise to data.

    Attributes:
        name: As printed. f: The denoiser, guided. solver: The step. grid: Its times. start: noise, count -> state.
    """

    name: str
    f: Any
    solver: Any
    grid: Any
    start: Callable[[Noise, int], Any]


@dataclass(frozen=True)
class Problem:
    """A law to be conditioned.

    Attributes:
        name: As printed. measure: Of the distance. exact: noise, count -> draws of the posterior.
        distance: (samples, draws) -> number. ways: (counter) -> the guides. count: Samples.
    """

    name: str
    measure: str
    exact: Callable[[Noise, int], Tensor]
    distance: Callable[[Any, Tensor], float]
    ways: Callable[[list[int]], list[Way]]
    count: int = 2000


@dataclass(frozen=True)
class Spread:
    """`Inpainted` with one known state spread over the samples at hand; each has noise of its own.

    Attributes:
        known, mask: Of one sample, without the batch. inner: The step inside. renoised: As of `Inpainted`.
    """

    known: Any
    mask: Any
    inner: Any = Ancestral()
    renoised: bool = True

    def __call__(self, f: Any, x: Any, t: Any, s: Any, memory: Any, noise: Noise) -> Any:
        n = batch_size(x)
        known, mask = (each(lambda v: v.expand(n, *v.shape), value) for value in (self.known, self.mask))
        return Inpainted(self.inner, known, mask, self.renoised)(f, x, t, s, memory, noise)


def sliced(x: Tensor, y: Tensor) -> float:
    """Sliced Wasserstein distance in standard deviations of `y` `[n, d]`."""
    return sliced_wasserstein(x, y) / float(y.double().std(0).square().mean().sqrt())


def counted(f: Any, counter: list[int]) -> Counted:
    return Counted(f, counter)


def _grid(steps: int = STEPS) -> Tensor:
    return uniform_log_snr(VPCosine(), steps, 0.999, 1e-2)


def travel(grid: Callable[[int], Tensor], evaluations: int, length: int, repeats: int) -> Tensor:
    """The finest grid with time travel that takes no more than `evaluations` steps down."""
    best: Tensor | None = None
    for steps in range(length + 1, evaluations + 1):
        times = time_travel(grid(steps), length, repeats)
        if int((times[1:] < times[:-1]).sum()) > evaluations:
            break
        best = times
    assert best is not None
    return best


def mixture(d: int) -> GaussianMixture:
    g = torch.Generator().manual_seed(d)
    means = 1.2 * torch.randn(4, d, generator=g, dtype=torch.float64)
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    return GaussianMixture(Gaussian(VPCosine()), means, 0.35 * torch.ones(4, dtype=torch.float64), weights)


def _normal_start(d: int) -> Callable[[Noise, int], Tensor]:
    return lambda noise, n: noise.normal(torch.empty(n, d, dtype=torch.float64))


def choose(weights: Tensor, noise: Noise, n: int) -> Tensor:
    return torch.from_numpy(noise.shared().choice(len(weights), n, p=(weights / weights.sum()).numpy()))


def linear_posterior(f: GaussianMixture, a: Tensor, y: Tensor, std: float) -> tuple[Tensor, Tensor, Tensor]:
    """(weights, means, covariance) of the mixture's law given y = A x + std n."""
    s = f.stds[0] ** 2
    seen = s * a @ a.T + std**2 * torch.eye(len(a), dtype=torch.float64)
    gain = s * a.T @ torch.linalg.inv(seen)
    means = f.means + (y - f.means @ a.T) @ gain.T
    covariance = s * (torch.eye(a.shape[1], dtype=torch.float64) - gain @ a)
    log_p = torch.distributions.MultivariateNormal(f.means @ a.T, seen).log_prob(y)
    return (f.weights.log() + log_p).softmax(0), means, covariance


def _gaussian_draws(law: tuple[Tensor, Tensor, Tensor], noise: Noise, n: int) -> Tensor:
    weights, means, covariance = law
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp_min(0).sqrt()
    z = noise.at("z").normal(torch.empty(n, means.shape[1], dtype=torch.float64))
    return means[choose(weights, noise.at("k"), n)] + z @ root.T


def inpainting(d: int) -> Problem:
    f = mixture(d)
    mask = torch.arange(d) < d // 2
    known = f.means[1] + 0.35 * torch.linspace(-1, 1, d, dtype=torch.float64)
    y, rest = known[mask], ~mask
    weights = (f.weights.log() - 0.5 * ((y - f.means[:, mask]) / 0.35).square().sum(1)).softmax(0)
    eye = 0.35**2 * torch.eye(int(rest.sum()), dtype=torch.float64)

    def exact(noise: Noise, n: int) -> Tensor:
        x = known.repeat(n, 1)
        x[:, rest] = _gaussian_draws((weights, f.means[:, rest], eye), noise, n)
        return x

    def ways(counter: list[int]) -> list[Way]:
        g, start, walk = counted(f, counter), _normal_start(d), Ancestral()
        put = Spread(known, mask)
        held = Masked(f.process, mask[None])

        def among(noise: Noise, n: int) -> Tensor:
            return torch.where(mask, known, start(noise, n))

        return [
            Way("prior, y not used", g, walk, _grid(), start),
            Way("replacement", g, put, _grid(), start),
            Way("RePaint, jumps of 5, 5 times", g, put, travel(_grid, STEPS, 5, 5), start),
            Way("RePaint, jumps of 5, 5 times, 500 evaluations", g, put, travel(_grid, 5 * STEPS, 5, 5), start),
            Way("DDNM", DDNM(g, Mask(mask), y), walk, _grid(), start),
            Way("ΠGDM", PiGDM(g, Mask(mask), y), walk, _grid(), start),
            Way("DPS, algorithm 1", g, DPSSteps(walk, Mask(mask), y, 0.3), _grid(), start),
            Way("moment matching", MomentMatched(g, Mask(mask), y), walk, _grid(), start),
            Way("known part at clock 0", Counted(Knowing(f, held), counter), walk, _grid(), among),
        ]  # fmt: skip

    return Problem(
        f"inpainting {d // 2} of {d} numbers of a mixture",
        "sliced Wasserstein",
        exact,
        lambda x, e: sliced(x[:, rest], e[:, rest]),
        ways,
    )


def _measuring(f: GaussianMixture, operator: Any, y: Tensor, std: float, counter: list[int]) -> list[Way]:
    d = f.means.shape[1]
    g, start, walk = counted(f, counter), _normal_start(d), Ancestral()

    def reward(q: Tensor) -> Tensor:
        return -(y - operator(q)).square().sum(1) / (2 * std**2)

    return [
        Way("prior, y not used", g, walk, _grid(), start),
        Way("DPS, likelihood", DPS(g, operator, y, std), walk, _grid(), start),
        Way("DPS, algorithm 1", g, DPSSteps(walk, operator, y, 0.3), _grid(), start),
        Way("moment matching", MomentMatched(g, operator, y, std), walk, _grid(), start),
        Way("moment matching, diagonal", MomentMatched(g, operator, y, std, True), walk, _grid(), start),
        Way("twisted particles", g, Twisted(reward), _grid(), start),
        Way(
            "twisted particles, tempered by uncertainty",
            g,
            Twisted(reward, temper=by_uncertainty(f.process, std)),
            _grid(),
            start,
        ),
    ]


def linear(d: int) -> Problem:
    f, std, m = mixture(d), 0.3, max(1, d // 4)
    a = torch.randn(m, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / math.sqrt(d)
    y = a @ (f.means[2] + 0.3)
    law, operator = linear_posterior(f, a, y, std), Matrix(a)

    def classifier(x: Tensor, t: Any) -> Tensor:
        """log p(y | x_t) of a mixture, in closed form."""
        alpha, sigma = f.process.schedule(t)
        s = f.stds[0] ** 2
        variance = s * sigma**2 / (alpha**2 * s + sigma**2)
        seen = variance * a @ a.T + std**2 * torch.eye(m, dtype=torch.float64)
        log_p = torch.distributions.MultivariateNormal(f.component_means(x, t) @ a.T, seen).log_prob(y)
        return (f.log_responsibilities(x, t).log_softmax(-1) + log_p).logsumexp(-1)

    def ways(counter: list[int]) -> list[Way]:
        g, start, walk = counted(f, counter), _normal_start(d), Ancestral()
        first, *others = _measuring(f, operator, y, std, counter)
        return [
            first,
            Way("classifier, exact likelihood", ClassifierGuided(g, classifier), walk, _grid(), start),
            Way("ΠGDM, unit data", PiGDM(g, operator, y, std), walk, _grid(), start),
            Way("DDNM+", g, DDNMPlus(operator, y, std), _grid(), start),
            *others,
        ]

    return Problem(
        f"{m} noisy projection{'s' if m > 1 else ''} of {d} numbers of a mixture",
        "sliced Wasserstein",
        lambda noise, n: _gaussian_draws(law, noise, n),
        sliced,
        ways,
    )


def nonlinear(d: int) -> Problem:
    f, std = mixture(d), 0.1
    y = f.means[3].norm()[None] + 0.1

    def norm(x: Tensor) -> Tensor:
        return x.norm(dim=1, keepdim=True)

    def exact(noise: Noise, n: int) -> Tensor:
        x = f.sample(noise.at("x"), torch.empty(200000, d, dtype=torch.float64))
        weights = (-(y - norm(x))[:, 0].square() / (2 * std**2)).exp()
        return x[choose(weights, noise.at("resample"), n)]

    return Problem(
        f"noisy norm of {d} numbers of a mixture",
        "sliced Wasserstein",
        exact,
        sliced,
        lambda counter: _measuring(f, norm, y, std, counter),
    )


def half_space() -> Problem:
    f = mixture(2)
    normal = torch.tensor([1.0, 0.5], dtype=torch.float64)
    border = HalfSpace(normal, float(f.means[2] @ normal))  # through the middle of a component

    def exact(noise: Noise, n: int) -> Tensor:
        x = f.sample(noise, torch.empty(20 * n, 2, dtype=torch.float64))
        return x[x @ border.normal <= border.offset][:n]

    def ways(counter: list[int]) -> list[Way]:
        g, start, walk = counted(f, counter), _normal_start(2), Ancestral()
        return [
            Way("prior, constraint not used", g, walk, _grid(), start),
            Way("projected predictions", Constrained(g, border), walk, _grid(), start),
            Way("projected states", g, ConstrainedSteps(walk, border), _grid(), start),
            Way(
                "projected states below sigma / alpha = 0.5",
                g,
                ConstrainedSteps(walk, border, 0.5),
                _grid(),
                start,
            ),
        ]

    return Problem("mixture in a half-space", "sliced Wasserstein", exact, sliced, ways)


def strong_guidance() -> Problem:
    weak, w = mixture(2), 3.0
    strong = GaussianMixture(
        weak.process, weak.means[2:], weak.stds[2:], weak.weights[2:] / weak.weights[2:].sum()
    )
    zero = torch.zeros((), dtype=torch.float64)

    def exact(noise: Noise, n: int) -> Tensor:
        x = strong.sample(noise.at("x"), torch.empty(200000, 2, dtype=torch.float64))
        log_p, log_q = (f.log_responsibilities(x, zero).logsumexp(-1) for f in (strong, weak))
        return x[choose(((w - 1) * (log_p - log_q)).softmax(0), noise.at("resample"), n)]

    def ways(counter: list[int]) -> list[Way]:
        p, q, start = counted(strong, counter), counted(weak, counter), _normal_start(2)
        walk, grid = Ancestral(), _grid(STEPS // 2)  # two branches: half the steps
        return [
            Way("strong branch alone", p, walk, _grid(), start),
            Way("classifier-free, w = 3", Guided(p, q, w), walk, grid, start),
            Way(
                "the same for 0.2 < sigma / alpha <= 2",
                Guided(p, q, Interval(w, 0.2, 2.0)),
                walk,
                grid,
                start,
            ),
        ]

    return Problem("two of four components, p^3 / q^2", "sliced Wasserstein", exact, sliced, ways)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "inpainting-2": lambda: inpainting(2),
    "inpainting-16": lambda: inpainting(16),
    "linear-2": lambda: linear(2),
    "linear-16": lambda: linear(16),
    "nonlinear-2": lambda: nonlinear(2),
    "nonlinear-16": lambda: nonlinear(16),
    "half-space": half_space,
    "strong-guidance": strong_guidance,
}
