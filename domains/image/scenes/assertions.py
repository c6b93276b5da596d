"""What a caption asserts, what is in a picture, and whether the one holds of the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from domains.image.scenes.render import Rendered
from domains.image.scenes.scene import Scenes
from domains.image.scenes.vocabulary import ATTRIBUTES, BACKGROUNDS, SIDE, STYLES, TONED, TONES

# Pixels between centres: from CLEAR on a relation may be said; it holds from HOLDS on.
CLEAR, HOLDS = 10.0, 4.0
# Pixels two silhouettes have in common from which on one is said to be in front.
OVERLAP = 10
CONVERSE = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
    "in front of": "behind",
    "behind": "in front of",
}


@dataclass(frozen=True)
class Mention:
    """An object as it is spoken of; None is left unsaid."""

    shape: str | None = None
    colour: str | None = None
    size: str | None = None
    texture: str | None = None
    place: str | None = None

    def said(self) -> dict[str, str]:
        """Attribute -> value, of those that are said; the place is not among them."""
        values = ((name, getattr(self, name)) for name in ATTRIBUTES)
        return {name: value for name, value in values if value is not None}


@dataclass(frozen=True)
class Asserted:
    """What a caption says of a picture.

    Attributes:
        mentions: One for each object; a caption names all of them, so their number is asserted, too.
        relations: (which mention, relation, to which mention).
        background, tone, style: None where they are left unsaid.
    """

    mentions: tuple[Mention, ...]
    relations: tuple[tuple[int, str, int], ...] = ()
    background: str | None = None
    tone: str | None = None
    style: str | None = None

    def reordered(self, order: tuple[int, ...]) -> Asserted:
        """The same with mention `order[k]` in place k."""
        where = {old: new for new, old in enumerate(order)}
        relations = tuple((where[a], r, where[b]) for a, r, b in self.relations)
        return replace(self, mentions=tuple(self.mentions[k] for k in order), relations=relations)

    def same(self, other: Asserted) -> bool:
        """Whether both say the same, in whatever order, and of a relation and its converse whichever."""
        if len(self.mentions) != len(other.mentions):
            return False
        mine = self._plain()
        return any(mine == other.reordered(p)._plain() for p in permutations(range(len(other.mentions))))

    def _plain(self) -> tuple[object, ...]:
        both = {(a, r, b) for a, r, b in self.relations} | {(b, CONVERSE[r], a) for a, r, b in self.relations}
        return self.mentions, both, self.background, self.tone, self.style


@dataclass(frozen=True)
class FoundItem:
    """An object in a picture, with its centre in pixels."""

    shape: str
    colour: str
    size: str
    texture: str
    x: float
    y: float


@dataclass(frozen=True)
class Found:
    """What is in a picture, known or read.

    Attributes:
        items: The objects.
        front: Pairs (a, b) of objects that overlap, a being in front.
        background, tone, style: Of the picture; the tone of a landscape is None.
    """

    items: tuple[FoundItem, ...]
    front: frozenset[tuple[int, int]]
    background: str
    tone: str | None
    style: str


def overlaps(truth: Rendered) -> NDArray[np.int64]:
    """Pixels that two silhouettes have in common `[n, 3, 3]`."""
    flat = truth.whole.reshape(len(truth.whole), truth.whole.shape[1], -1).astype(np.float32)
    return np.rint(flat @ flat.transpose(0, 2, 1)).astype(np.int64)


def true_findings(scenes: Scenes, truth: Rendered) -> list[Found]:
    """What is in pictures, by the scenes that they were rendered from."""
    common = overlaps(truth)
    found = []
    for i in range(len(scenes)):
        count = int(scenes.count[i])
        items = tuple(
            FoundItem(
                **{name: words[getattr(scenes, name)[i, k]] for name, words in ATTRIBUTES.items()},
                x=float(scenes.x[i, k]),
                y=float(scenes.y[i, k]),
            )
            for k in range(count)
        )
        front = frozenset(
            (a, b)
            for a in range(count)
            for b in range(count)
            if a != b and common[i, a, b] >= OVERLAP and scenes.depth[i, a] < scenes.depth[i, b]
        )
        kind = int(scenes.background[i])
        tone = TONES[scenes.tone[i]] if kind < TONED else None
        found.append(Found(items, front, BACKGROUNDS[kind], tone, STYLES[scenes.style[i]]))
    return found


def relation_holds(found: Found, a: int, relation: str, b: int, least: float = HOLDS) -> bool:
    """Whether object `a` stands in a relation to object `b`; `least` pixels count for left, right, above and below."""
    if relation == "in front of":
        return (a, b) in found.front
    if relation == "behind":
        return (b, a) in found.front
    one, other = found.items[a], found.items[b]
    across, down = other.x - one.x, other.y - one.y
    step = {"left of": across, "right of": -across, "above": down, "below": -down}[relation]
    return step >= least


def clear_relations(found: Found) -> list[tuple[int, str, int]]:
    """The relations that anybody would agree on: far apart, and more so than along the other axis; or overlapping."""
    clear = []
    for a in range(len(found.items)):
        for b in range(len(found.items)):
            if a == b:
                continue
            across = abs(found.items[a].x - found.items[b].x)
            down = abs(found.items[a].y - found.items[b].y)
            for relation in CONVERSE:
                sideways = relation in ("left of", "right of")
                ordered = relation in ("in front of", "behind")
                main, other = (across, down) if sideways else (down, across)
                if (ordered or main >= other) and relation_holds(found, a, relation, b, CLEAR):
                    clear.append((a, relation, b))
    return clear


def place_holds(item: FoundItem, place: str, slack: float = 6.0) -> bool:
    """Whether an object is where a place word says; `slack` pixels either way are forgiven."""
    third = SIDE / 3 + 2
    inside = {
        "left": item.x <= third + slack,
        "right": item.x >= SIDE - third - slack,
        "top": item.y <= third + slack,
        "bottom": item.y >= SIDE - third - slack,
    }
    if place == "middle":
        reach = 6.0 + slack
        return abs(item.x - SIDE / 2) <= reach and abs(item.y - SIDE / 2) <= reach
    return all(inside[word] for word in place.split())


@dataclass(frozen=True)
class Score:
    """Which assertions hold of a picture.

    Attributes:
        count: Whether there are as many objects as mentioned.
        attributes: (mention, attribute) -> hit.
        bound: For each mention that names colour and shape, whether one object has both.
        relations, places: In the order of the assertions.
        ground: `background`, `tone`, `style` -> hit, of those that are said.
        match: Which object each mention was matched with; None where there are too few.
    """

    count: bool
    attributes: dict[tuple[int, str], bool]
    bound: tuple[bool, ...]
    relations: tuple[bool, ...]
    places: tuple[bool, ...]
    ground: dict[str, bool]
    match: tuple[int | None, ...]

    @property
    def hits(self) -> list[bool]:
        """All assertions, one after another."""
        return [self.count, *self.attributes.values(), *self.relations, *self.places, *self.ground.values()]

    @property
    def share(self) -> float:
        """Share of the assertions that hold."""
        return sum(self.hits) / len(self.hits)

    @property
    def all(self) -> bool:
        """Whether everything holds."""
        return all(self.hits)


def judge(found: Found, asserted: Asserted) -> Score:
    """Whether what a caption asserts holds of a picture, mentions being matched with objects to its best advantage."""
    spare: list[int | None] = [*range(len(found.items)), *[None] * len(asserted.mentions)]
    # Objects are tried in the order found, so the first of equally good matches is the same every time.
    tried = dict.fromkeys(permutations(spare, len(asserted.mentions)))
    scores = [_judge_matched(found, asserted, match) for match in tried]
    return max(scores, key=lambda s: (sum(s.hits), sum(s.bound)))


def _judge_matched(found: Found, asserted: Asserted, match: tuple[int | None, ...]) -> Score:
    items = [None if k is None else found.items[k] for k in match]
    attributes: dict[tuple[int, str], bool] = {}
    bound, places = [], []
    for m, (mention, item) in enumerate(zip(asserted.mentions, items, strict=True)):
        for name, value in mention.said().items():
            attributes[m, name] = item is not None and getattr(item, name) == value
        if mention.colour is not None and mention.shape is not None:
            bound.append(attributes[m, "colour"] and attributes[m, "shape"])
        if mention.place is not None:
            places.append(item is not None and place_holds(item, mention.place))
    relations = []
    for a, relation, b in asserted.relations:
        one, other = match[a], match[b]
        holds = one is not None and other is not None and relation_holds(found, one, relation, other)
        relations.append(holds)
    said = {name: getattr(asserted, name) for name in ("background", "tone", "style")}
    ground = {name: getattr(found, name) == value for name, value in said.items() if value is not None}
    count = len(found.items) == len(asserted.mentions)
    return Score(count, attributes, tuple(bound), tuple(relations), tuple(places), ground, match)
