"""Grids as sequences of patches, and back; where each patch stands."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def to_patches(x: Tensor, patch: int) -> Tensor:
    """`[batch, channels, ...]` -> `[batch, tokens, channels * patch ** dims]`.

    Raises:
        ValueError: If a side of the grid is not a multiple of `patch`.
    """
    batch, channels, *sides = x.shape
    if any(side % patch for side in sides):
        raise ValueError(f"every side of the grid must be a multiple of {patch}, not {tuple(sides)}")
    dims = len(sides)
    split = x.reshape(batch, channels, *[n for side in sides for n in (side // patch, patch)])
    order = [0, *range(2, 2 * dims + 2, 2), 1, *range(3, 2 * dims + 2, 2)]
    return split.permute(order).reshape(batch, -1, channels * patch**dims)


def from_patches(tokens: Tensor, patch: int, sides: Sequence[int]) -> Tensor:
    """The inverse of `to_patches`: `[batch, tokens, channels * patch ** dims]` -> `[batch, channels, *sides]`."""
    dims = len(sides)
    counts = [side // patch for side in sides]
    channels = tokens.shape[-1] // patch**dims
    split = tokens.reshape(len(tokens), *counts, channels, *[patch] * dims)
    order = [0, dims + 1, *[axis for k in range(dims) for axis in (1 + k, dims + 2 + k)]]
    return split.permute(order).reshape(len(tokens), channels, *sides)


def fold(x: Tensor, patch: int) -> Tensor:
    """`[batch, channels, ...]` -> `[batch, channels * patch ** dims, ...]` with every side divided by `patch`.

    Raises:
        ValueError: If a side of the grid is not a multiple of `patch`.
    """
    if patch == 1:
        return x
    folded: Tensor = to_patches(x, patch).mT.unflatten(2, [side // patch for side in x.shape[2:]])
    return folded


def unfold(x: Tensor, patch: int) -> Tensor:
    """The inverse of `fold`."""
    if patch == 1:
        return x
    return from_patches(x.flatten(2).mT, patch, [side * patch for side in x.shape[2:]])


def positions(sides: Sequence[int], width: int, device: torch.device | None = None) -> Tensor:
    """Fixed sinusoids of each axis, side by side, `[tokens, width]` (Vaswani et al. 2017; Dosovitskiy et al. 2021).

    Args:
        sides: Patches along each axis.
        width: Features; at least two an axis.
        device: Of the result.

    Raises:
        ValueError: If `width` is too small for so many axes.
    """
    share = width // (2 * len(sides))
    if share < 1:
        raise ValueError(f"width {width} is too small for {len(sides)} axes")
    rates = torch.exp(-math.log(10000.0) * torch.arange(share, device=device) / share)
    grids = torch.meshgrid(*[torch.arange(n, device=device) for n in sides], indexing="ij")
    phases = [grid.reshape(-1, 1) * rates for grid in grids]
    out = torch.cat([wave for phase in phases for wave in (phase.sin(), phase.cos())], -1)
    return torch.nn.functional.pad(out, (0, width - out.shape[-1]))
