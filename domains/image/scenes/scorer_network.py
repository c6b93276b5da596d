"""The network that reads a picture into objects: heads over a grid of centres, after CenterNet (Zhou et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.networks.unet import ResidualBlock, convolution, normalisation
from domains.image.scenes.vocabulary import ATTRIBUTES, BACKGROUNDS, SIDE, STYLES, TONES

CELL = 4  # pixels along the side of a cell of the grid
GRID = SIDE // CELL
GLOBALS = {"style": len(STYLES), "background": len(BACKGROUNDS), "tone": len(TONES)}


class Reading(NamedTuple):
    """What the network says of pictures.

    Attributes:
        centre: Logit that an object's centre lies in a cell `[batch, 16, 16]`.
        offset: Where in pixels from the middle of the cell, right and down `[batch, 2, 16, 16]`.
        radius: Logarithm of the radius in pixels `[batch, 16, 16]`.
        attributes: Name -> logits `[batch, values, 16, 16]`.
        order: Logits that the object is partly hidden, and that it hides another `[batch, 2, 16, 16]`.
        globals: Name -> logits `[batch, values]`.
        cells: Features of the cells, which `SceneReader.pair` compares `[batch, width, 16, 16]`.
        features: Of the whole picture `[batch, deep + width]`, for Fréchet distances.
    """

    centre: Tensor
    offset: Tensor
    radius: Tensor
    attributes: dict[str, Tensor]
    order: Tensor
    globals: dict[str, Tensor]
    cells: Tensor
    features: Tensor


class SceneReader(nn.Module):
    """A convolutional network of three scales with a way back up to cells of four pixels.

    Args:
        stem: Channels at half resolution.
        width: Channels of the grid of cells.
        deep: Channels at an eighth of the resolution.
        blocks: Residual blocks of the grid on the way down, of the coarser scale, and of the grid on the way back.
    """

    def __init__(
        self, stem: int = 32, width: int = 72, deep: int = 128, blocks: Sequence[int] = (2, 2, 1)
    ) -> None:
        super().__init__()
        self.enter = convolution(2, 3, stem, size=5, stride=2)
        self.to_grid = convolution(2, stem, width, stride=2)
        self.grid = nn.ModuleList(ResidualBlock(2, width, width, 0) for _ in range(blocks[0]))
        self.to_deep = convolution(2, width, deep, stride=2)
        self.deep = nn.ModuleList(ResidualBlock(2, deep, deep, 0) for _ in range(blocks[1]))
        self.back = convolution(2, deep, width, size=1)
        self.fused = nn.ModuleList(ResidualBlock(2, width, width, 0) for _ in range(blocks[2]))
        self.norm = normalisation(width)
        self.sizes = {
            "centre": 1,
            "offset": 2,
            "radius": 1,
            "order": 2,
            **{k: len(v) for k, v in ATTRIBUTES.items()},
        }
        self.heads = convolution(2, width, sum(self.sizes.values()), size=1)
        nn.init.constant_(self.heads.bias[:1], -3.0)  # type: ignore[index]  # few cells hold a centre
        self.globals = nn.Linear(deep + width, sum(GLOBALS.values()))
        self.pairs = nn.Sequential(nn.Linear(3 * width + 2, 128), nn.SiLU(), nn.Linear(128, 2))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stub leaves it out

    def forward(self, images: Tensor) -> Reading:
        """Reads pictures `[batch, 3, 64, 64]` in [-1, 1]."""
        x = self.to_grid(functional.silu(self.enter(images.contiguous(memory_format=torch.channels_last))))
        for block in self.grid:
            x = block(x)
        y = self.to_deep(functional.silu(x))  # not in place: x is wanted again below
        for block in self.deep:
            y = block(y)
        x = x + functional.interpolate(self.back(y), scale_factor=2.0)
        for block in self.fused:
            x = block(x)
        cells = functional.silu(self.norm(x))
        heads = dict(
            zip(self.sizes, self.heads(cells).float().split(list(self.sizes.values()), 1), strict=True)
        )
        features = torch.cat([y.mean((2, 3)), cells.mean((2, 3))], 1)
        whole = self.globals(features).float().split(list(GLOBALS.values()), 1)
        return Reading(
            heads["centre"][:, 0],
            heads["offset"],
            heads["radius"][:, 0],
            {name: heads[name] for name in ATTRIBUTES},
            heads["order"],
            dict(zip(GLOBALS, whole, strict=True)),
            cells,
            features,
        )

    def pair(
        self, cells: Tensor, picture: Tensor, centres: tuple[Tensor, Tensor], radii: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Whether two objects of a picture overlap, and which is in front.

        Args:
            cells: As in `Reading` `[batch, width, 16, 16]`.
            picture: Index of the picture `[pairs]`.
            centres: Of the first and the second objects in pixels, right and down, each `[pairs, 2]`.
            radii: Of both, in pixels, each `[pairs]`.

        Returns:
            Logits `[pairs]` that they overlap, and that the first hides part of the second; exchanging the two keeps
            one and negates the other.
        """

        def at(point: Tensor) -> Tensor:
            cell = (point / CELL).long().clamp(0, GRID - 1)
            found: Tensor = cells[picture, :, cell[:, 1], cell[:, 0]]
            return found

        first, second = centres
        share = (radii[0] / (radii[0] + radii[1]))[:, None]
        a, b, between = (
            at(first),
            at(second),
            at(first + share * (second - first)),
        )  # where they would overlap
        step = ((second - first) / SIDE).to(a.dtype)
        one = self.pairs(torch.cat([a, b, between, step], 1)).float()
        other = self.pairs(torch.cat([b, a, between, -step], 1)).float()
        return one[:, 0] + other[:, 0], one[:, 1] - other[:, 1]
