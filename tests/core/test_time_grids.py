"""Time grids: shapes, formulas, the finite way past infinite clocks, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from core.schedules import EDM, VE, Flow, Schedule, VPCosine, log_snr
from core.time_grids import karras, trailing, uniform, uniform_log_snr

CLOCKED: list[Callable[..., Tensor]] = [karras, uniform_log_snr]


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
@pytest.mark.parametrize("grid", CLOCKED)
def test_clocked_grids_fall_from_start_to_zero(
    grid: Callable[..., Tensor], schedule: Schedule, steps: int
) -> None:
    for start in (1.0, 0.7):
        times = grid(schedule, steps, start=start)
        assert times.shape == (steps + 1,)
        assert times.dtype == torch.float64
        assert bool((times.diff() < 0).all())
        assert float(times[0]) == start
        assert float(times[-1]) == 0
        if steps > 1:
            assert float(times[-2]) == pytest.approx(1e-3, rel=1e-6)


@pytest.mark.parametrize("grid", [lambda n: uniform(n), lambda n: trailing(n)], ids=["uniform", "trailing"])
def test_plain_grids_fall_from_one_to_zero(grid: Callable[[int], Tensor]) -> None:
    for steps in (1, 3, 50, 1000):
        times = grid(steps)
        assert times.shape == (steps + 1,)
        assert times.dtype == torch.float64
        assert (float(times[0]), float(times[-1])) == (1.0, 0.0)
        assert bool((times.diff() < 0).all())


def test_uniform_is_even_and_may_end_early() -> None:
    times = uniform(4, 0.9, 0.1)
    torch.testing.assert_close(times, torch.tensor([0.9, 0.7, 0.5, 0.3, 0.1], dtype=torch.float64))


def test_log_snr_grid_is_even_in_its_clock(schedule: Schedule) -> None:
    clock = log_snr(schedule, uniform_log_snr(schedule, 12, start=0.95, end=0.01)[:-1])
    torch.testing.assert_close(clock.diff(), clock.diff().mean().expand(11), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("rho", [3.0, 7.0])
def test_karras_is_even_in_its_warp(schedule: Schedule, rho: float) -> None:
    warped = torch.exp(-log_snr(schedule, karras(schedule, 12, start=0.95, end=0.01, rho=rho)[:-1]) / rho)
    torch.testing.assert_close(warped.diff(), warped.diff().mean().expand(11), rtol=1e-6, atol=1e-9)


def test_karras_is_its_papers_formula() -> None:
    low, high, rho, n = 0.002, 80.0, 7.0, 18
    sigmas = [
        (high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(n)
    ]
    for schedule in (VE(low, high), EDM(low, high)):
        found = schedule(karras(schedule, n, end=1e-12))[1]
        assert found.tolist() == pytest.approx([*sigmas, 0.0], rel=1e-6)


@pytest.mark.parametrize("schedule", [VPCosine(), Flow(), Flow(3.0)], ids=["cosine", "flow", "flow-shifted"])
@pytest.mark.parametrize("grid", CLOCKED)
def test_grids_start_from_pure_noise(grid: Callable[..., Tensor], schedule: Schedule) -> None:
    """There the clock is minus infinity; the grid is laid from just below."""
    assert float(log_snr(schedule, torch.tensor(1.0))) == -math.inf
    times = grid(schedule, 10)
    assert bool(times.isfinite().all())
    assert float(times[1]) > 0.9


@pytest.mark.parametrize("steps", [1, 2, 7, 13, 20, 30, 33, 50, 64, 999, 1000])
def test_trailing_equals_diffusers(steps: int) -> None:
    diffusers = pytest.importorskip("diffusers", reason="diffusers is the oracle of this test")
    scheduler = diffusers.DDIMScheduler(1000, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    assert (trailing(steps)[:-1] * 1000 - 1).round().long().tolist() == scheduler.timesteps.tolist()


def test_karras_equals_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers", reason="diffusers is the oracle of this test")
    scheduler = diffusers.EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, rho=7.0)
    scheduler.set_timesteps(25)
    schedule = EDM(0.002, 80.0)
    torch.testing.assert_close(
        schedule(karras(schedule, 25, end=1e-12))[1], scheduler.sigmas.double(), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"steps": 0},
        {"steps": -3},
        {"steps": 5, "start": 1.1},
        {"steps": 5, "start": 0.0},
        {"steps": 5, "start": 0.2, "end": 0.2},
        {"steps": 5, "end": -0.1},
        {"steps": 5, "start": math.nan},
        {"steps": 5, "end": math.nan},
    ],
)
@pytest.mark.parametrize("grid", [uniform, *CLOCKED])
def test_wrong_bounds_are_refused(grid: Callable[..., Tensor], arguments: dict[str, Any]) -> None:
    before = [] if grid is uniform else [VPCosine()]
    with pytest.raises(ValueError, match="a grid needs"):
        grid(*before, **arguments)


def test_grids_in_an_infinite_clock_are_refused() -> None:
    for grid in CLOCKED:
        with pytest.raises(ValueError, match="end > 0"):
            grid(VPCosine(), 5, end=0.0)


def test_trailing_refuses_more_steps_than_timesteps() -> None:
    with pytest.raises(ValueError, match="1000"):
        trailing(1001)
    with pytest.raises(ValueError, match="a grid needs"):
        trailing(0)
