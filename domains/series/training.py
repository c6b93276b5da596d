"""Training of series models: the built-in one from scratch, or fine-tuning on a person's own table."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.noise import Noise
from core.training.losses import denoising_loss
from domains.common.training_settings import COMMON
from domains.series.anchors import anchors
from domains.series.model import FEATURES, SeriesModel


def batch_loss(
    model: SeriesModel, batch: dict[str, np.ndarray], noise_seed: int, draws: int, device: str
) -> Tensor:
    """Mean denoising loss of a batch over its hidden entries, a scalar.

    The encoder reads each window once; the decoder sees it at `draws` noise levels.

    Args:
        batch: As `TrainingStream.batch_at` gives it.
        noise_seed: Address of times and noise.
    """
    with torch.autocast(device, enabled=False):
        values, known, observed, start, columns = (
            torch.from_numpy(batch[k]).to(device) for k in ("values", "known", "observed", "start", "columns")
        )
        a = anchors(values, observed, start.long(), model.window)
        index = (start.long()[:, None, None] + torch.arange(model.window, device=device)).expand(
            -1, values.shape[1], -1
        )
        hidden = (known & ~observed & columns[..., None]).gather(2, index).float()
        state = a.squash(values.gather(2, index)).clamp(-6, 6) * hidden
    all_columns = None if bool(columns.all()) else columns
    memory = model.read(a, all_columns)

    def several(v: Tensor) -> Tensor:
        return v.repeat(draws, *([1] * (v.ndim - 1)))

    where = several(hidden)
    cond = {"memory": several(memory), "where": where}
    if all_columns is not None:
        cond["columns"] = several(all_columns)
    f = model.denoiser(where).given(cond)
    losses = denoising_loss(f, several(state), Noise.of(noise_seed, len(where)))
    return losses.sum() * where[0].numel() / where.sum().clamp_min(1.0)


# The built-in model's configuration; `--set key=value` changes any of it.
DEFAULTS: dict[str, Any] = {
    **COMMON,
    "width": 128, "heads": 4, "expansion": 3, "encoder_layers": 4, "decoder_layers": 2, "patch": 4,
    "window": 192, "context": 768, "budget": 96, "draws": 2, "real_share": 0.4, "learning_rate": 1.5e-3,
}  # fmt: skip
# What differs when a person's table is fine-tuned on.
FINE_TUNING: dict[str, Any] = {
    "minutes": 10.0, "learning_rate": 4e-4, "warmup": 50, "average": 0.99, "judge_minutes": 5.0,
}  # fmt: skip


def model_config(settings: dict[str, Any]) -> dict[str, Any]:
    """The `model` part of a card."""
    shape = ("window", "patch", "width", "heads", "expansion", "encoder_layers", "decoder_layers")
    return {
        "network": "grid-transformer",
        "config": {"features": FEATURES, **{k: settings[k] for k in shape}},
        "schedule": "vp-cosine",
        "context": settings["context"],
    }
