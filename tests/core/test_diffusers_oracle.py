"""The same grid, network and noise through diffusers' schedulers and through our solvers: the same samples.

The schedulers keep their tables in float32, which is what the tolerance of 1e-4 of the samples' size leaves room for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from core.denoiser import Preconditioned
from core.exact import GaussianMixture
from core.noise import Noise
from core.schedules import EDM, Flow, Schedule, Tabulated, log_snr
from core.solvers.ancestral import Ancestral
from core.solvers.heun import Heun
from core.solvers.multistep import Multistep
from core.solvers.unipc import UniPC
from core.spaces.gaussian import Gaussian
from core.time_grids import trailing

diffusers = pytest.importorskip("diffusers", reason="diffusers is the oracle of these tests")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs

TRAINED = 1000
TABLE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
KINDS = {"epsilon": "noise", "v_prediction": "v", "sample": "x0"}  # diffusers' word: ours


@pytest.fixture(scope="module")
def unet() -> Any:
    torch.manual_seed(0)
    network = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=2,
        out_channels=2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=8,
    )
    return network.double().eval().requires_grad_(False)


def start() -> Tensor:
    return Noise.of(0, 2).normal(torch.empty(2, 2, 8, 8, dtype=torch.float64))


class ByTimestep:
    """A diffusers network called by our clock: the schedule says which training timestep that is."""

    def __init__(self, network: Any, schedule: Tabulated) -> None:
        self.network, self.schedule = network, schedule

    def __call__(self, x: Tensor, clock: Tensor, cond: Mapping[str, Tensor] | None) -> Tensor:
        timestep = self.schedule.timestep(self.schedule.time_of(clock))
        torch.testing.assert_close(
            timestep, timestep.round(), atol=1e-6, rtol=0
        )  # grids meet the trained ones
        raw: Tensor = self.network(x, timestep.round().long()).sample
        return raw


def theirs(scheduler: Any, network: Any) -> Tensor:
    """diffusers' own loop."""
    x = start()
    for timestep in scheduler.timesteps:
        x = scheduler.step(network(x, timestep).sample, timestep, x).prev_sample
    return x


def denoiser(scheduler: Any, network: Any, kind: str) -> Preconditioned:
    schedule = Tabulated(tuple(scheduler.alphas_cumprod.double().tolist()))
    target: Any = KINDS[kind]
    return Preconditioned(ByTimestep(network, schedule), Gaussian(schedule), target)


def times_of(scheduler: Any, last: float) -> Tensor:
    """The scheduler's grid on our clock; `last` is 0 for clean data, one timestep for the first trained one."""
    times = (scheduler.timesteps.double() + 1) / TRAINED
    return torch.cat([times, torch.tensor([last], dtype=torch.float64)])


def check(ours: Tensor, want: Tensor) -> None:
    """Elementwise, to 1e-4 of the samples' size."""
    assert bool(want.isfinite().all())
    size = max(1.0, float(want.abs().max()))
    torch.testing.assert_close(ours, want, atol=1e-4 * size, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clean", [True, False], ids=["to-clean", "to-first-timestep"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim(walk: Callable[..., Any], unet: Any, kind: str, clean: bool, spacing: str) -> None:
    scheduler = diffusers.DDIMScheduler(
        TRAINED,
        prediction_type=kind,
        clip_sample=False,
        set_alpha_to_one=clean,
        timestep_spacing=spacing,
        steps_offset=1,
        **TABLE,
    )
    scheduler.set_timesteps(
        10
    )  # their DDIM takes strides of 1000 // steps: others than divisors miss its own grid
    grid = times_of(scheduler, 0.0 if clean else 1 / TRAINED)
    if spacing == "trailing" and clean:
        torch.testing.assert_close(grid, trailing(10))
    check(walk(denoiser(scheduler, unet, kind), Ancestral(0.0), start(), grid), theirs(scheduler, unet))


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_ddim_with_noise(walk: Callable[..., Any], unet: Any, eta: float) -> None:
    """Their eta is a factor on the standard deviation, ours a share of the variance: eta_ours = eta_theirs^2."""
    scheduler = diffusers.DDIMScheduler(
        TRAINED, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=True, **TABLE
    )
    scheduler.set_timesteps(10)
    noise, x = Noise.of(9, 2), start()
    want = x
    for k, timestep in enumerate(scheduler.timesteps):
        raw = unet(want, timestep).sample
        z = noise.at("step", k).normal(want)
        want = scheduler.step(raw, timestep, want, eta=eta, variance_noise=z).prev_sample
    grid = times_of(scheduler, 0.0)
    check(walk(denoiser(scheduler, unet, "v_prediction"), Ancestral(eta**2), x, grid, noise), want)


@pytest.mark.parametrize("final", ["zero", "sigma_min"])
@pytest.mark.parametrize("kind", KINDS)
def test_dpm_solver_plus_plus_2m(walk: Callable[..., Any], unet: Any, kind: str, final: str) -> None:
    """Onto clean data the last step is of first order with both; onto the first timestep of second."""
    scheduler = diffusers.DPMSolverMultistepScheduler(
        TRAINED,
        prediction_type=kind,
        solver_order=2,
        algorithm_type="dpmsolver++",
        lower_order_final=False,
        final_sigmas_type=final,
        **TABLE,
    )
    scheduler.set_timesteps(12)
    grid = times_of(scheduler, 0.0 if final == "zero" else 1 / TRAINED)
    check(walk(denoiser(scheduler, unet, kind), Multistep(), start(), grid), theirs(scheduler, unet))


def test_dpm_solver_plus_plus_2m_with_its_defaults(walk: Callable[..., Any], unet: Any) -> None:
    """`lower_order_final` acts on grids below 15 steps, and only on their last step: ours onto clean data."""
    for steps in (8, 20):
        scheduler = diffusers.DPMSolverMultistepScheduler(TRAINED, prediction_type="v_prediction", **TABLE)
        scheduler.set_timesteps(steps)
        f = denoiser(scheduler, unet, "v_prediction")
        check(walk(f, Multistep(), start(), times_of(scheduler, 0.0)), theirs(scheduler, unet))


@pytest.mark.parametrize("final", ["zero", "sigma_min"])
def test_sde_dpm_solver_plus_plus_2m(walk: Callable[..., Any], unet: Any, final: str) -> None:
    """Multistep with all the noise fresh is its SDE form, draw for draw."""
    scheduler = diffusers.DPMSolverMultistepScheduler(
        TRAINED,
        prediction_type="v_prediction",
        algorithm_type="sde-dpmsolver++",
        lower_order_final=False,
        final_sigmas_type=final,
        **TABLE,
    )
    scheduler.set_timesteps(12)
    noise, x = Noise.of(9, 2), start()
    want = x
    for k, timestep in enumerate(scheduler.timesteps):
        raw = unet(want, timestep).sample
        z = noise.at("step", k).normal(want)
        want = scheduler.step(raw, timestep, want, variance_noise=z).prev_sample.double()
    grid = times_of(scheduler, 0.0 if final == "zero" else 1 / TRAINED)
    check(walk(denoiser(scheduler, unet, "v_prediction"), Multistep(1.0), x, grid, noise), want)


UNIPC = [("sigma_min", lower, order) for lower in (True, False) for order in (1, 2, 3)]
UNIPC += [
    ("zero", True, order) for order in (1, 2, 3)
]  # their full order onto clean data divides by an infinite clock


@pytest.mark.parametrize(("final", "lower", "order"), UNIPC)
def test_unipc(walk: Callable[..., Any], unet: Any, final: str, lower: bool, order: int) -> None:
    scheduler = diffusers.UniPCMultistepScheduler(
        TRAINED,
        prediction_type="v_prediction",
        solver_order=order,
        solver_type="bh2",
        lower_order_final=lower,
        final_sigmas_type=final,
        **TABLE,
    )
    steps = 12
    scheduler.set_timesteps(steps)
    solver = UniPC(order, lower_final=lower, steps=steps)
    grid = times_of(scheduler, 0.0 if final == "zero" else 1 / TRAINED)
    check(walk(denoiser(scheduler, unet, "v_prediction"), solver, start(), grid), theirs(scheduler, unet))


def test_unipc_without_corrector(walk: Callable[..., Any], unet: Any) -> None:
    scheduler = diffusers.UniPCMultistepScheduler(
        TRAINED, prediction_type="v_prediction", solver_order=2, disable_corrector=list(range(12)), **TABLE
    )
    scheduler.set_timesteps(12)
    solver = UniPC(2, corrector=False, lower_final=True, steps=12)
    f = denoiser(scheduler, unet, "v_prediction")
    check(walk(f, solver, start(), times_of(scheduler, 0.0)), theirs(scheduler, unet))


def test_heun_is_dpm_solver_plus_plus_2s_with_its_inner_point_at_the_end(
    walk: Callable[..., Any], unet: Any
) -> None:
    """Their single-step solver puts the inner point where the grid says: here each second point is the end itself."""
    scheduler = diffusers.DPMSolverSinglestepScheduler(
        TRAINED,
        prediction_type="v_prediction",
        solver_order=2,
        lower_order_final=False,
        final_sigmas_type="sigma_min",
        **TABLE,
    )
    points = [999, 800, 600, 400, 200, 100, 0]
    scheduler.set_timesteps(timesteps=[points[0], *(p for p in points[1:-1] for _ in range(2)), points[-1]])
    grid = (torch.tensor(points, dtype=torch.float64) + 1) / TRAINED
    check(walk(denoiser(scheduler, unet, "v_prediction"), Heun(), start(), grid), theirs(scheduler, unet))


def mixture(schedule: Schedule) -> GaussianMixture:
    return GaussianMixture(
        Gaussian(schedule),
        torch.tensor([[-1.0, 0.5], [1.0, 0.0]], dtype=torch.float64),
        torch.tensor([0.3, 0.4], dtype=torch.float64),
        torch.tensor([0.4, 0.6], dtype=torch.float64),
    )


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_matching_euler(walk: Callable[..., Any], shift: float) -> None:
    """A straight step along the velocity is a deterministic bridge to the prediction."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(TRAINED, shift=shift)
    scheduler.set_timesteps(14)
    sigmas = scheduler.sigmas.double()
    f = mixture(Flow(shift))
    grid = f.process.schedule.time_of((1 - sigmas).log() - sigmas.log())
    plain = mixture(Flow())
    x = want = f.process.prior(torch.empty(40, 2, dtype=torch.float64), Noise.of(0, 40))
    for timestep, sigma in zip(scheduler.timesteps, sigmas[:-1], strict=True):
        velocity = (want - plain(want, sigma)) / sigma
        want = scheduler.step(velocity, timestep, want.float()).prev_sample.double()
    check(walk(f, Ancestral(0.0), x, grid), want)


@pytest.mark.parametrize(
    ("name", "options", "solver"),
    [
        ("EDMEulerScheduler", {}, Ancestral(0.0)),
        ("EDMDPMSolverMultistepScheduler", {"final_sigmas_type": "zero"}, Multistep()),
    ],
    ids=["euler", "dpm-solver"],
)
def test_edm(walk: Callable[..., Any], name: str, options: dict[str, Any], solver: Any) -> None:
    """With EDM's preconditioning on both sides: their network output is our `edm` target."""
    data_std = 0.7
    scheduler = getattr(diffusers, name)(sigma_min=0.01, sigma_max=20.0, sigma_data=data_std, **options)
    scheduler.set_timesteps(16)
    schedule = EDM(0.001, 20.0)  # a clock that runs below their last sigma, which is not yet clean data
    exact = mixture(schedule)
    noise = Noise.of(0, 40)
    x = want = exact.process.prior(torch.empty(40, 2, dtype=torch.float64), noise)

    def raw(scaled: Tensor, clock: Tensor, cond: Mapping[str, Tensor] | None) -> Tensor:
        """F of Karras et al. 2022: the exact denoiser seen through the preconditioning."""
        sigma = torch.exp(-clock[:1])
        noisy = scaled * (sigma**2 + data_std**2).sqrt()
        q = exact(noisy, schedule.time_of(clock[0]))
        skip = data_std**2 / (sigma**2 + data_std**2)
        return (q - skip * noisy) / (sigma * data_std / (sigma**2 + data_std**2).sqrt())

    for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1].double(), strict=True):
        scaled = scheduler.scale_model_input(want, timestep)
        output = raw(scaled, -sigma.log().expand(40), None)
        want = scheduler.step(output, timestep, want).prev_sample.double()
    f = Preconditioned(raw, Gaussian(schedule), "edm", data_std)
    grid = schedule.time_of(-scheduler.sigmas.double().log())
    check(walk(f, solver, x, grid), want)


def test_their_heun_and_ours_meet_at_second_order(walk: Callable[..., Any]) -> None:
    """Karras' Heun averages slopes, ours predictions: other methods of one order, so they differ as its square."""
    schedule = EDM(0.01, 20.0)
    f = mixture(schedule)
    x = f.process.prior(torch.empty(40, 2, dtype=torch.float64), Noise.of(0, 40))
    gaps = []
    for steps in (20, 40, 80):
        times = torch.linspace(1, 0.2, steps + 1, dtype=torch.float64)
        y = x
        for t, s in pairwise(times):
            (_, now), (_, following) = schedule(t), schedule(s)
            slope = (y - f(y, t)) / now
            ahead = y + (following - now) * slope
            y = y + (following - now) * (slope + (ahead - f(ahead, s)) / following) / 2
        gaps.append(float((walk(f, Heun(), x, times) - y).abs().max()))
    assert [round(math.log2(a / b)) for a, b in pairwise(gaps)] == [2, 2]


def test_add_noise_is_corrupt() -> None:
    scheduler = diffusers.DDPMScheduler(TRAINED, **TABLE)
    schedule = Tabulated(tuple(scheduler.alphas_cumprod.double().tolist()))
    x0, noise = start(), Noise.of(4, 2)
    timesteps = torch.tensor([10, 900])
    want = scheduler.add_noise(x0, noise.normal(x0), timesteps)
    check(Gaussian(schedule).corrupt(x0, (timesteps + 1) / TRAINED, noise), want)
    assert log_snr(schedule, (timesteps + 1) / TRAINED).diff() < 0
