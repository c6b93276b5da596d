"""A small network that learns the score of a plane's law on the spot."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from core.denoiser import Preconditioned
from core.noise import Noise
from domains.common.task import Run
from domains.lab.laws import PlaneLaw, start_of

WIDTH, WAVES, BATCH = 128, 16, 256
_DRAWS = 4096  # the data set: drawn once, as data are
_RATE = 3e-3


class PlaneNetwork(nn.Module):
    """Three hidden layers of width 128 on the state and waves of the clock; about 40,000 weights."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 + 2 * WAVES, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(),
            nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 2),
        )  # fmt: skip
        # From a generator of its own: other runs in this process draw from the global one at the same time.
        generator = torch.Generator().manual_seed(seed % 2**63)
        with torch.no_grad():
            for weight in self.parameters():
                bound = 1 / math.sqrt(weight.shape[-1])
                weight.uniform_(-bound, bound, generator=generator)

    def forward(self, x: Tensor, clock: Tensor, cond: Any) -> Tensor:
        """`[batch, 2]` and the clock `[batch]` -> `[batch, 2]`."""
        waves = clock[:, None] * torch.exp(torch.linspace(-2.5, 1.5, WAVES, dtype=x.dtype))
        raw: Tensor = self.layers(torch.cat([x, waves.sin(), waves.cos()], 1).float())
        return raw


def learn(
    law: PlaneLaw, steps: int, seed: int, run: Run, watch: Callable[[Preconditioned], None] | None = None
) -> Preconditioned:
    """A network trained on draws of `law`, as a denoiser; the target is EDM's (Karras et al. 2022, table 1).

    Args:
        law: The law.
        steps: Of Adam, with a cosine decay of the rate.
        seed: Of data, noise and weights.
        run: Told how far it is.
        watch: Called with what is learned so far, every 20 steps.
    """
    network = PlaneNetwork(seed)
    denoiser = Preconditioned(network, law.process, "edm", data_std=law.std)
    data = law.draw(Noise.of(seed, _DRAWS).at("training data")).float()
    generator = torch.Generator().manual_seed((seed + 1) % 2**63)
    optimiser = torch.optim.Adam(network.parameters(), lr=_RATE)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    start = start_of(law)
    learner = _Learner(network, optimiser, decay, generator)
    first = learner.restore(run.kept("learning"))
    with torch.enable_grad():
        for step in range(first, steps):
            run.check()
            if step % 20 == 0:
                run.progress(step, steps, "learning the score")
                if watch is not None and step:
                    watch(denoiser)
            x0 = data[torch.randint(_DRAWS, (BATCH,), generator=generator)]
            t = start * torch.rand(BATCH, generator=generator, dtype=torch.float64).clamp_min(1e-4)
            alpha, sigma = (c.float()[:, None] for c in law.process.schedule(t))
            x = alpha * x0 + sigma * torch.randn(x0.shape, generator=generator)
            # The error of x0 over that of the network's own output of unit scale: EDM's weight.
            out = sigma * law.std / (alpha**2 * law.std**2 + sigma**2).sqrt()
            loss = ((denoiser(x, t) - x0) / out).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            decay.step()
            run.keep("learning", partial(learner.state, step + 1))
    network.requires_grad_(False)
    return denoiser


@dataclass(frozen=True)
class _Learner:
    """All that the next step of learning depends on."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    decay: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator

    def state(self, step: int) -> dict[str, Any]:
        """To be kept after `step` steps."""
        optimiser = self.optimiser.state_dict()
        return {
            "step": step,
            "network": self.network.state_dict(),
            "moments": [optimiser["state"][k] for k in range(len(optimiser["state"]))],
            "groups": optimiser["param_groups"],
            "decay": self.decay.state_dict(),
            "generator": self.generator.get_state(),
        }

    def restore(self, kept: dict[str, Any] | None) -> int:
        """Takes up what was kept; the number of steps that are done."""
        if kept is None:
            return 0
        self.network.load_state_dict(kept["network"])
        self.optimiser.load_state_dict(
            {"state": dict(enumerate(kept["moments"])), "param_groups": kept["groups"]}
        )
        self.decay.load_state_dict(kept["decay"])
        self.generator.set_state(kept["generator"])
        return int(kept["step"])
