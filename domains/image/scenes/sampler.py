"""Scenes drawn at random: scene `i` of seed `s` of a split is the same on any machine and in any batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from core.noise import Noise
from domains.common.errors import BadInput
from domains.image.scenes.scene import Floats, Scenes, Whole
from domains.image.scenes.vocabulary import (
    BACKGROUNDS,
    COLOURS,
    HELD_OUT,
    OBJECTS,
    RADII,
    SHAPES,
    SIDE,
    SIZES,
    STYLES,
    TEXTURES,
    TILT,
    TONED,
    TONES,
)

Split = Literal["train", "val", "test"]
Kind = Literal["any", "single", "binding", "relation", "held-out", "all"]

_ATTEMPTS = 24  # layouts tried for a scene
_PER_OBJECT = 6  # numbers drawn for an object besides its place
_GLOBAL = 7
_NUMBERS = _GLOBAL + OBJECTS * _PER_OBJECT + _ATTEMPTS * OBJECTS * 2
_COUNTS = (0.30, 0.70)  # one object below the first, three above the second
_TOUCHING = 0.4  # share of scenes in which two objects overlap
# How far a centre lies outside the larger of two objects, in radii of the smaller: least where objects may overlap,
# most where they do, least where they are apart.
_OVERLAP, _CLOSE, _APART = 0.1, 0.5, 1.12
_CLEAR = 10.0  # pixels between centres for a relation that can be told at a glance

_ALL_PAIRS = np.array([(c, s) for c in range(len(COLOURS)) for s in range(len(SHAPES))])
_ASIDE = np.array([(COLOURS.index(c), SHAPES.index(s)) for c, s in HELD_OUT])
_TRAINED = np.array([pair for pair in _ALL_PAIRS.tolist() if pair not in _ASIDE.tolist()])


def draw_scenes(
    seed: int, index: Sequence[int] | range | int, split: Split = "train", kind: Kind = "any"
) -> Scenes:
    """Scenes at random.

    Args:
        seed: 0 to 2**31 - 1.
        index: Which scenes, each 0 to 2**32 - 1; a number n means the first n.
        split: The three have no scene in common; none of them shows a held-out pair unless `kind` asks for it.
        kind: `any`; `single` object; `binding`, two objects that differ in colour and in shape; `relation`, the same
            with centres well apart along one axis; `held-out`, one or two objects, the first a pair of colour and
            shape that is never trained on; `all`, as `any`, but every pair may occur (for networks that judge).

    Raises:
        BadInput: If an argument is out of range.
    """
    indices = range(index) if isinstance(index, int) else index
    if not 0 <= seed < 1 << 31:
        raise BadInput("seed", "give a whole number from 0 to 2147483647")
    if any(not 0 <= i < 1 << 32 for i in indices):
        raise BadInput("index", "give whole numbers from 0 to 4294967295")
    if split not in get_args(Split) or kind not in get_args(Kind):
        raise BadInput("split", "choose train, val or test, and a kind that the documentation names")
    seeds = tuple(seed << 32 | int(i) for i in indices)
    like = torch.empty(len(seeds), _NUMBERS, dtype=torch.float64)
    numbers = Noise(seeds, ("scenes", split, kind)).uniform(like).numpy()
    return _scenes(numbers, kind)


def _scenes(numbers: NDArray[np.float64], kind: Kind) -> Scenes:
    n = len(numbers)
    whole, rest = numbers[:, :_GLOBAL], numbers[:, _GLOBAL:]
    of_object = rest[:, : OBJECTS * _PER_OBJECT].reshape(n, OBJECTS, _PER_OBJECT)
    places = rest[:, OBJECTS * _PER_OBJECT :].reshape(n, _ATTEMPTS, OBJECTS, 2)
    count = _counts(whole[:, 0], kind)
    present = np.arange(OBJECTS) < count[:, None]
    pairs = _ALL_PAIRS if kind == "all" else _TRAINED
    pair = pairs[_pick(of_object[..., 0], len(pairs))]
    if kind == "held-out":
        pair[:, 0] = _ASIDE[_pick(of_object[:, 0, 0], len(_ASIDE))]
    if kind in ("binding", "relation", "held-out"):
        pair[:, 1] = _unlike(pair[:, 0], of_object[:, 1, 0])
    size = _pick(of_object[..., 1], len(SIZES))
    low, high = RADII[size].transpose(2, 0, 1).astype(np.float64)
    radius = (low + (high - low) * of_object[..., 2]).astype(np.float32)
    # Plain half of the time, as most things are.
    texture = np.maximum(_pick(of_object[..., 3], 2 * (len(TEXTURES) - 1)) - 2, 0)
    x, y = _layout(places, radius, count, whole[:, 1], kind)
    # Each object in a band of depth of its own, the bands in a random order.
    order = of_object[..., 4].argsort(1).argsort(1)
    depth = 0.2 + 0.22 * order + 0.1 * of_object[..., 5]
    tilt = TILT * (2 * of_object[..., 2] - 1) * np.where(order == 1, 1, -1)
    background = _pick(whole[:, 2], len(BACKGROUNDS))
    tone = np.where(background < TONED, _pick(whole[:, 3], len(TONES)), 0)

    def kept(values: NDArray[np.generic], absent: float = 0) -> NDArray[np.generic]:
        return np.where(present, values, np.asarray(absent, values.dtype))

    wide: dict[str, NDArray[np.generic]] = {
        "shape": kept(pair[..., 1]),
        "colour": kept(pair[..., 0]),
        "size": kept(size),
        "texture": kept(texture),
    }
    real = {"x": x, "y": y, "radius": radius, "tilt": tilt.astype(np.float32)}
    wide |= {name: kept(values) for name, values in real.items()}
    wide["depth"] = kept(depth.astype(np.float32), 1)
    return Scenes(
        count=count,
        **wide,  # type: ignore[arg-type]
        background=background,
        tone=tone,
        style=_pick(whole[:, 4], len(STYLES)),
        horizon=(0.45 + 0.25 * whole[:, 5]).astype(np.float32),
        drift=whole[:, 6].astype(np.float32),
    )


def _pick(u: NDArray[np.float64], choices: int) -> Whole:
    return np.floor(u * choices).astype(np.int64)


def _counts(u: NDArray[np.float64], kind: Kind) -> Whole:
    if kind == "single":
        return np.ones(len(u), np.int64)
    if kind in ("binding", "relation"):
        return np.full(len(u), 2, np.int64)
    if kind == "held-out":
        return np.where(u < 0.5, 1, 2)
    return 1 + (u >= _COUNTS[0]).astype(np.int64) + (u >= _COUNTS[1])


def _unlike(first: Whole, u: NDArray[np.float64]) -> Whole:
    """For each pair `[n, 2]` a trained pair of another colour and another shape."""
    fits = (_TRAINED[None, :, 0] != first[:, :1]) & (_TRAINED[None, :, 1] != first[:, 1:])
    chosen = np.floor(u * fits.sum(1)).astype(np.int64)
    found: Whole = _TRAINED[(fits.cumsum(1) > chosen[:, None]).argmax(1)]
    return found


def _layout(
    places: NDArray[np.float64], radius: Floats, count: Whole, mood: NDArray[np.float64], kind: Kind
) -> tuple[Floats, Floats]:
    """Centres `[n, 3]`: of each scene's layouts the first that leaves every object well in sight."""
    low = (radius + 1.5)[:, None, :, None]
    centres = (low + (SIDE - low - low) * places).astype(np.float32)
    touching = (mood < _TOUCHING)[:, None] & (count > 1)[:, None] & (kind != "relation")
    centres[:, :, 1] = np.where(touching[..., None], _beside(centres, places, radius), centres[:, :, 1])
    edge = (radius + 1.5)[:, None, :, None]
    framed = ((centres >= edge) & (centres <= SIDE - edge)).all((2, 3))
    rooms, spans = [], []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        step = np.abs(centres[:, :, i] - centres[:, :, j])
        larger, smaller = np.maximum(radius[:, i], radius[:, j]), np.minimum(radius[:, i], radius[:, j])
        far = (np.sqrt((step * step).sum(-1)) - larger[:, None]) / np.maximum(smaller, 1)[:, None]
        rooms.append(np.where((count > j)[:, None], far, np.float32(9)))
        spans.append(step)
    room = np.stack(rooms, -1).min(-1)
    fine = framed & np.where(touching, (room >= _OVERLAP) & (room <= _CLOSE), room >= _APART)
    if kind == "relation":
        longer, shorter = spans[0].max(-1), spans[0].min(-1)
        fine &= (longer >= _CLEAR) & (longer >= 1.4 * shorter)
    # Where none of the layouts will do, the one with most room; single objects have room everywhere.
    fine |= (count == 1)[:, None]
    best = np.where(fine.any(1), fine.argmax(1), np.where(framed, room, -9).argmax(1))
    chosen = centres[np.arange(len(best)), best]
    return chosen[..., 0], chosen[..., 1]


def _beside(centres: Floats, places: NDArray[np.float64], radius: Floats) -> Floats:
    """Centres `[n, attempts, 2]` for the second object in any direction from the first, so near that they overlap."""
    way = places[:, :, 1] - 0.5
    way = way / np.maximum(np.sqrt((way * way).sum(-1, keepdims=True)), 1e-9)
    larger, smaller = np.maximum(radius[:, 0], radius[:, 1]), np.minimum(radius[:, 0], radius[:, 1])
    # The third object's place is as good a source as any of how near they are.
    near = _OVERLAP + 0.01 + (_CLOSE - _OVERLAP - 0.02) * places[:, :, 2, 0]
    far = larger[:, None] + near * smaller[:, None]
    found: Floats = (centres[:, :, 0] + far[..., None] * way).astype(np.float32)
    return found
