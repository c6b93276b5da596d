"""PNG and APNG: a `tEXt` chunk with the keyword `langevin`, before the last chunk (PNG 3, section 11.3.3)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import IO

from domains.common.recipes.notation import MAX_STORED_BYTES, RECIPE_KEY, too_large
from domains.common.recipes.splice import MAX_PARTS, Damaged, Edit, Format, read_at, size_of

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEYWORD = RECIPE_KEY.encode() + b"\x00"


def chunks(stream: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Kind, offset of the data and its length, of every chunk up to the last; only headers are read."""
    size = size_of(stream)
    position = len(SIGNATURE)
    for _ in range(MAX_PARTS):
        length, kind = struct.unpack(">I4s", read_at(stream, position, 8))
        if position + 12 + length > size:
            raise Damaged
        yield kind, position + 8, length
        if kind == b"IEND":
            return
        position += 12 + length
    raise Damaged


def read(stream: IO[bytes]) -> bytes | None:
    """The recipe, also from an `iTXt` chunk, as programs that rewrite files make them."""
    for kind, offset, length in chunks(stream):
        if not _is_recipe(stream, kind, offset, length):
            continue
        if length > MAX_STORED_BYTES:
            raise too_large()
        data, checksum = read_at(stream, offset, length), read_at(stream, offset + length, 4)
        if struct.pack(">I", zlib.crc32(kind + data)) != checksum:
            raise Damaged
        text = data[len(_KEYWORD) :]
        if kind == b"iTXt":  # two flags, language and translated keyword come first
            parts = text[2:].split(b"\x00", 2)
            if text[:1] != b"\x00" or len(parts) != 3:
                raise Damaged
            return parts[2]
        return text
    return None


def edits(stream: IO[bytes], text: bytes | None) -> list[Edit]:
    """Takes old recipes out and puts the new one before the last chunk."""
    made = []
    for kind, offset, length in chunks(stream):
        if _is_recipe(stream, kind, offset, length):
            made.append(Edit(offset - 8, offset + length + 4))
        elif kind == b"IEND" and text is not None:
            data = _KEYWORD + text
            checksum = zlib.crc32(b"tEXt" + data)
            chunk = struct.pack(">I", len(data)) + b"tEXt" + data + struct.pack(">I", checksum)
            made.append(Edit(offset - 8, offset - 8, chunk))
    return made


def _is_recipe(stream: IO[bytes], kind: bytes, offset: int, length: int) -> bool:
    if kind not in (b"tEXt", b"iTXt") or length < len(_KEYWORD):
        return False
    return read_at(stream, offset, len(_KEYWORD)) == _KEYWORD


PNG = Format("PNG", "a `tEXt` chunk with the keyword `langevin`", read, edits)
