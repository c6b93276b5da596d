"""`Preconditioned`: each target's coefficients give back the clean data they were made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from core.denoiser import Preconditioned, Target, coefficients, concatenated
from core.noise import Noise
from core.schedules import EDM, Flow, Schedule, VPCosine
from core.spaces.gaussian import Gaussian

TARGETS: tuple[Any, ...] = get_args(Target)
SHAPE = (5, 2, 3)


def truth(target: str, x0: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor, data_std: float) -> Tensor:
    """What a perfect network puts out, from the definitions in the papers and not from the coefficients."""
    if target == "x0":
        return x0
    if target == "noise":
        return z
    if target == "v":
        return alpha * z - sigma * x0
    if target == "flow":
        return z - x0
    noisy, scale = (
        x0 + sigma / alpha * z,
        sigma / alpha,
    )  # Karras et al. 2022, eq. 7, at the scale of clean data
    skip = data_std**2 / (scale**2 + data_std**2)
    out = scale * data_std / (scale**2 + data_std**2).sqrt()
    return (x0 - skip * noisy) / out


@dataclass
class Recorder:
    """A network that answers with what it is given, and remembers what it was asked."""

    answer: Any = None
    calls: list[tuple[Tensor, Tensor, Any]] = field(default_factory=list)

    def __call__(self, x: Tensor, clock: Tensor, cond: Mapping[str, Tensor] | None) -> Tensor:
        self.calls.append((x, clock, cond))
        return torch.zeros_like(x) if self.answer is None else self.answer


def column(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values.to(dtype).reshape(-1, 1, 1)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("batched", [False, True])
def test_a_perfect_network_gives_back_clean_data(schedule: Schedule, target: Any, batched: bool) -> None:
    noise = Noise.of(0, 5)
    x0, z = (noise.at(name).normal(torch.empty(SHAPE)) for name in ("x0", "z"))
    times = torch.linspace(0.1, 0.7, 5, dtype=torch.float64)
    for t in [times] if batched else times:
        alpha, sigma = (column(c, torch.float64) for c in schedule(t.expand(5)))
        x = (alpha * x0 + sigma * z).float()
        answer = truth(target, x0.double(), z.double(), alpha, sigma, 1.3).float()
        found = Preconditioned(Recorder(answer), Gaussian(schedule), target, data_std=1.3)(x, t)
        assert found.dtype == torch.float32
        # The noise is divided by alpha, and so is the rounding of x.
        tolerance = 1e-5 * (max(1.0, float((sigma / alpha).max())) if target == "noise" else 1.0)
        torch.testing.assert_close(found, x0, atol=tolerance, rtol=0)


@pytest.mark.parametrize("target", ["x0", "v", "flow", "edm"])
def test_predictions_are_finite_at_both_ends(schedule: Schedule, target: Any) -> None:
    """All but the noise itself tell of clean data even where no signal is left."""
    f = Preconditioned(Recorder(), Gaussian(schedule), target)
    for t in (0.0, 1.0):
        assert bool(f(torch.ones(SHAPE), torch.tensor(t)).isfinite().all())


@pytest.mark.parametrize("target", ["v", "noise", "edm"])
def test_at_time_zero_the_state_is_the_prediction(schedule: Schedule, target: Any) -> None:
    x = Noise.of(0, 5).normal(torch.empty(SHAPE))
    wild = Preconditioned(Recorder(torch.full(SHAPE, 100.0)), Gaussian(schedule), target)
    torch.testing.assert_close(wild(x, torch.tensor(0.0)), x)


def test_an_edm_network_sees_unit_variance(schedule: Schedule) -> None:
    process, data_std, t = Gaussian(schedule), 2.5, torch.tensor(0.6)
    noise = Noise.of(0, 1)
    x0 = data_std * noise.at("x0").normal(torch.empty(1, 100000))
    network = Recorder()
    Preconditioned(network, process, "edm", data_std)(process.corrupt(x0, t, noise), t)
    assert float(network.calls[0][0].std()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_network_gets_its_clock_and_type(dtype: torch.dtype) -> None:
    network = Recorder()
    f = Preconditioned(network, Gaussian(EDM()), "edm")
    q = f(torch.ones(SHAPE, dtype=dtype), torch.tensor(0.5, dtype=torch.float64))
    x, clock, cond = network.calls[0]
    assert x.dtype == clock.dtype == dtype
    assert clock.shape == (5,)
    assert cond is None
    expected = -EDM()(torch.tensor(0.5, dtype=torch.float64))[1].log()
    assert float(clock[0]) == pytest.approx(float(expected), rel=0.01 if dtype == torch.bfloat16 else 1e-6)
    assert q.dtype == (
        torch.float32 if dtype == torch.bfloat16 else dtype
    )  # a prediction is never of half precision


def test_the_clock_of_the_ends_is_clipped() -> None:
    network = Recorder()
    f = Preconditioned(network, Gaussian(Flow()), "flow")
    f(torch.ones(2, 3), torch.tensor([0.0, 1.0]))
    assert network.calls[0][1].tolist() == [20, -20]


def test_a_condition_is_bound_and_does_not_stick() -> None:
    network = Recorder()
    f = Preconditioned(network, Gaussian(VPCosine()))
    cond = {"label": torch.arange(5)}
    bound = f.given(cond)
    for g in (bound, f, bound.given(None)):
        g(torch.ones(SHAPE), torch.tensor(0.5))
    assert [call[2] is None for call in network.calls] == [False, True, True]
    assert network.calls[0][2] is cond


def test_an_unknown_target_is_named() -> None:
    one = torch.ones(())
    with pytest.raises(ValueError, match="unknown target 'velocity'"):
        coefficients("velocity", one, one)  # type: ignore[arg-type]


def test_conditions_of_branches_are_joined() -> None:
    a, b = {"c": torch.ones(2, 3)}, {"c": torch.zeros(2, 3)}
    joined = concatenated([a, b])
    assert joined is not None
    assert torch.equal(joined["c"], torch.cat([a["c"], b["c"]]))
    assert concatenated([None, None]) is None
    with pytest.raises(ValueError, match="equal names"):
        concatenated([a, None])
    with pytest.raises(ValueError, match="equal names"):
        concatenated([a, {"d": torch.ones(2)}])
