"""JPEG: `APP10` segments that begin with `langevin-recipe`, numbered as an ICC profile's are (ITU-T T.81, annex B).

A segment holds at most 65,533 bytes, so a long recipe takes several.  They follow the leading `APP0` and `APP1`
segments (JFIF and Exif must stand first) and precede everything whose place is stated relative to itself.  A `COM`
segment would take the place of the picture's own comment in many readers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

from domains.common.recipes.notation import MARK, MAX_STORED_BYTES, too_large
from domains.common.recipes.splice import MAX_PARTS, Damaged, Edit, Format, read_at, read_exactly

_APP0, _APP1, _APP10, _SCAN, _END = 0xE0, 0xE1, 0xEA, 0xDA, 0xD9
_NAME = MARK + b"\x00"
_PIECE = 65_533 - len(_NAME) - 4


def segments(stream: IO[bytes]) -> Iterator[tuple[int, int, int, int]]:
    """Marker, where the segment begins, where its data begin and end; up to the first scan."""
    position = 2
    for _ in range(MAX_PARTS):
        start = position
        if read_at(stream, position, 1) != b"\xff":
            raise Damaged
        marker = 0xFF
        for _ in range(MAX_PARTS):  # any number of 0xFF may fill the room before a marker
            marker = read_exactly(stream, 1)[0]
            position += 1
            if marker != 0xFF:
                break
        if marker in (_SCAN, _END):
            return
        length = int.from_bytes(read_exactly(stream, 2), "big")
        if marker == 0 or 0xD0 <= marker <= 0xD8 or length < 2:
            raise Damaged
        yield marker, start, position + 3, position + 1 + length
        position += 1 + length
    raise Damaged


def read(stream: IO[bytes]) -> bytes | None:
    """The recipe, its pieces in their order."""
    pieces: dict[int, bytes] = {}
    counts = set()
    for marker, _, begin, end in segments(stream):
        if not _is_recipe(stream, marker, begin, end):
            continue
        index, count = struct.unpack(">HH", read_at(stream, begin + len(_NAME), 4))
        if index in pieces or count * _PIECE > MAX_STORED_BYTES + _PIECE:
            raise Damaged if index in pieces else too_large()
        pieces[index] = read_exactly(stream, end - begin - len(_NAME) - 4)
        counts.add(count)
    if not pieces:
        return None
    if counts != {len(pieces)} or sorted(pieces) != list(range(1, len(pieces) + 1)):
        raise Damaged
    return b"".join(pieces[index] for index in sorted(pieces))


def edits(stream: IO[bytes], text: bytes | None) -> list[Edit]:
    """Takes old pieces out and puts the new ones after the leading `APP0` and `APP1` segments."""
    made = []
    place, leading = 2, True
    for marker, start, begin, end in segments(stream):
        if _is_recipe(stream, marker, begin, end):
            made.append(Edit(start, end))
            continue
        leading = leading and marker in (_APP0, _APP1)
        if leading:
            place = end
    if text is not None:
        pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
        new = b""
        for index, piece in enumerate(pieces, 1):
            data = _NAME + struct.pack(">HH", index, len(pieces)) + piece
            new += struct.pack(">BBH", 0xFF, _APP10, len(data) + 2) + data
        made.append(Edit(place, place, new))
    return made


def _is_recipe(stream: IO[bytes], marker: int, begin: int, end: int) -> bool:
    if marker != _APP10 or end - begin < len(_NAME) + 4:
        return False
    return read_at(stream, begin, len(_NAME)) == _NAME


JPEG = Format("JPEG", "`APP10` segments that begin with `langevin-recipe`", read, edits)
