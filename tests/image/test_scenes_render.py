"""Pictures and their truth: areas, borders, order, and the same bytes in every batch."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from domains.common.errors import BadInput
from domains.image.scenes import Item, Scene, draw_scenes, render_truth, stack
from domains.image.scenes.render import ranks, render
from domains.image.scenes.scene import concatenate
from domains.image.scenes.silhouettes import OUTLINES, SURFACES, areas
from domains.image.scenes.vocabulary import (
    ATTRIBUTES,
    BACKGROUNDS,
    COLOURS,
    HELD_OUT,
    PALETTE,
    RADII,
    SHAPES,
    SIDE,
    SIZES,
    TONE_COLOURS,
    TONES,
)


def test_a_scene_is_the_same_alone_and_in_any_batch() -> None:
    scenes = draw_scenes(5, 150)
    whole = render(scenes)
    alone = draw_scenes(5, [149, 3, 70])
    parts = render(alone)
    for row, i in enumerate((149, 3, 70)):
        assert alone.scene(row) == scenes.scene(i)
        for name in ("images", "objects", "whole", "depth"):
            assert np.array_equal(getattr(parts, name)[row], getattr(whole, name)[i]), name
    assert not np.array_equal(render(draw_scenes(6, 1)).images, whole.images[:1])
    assert not np.array_equal(render(draw_scenes(5, 1, "val")).images, whole.images[:1])


def test_rows_of_a_batch_do_not_see_each_other() -> None:
    scenes = draw_scenes(2, 40, kind="all")
    order = np.random.default_rng(0).permutation(40)
    assert np.array_equal(render(scenes.take(order)).images, render(scenes).images[order])
    twice = concatenate([scenes, scenes])
    assert np.array_equal(render(twice).images[40:], render(scenes).images)


def test_a_scene_survives_the_way_through_words() -> None:
    scenes = draw_scenes(1, 60, "test", "all")
    again = stack([scenes.scene(i) for i in range(60)])
    for name in ("shape", "colour", "x", "y", "radius", "depth", "tilt", "background", "tone", "horizon"):
        assert np.array_equal(getattr(again, name), getattr(scenes, name)), name
    assert np.array_equal(render(again).images, render(scenes).images)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", SIZES)
def test_a_mask_has_the_area_of_its_outline(shape: str, size: str) -> None:
    """Averaged over positions within a pixel, the number of pixel centres inside is the area."""
    rng = np.random.default_rng(0)
    radius = float(RADII[SIZES.index(size)].mean())
    places = 0.5 + (rng.random((200, 2)) - 0.5) * 4 / SIDE
    scenes = stack(
        [
            Scene((Item(shape, "red", size, x=x, y=y, radius=radius, tilt=float(t)),))
            for (x, y), t in zip(places, rng.uniform(-0.09, 0.09, 200), strict=True)
        ]
    )
    pixels = render(scenes).whole[:, 0].sum((1, 2))
    expected = areas()[SHAPES.index(shape)] * radius**2
    assert pixels.mean() == pytest.approx(expected, rel=0.015)


@pytest.mark.parametrize("shape", range(len(SHAPES)), ids=SHAPES)
def test_distance_is_zero_on_the_outline_and_first_order_around_it(shape: int) -> None:
    points = OUTLINES[shape]
    after = np.roll(points, -1, 0)
    middle, along = (points + after) / 2, after - points
    length = np.hypot(*along.T)
    inward = np.stack([-along[:, 1], along[:, 0]], 1) / np.maximum(length, 1e-9)[:, None]
    for step in (-0.03, 0.0, 0.03):
        at = (middle + step * inward)[length > 1e-3].astype(np.float32)
        distance = SURFACES[shape](at[:, 0], at[:, 1]).distance
        # Within 0.02 radii, a quarter of a pixel of the largest object, of the true distance, and of one sign.
        side = np.sign(np.median(SURFACES[shape](*(middle + 0.03 * inward).T.astype(np.float32)).distance))
        assert np.quantile(np.abs(distance - side * step), 0.95) < 0.02


def test_coverage_is_exact_to_a_few_levels() -> None:
    """A ball between two plain colours, against the mean of 64 by 64 points a pixel."""
    scene = Scene((Item("ball", "white", "large", x=0.507, y=0.493),), "plain", "grey")
    rendered = render(stack([scene]))
    line = (np.arange(SIDE * 16) + 0.5) / 16
    far = np.hypot(line[None] - 0.507 * SIDE, line[:, None] - 0.493 * SIDE)
    radius = float(RADII[2].mean()) * 0.94
    share = (far <= radius).reshape(SIDE, 16, SIDE, 16).mean((1, 3))
    rim = (share > 0) & (share < 1)
    ground, outline = 255 * TONE_COLOURS[0], 255 * np.array([0x3C, 0x40, 0x48]) / 255
    expected = ground[:, None, None] + (outline - ground)[:, None, None] * share
    assert np.abs(rendered.images[0] - expected)[:, rim].max() <= 255 * 0.08
    assert rendered.images[0][:, share == 0].std(1).max() == 0


def test_what_is_seen_is_the_nearest() -> None:
    scenes = draw_scenes(9, 300, "test", "all")
    truth = render_truth(scenes)
    objects, whole = truth.rendered.objects, truth.rendered.whole
    order = np.where(scenes.present, scenes.depth, np.inf)[:, :, None, None]
    expected = np.where(whole, order, np.inf).argmin(1)
    expected = np.where(whole.any(1), expected, -1)
    assert np.array_equal(objects, expected)
    assert np.array_equal(truth.rendered.depth == 1, objects < 0)
    i, row, column = np.nonzero(objects >= 0)
    seen = objects[i, row, column]
    base = scenes.depth[i, seen]
    assert (
        (truth.rendered.depth[i, row, column] <= base) & (truth.rendered.depth[i, row, column] > base - 0.09)
    ).all()
    classes = np.where(objects >= 0, scenes.shape[np.arange(300)[:, None, None], objects.clip(0)], -1)
    assert np.array_equal(truth.classes, classes)


def test_edges_lie_at_borders_on_the_nearer_side() -> None:
    scenes = draw_scenes(3, 120, "test", "all")
    truth = render_truth(scenes)
    objects = truth.rendered.objects
    near = np.concatenate([ranks(scenes), np.full((120, 1), -1)], 1)
    for i in range(120):
        for row, column in zip(*np.nonzero(truth.edges[i]), strict=True):
            window = objects[i, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            assert (near[i, window] < near[i, objects[i, row, column]]).any()
        # Every step between two objects along a row has an edge on one of its sides.
        step = objects[i, :, 1:] != objects[i, :, :-1]
        assert (truth.edges[i, :, 1:] | truth.edges[i, :, :-1])[step].all()
        assert not truth.edges[i][objects[i] < 0].any()


def test_keypoints_are_the_extremes_of_the_silhouette() -> None:
    scenes = draw_scenes(4, 200, "test", "all")
    truth = render_truth(scenes)
    for i, k in zip(*np.nonzero(scenes.present), strict=True):
        rows, columns = np.nonzero(truth.rendered.whole[i, k])
        left, right, top, bottom = truth.keypoints[i, k, 1:]
        found = np.array([columns.min(), columns.max() + 1, rows.min(), rows.max() + 1])
        # Tips are thinner than a pixel, so the pixels may stop short of them.
        assert np.abs(found - [left[0], right[0], top[1], bottom[1]]).max() < 1.6
    nearest = ranks(scenes) == scenes.count[:, None] - 1
    assert truth.visible[nearest & scenes.present].all()
    assert not truth.visible[~scenes.present].any()
    hidden = ~truth.visible & scenes.present[:, :, None]
    assert 0.005 < hidden.sum() / (scenes.present.sum() * 5) < 0.2


def test_every_object_is_well_in_sight() -> None:
    scenes = draw_scenes(12, 3000, "train", "all")
    rendered = render(scenes)
    shares = []
    for k in range(3):
        there = scenes.present[:, k]
        seen = (rendered.objects == k).sum((1, 2))[there]
        shares.append(seen / rendered.whole[there, k].sum((1, 2)))
    assert np.concatenate(shares).min() > 0.4
    inside = (scenes.x - scenes.radius > 1) & (scenes.x + scenes.radius < SIDE - 1)
    assert inside[scenes.present].all()


def test_training_never_shows_a_held_out_pair() -> None:
    assert len({c for c, _ in HELD_OUT}) == len(HELD_OUT) and {s for _, s in HELD_OUT} == set(SHAPES)
    for split, kind in (("train", "any"), ("train", "binding"), ("val", "relation")):
        scenes = draw_scenes(0, 2000, split, kind)
        shown = set(
            zip(scenes.colour[scenes.present].tolist(), scenes.shape[scenes.present].tolist(), strict=True)
        )
        assert len(shown) == len(COLOURS) * len(SHAPES) - len(HELD_OUT)
        assert not {(COLOURS.index(c), SHAPES.index(s)) for c, s in HELD_OUT} & shown
    aside = draw_scenes(0, 500, "test", "held-out")
    first = {(COLOURS[c], SHAPES[s]) for c, s in zip(aside.colour[:, 0], aside.shape[:, 0], strict=True)}
    assert first == set(HELD_OUT)


def test_kinds_are_what_they_say() -> None:
    assert (draw_scenes(0, 100, "test", "single").count == 1).all()
    for kind in ("binding", "relation"):
        scenes = draw_scenes(0, 400, "test", kind)
        assert (scenes.count == 2).all()
        assert (scenes.shape[:, 0] != scenes.shape[:, 1]).all() and (
            scenes.colour[:, 0] != scenes.colour[:, 1]
        ).all()
    steps = np.abs(np.stack([scenes.x[:, 0] - scenes.x[:, 1], scenes.y[:, 0] - scenes.y[:, 1]]))
    assert (steps.max(0) >= 10).mean() > 0.97
    counts = np.bincount(draw_scenes(0, 3000).count) / 3000
    assert counts[1:] == pytest.approx([0.3, 0.4, 0.3], abs=0.04)


def test_every_value_looks_different() -> None:
    """One attribute changed, all else equal: the pictures differ where the object is."""
    for name, values in ATTRIBUTES.items():
        scenes = [
            Scene((Item(**{"shape": "cylinder", "colour": "green", "size": "small"} | {name: v}),))
            for v in values
        ]
        images = render(stack(scenes)).images.astype(int)
        for a in range(len(values)):
            for b in range(a):
                assert np.abs(images[a] - images[b]).max() > 40, (name, values[a], values[b])
    far = np.linalg.norm(PALETTE[:, None] - PALETTE[None], axis=-1) + 9 * np.eye(len(COLOURS))
    assert far.min() > 0.25
    grounds = [
        Scene((Item("ball", "red"),), kind, None if kind in BACKGROUNDS[3:] else tone)
        for kind in BACKGROUNDS
        for tone in TONES
    ]
    images = render(stack(grounds)).images
    assert len({hashlib.sha256(image.tobytes()).digest() for image in images}) == 3 * len(TONES) + 2


@pytest.mark.parametrize(
    ("scene", "field"),
    [
        (Scene(()), "items"),
        (Scene((Item("cube", "red"),) * 4), "items"),
        (Scene((Item("pyramid", "red"),)), "shape"),
        (Scene((Item("cube", "mauve"),)), "colour"),
        (Scene((Item("cube", "red", x=0.02),)), "x"),
        (Scene((Item("cube", "red", y=math.nan),)), "y"),
        (Scene((Item("cube", "red", radius=30.0),)), "radius"),
        (Scene((Item("cube", "red", tilt=1.0),)), "tilt"),
        (Scene((Item("cube", "red"),), "meadow", "grey"), "tone"),
        (Scene((Item("cube", "red"),), "plain", None), "tone"),
        (Scene((Item("cube", "red"),), style="oil"), "style"),
        (Scene((Item("cube", "red"),), horizon=7.0), "horizon"),
    ],
)
def test_a_wrong_scene_is_refused_at_its_field(scene: Scene, field: str) -> None:
    with pytest.raises(BadInput) as refused:
        stack([scene])
    assert refused.value.field == field


def test_wrong_draws_are_refused() -> None:
    for arguments in ((-1, 1), (1 << 31, 1), (0, [-1]), (0, 1, "train", "odd"), (0, 1, "odd")):
        with pytest.raises(BadInput):
            draw_scenes(*arguments)  # type: ignore[arg-type]
    assert len(draw_scenes(0, 0)) == 0 and render(draw_scenes(0, 0)).images.shape == (0, 3, SIDE, SIDE)
