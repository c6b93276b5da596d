"""MP4 and its kin: a top-level box `uuid` at the end of the file (ISO/IEC 14496-12, section 11.1).

Nothing before it moves, so no table of offsets changes, and the film's own comment stays its own.  An index of
fragments (`mfra`) has to be the last box, and points at nothing behind the recipe, which goes before it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO
from uuid import NAMESPACE_OID, uuid5

from domains.common.recipes.notation import MARK, MAX_STORED_BYTES, too_large
from domains.common.recipes.splice import MAX_PARTS, Damaged, Edit, Format, NoPlace, read_at, size_of

UUID = uuid5(NAMESPACE_OID, MARK.decode())


def boxes(stream: IO[bytes]) -> Iterator[tuple[bytes, int, int, int, bool]]:
    """Kind, where the box, its data and the next box begin, and whether it states no size, of every top-level box."""
    end = size_of(stream)
    position = 0
    for _ in range(MAX_PARTS):
        if position == end:
            return
        size, kind = struct.unpack(">I4s", read_at(stream, position, 8))
        data = position + 8
        open_ended = size == 0
        if open_ended:
            size = end - position
        elif size == 1:
            (size,) = struct.unpack(">Q", read_at(stream, data, 8))
            data += 8
        if position + size > end or size < data - position:
            raise Damaged
        yield kind, position, data, position + size, open_ended
        position += size
    raise Damaged


def read(stream: IO[bytes]) -> bytes | None:
    """The recipe."""
    for kind, _, data, end, _ in boxes(stream):
        if _is_recipe(stream, kind, data, end):
            if end - data > MAX_STORED_BYTES:
                raise too_large()
            return read_at(stream, data + 16, end - data - 16)
    return None


def edits(stream: IO[bytes], text: bytes | None) -> list[Edit]:
    """Takes old recipes out and puts the new one at the end."""
    made, place, unstated = [], 0, False
    for kind, start, data, end, open_ended in boxes(stream):
        if _is_recipe(stream, kind, data, end):
            made.append(Edit(start, end))
        if kind != b"mfra":
            place = end
        unstated = open_ended
    if text is not None:
        if unstated:  # the last box reaches to the end of the file, whatever comes
            raise NoPlace
        made.append(Edit(place, place, struct.pack(">I4s", 24 + len(text), b"uuid") + UUID.bytes + text))
    return made


def _is_recipe(stream: IO[bytes], kind: bytes, data: int, end: int) -> bool:
    return kind == b"uuid" and end - data >= 16 and read_at(stream, data, 16) == UUID.bytes


MP4 = Format("MP4", f"a top-level box `uuid` ({UUID}) at the end", read, edits)
