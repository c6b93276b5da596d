"""Positions and categories solved jointly at 100 evaluations: the exact joint law; solved apart, not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from core.exact import GaussianMixture, TokenTable
from core.exact.chains import total_variation
from core.noise import Noise
from core.sampling import Counted
from core.schedules import VPCosine
from core.solvers.ancestral import Ancestral
from core.solvers.heun import Heun
from core.solvers.multistep import Multistep
from core.spaces.categorical import Categorical, Categories
from core.spaces.gaussian import Gaussian
from core.spaces.product import Product
from core.time_grids import uniform
from tests.core.chains import KERNELS

ROWS, COPIES = 4, 5000
COUNT = ROWS * COPIES
MEANS = torch.tensor([[-1.5, -1.5], [1.5, -1.5], [-1.5, 1.5], [1.5, 1.5]], dtype=torch.float64)
STD = 0.3
# Where the position is tells the category, not surely: rows are the clusters, columns the categories.
CELLS = torch.tensor(
    [[0.20, 0.02, 0.03], [0.01, 0.15, 0.02], [0.02, 0.03, 0.22], [0.10, 0.10, 0.10]], dtype=torch.float64
)


@dataclass(frozen=True)
class PositionAndCategory:
    """The exact joint prediction."""

    process: Product

    def __call__(self, x: dict[str, Tensor], t: Any) -> dict[str, Tensor]:
        gaussian, chain = self.process.parts["position"], self.process.parts["category"]
        assert isinstance(gaussian, Gaussian) and isinstance(chain, Categorical)
        alpha, sigma = gaussian.schedule(t)
        variance = alpha**2 * STD**2 + sigma**2
        away = x["position"][:, None] - alpha * MEANS  # [batch, clusters, 2]
        near = torch.exp(-away.square().sum(-1) / (2 * variance)).clamp_min(1e-200)
        keep, law = chain.keep(t), torch.tensor(chain.stationary, dtype=torch.float64)
        move = keep * torch.eye(3, chain.vocabulary, dtype=torch.float64) + (1 - keep) * law
        seen = move[:, x["category"][:, 0]].T
        cluster, category = near * (seen @ CELLS.T), seen * (near @ CELLS)
        share = cluster / cluster.sum(1, keepdim=True)
        means = MEANS + alpha * STD**2 / variance * away
        category = torch.nn.functional.pad(category, (0, chain.vocabulary - 3)).log().clamp_min(-1e4)
        return {"position": (share[..., None] * means).sum(1), "category": category[:, None]}


@dataclass(frozen=True)
class Apart:
    """Each field predicted from itself alone: its marginal law is right."""

    process: Product

    def __call__(self, x: dict[str, Tensor], t: Any) -> dict[str, Tensor]:
        parts: Any = self.process.parts
        stds = torch.full((4,), STD, dtype=torch.float64)
        return {
            "position": GaussianMixture(parts["position"], MEANS, stds, CELLS.sum(1))(x["position"], t),
            "category": TokenTable(parts["category"], CELLS.sum(0))(x["category"], t),
        }


def cells(x: dict[str, Tensor]) -> Tensor:
    """The empirical law of (cluster, category)."""
    cluster = (x["position"].flatten(0, 1)[:, None] - MEANS).square().sum(-1).argmin(-1)
    index = cluster * 3 + x["category"].flatten()
    return torch.bincount(index, minlength=12).double().reshape(4, 3) / COUNT


def start(process: Product) -> dict[str, Tensor]:
    like = {
        "position": torch.empty(ROWS, COPIES, 2, dtype=torch.float64),
        "category": torch.empty(ROWS, COPIES, 1),
    }
    x: dict[str, Tensor] = process.prior(like, Noise.of(5, ROWS).at("prior"))
    return x


def product(kernel: str) -> Product:
    return Product({"position": Gaussian(VPCosine()), "category": KERNELS[kernel]})


@pytest.mark.parametrize(
    ("kernel", "solver", "steps"),
    [
        ("absorbing", Ancestral(), 100),
        ("uniform", Ancestral(), 100),
        ("marginal", Multistep(0.0), 100),
        ("absorbing", Heun(), 50),
    ],
    ids=["absorbing-ancestral", "uniform-ancestral", "marginal-multistep", "absorbing-heun"],
)
def test_the_joint_law_at_a_hundred_evaluations(
    walk: Callable[..., Any], packed: type, kernel: str, solver: Any, steps: int
) -> None:
    process = product(kernel)
    f = Counted(packed(PositionAndCategory(process)))
    y = walk(f, solver, start(process), uniform(steps), Noise.of(6, ROWS))
    assert f.nfe <= 100
    assert total_variation(cells(y), CELLS) < 0.02
    cluster = (y["position"].flatten(0, 1)[:, None] - MEANS).square().sum(-1).argmin(-1)
    inner = y["position"].flatten(0, 1) - MEANS[cluster]
    assert float(inner.std()) == pytest.approx(STD, rel=0.05)


def test_so_many_exact_draws_are_as_near() -> None:
    """The bar of 0.02 is above the noise of 20000 draws, and not far above."""
    draws = Categories(CELLS.flatten().expand(20, COUNT, -1)).sample(Noise.of(9, 20))
    distances = [
        total_variation(torch.bincount(row, minlength=12).double().reshape(4, 3) / COUNT, CELLS)
        for row in draws
    ]
    assert 0.003 < max(distances) < 0.015


@pytest.mark.parametrize("kernel", ["absorbing", "uniform"])
def test_fields_sampled_independently_fail(walk: Callable[..., Any], packed: type, kernel: str) -> None:
    """Both marginal laws are right, the joint is that of their product, far outside the bar."""
    process = product(kernel)
    law = cells(walk(packed(Apart(process)), Ancestral(), start(process), uniform(100), Noise.of(6, ROWS)))
    assert float((law.sum(0) - CELLS.sum(0)).abs().sum()) / 2 < 0.02
    assert float((law.sum(1) - CELLS.sum(1)).abs().sum()) / 2 < 0.02
    independent = CELLS.sum(1, keepdim=True) * CELLS.sum(0)
    assert total_variation(law, CELLS) == pytest.approx(total_variation(independent, CELLS), abs=0.02)
    assert total_variation(law, CELLS) > 0.2
