"""Restart sampling: grids that go back up, in every space, and what they are good for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from core.noise import Noise
from core.sampling import Counted, final, sample
from core.schedules import VPLinear
from core.solvers.ancestral import Ancestral
from core.solvers.heun import Heun
from core.solvers.multistep import Multistep
from core.solvers.restart import Restart, restart_grid
from core.state import leaves
from core.time_grids import uniform
from tests.core.conftest import double
from tests.core.orders import END, START, distance_to_law, mixture
from tests.core.solvers.test_euler_maruyama import Misled
from tests.core.test_laws import assert_same_law

COUNT = 1200


def test_the_grid_goes_back_and_down_again() -> None:
    grid = restart_grid(uniform(10), 0.3, 0.7, 4, 2)
    rises = (grid.diff() > 0).nonzero().flatten().tolist()
    assert [(round(float(grid[k]), 6), round(float(grid[k + 1]), 6)) for k in rises] == [
        (0.3, 0.7),
        (0.3, 0.7),
    ]
    assert len(grid) == 11 + 2 * 5 and float(grid[0]) == 1 and float(grid[-1]) == 0
    assert torch.equal(restart_grid(uniform(10), 0.3, 0.7, 4, 0), uniform(10))
    with pytest.raises(ValueError, match="low < high"):
        restart_grid(uniform(10), 0.7, 0.3, 4, 2)


def test_without_jumps_it_is_the_solver_inside(walk: Callable[..., Any]) -> None:
    f, x = mixture(VPLinear()), torch.linspace(-2, 2, 8, dtype=torch.float64)[:, None]
    assert torch.equal(walk(f, Restart(Multistep()), x, uniform(8)), walk(f, Multistep(), x, uniform(8)))


def test_a_walk_with_jumps_has_the_law_of_the_data_in_every_space(space: Any) -> None:
    """A denoiser that knows the clean state leads back to it; up and down again changes no law on the way."""
    x0, process = space.clean(COUNT), space.process

    class Knowing:
        def __init__(self) -> None:
            self.process = process

        def __call__(self, x: Any, t: Any) -> Any:
            return process.target(x0, x, t)

    x = process.corrupt(x0, double(0.6), Noise.of(1, COUNT))
    grid = torch.tensor([0.6, 0.4, 0.6, 0.5, 0.4], dtype=torch.float64)
    step = final(sample(Knowing(), Restart(Ancestral(1.0)), x, grid, Noise.of(2, COUNT)))
    want = process.corrupt(x0, double(0.4), Noise.of(3, COUNT))
    assert_same_law(space, step.x, want, 2 * space.bridge_bias)
    assert all(bool(leaf.isfinite().all()) for _, leaf in leaves(step.prediction))


def test_restarts_contract_the_errors_of_a_misled_score(walk: Callable[..., Any]) -> None:
    """At equal evaluations nearer to the law than one walk down (theorem 1 of the paper)."""
    f = Misled(mixture(VPLinear()), 0.15)
    plain, restarted = Counted(f), Counted(f)
    far = distance_to_law(walk, plain, Restart(Heun()), uniform(40, START, END))
    grid = restart_grid(uniform(16, START, END), END, 0.4, 8, 3)
    near = distance_to_law(walk, restarted, Restart(Heun()), grid)
    assert restarted.nfe <= plain.nfe
    assert near < 0.8 * far


def test_a_jump_costs_nothing_and_forgets_the_memory() -> None:
    f = Counted(mixture(VPLinear()))
    x = torch.zeros(2, 1, dtype=torch.float64)
    solver = Restart(Multistep())
    one = solver(f, x, double(0.5), double(0.3), None, Noise.of(0, 2))
    up = solver(f, one.x, double(0.3), double(0.5), one.memory, Noise.of(1, 2))
    assert f.nfe == 1
    assert up.memory[1] is None and torch.equal(up.prediction, one.prediction)
    assert not torch.equal(up.x, one.x)
