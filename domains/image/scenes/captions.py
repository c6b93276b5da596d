"""Captions: what may be said of a picture, a part of it, and the sentence, in English or Chinese with paraphrases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from core.noise import Noise
from domains.image.scenes.assertions import (
    Asserted,
    Found,
    Mention,
    clear_relations,
    place_holds,
    true_findings,
)
from domains.image.scenes.english import phrase_english
from domains.image.scenes.mandarin import phrase_chinese
from domains.image.scenes.render import Rendered
from domains.image.scenes.scene import Scenes
from domains.image.scenes.vocabulary import ATTRIBUTES, PLACES
from domains.image.scenes.words import Language

T = TypeVar("T")


@dataclass(frozen=True)
class Caption:
    """A sentence and what it asserts."""

    text: str
    asserted: Asserted


@dataclass(frozen=True)
class Said:
    """How likely each thing is to be said.

    Attributes:
        shape, colour, size, texture: Of an object.
        place: A place word for an object; only where no relation is said.
        relation: Some relation, where there is a clear one; a second one half as often.
        ground: The background, and likewise the style.
    """

    shape: float = 0.93
    colour: float = 0.93
    size: float = 0.4
    texture: float = 0.45
    place: float = 0.2
    relation: float = 0.6
    ground: float = 0.4


USUAL = Said()
EVERYTHING = Said(1, 1, 1, 1, 1, 1, 1)
# What the evaluation of generators asks for: colours, shapes, counts and relations.
CORE = Said(1, 1, 0, 0, 0, 1, 0)


def write_captions(
    scenes: Scenes, truth: Rendered, seed: int, language: Language = "en", said: Said = USUAL
) -> list[Caption]:
    """A caption for each picture.

    Args:
        scenes, truth: The pictures.
        seed: Other seeds give other captions of the same pictures; caption `i` depends on `seed` and `i` alone, and the
            two languages assert the same.
        language: `en` or `zh`.
        said: How much is said.
    """
    noise = Noise.of(seed, len(scenes)).at("caption")
    captions = []
    for i, found in enumerate(true_findings(scenes, truth)):
        asserted = choose(found, noise.take([i]).at("what").shared(), said)
        captions.append(Caption(phrase(asserted, noise.take([i]).at(language).shared(), language), asserted))
    return captions


def phrase(asserted: Asserted, rng: np.random.Generator, language: Language = "en") -> str:
    """A sentence that asserts this and nothing else; `read_prompt` reads it back."""
    return phrase_english(asserted, rng) if language == "en" else phrase_chinese(asserted, rng)


def choose(found: Found, rng: np.random.Generator, said: Said = USUAL) -> Asserted:
    """A part of what may be said of a picture."""
    count = len(found.items)

    def maybe(value: T, chance: float) -> T | None:
        return value if rng.random() < chance else None

    relations = _some_relations(clear_relations(found), rng, said.relation)
    mentions = []
    for item in found.items:
        values = {name: maybe(getattr(item, name), getattr(said, name)) for name in ATTRIBUTES}
        fitting = [place for place in PLACES if place_holds(item, place, 0.0)]
        fitting = [place for place in fitting if " " in place] or fitting  # a corner says more than a side
        place = maybe(_one_of(fitting, rng), said.place) if fitting and not relations else None
        mentions.append(Mention(**values, place=place))
    background, tone = maybe(found.background, said.ground), maybe(found.tone, said.ground)
    asserted = Asserted(tuple(mentions), relations, background, tone, maybe(found.style, said.ground))
    # The subject of the relations first, then what it is related to, as the sentence will have them.
    order = [k for r in relations for k in (r[0], r[2])] + [int(k) for k in rng.permutation(count)]
    return asserted.reordered(tuple(dict.fromkeys(order)))


def _some_relations(
    clear: list[tuple[int, str, int]], rng: np.random.Generator, chance: float
) -> tuple[tuple[int, str, int], ...]:
    """None, one, or two of one subject to two others."""
    if not clear or rng.random() >= chance:
        return ()
    first = _one_of(clear, rng)
    second = [r for r in clear if r[0] == first[0] and r[2] != first[2]]
    if not second or rng.random() < 0.5:
        return (first,)
    return first, _one_of(second, rng)


def _one_of(values: Sequence[T], rng: np.random.Generator) -> T:
    return values[int(rng.integers(len(values)))]
