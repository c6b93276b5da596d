"""NIfTI-1 and NIfTI-2, plain and gzipped: a header extension of code 6, comment, that begins with `langevin-recipe`.

(nifti.nimh.nih.gov, "NIfTI-1 header extensions".)  The header says where the data follow, in steps of 16 bytes.
"""

from __future__ import annotations

import struct
from typing import IO

from domains.common.recipes.notation import MARK, MAX_STORED_BYTES, too_large
from domains.common.recipes.splice import MAX_PARTS, Damaged, Edit, Format, NoPlace, read_at, read_exactly

_COMMENT = 6
_NAME = MARK + b"\n"
_LARGEST = 2**24  # float32, which holds the place of the data in NIfTI-1, counts exactly up to here


def is_header(head: bytes) -> bool:
    """Whether a file that begins with `head` (348 bytes) holds header and data of NIfTI in one."""
    return head[344:348] == b"n+1\x00" or head[4:12] == b"n+2\x00\r\n\x1a\n"


def read(stream: IO[bytes]) -> bytes | None:
    """The recipe."""
    found = _extensions(stream)[1]
    for start, size, ours in found:
        if ours:
            if size > MAX_STORED_BYTES:
                raise too_large()
            return read_at(stream, start + 8, size - 8)[len(_NAME) :].rstrip(b"\x00")
    return None


def edits(stream: IO[bytes], text: bytes | None) -> list[Edit]:
    """Takes old recipes out, puts the new one after the other extensions, and states where the data are."""
    order, found, field, data = _extensions(stream)
    header = 348 if field == 108 else 540
    made = [Edit(start, start + size) for start, size, ours in found if ours]
    if not made and text is None:
        return []
    data -= sum(edit.end - edit.start for edit in made)
    if text is not None:
        place = max([header + 4, *(start + size for start, size, _ in found)])
        size = -(-(8 + len(_NAME) + len(text)) // 16) * 16
        new = struct.pack(order + "ii", size, _COMMENT) + (_NAME + text).ljust(size - 8, b"\x00")
        made.append(Edit(place, place, new))
        data += size
    if field == 108 and data > _LARGEST:
        raise NoPlace
    stated = struct.pack(order + ("f" if field == 108 else "q"), data)
    left = text is not None or any(not ours for _, _, ours in found)
    made += [Edit(field, field + len(stated), stated), Edit(header, header + 1, bytes([left]))]
    return made


def _extensions(stream: IO[bytes]) -> tuple[str, list[tuple[int, int, bool]], int, int]:
    """Byte order; start, size and whether it is a recipe, of every extension; where the data's place is stated; it."""
    head = read_at(stream, 0, 348)
    first = head[344:348] == b"n+1\x00"
    header, field = (348, 108) if first else (540, 168)
    order = next((order for order in "<>" if struct.unpack(order + "i", head[:4]) == (header,)), None)
    if order is None:
        raise Damaged
    (stated,) = struct.unpack_from(order + ("f" if first else "q"), head, field)
    if not header + 4 <= stated < 2**40 or stated != int(stated):
        raise NoPlace  # a header that leaves no room for the flag of extensions
    data, position = int(stated), header + 4
    flag = read_at(stream, header, 4)[0]
    found: list[tuple[int, int, bool]] = []
    for _ in range(MAX_PARTS):
        if not flag or position + 16 > data:
            return order, found, field, data
        size, code = struct.unpack(order + "ii", read_at(stream, position, 8))
        if size == 0:  # room that is left before the data
            return order, found, field, data
        if size < 8 or size % 16 or position + size > data:
            raise Damaged
        ours = code == _COMMENT and size >= 8 + len(_NAME) and read_exactly(stream, len(_NAME)) == _NAME
        found.append((position, size, ours))
        position += size
    raise Damaged


_PLACE = "a header extension of code 6 (comment) that begins with `langevin-recipe`"
NIFTI = Format("NIfTI", _PLACE, read, edits)
NIFTI_GZ = Format("NIfTI, gzipped", _PLACE, read, edits, gzipped=True)
