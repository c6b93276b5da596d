"""Parquet: the key `langevin` in the footer's key-value metadata, which pyarrow shows as metadata of the schema.

Rows are neither decoded nor written again, so that row groups, encodings, compression, statistics and indices stay:
only the footer is, a Thrift structure in the compact protocol, of which other fields are copied as they are.
"""

from __future__ import annotations

import struct
from typing import IO

from domains.common.recipes.formats.thrift import (
    BINARY,
    LIST,
    STRUCT,
    Field,
    Reader,
    list_header,
    string,
    struct_of,
)
from domains.common.recipes.notation import MAX_STORED_BYTES, RECIPE_KEY, too_large
from domains.common.recipes.splice import Damaged, Edit, Format, NoPlace, read_at, size_of

_MAX_FOOTER = 32 * 2**20
_MAGIC = b"PAR1"
_KEY = RECIPE_KEY.encode()
_KEY_VALUE, _ENCRYPTION = 5, 8  # fields of FileMetaData


def read(stream: IO[bytes]) -> bytes | None:
    """The recipe."""
    footer, _ = _footer(stream)
    for field in Reader(footer).fields():
        if field.id == _KEY_VALUE and field.kind == LIST:
            for start, _ in Reader(footer, field.start).structs():
                pair = _pair(footer, start)
                if pair.get(1) == _KEY:
                    value = pair.get(2, b"")
                    if len(value) > MAX_STORED_BYTES:
                        raise too_large()
                    return value
    return None


def edits(stream: IO[bytes], text: bytes | None) -> list[Edit]:
    """Writes the footer anew, with the old key left out and the new one last."""
    footer, start = _footer(stream)
    fields = Reader(footer).fields()
    if any(field.id == _ENCRYPTION for field in fields):
        raise NoPlace  # a signature of the footer follows it
    pairs: list[bytes] = []
    for field in fields:
        if field.id == _KEY_VALUE and field.kind == LIST:
            spans = Reader(footer, field.start).structs()
            pairs += [footer[begin:end] for begin, end in spans if _pair(footer, begin).get(1) != _KEY]
    if text is not None:
        pairs.append(struct_of([(1, BINARY, string(_KEY)), (2, BINARY, string(text))]))
    parts = [
        (field.id, field.kind, footer[field.start : field.end]) for field in fields if field.id != _KEY_VALUE
    ]
    if pairs:
        parts.append((_KEY_VALUE, LIST, list_header(len(pairs), STRUCT) + b"".join(pairs)))
    new = struct_of(sorted(parts, key=lambda part: part[0]))
    return [Edit(start, start + len(footer) + 4, new + struct.pack("<I", len(new)))]


def _pair(footer: bytes, start: int) -> dict[int, bytes]:
    """The strings of a structure, by field."""
    found: dict[int, bytes] = {}
    field: Field
    for field in Reader(footer, start).fields():
        if field.kind == BINARY:
            found[field.id] = Reader(footer, field.start).string()
    return found


def _footer(stream: IO[bytes]) -> tuple[bytes, int]:
    """The footer and where it begins."""
    size = size_of(stream)
    length, magic = struct.unpack("<I4s", read_at(stream, max(0, size - 8), 8))
    if magic != _MAGIC or length + 12 > size:
        raise Damaged
    if length > _MAX_FOOTER:
        raise NoPlace
    start = size - 8 - length
    return read_at(stream, start, length), start


PARQUET = Format("Parquet", "the key `langevin` of the footer's key-value metadata", read, edits)
