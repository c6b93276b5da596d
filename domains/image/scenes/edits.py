"""Instruction pairs: a scene, what to change in it, the scene afterwards, and where the picture may change."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from core.noise import Noise
from domains.common.errors import BadInput
from domains.image.scenes.assertions import (
    Asserted,
    Found,
    FoundItem,
    Mention,
    Score,
    judge,
    place_holds,
    true_findings,
)
from domains.image.scenes.instructions import Change, instruction
from domains.image.scenes.render import Rendered, render
from domains.image.scenes.sampler import Split, draw_scenes
from domains.image.scenes.scene import Item, Scene, stack
from domains.image.scenes.vocabulary import (
    ATTRIBUTES,
    BACKGROUNDS,
    HELD_OUT,
    OBJECTS,
    PLACES,
    RADII,
    SIDE,
    SIZES,
    TILT,
    TONED,
    TONES,
)
from domains.image.scenes.words import Language

EditKind = Literal[
    "recolour", "reshape", "resize", "retexture", "remove", "add", "move", "restyle", "background"
]
KINDS: tuple[EditKind, ...] = get_args(EditKind)
_ATTRIBUTE = {"recolour": "colour", "reshape": "shape", "resize": "size", "retexture": "texture"}
_ROOM = 0.8  # least distance of two centres over the sum of radii after an edit
_MARGIN = 2  # pixels around a silhouette in which a picture may change, too
_TRIES = 40
_KINDS_TRIED = 8


@dataclass(frozen=True)
class Edit:
    """One instruction pair.

    Attributes:
        before, after: The scenes.
        change: What is done to which object.
        wanted: What the picture is to show afterwards, object by object in the order of `after`.
    """

    before: Scene
    after: Scene
    change: Change
    wanted: Asserted

    def text(self, rng: np.random.Generator, language: Language = "en") -> str:
        """The instruction in words."""
        return instruction(self.change, self.before, rng, language)

    def hit(self, found: Found) -> bool:
        """Whether a picture shows what the instruction asked for; what it should have left alone is not asked."""
        score = judge(found, self.wanted)
        return _HITS[self.change.kind](score, self.change.target)


@dataclass(frozen=True)
class EditPictures:
    """Pictures of edits.

    Attributes:
        before, after: As rendered.
        mask: bool `[n, 64, 64]`: where the picture may change.  Outside it the two pictures are equal bit for bit.
    """

    before: Rendered
    after: Rendered
    mask: NDArray[np.bool_]


def draw_edits(
    seed: int, index: Sequence[int] | range | int, split: Split = "train", kinds: Sequence[EditKind] = KINDS
) -> list[Edit]:
    """Instruction pairs at random; edit `i` of a seed is the same in any batch.

    No pair makes an object of a colour and shape that are held out from training.

    Args:
        seed, index, split: As in `draw_scenes`, whose scenes of the same seed are those before the edits.
        kinds: What may be done; a scene with room for none of them gets a new background.

    Raises:
        BadInput: If an argument is out of range or no kind is named.
    """
    if not kinds or any(kind not in KINDS for kind in kinds):
        raise BadInput("kinds", f"choose some of {', '.join(KINDS)}")
    indices = range(index) if isinstance(index, int) else index
    scenes = draw_scenes(seed, indices, split)
    edits = []
    for row, i in enumerate(indices):
        rng = Noise((seed << 32 | int(i),), ("edit", split)).shared()
        scene, found = scenes.scene(row), None
        for _ in range(_KINDS_TRIED):
            found = found or _edited(scene, kinds[int(rng.integers(len(kinds)))], rng)
        found = found or _changed_background(scene, rng)  # which is possible in every scene
        edits.append(found)
    return edits


def edit_pictures(edits: Sequence[Edit]) -> EditPictures:
    """Renders both sides of edits, and where they may differ."""
    before, after = render(stack([e.before for e in edits])), render(stack([e.after for e in edits]))
    mask = (before.images != after.images).any(1)
    for i, edit in enumerate(edits):
        kind, target = edit.change.kind, edit.change.target
        if kind == "restyle":
            mask[i] = True
        elif kind == "background":
            mask[i] |= after.objects[i] < 0
        else:
            near = np.zeros((SIDE, SIDE), bool)
            if kind != "add":
                near |= before.whole[i, target]
            if kind != "remove":
                near |= after.whole[i, target]
            mask[i] |= _widened(near, _MARGIN)
    return EditPictures(before, after, mask)


def _widened(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    wide = np.pad(mask, pixels)
    out = np.zeros_like(mask)
    for down in range(2 * pixels + 1):
        for right in range(2 * pixels + 1):
            out |= wide[down : down + SIDE, right : right + SIDE]
    return out


# ---------------------------------------------------------------- the edits


def _edited(scene: Scene, kind: EditKind, rng: np.random.Generator) -> Edit | None:
    """One edit of that kind, or None where the scene has no room for it or no words to point to an object."""
    if kind in _ATTRIBUTE:
        return _changed_attribute(scene, kind, rng)
    if kind == "restyle":
        after = replace(scene, style="shaded" if scene.style == "flat" else "flat")
        return _finish(scene, after, Change(kind, 0, after.style))
    if kind == "background":
        return _changed_background(scene, rng)
    if kind == "add":
        return _added(scene, rng)
    target = _pointed_to(scene, rng)
    if target is None:
        return None
    if kind == "remove":
        if len(scene.items) == 1:
            return None
        rest = tuple(item for k, item in enumerate(scene.items) if k != target)
        return _finish(scene, replace(scene, items=rest), Change(kind, target, ""))
    return _moved(scene, target, rng)


def _changed_attribute(scene: Scene, kind: EditKind, rng: np.random.Generator) -> Edit | None:
    target, name = _pointed_to(scene, rng), _ATTRIBUTE[kind]
    if target is None:
        return None
    old = scene.items[target]
    for _ in range(_TRIES):
        value = _one_of(ATTRIBUTES[name], rng)
        changed: Any = {name: value}
        new = replace(old, **changed)
        if name == "size":
            low, high = RADII[SIZES.index(value)]
            new = _inside(replace(new, radius=float(low + (high - low) * np.float32(rng.random()))))
        if value != getattr(old, name) and _allowed(scene, target, new):
            return _finish(scene, _with(scene, target, new), Change(kind, target, value))
    return None


def _changed_background(scene: Scene, rng: np.random.Generator) -> Edit:
    while True:
        kind = int(rng.integers(len(BACKGROUNDS)))
        tone = _one_of(TONES, rng) if kind < TONED else None
        if (BACKGROUNDS[kind], tone) != (scene.background, scene.tone):
            after = replace(scene, background=BACKGROUNDS[kind], tone=tone)
            return _finish(scene, after, Change("background", 0, BACKGROUNDS[kind], tone))


def _added(scene: Scene, rng: np.random.Generator) -> Edit | None:
    if len(scene.items) == OBJECTS:
        return None
    k = len(scene.items)
    for _ in range(_TRIES):
        values = {name: _one_of(words, rng) for name, words in ATTRIBUTES.items()}
        low, high = RADII[SIZES.index(values["size"])]
        item = Item(
            **values,
            x=rng.random(),
            y=rng.random(),
            depth=float(0.1 + 0.09 * rng.random()),  # nearer than what is there
            radius=float(low + (high - low) * np.float32(rng.random())),
            tilt=float(TILT * (2 * rng.random() - 1)),
        )
        item = _inside(item)
        place = _place(item)
        if place is not None and _allowed(scene, k, item):
            return _finish(scene, _with(scene, k, item), Change("add", k, "", place=place, item=item))
    return None


def _moved(scene: Scene, target: int, rng: np.random.Generator) -> Edit | None:
    old = scene.items[target]
    for _ in range(_TRIES):
        item = _inside(replace(old, x=rng.random(), y=rng.random()))
        place = _place(item)
        if place is not None and not _at(old, place, 6.0) and _allowed(scene, target, item):
            return _finish(scene, _with(scene, target, item), Change("move", target, "", place=place))
    return None


def _finish(before: Scene, after: Scene, change: Change) -> Edit:
    mentions = [Mention(item.shape, item.colour, item.size, item.texture) for item in after.items]
    if change.place is not None:
        mentions[change.target] = replace(mentions[change.target], place=change.place)
    wanted = Asserted(tuple(mentions), background=after.background, tone=after.tone, style=after.style)
    return Edit(before, after, change, wanted)


def _pointed_to(scene: Scene, rng: np.random.Generator) -> int | None:
    """An object that colour and shape tell from the others."""
    pairs = [(item.colour, item.shape) for item in scene.items]
    single = [k for k, pair in enumerate(pairs) if pairs.count(pair) == 1]
    return single[int(rng.integers(len(single)))] if single else None


def _allowed(scene: Scene, k: int, item: Item) -> bool:
    """Whether an object may be put in place `k`: not held out, told from the others, and hiding none of them."""
    others = [other for j, other in enumerate(scene.items) if j != k]
    if (item.colour, item.shape) in HELD_OUT:
        return False
    if any((item.colour, item.shape) == (o.colour, o.shape) for o in others):
        return False
    return all(
        SIDE * math.hypot(item.x - o.x, item.y - o.y) >= _ROOM * (_radius(item) + _radius(o)) for o in others
    )


def _radius(item: Item) -> float:
    return float(RADII[SIZES.index(item.size)].mean()) if item.radius is None else item.radius


def _inside(item: Item) -> Item:
    """The object moved as little as it takes to be wholly in the picture."""
    edge = (_radius(item) + 1.5) / SIDE
    return replace(item, x=min(max(item.x, edge), 1 - edge), y=min(max(item.y, edge), 1 - edge))


def _place(item: Item) -> str | None:
    """The place word that says most of where an object is."""
    fitting = [place for place in PLACES if _at(item, place, 0.0)]
    return max(fitting, key=len) if fitting else None


def _at(item: Item, place: str, slack: float) -> bool:
    where = FoundItem(item.shape, item.colour, item.size, item.texture, SIDE * item.x, SIDE * item.y)
    return place_holds(where, place, slack)


def _with(scene: Scene, k: int, item: Item) -> Scene:
    return replace(scene, items=(*scene.items[:k], item, *scene.items[k + 1 :]))


def _one_of(words: tuple[str, ...], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


# ---------------------------------------------------------------- whether they were done


def _attribute_hit(name: str) -> Callable[[Score, int], bool]:
    return lambda score, target: score.attributes[target, name]


def _counted_hit(score: Score, _: int) -> bool:
    """As many objects as wanted, each of its colour and shape: the right one came, or went."""
    return score.count and all(score.bound)


_HITS: dict[str, Callable[[Score, int], bool]] = {
    **{kind: _attribute_hit(name) for kind, name in _ATTRIBUTE.items()},
    "remove": _counted_hit,
    "add": _counted_hit,
    "move": lambda score, target: all(score.places),
    "restyle": lambda score, target: score.ground["style"],
    "background": lambda score, target: score.ground["background"] and score.ground.get("tone", True),
}


def findings_after(edits: Sequence[Edit], pictures: EditPictures) -> list[Found]:
    """What is truly in the pictures after the edits."""
    return true_findings(stack([e.after for e in edits]), pictures.after)
