"""Prompts that no training scene or caption was made from, with a twin in Chinese and a true picture for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domains.common.errors import BadInput
from domains.image.scenes.assertions import Asserted
from domains.image.scenes.captions import Said, write_captions
from domains.image.scenes.render import render
from domains.image.scenes.sampler import Kind, Split, draw_scenes
from domains.image.scenes.words import Language

# Said of the scenes of each kind; colour and shape always, since those are what is bound.
_SAID: dict[Kind, Said] = {
    "single": Said(1, 1, 0.5, 0.5, 0.3, 0, 0.3),
    "binding": Said(1, 1, 0, 0, 0, 0, 0),
    "relation": Said(1, 1, 0, 0, 0, 1, 0),
    "held-out": Said(1, 1, 0, 0, 0, 0, 0),
    "any": Said(1, 1, 0.4, 0.4, 0.2, 0.6, 0.4),
}
PROMPT_KINDS = tuple(_SAID)


@dataclass(frozen=True)
class Prompts:
    """Prompts of one kind.

    Attributes:
        kind: `single`, `binding`, `relation`, `held-out` or `any`.
        english, chinese: Twins: the same is asserted by both.
        asserted: What that is.
        images: A true picture of each, uint8 `[n, 3, 64, 64]`, for the row of real pictures.
    """

    kind: Kind
    english: tuple[str, ...]
    chinese: tuple[str, ...]
    asserted: tuple[Asserted, ...]
    images: NDArray[np.uint8]

    def words(self, language: Language) -> tuple[str, ...]:
        """The prompts in a language, `en` or `zh`."""
        return self.english if language == "en" else self.chinese


def unseen_prompts(kind: Kind, count: int, seed: int = 0, split: Split = "test") -> Prompts:
    """Prompts from scenes that no training saw: of the test split, or `val` while a model is in training.

    `single` speaks of one object; `binding` of two that differ in colour and shape; `relation` of how two stand to each
    other; `held-out` of an object whose colour and shape are never shown together in training; `any` of all there is.

    Raises:
        BadInput: If the kind is none of these.
    """
    if kind not in _SAID:
        raise BadInput("kind", f"choose one of {', '.join(PROMPT_KINDS)}")
    scenes = draw_scenes(seed, count, split, kind)
    truth = render(scenes)
    english, chinese = (
        write_captions(scenes, truth, seed, language, _SAID[kind]) for language in ("en", "zh")
    )
    return Prompts(
        kind,
        tuple(c.text for c in english),
        tuple(c.text for c in chinese),
        tuple(c.asserted for c in english),
        truth.images,
    )
