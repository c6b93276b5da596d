"""How far samples are from a law, beside the distance at which exact draws of the same number are."""

from __future__ import annotations

import torch
from torch import Tensor

from core.metrics.transport import wasserstein
from core.spaces.rotations import SO3


def rotation_distance(a: Tensor, b: Tensor) -> float:
    """As sliced Wasserstein, of the angles to 64 fixed rotations, rad; `[n, 3, 3]` and `[m, 3, 3]`."""
    generator = torch.Generator().manual_seed(0)
    marks = SO3().exp(
        torch.eye(3).double(), 1.5 * torch.randn(64, 3, generator=generator, dtype=torch.float64)
    )

    def angles(x: Tensor) -> Tensor:
        cosine = (torch.einsum("nij,kij->nk", x.double(), marks) - 1) / 2
        return torch.acos(cosine.clamp(-1, 1))

    return float(wasserstein(angles(a), angles(b)).mean())


def frequencies(x: Tensor, size: int) -> Tensor:
    """How often each joint state of tokens `[n, length]` occurs, `[size] * length`, float64."""
    length = x.shape[1]
    index = (x * size ** torch.arange(length - 1, -1, -1)).sum(1)
    counts = torch.bincount(index, minlength=size**length).double()
    return (counts / len(x)).reshape([size] * length)
