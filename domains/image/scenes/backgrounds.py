"""What stands behind the objects: plain, gradient, grid, meadow, beach."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.image.scenes.scene import Scenes
from domains.image.scenes.vocabulary import LANDSCAPES, SIDE, TONE_COLOURS, TONE_OTHERS, TONED

Array = NDArray[Any]  # float32; the types of numpy's own operators are wider
_CELL = 9.0  # pixels between the lines of a grid


def paint_backgrounds(scenes: Scenes, canvas: Array, pad: int) -> None:
    """Fills `canvas` `[n, 3, side, side]` within its margin of `pad` pixels; sRGB in [0, 1]."""
    inside = canvas[:, :, pad : pad + SIDE, pad : pad + SIDE]
    near, far = TONE_COLOURS[scenes.tone], TONE_OTHERS[scenes.tone]
    for kind in np.unique(scenes.background):
        rows = np.flatnonzero(scenes.background == kind)
        drift, horizon = scenes.drift[rows], scenes.horizon[rows]
        if kind == 0:
            inside[rows] = near[rows][:, :, None, None]
        elif kind == 1:
            inside[rows] = _mixed(near[rows], far[rows], _slope(drift, horizon))
        elif kind == 2:
            inside[rows] = _mixed(near[rows], far[rows], _lines(drift))
        else:
            inside[rows] = _landscape(LANDSCAPES[kind - TONED], horizon)


def _mixed(near: Array, far: Array, share: Array) -> Array:
    """`[n, 3]`, `[n, 3]` and `[n, side, side]` -> `[n, 3, side, side]`."""
    return near[:, :, None, None] + (far - near)[:, :, None, None] * share[:, None]


def _slope(drift: Array, horizon: Array) -> Array:
    """A ramp over the picture, in one of the directions between left-to-right and top-to-bottom."""
    line = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    a, b = drift[:, None, None], 1 - drift[:, None, None]
    ramp = a * line[None, None, :] + b * line[None, :, None]
    return np.clip(ramp + (0.55 - horizon[:, None, None]), 0, 1)


def _lines(drift: Array) -> Array:
    """Coverage of lines of one pixel, `_CELL` apart, shifted by `drift` cells."""
    place = np.arange(SIDE, dtype=np.float32)[None, :] + 0.5 + _CELL * drift[:, None]
    off = np.abs(place - _CELL * np.floor(place / _CELL) - 0.5 * _CELL)
    line = np.clip(1.0 - off, 0, 1)
    return 0.75 * np.maximum(line[:, None, :], line[:, :, None])


def _landscape(colours: Array, horizon: Array) -> Array:
    """Sky and ground, each a ramp, with a horizon that is one pixel soft."""
    line = (np.arange(SIDE, dtype=np.float32) + 0.5)[None]
    at = (SIDE * horizon)[:, None]
    sky, ground = np.clip(line / at, 0, 1), np.clip((line - at) / (SIDE - at), 0, 1)
    above = colours[0] + (colours[1] - colours[0]) * sky[..., None]
    below = colours[2] + (colours[3] - colours[2]) * ground[..., None]
    share = np.clip(line - at + 0.5, 0, 1)[..., None]
    column: Array = np.moveaxis(above + (below - above) * share, 2, 1)
    return np.broadcast_to(column[..., None], (len(horizon), 3, SIDE, SIDE))
