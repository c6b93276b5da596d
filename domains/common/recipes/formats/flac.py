"""FLAC: an `APPLICATION` metadata block `LNGV` after the stream's description (RFC 9639, section 8.4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from domains.common.recipes.notation import MARK, MAX_STORED_BYTES, too_large
from domains.common.recipes.splice import MAX_PARTS, Damaged, Edit, Format, read_at, size_of

_LAST, _APPLICATION = 0x80, 2
_NAME = b"LNGV" + MARK + b"\x00"


def blocks(stream: IO[bytes]) -> Iterator[tuple[int, int, int]]:
    """First byte of the header (kind, and whether it is the last), offset of the data and length, of every block."""
    size = size_of(stream)
    position = 4
    for index in range(MAX_PARTS):
        header = read_at(stream, position, 4)
        length = int.from_bytes(header[1:], "big")
        if position + 4 + length > size or (index == 0 and header[0] & ~_LAST):
            raise Damaged
        yield header[0], position + 4, length
        if header[0] & _LAST:
            return
        position += 4 + length
    raise Damaged


def read(stream: IO[bytes]) -> bytes | None:
    """The recipe."""
    for head, offset, length in blocks(stream):
        if _is_recipe(stream, head, offset, length):
            if length > MAX_STORED_BYTES:
                raise too_large()
            return read_at(stream, offset, length)[len(_NAME) :]
    return None


def edits(stream: IO[bytes], text: bytes | None) -> list[Edit]:
    """Takes old recipes out, puts the new one second, and marks the last block anew."""
    kept, made = [], []
    for head, offset, length in blocks(stream):
        if _is_recipe(stream, head, offset, length):
            made.append(Edit(offset - 4, offset + length))
        else:
            kept.append((head & ~_LAST, offset, length))
    _, first, length = kept[0]
    alone = len(kept) == 1
    if text is not None:
        data = _NAME + text
        header = bytes([_APPLICATION | (_LAST if alone else 0)]) + len(data).to_bytes(3, "big")
        made.append(Edit(first + length, first + length, header + data))
    for index, (kind, offset, _) in enumerate(kept):
        last = index == len(kept) - 1 and not (alone and text is not None)
        made.append(Edit(offset - 4, offset - 3, bytes([kind | (_LAST if last else 0)])))
    return made


def _is_recipe(stream: IO[bytes], head: int, offset: int, length: int) -> bool:
    if head & ~_LAST != _APPLICATION or length < len(_NAME):
        return False
    return read_at(stream, offset, len(_NAME)) == _NAME


FLAC = Format("FLAC", "an `APPLICATION` metadata block `LNGV`", read, edits)
