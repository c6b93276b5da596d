"""The series model: what the network reads of a window, and the denoiser of what the anchors leave over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.checkpoint import load_model
from core.denoiser import Preconditioned
from core.networks import build_network
from core.schedules import SCHEDULES
from core.spaces.gaussian import Gaussian
from domains.common.sampling import FITTED
from domains.common.task import Sampling
from domains.series.anchors import Anchors

FEATURES = 13


def features(a: Anchors) -> Tensor:
    """What is known of a window, `[batch, 13, columns, window]`, every channel of about unit scale."""
    rows = torch.arange(a.mask.shape[-1], device=a.mask.device, dtype=a.mask.dtype)
    phase = 2 * math.pi * rows / a.period.to(a.mask.dtype)

    def wide(v: Tensor) -> Tensor:
        return v.expand(a.mask.shape)

    channels = [
        torch.asinh(a.observed),
        a.mask,
        torch.asinh(a.mean),
        0.5 * a.std.log() + 1,
        torch.asinh(a.bridge),
        0.5 * (a.bridge_std + 0.01).log() + 1,
        torch.asinh(a.season),
        0.5 * a.season_std.log() + 0.5,
        0.3 * torch.log1p(a.before),
        0.3 * torch.log1p(a.after),
        wide(a.strength),
        a.strength * phase.sin(),
        a.strength * phase.cos(),
    ]
    return torch.stack([c.clamp(-6, 6) for c in channels], 1)


@dataclass(frozen=True)
class SeriesModel:
    """A network with its process and the sizes of its window.

    Attributes:
        network: A `GridTransformer` or one of its kind: `encode` and a call with the memory as condition.
        schedule: Name of the noise schedule.
        window: Rows that are denoised at once.
        context: Rows around them from which anchors are made.
        config: The `model` part of its card: network, its configuration, schedule, context.
        card: The card it was loaded from; empty for one in training.
        prior_std: Standard deviation of the prior's noise, fitted on tables kept aside so that bands cover what they
            say: a network that averages over what it does not know draws samples that are a little too alike.
        prior_stds: The same for walks along fitted grids, by their numbers of steps.
    """

    network: nn.Module
    schedule: str
    window: int
    context: int
    config: dict[str, Any]
    card: dict[str, Any]
    prior_std: float = 1.0
    prior_stds: Mapping[int, float] = field(default_factory=dict)

    def spread(self, sampling: Sampling) -> float:
        """Standard deviation of the prior's noise for a walk: fitted grids have their own, by steps."""
        fitted = self.prior_stds.get(sampling.steps) if sampling.solver == FITTED else None
        return self.prior_std if fitted is None else fitted

    def denoiser(self, where: Tensor) -> Preconditioned:
        """The unconditioned denoiser of entries `where` `[batch, columns, window]` is 1; bind a window with `given`."""
        process = Gaussian(SCHEDULES[self.schedule](), project=lambda z: z * where)
        return Preconditioned(self.network, process, "v")

    def read(self, a: Anchors, columns: Tensor | None = None) -> Tensor:
        """The encoder's memory of a window, `[batch, columns, tokens, width]`."""
        encode: Any = self.network.encode
        memory: Tensor = encode(features(a), columns)
        return memory

    def with_network(self, network: nn.Module) -> SeriesModel:
        """The same model with another network, for example its moving average."""
        return replace(self, network=network)


def new_model(config: dict[str, Any]) -> SeriesModel:
    """An untrained model from the `model` part of a card: network, config, schedule, window, context."""
    network = build_network(config["network"], config["config"])
    return SeriesModel(network, config["schedule"], config["config"]["window"], config["context"], config, {})


def load_series_model(folder: Path, device: str = "cpu") -> SeriesModel:
    """The model in a folder, ready to sample.

    Raises:
        core.checkpoint.BadModel: If the folder is damaged.
        ValueError: If its card names an unknown network.
    """
    tensors, card = load_model(folder)
    model = new_model(card["model"])
    model.network.load_state_dict(tensors)
    model.network.to(device).eval().requires_grad_(False)
    calibration = card.get("calibration", {})
    prior_std = float(calibration.get("prior_std", 1.0))
    fitted = {int(steps): float(row["prior_std"]) for steps, row in calibration.get("grids", {}).items()}
    if not all(0.5 <= std <= 2.0 for std in (prior_std, *fitted.values())):
        raise ValueError("a prior_std of the card is not between 0.5 and 2")
    return replace(model, card=card, prior_std=prior_std, prior_stds=fitted)
