"""SDF: a data item `<langevin-recipe>` of the first record, in lines of at most 200 columns (CTfile formats)."""

from __future__ import annotations

from typing import IO

from domains.common.recipes.formats.lines import lines
from domains.common.recipes.notation import MARK, MAX_STORED_BYTES, cut, too_large
from domains.common.recipes.splice import Edit, Format, NoPlace

_HEADER = b">  <" + MARK + b">"
_WIDTH = 200
_MOST = 4_000_000  # lines of one record


def read(stream: IO[bytes]) -> bytes | None:
    """The recipe."""
    return _record(stream)[2]


def edits(stream: IO[bytes], text: bytes | None) -> list[Edit]:
    """Takes an old item out and puts the new one before the record's others."""
    place, newline, _, old = _record(stream)
    made = [Edit(*span) for span in old]
    if text is not None:
        rows = [_HEADER, *cut(text, _WIDTH), b"", b""]
        made.append(Edit(place, place, newline.join(rows)))
    return made


def _record(stream: IO[bytes]) -> tuple[int, bytes, bytes | None, list[tuple[int, int]]]:
    """Where items begin, how lines end, the recipe, and where its items are."""
    place, newline = -1, b"\n"
    pieces: list[bytes] = []
    spans: list[tuple[int, int]] = []
    size, item = 0, -1
    for line in lines(stream, most=_MOST):
        if place < 0:
            if line.text.startswith(b"M  END") and line.newline:
                place, newline = line.end, line.newline
        elif item >= 0:
            if not line.text:
                spans.append((item, line.end))
                item = -1
            elif len(spans) == 0:
                size += len(line.text)
                if size > MAX_STORED_BYTES:
                    raise too_large()
                pieces.append(line.text.strip())
        elif line.text.startswith(b">") and b"<" + MARK + b">" in line.text:
            item = line.start
        elif line.text.startswith(b"$$$$"):
            break
    if place < 0:
        raise NoPlace
    if item >= 0:  # the file ends within the item
        spans.append((item, _end(stream)))
    return place, newline, b"".join(pieces) if spans else None, spans


def _end(stream: IO[bytes]) -> int:
    return stream.seek(0, 2)


SDF = Format("SDF", "a data item `<langevin-recipe>` of the first record", read, edits)
