"""A scene, twice: as a person writes it, and as arrays for many scenes at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.common.errors import BadInput
from domains.image.scenes.vocabulary import (
    ATTRIBUTES,
    BACKGROUNDS,
    OBJECTS,
    RADII,
    SIDE,
    SIZES,
    STYLES,
    TILT,
    TONED,
    TONES,
)

Floats = NDArray[np.float32]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Item:
    """An object.

    Attributes:
        shape, colour, size, texture: One of `vocabulary.ATTRIBUTES`.
        x, y: Centre as a share of the picture's width and height, from the upper left corner.
        depth: Distance in (0, 1); the nearer of two objects hides the other where they overlap.
        radius: In pixels, within the range of its size; None takes the middle of that range.
        tilt: Tangent of half the angle by which it is turned clockwise, at most 0.09 either way.
    """

    shape: str
    colour: str
    size: str = "medium"
    texture: str = "plain"
    x: float = 0.5
    y: float = 0.5
    depth: float = 0.5
    radius: float | None = None
    tilt: float = 0.0


@dataclass(frozen=True)
class Scene:
    """One to three objects on a background, in a style.

    Attributes:
        items: The objects.
        background: One of `vocabulary.BACKGROUNDS`.
        tone: One of `vocabulary.TONES` for a plain, gradient or grid background; None for landscapes.
        style: `flat` (illustration with outlines) or `shaded` (light from the upper left, soft shadow).
        horizon: Height of a landscape's horizon as a share of the picture; where a gradient turns, too.
        drift: In [0, 1): phase of a grid, direction of a gradient.
    """

    items: tuple[Item, ...]
    background: str = "plain"
    tone: str | None = "grey"
    style: str = "flat"
    horizon: float = 0.55
    drift: float = 0.0


@dataclass(frozen=True)
class Scenes:
    """Scenes as arrays; what an absent object would hold is 0, its depth 1.

    Attributes:
        count: Objects `[n]`.
        shape, colour, size, texture: Indices into the vocabulary `[n, 3]`.
        x, y, radius: In pixels `[n, 3]`.
        tilt: Tangent of half the angle `[n, 3]`.
        depth: `[n, 3]`, in (0, 1).
        background, tone, style: Indices `[n]`; the tone of a landscape is 0.
        horizon, drift: `[n]`.
    """

    count: Whole
    shape: Whole
    colour: Whole
    size: Whole
    texture: Whole
    x: Floats
    y: Floats
    radius: Floats
    tilt: Floats
    depth: Floats
    background: Whole
    tone: Whole
    style: Whole
    horizon: Floats
    drift: Floats

    def __len__(self) -> int:
        return len(self.count)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which of the three objects there are, `[n, 3]`."""
        return np.arange(OBJECTS) < self.count[:, None]

    def take(self, index: Sequence[int] | Whole | NDArray[np.bool_] | slice) -> Scenes:
        """Some of the scenes."""
        chosen = index if isinstance(index, slice) else np.asarray(index)
        return Scenes(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    def scene(self, i: int) -> Scene:
        """Scene `i` as a person would write it; `stack([scenes.scene(i)])` gives the same arrays back."""
        items = tuple(
            Item(
                **{name: words[getattr(self, name)[i, k]] for name, words in ATTRIBUTES.items()},
                x=float(self.x[i, k]) / SIDE,
                y=float(self.y[i, k]) / SIDE,
                depth=float(self.depth[i, k]),
                radius=float(self.radius[i, k]),
                tilt=float(self.tilt[i, k]),
            )
            for k in range(int(self.count[i]))
        )
        tone = TONES[self.tone[i]] if self.background[i] < TONED else None
        kind, style = BACKGROUNDS[self.background[i]], STYLES[self.style[i]]
        return Scene(items, kind, tone, style, float(self.horizon[i]), float(self.drift[i]))

    def with_columns(self, **columns: Any) -> Scenes:
        """The same scenes with some arrays replaced."""
        return replace(self, **columns)


def concatenate(parts: Sequence[Scenes]) -> Scenes:
    """Scenes of several batches as one."""
    return Scenes(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Scenes)})


def stack(scenes: Sequence[Scene]) -> Scenes:
    """Scenes as arrays.

    Raises:
        BadInput: If a word is unknown, a number out of range, or an object not wholly inside the picture.
    """
    n = len(scenes)
    whole: dict[str, Any] = {name: np.zeros((n, OBJECTS), np.int64) for name in ATTRIBUTES}
    real: dict[str, Any] = {name: np.zeros((n, OBJECTS), np.float32) for name in ("x", "y", "radius", "tilt")}
    real["depth"] = np.ones((n, OBJECTS), np.float32)
    ground: dict[str, Any] = {
        name: np.zeros(n, np.int64) for name in ("count", "background", "tone", "style")
    }
    ground_real: dict[str, Any] = {name: np.zeros(n, np.float32) for name in ("horizon", "drift")}
    for i, scene in enumerate(scenes):
        if not 1 <= len(scene.items) <= OBJECTS:
            raise BadInput("items", f"a scene holds 1 to {OBJECTS} objects, not {len(scene.items)}")
        ground["count"][i] = len(scene.items)
        ground["background"][i] = _index("background", scene.background, BACKGROUNDS)
        ground["style"][i] = _index("style", scene.style, STYLES)
        toned = ground["background"][i] < TONED
        if toned != (scene.tone is not None):
            raise BadInput(
                "tone", "name a tone for a plain, gradient or grid background, and none for others"
            )
        ground["tone"][i] = _index("tone", scene.tone, TONES) if scene.tone is not None else 0
        ground_real["horizon"][i] = _number("horizon", scene.horizon, 0.35, 0.8)
        ground_real["drift"][i] = _number("drift", scene.drift, 0.0, 1.0)
        for k, item in enumerate(scene.items):
            for name, words in ATTRIBUTES.items():
                whole[name][i, k] = _index(name, getattr(item, name), words)
            for name, value in zip(real, _measures(item), strict=True):
                real[name][i, k] = value
    return Scenes(**ground, **whole, **real, **ground_real)


def _measures(item: Item) -> tuple[float, float, float, float, float]:
    """Centre, radius, tilt and depth, in pixels where they are lengths."""
    low, high = (float(v) for v in RADII[SIZES.index(item.size)])
    radius = _number("radius", (low + high) / 2 if item.radius is None else item.radius, low, high)
    centre = (
        SIDE * _number(name, value, radius / SIDE, 1 - radius / SIDE)
        for name, value in (("x", item.x), ("y", item.y))
    )
    x, y = centre
    return x, y, radius, _number("tilt", item.tilt, -TILT, TILT), _number("depth", item.depth, 0.0, 1.0)


def _index(field: str, word: str | None, words: tuple[str, ...]) -> int:
    if word not in words:
        raise BadInput(field, f"{str(word)[:40]!r} is none of {', '.join(words)}")
    return words.index(word)


def _number(field: str, value: float, low: float, high: float) -> float:
    slack = 1e-6  # a float32 bound, read back as a float64
    if not (math.isfinite(value) and low - slack <= value <= high + slack):
        raise BadInput(field, f"{value!r} is not between {low:.4g} and {high:.4g}")
    return float(value)
