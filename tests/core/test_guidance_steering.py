"""Classifier-free guidance and Feynman–Kac steering against the tilts that they promise, in three spaces."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from core.denoiser import Preconditioned
from core.exact import GaussianMixture, RotationMixture, TokenTable
from core.guidance.classifier_free import Guided
from core.noise import Noise
from core.sampling import Counted, sample
from core.schedules import VPCosine
from core.solvers.ancestral import Ancestral
from core.solvers.heun import Heun
from core.solvers.multistep import Multistep
from core.spaces.brownian import Brownian
from core.spaces.categorical import Categorical
from core.spaces.gaussian import Gaussian
from core.spaces.product import Product
from core.steering import Steered, systematic
from core.time_grids import uniform

STRONG = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
WEAK = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
MASKED = Categorical((0.0, 0.0, 0.0, 1.0))
UNIFORM = Categorical((1 / 3, 1 / 3, 1 / 3))
HALF = torch.tensor(0.5, dtype=torch.float64)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_guidance_of_tokens_is_the_exact_tilt(walk: Callable[..., Any], packed: type, weight: float) -> None:
    """p^w q^(1-w), normalised; one masked token keeps its prediction, so the walk draws the tilt exactly."""
    guided = Guided(packed(TokenTable(MASKED, STRONG)), packed(TokenTable(MASKED, WEAK)), weight)
    count = 40000
    x = MASKED.prior(torch.empty(1, count, 1), Noise.of(0, 1).at("prior"))
    y = walk(guided, Ancestral(), x, uniform(8))
    want = STRONG**weight * WEAK ** (1 - weight)
    want = want / want.sum()
    found = torch.bincount(y.flatten(), minlength=3).double() / count
    assert bool(((found - want).abs() < 4.5 * (want * (1 - want) / count).sqrt()).all())


def mixture(mean: float) -> GaussianMixture:
    one = torch.ones(1, dtype=torch.float64)
    return GaussianMixture(Gaussian(VPCosine()), mean * one[:, None], 0.5 * one, one)


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0])
def test_guidance_of_numbers_is_a_line_through_both_predictions(
    walk: Callable[..., Any], weight: float
) -> None:
    strong, weak = mixture(1.0), mixture(-0.5)
    guided = Guided(strong, weak, weight)
    x = torch.linspace(-2, 2, 7, dtype=torch.float64)[:, None]
    torch.testing.assert_close(guided(x, HALF), weight * strong(x, HALF) + (1 - weight) * weak(x, HALF))
    # Two normals of equal width, so the guided denoiser is that of the normal with the extrapolated mean.
    y = walk(guided, Multistep(), x, uniform(60, 0.999))
    torch.testing.assert_close(y, walk(mixture(-0.5 + weight * 1.5), Multistep(), x, uniform(60, 0.999)))


def test_guidance_of_rotations_is_a_line_of_tangents() -> None:
    process = Brownian()
    centres = process.manifold.uniform(torch.empty(2, 3, 3, dtype=torch.float64), Noise.of(1, 2))
    one = torch.ones(1, dtype=torch.float64)
    strong, weak = (RotationMixture(process, c[None], one) for c in centres)
    x = process.manifold.uniform(torch.empty(9, 3, 3, dtype=torch.float64), Noise.of(2, 9))
    a, b = (process.manifold.log(x, f(x, HALF)) for f in (strong, weak))
    want = process.manifold.exp(x, 1.4 * a - 0.4 * b)
    torch.testing.assert_close(Guided(strong, weak, 1.4)(x, HALF), want)


@dataclass
class Spy:
    """A network of one number a sample, that notes the size of each batch it was given."""

    sizes: list[int] = field(default_factory=list)

    def __call__(self, x: Tensor, clock: Tensor, cond: Mapping[str, Tensor] | None) -> Tensor:
        self.sizes.append(len(x))
        assert clock.shape == (len(x),)
        shift = torch.zeros(len(x)) if cond is None else cond["shift"]
        assert len(shift) == len(x)
        return torch.tanh(x + clock[:, None]) + shift[:, None]


CONDITION = {"shift": torch.tensor([1.0, 2.0, 3.0, 4.0])}
NULL = {"shift": torch.zeros(4)}


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("batched", [False, True])
def test_branches_that_share_a_network_are_one_batch(counted: bool, batched: bool) -> None:
    spy = Spy()
    f: Any = Preconditioned(spy, Gaussian(VPCosine()), "v")
    count = Counted(f)
    f = count if counted else f
    x, t = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), HALF.expand(4) if batched else HALF
    guided = Guided(f.given(CONDITION), f.given(NULL), 2.5)(x, t)
    assert spy.sizes == [8]
    assert count.nfe == (2 if counted else 0)  # one call, but two evaluations a sample
    alone = 2.5 * f.given(CONDITION)(x, t) - 1.5 * f.given(NULL)(x, t)
    torch.testing.assert_close(guided, alone)
    assert spy.sizes == [8, 4, 4]
    assert count.nfe == (4 if counted else 0)


def test_branches_that_cannot_be_one_batch_are_two() -> None:
    """Without a null token the unconditional branch has another signature; another network is another network."""
    spy, other = Spy(), Spy()
    process = Gaussian(VPCosine())
    f, g = Preconditioned(spy, process), Preconditioned(other, process)
    x = torch.zeros(4, 3)
    for weak in (f.given(None), g.given(NULL), Preconditioned(spy, process, "x0", cond=NULL)):
        spy.sizes.clear(), other.sizes.clear()
        Guided(f.given(CONDITION), weak, 2.0)(x, HALF)
        assert spy.sizes + other.sizes == [4, 4]


def test_weight_one_costs_one_evaluation() -> None:
    spy = Spy()
    f = Counted(Preconditioned(spy, Gaussian(VPCosine())))
    Guided(f.given(CONDITION), f.given(NULL), 1.0)(torch.zeros(4, 3), HALF)
    assert f.nfe == 1
    assert spy.sizes == [4]


def test_evaluations_are_counted_through_a_walk(walk: Callable[..., Any]) -> None:
    for solver, weight, want in (
        (Ancestral(0.0), 1.0, 10),
        (Multistep(), 3.0, 20),
        (Heun(), 1.0, 19),  # the step onto t = 0 needs one evaluation only
        (Heun(), 3.0, 38),
    ):
        f = Counted(Preconditioned(Spy(), Gaussian(VPCosine())))
        walk(Guided(f.given(CONDITION), f.given(NULL), weight), solver, torch.zeros(4, 3), uniform(10, 0.99))
        assert f.nfe == want


def test_guidance_of_a_product_guides_every_part() -> None:
    @dataclass
    class Pair:
        law: Tensor
        mean: float
        process = Product({"token": MASKED, "x": Gaussian(VPCosine())})

        def __call__(self, x: Any, t: Any) -> Any:
            return {"token": TokenTable(MASKED, self.law)(x["token"], t), "x": mixture(self.mean)(x["x"], t)}

    x = {"token": torch.full((3, 1), 3), "x": torch.randn(3, 1, dtype=torch.float64)}
    q = Guided(Pair(STRONG, 1.0), Pair(WEAK, -1.0), 2.0)(x, HALF)
    want = STRONG**2 / WEAK
    torch.testing.assert_close(q["token"].softmax(-1)[0, 0, :3], want / want.sum())
    torch.testing.assert_close(q["x"], 2 * mixture(1.0)(x["x"], HALF) - mixture(-1.0)(x["x"], HALF))


def test_systematic_resampling_is_unbiased_and_spreads_evenly() -> None:
    log_weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).log().repeat(25) - 700.0
    chosen = systematic(log_weights, Noise.of(0, 100))
    assert chosen.shape == (100,)
    times = torch.bincount(chosen, minlength=100)
    expected = log_weights.softmax(0) * 100
    assert bool(((times - expected).abs() < 1).all())  # floor or ceiling of what is due
    many = torch.stack(
        [torch.bincount(systematic(log_weights, Noise.of(k, 100)), minlength=100) for k in range(400)]
    )
    assert bool(((many.double().mean(0) - expected).abs() < 4.5 * 0.5 / 400**0.5).all())


def tilted(weights: Tensor, rewards: Tensor) -> Tensor:
    law = weights * rewards.exp()
    return law / law.sum()


PARTICLES = 1500


@pytest.mark.parametrize("process", [MASKED, UNIFORM], ids=["absorbing", "uniform"])
def test_steering_tilts_tokens(walk: Callable[..., Any], process: Categorical) -> None:
    reward = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)
    x = process.prior(torch.empty(PARTICLES, 1), Noise.of(0, PARTICLES).at("prior"))
    solver = Steered(Ancestral(), lambda q: (q.softmax(-1)[:, 0, :3] * reward).sum(-1))
    y = walk(TokenTable(process, STRONG), solver, x, uniform(24))
    found = torch.bincount(y[:, 0], minlength=3).double() / PARTICLES
    assert float((found - tilted(STRONG, reward)).abs().max()) < 0.05
    assert float((found - STRONG).abs().max()) > 0.15


def test_steering_tilts_numbers(walk: Callable[..., Any]) -> None:
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    f = GaussianMixture(
        Gaussian(VPCosine()),
        torch.tensor([[-1.0], [1.0]], dtype=torch.float64),
        torch.tensor([0.2, 0.2], dtype=torch.float64),
        weights,
    )
    x = f.process.prior(torch.empty(PARTICLES, 1, dtype=torch.float64), Noise.of(0, PARTICLES).at("prior"))
    y = walk(f, Steered(Ancestral(), lambda q: q[:, 0]), x, uniform(48))
    want = math.exp(1) / (math.exp(1) + math.exp(-1))
    assert float((y > 0).double().mean()) == pytest.approx(want, abs=0.05)


def test_steering_tilts_rotations(walk: Callable[..., Any]) -> None:
    process = Brownian()
    centres = process.manifold.uniform(torch.empty(3, 3, 3, dtype=torch.float64), Noise.of(3, 3))
    rewards = torch.tensor([1.0, 0.0, -0.5], dtype=torch.float64)

    def reward(q: Tensor) -> Tensor:
        """Smooth, and at each centre what `rewards` says."""
        nearness = (-2 * process.manifold.distance(q[:, None], centres).square()).softmax(-1)
        return nearness @ rewards

    at_centres = reward(centres)
    f = RotationMixture(process, centres, STRONG)
    x = process.prior(torch.empty(PARTICLES, 3, 3, dtype=torch.float64), Noise.of(0, PARTICLES).at("prior"))
    y = walk(f, Steered(Ancestral(), reward), x, uniform(48))
    found = torch.bincount(process.manifold.distance(y[:, None], centres).argmin(-1), minlength=3) / PARTICLES
    assert float((found - tilted(STRONG, at_centres)).abs().max()) < 0.05
    assert float((found - STRONG).abs().max()) > 0.15


def test_a_steered_step_keeps_state_and_prediction_together(walk: Callable[..., Any]) -> None:
    """The preview of a particle is the prediction that this very particle was aimed with."""
    f = mixture(1.0)
    x = f.process.prior(torch.empty(64, 1, dtype=torch.float64), Noise.of(0, 64))
    steps = list(
        sample(f, Steered(Ancestral(0.0), lambda q: 20 * q[:, 0]), x, uniform(5, 0.9, 0.1), Noise.of(1, 64))
    )
    for before, step in pairwise(steps):
        aimed = f.process.bridge(step.prediction, torch.zeros_like(step.x), before.t, step.t, 0.0).mean
        scale = f.process.bridge(
            torch.zeros_like(step.x), torch.ones_like(step.x), before.t, step.t, 0.0
        ).mean
        origin = (step.x - aimed) / scale  # the state that the step left from
        gap = (origin - before.x.T).abs().min(1).values
        assert float(gap.max()) < 1e-9
        torch.testing.assert_close(f(origin, before.t), step.prediction)
