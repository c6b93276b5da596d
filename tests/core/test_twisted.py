"""Particles against the tilted laws they promise and their normaliser, on R^n, tokens, rotations and a product."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

import core.twisted as module
from core.exact import GaussianMixture, JointMixture, RotationMixture, TokenTable
from core.exact.chains import all_states, law_of_walk, total_variation
from core.metrics.transport import sliced_wasserstein
from core.noise import Noise
from core.requirements import Unsuited
from core.sampling import Counted, final, sample
from core.schedules import VPCosine
from core.solvers.ancestral import Ancestral
from core.spaces.brownian import Brownian
from core.spaces.categorical import Categorical
from core.spaces.gaussian import Gaussian
from core.spaces.product import Product
from core.steering import Steered, effective_sample_size, log_mean_exp
from core.time_grids import uniform
from core.twisted import Twisted, by_uncertainty, leaning, slope
from tests.core.chains import KERNELS, correlated

PARTICLES, STEPS = 1500, 6
GAIN = torch.tensor([0.8, 0.0, -0.6, 0.0], dtype=torch.float64)
ONE = torch.ones(1, dtype=torch.float64)
HALF = torch.tensor(0.5, dtype=torch.float64)


def of_tokens(q: Tensor) -> Tensor:
    """The mean gain of each site, summed; the more so where both ends agree: not linear in the probabilities."""
    probs = q.double().softmax(-1)
    agree = 0.5 * (probs[:, 0] * probs[:, -1]).sum(-1)
    return (probs @ GAIN[: q.shape[-1]]).sum(-1) + agree


def tilted(walked: Tensor, reward: Callable[[Tensor], Tensor]) -> tuple[Tensor, float]:
    """(the law of a walk tilted by exp(reward), the normaliser), by summing over all states."""
    size = walked.shape[0]
    states = all_states(size, walked.ndim)
    certain = torch.nn.functional.one_hot(states, size).double().log().clamp_min(-1e4)
    weight = walked.flatten() * reward(certain).exp()
    return (weight / weight.sum()).reshape(walked.shape), float(weight.sum())


def run(f: Any, solver: Any, like: Any, steps: int, seed: int, start: float = 1.0) -> Any:
    count = len(next(iter(like.values())) if isinstance(like, dict) else like)
    noise = Noise.of(seed, count)
    x = f.process.prior(like, noise.at("prior"))
    return final(sample(f, solver, x, uniform(steps, start), noise))


def histogram(x: Tensor, size: int) -> Tensor:
    powers = size ** torch.arange(x.shape[1] - 1, -1, -1)
    return torch.bincount((x * powers).sum(-1), minlength=size ** x.shape[1]).double() / len(x)


SOLVERS = {
    "twisted": Twisted(of_tokens),
    "leaning-away": Twisted(of_tokens, strength=-0.3),
    "steered": Steered(Ancestral(), of_tokens),
    "steered-adaptive": Steered(Ancestral(), of_tokens, 0.5),
}


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())
@pytest.mark.parametrize("kernel", ["absorbing", "uniform"])
def test_tokens_have_the_tilted_law_of_the_walk(solver: Any, kernel: str) -> None:
    """Six coarse steps: the target is the law of that very walk, which is known exactly."""
    f = TokenTable(KERNELS[kernel], correlated())
    size = f.process.vocabulary
    walked = law_of_walk(f, Ancestral(), uniform(STEPS), 3)
    want, normaliser = tilted(walked, of_tokens)
    step = run(f, solver, torch.empty(PARTICLES, 3), STEPS, 0)
    noise = float((want * (1 - want) / PARTICLES).sqrt().sum()) / 2
    assert total_variation(histogram(step.x, size), want.flatten()) < 2.5 * noise
    assert total_variation(walked, want) > 6 * noise
    assert step.memory["log_normaliser"] == pytest.approx(math.log(normaliser), abs=0.15)


def estimates(f: Any, solver: Any, like: Any, steps: int, runs: int, start: float = 1.0) -> Tensor:
    """The estimated normaliser of each run."""
    found = [run(f, solver, like, steps, 100 + k, start).memory["log_normaliser"] for k in range(runs)]
    return torch.tensor(found, dtype=torch.float64).exp()


def check_mean(found: Tensor, want: float) -> None:
    error = float(found.std()) / len(found) ** 0.5
    assert abs(float(found.mean()) - want) < 4 * error, (float(found.mean()), want, error)


@pytest.mark.parametrize("name", ["twisted", "steered", "steered-adaptive"])
def test_the_normaliser_is_unbiased_for_tokens(name: str) -> None:
    """With eight particles only, in the mean over runs."""
    f = TokenTable(KERNELS["absorbing"], correlated())
    want = tilted(law_of_walk(f, Ancestral(), uniform(4), 3), of_tokens)[1]
    check_mean(estimates(f, SOLVERS[name], torch.empty(8, 3), 4, 150), want)


@pytest.mark.parametrize("name", ["twisted", "leaning-away"])
def test_weights_without_the_proposal_s_ratio_are_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "log_ratio", lambda *args: torch.zeros(8, dtype=torch.float64))
    f = TokenTable(KERNELS["absorbing"], correlated())
    want = tilted(law_of_walk(f, Ancestral(), uniform(4), 3), of_tokens)[1]
    with pytest.raises(AssertionError):
        check_mean(estimates(f, SOLVERS[name], torch.empty(8, 3), 4, 150), want)


def normal(mean: float = 0.3, std: float = 0.6) -> GaussianMixture:
    return GaussianMixture(Gaussian(VPCosine()), mean * ONE[:, None], std * ONE, ONE)


def walked_moments(f: GaussianMixture, grid: Tensor) -> tuple[float, float]:
    """Mean and variance at the end of the ancestral walk: linear in the state, so exact."""
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    mean, variance = 0.0, float(f.process.prior(one, Noise.of(0, 1)).abs() > -1)  # standard normal
    for t, s in pairwise(grid):
        low, high = (f.process.bridge(f(x, t), x, t, s) for x in (zero, one))
        shift, slope = float(low.mean), float(high.mean - low.mean)
        mean, variance = shift + slope * mean, slope**2 * variance + float(low.std) ** 2
    return mean, variance


@pytest.mark.parametrize("solver", [Twisted, Steered], ids=["twisted", "steered"])
def test_the_normaliser_is_unbiased_for_numbers(solver: Any) -> None:
    """A linear reward on a normal law, all of whose walk is normal."""
    c = 1.5
    f = normal()
    mean, variance = walked_moments(f, uniform(5, 0.98))
    want = math.exp(c * mean + c**2 * variance / 2)

    def reward(q: Tensor) -> Tensor:
        return c * q[:, 0]

    method = solver(reward) if solver is Twisted else Steered(Ancestral(), reward, 0.5)
    like = torch.empty(16, 1, dtype=torch.float64)
    found = estimates(f, method, like, 5, 150, 0.98)
    check_mean(found, want)
    if solver is Twisted:
        rough = estimates(f, Steered(Ancestral(), reward, 0.5), like, 5, 150, 0.98)
        assert float(found.std()) < 0.5 * float(rough.std())  # leaning is what it is for


def test_numbers_have_the_tilted_law() -> None:
    """Tilted by a linear reward, the walk's normal law keeps its width and moves by the gain times the variance."""
    c = 2.0
    f = normal()
    mean, variance = walked_moments(f, uniform(24, 0.999))
    step = run(
        f, Twisted(lambda q: c * q[:, 0]), torch.empty(PARTICLES, 1, dtype=torch.float64), 24, 0, 0.999
    )
    error = (variance / PARTICLES) ** 0.5
    assert float(step.x.mean()) == pytest.approx(mean + c * variance, abs=6 * error)
    assert float(step.x.var()) == pytest.approx(variance, rel=0.2)
    assert step.memory["log_normaliser"] == pytest.approx(c * mean + c**2 * variance / 2, abs=0.1)


def test_a_measurement_of_a_mixture_has_the_exact_posterior() -> None:
    """y = x_1 + noise: weights and means of the clusters follow Bayes' rule."""
    means = torch.tensor([[-1.0, 0.8], [1.0, -0.8]], dtype=torch.float64)
    f = GaussianMixture(
        Gaussian(VPCosine()), means, 0.3 * torch.ones(2).double(), torch.tensor([0.7, 0.3]).double()
    )
    y, width = 0.2, 0.5

    def reward(q: Tensor) -> Tensor:
        return -((q[:, 0] - y) ** 2) / (2 * width**2)

    spread = 0.3**2 + width**2
    weight = f.weights * torch.exp(-((y - means[:, 0]) ** 2) / (2 * spread))
    weight = weight / weight.sum()
    step = run(f, Twisted(reward), torch.empty(PARTICLES, 2, dtype=torch.float64), 40, 0, 0.999)
    second = step.x[:, 1] < 0
    assert float(second.double().mean()) == pytest.approx(float(weight[1]), abs=0.06)
    inner = means[1, 0] + 0.3**2 / spread * (y - means[1, 0])
    assert float(step.x[second, 0].mean()) == pytest.approx(float(inner), abs=0.05)
    assert float(step.x[second, 0].var()) == pytest.approx(0.3**2 * width**2 / spread, rel=0.25)


def test_rotations_have_the_tilted_weights() -> None:
    process = Brownian()
    centres = process.manifold.uniform(torch.empty(3, 3, 3, dtype=torch.float64), Noise.of(3, 3))
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)

    def reward(q: Tensor) -> Tensor:
        nearness = (-2 * process.manifold.distance(q[:, None], centres).square()).softmax(-1)
        return nearness @ torch.tensor([1.0, 0.0, -0.5], dtype=torch.float64)

    want = weights * reward(centres).exp()
    f = RotationMixture(process, centres, weights)
    step = run(f, Twisted(reward), torch.empty(PARTICLES, 3, 3, dtype=torch.float64), 32, 0)
    nearest = process.manifold.distance(step.x[:, None], centres).argmin(-1)
    found = torch.bincount(nearest, minlength=3) / PARTICLES
    assert float((found - want / want.sum()).abs().max()) < 0.05
    assert float((found - weights).abs().max()) > 0.15
    assert step.memory["log_normaliser"] == pytest.approx(float(want.sum().log()), abs=0.08)


PRODUCT = Product(
    {"position": Gaussian(VPCosine()), "token": Categorical.absorbing(2), "rotation": Brownian()}
)
ROTATIONS = Brownian().manifold.uniform(torch.empty(3, 3, 3, dtype=torch.float64), Noise.of(3, 3))
JOINT = JointMixture(
    PRODUCT,
    torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64),
    torch.tensor([[-2.0], [0.0], [2.0]], dtype=torch.float64),
    0.1,
    torch.tensor([0, 1, 0]),
    ROTATIONS,
)


def of_product(q: dict[str, Tensor]) -> Tensor:
    return 1.5 * q["token"].double().softmax(-1)[:, 0, 0] + 0.4 * q["position"][:, 0]


def test_a_product_is_tilted_as_a_whole() -> None:
    """A reward of token and position moves the weights of the components, and the rotation follows."""
    count = 800
    like = {
        "position": torch.empty(count, 1, dtype=torch.float64),
        "token": torch.empty(count, 1),
        "rotation": torch.empty(count, 3, 3, dtype=torch.float64),
    }
    step = run(JOINT, Twisted(of_product), like, 24, 0, 0.995)
    gain = 1.5 * (JOINT.tokens == 0) + 0.4 * JOINT.means[:, 0] + 0.5 * 0.4**2 * 0.1**2
    want = JOINT.weights * gain.exp()
    component = (step.x["position"] - JOINT.means[:, 0]).abs().argmin(-1)
    found = torch.bincount(component, minlength=3).double() / count
    assert float((found - want / want.sum()).abs().max()) < 0.06
    assert float((found - JOINT.weights).abs().max()) > 0.2
    assert float((JOINT.tokens[component] == step.x["token"][:, 0]).double().mean()) > 0.98
    apart = Brownian().manifold.distance(ROTATIONS[component], step.x["rotation"])
    assert float((apart < 0.1).double().mean()) > 0.98


def test_a_linear_reward_of_tokens_leans_by_the_exact_tilt() -> None:
    """Of one site the leaning prediction is the tilted posterior itself."""
    law = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    f = TokenTable(KERNELS["uniform"], law)
    x, t, s = torch.tensor([[0], [1], [2]]), HALF, HALF / 2
    found = slope(f, x, t, lambda q: (q.softmax(-1)[:, 0] * GAIN[:3]).sum(-1))
    lent = leaning(f.process, found.prediction, found.rise, x, t, s)
    want = f(x, t).softmax(-1) * GAIN[:3].exp()
    torch.testing.assert_close(lent.softmax(-1), want / want.sum(-1, keepdim=True))


def test_numbers_lean_by_variance_times_gradient() -> None:
    """The proposal's mean is off by the kernel's variance times d reward(f(x)) / dx, also within inference mode."""
    f, s, c = normal(), HALF / 2, 1.3
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    with torch.inference_mode():
        found = slope(f, x, HALF, lambda q: c * q[:, 0].square())
    step = 1e-6
    rise = c * (f(x + step, HALF).square() - f(x - step, HALF).square()) / (2 * step)
    torch.testing.assert_close(found.rise, rise, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.prediction, f(x, HALF))
    lent = leaning(f.process, found.prediction, found.rise, x, HALF, s)
    plain, leant = (f.process.bridge(q, x, HALF, s) for q in (found.prediction, lent))
    torch.testing.assert_close(leant.mean - plain.mean, plain.std**2 * rise, rtol=1e-5, atol=1e-6)


def test_rotations_lean_by_variance_times_gradient() -> None:
    process = Brownian()
    centres = process.manifold.uniform(torch.empty(2, 3, 3, dtype=torch.float64), Noise.of(3, 2))
    f = RotationMixture(process, centres, torch.tensor([0.4, 0.6], dtype=torch.float64))
    x = process.manifold.uniform(torch.empty(4, 3, 3, dtype=torch.float64), Noise.of(4, 4))

    def reward(q: Tensor) -> Tensor:
        return q[:, 0, 0]

    found = slope(f, x, HALF, reward)
    step = 1e-6
    for axis in range(3):
        w = step * torch.eye(3, dtype=torch.float64)[axis].expand(4, 3)
        up, down = (reward(f(process.manifold.exp(x, v), HALF)) for v in (w, -w))
        torch.testing.assert_close(found.rise[:, axis], (up - down) / (2 * step), rtol=1e-4, atol=1e-6)
    s = torch.tensor(0.48, dtype=torch.float64)
    lent = leaning(process, found.prediction, found.rise, x, HALF, s)
    plain, leant = (process.bridge(q, x, HALF, s) for q in (found.prediction, lent))
    moved = process.manifold.log(x, leant.mean) - process.manifold.log(x, plain.mean)
    torch.testing.assert_close(moved, plain.std**2 * found.rise, rtol=1e-5, atol=1e-8)


def test_a_reward_that_cannot_be_differentiated_rises_nowhere() -> None:
    f = TokenTable(KERNELS["absorbing"], correlated())
    found = slope(f, torch.full((4, 3), 3), HALF, lambda q: (q.argmax(-1) == 0).double().sum(-1))
    assert float(found.rise.abs().max()) == 0


def test_evaluations_and_memory(walk: Callable[..., Any]) -> None:
    """Two at the first step and none after the last; what is remembered can be checkpointed."""
    for solver in (Twisted(of_tokens), Steered(Ancestral(), of_tokens)):
        f = Counted(TokenTable(KERNELS["absorbing"], correlated()))
        step = run(f, solver, torch.empty(16, 3), 5, 0)
        assert f.nfe == 5
        kinds = {type(v) for v in step.memory.values()}
        assert kinds <= {Tensor, float, dict}


def test_effective_sample_size_and_mean_weight() -> None:
    assert effective_sample_size(torch.zeros(10) - 800) == pytest.approx(10)
    assert effective_sample_size(torch.tensor([0.0, -1e4, -1e4])) == pytest.approx(1)
    assert effective_sample_size(torch.tensor([0.5, 0.25, 0.25]).log()) == pytest.approx(1 / 0.375)
    assert log_mean_exp(torch.tensor([2.0, 4.0]).log() + 900) == pytest.approx(math.log(3) + 900)


def test_resampling_waits_for_the_threshold() -> None:
    """With an even reward nothing is resampled, and ancestors stay as they are."""
    f = TokenTable(KERNELS["absorbing"], correlated())
    like = torch.empty(32, 3)
    flat = Twisted(lambda q: 0 * q.double().sum((1, 2)))
    step = run(f, flat, like, 5, 3)
    assert step.memory["log_normaliser"] == pytest.approx(0, abs=1e-9)
    plain = run(f, Ancestral(), like, 5, 3)
    assert step.x.shape == plain.x.shape


def test_unknown_spaces_are_refused() -> None:
    class Strange:
        smooth = True

    class Answer:
        process = Strange()

        def __call__(self, x: Any, t: Any) -> Any:
            return x

    with pytest.raises(Unsuited, match="not defined for Strange"):
        slope(Answer(), torch.zeros(2, 1), HALF, lambda q: q[:, 0])  # type: ignore[arg-type]


def test_a_sharp_reward_is_reached_by_counting_little_of_it_at_first() -> None:
    """The norm of a mixture, measured sharply: untempered, early predictions are judged as if they were certain."""
    means = torch.tensor([[1.5, 0.0], [-1.0, 1.0], [0.0, -0.6]], dtype=torch.float64)
    f = GaussianMixture(
        Gaussian(VPCosine()), means, torch.full((3,), 0.35).double(), torch.full((3,), 1 / 3).double()
    )
    std, wanted, like = 0.1, 1.4, torch.empty(PARTICLES, 2, dtype=torch.float64)

    def reward(q: Tensor) -> Tensor:
        return -(q.norm(dim=1) - wanted).square() / (2 * std**2)

    many = f.sample(Noise.of(7, 20_000), torch.empty(20_000, 2, dtype=torch.float64))
    weights = reward(many).exp()
    chosen = torch.multinomial(weights, PARTICLES, True, generator=torch.Generator().manual_seed(0))
    plain, tempered = (
        sliced_wasserstein(run(f, Twisted(reward, temper=t), like, 60, 3, 0.98).x, many[chosen])
        for t in (None, by_uncertainty(f.process, std))
    )
    assert tempered < 0.2 and tempered < plain / 3


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_any_share_on_the_way_leaves_the_target(share: float) -> None:
    """Four populations together, whose noise is about 0.02."""
    f = TokenTable(KERNELS["absorbing"], correlated())
    want, normaliser = tilted(law_of_walk(f, Ancestral(), uniform(STEPS), 3), of_tokens)
    solver, like = Twisted(of_tokens, temper=lambda t: share), torch.empty(PARTICLES, 3)
    steps = [run(f, solver, like, STEPS, seed) for seed in range(11, 15)]
    found = torch.stack([histogram(step.x, len(want)) for step in steps]).mean(0).reshape(want.shape)
    assert total_variation(found, want) < 0.04
    estimate = sum(math.exp(float(step.memory["log_normaliser"])) for step in steps) / 4
    assert estimate == pytest.approx(normaliser, rel=0.03) and normaliser > 2
