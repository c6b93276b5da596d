"""JSON objects: a first member `langevin_recipe`.  The text is scanned, not parsed, so that no digit of it changes.

Scanning needs no memory but the text's own and no recursion, whatever the text holds.  An array has no place for a
name: its recipe travels beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from domains.common.recipes.notation import MAX_STORED_BYTES, too_large
from domains.common.recipes.splice import MAX_PARTS, Damaged, Edit, Format, NoPlace, size_of

MEMBER = b"langevin_recipe"
_MAX_TEXT = 32 * 2**20  # a longer text carries its recipe beside it
_BLANK = re.compile(rb"[ \t\r\n]*+")
_SCALAR = re.compile(rb"[-+.0-9A-Za-z]++")
_SIGN = re.compile(rb'"|[{\[]++|[}\]]++')
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Member:
    """A name in an object and where it, its value and what follows are."""

    name: bytes  # as spelled, without quotes
    start: int
    value: int
    end: int
    comma: int | None  # just past the comma that follows, None for the last member


def members(text: bytes, start: int, recipe: bytes | None = None) -> Iterator[Member]:
    """The members of the object that begins at `start`; `recipe` names one that is not followed past a recipe's length.

    Raises:
        BadInput: If the member `recipe` is longer than any recipe.
        Damaged: If there is no object, or it does not end.
        NoPlace: If it has more members than are looked at.
    """
    if text[start : start + 1] != b"{":
        raise Damaged
    position = _blank(text, start + 1)
    if text[position : position + 1] == b"}":
        return
    for _ in range(MAX_PARTS):
        named = _string_end(text, position)
        name = text[position + 1 : named - 1]
        colon = _blank(text, named)
        if text[colon : colon + 1] != b":":
            raise Damaged
        value = _blank(text, colon + 1)
        end = _value_end(text, value, MAX_STORED_BYTES if name == recipe else len(text))
        after = _blank(text, end)
        sign = text[after : after + 1]
        yield Member(name, position, value, end, after + 1 if sign == b"," else None)
        if sign == b"}":
            return
        if sign != b",":
            raise Damaged
        position = _blank(text, after + 1)
    raise NoPlace


def find(text: bytes, start: int, name: bytes) -> bytes | None:
    """The value of the first member `name` of the object at `start`, a recipe's; None where there is none.

    Raises:
        BadInput: If it is larger than any recipe.
        Damaged: As `members`.
    """
    for member in members(text, start, recipe=name):
        if member.name == name:
            return text[member.value : member.end]
    return None


def _value_end(text: bytes, start: int, most: int) -> int:
    """Just past the value that begins at `start`, of at most so many bytes."""
    first = text[start : start + 1]
    if first == b'"':
        return _string_end(text, start)
    if first not in (b"{", b"["):
        found = _SCALAR.match(text, start)
        if found is None:
            raise Damaged
        return found.end()
    depth, position = 0, start
    while (sign := _SIGN.search(text, position)) is not None:
        kind, position = text[sign.start()], sign.end()
        if kind == ord('"'):
            position = _string_end(text, sign.start())
        elif kind in b"{[":
            depth += position - sign.start()
        else:
            depth -= position - sign.start()
            if depth <= 0:
                return position + depth
        if position - start > most:
            raise too_large()
    raise Damaged


def _string_end(text: bytes, start: int) -> int:
    """Just past the string that begins at `start`: at the first quote before which backslashes are even in number."""
    if text[start : start + 1] != b'"':
        raise Damaged
    quote = text.find(b'"', start + 1)
    while quote >= 0:
        bare = quote
        while bare > start + 1 and text[bare - 1] == ord("\\"):
            bare -= 1
        if (quote - bare) % 2 == 0:
            return quote + 1
        quote = text.find(b'"', quote + 1)
    raise Damaged


def without(text: bytes, start: int, name: bytes) -> list[Edit]:
    """What takes every member `name` out of the object at `start`."""
    found = list(members(text, start))
    made = []
    for index, member in enumerate(found):
        if member.name != name:
            continue
        if member.comma is not None:
            made.append(Edit(member.start, member.comma))
        else:  # the last: the comma before it goes too
            before = index and found[index - 1].name != name
            made.append(Edit(found[index - 1].comma - 1 if before else member.start, member.end))  # type: ignore[operator]
    return made


def put_first(text: bytes, start: int, name: bytes, value: bytes) -> Edit:
    """What makes `name` the first member of the object at `start`, where members of that name are taken out."""
    others = any(member.name != name for member in members(text, start))
    return Edit(start + 1, start + 1, b'"' + name + b'":' + value + (b"," if others else b""))


def read(stream: IO[bytes]) -> bytes | None:
    """The recipe."""
    text, start = _text(stream)
    return find(text, start, MEMBER) if b'"' + MEMBER + b'"' in text else None


def edits(stream: IO[bytes], text: bytes | None) -> list[Edit]:
    """Takes old recipes out and puts the new one first."""
    data, start = _text(stream)
    made = without(data, start, MEMBER) if b'"' + MEMBER + b'"' in data else []
    if text is not None:
        _whole(data, start)
        made.append(put_first(data, start, MEMBER, text))
    return made


def _text(stream: IO[bytes]) -> tuple[bytes, int]:
    """The text and where its object begins."""
    size = size_of(stream)
    if size > _MAX_TEXT:
        raise NoPlace
    text = stream.read(size)
    start = _blank(text, len(_BOM) if text.startswith(_BOM) else 0)
    if text[start : start + 1] != b"{":
        raise NoPlace
    return text, start


def _whole(text: bytes, start: int) -> None:
    """Raises `NoPlace` unless the text is one object: several, one a line, are not JSON but JSON Lines."""
    if _blank(text, _value_end(text, start, len(text))) != len(text):
        raise NoPlace


def _blank(text: bytes, position: int) -> int:
    found = _BLANK.match(text, position)
    return position if found is None else found.end()


JSON = Format("JSON", "a member `langevin_recipe` of the outermost object", read, edits)
