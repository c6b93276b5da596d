"""Hints: pictures of what is wanted where, made from scenes for training and read from people's files.

edges          1 channel, 1 on borders
scribble       1 channel, borders drawn thick by an unsteady hand
depth          1 channel, 1 near, 0 far and background
segmentation   a channel a shape, 1 where that shape is seen
keypoints      5 channels, a soft dot at each centre, left-, right-, top- and bottommost point in sight
"""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.common.errors import BadInput
from domains.image.requests import HintKind
from domains.image.scenes.truth import KEYPOINTS, Truth
from domains.image.scenes.vocabulary import SHAPES, SIDE

_DOT = 1.6  # pixels, spread of a keypoint's dot
# Colours of a segmentation as people paint it, one a shape; anything far from all of them is background.
PAINT: NDArray[np.uint8] = np.array(
    [
        (230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48),
        (145, 30, 180), (70, 240, 240), (240, 50, 230), (210, 245, 60), (250, 190, 212),
    ][: len(SHAPES)],
    np.uint8,
)  # fmt: skip
_NEAR_ENOUGH = 60.0  # distance in RGB


def channels(kind: HintKind) -> int:
    """Channels of a hint."""
    return {"segmentation": len(SHAPES), "keypoints": len(KEYPOINTS)}.get(kind, 1)


def make_hint(kind: HintKind, truth: Truth, rng: np.random.Generator) -> Tensor:
    """The hint of true scenes, float32 `[n, channels, 64, 64]` in [0, 1].

    Args:
        kind: Which.
        truth: The scenes.
        rng: For scribbles, whose hand shakes.
    """
    made: NDArray[np.floating] = _MAKERS[kind](truth, rng)
    return torch.from_numpy(made.astype(np.float32))


def _edges(truth: Truth, _: np.random.Generator) -> NDArray[np.floating]:
    return truth.edges[:, None].astype(np.float32)


def _scribble(truth: Truth, rng: np.random.Generator) -> NDArray[np.floating]:
    out = np.zeros((len(truth.edges), SIDE, SIDE), bool)
    for picture, edges in zip(out, truth.edges, strict=True):
        y, x = np.nonzero(edges)
        # A slow wave moves whole strokes, as a hand does; three pixels wide.
        phase = rng.uniform(0, 2 * np.pi, 4)
        dy = 1.6 * np.sin(x / 9 + phase[0]) + 0.8 * np.sin(y / 5 + phase[1])
        dx = 1.6 * np.sin(y / 9 + phase[2]) + 0.8 * np.sin(x / 5 + phase[3])
        for down in (0, 1):
            for right in (0, 1):
                rows = (np.round(y + dy) + down).astype(int).clip(0, SIDE - 1)
                columns = (np.round(x + dx) + right).astype(int).clip(0, SIDE - 1)
                picture[rows, columns] = True
    return out[:, None].astype(np.float32)


def _depth(truth: Truth, _: np.random.Generator) -> NDArray[np.floating]:
    near = (1 - truth.rendered.depth).clip(0, 1)
    return np.where(truth.rendered.objects >= 0, near, 0)[:, None]


def _segmentation(truth: Truth, _: np.random.Generator) -> NDArray[np.floating]:
    return (truth.classes[:, None] == np.arange(len(SHAPES))[:, None, None]).astype(np.float32)


def _keypoints(truth: Truth, _: np.random.Generator) -> NDArray[np.floating]:
    n = len(truth.classes)
    line = np.arange(SIDE) + 0.5
    out = np.zeros((n, len(KEYPOINTS), SIDE, SIDE), np.float32)
    for i, k, place in zip(*np.nonzero(truth.visible), strict=True):
        x, y = truth.keypoints[i, k, place]
        dot = np.exp(-((line - x) ** 2)[None] / (2 * _DOT**2)) * np.exp(
            -((line - y) ** 2)[:, None] / (2 * _DOT**2)
        )
        np.maximum(out[i, place], dot, out=out[i, place])
    return out


_MAKERS: dict[str, Callable[[Truth, np.random.Generator], NDArray[np.floating]]] = {
    "edges": _edges,
    "scribble": _scribble,
    "depth": _depth,
    "segmentation": _segmentation,
    "keypoints": _keypoints,
}
assert set(_MAKERS) == set(get_args(HintKind))


def read_hint(kind: HintKind, pixels: NDArray[np.uint8]) -> Tensor:
    """A person's picture as a hint, float32 `[1, channels, 64, 64]`.

    Args:
        kind: Which; white on black for edges and scribbles, near things light for depth, `PAINT` for segmentation,
            and for keypoints the dots of one object's centres and extreme points in the first five of these colours.
        pixels: uint8 `[64, 64, 3]`.

    Raises:
        BadInput: If nothing is drawn.
    """
    light = pixels.astype(np.float32).mean(-1) / 255
    if kind == "depth":
        found = light[None]
    elif kind in ("edges", "scribble"):
        found = (light > 0.5).astype(np.float32)[None]
    else:
        apart = np.linalg.norm(pixels.astype(np.float32)[:, :, None] - PAINT.astype(np.float32), axis=-1)
        chosen = np.where(apart.min(-1) < _NEAR_ENOUGH, apart.argmin(-1), -1)
        found = (chosen[None] == np.arange(channels(kind))[:, None, None]).astype(np.float32)
    if not found.any():
        raise BadInput(
            "hint", f"shows nothing that can be read as {kind}; see the documentation for its colours"
        )
    return torch.from_numpy(np.ascontiguousarray(found))[None]


def shown_hint(kind: HintKind, hint: Tensor) -> NDArray[np.uint8]:
    """A hint `[channels, 64, 64]` as people see and paint it, uint8 `[64, 64, 3]`; what `read_hint` reads."""
    values = hint.cpu().numpy()
    if channels(kind) == 1:
        return np.repeat((values[0] * 255).clip(0, 255).astype(np.uint8)[..., None], 3, -1)
    painted: NDArray[np.uint8] = np.where(
        values.max(0)[..., None] > 0.5, PAINT[values.argmax(0)], np.zeros(3, np.uint8)
    ).astype(np.uint8)
    return painted
