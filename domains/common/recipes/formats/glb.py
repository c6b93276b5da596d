"""GLB: `asset.extras.langevin` in the JSON chunk (glTF 2.0, sections 3.2 and 4.4); the other chunks are not touched."""

from __future__ import annotations

import struct
from typing import IO

from domains.common.recipes.formats.json_text import find, members, without
from domains.common.recipes.notation import RECIPE_KEY
from domains.common.recipes.splice import Damaged, Edit, Format, NoPlace, read_at, size_of

_MAX_TEXT = 16 * 2**20
_KEY = RECIPE_KEY.encode()


def read(stream: IO[bytes]) -> bytes | None:
    """The recipe."""
    text = _text(stream)
    extras = _extras(text, _asset(text))
    return find(text, extras, _KEY) if extras is not None else None


def edits(stream: IO[bytes], text: bytes | None) -> list[Edit]:
    """Takes the old recipe out, puts the new one in, and states the new lengths.

    What goes in is padded to a multiple of four bytes by blanks, so that the chunk's own padding stays as it is.
    """
    data = _text(stream)
    asset = _asset(data)
    extras = _extras(data, asset)
    made = []
    if extras is not None:
        made = without(data, extras, _KEY)
        if made and all(member.name == _KEY for member in members(data, extras)):
            if data[extras + 1 : extras + 2] == b'"':  # `extras` is ours altogether
                made, extras = without(data, asset, b"extras"), None
            elif data[extras + 1 : extras + 2] == b" ":  # somebody's empty `extras`: see below
                made[0] = Edit(extras + 1, made[0].end)
    if text is not None:
        place, name = (asset, b"extras") if extras is None else (extras, _KEY)
        others = any(member.name != name for member in members(data, place))
        head, end = b'"' + _KEY + b'":', b"," if others else b""
        if extras is None:
            head, end = b'"extras":{' + head, b"}" + end
        elif not others:
            head = b" " + head  # tells an empty `extras` of somebody else's from one of ours
        padding = b" " * (-(len(head) + len(text) + len(end)) % 4)
        made.append(Edit(place + 1, place + 1, head + padding + text + end))
    return _with_lengths(stream, made)


def _with_lengths(stream: IO[bytes], made: list[Edit]) -> list[Edit]:
    """The edits of the JSON text as edits of the file."""
    grown = sum(len(edit.new) - (edit.end - edit.start) for edit in made)
    whole, chunk = struct.unpack("<II", read_at(stream, 8, 8))
    if grown % 4:  # somebody else padded the old recipe: blanks at the end of the text take it up
        filling = -grown % 4
        made = [*made, Edit(chunk, chunk, b" " * filling)]
        grown += filling
    if whole + grown > 0xFFFFFFFF:
        raise NoPlace
    lengths = Edit(8, 16, struct.pack("<II", whole + grown, chunk + grown))
    return [lengths, *(Edit(edit.start + 20, edit.end + 20, edit.new) for edit in made)]


def _text(stream: IO[bytes]) -> bytes:
    """The JSON chunk."""
    version, whole, chunk, kind = struct.unpack("<III4s", read_at(stream, 4, 16))
    if version != 2 or kind != b"JSON" or whole > size_of(stream) or 20 + chunk > whole:
        raise Damaged
    if chunk > _MAX_TEXT:
        raise NoPlace
    return read_at(stream, 20, chunk)


def _asset(text: bytes) -> int:
    """Where the object `asset` begins, which every glTF has."""
    for member in members(text, len(text) - len(text.lstrip())):
        if member.name == b"asset" and text[member.value : member.value + 1] == b"{":
            return member.value
    raise Damaged


def _extras(text: bytes, asset: int) -> int | None:
    """Where the object `asset.extras` begins, if there is one."""
    for member in members(text, asset):
        if member.name == b"extras":
            if text[member.value : member.value + 1] != b"{":
                raise NoPlace  # glTF lets extras be anything; a number has no members
            return member.value
    return None


GLB = Format("GLB", "`asset.extras.langevin` in the JSON chunk", read, edits)
