"""R^n in the types that networks run in, and on subspaces."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from core.exact import GaussianMixture
from core.noise import Noise
from core.schedules import VE, Flow, Schedule, VPCosine, VPLinear
from core.solvers.ancestral import Ancestral
from core.solvers.multistep import Multistep
from core.solvers.unipc import UniPC
from core.spaces.gaussian import Gaussian, Normal
from core.time_grids import uniform


def centred(z: Tensor) -> Tensor:
    return z - z.mean(1, keepdim=True)


def test_a_projection_keeps_everything_on_its_subspace(schedule: Schedule) -> None:
    process, t, s = Gaussian(schedule, centred), torch.tensor(0.8), torch.tensor(0.3)
    like = torch.empty(4, 6, 3, dtype=torch.float64)
    x0 = centred(Noise.of(0, 4).normal(like))
    x = process.corrupt(x0, t, Noise.of(1, 4))
    y = process.bridge(x0, x, t, s).sample(Noise.of(2, 4))
    for state in (process.prior(like, Noise.of(3, 4)), x, y):
        assert float(state.mean(1).abs().max()) < 1e-12 * float(state.abs().max())
        assert float(state.std()) > 0.05


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("batched", [False, True])
def test_a_tiny_float32_step_keeps_its_digits(schedule: Schedule, eta: float, batched: bool) -> None:
    """Coefficients made in float32 would be all rounding: 1 - SNR_t / SNR_s is 1e-6 here."""
    process = Gaussian(schedule)
    shape = (3,) if batched else ()
    t, s = torch.full(shape, 0.5, dtype=torch.float64), torch.full(shape, 0.5 - 1e-7, dtype=torch.float64)
    x, q = (Noise.of(k, 3).normal(torch.empty(3, 4, dtype=torch.float64)) for k in (0, 1))
    wide, narrow = process.bridge(q, x, t, s, eta), process.bridge(q.float(), x.float(), t, s, eta)
    assert narrow.mean.dtype == torch.float32
    torch.testing.assert_close(narrow.mean.double(), wide.mean, rtol=3e-7, atol=3e-7)
    torch.testing.assert_close(narrow.std.double(), wide.std, rtol=1e-6, atol=0)
    if eta:
        assert 0 < float(wide.std.max()) < 0.1 * float(process.schedule(t.max())[1])


def test_half_precision_is_widened() -> None:
    """A step of 1e-3 would vanish in bfloat16, whose numbers near 1 lie 8e-3 apart."""
    process, t = Gaussian(VPCosine()), torch.tensor(0.5)
    x, q = torch.ones(2, 3, dtype=torch.bfloat16), torch.zeros(2, 3, dtype=torch.bfloat16)
    for times in ((t, t - 1e-3), (t.expand(2), (t - 1e-3).expand(2))):
        kernel = process.bridge(q, x, *times, 0.0)
        exact = process.bridge(q.double(), x.double(), *times, 0.0).mean
        assert kernel.sample(Noise.of(0, 2)).dtype == torch.float32
        torch.testing.assert_close(kernel.mean.double(), exact, rtol=1e-6, atol=0)
        assert bool((kernel.mean < 1).all())
        assert process.corrupt(x, times[0], Noise.of(0, 2)).dtype == torch.float32
    assert process.blend(x, [q, x], [1.001, -0.001]).dtype == torch.float32
    assert process.divergence(x, q, q + 1e-3).dtype == torch.float32


@pytest.mark.parametrize(
    ("solver", "schedule"),
    [(Ancestral(0.0), VE(0.01, 20.0)), (Multistep(), VPLinear()), (UniPC(3), Flow())],
    ids=lambda v: type(v).__name__,
)
def test_a_thousand_float32_steps_agree_with_float64(
    walk: Callable[..., Any], solver: Any, schedule: Schedule
) -> None:
    f = GaussianMixture(
        Gaussian(schedule), torch.tensor([[-1.0], [1.0]]), torch.tensor([0.3, 0.4]), torch.tensor([0.4, 0.6])
    )
    x = f.process.prior(torch.empty(8, 1, dtype=torch.float64), Noise.of(0, 8))
    grid = uniform(1000, 0.999, 0.0)
    wide, narrow = walk(f, solver, x, grid), walk(f, solver, x.float(), grid)
    assert narrow.dtype == torch.float32
    # Rounding moves a walk that starts at a watershed between the two modes the most.
    torch.testing.assert_close(narrow.double(), wide, rtol=0, atol=2e-4)


def test_a_deterministic_kernel_draws_nothing() -> None:
    class Silent:
        def normal(self, like: Tensor) -> Tensor:
            raise AssertionError("numbers were drawn")

    process = Gaussian(VPCosine())
    x = torch.ones(2, 3)
    kernel = process.bridge(x, x, torch.tensor(0.5), torch.tensor(0.4), 0.0)
    assert torch.equal(kernel.sample(Silent()), kernel.mean)  # type: ignore[arg-type]


def test_log_prob_of_a_standard_normal() -> None:
    kernel = Normal(torch.zeros(2, 3), torch.tensor(1.0))
    assert kernel.log_prob(torch.zeros(2, 3)).tolist() == pytest.approx([-1.5 * math.log(2 * math.pi)] * 2)
