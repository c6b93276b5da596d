"""Contact sheets: every value of every attribute, scenes at random, and the truth beside pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from domains.image.scenes.render import render
from domains.image.scenes.sampler import draw_scenes
from domains.image.scenes.scene import Item, Scene, stack
from domains.image.scenes.truth import Truth, render_truth
from domains.image.scenes.vocabulary import (
    BACKGROUNDS,
    COLOURS,
    PALETTE,
    SHAPES,
    SIDE,
    SIZES,
    STYLES,
    TEXTURES,
    TONED,
    TONES,
)

Picture = NDArray[np.uint8]


def tiled(images: Picture, columns: int) -> Picture:
    """Pictures `[n, 3, h, w]` row by row as one `[height, width, 3]`; n is a multiple of `columns`."""
    n, _, h, w = images.shape
    grid = images.reshape(n // columns, columns, 3, h, w).transpose(0, 3, 1, 4, 2)
    return np.ascontiguousarray(grid.reshape(n // columns * h, columns * w, 3))


def every_value() -> Picture:
    """Shapes by colours in the flat style, by textures and sizes in the shaded one, and all backgrounds."""
    scenes = [
        Scene((Item(shape, colour, "large"),), "plain", "grey" if k % 2 else "beige")
        for k, shape in enumerate(SHAPES)
        for colour in COLOURS
    ]
    for k, shape in enumerate(SHAPES):
        colours = COLOURS[k], COLOURS[(k + 5) % len(COLOURS)], COLOURS[(k + 3) % len(COLOURS)]
        scenes += [
            Scene((Item(shape, colours[0], "large", texture),), "plain", TONES[2 + k % 4], "shaded")
            for texture in TEXTURES
        ]
        scenes += [
            Scene((Item(shape, colours[1], size, texture),), "gradient", TONES[k % 4], style)
            for size in SIZES
            for texture, style in (("plain", "shaded"), ("striped", "flat"))
        ]
    grounds: list[tuple[str, str | None]] = [(kind, tone) for kind in BACKGROUNDS[:TONED] for tone in TONES]
    grounds += [(kind, None) for kind in BACKGROUNDS[TONED:]]
    scenes += [
        Scene((Item("ball", COLOURS[k % len(COLOURS)], "medium"),), kind, tone, STYLES[k % 2])
        for k, (kind, tone) in enumerate(grounds)
    ]
    return tiled(render(stack(scenes)).images, len(COLOURS))


def random_scenes() -> Picture:
    """The first 96 scenes that training sees."""
    return tiled(render(draw_scenes(0, 96)).images, 12)


def truth_rows() -> Picture:
    """Six pictures of the test split, each with depth, segmentation, edges and keypoints below it."""
    truth = render_truth(draw_scenes(1, range(6), "test", "all"))
    rows = [truth.rendered.images, _depth(truth), _segments(truth), _edges(truth), _points(truth)]
    return tiled(np.concatenate(rows), 6)


def _depth(truth: Truth) -> Picture:
    near = np.rint(255 * (1 - truth.rendered.depth)).clip(0, 255).astype(np.uint8)
    return near[:, None].repeat(3, 1)


def _segments(truth: Truth) -> Picture:
    scenes, objects = truth.scenes, truth.rendered.objects
    colour = np.rint(PALETTE[scenes.colour] * 255).astype(np.uint8)
    shown = colour[np.arange(len(scenes))[:, None, None], objects.clip(0)]
    return np.moveaxis(np.where((objects >= 0)[..., None], shown, np.uint8(96)), 3, 1)


def _edges(truth: Truth) -> Picture:
    return (truth.edges[:, None] * np.uint8(255)).repeat(3, 1)


def _points(truth: Truth) -> Picture:
    """Keypoints on the dimmed picture: white where they are in sight, black where they are hidden."""
    pictures = truth.rendered.images // 2 + 48
    n, k, p = np.nonzero(truth.scenes.present[:, :, None] & np.ones(truth.visible.shape, bool))
    column, row = (np.clip(truth.keypoints[n, k, p, a].astype(int), 0, SIDE - 1) for a in (0, 1))
    shade = np.where(truth.visible[n, k, p], 255, 0).astype(np.uint8)
    for channel in range(3):
        pictures[n, channel, row, column] = shade
    return pictures
