"""Embeddings of the clock and of positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class ClockEmbedding(nn.Module):
    """Embeds log(alpha / sigma): sinusoids at geometric frequencies, then two layers.

    Args:
        width: Width of the embedding.
        frequencies: Pairs of sinusoids.
    """

    frequencies: Tensor

    def __init__(self, width: int, frequencies: int = 16) -> None:
        super().__init__()
        rates = torch.exp(torch.linspace(math.log(0.1), math.log(8.0), frequencies))
        self.register_buffer("frequencies", rates, persistent=False)
        self.layers = nn.Sequential(nn.Linear(2 * frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, clock: Tensor) -> Tensor:
        """`[batch]` -> `[batch, width]`; clocks beyond ±8 are told apart no further."""
        phase = clock.clamp(-8, 8)[:, None] * self.frequencies
        out: Tensor = self.layers(torch.cat([phase.sin(), phase.cos()], -1))
        return out


def rotary_angles(length: int, size: int, longest: float, device: torch.device) -> Tensor:
    """Angles `[length, size / 2]` of rotary position embedding (Su et al. 2021), wavelengths up to `longest` rows."""
    rates = torch.exp(
        torch.linspace(math.log(math.pi), math.log(2 * math.pi / longest), size // 2, device=device)
    )
    return torch.arange(length, device=device)[:, None] * rates


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotates pairs of features by angles, feature k with feature k + size / 2.

    Args:
        x: `[batch, length, ..., size]`; contiguous features make it several times faster than a transposed view.
        angles: `[length, size / 2]`, rad.
    """
    shape = (len(angles), *(1 for _ in x.shape[2:-1]), x.shape[-1])
    cos, sin = angles.cos(), angles.sin()
    along = torch.cat([cos, cos], -1).to(x.dtype).reshape(shape)
    across = torch.cat([-sin, sin], -1).to(x.dtype).reshape(shape)
    low, high = x.chunk(2, -1)
    return torch.addcmul(x * along, torch.cat([high, low], -1), across)
