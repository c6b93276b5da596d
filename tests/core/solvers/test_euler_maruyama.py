"""Euler–Maruyama: its weak order without Monte Carlo noise, its law on a mixture, and what noise is good for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from core.noise import Noise
from core.requirements import Unsuited
from core.schedules import VE, Schedule, SubVP, VPCosine, VPLinear
from core.solvers.euler_maruyama import EulerMaruyama, squared_diffusion
from core.spaces.gaussian import Gaussian
from core.time_grids import uniform
from tests.core.conftest import SPACES, double
from tests.core.orders import (
    END,
    START,
    carried,
    check_order,
    distance_to_law,
    mixture,
    order,
    starts,
    uniform_t,
)
from tests.core.solvers.affine import carried_moments, normal_data, truth

SOME: dict[str, Schedule] = {
    "vp-linear": VPLinear(), "vp-cosine": VPCosine(), "sub-vp": SubVP(), "ve": VE(0.01, 20.0)
}  # fmt: skip
STEPS = (100, 200, 400)


def weak_order(schedule: Schedule, solver: Any, process: Gaussian | None = None) -> tuple[float, float]:
    """Orders of the mean and of the variance on normal data, in which the law after n steps is known exactly."""
    f = normal_data(schedule, process)
    want = truth(schedule, END)
    found = [carried_moments(f, solver, uniform(n, START, END), truth(schedule, START)) for n in STEPS]
    means, variances = ([abs(m[i] - want[i]) for m in found] for i in (0, 1))
    return order(STEPS, means), order(STEPS, variances)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("schedule", SOME.values(), ids=SOME.keys())
def test_weak_order_is_one(schedule: Schedule, eta: float) -> None:
    """For every eta: the SDEs between the flow and the reverse SDE, and beyond, share their marginal laws."""
    mean, variance = weak_order(schedule, EulerMaruyama(eta))
    # On exploding data at eta 1 the terms of first order nearly cancel, and those of second are seen.
    check_order(variance, 0.85, 3.0 if isinstance(schedule, VE) and eta == 1 else 1.2)
    if not isinstance(schedule, VE):  # which keeps the mean exactly
        check_order(mean, 0.85, 1.2)


@dataclass(frozen=True)
class WrongScore(Gaussian):
    """A process whose score, and so the drift that goes with the noise, is a tenth too strong."""

    def score(self, q: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return 1.1 * super().score(q, x, t)


def test_a_wrong_coefficient_is_seen() -> None:
    schedule = VPLinear()
    _, variance = weak_order(schedule, EulerMaruyama(1.0), WrongScore(schedule))
    with pytest.raises(AssertionError, match="measured order"):
        check_order(variance, 0.85, 1.2)


def test_squared_diffusion_is_the_growth_of_the_forward_variance() -> None:
    """Var(x_t | x_s) = g^2 (t - s) to first order; for VP with linear beta it is beta itself."""
    t = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    vp = squared_diffusion(Gaussian(VPLinear()), t)
    torch.testing.assert_close(vp, 0.1 + (20.0 - 0.1) * t)
    for schedule in SOME.values():
        process, h = Gaussian(schedule), 1e-6
        (a, b), (c, d) = schedule(t), schedule(t + h)
        growth = (d**2 - (c / a) ** 2 * b**2) / h
        torch.testing.assert_close(squared_diffusion(process, t), growth, rtol=1e-4, atol=0)
        torch.testing.assert_close(squared_diffusion(process, t[1]), growth[1], rtol=1e-4, atol=0)


def test_without_noise_it_is_eulers_method(walk: Callable[..., Any]) -> None:
    schedule = VPCosine()
    x, f = starts(schedule), mixture(schedule)
    y = walk(f, EulerMaruyama(0.0), x, uniform_t(schedule, 2000))
    assert float((y - carried(schedule, x)).abs().max()) < 2e-3


@dataclass(frozen=True)
class Misled:
    """A denoiser whose score is off by a constant everywhere."""

    inner: Any
    bias: float

    @property
    def process(self) -> Gaussian:
        process: Gaussian = self.inner.process
        return process

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.process.scales(t, x)
        q: Tensor = self.inner(x, t) + self.bias * sigma**2 / alpha
        return q


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_law_on_a_mixture(walk: Callable[..., Any], eta: float) -> None:
    """With the true score draws approach the law as steps shrink, to the floor that 4,000 draws leave."""
    f = mixture(VPLinear())
    far, near = (distance_to_law(walk, f, EulerMaruyama(eta), uniform(n, START, END)) for n in (12, 200))
    assert near < 0.03 < far


def test_noise_corrects_errors_of_the_score(walk: Callable[..., Any]) -> None:
    """With a perturbed score and many steps, the SDE is nearer to the law than the ODE: it forgets its errors."""
    f, grid = Misled(mixture(VPLinear()), 0.15), uniform(200, START, END)
    ode, sde = (distance_to_law(walk, f, EulerMaruyama(eta), grid) for eta in (0.0, 1.0))
    assert sde < 0.7 * ode
    exact = [distance_to_law(walk, mixture(VPLinear()), EulerMaruyama(eta), grid) for eta in (0.0, 1.0)]
    assert max(exact) < 0.5 * sde


def test_a_walk_onto_clean_data_ends_with_the_prediction(walk: Callable[..., Any]) -> None:
    f, x = mixture(VPLinear()), starts(VPLinear())
    step = EulerMaruyama()(f, x, double(0.1), double(0.0), None, Noise.of(0, 12))
    torch.testing.assert_close(step.x, f(x, double(0.1)))
    y = walk(f, EulerMaruyama(), x, uniform(50, 1.0, 0.0))
    assert bool(y.isfinite().all())


def test_other_spaces_are_refused_in_one_line(walk: Callable[..., Any]) -> None:
    space = SPACES["absorbing"]
    f: Any = type("F", (), {"process": space.process, "__call__": lambda self, x, t: x})()
    with pytest.raises(Unsuited, match="Gaussian"):
        walk(f, EulerMaruyama(), space.clean(2), torch.tensor([0.9, 0.5]))
