"""The U-Net on grids of one, two or three dimensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.networks.attention import Attention, Backend, CrossAttention
from core.networks.conditions import Conditioning, saving_memory, stacked
from core.networks.patches import fold, unfold

CONVOLUTIONS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def convolution(dims: int, inward: int, outward: int, size: int = 3, stride: int = 1) -> nn.Module:
    """A convolution over `dims` axes that keeps the grid, or divides it by `stride`."""
    kind: Any = CONVOLUTIONS[dims]
    module: nn.Module = kind(inward, outward, size, stride=stride, padding=size // 2)
    return module


def normalisation(channels: int) -> nn.GroupNorm:
    """Group normalisation with groups of eight channels or more, at most 32 groups."""
    groups = next(g for g in (32, 16, 8, 4, 2, 1) if channels % g == 0 and channels // g >= min(8, channels))
    return nn.GroupNorm(groups, channels)


def silu(x: Tensor) -> Tensor:
    """Elementwise x sigmoid(x), in place where no gradient flows."""
    return functional.silu(x, inplace=not x.requires_grad)


class Grow(nn.Module):
    """Nearest-neighbour doubling of a grid and a convolution of size 3, computed as one transposed convolution.

    Each pair of doubled places reads two places of the small grid, so the size-3 kernel folds into one of size 4 with
    stride 2: the same function for 4 / 9 of the products on two axes, 8 / 27 on three.
    """

    FOLD = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.convolution = convolution(dims, channels, channels)
        self.transposed = TRANSPOSED[dims]

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, channels, ...]` -> the same with every side doubled."""
        kernel: Any = self.convolution.weight
        for _ in range(2, kernel.ndim):
            # Each pass puts the folded axis last; under autocast the first already leaves half precision.
            kernel = torch.tensordot(kernel, kernel.new_tensor(self.FOLD), dims=([2], [1]))
        out: Tensor = self.transposed(x, kernel.transpose(0, 1), self.convolution.bias, stride=2, padding=1)
        return out


class ResidualBlock(nn.Module):
    """Two convolutions with the clock's scale and shift between them (Dhariwal & Nichol 2021, "adaptive GroupNorm").

    Args:
        dims: Axes of the grid.
        inward, outward: Channels.
        embedding: Width of the conditioning; 0 is none.
        dropout: Probability, before the second convolution.
    """

    def __init__(self, dims: int, inward: int, outward: int, embedding: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norms = nn.ModuleList([normalisation(inward), normalisation(outward)])
        self.first = convolution(dims, inward, outward)
        self.second = convolution(dims, outward, outward)
        nn.init.zeros_(self.second.weight)  # type: ignore[arg-type]  # the block starts as the identity
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]
        self.modulation = nn.Linear(embedding, 2 * outward) if embedding else None
        self.shortcut = convolution(dims, inward, outward, 1) if inward != outward else nn.Identity()
        self.dropout = dropout

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """`[batch, inward, ...]` and `[batch, width]` -> `[batch, outward, ...]`."""
        y = self.norms[1](self.first(silu(self.norms[0](x))))
        if self.modulation is not None and embedding is not None:
            wanted = self.modulation(embedding).to(y.dtype)
            scale, shift = wanted.reshape(*wanted.shape, *[1] * (y.ndim - 2)).chunk(2, 1)
            y = torch.addcmul(shift, y, 1 + scale)
        y = functional.dropout(silu(y), self.dropout, self.training)
        out: Tensor = self.shortcut(x) + self.second(y)
        return out


class GridAttention(nn.Module):
    """Self-attention over all places of a grid, then attention to a context if there is one."""

    def __init__(self, channels: int, heads: int, context: int, backend: Backend) -> None:
        super().__init__()
        self.norm = normalisation(channels)
        self.attention = Attention(channels, heads, bias=True, backend=backend)
        self.context_norm = nn.LayerNorm(channels) if context else None
        self.cross = CrossAttention(channels, context, heads, backend) if context else None

    def forward(self, x: Tensor, context: Tensor | None = None, keys: Tensor | None = None) -> Tensor:
        """`[batch, channels, ...]` -> the same."""
        y: Tensor = x + self.attention(self.norm(x).flatten(2).mT).mT.unflatten(2, x.shape[2:])
        if self.cross is None or self.context_norm is None or context is None:
            return y
        tokens: Tensor = y.flatten(2).mT
        tokens = tokens + self.cross(self.context_norm(tokens), context, keys)
        out: Tensor = tokens.mT.unflatten(2, x.shape[2:])
        return out


class Level(nn.Module):
    """A residual block, with attention behind it where its level has any."""

    def __init__(self, block: ResidualBlock, attention: GridAttention | None) -> None:
        super().__init__()
        self.block, self.attention = block, attention

    def forward(
        self, x: Tensor, embedding: Tensor, context: Tensor | None = None, keys: Tensor | None = None
    ) -> Tensor:
        """`[batch, inward, ...]` -> `[batch, outward, ...]`."""
        y: Tensor = self.block(x, embedding)
        return y if self.attention is None else self.attention(y, context, keys)


class Beside(Protocol):
    """What runs beside a U-Net and takes part in it: control branches and adapters (`core.adapters.control`)."""

    def down(self, place: int, y: Tensor) -> Tensor:
        """The state `[batch, channels, ...]` after block `place` on the way down, as it goes on and is kept."""
        ...

    def middle(self, y: Tensor) -> Tensor:
        """The state `[batch, channels, ...]` after the middle."""
        ...

    def skip(self, place: int, y: Tensor) -> Tensor:
        """What was kept of block `place` `[batch, channels, ...]`, as the way up reads it."""
        ...


class UNet(nn.Module):
    """Down, through the middle, and up again with what was seen on the way (Ronneberger et al. 2015; Ho et al. 2020).

    Args:
        channels: Of the state.
        width: Channels at full resolution.
        multipliers: Of `width`, one a level; each level halves the grid.
        blocks: Residual blocks a level, on the way down and again on the way up: one number, or one a level.
        attention: Levels with self-attention, 0 being full resolution; the middle always has it.
        heads: Of attention.
        dims: Axes of the grid, 1 to 3; `[batch, channels, ...]`.
        classes, vector, context, stacked: What the condition may hold, by size; see `core.networks.conditions`.
        dropout: Probability, in residual blocks.
        backend: Of attention.
        save_memory: Recompute activations in the backward pass.
        channels_last: Keep channels innermost in memory, which convolutions on CPUs and tensor cores want.
        patch: Side of the patches that are folded into channels on the way in and unfolded on the way out, so that
            the first level works on a smaller grid (Hoogeboom et al. 2023, §3.2).

    Raises:
        ValueError: If `dims` is not 1 to 3, or `blocks` does not fit the levels.
    """

    def __init__(
        self,
        channels: int,
        width: int = 64,
        multipliers: Sequence[int] = (1, 2, 2),
        blocks: int | Sequence[int] = 2,
        attention: Sequence[int] = (),
        heads: int = 4,
        dims: int = 2,
        classes: int = 0,
        vector: int = 0,
        context: int = 0,
        stacked: int = 0,
        dropout: float = 0.0,
        backend: Backend = "auto",
        save_memory: bool = False,
        channels_last: bool = True,
        patch: int = 1,
    ) -> None:
        super().__init__()
        if dims not in CONVOLUTIONS:
            raise ValueError(f"dims must be 1, 2 or 3, not {dims}")
        embedding = 4 * width
        self.dims, self.stacked_channels, self.save_memory = dims, stacked, save_memory
        self.patch = patch
        self.factor = patch * 2 ** (len(multipliers) - 1)
        self.conditioning = Conditioning(embedding, classes, vector, context, stacked)
        self.enter = convolution(dims, (channels + stacked) * patch**dims, width)

        def level(inward: int, outward: int, attends: bool) -> Level:
            attention = GridAttention(outward, heads, context, backend) if attends else None
            return Level(ResidualBlock(dims, inward, outward, embedding, dropout), attention)

        widths = [width * m for m in multipliers]
        counts = [blocks] * len(widths) if isinstance(blocks, int) else list(blocks)
        if len(counts) != len(widths):
            raise ValueError(f"blocks has {len(counts)} numbers for {len(widths)} levels")
        now, seen = width, []
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        for depth, wide in enumerate(widths):
            stage = nn.ModuleList()
            for _ in range(counts[depth]):
                stage.append(level(now, wide, depth in attention))
                now = wide
                seen.append(now)
            self.down.append(stage)
            if depth < len(widths) - 1:
                self.shrink.append(convolution(dims, now, now, stride=2))
        self.middle = nn.ModuleList([level(now, now, True), level(now, now, False)])
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for depth, wide in reversed(list(enumerate(widths))):
            stage = nn.ModuleList()
            for _ in range(counts[depth]):
                stage.append(level(now + seen.pop(), wide, depth in attention))
                now = wide
            self.up.append(stage)
            if depth > 0:
                self.grow.append(Grow(dims, now))
        self.last_norm = normalisation(now)
        self.leave = convolution(dims, now, channels * patch**dims)
        nn.init.zeros_(self.leave.weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]
        self.memory_format = CHANNELS_LAST.get(dims) if channels_last else None
        if self.memory_format is not None:
            self.to(memory_format=self.memory_format)  # type: ignore[call-overload]

    @property
    def places(self) -> list[tuple[int, int]]:
        """(level, channels) of each residual block on the way down, whose output the way up reads."""
        return [
            (depth, level.block.second.out_channels)
            for depth, stage in enumerate(self.down)
            for level in stage  # type: ignore[attr-defined]  # a list of blocks
        ]

    def told(self, clock: Tensor, cond: Mapping[str, Tensor] | None) -> Tensor:
        """What every residual block is told of clock and condition, `[batch, width]`."""
        return silu(self.conditioning(clock, cond))

    def entered(self, x: Tensor, cond: Mapping[str, Tensor] | None) -> Tensor:
        """The folded state with what is stacked on it after the first convolution, `[batch, width, ...]`."""
        y = fold(stacked(x, cond, self.stacked_channels), self.patch)
        if self.memory_format is not None:
            y = y.contiguous(memory_format=self.memory_format)
        out: Tensor = self.enter(y)
        return out

    def forward(
        self, x: Tensor, clock: Tensor, cond: Mapping[str, Tensor] | None, beside: Beside | None = None
    ) -> Tensor:
        """`[batch, channels, ...]` -> the same; every side must be a multiple of patch 2^(levels - 1).

        Args:
            x: Scaled state.
            clock: log(alpha / sigma), `[batch]`.
            cond: See `core.networks.conditions`.
            beside: What takes part, if anything does.

        Raises:
            ValueError: If a side of the grid is not such a multiple.
        """
        if any(side % self.factor for side in x.shape[2:]):
            raise ValueError(
                f"every side of the grid must be a multiple of {self.factor}, not {tuple(x.shape[2:])}"
            )
        embedding = self.told(clock, cond)
        context, keys = (cond or {}).get("context"), (cond or {}).get("context_keys")

        def run(block: nn.Module, y: Tensor) -> Tensor:
            return saving_memory(self.save_memory, block, y, embedding, context, keys)

        y = self.entered(x, cond)
        seen: list[Tensor] = []
        for depth, stage in enumerate(self.down):
            for block in stage:  # type: ignore[attr-defined]  # a list of blocks
                y = run(block, y)
                y = y if beside is None else beside.down(len(seen), y)
                seen.append(y)
            if depth < len(self.shrink):
                y = self.shrink[depth](y)
        for block in self.middle:
            y = run(block, y)
        y = y if beside is None else beside.middle(y)
        for depth, stage in enumerate(self.up):
            for block in stage:  # type: ignore[attr-defined]
                kept = seen.pop()
                y = run(block, torch.cat([y, kept if beside is None else beside.skip(len(seen), kept)], 1))
            if depth < len(self.grow):
                y = self.grow[depth](y)
        out: Tensor = self.leave(silu(self.last_norm(y)))
        return unfold(out, self.patch).contiguous()
