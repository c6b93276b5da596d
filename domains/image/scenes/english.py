"""Sentences in English from what they are to assert."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from domains.image.scenes.assertions import Asserted, Mention
from domains.image.scenes.words import (
    ADJECTIVES,
    ANY_NOUN,
    LANDSCAPE_PHRASES,
    NUMBERS,
    OPENINGS,
    PLACE_PHRASES,
    RELATION_PHRASES,
    SHAPE_NOUNS,
    STYLE_PREFIXES,
    STYLE_SUFFIXES,
    TONE_WORDS,
    WITH_TEXTURE,
)

_USUAL = 0.6  # how often a word is the usual one and not a paraphrase


def phrase_english(asserted: Asserted, rng: np.random.Generator) -> str:
    """A sentence; see `captions.phrase`.

    Raises:
        ValueError: If relations have different subjects, which the grammar has no sentence for.
    """
    asserted = subject_first(asserted)
    text = _objects(asserted, rng)
    prefixed = asserted.style is not None and rng.random() < 0.5
    if asserted.style is not None and prefixed:
        text = f"{pick(STYLE_PREFIXES[asserted.style], rng)} {text}"
    elif rng.random() < 0.3:
        opening = pick(OPENINGS, rng)
        if opening.startswith("there"):
            opening = "there is" if text.startswith(("a ", "an ", "one ")) else "there are"
        text = f"{opening} {text}"
    ground = english_ground(asserted, rng)
    if ground:
        text = f"{text}{pick((' ', ', '), rng)}{ground}"
    if asserted.style is not None and not prefixed:
        text = f"{text}, {pick(STYLE_SUFFIXES[asserted.style], rng)}"
    return text


def pick(words: Sequence[str], rng: np.random.Generator) -> str:
    """The first of the words more often than the others."""
    if len(words) == 1 or rng.random() < _USUAL:
        return words[0]
    return words[1 + int(rng.integers(len(words) - 1))]


def subject_first(asserted: Asserted) -> Asserted:
    """The same with the subject of the relations first, then what it is related to.

    Raises:
        ValueError: If relations have different subjects, or one object twice.
    """
    subjects = {a for a, _, _ in asserted.relations}
    others = [b for _, _, b in asserted.relations]
    if len(subjects) > 1 or len(set(others)) < len(others):
        raise ValueError("a sentence has relations of one subject to different objects")
    return asserted.reordered(tuple(dict.fromkeys([*subjects, *others, *range(len(asserted.mentions))])))


def runs(mentions: Sequence[Mention]) -> list[tuple[Mention, int]]:
    """Mentions that say the same, counted, in the order of first mention."""
    counts: dict[Mention, int] = {}
    for mention in mentions:
        counts[mention] = counts.get(mention, 0) + 1
    return list(counts.items())


def reference(asserted: Asserted, k: int) -> Mention | None:
    """The least that points to mention `k` alone: its shape, its colour, or both; None where neither does."""
    mention = asserted.mentions[k]
    tries = (
        Mention(shape=mention.shape),
        Mention(colour=mention.colour),
        Mention(mention.shape, mention.colour),
    )
    for tried in tries:
        said = tried.said()
        fits = [m for m in asserted.mentions if said.items() <= m.said().items()]
        if said and len(fits) == 1:
            return tried
    return None


def _objects(asserted: Asserted, rng: np.random.Generator) -> str:
    mentions, relations = asserted.mentions, asserted.relations
    if not relations:
        return _listed([english_noun_phrase(m, rng, n) for m, n in runs(mentions)], rng)
    names = [english_noun_phrase(m, rng) for m in mentions]
    pointers = [reference(asserted, k) for k in range(len(mentions))]
    words = [pick(RELATION_PHRASES[r], rng) for _, r, _ in relations]
    used = {0, *(b for _, _, b in relations)}
    if rng.random() < 0.3 and all(pointers[k] is not None for k in used):
        definite = [None if p is None else english_noun_phrase(p, rng, definite=True) for p in pointers]
        said = " and ".join(f"{w} {definite[b]}" for w, (_, _, b) in zip(words, relations, strict=True))
        return f"{_listed(names, rng)}, {definite[0]} is {said}"
    said = " and ".join(f"{w} {names[b]}" for w, (_, _, b) in zip(words, relations, strict=True))
    rest = [names[k] for k in range(len(names)) if k not in used]
    return ", and ".join([f"{names[0]} {said}", *rest])


def _listed(names: list[str], rng: np.random.Generator) -> str:
    if len(names) == 1:
        return names[0]
    joint = pick((" and ", ", and "), rng)
    return ", ".join(names[:-1]) + joint + names[-1]


def english_noun_phrase(
    mention: Mention, rng: np.random.Generator, count: int = 1, definite: bool = False
) -> str:
    """Article or number, adjectives, noun, and place: an orange ball on the left."""
    nouns = ANY_NOUN if mention.shape is None else SHAPE_NOUNS[mention.shape]
    singular = pick([one for one, _ in nouns], rng)
    noun = singular if count == 1 else dict(nouns)[singular]
    said = mention.said()
    behind = ""
    if mention.texture in WITH_TEXTURE and rng.random() < 0.25:
        behind = f" {pick(WITH_TEXTURE[mention.texture], rng)}"
        del said["texture"]
    order = ("size", "texture", "colour") if rng.random() < 0.7 else ("size", "colour", "texture")
    adjectives = [pick(ADJECTIVES[name][said[name]], rng) for name in order if name in said]
    words = " ".join([*adjectives, noun]) + behind
    if mention.place is not None:
        words = f"{words} {pick(PLACE_PHRASES[mention.place], rng)}"
    if definite:
        return f"the {words}"
    if count > 1:
        return f"{NUMBERS[count][0]} {words}"
    article = "one" if rng.random() < 0.08 else "an" if words[0] in "aeiou" else "a"
    return f"{article} {words}"


def english_ground(asserted: Asserted, rng: np.random.Generator) -> str:
    """What is said of the background: on a grey background; empty where nothing is."""
    kind, tone = asserted.background, asserted.tone
    if kind in LANDSCAPE_PHRASES:
        return pick(LANDSCAPE_PHRASES[kind], rng)
    if kind is None and tone is None:
        return ""
    words = ["plain"] if kind == "plain" else []
    words += [pick(TONE_WORDS[tone], rng)] if tone is not None else []
    words += [kind] if kind not in (None, "plain") else []
    article = "an" if words[0][0] in "aeiou" else "a"
    return f"{pick(('on', 'against', 'with'), rng)} {article} {' '.join(words)} background"
