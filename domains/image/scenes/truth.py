"""What is exactly where in a picture: edges, classes and keypoints, from the scene and its silhouettes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domains.image.scenes.render import Rendered, ranks, render
from domains.image.scenes.scene import Scenes
from domains.image.scenes.silhouettes import OUTLINES
from domains.image.scenes.vocabulary import OBJECTS, SHAPES, SIDE

KEYPOINTS = ("centre", "leftmost", "rightmost", "topmost", "bottommost")
_INWARD = 1.0  # pixels towards the centre at which it is looked whether an extreme point is hidden


@dataclass(frozen=True)
class Truth:
    """Pictures with everything that control and restoration are scored against.

    Attributes:
        scenes: What was rendered.
        rendered: Pictures, objects, whole silhouettes and depth.
        classes: int8 `[n, 64, 64]`: index of the shape that is seen, -1 for the background.
        edges: bool `[n, 64, 64]`: pixels of an object beside a pixel of something that lies behind it.
        keypoints: float32 `[n, 3, 5, 2]`: `KEYPOINTS` of each object in pixels, right and down; 0 where there is none.
        visible: bool `[n, 3, 5]`: whether a keypoint is in sight, that is, no nearer object covers it.
    """

    scenes: Scenes
    rendered: Rendered
    classes: NDArray[np.int8]
    edges: NDArray[np.bool_]
    keypoints: NDArray[np.float32]
    visible: NDArray[np.bool_]


def render_truth(scenes: Scenes) -> Truth:
    """Pictures of scenes with all that is known of them."""
    rendered = render(scenes)
    points = keypoints(scenes)
    return Truth(
        scenes,
        rendered,
        classes(scenes, rendered),
        edges(scenes, rendered),
        points,
        visible_keypoints(scenes, rendered, points),
    )


def classes(scenes: Scenes, rendered: Rendered) -> NDArray[np.int8]:
    """Index of the shape at each pixel, -1 for the background."""
    table = np.concatenate(
        [scenes.shape, np.full((len(scenes), 1), -1)], 1
    )  # object -1 finds the last column
    found: NDArray[np.int8] = table[np.arange(len(scenes))[:, None, None], rendered.objects].astype(np.int8)
    return found


def edges(scenes: Scenes, rendered: Rendered) -> NDArray[np.bool_]:
    """Borders of what is seen, one pixel wide, on the side of the nearer object."""
    n = len(scenes)
    nearness = np.concatenate([ranks(scenes) + 1, np.zeros((n, 1), np.int64)], 1)
    height = nearness[np.arange(n)[:, None, None], rendered.objects]
    padded = np.pad(height, ((0, 0), (1, 1), (1, 1)), mode="edge")
    lowest = height
    for down, right in ((0, 1), (2, 1), (1, 0), (1, 2)):
        lowest = np.minimum(lowest, padded[:, down : down + SIDE, right : right + SIDE])
    found: NDArray[np.bool_] = lowest < height
    return found


def keypoints(scenes: Scenes) -> NDArray[np.float32]:
    """Centre and the four extreme points of each silhouette, hidden or not, `[n, 3, 5, 2]` in pixels."""
    points = np.zeros((len(scenes), OBJECTS, len(KEYPOINTS), 2), np.float32)
    t = scenes.tilt.astype(np.float64)
    cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    for shape in range(len(SHAPES)):
        i, k = np.nonzero(scenes.present & (scenes.shape == shape))
        u, v = OUTLINES[shape].T
        c, s, r = cosine[i, k, None], sine[i, k, None], scenes.radius[i, k, None]
        x = scenes.x[i, k, None] + r * (u * c - v * s)
        y = scenes.y[i, k, None] + r * (u * s + v * c)
        points[i, k, 0] = np.stack([scenes.x[i, k], scenes.y[i, k]], 1)
        rows = np.arange(len(i))
        for place, corner in enumerate((x.argmin(1), x.argmax(1), y.argmin(1), y.argmax(1)), 1):
            points[i, k, place] = np.stack([x[rows, corner], y[rows, corner]], 1)
    return points


def visible_keypoints(scenes: Scenes, rendered: Rendered, points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether no nearer object covers a keypoint, looked up one pixel inwards; False for absent objects."""
    centre = points[:, :, :1]
    inward = centre - points
    far = np.sqrt((inward * inward).sum(-1, keepdims=True))
    place = points + inward * np.where(far > _INWARD, _INWARD / np.maximum(far, 1e-6), 0)
    column, row = (np.clip(np.floor(place[..., a]).astype(np.int64), 0, SIDE - 1) for a in (0, 1))
    i = np.arange(len(scenes))[:, None, None]
    order = np.concatenate([ranks(scenes), np.full((len(scenes), 1), -1)], 1)
    seen = order[i, rendered.objects[i, row, column]]
    found: NDArray[np.bool_] = (seen <= ranks(scenes)[:, :, None]) & scenes.present[:, :, None]
    return found
