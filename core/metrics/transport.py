"""Wasserstein distances of samples: how far mass has to be carried from one to the other."""

from __future__ import annotations

import torch
from torch import Tensor

DIRECTIONS = 128


def wasserstein(a: Tensor, b: Tensor) -> Tensor:
    """First Wasserstein distance of columns, from their order statistics (Vallender 1974).

    Args:
        a, b: Draws `[n, k]` and `[m, k]` in one unit; n and m may differ.

    Returns:
        `[k]` float64, in the unit of the draws.
    """
    count = max(len(a), len(b))
    levels = (torch.arange(count, dtype=torch.float64) + 0.5) / count

    def quantiles(v: Tensor) -> Tensor:
        ordered = v.double().sort(0).values
        return ordered[(levels * len(v)).long().clamp(max=len(v) - 1)]

    return (quantiles(a) - quantiles(b)).abs().mean(0)


def sliced_wasserstein(a: Tensor, b: Tensor) -> float:
    """Mean first Wasserstein distance over 128 fixed random directions (Bonneel et al. 2015, definition 5).

    Args:
        a, b: Draws `[n, ...]` and `[m, ...]` of one shape and unit.

    Returns:
        The distance in the unit of the draws; between samples of one law it is of order n^-1/2, not zero.
    """
    a, b = a.flatten(1).double(), b.flatten(1).double()
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(a.shape[1], DIRECTIONS, generator=generator, dtype=torch.float64)
    directions = directions / directions.norm(dim=0)
    return float(wasserstein(a @ directions, b @ directions).mean())
