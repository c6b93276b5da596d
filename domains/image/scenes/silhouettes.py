"""The eight shapes: signed distance, light and relief at points of the plane, and their outlines as polygons.

Every function takes coordinates `u` (right) and `v` (down) in units of the object's radius and returns arrays of their
shape: the signed distance to the silhouette in the same unit (negative inside; exact to first order at the border,
which is what coverage needs), the light of the flat and of the shaded style (1 is the colour itself, less is darker,
more goes towards white), and the relief, how far the surface comes forward (0 to 1).  Distances of star and heart are
after Inigo Quilez, "2D distance functions".  Only +, -, *, /, square roots and comparisons are used: these are rounded
alike on every machine, so pictures are equal bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # float32; the types of numpy's own operators are wider

_BALL = 0.94
_RING, _THICK = 0.68, 0.27
_CUBE, _FACE = 0.86, 0.40  # half the side of the box; where the front face ends
_CYLINDER, _BODY, _CAP = (
    0.70,
    0.64,
    0.26,
)  # half width, half height of the straight part, half height of the ends
_CONE, _FOOT, _SAG, _APEX = 0.86, 0.62, 0.26, -0.96
_ARM, _REACH = 0.33, 0.90
_STAR, _WAIST, _DROP = 1.04, 0.50, 0.08
_HEART = 1.62  # width of the unit heart of the formula, which is about 1.2, in radii


class Surface(NamedTuple):
    """A shape at points; see the module."""

    distance: Array
    flat: Array
    shaded: Array
    relief: Array


def _ball(u: Array, v: Array) -> Surface:
    square = u * u + v * v
    up = np.sqrt(np.maximum(1 - square * (1 / _BALL**2), 0))
    glint = np.where((u + 0.36) ** 2 + (v + 0.38) ** 2 < 0.04, np.float32(1.6), np.float32(1))
    return Surface(np.sqrt(square) - _BALL, glint, _lit(u * (1 / _BALL), v * (1 / _BALL), up), up)


def _lit(x: Array, y: Array, up: Array) -> Array:
    """Light on a smooth surface with normal (x, y, up): ambient, diffuse, and a gloss."""
    facing = np.maximum(0.68 * up - 0.46 * x - 0.57 * y, 0)
    gloss = facing * facing
    gloss = gloss * gloss
    gloss = gloss * gloss
    gloss = gloss * gloss
    return 0.42 + 0.62 * facing + 0.5 * gloss * gloss


def _ring(u: Array, v: Array) -> Surface:
    far = np.sqrt(u * u + v * v)
    off = far - _RING
    across = off * (1 / _THICK)
    up = np.sqrt(np.maximum(1 - across * across, 0))
    turn = across / np.maximum(far, 1e-3)
    return Surface(np.abs(off) - _THICK, np.ones_like(u), _lit(u * turn, v * turn, up), 0.5 * up)


def _cube(u: Array, v: Array) -> Surface:
    both = u + v
    cut = (np.abs(both) - (_CUBE + _FACE)) * math.sqrt(0.5)
    distance = np.maximum(np.maximum(np.abs(u), np.abs(v)) - _CUBE, cut)
    front = (u < _FACE) & (v > -_FACE)
    top = ~front & (both < 0)
    flat = np.where(front, np.float32(1), np.where(top, np.float32(1.3), np.float32(0.66)))
    slope = 0.06 * (u + v)
    shaded = np.where(front, 0.9 - slope, np.where(top, np.float32(1.25), np.float32(0.5)))
    back = np.maximum(np.maximum(u - _FACE, -_FACE - v), 0) * (1 / (_CUBE - _FACE))
    return Surface(distance, flat, shaded, 1 - back)


def _rounded(u: Array, w: Array, a: float, b: float) -> Array:
    """First-order distance to (u/a)^2 + (w/b)^2 = 1."""
    p, q = u * (1 / a), w * (1 / b)
    slope = 2 * np.sqrt((p * (1 / a)) ** 2 + (q * (1 / b)) ** 2)
    return (p * p + q * q - 1) / np.maximum(slope, 0.5)


def _cylinder(u: Array, v: Array) -> Surface:
    distance = _rounded(u, np.maximum(np.abs(v) - _BODY, 0), _CYLINDER, _CAP)
    across = np.clip(u * (1 / _CYLINDER), -1, 1)
    lid = across * across + ((v + _BODY) * (1 / _CAP)) ** 2 < 1
    up = np.sqrt(1 - across * across)
    flat = np.where(lid, np.float32(1.38), np.where(across > 0.45, np.float32(0.8), np.float32(1)))
    shaded = np.where(lid, np.float32(1.2), _lit(across, np.float32(-0.1) * up, up))
    return Surface(distance, flat, shaded, np.where(lid, np.float32(0.5), up))


def _cone(u: Array, v: Array) -> Surface:
    height, length = _FOOT - _APEX, math.hypot(_FOOT - _APEX, _CONE)
    side = (np.abs(u) * height - (v - _APEX) * _CONE) * (1 / length)
    distance = np.where(v > _FOOT, _rounded(u, np.maximum(v - _FOOT, 0), _CONE, _SAG), side)
    width = np.clip((v - _APEX) * (_CONE / height), 0.05, _CONE)
    across = np.clip(u / width, -1, 1)
    up = np.sqrt(1 - across * across)
    flat = np.where(across > 0.3, np.float32(0.72), np.float32(1))
    return Surface(distance, flat, _lit(across, np.float32(-0.3) * up, up), up * width)


def _bevelled(u: Array, v: Array, distance: Array) -> Surface:
    """A flat shape with a soft rim, lit from the upper left."""
    rim = np.clip(1 + distance * (1 / 0.34), 0, 1)
    rim = rim * rim
    shaded = 1.04 - 0.24 * (u + v) - 0.3 * rim
    return Surface(distance, np.ones_like(u), shaded, 0.4 * (1 - rim))


def _star(u: Array, v: Array) -> Surface:
    # Folded twice over the axes of symmetry onto one edge, from a tip to a waist.
    c, s = math.cos(math.pi / 5), math.sin(math.pi / 5)
    p, q = np.abs(u), _DROP - v
    for axis in ((c, -s), (-c, -s)):
        over = np.maximum(axis[0] * p + axis[1] * q, 0)
        p, q = p - 2 * axis[0] * over, q - 2 * axis[1] * over
    p, q = np.abs(p), q - _STAR
    ex, ey = _WAIST * s, _WAIST * c - _STAR
    along = np.clip((p * ex + q * ey) * (1 / (ex * ex + ey * ey)), 0, 1)
    size = np.sqrt((p - ex * along) ** 2 + (q - ey * along) ** 2)
    return _bevelled(u, v, np.copysign(size, q * ex - p * ey))


def _heart(u: Array, v: Array) -> Surface:
    p, q = np.abs(u) * (1 / _HEART), (0.92 - v) * (1 / _HEART)
    lobe = np.sqrt((p - 0.25) ** 2 + (q - 0.75) ** 2) - math.sqrt(2) / 4
    half = 0.5 * np.maximum(p + q, 0)
    foot = np.sqrt(np.minimum(p * p + (q - 1) ** 2, (p - half) ** 2 + (q - half) ** 2))
    distance = np.where(p + q > 1, lobe, np.copysign(foot, p - q)) * _HEART
    return _bevelled(u, v, distance)


def _cross(u: Array, v: Array) -> Surface:
    a, b = np.abs(u), np.abs(v)
    long, short = np.maximum(a, b), np.minimum(a, b)
    distance = np.minimum(np.maximum(long - _REACH, short - _ARM), np.maximum(short - _REACH, long - _ARM))
    return _bevelled(u, v, distance)


# In the order of `vocabulary.SHAPES`.
SURFACES: tuple[Callable[[Array, Array], Surface], ...] = (
    _cube,
    _ball,
    _cone,
    _cylinder,
    _star,
    _ring,
    _heart,
    _cross,
)


def _polygon(*points: tuple[float, float]) -> NDArray[np.float64]:
    return np.array(points, np.float64)


def _arc(
    x: float, y: float, a: float, b: float, first: float, last: float, n: int = 96
) -> NDArray[np.float64]:
    turn = np.linspace(first, last, n) * math.pi
    return np.stack([x + a * np.cos(turn), y + b * np.sin(turn)], 1)


def _outline_of_star() -> NDArray[np.float64]:
    turn = np.arange(10) * math.pi / 5
    far = np.where(np.arange(10) % 2 == 0, _STAR, _WAIST)
    return np.stack([far * np.sin(turn), _DROP - far * np.cos(turn)], 1)


def _outline_of_heart() -> NDArray[np.float64]:
    r = math.sqrt(2) / 4
    right, left = _arc(0.25, 0.75, r, r, -0.25, 0.75), _arc(-0.25, 0.75, r, r, 0.25, 1.25)
    points = np.concatenate([_polygon((0, 0)), right, left])
    return np.stack([points[:, 0] * _HEART, 0.92 - points[:, 1] * _HEART], 1)


# Corners of the outer outline in radii, `[corners, 2]`, in the order of `vocabulary.SHAPES`; curves have many corners.
OUTLINES: tuple[NDArray[np.float64], ...] = (
    _polygon(
        (-_FACE, -_CUBE),
        (_CUBE, -_CUBE),
        (_CUBE, _FACE),
        (_FACE, _CUBE),
        (-_CUBE, _CUBE),
        (-_CUBE, -_FACE),
    ),
    _arc(0, 0, _BALL, _BALL, 0, 2, 257)[:-1],
    np.concatenate([_polygon((0, _APEX)), _arc(0, _FOOT, _CONE, _SAG, 0, 1)]),
    np.concatenate([_arc(0, _BODY, _CYLINDER, _CAP, 0, 1), _arc(0, -_BODY, _CYLINDER, _CAP, 1, 2)]),
    _outline_of_star(),
    _arc(0, 0, _RING + _THICK, _RING + _THICK, 0, 2, 257)[:-1],
    _outline_of_heart(),
    _polygon(
        (-_ARM, -_REACH),
        (_ARM, -_REACH),
        (_ARM, -_ARM),
        (_REACH, -_ARM),
        (_REACH, _ARM),
        (_ARM, _ARM),
        (_ARM, _REACH),
        (-_ARM, _REACH),
        (-_ARM, _ARM),
        (-_REACH, _ARM),
        (-_REACH, -_ARM),
        (-_ARM, -_ARM),
    ),
)
HOLE = _RING - _THICK  # radius of the ring's hole


def areas() -> NDArray[np.float64]:
    """Area of each silhouette in squared radii, by the shoelace formula over its outline, less the ring's hole."""
    found = []
    for points in OUTLINES:
        x, y = points.T
        found.append(abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2)
    found[5] -= math.pi * HOLE**2
    return np.array(found)
