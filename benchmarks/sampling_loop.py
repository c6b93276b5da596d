"""The cost of the sampling loop: ours, diffusers' own, and nothing but the network, on one UNet2DModel.

All three make the same number of calls of the same network on the same shape.  What differs is the time between the
calls, which is what this measures: `core.sampling.sample` with a solver of ours, against a loop over a diffusers
scheduler as its pipelines write it, against a loop that only calls the network.  Repetitions are interleaved in turning
order, so that a machine that slows down slows all three down, and ratios are taken within a repetition.  On a busy
machine these ratios are noisy; the processor time that a loop spends outside the network is hardly so, and is printed
beside them.

    python launch.py bench sampling_loop
    python launch.py bench sampling_loop --repetitions 41 --threads 2 --json out.json
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from bisect import bisect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import torch
from torch import Tensor

from core.denoiser import Condition, Preconditioned
from core.noise import Noise
from core.sampling import Solver, final, sample
from core.schedules import Tabulated
from core.solvers.ancestral import Ancestral
from core.solvers.multistep import Multistep
from core.spaces.gaussian import Gaussian
from core.time_grids import trailing

BAR_DIFFUSERS = 1.00
BAR_BARE = 1.03
Loop = Callable[[], Tensor]


@dataclass
class Watched:
    """A network that adds up the processor time spent in it."""

    unet: Any
    seconds: float = 0.0
    calls: int = 0

    def __call__(self, x: Tensor, timestep: Tensor) -> Any:
        """The network's output, untouched."""
        start = time.process_time()
        out = self.unet(x, timestep)
        self.seconds += time.process_time() - start
        self.calls += 1
        return out


@dataclass(frozen=True)
class TimestepNetwork:
    """A diffusers network of (sample, timestep) as the network of (x, clock, condition) that `Preconditioned` calls."""

    unet: Any
    rising: list[float]
    timesteps: list[Tensor]

    @classmethod
    def of(cls, unet: Any, alpha_bar: tuple[float, ...]) -> TimestepNetwork:
        """Tabulates minus the clock, log(sigma / alpha), which rises with the timestep."""
        rising = [(math.log1p(-bar) - math.log(bar)) / 2 for bar in alpha_bar]
        return cls(unet, rising, list(torch.arange(len(alpha_bar)).unbind()))

    def __call__(self, x: Tensor, clock: Tensor, cond: Condition | None) -> Tensor:
        """The network's noise prediction at the training timestep whose clock is the nearest."""
        wanted = -float(clock[0])  # all samples share one time here
        above = min(max(bisect(self.rising, wanted), 1), len(self.rising) - 1)
        nearer = above - (wanted - self.rising[above - 1] < self.rising[above] - wanted)
        prediction: Tensor = self.unet(x, self.timesteps[nearer]).sample
        return prediction


@dataclass(frozen=True)
class Timing:
    """Seconds of each repetition by loop: wall clock, processor time, and processor time inside the network.

    Lists are aligned, so ratios are taken within a repetition.
    """

    wall: dict[str, list[float]]
    cpu: dict[str, list[float]]
    inside: dict[str, list[float]]
    calls: int

    def ratio(self, over: str, under: str, clock: str = "wall") -> tuple[float, float, float]:
        """Lower quartile, median and upper quartile of `over / under`."""
        seconds = self.wall if clock == "wall" else self.cpu
        ratios = [a / b for a, b in zip(seconds[over], seconds[under], strict=True)]
        if len(ratios) == 1:
            return ratios[0], ratios[0], ratios[0]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return low, middle, high

    def outside(self, loop: str) -> float:
        """Median processor time outside the network in microseconds a step."""
        spent = [a - b for a, b in zip(self.cpu[loop], self.inside[loop], strict=True)]
        return statistics.median(spent) / self.calls * 1e6


def make_unet(size: int, channels: tuple[int, ...], layers: int, seed: int = 0) -> Any:
    """A diffusers UNet2DModel with random weights, attention at its lowest resolution, in evaluation mode."""
    from diffusers import UNet2DModel

    torch.manual_seed(seed)
    down = ("DownBlock2D",) * (len(channels) - 1) + ("AttnDownBlock2D",)
    up = ("AttnUpBlock2D",) + ("UpBlock2D",) * (len(channels) - 1)
    unet: Any = UNet2DModel(
        sample_size=size,
        in_channels=3,
        out_channels=3,
        layers_per_block=layers,
        block_out_channels=channels,
        down_block_types=down,
        up_block_types=up,
    )
    return unet.eval().requires_grad_(False)


def ours(unet: Any, x: Tensor, steps: int, solver: Solver, alpha_bar: tuple[float, ...]) -> Loop:
    """Our driver: everything that a caller of `core.sampling.sample` pays for, from the time grid on."""
    schedule = Tabulated(alpha_bar)
    denoiser = Preconditioned(TimestepNetwork.of(unet, alpha_bar), Gaussian(schedule), "noise")

    def run() -> Tensor:
        noise = Noise.of(0, len(x))
        state = final(sample(denoiser, solver, x, trailing(steps, len(alpha_bar)), noise)).x
        assert isinstance(state, Tensor)
        return state

    return run


def theirs(unet: Any, x: Tensor, steps: int, scheduler: Any) -> Loop:
    """diffusers' loop, as `DDIMPipeline.__call__` writes it, without its progress bar and conversion to images."""

    def run() -> Tensor:
        scheduler.set_timesteps(steps)
        state = x
        for t in scheduler.timesteps:
            state = scheduler.step(unet(state, t).sample, t, state).prev_sample
        return state

    return run


def bare(unet: Any, x: Tensor, steps: int) -> Loop:
    """The network alone, called as often."""
    timesteps = torch.arange(steps).flip(0)

    def run() -> Tensor:
        out = x
        for t in timesteps:
            out = unet(x, t).sample
        return out

    return run


def methods() -> dict[str, tuple[Solver, Any]]:
    """Name -> our solver and diffusers' scheduler of the same method, on the same time grid."""
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    spacing = {"timestep_spacing": "trailing"}
    ddim = DDIMScheduler(clip_sample=False, set_alpha_to_one=True, **spacing)
    dpm = DPMSolverMultistepScheduler(final_sigmas_type="zero", **spacing)
    return {"DDIM": (Ancestral(eta=0.0), ddim), "DPM-Solver++(2M)": (Multistep(), dpm)}


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def interleaved(loops: dict[str, Loop], network: Watched, repetitions: int) -> Timing:
    """Times the loops in turns, each repetition starting with another one; they should have run once already.

    Raises:
        ValueError: If the loops do not call the network equally often.
    """
    names = list(loops)
    wall, cpu, inside = ({name: list[float]() for name in names} for _ in range(3))
    calls = set()
    for k in range(repetitions):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            network.seconds, network.calls = 0.0, 0
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            loops[name]()
            cpu[name].append(time.process_time() - cpu_start)
            wall[name].append(time.perf_counter() - wall_start)
            inside[name].append(network.seconds)
            calls.add(network.calls)
    if len(calls) != 1:
        raise ValueError(f"the loops call the network {sorted(calls)} times; they should do so equally often")
    return Timing(wall, cpu, inside, calls.pop())


def run(
    *,
    steps: int = 50,
    batch: int = 4,
    size: int = 32,
    channels: tuple[int, ...] = (32, 64),
    layers: int = 2,
    repetitions: int = 21,
    threads: int = 1,
) -> list[dict[str, Any]]:
    """One row a method: median seconds, ratios with their quartiles, and how far the two results are apart."""
    unet = Watched(make_unet(size, channels, layers))
    x = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))
    rows = []
    with _threads(threads), torch.no_grad():
        for name, (solver, scheduler) in methods().items():
            alpha_bar = tuple(scheduler.alphas_cumprod.double().tolist())
            loops = {
                "ours": ours(unet, x, steps, solver, alpha_bar),
                "diffusers": theirs(unet, x, steps, scheduler),
                "bare": bare(unet, x, steps),
            }
            mine, other, _ = (loops[loop]() for loop in loops)  # warms up, too
            timing = interleaved(loops, unet, repetitions)
            rows.append(
                {
                    "method": name,
                    "difference": float((mine - other).abs().max() / other.abs().max()),
                    **{f"{loop}_seconds": statistics.median(timing.wall[loop]) for loop in loops},
                    "network_ms": statistics.median(timing.inside["bare"]) / steps * 1e3,
                    **{f"{loop}_outside_us": timing.outside(loop) for loop in loops},
                    "ours/diffusers": timing.ratio("ours", "diffusers"),
                    "ours/bare": timing.ratio("ours", "bare"),
                    "diffusers/bare": timing.ratio("diffusers", "bare"),
                    "ours/diffusers, cpu time": timing.ratio("ours", "diffusers", "cpu"),
                    "ours/bare, cpu time": timing.ratio("ours", "bare", "cpu"),
                }
            )
    return rows


def report(rows: list[dict[str, Any]]) -> str:
    """The rows as text, with the bars and whether each is met."""

    def spread(value: tuple[float, float, float]) -> str:
        return f"{value[1]:.3f} ({value[0]:.3f}–{value[2]:.3f})"

    lines = [f"{'method':<18}{'ours s':>9}{'diffusers s':>13}{'bare s':>9}{'|difference|':>14}"]
    for row in rows:
        lines.append(
            f"{row['method']:<18}{row['ours_seconds']:>9.3f}{row['diffusers_seconds']:>13.3f}"
            f"{row['bare_seconds']:>9.3f}{row['difference']:>14.1e}"
        )
    lines += ["", "ratios: median (quartiles) over repetitions, wall clock unless said otherwise"]
    keys = [key for key in rows[0] if "/" in key]
    lines.append(f"{'':<26}" + "".join(f"{row['method']:>26}" for row in rows))
    lines += [f"{key:<26}" + "".join(f"{spread(row[key]):>26}" for row in rows) for key in keys]
    lines += ["", "processor time a step: in the network, and outside it"]
    for row in rows:
        lines.append(
            f"{row['method']:<18} network {row['network_ms']:.2f} ms; outside it ours {row['ours_outside_us']:.0f} µs, "
            f"diffusers {row['diffusers_outside_us']:.0f} µs, bare {row['bare_outside_us']:.0f} µs "
            f"(ours: {row['ours_outside_us'] / row['network_ms'] / 10:.2f} % of the network's)"
        )
    lines.append("")
    for key, bar in (("ours/diffusers", BAR_DIFFUSERS), ("ours/bare", BAR_BARE)):
        worst = max(row[key][1] for row in rows)
        verdict = "met" if worst <= bar else f"NOT met: {100 * (worst / bar - 1):.1f} % above"
        lines.append(f"bar {key} at most {bar:.2f}: {verdict} (worst median {worst:.3f})")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line, runs, prints."""
    parser = argparse.ArgumentParser(
        prog="launch.py bench sampling_loop", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=32, help="height and width of the images")
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 64], help="one number a resolution")
    parser.add_argument("--layers", type=int, default=2, help="residual layers a block")
    parser.add_argument("--repetitions", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the rows here")
    options = parser.parse_args(arguments)
    fields = {k: v for k, v in vars(options).items() if k != "json"}
    rows = run(**{**fields, "channels": tuple(options.channels)})
    print(", ".join(f"{k} {v}" for k, v in fields.items()), f"torch {torch.__version__}", sep="; ")
    print(report(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
