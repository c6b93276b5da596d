"""Prompts read: what a sentence of the grammar asserts, in English or Chinese.

The reader takes the sentences of `captions.phrase` and more of the same kind; a word that the grammar does not know is
an error that names it, so that nothing is silently left unscored.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field, replace

from domains.common.errors import BadInput
from domains.image.scenes.assertions import Asserted, Mention
from domains.image.scenes.lexicon import (
    CHINESE,
    ENGLISH,
    Token,
    find_ground_chinese,
    find_ground_english,
    find_style,
)
from domains.image.scenes.vocabulary import OBJECTS

_LONGEST = 400  # characters of a prompt
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_WORD = re.compile(r"[a-z0-9]+(?:-[a-z]+)*|[,;.:]")
_SPACE = re.compile(r"\s+")


def read_prompt(text: str) -> Asserted:
    """What a prompt asserts.

    Args:
        text: In English, or in Chinese, which is told by its characters; at most 400 characters.

    Raises:
        BadInput: If the text is too long, has a word or an order of words outside the grammar, names no object or
            more than three, or points to an object that it does not name.
    """
    if len(text) > _LONGEST:
        raise BadInput("prompt", f"{len(text)} characters are too many to be read; give at most {_LONGEST}")
    plain = _SPACE.sub(" ", unicodedata.normalize("NFKC", text).lower()).strip()
    if _CHINESE.search(plain):
        return _read_chinese(plain.replace(" ", ""))
    return _read_english(plain)


def _read_english(text: str) -> Asserted:
    text, style = find_style(text)
    text, kind, tone = find_ground_english(text)
    words: list[str] = []
    end = 0
    for match in _WORD.finditer(text):
        _refuse(text[end : match.start()].strip())
        words.append(match.group())
        end = match.end()
    _refuse(text[end:].strip())
    tokens: list[Token] = []
    k = 0
    while k < len(words):
        for length in range(min(ENGLISH.longest, len(words) - k), 0, -1):
            token = ENGLISH.tokens.get(" ".join(words[k : k + length]))
            if token is not None:
                tokens.append(token)
                k += length
                break
        else:
            _refuse(words[k])
    return _Reader(tokens).read_english().asserted(kind, tone, style)


def _read_chinese(text: str) -> Asserted:
    text, style = find_style(text)
    text, kind, tone = find_ground_chinese(text)
    tokens: list[Token] = []
    k = 0
    while k < len(text):
        for length in range(min(CHINESE.longest, len(text) - k), 0, -1):
            token = CHINESE.tokens.get(text[k : k + length])
            if token is not None:
                tokens.append(token)
                k += length
                break
        else:
            _refuse(text[k : k + 4])
    return _Reader(tokens).read_chinese().asserted(kind, tone, style)


def _refuse(word: str) -> None:
    if word:
        raise BadInput(
            "prompt",
            f"{word[:40]!r} is not in the grammar of scenes; docs/scenes.md lists the words that are",
        )


@dataclass
class _Reader:
    """A walk over tokens that collects mentions and relations."""

    tokens: list[Token]
    at: int = 0
    mentions: list[Mention] = field(default_factory=list)
    relations: list[tuple[int, str, int]] = field(default_factory=list)

    def asserted(self, kind: str | None, tone: str | None, style: str | None) -> Asserted:
        if not self.mentions:
            raise BadInput("prompt", "it names no object; say for example: a red cube left of a blue ball")
        if any(a == b for a, _, b in self.relations):
            raise BadInput("prompt", "it relates an object to itself; relate two different ones")
        relations = tuple(dict.fromkeys(self.relations))
        return Asserted(tuple(self.mentions), relations, kind, tone, style)

    def kind(self, ahead: int = 0) -> str:
        """Kind of the next token, or of one further on; empty past the end."""
        k = self.at + ahead
        return self.tokens[k].kind if k < len(self.tokens) else ""

    def next(self) -> Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def skip(self, *kinds: str) -> bool:
        """Passes over tokens of these kinds; whether there were any."""
        begun = self.at
        while self.kind() in kinds:
            self.at += 1
        return self.at > begun

    # ---------------------------------------------------------------- noun phrases

    def phrase(self) -> tuple[Mention, int, bool]:
        """Adjectives and a noun, how many, and whether it points back to an object named before."""
        values: dict[str, str] = {}
        count, definite, named = 0, False, False
        while True:
            kind = self.kind()
            if kind == "adjective" or (kind == "place" and self.kind(1) == "of"):
                token = self.next()
                name, value = ("place", token.value) if kind == "place" else token.value.split(":")
                if values.get(name, value) != value:
                    raise BadInput("prompt", f"an object cannot be {values[name]} and {value}; say one")
                values[name] = value
            elif named:
                break
            elif kind == "number":
                count = int(self.next().value)
            elif kind == "the":
                definite = bool(self.next())
            elif kind in ("of", "measure"):
                self.next()
            elif kind == "noun":
                shape = self.next().value
                values |= {"shape": shape} if shape else {}
                named = True
            else:
                self.fail()
        return Mention(**values), count or 1, definite

    def fail(self) -> None:
        """Raises the error of a sentence that does not go on as it should."""
        if self.at < len(self.tokens):
            raise BadInput(
                "prompt", f"{self.tokens[self.at].text!r} is not understood there; write simple clauses"
            )
        raise BadInput("prompt", "it stops in the middle; end it with an object, such as: a blue ball")

    def objects(self, pointing: bool = False) -> list[int]:
        """The objects that a noun phrase names, which it adds, or points to."""
        mention, count, definite = self.phrase()
        if definite or pointing:
            said = mention.said()
            fits = [k for k, m in enumerate(self.mentions) if said.items() <= m.said().items()]
            if len(fits) == 1:
                return fits
            if self.mentions or not definite:
                many = "no object" if not fits else "more than one object"
                raise BadInput("prompt", f"it points back to {many}; name the one that is meant")
        if len(self.mentions) + count > OBJECTS:
            raise BadInput("prompt", f"a scene holds at most {OBJECTS} objects; name fewer")
        first = len(self.mentions)
        self.mentions += [mention] * count
        return list(range(first, first + count))

    def put(self, subjects: list[int], place: str) -> None:
        """Says where objects are."""
        for k in subjects:
            if self.mentions[k].place not in (None, place):
                raise BadInput("prompt", "it puts an object in two places; say one")
            self.mentions[k] = replace(self.mentions[k], place=place)

    def relate(self, subjects: list[int], relation: str, others: list[int]) -> None:
        """Says how objects stand to others."""
        self.relations += [(a, relation, b) for a in subjects for b in others]

    # ---------------------------------------------------------------- clauses

    def read_english(self) -> _Reader:
        """Clauses such as: a red cube left of a ball and above a star, and a ring at the top."""
        self.skip("opening", "break", "and")
        while self.at < len(self.tokens):
            subjects = self.objects()
            while True:
                ahead = 0
                while self.kind(ahead) in ("and", "break", "is"):
                    ahead += 1
                if self.kind(ahead) not in ("relation", "place"):
                    break
                self.at += ahead
                token = self.next()
                if token.kind == "place":
                    self.put(subjects, token.value)
                else:
                    self.relate(subjects, token.value, self.objects())
            self.between()
        return self

    def read_chinese(self) -> _Reader:
        """Clauses such as: 红色的方块在蓝色的球的左边，球的上方有星星，其中方块在星星的左边。"""
        self.skip("opening", "have", "break", "and")
        pointing = False
        while self.at < len(self.tokens):
            if self.kind() == "among":
                pointing = bool(self.next())
            subjects = self.objects(pointing)
            self.skip("of")
            if self.kind() == "relation":
                relation = self.next().value
                if self.kind() != "have":
                    self.fail()
                self.next()
                self.relate(self.objects(pointing), relation, subjects)
            while self.kind() == "at" or (self.kind() in ("break", "and") and self.kind(1) == "at"):
                self.skip("break", "and")
                self.next()
                if self.kind() == "place" and self.kind(1) != "of":
                    self.put(subjects, self.next().value)
                    continue
                others = self.objects(pointing)
                self.skip("of")
                if self.kind() != "relation":
                    self.fail()
                self.relate(subjects, self.next().value, others)
            self.between()
        return self

    def between(self) -> None:
        """Commas and conjunctions before the next clause, of which there must be some."""
        joined = self.skip("and", "break", "have", "opening")
        if not joined and self.at < len(self.tokens):
            self.fail()
