"""Prompts as people write them: `(word:1.3)` weighs, `[a:b:0.3]` changes its mind on the way.

The notation is that of AUTOMATIC1111's web UI, whose users bring it along:

    (a)            a, 1.1 times as strong; ((a)) 1.21 times
    [a]            a, weaker by 1.1
    (a:1.3)        a, 1.3 times as strong
    [a:b:0.3]      a for the first 30 % of the walk, then b; [b:0.3] nothing, then b; [a::0.3] a, then nothing
    \\( \\) \\[ \\] \\\\  the characters themselves
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from domains.common.errors import BadInput

LONGEST = 2_000  # characters
_DEEPEST = 20  # brackets within brackets
_STEP = 1.1
_LEAST, _MOST = 0.0, 10.0  # weights
_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*\Z")


@dataclass(frozen=True)
class Span:
    """A piece of text and how strongly it is meant."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class Stage:
    """What is meant from a share of the walk on.

    Attributes:
        begins: 0 to 1; 0 is the start, at pure noise.
        spans: The text in pieces.
    """

    begins: float
    spans: tuple[Span, ...]

    @property
    def text(self) -> str:
        """The words alone, as a text encoder reads them."""
        return "".join(span.text for span in self.spans)

    @property
    def weights(self) -> tuple[float, ...]:
        """The weight of each character of `text`."""
        return tuple(span.weight for span in self.spans for _ in span.text)


@dataclass(frozen=True)
class _Words:
    text: str


@dataclass(frozen=True)
class _Weighed:
    parts: tuple[_Node, ...]
    weight: float


@dataclass(frozen=True)
class _Switch:
    before: tuple[_Node, ...]
    after: tuple[_Node, ...]
    at: float


_Node = _Words | _Weighed | _Switch


def read_syntax(prompt: str, field: str = "prompt") -> list[Stage]:
    """The stages of a prompt, the first of which begins at 0.

    Args:
        prompt: At most 2,000 characters.
        field: Of the request, for messages.

    Raises:
        BadInput: If a bracket is not closed, a weight or a share is out of range, or the prompt is too long.
    """
    if len(prompt) > LONGEST:
        raise BadInput(field, f"is {len(prompt)} characters long; give at most {LONGEST}")
    reader = _Reader(prompt, field)
    nodes = reader.nodes("", 0)
    begins = sorted({0.0, *_changes(nodes)})
    stages: list[Stage] = []
    for moment in begins:
        spans = _merged(_spans(nodes, 1.0, moment))
        if not stages or stages[-1].spans != spans:
            stages.append(Stage(moment, spans))
    return stages


class _Reader:
    def __init__(self, text: str, field: str) -> None:
        self.text, self.field, self.at = text, field, 0

    def nodes(self, closes: str, depth: int) -> tuple[_Node, ...]:
        """Everything up to one of the characters in `closes`, which is left to be read; or to the end."""
        if depth > _DEEPEST:
            raise BadInput(self.field, f"brackets lie more than {_DEEPEST} deep; use fewer")
        found: list[_Node] = []
        words: list[str] = []

        def flush() -> None:
            if words:
                found.append(_Words("".join(words)))
                words.clear()

        while self.at < len(self.text):
            character = self.text[self.at]
            if character == "\\" and self.text[self.at + 1 : self.at + 2] in ("(", ")", "[", "]", "\\"):
                words.append(self.text[self.at + 1])
                self.at += 2
            elif character in closes:
                break
            elif character in "([":
                flush()
                self.at += 1
                found.append(self._round(depth) if character == "(" else self._square(depth))
            elif character in ")]":
                raise BadInput(
                    self.field,
                    f"has a {character!r} that closes nothing; write \\{character} for the character",
                )
            else:
                words.append(character)
                self.at += 1
        flush()
        return tuple(found)

    def _round(self, depth: int) -> _Node:
        opened = self.at - 1
        parts = self.nodes(":)", depth + 1)
        pieces = [parts]
        while self._next(opened, ")") == ":":
            self.at += 1
            pieces.append(self.nodes(":)", depth + 1))
        self.at += 1
        number = _plain(pieces[-1]) if len(pieces) > 1 else None
        if number is None or not _NUMBER.match(number):  # a colon of the text's own
            return _Weighed(_joined(pieces), _STEP)
        weight = float(number)
        if not _LEAST <= weight <= _MOST:
            raise BadInput(
                self.field, f"has a weight of {number.strip()}; weights are {_LEAST:g} to {_MOST:g}"
            )
        return _Weighed(_joined(pieces[:-1]), weight)

    def _square(self, depth: int) -> _Node:
        opened = self.at - 1
        pieces = [self.nodes(":]", depth + 1)]
        while self._next(opened, "]") == ":":
            self.at += 1
            pieces.append(self.nodes(":]", depth + 1))
        self.at += 1
        if len(pieces) == 1:
            return _Weighed(pieces[0], 1 / _STEP)
        number = _plain(pieces[-1])
        if len(pieces) > 3 or number is None or not _NUMBER.match(number):
            raise BadInput(self.field, "a change is written [before:after:share], the share being 0 to 1")
        share = float(number)
        if share > 1:
            raise BadInput(self.field, f"changes at {number.strip()} of the walk; give a share of 0 to 1")
        return _Switch(*(((), pieces[0]) if len(pieces) == 2 else (pieces[0], pieces[1])), share)

    def _next(self, opened: int, closes: str) -> str:
        if self.at >= len(self.text):
            bracket = self.text[opened]
            raise BadInput(
                self.field,
                f"the {bracket!r} at character {opened + 1} is not closed; write {closes!r}, or \\{bracket}",
            )
        return self.text[self.at]


def _plain(nodes: Sequence[_Node]) -> str | None:
    if len(nodes) == 1 and isinstance(nodes[0], _Words):
        return nodes[0].text
    return None


def _joined(pieces: Sequence[tuple[_Node, ...]]) -> tuple[_Node, ...]:
    out: list[_Node] = list(pieces[0])
    for piece in pieces[1:]:
        out += [_Words(":"), *piece]
    return tuple(out)


def _changes(nodes: Sequence[_Node]) -> list[float]:
    found: list[float] = []
    for node in nodes:
        if isinstance(node, _Weighed):
            found += _changes(node.parts)
        elif isinstance(node, _Switch):
            found += [node.at, *_changes(node.before), *_changes(node.after)]
    return found


def _spans(nodes: Sequence[_Node], weight: float, moment: float) -> list[Span]:
    out: list[Span] = []
    for node in nodes:
        if isinstance(node, _Words):
            out.append(Span(node.text, weight))
        elif isinstance(node, _Weighed):
            out += _spans(node.parts, weight * node.weight, moment)
        else:
            out += _spans(node.after if moment >= node.at else node.before, weight, moment)
    return out


def _merged(spans: Sequence[Span]) -> tuple[Span, ...]:
    out: list[Span] = []
    for span in spans:
        if out and abs(out[-1].weight - span.weight) < 1e-12:
            out[-1] = Span(out[-1].text + span.text, span.weight)
        elif span.text:
            out.append(span)
    return tuple(out)
