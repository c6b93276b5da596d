"""What a model is shown besides words: pixels that are to stay, or a picture that is to be changed.

Both are channels stacked on the state: the picture, and a flag that says what it is.  A denoiser that was trained with
known pixels in sight draws the rest from the law given them, without the bias of putting them back at each step (see
`docs/results/guides.md`).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

KNOWN, SOURCE = 1.0, -1.0  # 0 is nothing


def known_pixels(images: Tensor, drawn: Tensor) -> Tensor:
    """Pictures of which a part is to be drawn.

    Args:
        images: `[batch, channels, height, width]` in [-1, 1].
        drawn: Bool `[batch, height, width]`, True where the model draws.

    Returns:
        `[batch, channels + 1, height, width]`.
    """
    flag = (~drawn)[:, None].to(images.dtype) * KNOWN
    return torch.cat([images * flag, flag], 1)


def source_picture(images: Tensor) -> Tensor:
    """Pictures `[batch, channels, height, width]` that words say how to change, `[batch, channels + 1, ...]`."""
    return torch.cat([images, torch.full_like(images[:, :1], SOURCE)], 1)


def random_masks(count: int, side: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Regions to draw, `[count, side, side]`: boxes, discs, all but a box, one side of a line, strokes."""
    y, x = np.mgrid[:side, :side]
    masks = np.zeros((count, side, side), bool)
    for mask in masks:
        kind = rng.integers(5)
        if kind in (0, 1):
            height, width = rng.integers(side // 6, 3 * side // 4, size=2)
            top, left = rng.integers(0, side - height), rng.integers(0, side - width)
            mask[top : top + height, left : left + width] = True
            if kind == 1 and rng.random() < 0.5:
                mask[:] = ~mask
        elif kind == 2:
            cy, cx = rng.uniform(0.15, 0.85, size=2) * side
            a, b = rng.uniform(0.12, 0.45, size=2) * side
            mask[:] = ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 < 1
        elif kind == 3:
            angle = rng.choice([0, 0.5, 1, 1.5]) * np.pi if rng.random() < 0.7 else rng.uniform(0, 2 * np.pi)
            far = rng.uniform(-0.35, 0.35) * side
            mask[:] = (x - side / 2) * np.cos(angle) + (y - side / 2) * np.sin(angle) > far
        else:
            cy, cx = rng.uniform(0.1, 0.9, size=2) * side
            heading = rng.uniform(0, 2 * np.pi)
            radius = rng.uniform(0.05, 0.12) * side
            for _ in range(int(rng.integers(6, 20))):
                mask |= (y - cy) ** 2 + (x - cx) ** 2 < radius**2
                heading += rng.normal(0, 0.6)
                cy = float(np.clip(cy + radius * np.sin(heading), 0, side - 1))
                cx = float(np.clip(cx + radius * np.cos(heading), 0, side - 1))
    return masks
