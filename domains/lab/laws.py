"""The laws of the Lab: each knows its exact denoiser, its exact draws, and its exact tilt towards a component."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from core.exact import GaussianMixture, TokenTable
from core.noise import Noise
from core.schedules import SCHEDULES, scales_at
from core.spaces.brownian import Brownian
from core.spaces.categorical import Categorical
from core.spaces.gaussian import Gaussian
from core.state import time64
from domains.common.errors import BadInput

KERNELS = ("absorbing", "uniform", "marginal")
GROUPS = {"first": 0, "second": 1}
_MOST_ROUNDS = 400


class Law(Protocol):
    """A law of which everything is known."""

    @property
    def process(self) -> Any:
        """How it is noised."""
        ...

    @property
    def denoiser(self) -> Any:
        """The exact denoiser."""
        ...

    def given(self, group: int) -> Any:
        """The law of one component, of the same kind."""
        ...

    def like(self, count: int) -> Tensor:
        """A tensor of the shape and dtype of `count` states."""
        ...

    def draw(self, noise: Noise) -> Tensor:
        """Exact draws, one a stream."""
        ...

    def posterior(self, x: Tensor, group: int) -> Tensor:
        """Probability of the component at clean states, `[batch]`."""
        ...


@dataclass(frozen=True)
class PlaneLaw:
    """A mixture of isotropic normals in the plane, in two or more components.

    Attributes:
        name: Of the law.
        process: Gaussian.
        means, stds, weights: Of the normals, `[n, 2]`, `[n]`, `[n]`.
        labels: The component that each normal belongs to, `[n]`.
    """

    name: str
    process: Gaussian
    means: Tensor
    stds: Tensor
    weights: Tensor
    labels: Tensor

    @property
    def denoiser(self) -> GaussianMixture:
        return GaussianMixture(self.process, self.means, self.stds, self.weights)

    def given(self, group: int) -> PlaneLaw:
        """The normals of one component."""
        own = self.labels == group
        weights = self.weights[own]
        return replace(
            self,
            means=self.means[own],
            stds=self.stds[own],
            weights=weights / weights.sum(),
            labels=self.labels[own],
        )

    def like(self, count: int) -> Tensor:
        return torch.empty(count, 2, dtype=torch.float64)

    def draw(self, noise: Noise) -> Tensor:
        return self.denoiser.sample(noise, self.like(len(noise)))

    def log_density(self, x: Tensor, t: float) -> Tensor:
        """Log of the exact density of x_t, `[batch]`."""
        logs = self.denoiser.log_responsibilities(x, time64(t))
        return logs.logsumexp(-1) - math.log(2 * math.pi)

    def posterior(self, x: Tensor, group: int) -> Tensor:
        p = self.denoiser.log_responsibilities(x, time64(0.0)).softmax(-1)
        return p[:, self.labels == group].sum(-1)

    @property
    def std(self) -> float:
        """Standard deviation of a coordinate."""
        mean = (self.weights[:, None] * self.means).sum(0)
        second = (self.weights[:, None] * (self.means**2 + self.stds[:, None] ** 2)).sum(0)
        return float((second - mean**2).mean().sqrt())


@dataclass(frozen=True)
class TokenLaw:
    """A joint law of one or two tokens, mixed from two components.

    Attributes:
        name: Of the law.
        process: Categorical.
        tables: Of the components, `[2, V]` or `[2, V, V]`, each summing to one.
        shares: Of the components, summing to one.
    """

    name: str
    process: Categorical
    tables: Tensor
    shares: tuple[float, ...]

    @property
    def table(self) -> Tensor:
        """The law, `[V] * length`."""
        return torch.tensordot(torch.tensor(self.shares, dtype=torch.float64), self.tables, 1)

    @property
    def length(self) -> int:
        """Number of tokens."""
        return self.tables.ndim - 1

    @property
    def denoiser(self) -> TokenTable:
        return TokenTable(self.process, self.table)

    def given(self, group: int) -> TokenLaw:
        """The law of one component."""
        return replace(self, tables=self.tables[[group]], shares=(1.0,))

    def tilted(self, group: int, weight: float) -> TokenLaw:
        """The law proportional to p(x | component)^w p(x)^(1 - w)."""
        own, whole = self.tables[group], self.table
        table = torch.where(own > 0, own**weight * whole.clamp_min(1e-300) ** (1 - weight), 0.0)
        return replace(self, tables=(table / table.sum())[None], shares=(1.0,))

    def like(self, count: int) -> Tensor:
        return torch.zeros(count, self.length, dtype=torch.long)

    def draw(self, noise: Noise) -> Tensor:
        flat = self.table.flatten()
        u = noise.uniform(torch.empty(len(noise), 1, dtype=torch.float64))[:, 0]
        index = torch.searchsorted(flat.cumsum(0), u, right=True).clamp(max=len(flat) - 1)
        return torch.stack(torch.unravel_index(index, self.table.shape), 1)

    def posterior(self, x: Tensor, group: int) -> Tensor:
        own = self.shares[group] * self.tables[group]
        return (own / self.table)[tuple(x.T)]


@dataclass(frozen=True)
class HeatMixture:
    """The exact denoiser of a mixture of heat kernels on a manifold: heat flow is a semigroup, so widths add up.

    Attributes:
        process: Brownian motion.
        centres: `[components, *point]`.
        widths: `[components]`, radians.
        weights: `[components]`, summing to one.
    """

    process: Brownian
    centres: Tensor
    widths: Tensor
    weights: Tensor

    def _logs(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        sigma = self.process.schedule(time64(t))[1]
        width = (self.widths**2 + (sigma[:, None] if sigma.ndim else sigma) ** 2).sqrt()
        log_density, scores = self.process.manifold.heat(x[:, None], self.centres.to(x)[None], width)
        return self.weights.log() + log_density, scores

    def log_components(self, x: Tensor, t: Tensor) -> Tensor:
        """Log of weight times density of each component at `x`, `[batch, components]`."""
        return self._logs(x, t)[0]

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """exp_x(sigma^2 score), of the shape of `x`."""
        logs, scores = self._logs(x, t)
        sigma = self.process.schedule(time64(t))[1]
        square = (sigma**2)[:, None] if sigma.ndim else sigma**2
        score = (logs.softmax(-1)[..., None] * scores).sum(1)
        return self.process.manifold.exp(x, (square * score).to(x))


@dataclass(frozen=True)
class RotationLaw:
    """A mixture of isotropic Gaussians on SO(3), one a component."""

    name: str
    process: Brownian
    centres: Tensor
    widths: Tensor
    weights: Tensor

    @property
    def denoiser(self) -> HeatMixture:
        return HeatMixture(self.process, self.centres, self.widths, self.weights)

    def given(self, group: int) -> RotationLaw:
        """One component."""
        own = slice(group, group + 1)
        return replace(
            self, centres=self.centres[own], widths=self.widths[own], weights=torch.ones(1).double()
        )

    def like(self, count: int) -> Tensor:
        return torch.eye(3, dtype=torch.float64).expand(count, 3, 3).clone()

    def draw(self, noise: Noise) -> Tensor:
        u = noise.at("component").uniform(torch.empty(len(noise), 1, dtype=torch.float64))[:, 0]
        k = torch.searchsorted(self.weights.cumsum(0), u, right=True).clamp(max=len(self.weights) - 1)
        return self.process.manifold.diffuse(self.centres[k], self.widths[k], noise.at("within"))

    def posterior(self, x: Tensor, group: int) -> Tensor:
        return self.denoiser.log_components(x, time64(0.0)).softmax(-1)[:, group]


def tilted_draws(law: Law, group: int, weight: float, noise: Noise) -> Tensor:
    """Exact draws of the law proportional to p(x | component)^w p(x)^(1 - w), one a stream.

    By rejection: from p(x | component) with acceptance r^(w - 1), from p with r^w where w is below 1, r being the
    posterior probability of the component, which is all that the tilt depends on.
    """
    source, power = (law.given(group), weight - 1) if weight >= 1 else (law, weight)
    out = source.draw(noise.at("tilted", 0))
    waiting = torch.arange(len(noise))
    for k in range(_MOST_ROUNDS):
        mine = noise.take(waiting.tolist()).at("tilted", k)
        x = source.draw(mine)
        u = mine.at("accept").uniform(torch.empty(len(waiting), 1, dtype=torch.float64))[:, 0]
        accept = u < law.posterior(x, group) ** power
        out[waiting[accept]] = x[accept]
        waiting = waiting[~accept]
        if not len(waiting):
            return out
    raise BadInput("guidance", "is so strong that the tilted law is out of reach; take less")


def make_law(name: str, noise: str) -> PlaneLaw | TokenLaw | RotationLaw:
    """A law of the Lab under a schedule or kernel; `auto` takes the one that suits it.

    Raises:
        BadInput: If the two do not fit.
    """
    if name in PLANE:
        if noise in KERNELS:
            raise BadInput("noise", f"{noise} is a kernel of tokens; the plane takes {', '.join(SCHEDULES)}")
        return PLANE[name](Gaussian(SCHEDULES["vp-cosine" if noise == "auto" else noise]()))
    if name in TABLES:
        if noise not in ("auto", *KERNELS):
            raise BadInput("noise", f"{noise} is a schedule of the plane; tokens take {', '.join(KERNELS)}")
        return _tokens(name, "absorbing" if noise == "auto" else noise)
    if noise not in ("auto", "ve"):
        raise BadInput(
            "noise", f"{noise} is not defined for rotations, which diffuse by heat; take ve or auto"
        )
    return _rotations()


def start_of(law: Law) -> float:
    """The first time of a walk: 1, or where sigma / alpha is 100 if a plane's schedule has no signal at all there.

    Solvers that predict noise have no finite prediction at zero signal.
    """
    if not isinstance(law.process, Gaussian) or scales_at(law.process.schedule, 1.0)[0] > 0:
        return 1.0
    return float(law.process.schedule.time_of(torch.tensor(-math.log(100.0))))


def prior_at(law: Law, start: float, noise: Noise) -> Tensor:
    """Prior states at the first time."""
    x: Tensor = law.process.prior(law.like(len(noise)), noise)
    if isinstance(law.process, Gaussian):
        x = x * (scales_at(law.process.schedule, start)[1] / scales_at(law.process.schedule, 1.0)[1])
    return x


def _plane(name: str, process: Gaussian, rows: list[tuple[float, float, float, float, int]]) -> PlaneLaw:
    table = torch.tensor(rows, dtype=torch.float64)
    weights = table[:, 3] / table[:, 3].sum()
    return PlaneLaw(name, process, table[:, :2], table[:, 2], weights, table[:, 4].long())


def _moons(process: Gaussian) -> PlaneLaw:
    angles = [math.pi * (k + 0.5) / 12 for k in range(12)]
    upper = [(1.1 * math.cos(a) - 0.55, 1.1 * math.sin(a) - 0.3, 0.1, 1.0, 0) for a in angles]
    lower = [(0.55 - 1.1 * math.cos(a), 0.3 - 1.1 * math.sin(a), 0.1, 1.0, 1) for a in angles]
    return _plane("moons", process, upper + lower)


def _grid(process: Gaussian) -> PlaneLaw:
    places = [(0.75 * (i - 2), 0.75 * (j - 2)) for i in range(5) for j in range(5)]
    places[1], places[12] = places[12], places[1]  # the second component is the middle one
    return _plane("grid", process, [(x, y, 0.08, 1.0, k) for k, (x, y) in enumerate(places)])


def _rings(process: Gaussian) -> PlaneLaw:
    rows = [
        (r * math.cos(a), r * math.sin(a), 0.09, w, label)
        for label, (r, n, w) in enumerate(((0.6, 12, 1.0), (1.7, 32, 0.75)))
        for a in (2 * math.pi * k / n for k in range(n))
    ]
    return _plane("rings", process, rows)


def _pair(process: Gaussian) -> PlaneLaw:
    return _plane("pair", process, [(-0.9, -0.5, 0.55, 0.3, 0), (0.9, 0.4, 0.65, 0.7, 1)])


PLANE: dict[str, Callable[[Gaussian], PlaneLaw]] = {
    "moons": _moons,
    "grid": _grid,
    "rings": _rings,
    "pair": _pair,
}


def _hills(size: int) -> Tensor:
    """Two hills over `size` tokens, `[2, size]`."""
    k = torch.arange(size, dtype=torch.float64)
    hills = torch.stack([torch.exp(-((k - m) ** 2) / (2 * s**2)) for m, s in ((2.0, 1.0), (8.0, 1.6))])
    return hills / hills.sum(-1, keepdim=True)


def _couples(size: int) -> Tensor:
    """Two tokens that are mostly equal, or mostly each other's mirror image, `[2, size, size]`."""
    eye = torch.eye(size, dtype=torch.float64)
    tables = torch.stack([0.9 * eye / size + 0.1 / size**2, 0.9 * eye.flip(0) / size + 0.1 / size**2])
    return tables / tables.sum((1, 2), keepdim=True)


TABLES: dict[str, tuple[Callable[[int], Tensor], int]] = {"tokens": (_hills, 12), "token-pair": (_couples, 4)}


def _tokens(name: str, kernel: str) -> TokenLaw:
    make, size = TABLES[name]
    tables, shares = make(size), (0.6, 0.4)
    if kernel == "marginal":
        whole = shares[0] * tables[0] + shares[1] * tables[1]
        sites = [
            whole.sum([d for d in range(whole.ndim) if d != i]) if whole.ndim > 1 else whole
            for i in range(whole.ndim)
        ]
        process = Categorical.marginal(torch.stack(sites).mean(0).tolist())
    else:
        process = Categorical.uniform(size) if kernel == "uniform" else Categorical.absorbing(size)
    return TokenLaw(name, process, tables, shares)


def _rotations() -> RotationLaw:
    process = Brownian()
    vectors = torch.tensor([[1.6, 0.3, 0.2], [-0.9, 1.4, 0.4], [-0.2, -1.2, -1.7]], dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64).expand(3, 3, 3)
    return RotationLaw(
        "rotations",
        process,
        process.manifold.exp(eye, vectors),
        torch.tensor([0.2, 0.3, 0.25], dtype=torch.float64),
        torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64),
    )
