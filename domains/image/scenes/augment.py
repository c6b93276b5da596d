"""What happens to pictures on their way through cameras, files and decoders; the scorer must read them all the same."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_CLEAN = 0.3  # share of pictures left as they are


def augment(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Pictures with gain, blur, quantised blocks and noise, each picture its own amounts.

    Args:
        images: `[batch, 3, 64, 64]` in [-1, 1].
        rng: Where the amounts and the noise come from.

    Returns:
        The same shape, in [-1, 1].
    """
    n = len(images)

    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))

    def amount(share: float, most: float) -> Tensor:
        """Zero for some pictures, uniform up to `most` for `share` of them, `[batch, 1, 1, 1]`."""
        given = np.where(rng.random(n) < share, rng.random(n) * most, 0)
        return torch.from_numpy(given.astype(np.float32)).reshape(n, 1, 1, 1)

    x = images * (1 + 0.05 * normal(n, 3, 1, 1)) + 0.04 * normal(n, 3, 1, 1)
    x = x + amount(0.5, 0.9) * (_blurred(x) - x)
    x = x + amount(0.4, 1.0) * (
        _blocks(x, 0.04 + 0.10 * torch.from_numpy(rng.random((n, 1, 1, 1, 1, 1))).float()) - x
    )
    coarse = functional.interpolate(normal(n, 3, 16, 16), scale_factor=4.0, mode="bilinear")
    x = x + amount(0.5, 0.10) * coarse + amount(0.6, 0.12) * normal(*images.shape)
    clean = torch.from_numpy(rng.random(n) < _CLEAN).reshape(n, 1, 1, 1)
    return torch.where(clean, images, x.clamp(-1, 1))


def _blurred(x: Tensor) -> Tensor:
    """A binomial blur of three by three."""
    line = x.new_tensor([0.25, 0.5, 0.25])
    kernel = (line[:, None] * line).expand(3, 1, 3, 3)
    return functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)


def _blocks(x: Tensor, step: Tensor) -> Tensor:
    """Blocks of eight by eight whose cosine coefficients are rounded, high frequencies coarser, as JPEG does.

    Args:
        x: `[batch, 3, height, width]`.
        step: Step of the lowest frequency, `[batch, 1, 1, 1, 1, 1]`.
    """
    k = torch.arange(8, dtype=x.dtype)
    basis = (
        torch.cos(math.pi * (k[None, :] + 0.5) * k[:, None] / 8) * torch.where(k == 0, 8**-0.5, 0.5)[:, None]
    )
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // 8, 8, w // 8, 8).transpose(3, 4)
    waves = basis @ blocks @ basis.mT
    steps = step * (1 + 0.5 * (k[:, None] + k[None, :]))
    rounded = (waves / steps).round() * steps
    return (basis.mT @ rounded @ basis).transpose(3, 4).reshape(n, c, h, w)
