"""Training of text-to-image models: the loss of a batch, and the settings."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from core.noise import Noise
from core.training.losses import denoising_loss, edm, logit_normal_times, truncated_snr, uniform_times
from domains.common.errors import BadInput
from domains.common.training_settings import COMMON
from domains.image.model import ImageModel
from domains.image.stream import Batch

WEIGHTINGS = {"v": edm, "truncated-snr": truncated_snr}
BACKBONES = ("unet", "dit")

# The configuration of `scenes`; `--set key=value` changes any of it.
DEFAULTS: dict[str, Any] = {
    **COMMON,
    "backbone": "unet", "width": 64, "levels": "1,2", "blocks": "2,2", "attention": "0,1", "heads": 4,
    "patch": 4, "depth": 6, "text_width": 128, "text_depth": 3, "text_length": 192,
    "batch": 64, "untold": 0.1, "chinese": 0.4, "thorough": 0.25, "masked": 0.2, "edited": 0.2,
    "weighting": "v", "centre": 0.0, "spread": 0.0,
    "schedule": "vp-cosine", "learning_rate": 1e-3, "weight_decay": 0.02,
}  # fmt: skip
# The configuration of `emoji`: what differs.
_OF_SCENES = ("chinese", "thorough", "edited")
EMOJI: dict[str, Any] = {
    **{name: value for name, value in DEFAULTS.items() if name not in _OF_SCENES},
    "coloured": 0.4,
    "text_length": 96,
}


def _whole(settings: dict[str, Any], name: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in settings[name].split(",") if part)
    except ValueError:
        raise BadInput("set", f"{name} must be whole numbers with commas between them") from None


def model_config(settings: dict[str, Any], side: int = 64, pixels: str = "rgb") -> dict[str, Any]:
    """The `model` part of a card.

    Raises:
        BadInput: If a setting cannot be used.
    """
    channels = len(pixels)
    if settings["backbone"] == "unet":
        body = {
            "channels": channels,
            "stacked": channels + 1,
            "width": settings["width"],
            "multipliers": list(_whole(settings, "levels")),
            "blocks": list(_whole(settings, "blocks")),
            "attention": list(_whole(settings, "attention")),
            "heads": settings["heads"],
            "patch": settings["patch"],
        }
    elif settings["backbone"] == "dit":
        body = {
            "channels": channels,
            "stacked": channels + 1,
            "patch": settings["patch"],
            "width": settings["width"],
            "depth": settings["depth"],
            "heads": settings["heads"],
            "modulation": "single",
        }
    else:
        raise BadInput("set", f"backbone must be one of {', '.join(BACKBONES)}")
    text = {
        "width": settings["text_width"],
        "depth": settings["text_depth"],
        "length": settings["text_length"],
    }
    return {
        "network": "captioned",
        "config": {"body": settings["backbone"], "body_config": body, "text_config": text},
        "schedule": settings["schedule"],
        "side": side,
        "pixels": pixels,
    }


def batch_loss(model: ImageModel, batch: Batch, seed: int, settings: dict[str, Any], device: str) -> Tensor:
    """Mean denoising loss of a batch, a scalar.

    Args:
        model: In training.
        batch: Captioned pictures.
        seed: Address of times, noise, and of which pictures go untold.
        settings: `untold` is the share of those; `weighting`, and the `centre` and `spread` of the times' logit
            (times are uniform where the spread is 0).
        device: `cpu` or `cuda`.
    """
    noise = Noise.of(seed, len(batch.images))
    kept = torch.from_numpy(noise.at("told").shared().random(len(batch.images)) >= settings["untold"])
    told = model.network.words(batch.captions, kept)
    f = model.denoiser.given({**told, "stacked": batch.given.to(device)})
    times = (
        partial(logit_normal_times, mean=settings["centre"], std=settings["spread"])
        if settings["spread"]
        else uniform_times
    )
    x0 = batch.images.to(device)
    return denoising_loss(f, x0, noise, times, WEIGHTINGS[settings["weighting"]]).mean()
