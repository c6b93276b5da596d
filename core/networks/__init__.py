"""Networks, and the registry by which a model card names them (never by import path)."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

NETWORKS = {
    "grid-transformer": ("core.networks.grid_transformer", "GridTransformer"),
    "unet": ("core.networks.unet", "UNet"),
    "dit": ("core.networks.dit", "DiT"),
    "uvit": ("core.networks.uvit", "UViT"),
    "dim": ("core.networks.state_space", "DiM"),
    "autoencoder": ("core.networks.autoencoder", "Autoencoder"),
    "text-encoder": ("core.networks.text_encoder", "TextEncoder"),
    "captioned": ("core.networks.captioned", "Captioned"),
    "pair-transformer": ("core.networks.pair_transformer", "PairTransformer"),
}


def build_network(name: str, config: dict[str, Any]) -> nn.Module:
    """The network called `name` with keyword arguments `config`.

    Raises:
        ValueError: If no network has that name or the configuration does not fit it.
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}; known are {', '.join(NETWORKS)}")
    module, attribute = NETWORKS[name]
    try:
        network: nn.Module = getattr(importlib.import_module(module), attribute)(**config)
    except TypeError as error:
        raise ValueError(f"configuration of network {name!r} does not fit: {error}") from None
    return network
