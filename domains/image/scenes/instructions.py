"""Editing instructions in words, English and Chinese."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from domains.image.scenes.assertions import Asserted, Mention
from domains.image.scenes.english import english_ground, english_noun_phrase, pick, reference
from domains.image.scenes.mandarin import chinese_ground, chinese_noun_phrase
from domains.image.scenes.scene import Item, Scene
from domains.image.scenes.words import (
    ADJECTIVES,
    PLACE_PHRASES,
    SHAPE_NOUNS,
    ZH_ADJECTIVES,
    ZH_MEASURES,
    ZH_NOUNS,
    ZH_PLACES,
    Language,
)


@dataclass(frozen=True)
class Change:
    """What an instruction asks for.

    Attributes:
        kind: One of `edits.KINDS`.
        target: Index of the object that it is done to, in the scene after the edit; before it for a removal.
        value: The new value of the attribute, style or background; empty where there is none.
        tone: Of a new background.
        place: Where an object is added or moved to.
        item: The object that is added.
    """

    kind: str
    target: int
    value: str
    tone: str | None = None
    place: str | None = None
    item: Item | None = None


def instruction(change: Change, before: Scene, rng: np.random.Generator, language: Language = "en") -> str:
    """The words for a change; an object is pointed to by the least that tells it from the others."""
    mentions = tuple(Mention(item.shape, item.colour) for item in before.items)
    pointed = reference(Asserted(mentions), change.target) if change.target < len(mentions) else None
    added = None
    if change.item is not None:
        added = Mention(change.item.shape, change.item.colour, change.item.size, change.item.texture)
    ground = (
        Asserted(mentions, background=change.value, tone=change.tone) if change.kind == "background" else None
    )
    if language == "en":
        return _english(change, pointed, added, ground, rng)
    return _chinese(change, pointed, added, ground, rng)


def _english(
    change: Change,
    pointed: Mention | None,
    added: Mention | None,
    ground: Asserted | None,
    rng: np.random.Generator,
) -> str:
    name = "" if pointed is None else english_noun_phrase(pointed, rng, definite=True)
    if change.kind == "recolour":
        colour = pick(ADJECTIVES["colour"][change.value], rng)
        return pick(
            (f"make {name} {colour}", f"change the colour of {name} to {colour}", f"paint {name} {colour}"),
            rng,
        )
    if change.kind == "reshape":
        noun = pick([one for one, _ in SHAPE_NOUNS[change.value]], rng)
        return pick((f"turn {name} into a {noun}", f"replace {name} with a {noun}"), rng)
    if change.kind == "resize":
        return pick(
            (
                f"make {name} {pick(ADJECTIVES['size'][change.value], rng)}",
                f"resize {name} to {change.value}",
            ),
            rng,
        )
    if change.kind == "retexture":
        return f"make {name} {pick(ADJECTIVES['texture'][change.value], rng)}"
    if change.kind == "remove":
        return pick((f"remove {name}", f"take {name} away", f"delete {name}"), rng)
    if change.kind == "add" and added is not None and change.place is not None:
        return f"add {english_noun_phrase(added, rng)} {pick(PLACE_PHRASES[change.place], rng)}"
    if change.kind == "move" and change.place is not None:
        where = {"middle": "the middle"}.get(change.place, f"the {change.place}")
        return pick((f"move {name} to {where}", f"put {name} {pick(PLACE_PHRASES[change.place], rng)}"), rng)
    if change.kind == "restyle":
        style = {"flat": "a flat illustration", "shaded": "a 3d rendering"}[change.value]
        return pick((f"make it {style}", f"turn the picture into {style}"), rng)
    if ground is None:
        raise ValueError(f"no words for the change {change.kind!r}")
    where = english_ground(ground, rng)
    if where.split()[1] in ("a", "an") and where.endswith("background"):
        return f"change the background to {' '.join(where.split()[1:])}"
    return f"put it all {where}"


def _chinese(
    change: Change,
    pointed: Mention | None,
    added: Mention | None,
    ground: Asserted | None,
    rng: np.random.Generator,
) -> str:
    name = "" if pointed is None else chinese_noun_phrase(pointed, rng, 0)
    if change.kind == "recolour":
        colour = ZH_ADJECTIVES["colour"][change.value][0]
        return pick((f"把{name}变成{colour}", f"把{name}的颜色改成{colour}", f"把{name}涂成{colour}"), rng)
    if change.kind == "reshape":
        noun, measure = pick(ZH_NOUNS[change.value], rng), ZH_MEASURES[change.value][0]
        return pick((f"把{name}变成{noun}", f"把{name}换成一{measure}{noun}"), rng)
    if change.kind == "resize":
        size = {"small": "小号", "medium": "中号", "large": "大号"}[change.value]
        return pick((f"把{name}变成{size}", f"把{name}的大小改成{size}"), rng)
    if change.kind == "retexture":
        return f"把{name}变成{ZH_ADJECTIVES['texture'][change.value][0]}的"
    if change.kind == "remove":
        return pick((f"去掉{name}", f"删除{name}", f"把{name}拿走"), rng)
    if change.kind == "add" and added is not None and change.place is not None:
        return f"在{pick(ZH_PLACES[change.place], rng)}添加{chinese_noun_phrase(added, rng)}"
    if change.kind == "move" and change.place is not None:
        return pick(
            (f"把{name}移到{ZH_PLACES[change.place][0]}", f"把{name}放到{ZH_PLACES[change.place][0]}"), rng
        )
    if change.kind == "restyle":
        style = {"flat": "扁平插画", "shaded": "立体渲染"}[change.value]
        return pick((f"换成{style}风格", f"把画面变成{style}"), rng)
    if ground is None:
        raise ValueError(f"no words for the change {change.kind!r}")
    return f"把背景换成{chinese_ground(ground, rng).removesuffix('背景')}背景"
