"""Light control of a trained U-Net: added once, or made once for a whole walk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from core.adapters.control import Bystander, HintEncoder, Told, zero
from core.networks.unet import Beside, ResidualBlock, UNet, convolution


class ControlNeXt(nn.Module):
    """A few convolutions whose output, brought to the base's mean and spread, is added once, after the first level.

    Peng et al. 2024, "ControlNeXt", §3.2: cross normalisation takes the place of zero convolutions.  So that a branch
    starts as nothing, what is added begins at weight 0.

    Args:
        base: The trained U-Net.
        hint: Channels of the hint.
        width: Of the branch.
    """

    def __init__(self, base: UNet, hint: int, width: int = 32) -> None:
        super().__init__()
        places = base.places
        self.place = max(k for k, (level, _) in enumerate(places) if level == 0)
        embedding = base.conditioning.clock_width
        self.hint = HintEncoder(base.dims, hint, base.patch, width)
        self.blocks = nn.ModuleList(ResidualBlock(base.dims, width, width, embedding) for _ in range(2))
        self.leave = convolution(base.dims, width, places[self.place][1], 1)
        self.weight = nn.Parameter(torch.zeros(places[self.place][1]))

    def beside(self, base: UNet, x: Tensor, clock: Tensor, cond: Told, hint: Tensor, scale: float) -> Beside:
        """What takes part in one evaluation; arguments as of `ControlNet.beside`, `hint` `[batch, hint, ...]`."""
        y, embedding = self.hint(hint), base.told(clock, cond)
        for block in self.blocks:
            y = block(y, embedding)
        return _Normalised(self.place, self.leave(y), scale * self.weight)


@dataclass
class _Normalised(Bystander):
    place: int
    added: Tensor
    weight: Tensor

    def down(self, place: int, y: Tensor) -> Tensor:
        if place != self.place:
            return y
        axes = tuple(range(1, y.ndim))
        mean, std = y.mean(axes, keepdim=True), y.std(axes, keepdim=True)
        own = self.added
        brought = (own - own.mean(axes, keepdim=True)) / (own.std(axes, keepdim=True) + 1e-6) * std + mean
        return y + self.weight.reshape(-1, *[1] * (y.ndim - 2)) * brought


class T2IAdapter(nn.Module):
    """Features of the hint alone, one a level, added on the way down; made once for a whole walk.

    Mou et al. 2023, "T2I-Adapter", §3.2.  It sees neither state nor clock, so it costs next to nothing.

    Args:
        base: The trained U-Net.
        hint: Channels of the hint.
        width: Of its first level; doubled with each halving of the grid.
    """

    def __init__(self, base: UNet, hint: int, width: int = 32) -> None:
        super().__init__()
        places = base.places
        ends = {level: (k, channels) for k, (level, channels) in enumerate(places)}
        self.ends = [ends[level][0] for level in sorted(ends)]
        widths = [width * 2**level for level in sorted(ends)]
        self.hint = HintEncoder(base.dims, hint, base.patch, width)
        self.shrink = nn.ModuleList(convolution(base.dims, a, b, stride=2) for a, b in pairwise(widths))
        self.blocks = nn.ModuleList(ResidualBlock(base.dims, w, w, 0) for w in widths)
        self.leave = nn.ModuleList(
            zero(convolution(base.dims, w, ends[level][1], 1))
            for w, level in zip(widths, sorted(ends), strict=True)
        )

    def features(self, hint: Tensor) -> list[Tensor]:
        """One `[batch, channels, ...]` a level, of a hint `[batch, hint, ...]`."""
        y, out = self.hint(hint), []
        for level, block in enumerate(self.blocks):
            y = block(y if level == 0 else self.shrink[level - 1](y))
            out.append(self.leave[level](y))
        return out

    def beside(
        self,
        base: UNet,
        x: Tensor,
        clock: Tensor,
        cond: Told,
        hint: Tensor | Sequence[Tensor],
        scale: float,
    ) -> Beside:
        """What takes part in one evaluation; arguments as of `ControlNet.beside`.

        `hint` is `[batch, hint, ...]`, or what `features` made of it.
        """
        made = self.features(hint) if isinstance(hint, Tensor) else hint
        return _Features(dict(zip(self.ends, made, strict=True)), scale)


@dataclass
class _Features(Bystander):
    added: Mapping[int, Tensor]
    scale: float

    def down(self, place: int, y: Tensor) -> Tensor:
        return y + self.scale * self.added[place] if place in self.added else y
