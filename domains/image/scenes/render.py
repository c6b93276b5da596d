"""The renderer: scenes to pictures and to their truth, many at once.

An object is computed on a patch around its centre: signed distance, light, relief and texture at the centre of each
pixel; coverage is the distance to the border, clipped to one pixel.  Patches are laid over the background from the
farthest to the nearest.  Float32 throughout and free of functions that machines round differently, so a scene's
picture is the same bytes on every machine and in every batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.image.scenes.backgrounds import paint_backgrounds
from domains.image.scenes.scene import Scenes
from domains.image.scenes.silhouettes import SURFACES
from domains.image.scenes.vocabulary import HALVES, OBJECTS, OUTLINE, PALETTE, SECOND, SIDE

Array = NDArray[Any]  # float32; the types of numpy's own operators are wider
_PAD = 8  # pixels around the picture into which a patch may reach
_WIDE = SIDE + 2 * _PAD
_CHUNK = 64  # scenes at a time: what is worked on stays in the cache
_LINE = 1.15  # pixels, of an outline
_RELIEF = 0.08  # depth that a surface comes forward


@dataclass(frozen=True)
class Rendered:
    """Pictures and what is exactly where in them.

    Attributes:
        images: uint8 `[n, 3, 64, 64]`, sRGB.
        objects: int8 `[n, 64, 64]`: which object is seen at the centre of a pixel, -1 for the background.
        whole: bool `[n, 3, 64, 64]`: each object's silhouette as if nothing stood before it.
        depth: float32 `[n, 64, 64]`: distance of what is seen; 1 is the background.
    """

    images: NDArray[np.uint8]
    objects: NDArray[np.int8]
    whole: NDArray[np.bool_]
    depth: Array


def render(scenes: Scenes) -> Rendered:
    """Pictures of scenes, with their truth."""
    n = len(scenes)
    out = Rendered(
        np.empty((n, 3, SIDE, SIDE), np.uint8),
        np.empty((n, SIDE, SIDE), np.int8),
        np.empty((n, OBJECTS, SIDE, SIDE), np.bool_),
        np.empty((n, SIDE, SIDE), np.float32),
    )
    for first in range(0, n, _CHUNK):
        _render_chunk(scenes.take(slice(first, first + _CHUNK)), out, slice(first, min(n, first + _CHUNK)))
    return out


@dataclass(frozen=True)
class _Patches:
    """Objects of one size on patches of one width; pixels flattened.

    Attributes:
        scene, slot, rank: Which scene, which object of it, and how many objects lie behind it `[m]`.
        place: Index of each pixel into a flat padded canvas of all scenes `[m, pixels]`.
        cover, shadow: Shares `[m, pixels]`.
        colour: `[3, m, pixels]`.
        solid: Whether the pixel's centre is within the silhouette `[m, pixels]`.
        depth: `[m, pixels]`.
    """

    scene: NDArray[np.int64]
    slot: NDArray[np.int64]
    rank: NDArray[np.int64]
    place: NDArray[np.int64]
    cover: Array
    shadow: Array
    colour: Array
    solid: NDArray[np.bool_]
    depth: Array


def _render_chunk(scenes: Scenes, out: Rendered, rows: slice) -> None:
    n = len(scenes)
    canvas = np.zeros((n, 3, _WIDE, _WIDE), np.float32)
    paint_backgrounds(scenes, canvas, _PAD)
    planes = canvas.reshape(n, 3, -1)
    seen = np.full((n, _WIDE * _WIDE), -1, np.int8)
    depth = np.ones((n, _WIDE * _WIDE), np.float32)
    whole = np.zeros((n, OBJECTS, _WIDE * _WIDE), np.bool_)
    parts = [p for size in range(len(HALVES)) if (p := _patches(scenes, size)) is not None]
    for rank in range(OBJECTS):
        for part in parts:
            chosen = np.flatnonzero(part.rank == rank)
            if not len(chosen):
                continue
            scene, slot, place = part.scene[chosen, None], part.slot[chosen, None], part.place[chosen]
            cover, shadow, solid = part.cover[chosen], part.shadow[chosen], part.solid[chosen]
            keep = 1 - shadow
            for c in range(3):
                under = planes[scene, c, place] * keep
                planes[scene, c, place] = under + (part.colour[c, chosen] - under) * cover
            seen[scene, place] = np.where(solid, slot.astype(np.int8), seen[scene, place])
            depth[scene, place] = np.where(solid, part.depth[chosen], depth[scene, place])
            whole[scene, slot, place] = solid
    inner = (..., slice(_PAD, _PAD + SIDE), slice(_PAD, _PAD + SIDE))
    out.images[rows] = np.rint(np.clip(canvas[inner], 0, 1) * 255).astype(np.uint8)
    out.objects[rows] = seen.reshape(n, _WIDE, _WIDE)[inner]
    out.depth[rows] = depth.reshape(n, _WIDE, _WIDE)[inner]
    out.whole[rows] = whole.reshape(n, OBJECTS, _WIDE, _WIDE)[inner]


def ranks(scenes: Scenes) -> NDArray[np.int64]:
    """How many of a scene's objects lie behind each, `[n, 3]`; of two at one depth the later in the list is nearer."""
    behind = scenes.depth[:, None, :] > scenes.depth[:, :, None]
    tied = scenes.depth[:, None, :] == scenes.depth[:, :, None]
    earlier = np.tri(OBJECTS, k=-1, dtype=bool)
    both: NDArray[np.int64] = ((behind | (tied & earlier)) & scenes.present[:, None, :]).sum(2)
    return both


def _patches(scenes: Scenes, size: int) -> _Patches | None:
    scene, slot = np.nonzero(scenes.present & (scenes.size == size))
    if not len(scene):
        return None
    order = np.argsort(scenes.shape[scene, slot], kind="stable")
    scene, slot = scene[order], slot[order]
    shape = scenes.shape[scene, slot]
    r = scenes.radius[scene, slot][:, None]
    half, side = HALVES[size], 2 * HALVES[size]
    x, y = scenes.x[scene, slot], scenes.y[scene, slot]
    left, top = np.floor(x).astype(np.int64) - half, np.floor(y).astype(np.int64) - half
    down, right = np.divmod(np.arange(side * side), side)
    place = (top[:, None] + down + _PAD) * _WIDE + (left[:, None] + right + _PAD)
    dx = (right.astype(np.float32) + 0.5) + (left - x).astype(np.float32)[:, None]
    dy = (down.astype(np.float32) + 0.5) + (top - y).astype(np.float32)[:, None]
    t = scenes.tilt[scene, slot][:, None]
    cosine, sine = (
        (1 - t * t) / (1 + t * t),
        2 * t / (1 + t * t),
    )  # of the angle: exact, without a library's sine
    p, q = dx * cosine + dy * sine, dy * cosine - dx * sine
    u, v = p / r, q / r

    distance, flat, shaded, relief = (np.empty_like(u) for _ in range(4))
    bounds = np.searchsorted(shape, np.arange(len(SURFACES) + 1))
    for kind, surface in enumerate(SURFACES):
        rows = slice(bounds[kind], bounds[kind + 1])
        if rows.start < rows.stop:
            distance[rows], flat[rows], shaded[rows], relief[rows] = surface(u[rows], v[rows])
    distance *= r
    soft = (scenes.style[scene] == 1)[:, None]
    light = np.where(soft, shaded, flat)
    second = _texture(p, q, r, scenes.texture[scene, slot])
    line = np.where(soft, np.float32(0), np.clip(distance + (_LINE + 0.5), 0, 1))
    colour = scenes.colour[scene, slot]
    dark, bright = np.minimum(light, 1), np.maximum(light - 1, 0)
    base, other, edge = PALETTE[colour], SECOND[colour], OUTLINE[colour]
    planes = np.empty((3, *u.shape), np.float32)
    for c in range(3):
        tone = base[:, c, None] + (other - base)[:, c, None] * second
        tone *= dark
        tone += (1 - tone) * bright
        tone += (edge[:, c, None] - tone) * line
        planes[c] = tone
    # A shadow on the ground below the object, of the shaded style alone.
    a, b = dx / (1.1 * r), (dy - 0.92 * r) / (0.30 * r)
    fade = np.maximum(1 - a * a - b * b, 0)
    shadow = np.where(soft, 0.55 * fade * (2 - fade), np.float32(0))
    near = scenes.depth[scene, slot][:, None] - _RELIEF * (r * (1 / 14)) * relief
    rank = ranks(scenes)[scene, slot]
    cover, solid = np.clip(0.5 - distance, 0, 1), distance <= 0
    return _Patches(scene, slot, rank, place, cover, shadow, planes, solid, near)


def _texture(p: Array, q: Array, r: Array, kinds: NDArray[np.int64]) -> Array:
    """Share of the second tone at points `p`, `q` in pixels, `[m, pixels]`."""
    share = np.zeros_like(p)
    period = 2.7 + 0.24 * r
    for kind in range(1, 4):
        rows = np.flatnonzero(kinds == kind)
        if not len(rows):
            continue
        a, b, w = p[rows], q[rows], period[rows]
        if kind == 1:  # diagonal stripes
            share[rows] = np.clip(_wave((a + b) * 0.7071 / w) * w + 0.5, 0, 1)
        elif kind == 2:  # dots, one in the centre
            a, b = a / (1.15 * w), b / (1.15 * w)
            a, b = a - np.floor(a + 0.5), b - np.floor(b + 0.5)
            share[rows] = np.clip((0.31 - np.sqrt(a * a + b * b)) * (1.15 * w) + 0.5, 0, 1)
        else:  # checks of half a period and a bit
            w = 1.25 * w
            along = np.clip(_wave(a / w + 0.25) * w * 2, -1, 1) * np.clip(_wave(b / w + 0.25) * w * 2, -1, 1)
            share[rows] = 0.5 + 0.5 * along
    return share


def _wave(s: Array) -> Array:
    """A triangle wave of period 1 between -1/4 and 1/4, whose slope is 1: a signed distance to a band's border."""
    off: Array = np.abs(s - np.floor(s) - 0.5) - 0.25
    return off
