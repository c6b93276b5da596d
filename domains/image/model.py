"""The image model: a network told in words, its noise process in pixels, and the folder it is loaded from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.checkpoint import load_model
from core.denoiser import Preconditioned
from core.networks import build_network
from core.networks.captioned import Captioned, aligned
from core.schedules import SCHEDULES
from core.spaces.gaussian import Gaussian
from domains.common.loaded_models import LoadedModels

CHANNELS = {"rgb": 3, "rgba": 4}


@dataclass(frozen=True)
class ImageModel:
    """A text-to-image network with its process.

    The state is the picture itself, `[batch, channels, side, side]` in [-1, 1], so that measurements, masks and
    constraints are said in pixels; the network folds patches into channels.

    Attributes:
        network: Called with pixels.
        schedule: Name of the noise schedule.
        side: Height and width that it was trained at, pixels.
        channels: 3, or 4 with opacity as the last one.
        config: The `model` part of its card.
        card: The card it was loaded from; empty for one in training.
    """

    network: Captioned
    schedule: str
    side: int
    channels: int
    config: dict[str, Any]
    card: dict[str, Any]

    @property
    def denoiser(self) -> Preconditioned:
        """The unconditioned denoiser; bind prompts with `given(told(prompts))`."""
        return Preconditioned(self.network, Gaussian(SCHEDULES[self.schedule]()), "v")

    def told(self, *prompts: Sequence[str]) -> list[dict[str, Tensor]]:
        """Conditions of batches of prompts, of equal lengths so that branches can share a batch."""
        with torch.no_grad():
            return aligned([self.network.read(texts) for texts in prompts])

    def with_network(self, network: nn.Module) -> ImageModel:
        """The same model with another network of its kind, for example its moving average.

        Raises:
            TypeError: If it is of another kind.
        """
        if not isinstance(network, Captioned):
            raise TypeError("a text-to-image model needs a network that is told in words")
        return replace(self, network=network)


def new_model(config: dict[str, Any]) -> ImageModel:
    """An untrained model from the `model` part of a card: network, config, schedule, side, pixels.

    Raises:
        ValueError: If the network is none that reads words, or the card names pixels that are not known.
    """
    network = build_network(config["network"], config["config"])
    if not isinstance(network, Captioned) or config["pixels"] not in CHANNELS:
        raise ValueError("the card does not describe a text-to-image model")
    return ImageModel(network, config["schedule"], config["side"], CHANNELS[config["pixels"]], config, {})


def load_image_model(folder: Path, device: str = "cpu") -> ImageModel:
    """The model in a folder, ready to sample.

    Raises:
        core.checkpoint.BadModel: If the folder is damaged.
        ValueError: If its card names an unknown network.
    """
    tensors, card = load_model(folder)
    model = new_model(card["model"])
    model.network.load_state_dict(tensors)
    model.network.to(device).eval().requires_grad_(False)
    return replace(model, card=card)


# A built-in model by name (default `scenes`), or one in a folder that `train` made.
image_model = LoadedModels(load_image_model, "scenes")
