"""The adaptive SDE solver: its Brownian path, its tolerance, its law, and samples that do not see each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from core.noise import Noise
from core.sampling import Counted
from core.schedules import VE, VPLinear
from core.solvers.adaptive_sde import AdaptiveSDE, brownian_path
from core.time_grids import uniform
from tests.core.orders import END, START, carried, distance_to_law, mixture, starts

LIKE = torch.empty(1, 20_000, dtype=torch.float64)
# Packed walks share one step size: the root mean square of their errors decides.
ENDS = torch.tensor([START, END], dtype=torch.float64)


def path(*places: float) -> list[Tensor]:
    return [brownian_path(Noise.of(0, 1), LIKE, torch.tensor([u], dtype=torch.float64))[0] for u in places]


def test_the_path_has_the_law_of_brownian_motion() -> None:
    """Increments over disjoint stretches are independent, with the variance of their length."""
    places = [0.0, 0.1, 0.37, 0.5, 0.81, 1.0]
    steps = torch.stack(path(*places)).diff(dim=0)
    lengths = torch.tensor(places, dtype=torch.float64).diff()
    covariance = steps @ steps.T / LIKE.numel()
    error = (lengths[:, None] * lengths).sqrt() * (2 / LIKE.numel()) ** 0.5
    assert bool(((covariance - lengths.diag()).abs() < 4.5 * error).all())
    assert float(path(0.0)[0].abs().max()) == 0


def test_the_path_does_not_depend_on_the_order_of_questions() -> None:
    a, b = path(0.3, 0.7), path(0.7, 0.3)
    assert torch.equal(a[0], b[1]) and torch.equal(a[1], b[0])
    close = path(0.3, 0.3 + 2.0**-14)
    assert float((close[1] - close[0]).square().mean()) == pytest.approx(2.0**-14, rel=0.1)


@pytest.mark.parametrize("schedule", [VPLinear(), VE(0.01, 20.0)], ids=["vp-linear", "ve"])
def test_law_on_a_mixture_and_what_a_tolerance_costs(walk: Callable[..., Any], schedule: Any) -> None:
    found = []
    for rtol in (0.2, 0.05, 0.01):
        f = Counted(mixture(schedule))
        found.append((f, distance_to_law(walk, f, AdaptiveSDE(rtol=rtol, atol=0.01), ENDS)))
    evaluations = [f.nfe for f, _ in found]
    assert evaluations == sorted(set(evaluations))
    assert found[-1][1] < 0.035  # what 4,000 draws leave is 0.02


class NewNoise(AdaptiveSDE):
    """The mutation: draws of the corrector are scaled."""

    def _move(self, f: Any, process: Any, x: Tensor, y: Tensor, t: Tensor, h: Tensor, fresh: Tensor) -> Any:
        return super()._move(f, process, x, y, t, h, 1.1 * fresh)


def test_a_wrong_coefficient_is_seen(walk: Callable[..., Any]) -> None:
    f = mixture(VPLinear())
    assert distance_to_law(walk, f, NewNoise(rtol=0.01, atol=0.01), ENDS) > 0.05


def test_a_sample_does_not_depend_on_its_neighbours(walk: Callable[..., Any]) -> None:
    f, noise = mixture(VPLinear()), Noise.of(3, 4)
    x = torch.tensor([[-3.0], [-0.2], [0.4], [2.5]], dtype=torch.float64)
    grid = torch.tensor([1.0, 0.5, 1e-2, 0.0], dtype=torch.float64)
    together = walk(f, AdaptiveSDE(0.2), x, grid, noise)
    alone = torch.cat([walk(f, AdaptiveSDE(0.2), x[i : i + 1], grid, noise.take([i])) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_without_noise_it_follows_the_flow(walk: Callable[..., Any]) -> None:
    x = starts(VPLinear())
    y = walk(mixture(VPLinear()), AdaptiveSDE(2e-3, 2e-3, eta=0.0), x, uniform(1, START, END))
    assert float((y - carried(VPLinear(), x)).abs().max()) < 5e-3
