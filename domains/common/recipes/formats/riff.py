"""WebP and WAV: a chunk `LNGV` of its own at the end of the RIFF file; readers pass over chunks that they do not know.

An XMP packet or an `INFO` comment would take the place of the picture's or the sound's own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

from domains.common.recipes.notation import MARK, MAX_STORED_BYTES, too_large
from domains.common.recipes.splice import MAX_PARTS, Damaged, Edit, Format, NoPlace, read_at, size_of

_KIND = b"LNGV"
# Followed by 1 where the byte before the chunk is ours too, else by 0: some writers (Python's `wave`) leave out the one
# that makes the last chunk's length even.
_NAME = MARK
_UNSTATED = (0, 0xFFFFFFFF)  # what streaming writers leave as the size


def chunks(stream: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Kind, offset of the data and its length, of every chunk; only headers are read."""
    end = _end(stream)
    position = 12
    for _ in range(MAX_PARTS):
        if position + 8 > end:
            return
        kind, length = struct.unpack("<4sI", read_at(stream, position, 8))
        if position + 8 + length > end:
            raise Damaged
        yield kind, position + 8, length
        position += 8 + length + length % 2
    raise Damaged


def read(stream: IO[bytes]) -> bytes | None:
    """The recipe."""
    for kind, offset, length in chunks(stream):
        if _is_recipe(stream, kind, offset, length):
            if length > MAX_STORED_BYTES:
                raise too_large()
            return read_at(stream, offset, length)[len(_NAME) + 1 :]
    return None


def edits(stream: IO[bytes], text: bytes | None) -> list[Edit]:
    """Takes old recipes out, puts the new one at the end, and states the new size."""
    end = _end(stream)
    made = []
    for kind, offset, length in chunks(stream):
        if _is_recipe(stream, kind, offset, length):
            padded = read_at(stream, offset + len(_NAME), 1) == b"\x01"
            made.append(Edit(offset - 8 - padded, min(offset + length + length % 2, end)))
    size = end - 8 - sum(edit.end - edit.start for edit in made)
    if text is not None:
        odd = size % 2
        data = _NAME + bytes([odd]) + text
        chunk = b"\x00" * odd + struct.pack("<4sI", _KIND, len(data)) + data + b"\x00" * (len(data) % 2)
        made.append(Edit(end, end, chunk))
        size += len(chunk)
    if size >= 0xFFFFFFFF:
        raise NoPlace
    return [Edit(4, 8, struct.pack("<I", size)), *made]


def _end(stream: IO[bytes]) -> int:
    (size,) = struct.unpack("<I", read_at(stream, 4, 4))
    if size in _UNSTATED:
        raise NoPlace
    if 8 + size > size_of(stream) or size < 4:
        raise Damaged
    return 8 + size


def _is_recipe(stream: IO[bytes], kind: bytes, offset: int, length: int) -> bool:
    return kind == _KIND and length > len(_NAME) and read_at(stream, offset, len(_NAME)) == _NAME


WEBP = Format("WebP", "a RIFF chunk `LNGV` at the end", read, edits)
WAV = Format("WAV", "a RIFF chunk `LNGV` at the end", read, edits)
