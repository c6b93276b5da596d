"""A transformer on points and pairs: graphs, and graphs in space whose turning turns the answer with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.networks.embeddings import ClockEmbedding

_NEAR = 1e-6  # squared distance that is added under a root, so that its derivative stays finite


class PairBlock(nn.Module):
    """Pairs learn from their two points and their distance, points from each other by way of pairs, places from pairs.

    Attention between points is biased and gated by what their pair holds (Vignac et al. 2023, DiGress, fig. 3; Dwivedi
    & Bresson 2021); places move along the differences of places by a scalar of the pair (Satorras et al. 2021, EGNN,
    eq. 4), which makes them turn with their input and everything else stay.

    Args:
        width: Features of a point.
        pair: Features of a pair.
        heads: Divides `width`.
        expansion: Of the points' feed-forward layer.
        bases: Radial functions of the distance; 0 where there are no places.
    """

    def __init__(self, width: int, pair: int, heads: int, expansion: int, bases: int) -> None:
        super().__init__()
        self.heads = heads
        self.point_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.feed_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.pair_norm = nn.LayerNorm(pair)
        self.modulation = nn.Linear(width, 6 * width)
        self.from_points = nn.Linear(width, 2 * pair)
        self.from_distance = nn.Linear(bases, pair, bias=False) if bases else None
        self.pair_feed = nn.Sequential(nn.Linear(pair, 2 * pair), nn.SiLU(), nn.Linear(2 * pair, pair))
        self.qkv = nn.Linear(width, 3 * width)
        self.bias_and_gate = nn.Linear(pair, 2 * heads)
        self.out = nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, expansion * width), nn.SiLU(), nn.Linear(expansion * width, width)
        )
        self.push = nn.Sequential(nn.Linear(pair, pair), nn.SiLU(), nn.Linear(pair, 1)) if bases else None
        for zero in (self.modulation, self.pair_feed[2], *([self.push[2]] if self.push is not None else [])):
            nn.init.zeros_(zero.weight)  # type: ignore[arg-type]  # the block starts as the identity
            nn.init.zeros_(zero.bias)  # type: ignore[arg-type]

    def forward(
        self, points: Tensor, pairs: Tensor, clock: Tensor, space: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """(points, pairs, move) after the block.

        Args:
            points: `[batch, n, width]`.
            pairs: `[batch, n, n, pair]`, symmetric.
            clock: `[batch, width]`.
            space: Unit differences `[batch, n, n, 3]` and radial features `[batch, n, n, bases]`, or None.
        """
        shift, scale, gate, feed_shift, feed_scale, feed_gate = self.modulation(clock)[:, None].chunk(6, -1)
        x = self.point_norm(points) * (1 + scale) + shift
        mine, other = self.from_points(x).chunk(2, -1)
        # Symmetric in the two points, since a bond has no direction.
        y = self.pair_norm(pairs) + mine[:, :, None] * mine[:, None] + other[:, :, None] + other[:, None]
        if self.from_distance is not None and space is not None:
            y = y + self.from_distance(space[1])
        pairs = pairs + self.pair_feed(y)
        batch, n, width = points.shape
        q, k, v = self.qkv(x).reshape(batch, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias, through = self.bias_and_gate(pairs).permute(0, 3, 1, 2).chunk(2, 1)
        weights = (q @ k.mT / q.shape[-1] ** 0.5 + bias).softmax(-1) * through.sigmoid()
        points = points + gate * self.out((weights @ v).transpose(1, 2).reshape(batch, n, width))
        x = self.feed_norm(points) * (1 + feed_scale) + feed_shift
        points = points + feed_gate * self.feed(x)
        move = None
        if self.push is not None and space is not None:
            move = (self.push(pairs) * space[0]).sum(2) / n**0.5
        return points, pairs, move


class PairTransformer(nn.Module):
    """Points with features, pairs with features, and places if there are any, all read and written together.

    With places it is equivariant to turning, mirroring and renumbering, and blind to shifts; without, to renumbering
    (DiGress; MiDi, Vignac et al. 2023b).

    Args:
        points: Features of a point that come in.
        pairs: Features of a pair that come in.
        point_outputs: Numbers a point that go out.
        pair_outputs: Numbers a pair that go out.
        width: Features of a point within.
        pair: Features of a pair within.
        depth, heads, expansion: Of the blocks.
        clocks: Clocks that are told, one a part of the state.
        vector: Features of a condition `[batch, vector]`, of which zeros say nothing; 0 is none.
        places: Whether there are places.
        bases: Radial functions of distances.
    """

    def __init__(
        self,
        points: int,
        pairs: int,
        point_outputs: int,
        pair_outputs: int,
        width: int = 128,
        pair: int = 64,
        depth: int = 6,
        heads: int = 8,
        expansion: int = 2,
        clocks: int = 1,
        vector: int = 0,
        places: bool = True,
        bases: int = 16,
    ) -> None:
        super().__init__()
        self.places, self.bases = places, bases
        self.clocks = nn.ModuleList(ClockEmbedding(width) for _ in range(clocks))
        self.vector = nn.Linear(vector, width, bias=False) if vector else None
        self.enter_points, self.enter_pairs = nn.Linear(points, width), nn.Linear(pairs, pair)
        self.blocks = nn.ModuleList(
            PairBlock(width, pair, heads, expansion, 2 * bases if places else 0) for _ in range(depth)
        )
        self.point_norm, self.pair_norm = nn.LayerNorm(width), nn.LayerNorm(pair)
        self.leave_points = nn.Linear(width, point_outputs)
        self.leave_pairs = nn.Linear(pair, pair_outputs)

    def forward(
        self,
        points: Tensor,
        pairs: Tensor,
        places: Tensor | None,
        clocks: list[Tensor],
        vector: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """(point outputs `[batch, n, .]`, pair outputs `[batch, n, n, .]`, move of each place `[batch, n, 3]` or None).

        Args:
            points: `[batch, n, points]`.
            pairs: `[batch, n, n, pairs]`, symmetric.
            places: `[batch, n, 3]` of about unit scale, or None.
            clocks: log(alpha / sigma), `[batch]` each.
            vector: `[batch, vector]`, or None.

        Raises:
            ValueError: If places are given to a network without them, or lack.
        """
        if (places is not None) != self.places:
            raise ValueError("places are given" if places is not None else "places are lacking")
        told = torch.stack([embed(c) for embed, c in zip(self.clocks, clocks, strict=True)]).sum(0)
        if self.vector is not None and vector is not None:
            told = told + self.vector(vector.to(told.dtype))
        told = functional.silu(told)
        h, e = self.enter_points(points), self.enter_pairs(pairs)
        first = now = places
        distances = None
        for block in self.blocks:
            space = None
            if now is not None and first is not None:
                units, radii = _geometry(now)
                distances = radii if distances is None else distances
                space = units, torch.cat([self._radial(radii), self._radial(distances)], -1).to(h.dtype)
            h, e, move = block(h, e, told, space)
            if now is not None and move is not None:
                now = now + move.to(now.dtype)
        moved = None if now is None or first is None else now - first
        pair_out = self.leave_pairs(self.pair_norm(e))
        return self.leave_points(self.point_norm(h)), (pair_out + pair_out.transpose(1, 2)) / 2, moved

    def _radial(self, distance: Tensor) -> Tensor:
        """`[batch, n, n]` -> `[batch, n, n, bases]`: bells whose centres lie even in log(1 + distance)."""
        centres = torch.linspace(0, 2.5, self.bases, device=distance.device, dtype=distance.dtype)
        spread = 2.5 / (self.bases - 1)
        return torch.exp(-(((distance.log1p()[..., None] - centres) / spread) ** 2))


def _geometry(places: Tensor) -> tuple[Tensor, Tensor]:
    """Differences over one plus their length `[batch, n, n, 3]`, and lengths `[batch, n, n]`."""
    with torch.autocast(places.device.type, enabled=False):
        places = places.float() if places.dtype in (torch.bfloat16, torch.float16) else places
        differences = places[:, :, None] - places[:, None]
        lengths = (differences.square().sum(-1) + _NEAR).sqrt()
        return differences / (1 + lengths[..., None]), lengths
