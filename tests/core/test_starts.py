"""Starts part of the way: exact where the law there is exact, and measurably better than noise in its place."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from core.exact import GaussianMixture, PointMixture, TokenTable
from core.noise import Noise
from core.schedules import VPCosine
from core.solvers.ancestral import Ancestral
from core.solvers.multistep import Multistep
from core.spaces.brownian import Brownian
from core.spaces.categorical import Categorical
from core.spaces.gaussian import Gaussian
from core.spaces.sphere import Sphere
from core.starts import FittedNormal, come_closer, remaining, truncated
from core.time_grids import uniform
from tests.core.orders import MEANS, STDS, WEIGHTS

COUNT = 6000


class Rows:
    """Many walks in one sample, `[1, copies, ...]`."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.process = inner, inner.process

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        q: Tensor = self.inner(x[0], t)
        return q[None]


F = Rows(GaussianMixture(Gaussian(VPCosine()), MEANS[:, None], STDS, WEIGHTS))
LIKE = torch.empty(1, COUNT, 1, dtype=torch.float64)


def distance(y: Tensor) -> float:
    """Wasserstein-1 from the mixture, by its cumulative law."""
    grid = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    law = (WEIGHTS * torch.special.ndtr((grid[:, None] - MEANS) / STDS)).sum(1)
    empirical = torch.searchsorted(y.flatten().sort().values, grid).double() / y.numel()
    return float(torch.trapezoid((law - empirical).abs(), grid))


def draws(seed: int) -> Tensor:
    """Exact data `[1, COUNT, 1]`, stratified by component."""
    u = Noise.of(seed, 1).at("component").uniform(LIKE)
    k = (u > WEIGHTS[0]).long()
    return MEANS[k] + STDS[k] * Noise.of(seed, 1).at("within").normal(LIKE)


EXACT = 0.03  # of exact draws: about 1 / sqrt(COUNT), and what the walk adds


@pytest.mark.parametrize("solver", [Ancestral(), Multistep()], ids=["ancestral", "multistep"])
@pytest.mark.parametrize("t0", [0.3, 0.7])
def test_a_start_from_data_is_exact(walk: Callable[..., Any], solver: Any, t0: float) -> None:
    """Corrupted data have the marginal law, so the walk ends on the law of the data."""
    x, times = come_closer(F.process, draws(0), t0, uniform(60), Noise.of(1, 1))
    y = walk(F, solver, x, times, Noise.of(2, 1))
    assert float(times[0]) == t0 and float(times[-1]) == 0
    assert distance(y) < EXACT
    assert float((y - draws(0)).abs().mean()) > 0.05  # and is no copy of it


def test_a_truncated_start_from_the_marginal_law_is_exact(walk: Callable[..., Any]) -> None:
    def marginal(like: Tensor, noise: Noise) -> Tensor:
        return F.process.corrupt(draws(3).to(like), torch.tensor(0.5), noise)

    x, times = truncated(marginal, LIKE, 0.5, uniform(60), Noise.of(4, 1))
    assert distance(walk(F, Multistep(), x, times, Noise.of(5, 1))) < EXACT


def test_a_fitted_prior_beats_plain_truncation(walk: Callable[..., Any]) -> None:
    """TDPM's claim in closed form: starting the cut chain in N(0, 1) is wrong, in a law fitted there much less so."""
    errors = {}
    for t0 in (0.5, 0.7):
        fitted = FittedNormal.fit(F.process.corrupt(draws(6), torch.tensor(t0), Noise.of(7, 1))[0])
        starts = {"plain": _normal, "fitted": partial(_rows, fitted)}
        for name, prior in starts.items():
            x, times = truncated(prior, LIKE, t0, uniform(10), Noise.of(8, 1))
            errors[name, t0] = distance(walk(F, Multistep(), x, times, Noise.of(9, 1)))
    assert errors["fitted", 0.5] < 0.6 * errors["plain", 0.5]
    assert errors["fitted", 0.7] < 0.6 * errors["plain", 0.7]
    assert errors["plain", 0.5] > 3 * EXACT


def _normal(like: Tensor, noise: Noise) -> Tensor:
    return noise.normal(like)


def _rows(fitted: FittedNormal, like: Tensor, noise: Noise) -> Tensor:
    """Draws for each row of `[1, copies, d]`."""
    return fitted.mean + noise.normal(like) @ fitted.factor.T


def test_a_good_guess_needs_few_steps(walk: Callable[..., Any]) -> None:
    """CCDF's claim: from a guess that is nearly right, a fifth of the steps end as near to the truth's law."""
    guess = draws(10) + 0.1 * Noise.of(11, 1).normal(LIKE)
    full = walk(F, Ancestral(), F.process.prior(LIKE, Noise.of(12, 1)), uniform(50), Noise.of(13, 1))
    x, times = come_closer(F.process, guess, 0.2, uniform(50), Noise.of(14, 1))
    short = walk(F, Ancestral(), x, times, Noise.of(15, 1))
    assert len(times) - 1 == 10
    assert distance(short) < distance(full) + 0.01
    away = float((short - draws(10)).abs().mean())
    assert away < float((full - draws(10)).abs().mean()) / 3  # and stays by the guess


def test_a_guess_is_contracted(walk: Callable[..., Any]) -> None:
    """Two guesses end nearer to each other than they began, the more so the later the start (theorem 1)."""
    near, far = torch.full_like(LIKE, -1.4)[:, :500], torch.full_like(LIKE, -0.9)[:, :500]
    gaps = []
    for t0 in (0.3, 0.5, 0.7):
        x, times = come_closer(F.process, near, t0, uniform(50), Noise.of(16, 1))
        y, _ = come_closer(F.process, far, t0, uniform(50), Noise.of(16, 1))
        ends = [walk(F, Ancestral(), v, times, Noise.of(17, 1)) for v in (x, y)]
        gaps.append(float((ends[0] - ends[1]).abs().mean()))
    assert 0.5 > gaps[0] > gaps[1] > gaps[2]


def test_tokens_and_directions_start_from_guesses_too(walk: Callable[..., Any]) -> None:
    """Nothing in a start knows what a state is: the laws of a table and of points on the sphere."""
    law = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    tokens = Categorical.uniform(3)
    guess = torch.multinomial(law, 4000, True, generator=torch.Generator().manual_seed(0))[None, :, None]
    x, times = come_closer(tokens, guess, 0.6, uniform(20), Noise.of(0, 1))
    y = walk(Rows(TokenTable(tokens, law)), Ancestral(), x, times, Noise.of(1, 1))
    assert float((torch.bincount(y.flatten()) / 4000 - law).abs().max()) < 0.035

    sphere = Brownian(manifold=Sphere())
    centres = sphere.manifold.uniform(torch.empty(3, 3, dtype=torch.float64), Noise.of(2, 3))
    k = guess[:, :1500, 0]
    x, times = come_closer(sphere, centres[k], 0.8, uniform(40), Noise.of(3, 1))
    y = walk(Rows(PointMixture(sphere, centres, law)), Ancestral(), x, times, Noise.of(4, 1))
    found = torch.bincount(sphere.manifold.distance(y[0][:, None], centres).argmin(1), minlength=3) / 1500
    assert float((found - law).abs().max()) < 0.055


def test_a_fitted_normal_has_the_moments_of_what_it_saw() -> None:
    mix = torch.tensor([[1.0, 0.0], [0.8, 0.3]], dtype=torch.float64)
    seen = Noise.of(0, 4000).normal(torch.empty(4000, 2, dtype=torch.float64)) @ mix.T + 2
    fitted = FittedNormal.fit(seen)
    torch.testing.assert_close(fitted.factor @ fitted.factor.T, seen.T.cov())
    drawn = fitted(torch.empty(4000, 2), Noise.of(1, 4000))
    assert drawn.dtype == torch.float32
    torch.testing.assert_close(drawn.double().mean(0), seen.mean(0), atol=0.1, rtol=0)
    torch.testing.assert_close(drawn.double().T.cov(), seen.T.cov(), atol=0.1, rtol=0)


@pytest.mark.parametrize(
    "x", [torch.zeros(1, 2), torch.zeros(5, 2), torch.randn(3, 4)], ids=["one", "flat", "few"]
)
def test_too_few_states_are_refused(x: Tensor) -> None:
    with pytest.raises(ValueError, match="do not fix a covariance"):
        FittedNormal.fit(x)


def test_the_grid_is_cut() -> None:
    torch.testing.assert_close(
        remaining(uniform(10), 0.45).float(), torch.tensor([0.45, 0.4, 0.3, 0.2, 0.1, 0.0])
    )
    assert remaining(uniform(4), 0.6).tolist() == [0.6, 0.5, 0.25, 0.0]
    assert remaining(uniform(4), 0.5).tolist() == [0.5, 0.25, 0.0]
    assert remaining([1.0, 0.5, 0.0], 1.0).tolist() == [1.0, 0.5, 0.0]
    for wrong in (0.0, 1.5):
        with pytest.raises(ValueError, match="start must lie"):
            remaining(uniform(4), wrong)
    with pytest.raises(ValueError, match="no time below"):
        remaining(uniform(4, 1.0, 0.5), 0.4)
