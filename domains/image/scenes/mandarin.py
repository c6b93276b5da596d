"""Sentences in Chinese from what they are to assert."""

from __future__ import annotations

import numpy as np

from domains.image.scenes.assertions import Asserted, Mention
from domains.image.scenes.english import pick, reference, runs, subject_first
from domains.image.scenes.words import (
    ZH_ADJECTIVES,
    ZH_ANY,
    ZH_LANDSCAPES,
    ZH_MEASURES,
    ZH_NOUNS,
    ZH_NUMBERS,
    ZH_OPENINGS,
    ZH_PLACES,
    ZH_RELATIONS,
    ZH_STYLES,
    ZH_TONES,
)


def phrase_chinese(asserted: Asserted, rng: np.random.Generator) -> str:
    """A sentence; see `captions.phrase`.

    Raises:
        ValueError: If relations have different subjects, which the grammar has no sentence for.
    """
    asserted = subject_first(asserted)
    text = _objects(asserted, rng)
    parts = [text]
    ground = chinese_ground(asserted, rng)
    if ground:
        parts.append(ground)
    if asserted.style is not None:
        style = pick(ZH_STYLES[asserted.style], rng)
        parts = [style, *parts] if rng.random() < 0.4 else [*parts, style]
    return "，".join(parts)


def _objects(asserted: Asserted, rng: np.random.Generator) -> str:
    mentions, relations = asserted.mentions, asserted.relations
    if not relations:
        opening = pick(ZH_OPENINGS, rng) if rng.random() < 0.3 else ""
        return opening + _listed([chinese_noun_phrase(m, rng, n) for m, n in runs(mentions)], rng)
    bare = rng.random() < 0.5  # 红色的方块 or 一个红色的方块
    names = [chinese_noun_phrase(m, rng, 0 if bare else 1) for m in mentions]
    pointers = [reference(asserted, k) for k in range(len(mentions))]
    words = [pick(ZH_RELATIONS[r], rng) for _, r, _ in relations]
    used = {0, *(b for _, _, b in relations)}
    of = "的" if rng.random() < 0.6 else ""
    draw = rng.random()
    if draw < 0.25 and all(pointers[k] is not None for k in used):
        short = ["" if p is None else chinese_noun_phrase(p, rng, 0) for p in pointers]
        said = "，".join(f"在{short[b]}{of}{w}" for w, (_, _, b) in zip(words, relations, strict=True))
        return f"{_listed([chinese_noun_phrase(m, rng) for m in mentions], rng)}，其中{short[0]}{said}"
    rest = [names[k] for k in range(len(names)) if k not in used]
    if draw < 0.45 and len(relations) == 1:
        text = f"{names[1]}{of}{words[0]}有{chinese_noun_phrase(mentions[0], rng)}"
    else:
        said = "，".join(f"在{names[b]}{of}{w}" for w, (_, _, b) in zip(words, relations, strict=True))
        text = f"{names[0]}{said}"
    return "，".join([text, *(f"还有{name}" for name in rest)])


def _listed(names: list[str], rng: np.random.Generator) -> str:
    if len(names) == 1:
        return names[0]
    return "、".join(names[:-1]) + pick(("和", "与", "以及"), rng) + names[-1]


def chinese_noun_phrase(mention: Mention, rng: np.random.Generator, count: int = 1) -> str:
    """With a number and its measure word; count 0 leaves both out."""
    noun = pick(ZH_ANY if mention.shape is None else ZH_NOUNS[mention.shape], rng)
    number = f"{ZH_NUMBERS[count][0]}{pick(ZH_MEASURES[mention.shape], rng)}" if count else ""
    place = "" if mention.place is None else f"{pick(ZH_PLACES[mention.place], rng)}的"
    said = mention.said()
    order = ("size", "colour", "texture") if rng.random() < 0.7 else ("colour", "size", "texture")
    present = [name for name in order if name in said]
    adjectives = [
        # 红 stands before its noun alone: 红球, but 红色条纹球.
        pick(ZH_ADJECTIVES[name][said[name]], rng)
        if name != "colour" or name == present[-1]
        else ZH_ADJECTIVES[name][said[name]][0]
        for name in present
    ]
    if not adjectives:
        return f"{number}{place}{noun}"
    if len(adjectives) > 1 and (len(adjectives[0]) == 1 or rng.random() < 0.5):  # 大的红色条纹方块
        return f"{number}{place}{adjectives[0]}的{''.join(adjectives[1:])}{noun}"
    of = "的" if rng.random() < 0.6 else ""
    return f"{number}{place}{''.join(adjectives)}{of}{noun}"


def chinese_ground(asserted: Asserted, rng: np.random.Generator) -> str:
    """What is said of the background: 灰色背景; empty where nothing is."""
    kind, tone = asserted.background, asserted.tone
    if kind in ZH_LANDSCAPES:
        return pick(ZH_LANDSCAPES[kind], rng)
    if kind is None and tone is None:
        return ""
    colour = "" if tone is None else pick(ZH_TONES[tone], rng)
    before = "" if kind != "plain" else "纯" if colour else "纯色"
    after = {"gradient": "渐变", "grid": "网格"}.get(kind or "", "")
    return f"{before}{colour}{after}背景"
