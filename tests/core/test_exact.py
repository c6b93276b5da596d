"""The exact denoisers against integrals and draws, and with one time a sample."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from core.exact import GaussianMixture, JointMixture, RotationMixture
from core.noise import Noise
from core.schedules import Schedule, VPCosine
from core.spaces.brownian import Brownian
from core.spaces.categorical import Categorical
from core.spaces.gaussian import Gaussian
from core.spaces.product import Product
from core.state import leaves, take

MEANS = torch.tensor([[-1.0], [0.5]], dtype=torch.float64)
STDS = torch.tensor([0.3, 0.7], dtype=torch.float64)
WEIGHTS = torch.tensor([0.4, 0.6], dtype=torch.float64)
ROTATIONS = Brownian().manifold.uniform(torch.empty(2, 3, 3, dtype=torch.float64), Noise.of(3, 2))
PRODUCT = Product(
    {"position": Gaussian(VPCosine()), "token": Categorical((0.0, 0.0, 1.0)), "rotation": Brownian()}
)


def mixture(schedule: Schedule) -> GaussianMixture:
    return GaussianMixture(Gaussian(schedule), MEANS, STDS, WEIGHTS)


def joint() -> JointMixture:
    return JointMixture(PRODUCT, WEIGHTS, MEANS, 0.3, torch.tensor([0, 1]), ROTATIONS)


@pytest.mark.parametrize("time", [0.1, 0.5, 0.9])
def test_a_mixture_predicts_the_posterior_mean(schedule: Schedule, time: float) -> None:
    """Against Bayes' rule integrated over a fine grid of clean data."""
    t = torch.tensor(time, dtype=torch.float64)
    alpha, sigma = schedule(t)
    x = torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None] * (alpha + sigma)
    clean = torch.linspace(-6, 6, 200001, dtype=torch.float64)
    prior = (WEIGHTS * torch.exp(-(((clean[:, None] - MEANS[:, 0]) / STDS) ** 2) / 2) / STDS).sum(-1)
    exponent = -(((x - alpha * clean) / sigma) ** 2) / 2
    posterior = prior * (exponent - exponent.max(1, keepdim=True).values).exp()
    want = (posterior * clean).sum(1, keepdim=True) / posterior.sum(1, keepdim=True)
    torch.testing.assert_close(mixture(schedule)(x, t), want, rtol=1e-6, atol=1e-6)


def test_draws_of_a_mixture_have_its_moments() -> None:
    count = 4000
    x = mixture(VPCosine()).sample(Noise.of(0, count), torch.empty(count, 1, dtype=torch.float64))
    mean = (WEIGHTS * MEANS[:, 0]).sum()
    variance = (WEIGHTS * (STDS**2 + MEANS[:, 0] ** 2)).sum() - mean**2
    assert float(x.mean()) == pytest.approx(float(mean), abs=4.5 * float((variance / count).sqrt()))
    assert float(x.var()) == pytest.approx(float(variance), rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_one_time_a_sample_is_each_samples_time(dtype: torch.dtype) -> None:
    t = torch.tensor([0.0, 0.2, 0.6, 1.0], dtype=torch.float64)
    noise = Noise.of(0, 4)
    like = {
        "position": torch.empty(4, 1, dtype=dtype),
        "token": torch.empty(4, 1),
        "rotation": torch.empty(4, 3, 3, dtype=dtype),
    }
    x = PRODUCT.prior(like, noise)
    x["token"][0] = 0  # at t = 0 there is no mask any more
    cases: list[tuple[Any, Any]] = [
        (mixture(VPCosine()), x["position"]),
        (RotationMixture(Brownian(), ROTATIONS, WEIGHTS), x["rotation"]),
        (joint(), x),
    ]
    for f, state in cases:
        together = f(state, t)
        for i in range(4):
            alone = f(take(state, [i]), t[i])
            for (_, u), (_, v) in zip(leaves(take(together, [i])), leaves(alone), strict=True):
                assert u.dtype == v.dtype
                torch.testing.assert_close(u, v, atol=1e-9 if dtype == torch.float64 else 1e-4, rtol=0)


def test_parts_tell_of_each_other() -> None:
    """With its token known, the position of a joint state is that of the token's component, and so is its rotation."""
    f = joint()
    x: dict[str, Tensor] = {
        "position": torch.zeros(1, 1, dtype=torch.float64),
        "token": torch.tensor([[1]]),
        "rotation": torch.eye(3, dtype=torch.float64)[None],
    }
    one = torch.tensor(0.999, dtype=torch.float64)
    q = f(x, {"position": one, "rotation": one, "token": torch.zeros(())})
    single = JointMixture(PRODUCT, torch.ones(1).double(), MEANS[1:], 0.3, torch.tensor([1]), ROTATIONS[1:])
    for (_, u), (_, v) in zip(leaves(q), leaves(single(x, one)), strict=True):
        torch.testing.assert_close(u, v)
