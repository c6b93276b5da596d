"""Control of a trained U-Net by a picture of what is wanted where: edges, depth, regions, keypoints.

The base is frozen and its weights are never touched; a branch starts as nothing at all, so that its first step is the
base's own.  Branches of several kinds and hints can be bound at once, each with a scale; at scale 0 a branch is left
out, and the output is the base's to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.networks.patches import fold
from core.networks.unet import Beside, Level, ResidualBlock, UNet, convolution, silu

Told = Mapping[str, Tensor] | None


def zero(module: nn.Module) -> nn.Module:
    """The module with all its weights zero: the zero convolution of Zhang et al. 2023, §3.1."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class HintEncoder(nn.Module):
    """A hint to features on the grid of the U-Net's first level (own; a small kin of ControlNet's, §3.2).

    Args:
        dims: Axes of the grid.
        channels: Of the hint, `[batch, channels, ...]` at the state's size.
        patch: As the U-Net folds its state.
        width: Of the features.
    """

    def __init__(self, dims: int, channels: int, patch: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.first = convolution(dims, channels * patch**dims, width)
        self.second = convolution(dims, width, width)

    def forward(self, hint: Tensor) -> Tensor:
        """`[batch, channels, ...]` -> `[batch, width, ...]`."""
        out: Tensor = self.second(silu(self.first(fold(hint, self.patch))))
        return out


class Bystander:
    """Takes no part; a base for those who take part in some places only.  States are `[batch, channels, ...]`."""

    def down(self, place: int, y: Tensor) -> Tensor:
        """`y` `[batch, channels, ...]`, as it is."""
        return y

    def middle(self, y: Tensor) -> Tensor:
        """`y` `[batch, channels, ...]`, as it is."""
        return y

    def skip(self, place: int, y: Tensor) -> Tensor:
        """`y` `[batch, channels, ...]`, as it is."""
        return y


class ControlNet(nn.Module):
    """A trainable copy of the way down and the middle, whose outputs are added to what the way up reads.

    Zhang et al. 2023, "Adding Conditional Control to Text-to-Image Diffusion Models", §3.

    Args:
        base: The trained U-Net; what it holds is copied.
        hint: Channels of the hint.
    """

    def __init__(self, base: UNet, hint: int) -> None:
        super().__init__()
        self.hint = HintEncoder(base.dims, hint, base.patch, base.enter.out_channels)  # type: ignore[arg-type]
        zero(self.hint.second)
        self.conditioning = deepcopy(base.conditioning)
        self.down, self.shrink, self.middle = (
            deepcopy(part) for part in (base.down, base.shrink, base.middle)
        )
        widths = [channels for _, channels in base.places]
        self.zeros = nn.ModuleList(zero(convolution(base.dims, w, w, 1)) for w in widths)
        self.last = zero(convolution(base.dims, widths[-1], widths[-1], 1))
        _trainable(self)

    def beside(self, base: UNet, x: Tensor, clock: Tensor, cond: Told, hint: Tensor, scale: float) -> Beside:
        """What takes part in one evaluation.

        Args:
            base: The U-Net that is controlled.
            x: Its scaled state `[batch, channels, ...]`.
            clock: `[batch]`.
            cond: What it is told.
            hint: `[batch, hint, ...]`.
            scale: Of what is added.
        """
        embedding = silu(self.conditioning(clock, cond))
        context, keys = (cond or {}).get("context"), (cond or {}).get("context_keys")
        y = base.entered(x, cond) + self.hint(hint)
        added: list[Tensor] = []
        for depth, stage in enumerate(self.down):
            for block in stage:  # type: ignore[attr-defined]  # a list of blocks
                y = block(y, embedding, context, keys)
                added.append(scale * self.zeros[len(added)](y))
            if depth < len(self.shrink):
                y = self.shrink[depth](y)
        for block in self.middle:
            y = block(y, embedding, context, keys)
        return _Added(added, scale * self.last(y))


@dataclass
class _Added(Bystander):
    skips: Sequence[Tensor]
    end: Tensor

    def middle(self, y: Tensor) -> Tensor:
        return y + self.end

    def skip(self, place: int, y: Tensor) -> Tensor:
        return y + self.skips[place]


class ControlNetXS(nn.Module):
    """A narrow branch that reads the base after each of its blocks and answers at once.

    Zavadski et al. 2023, "ControlNet-XS": feedback in both directions without delay lets the branch be small.

    Args:
        base: The trained U-Net.
        hint: Channels of the hint.
        share: Width of the branch over that of the base.
    """

    def __init__(self, base: UNet, hint: int, share: float = 0.35) -> None:
        super().__init__()
        places = base.places
        widths = [8 * max(1, round(share * channels / 8)) for _, channels in places]
        embedding = base.conditioning.clock_width
        self.levels = [level for level, _ in places]
        self.hint = HintEncoder(base.dims, hint, base.patch, widths[0])
        befores = [widths[0], *widths[:-1]]
        self.blocks = nn.ModuleList(
            Level(ResidualBlock(base.dims, before + channels, wide, embedding), None)
            for before, wide, (_, channels) in zip(befores, widths, places, strict=True)
        )
        self.shrink = nn.ModuleList(
            convolution(base.dims, w, w, stride=2)
            for w, now, after in zip(widths, self.levels, self.levels[1:], strict=False)
            if after > now
        )
        self.zeros = nn.ModuleList(
            zero(convolution(base.dims, wide, channels, 1))
            for wide, (_, channels) in zip(widths, places, strict=True)
        )

    def beside(self, base: UNet, x: Tensor, clock: Tensor, cond: Told, hint: Tensor, scale: float) -> Beside:
        """What takes part in one evaluation; arguments as of `ControlNet.beside`, `hint` `[batch, hint, ...]`."""
        return _Narrow(self, base.told(clock, cond), self.hint(hint), scale)


class _Narrow(Bystander):
    def __init__(self, branch: ControlNetXS, embedding: Tensor, y: Tensor, scale: float) -> None:
        self.branch, self.embedding, self.y, self.scale = branch, embedding, y, scale
        self.shrunk = 0

    def down(self, place: int, y: Tensor) -> Tensor:
        levels = self.branch.levels
        if place and levels[place] > levels[place - 1]:
            self.y = self.branch.shrink[self.shrunk](self.y)
            self.shrunk += 1
        self.y = self.branch.blocks[place](torch.cat([self.y, y], 1), self.embedding)
        answer: Tensor = self.branch.zeros[place](self.y)
        return y + self.scale * answer


def _trainable(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.requires_grad_(True)
