"""SO(3) up to its far side, and the isotropic Gaussian on it: densities, quantiles, draws and targets."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from core.exact import RotationMixture
from core.noise import Noise
from core.spaces.brownian import Brownian, Wrapped
from core.spaces.rotations import (
    SO3,
    _dual_series,
    _spectral_series,
    angle_quantile,
    igso3_log_density,
    wrapped_log_density,
)

M = SO3()
ANGLES = (0.0, 1e-9, 1e-6, 1e-3, 0.5, 2.0, 3.0, math.pi - 1e-3, math.pi - 1e-6, math.pi)
FINE = torch.linspace(0, math.pi, 20001, dtype=torch.float64)
HAAR = (1 - FINE.cos()) / math.pi  # the law of the angle of a uniform rotation


def rotations(count: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return M.uniform(torch.empty(count, 3, 3, dtype=dtype), Noise.of(seed, count))


def directions(count: int, dtype: torch.dtype) -> Tensor:
    v = Noise.of(5, count).normal(torch.empty(count, 3, dtype=dtype))
    return v / v.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("angle", ANGLES)
def test_log_inverts_exp_up_to_the_far_side(angle: float, dtype: torch.dtype) -> None:
    tolerance = 1e-7 if dtype == torch.float64 else 1e-3
    x, axis = rotations(40, dtype=dtype), directions(40, dtype)
    y = M.exp(x, axis * angle)
    w = M.log(x, y)
    assert w.dtype == dtype
    torch.testing.assert_close(
        M.distance(x, y), torch.full((40,), angle, dtype=dtype), atol=tolerance, rtol=0
    )
    torch.testing.assert_close(M.exp(x, w), y, atol=tolerance, rtol=0)
    if angle < math.pi - 1e-2:  # at the far side both ways round are shortest
        torch.testing.assert_close(w, axis * angle, atol=tolerance, rtol=0)


def test_half_turns_have_their_angle() -> None:
    """The skew part of these is zero, so a formula of it alone would call them the identity."""
    eye = torch.eye(3)
    for diagonal in ([1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]):
        turn = torch.diag(torch.tensor(diagonal))
        assert float(M.distance(eye, turn)) == pytest.approx(math.pi, abs=1e-6)
        torch.testing.assert_close(M.exp(eye, M.log(eye, turn)), turn, atol=1e-5, rtol=0)


@pytest.mark.parametrize("angle", [0.0, 1.0, math.pi])
def test_log_and_exp_have_finite_gradients(angle: float) -> None:
    x = rotations(4)
    w = (directions(4, torch.float64) * angle).requires_grad_()
    y = M.exp(x, w)
    (slope,) = torch.autograd.grad((M.log(x, y) * torch.tensor([1.0, 2.0, 3.0])).sum(), w)
    assert bool(slope.isfinite().all())
    if angle < 2:
        torch.testing.assert_close(
            slope, torch.tensor([1.0, 2.0, 3.0]).double().expand(4, 3), atol=1e-6, rtol=0
        )


def test_a_thousand_float32_steps_stay_on_the_group() -> None:
    x = rotations(16, dtype=torch.float32)
    for k in range(1000):
        x = M.exp(x, 0.05 * M.normal(x, Noise.of(k, 16)))
    torch.testing.assert_close(x.mT @ x, torch.eye(3).expand(16, 3, 3), atol=2e-5, rtol=0)


def test_uniform_rotations_have_the_haar_law_of_the_angle() -> None:
    x = rotations(4000)
    torch.testing.assert_close(x.mT @ x, torch.eye(3, dtype=x.dtype).expand(4000, 3, 3))
    torch.testing.assert_close(torch.linalg.det(x), torch.ones(4000, dtype=x.dtype))
    angle = M.distance(torch.eye(3, dtype=x.dtype), x).sort().values
    law = (angle - angle.sin()) / math.pi
    empirical = torch.arange(1, 4001, dtype=torch.float64) / 4000
    assert float((law - empirical).abs().max()) < 1.9 / 4000**0.5  # Kolmogorov–Smirnov at one in a thousand


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.4, 0.69, 0.71, 1.0, 2.0, 5.0])
def test_igso3_density_integrates_to_one_and_has_its_slope(sigma: float) -> None:
    log_density, slope = igso3_log_density(FINE, torch.tensor(sigma))
    assert float(torch.trapezoid(log_density.exp() * HAAR, FINE)) == pytest.approx(1, abs=1e-6)
    inner = slice(50, -50)
    difference = (log_density[2:] - log_density[:-2]) / (FINE[2:] - FINE[:-2])
    torch.testing.assert_close(slope[1:-1][inner], difference[inner], rtol=1e-3, atol=1e-3)
    assert bool((slope <= 1e-6).all())


@pytest.mark.parametrize("sigma", [0.5, 0.7, 0.9, 1.2])
def test_spectral_and_dual_series_agree(sigma: float) -> None:
    theta = torch.linspace(1e-3, math.pi - 1e-3, 500, dtype=torch.float64)
    width = torch.full_like(theta, sigma)
    (a, da), (b, db) = _spectral_series(theta, width), _dual_series(theta, width)
    sure = a > a.max() - 20  # further out the spectral series has cancelled its digits away
    torch.testing.assert_close(a[sure], b[sure], atol=1e-6, rtol=0)
    torch.testing.assert_close(da[sure], db[sure], atol=1e-5, rtol=0)
    if sigma >= 0.7:  # where either is used
        torch.testing.assert_close(a, b, atol=1e-8, rtol=0)
        torch.testing.assert_close(da, db, atol=1e-7, rtol=0)


def test_igso3_is_maxwell_when_narrow_and_uniform_when_wide() -> None:
    theta = torch.linspace(0, 0.05, 50, dtype=torch.float64)
    flat = torch.tensor(0.01, dtype=torch.float64)
    log_density, _ = igso3_log_density(theta, flat)
    maxwell = -(theta**2) / (2 * flat**2) + math.log(8 * math.pi**2) - 1.5 * torch.log(2 * math.pi * flat**2)
    torch.testing.assert_close(log_density, maxwell, atol=1e-3, rtol=0)
    log_density, slope = igso3_log_density(FINE, torch.tensor(6.0))
    assert float(log_density.abs().max()) < 1e-6
    assert float(slope.abs().max()) < 1e-6


@pytest.mark.parametrize("sigma", [0.004, 0.01, 0.03, 0.2, 0.65, 0.75, 1.3, 2.0, 4.0])
def test_angle_quantile_inverts_the_cumulative_law(sigma: float) -> None:
    theta = torch.linspace(0, min(math.pi, 14 * sigma), 20001, dtype=torch.float64)
    mass = igso3_log_density(theta, torch.tensor(sigma))[0].exp() * (1 - theta.cos()) / math.pi
    cumulative = torch.cat([torch.zeros(1).double(), torch.cumulative_trapezoid(mass, theta)])
    levels = torch.linspace(0.001, 0.999, 400, dtype=torch.float64)
    found = angle_quantile(levels, torch.tensor(sigma).expand(400))
    place = (found / theta[1]).floor().long().clamp(max=19999)
    share = found / theta[1] - place
    back = torch.lerp(cumulative[place], cumulative[place + 1], share)
    torch.testing.assert_close(back, levels, atol=4e-4, rtol=0)


def test_angle_quantile_at_its_ends() -> None:
    u = torch.tensor([0.0, 1 - 2**-24, 0.5])
    assert bool((angle_quantile(u, torch.tensor(2.0).expand(3)) <= math.pi).all())
    assert float(angle_quantile(u, torch.tensor(0.3).expand(3))[0]) == 0
    assert bool((angle_quantile(u, torch.zeros(3)) == 0).all())


@pytest.mark.parametrize("time", [0.05, 0.5, 0.8, 1.0])
def test_corrupt_draws_from_igso3(time: float) -> None:
    """The mean of a rotation shrinks by exp(-sigma^2), of its second spherical harmonics by exp(-3 sigma^2)."""
    process, count, t = Brownian(), 4000, torch.tensor(time, dtype=torch.float64)
    x0 = rotations(1, seed=9).expand(count, 3, 3)
    x = process.corrupt(x0, t, Noise.of(2, count))
    sigma = float(process.schedule(t)[1])
    turn = x0.mT @ x
    cosine = (turn.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    first = (1 + 2 * cosine) / 3  # characters of SO(3) over their dimension
    second = (1 + 2 * cosine + 2 * (2 * cosine**2 - 1)) / 5
    for character, rate in ((first, 1), (second, 3)):
        error = float(character.std()) / count**0.5
        assert float(character.mean()) == pytest.approx(math.exp(-rate * sigma**2), abs=4.5 * error)
    axis = M.log(x0, x).mean(0)
    assert bool((axis.abs() < 4.5 * M.log(x0, x).std(0) / count**0.5).all())


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.0])
def test_wrapped_normal_density_integrates_to_one_and_is_the_law_of_its_draws(sigma: float) -> None:
    std = torch.tensor(sigma, dtype=torch.float64)
    density = wrapped_log_density(FINE, std).exp() * HAAR
    density[0] = density[1]
    assert float(torch.trapezoid(density, FINE)) == pytest.approx(1, abs=1e-3)
    count = 4000
    mean = rotations(1).expand(count, 3, 3)
    kernel = Wrapped(M, mean, std)
    x = kernel.sample(Noise.of(1, count))
    angle = M.distance(mean, x)
    for power in (1, 2):
        want = float(torch.trapezoid(density * FINE**power, FINE))
        error = float((angle**power).std()) / count**0.5
        assert float((angle**power).mean()) == pytest.approx(want, abs=4.5 * error)
    torch.testing.assert_close(kernel.log_prob(x), wrapped_log_density(angle, std))


def test_narrow_wrapped_normal_is_igso3() -> None:
    theta = torch.linspace(0, 0.25, 40, dtype=torch.float64)
    std = torch.tensor(0.05, dtype=torch.float64)
    torch.testing.assert_close(
        wrapped_log_density(theta, std), igso3_log_density(theta, std)[0], atol=0.02, rtol=0
    )


@pytest.mark.parametrize("time", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_target_is_the_exact_prediction_for_one_centre(time: float) -> None:
    """With one possible x0 nothing is left to average: target and exact denoiser are the same rotation."""
    process, t = Brownian(), torch.tensor(time, dtype=torch.float64)
    x0 = rotations(1, seed=3).expand(20, 3, 3)
    x = process.corrupt(x0, t, Noise.of(1, 20))
    exact = RotationMixture(process, x0[:1], torch.ones(1, dtype=torch.float64))(x, t)
    target = process.target(x0, x, t)
    assert bool(target.isfinite().all())
    torch.testing.assert_close(target, exact, atol=1e-8, rtol=0)


def test_mean_target_is_the_exact_prediction() -> None:
    """Bayes' weights times the targets' tangents are sigma^2 times the marginal's score: what regression learns."""
    process, t = Brownian(), torch.tensor(0.75, dtype=torch.float64)
    centres, weights = rotations(3, seed=3), torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    exact = RotationMixture(process, centres, weights)
    x = rotations(30, seed=4)
    posterior = exact.log_responsibilities(x, t).softmax(-1)
    tangents = [M.log(x, process.target(c.expand_as(x), x, t)) for c in centres]
    mean = sum(p[:, None] * w for p, w in zip(posterior.unbind(1), tangents, strict=True))
    torch.testing.assert_close(mean, M.log(x, exact(x, t)), atol=1e-9, rtol=0)


def test_drawn_targets_average_to_the_exact_prediction() -> None:
    """The same from draws alone: among noised draws that fall near a point, the targets' mean is its prediction."""
    process, t, count = Brownian(), torch.tensor(0.9, dtype=torch.float64), 20000
    centres, weights = rotations(2, seed=3), torch.tensor([0.3, 0.7], dtype=torch.float64)
    chosen = torch.arange(count) % 10 >= 3
    x0 = centres[chosen.long()][None]
    x = process.corrupt(x0, t, Noise.of(8, 1))
    tangents = M.log(x, process.target(x0, x, t))[0]
    away = M.distance(x[0], centres[1])
    near = away < 1.0
    expected = M.log(x[0], RotationMixture(process, centres, weights)(x[0], t))
    frame = M.log(x[0], centres[1].expand(count, 3, 3))  # towards the second centre
    difference = ((tangents - expected) * frame).sum(-1)[near]
    assert int(near.sum()) > 500
    assert abs(float(difference.mean())) < 4.5 * float(difference.std()) / float(near.sum()) ** 0.5


def test_a_walk_that_knows_the_truth_ends_on_the_law_of_corrupt() -> None:
    """Many short bridges to `target`, from the prior on: where each is nearly exact, so is the whole."""
    process, count = Brownian(), 2000
    x0 = rotations(1, seed=9)[None].expand(1, count, 3, 3)
    x = process.prior(x0, Noise.of(1, 1))
    grid = torch.linspace(1, 0.6, 81, dtype=torch.float64)
    for k in range(80):
        q = process.target(x0, x, grid[k])
        x = process.bridge(q, x, grid[k], grid[k + 1]).sample(Noise.of(2, 1).at(k))
    cosine = ((x0.mT @ x)[0].diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    want = math.exp(-(float(process.schedule(grid[-1])[1]) ** 2))
    mean, error = float(((1 + 2 * cosine) / 3).mean()), float(cosine.std()) * 2 / 3 / count**0.5
    assert mean == pytest.approx(want, abs=4.5 * error + 0.01)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_states_of_several_rotations_and_batched_times(dtype: torch.dtype) -> None:
    """`[batch, bodies, 3, 3]` with one time a sample, as frames of a chain have it."""
    process = Brownian()
    x0 = rotations(12, dtype=dtype).reshape(4, 3, 3, 3)
    t, s = torch.tensor([0.2, 0.5, 0.8, 1.0]), torch.tensor([0.0, 0.4, 0.3, 0.9])
    x = process.corrupt(x0, t, Noise.of(0, 4))
    q = process.target(x0, x, t)
    kernel = process.bridge(q, x, t, s)
    y = kernel.sample(Noise.of(1, 4))
    assert x.dtype == q.dtype == y.dtype == dtype
    assert x.shape == q.shape == y.shape == x0.shape
    assert kernel.log_prob(y)[1:].isfinite().all()
    assert kernel.log_prob(y).shape == process.divergence(x, q, x0).shape == (4,)
    torch.testing.assert_close(y[0], x0[0], atol=1e-3, rtol=0)
