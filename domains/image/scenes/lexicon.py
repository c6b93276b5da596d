"""The words of the grammar as tokens, and the phrases on style and background that are read before them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from domains.common.errors import BadInput
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


class Token(NamedTuple):
    """A word or a fixed phrase: its kind, its value, and how it was written."""

    kind: str
    value: str
    text: str


class Lexicon(NamedTuple):
    """Phrase -> token; and the longest phrase, in words (English) or characters (Chinese)."""

    tokens: dict[str, Token]
    longest: int


_MANY = {"four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"}


def _english() -> Lexicon:
    found: dict[str, Token] = {}

    def add(kind: str, value: str, *phrases: str) -> None:
        found.update({phrase: Token(kind, value, phrase) for phrase in phrases})

    add("number", "1", "a", "an")
    for number, words in NUMBERS.items():
        add("number", str(number), str(number), *words)
    for word, value in _MANY.items():
        add("number", value, word, value)
    for name, values in ADJECTIVES.items():
        for value, words in values.items():
            add("adjective", f"{name}:{value}", *words)
    for value, words in WITH_TEXTURE.items():
        add("adjective", f"texture:{value}", *words)
    for value, nouns in SHAPE_NOUNS.items():
        add("noun", value, *(form for noun in nouns for form in noun))
    add("noun", "", *(form for noun in ANY_NOUN for form in noun))
    for value, words in RELATION_PHRASES.items():
        add("relation", value, *words)
    for value, words in PLACE_PHRASES.items():
        add("place", value, *words)
    add("opening", "", *OPENINGS)
    add("and", "", "and")
    add("break", "", ",", ";", ".", ":")
    add("the", "", "the")
    add("is", "", "is", "are")
    return Lexicon(found, max(len(phrase.split()) for phrase in found))


def _chinese() -> Lexicon:
    found: dict[str, Token] = {}

    def add(kind: str, value: str, *phrases: str) -> None:
        found.update({phrase: Token(kind, value, phrase) for phrase in phrases})

    for words in ZH_MEASURES.values():
        add("measure", "", *words)
    for number, words in ZH_NUMBERS.items():
        add("number", str(number), str(number), *words)
    for number, word in enumerate("四五六七八九十", 4):
        add("number", str(number), word, str(number))
    for name, values in ZH_ADJECTIVES.items():
        for value, words in values.items():
            add("adjective", f"{name}:{value}", *words)
    for value, words in ZH_NOUNS.items():
        add("noun", value, *words)
    add("noun", "", *ZH_ANY)
    for value, words in ZH_RELATIONS.items():
        add("relation", value, *words)
    for value, words in ZH_PLACES.items():
        add("place", value, *words)
    add("opening", "", *ZH_OPENINGS)
    add("have", "", "有")
    add("and", "", "和", "与", "以及", "还有", "、")
    add("break", "", ",", ";", "。", ".", ":")
    add("of", "", "的")
    add("at", "", "在", "位于")
    add("among", "", "其中")
    return Lexicon(found, max(map(len, found)))


ENGLISH, CHINESE = _english(), _chinese()


def _any_of(phrases: Iterable[str]) -> str:
    return "|".join(re.escape(p) for p in sorted(phrases, key=len, reverse=True))


def _backwards(table: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {phrase: value for value, phrases in table.items() for phrase in phrases}


_STYLES = _backwards(STYLE_PREFIXES) | _backwards(STYLE_SUFFIXES) | _backwards(ZH_STYLES)
_STYLE = re.compile(rf"(?:\b(?:in )?|,)(?:{_any_of(_STYLES)})")
_TONES, _ZH_TONES = _backwards(TONE_WORDS), _backwards(ZH_TONES)
_LANDS, _ZH_LANDS = _backwards(LANDSCAPE_PHRASES), _backwards(ZH_LANDSCAPES)
_GROUND = re.compile(
    rf"\b(?:on|against|with|over|in front of) an? (?P<plain>plain |solid )?(?:(?P<tone>{_any_of(_TONES)}) )?"
    rf"(?P<kind>gradient |grid )?background\b|\b(?P<land>{_any_of(_LANDS)})\b"
)
_ZH_GROUND = re.compile(
    rf"在?(?P<plain>纯色|纯)?(?P<tone>{_any_of(_ZH_TONES)})?的?(?P<kind>渐变|网格)?背景[上前下里]?"
    rf"|(?P<land>{_any_of(_ZH_LANDS)})|在(?P<short>草地|沙滩)上"
)


def find_style(text: str) -> tuple[str, str | None]:
    """The text without what it says of the style, and the style.

    Raises:
        BadInput: If it asks for both.
    """
    styles = {_STYLES[m.group().removeprefix(",").removeprefix("in ")] for m in _STYLE.finditer(text)}
    if len(styles) > 1:
        raise BadInput("prompt", "it asks for two styles; say one")
    return _STYLE.sub(" ", text).strip(), next(iter(styles), None)


def find_ground_english(text: str) -> tuple[str, str | None, str | None]:
    """The text without what it says of the background, the kind of background, and its tone."""
    return _find_ground(text, _GROUND, _TONES, {"gradient ": "gradient", "grid ": "grid"}, _LANDS)


def find_ground_chinese(text: str) -> tuple[str, str | None, str | None]:
    """As `find_ground_english`."""
    # 蓝天草地背景 ends as the other alternative begins, so landscapes are taken out of its way first.
    lands = {**_ZH_LANDS, "草地": "meadow", "沙滩": "beach"}
    return _find_ground(text, _ZH_GROUND, _ZH_TONES, {"渐变": "gradient", "网格": "grid"}, lands)


def _find_ground(
    text: str, pattern: re.Pattern[str], tones: dict[str, str], kinds: dict[str, str], lands: dict[str, str]
) -> tuple[str, str | None, str | None]:
    matches = list(pattern.finditer(text))
    if len(matches) > 1:
        raise BadInput("prompt", "it asks for two backgrounds; say one")
    if not matches:
        return text, None, None
    match = matches[0]
    said = match.groupdict()
    land = said.get("land") or said.get("short")
    rest = f"{text[: match.start()]}{text[match.end() :]}".strip()
    if land:
        return rest, lands[land], None
    if said["plain"] and said["kind"]:
        raise BadInput("prompt", "a background is plain or patterned, not both; say one")
    kind = "plain" if said["plain"] else kinds[said["kind"]] if said["kind"] else None
    tone = tones[said["tone"]] if said["tone"] else None
    if kind is None and tone is None:
        raise BadInput(
            "prompt", "it says nothing of the background that it mentions; say its kind or its tone"
        )
    return rest, kind, tone
