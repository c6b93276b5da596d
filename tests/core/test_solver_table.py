"""Every named solver with every space: it walks where its row says that it is defined, and says so where it is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core.exact import GaussianMixture, PointMixture, TokenTable
from core.noise import Noise
from core.requirements import Unsuited, suits
from core.sampling import Counted, final, sample
from core.schedules import VPLinear
from core.solvers import SOLVERS
from core.spaces.brownian import Brownian
from core.spaces.categorical import Categorical
from core.spaces.gaussian import Gaussian
from core.spaces.product import Product
from core.state import leaves
from core.time_grids import uniform

TABLE = torch.tensor([[0.3, 0.1], [0.2, 0.4]], dtype=torch.float64)


class Both:
    """Two exact denoisers of independent parts."""

    def __init__(self, parts: dict[str, Any]) -> None:
        self.parts = parts
        self.process = Product({k: f.process for k, f in parts.items()})

    def __call__(self, x: Any, t: Any) -> Any:
        return {k: f(x[k], t) for k, f in self.parts.items()}


def denoisers() -> dict[str, tuple[Any, Any]]:
    """Space -> (exact denoiser, something of the shape of its states)."""
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=torch.float64)
    halves = torch.tensor([0.5, 0.5], dtype=torch.float64)
    line = GaussianMixture(Gaussian(), means, 0.3 * torch.ones(2, dtype=torch.float64), halves)
    process = Brownian()
    centres = process.manifold.uniform(torch.empty(2, 3, 3, dtype=torch.float64), Noise.of(1, 2))
    rotation = PointMixture(process, centres, halves)
    masked = TokenTable(Categorical((0.0, 0.0, 1.0)), TABLE)
    tokens = TokenTable(Categorical((0.5, 0.5)), TABLE)
    vector, pair = torch.empty(3, 2, dtype=torch.float64), torch.zeros(3, 2, dtype=torch.long)
    matrices = torch.empty(3, 3, 3, dtype=torch.float64)
    return {
        "R^n": (line, vector),
        "rotations": (rotation, matrices),
        "masked tokens": (masked, pair),
        "uniform tokens": (tokens, pair),
        "product": (Both({"a": line, "b": tokens}), {"a": vector, "b": pair}),
    }


@pytest.mark.parametrize("space", denoisers())
@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_walks_or_says_that_it_cannot(name: str, space: str) -> None:
    f, like = denoisers()[space]
    named, noise, steps = SOLVERS[name], Noise.of(0, 3), 4
    counted = Counted(f)
    # Exploding and cosine schedules alike have signal at .9, and a smallest noisy time of .1.
    times = uniform(steps, 0.9, 0.1)
    x = f.process.prior(like, noise.at("prior"))
    walk = sample(counted, named.make(steps), x, times, noise)
    if not suits(named.space, f.process):
        with pytest.raises(Unsuited, match="defined"):
            final(walk)
        return
    step = final(walk)
    for _, leaf in leaves(step.x):
        assert not leaf.is_floating_point() or bool(leaf.isfinite().all())
    if named.evaluations is not None:
        assert counted.nfe == named.evaluations * steps


@pytest.mark.parametrize("name", [n for n, named in SOLVERS.items() if "tokens" not in named.space])
def test_a_walk_is_the_same_in_inference_mode(name: str) -> None:
    """Rates of schedules are derivatives, which inference mode would silently make zero."""
    like = torch.empty(3, 2, dtype=torch.float64)
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=torch.float64)
    halves, noise = torch.tensor([0.5, 0.5], dtype=torch.float64), Noise.of(0, 3)

    def walk(beta_max: float) -> torch.Tensor:
        f = GaussianMixture(Gaussian(VPLinear(beta_max=beta_max)), means, halves, halves)
        x = f.process.prior(like, noise.at("prior"))
        end: torch.Tensor = final(sample(f, SOLVERS[name].make(4), x, uniform(4, 0.9, 0.1), noise)).x
        return end

    # Two schedules but for their last digits, so that nothing remembered of one serves the other.
    with torch.inference_mode():
        inside = walk(19.0)
    # An adaptive walk's lengths of step turn on last digits too.
    within = 0.05 if name == "adaptive-sde" else 1e-7
    torch.testing.assert_close(inside.clone(), walk(19.0 + 1e-11), rtol=0, atol=within)


@pytest.mark.parametrize("name", [n for n, named in SOLVERS.items() if named.space != "tokens"])
def test_the_table_tells_who_draws(name: str) -> None:
    """Two walks from one state with other noise differ exactly where the table says that noise is drawn."""
    named = SOLVERS[name]
    space = "masked tokens" if named.space == "masked tokens" else "R^n"
    f, like = denoisers()[space]
    x = f.process.prior(like, Noise.of(0, 3))
    ends = [final(sample(f, named.make(4), x, uniform(4, 0.9, 0.1), Noise.of(seed, 3))).x for seed in (1, 2)]
    if space == "R^n":
        assert torch.equal(*ends) != named.stochastic
