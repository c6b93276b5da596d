"""Variances of reverse steps: the optimal one against closed forms, and against beta and beta-tilde by the bound."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from core.exact import GaussianMixture
from core.noise import Noise
from core.schedules import VE, Flow, Schedule, VPCosine, VPLinear
from core.solvers.ancestral import Ancestral
from core.solvers.optimal_variance import (
    OptimalVariance,
    PredictionErrors,
    RangeVariance,
    estimate,
)
from core.spaces.gaussian import Gaussian
from core.time_grids import uniform, uniform_log_snr
from core.training.variational_bound import discrete_bound
from tests.core.conftest import Packed, double
from tests.core.solvers.affine import MEAN, STD, carried_moments, normal_data, truth

SOME: dict[str, Schedule] = {
    "vp-linear": VPLinear(),
    "vp-cosine": VPCosine(),
    "ve": VE(0.01, 20.0),
    "flow": Flow(),
}


def exact_errors(schedule: Schedule, times: Tensor) -> PredictionErrors:
    """Of normal data: the posterior variance c^2 sigma^2 / (alpha^2 c^2 + sigma^2), at each time of a grid."""
    alpha, sigma = schedule(times)
    errors = STD**2 * sigma**2 / (alpha**2 * STD**2 + sigma**2)
    clocks = (alpha.log() - sigma.log()).clamp_min(-1e3)
    return PredictionErrors(tuple(clocks.tolist()), tuple(errors.tolist()))


@pytest.mark.parametrize("steps", [1, 3, 10])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("schedule", SOME.values(), ids=SOME.keys())
def test_normal_data_are_sampled_exactly_in_any_number_of_steps(
    schedule: Schedule, eta: float, steps: int
) -> None:
    """The true reverse kernel of normal data is normal with this variance, so no step errs."""
    times = uniform(steps, 0.9, 0.0)
    solver = OptimalVariance(exact_errors(schedule, times[:-1]), eta)
    found = carried_moments(normal_data(schedule), solver, times, truth(schedule, 0.9))
    assert found == pytest.approx(truth(schedule, 0.0), rel=1e-9)
    plain = carried_moments(normal_data(schedule), Ancestral(eta), times, truth(schedule, 0.9))
    assert plain[1] < 0.98 * found[1]  # beta-tilde is too narrow


def test_a_wrong_coefficient_is_seen() -> None:
    schedule, times = VPLinear(), uniform(5, 0.9, 0.0)
    exact = exact_errors(schedule, times[:-1])
    bent = PredictionErrors(exact.clocks, tuple(1.1 * e for e in exact.errors))
    found = carried_moments(normal_data(schedule), OptimalVariance(bent), times, truth(schedule, 0.9))
    assert found != pytest.approx(truth(schedule, 0.0), rel=1e-3)


def test_the_estimate_is_the_posterior_variance() -> None:
    schedule, times = VPCosine(), uniform(6, 1.0, 0.1)
    f = normal_data(schedule)
    many = MEAN + STD * Noise.of(0, 1).normal(torch.empty(1, 40_000, 1, dtype=torch.float64))
    found, want = estimate(Packed(f), many, times, Noise.of(1, 1)), exact_errors(schedule, times)
    assert found.clocks == pytest.approx(want.clocks)
    assert found.errors == pytest.approx(want.errors, rel=0.05)
    # Between the measured times, by interpolation: close to what is true there.
    between = exact_errors(schedule, double(0.33)[None])
    assert found(between.clocks[0]) == pytest.approx(between.errors[0], rel=0.06)
    assert want(1e6) == pytest.approx(want.errors[-1]) and want(-1e6) == pytest.approx(want.errors[0])


def test_beta_and_beta_tilde_are_the_ends_of_the_range() -> None:
    for schedule in SOME.values():
        process, t, s = Gaussian(schedule), double(0.6), double(0.5)
        x = torch.zeros(1, 1, dtype=torch.float64)
        (a, b), (c, d) = schedule(s), schedule(t)
        beta = float(d**2 - (c / a) ** 2 * b**2)
        assert float(RangeVariance(1.0).kernel(process, x, x, t, s).std) ** 2 == pytest.approx(beta)
        tilde = process.step(float(t), float(s))[2]
        assert float(RangeVariance(0.0).kernel(process, x, x, t, s).std) == pytest.approx(tilde)
        middle = float(RangeVariance(0.5).kernel(process, x, x, t, s).std)
        assert middle == pytest.approx(math.sqrt(tilde * math.sqrt(beta)))


def digits_like(schedule: Schedule) -> GaussianMixture:
    """Eight components in eight dimensions, some wide and some narrow."""
    g = torch.Generator().manual_seed(0)
    means = torch.randn(8, 8, generator=g, dtype=torch.float64)
    return GaussianMixture(
        Gaussian(schedule), means, torch.linspace(0.1, 0.5, 8).double(), torch.full((8,), 1 / 8).double()
    )


@pytest.fixture(scope="module")
def learned() -> tuple[Packed, Tensor, PredictionErrors]:
    """(denoiser, held-out data, table of errors); many draws are packed into one sample."""
    f = digits_like(VPLinear())
    train, held = (
        f.sample(Noise.of(seed, 1000), torch.empty(1000, 8, dtype=torch.float64))[None] for seed in (0, 2)
    )
    clocks = uniform_log_snr(f.process.schedule, 40, 1.0, 0.005)[:-1]
    return Packed(f), held, estimate(Packed(f), train, clocks, Noise.of(1, 1))


def bound(f: Any, x0: Tensor, times: Tensor, kernel: Any) -> Tensor:
    """Nats a draw."""
    return discrete_bound(f, x0, times, Noise.of(3, 1), kernel).nats.mean() / x0.shape[1]


@pytest.mark.parametrize("steps", [10, 25, 50])
def test_the_bound_is_better_than_with_both_fixed_variances(learned: Any, steps: int) -> None:
    """Row 25 of the inventory, on a mixture: at 10, 25 and 50 steps."""
    f, x0, table = learned
    times = uniform(steps, 1.0, 0.005)
    kernels = (OptimalVariance(table).kernel, RangeVariance(0.0).kernel, RangeVariance(1.0).kernel)
    optimal, small, large = (float(bound(f, x0, times, kernel)) for kernel in kernels)
    assert optimal < small - 0.05
    assert optimal < large - 0.05


def test_a_learned_share_is_no_worse_than_the_fixed_ones(learned: Any) -> None:
    """Row 4: one share a step, trained on the bound at 25 steps."""
    f, x0, _ = learned
    times = uniform(25, 1.0, 0.005)
    train = f.inner.sample(Noise.of(7, 300), torch.empty(300, 8, dtype=torch.float64))[None]
    logits = torch.zeros(25, dtype=torch.float64, requires_grad=True)

    def share(x: Tensor, t: Tensor) -> Tensor:
        return torch.sigmoid(logits[int((times[:-1] - t).abs().argmin())])

    optimiser = torch.optim.Adam([logits], lr=0.3)
    for _ in range(12):
        optimiser.zero_grad()
        bound(f, train, times, RangeVariance(share).kernel).backward()
        optimiser.step()
    with torch.no_grad():
        bounds = [float(bound(f, x0, times, RangeVariance(v).kernel)) for v in (share, 0.0, 1.0)]
    assert bounds[0] < bounds[1] - 0.05 and bounds[0] < bounds[2] - 0.05


def test_last_steps() -> None:
    f = normal_data(VPLinear())
    x, noise = torch.zeros(4, 1, dtype=torch.float64), Noise.of(0, 4)
    table = exact_errors(VPLinear(), double(0.1)[None])
    quiet = OptimalVariance(table, final_noise=False)(f, x, double(0.1), double(0.0), None, noise)
    loud = OptimalVariance(table)(f, x, double(0.1), double(0.0), None, noise)
    ranged = RangeVariance(0.5)(f, x, double(0.1), double(0.0), None, noise)
    q = f(x, double(0.1))
    torch.testing.assert_close(quiet.x, q)
    torch.testing.assert_close(ranged.x, q)
    assert not torch.allclose(loud.x, q)
