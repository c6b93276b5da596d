"""npz: a record between the last array and the zip directory, which names the arrays alone (PKWARE APPNOTE 4.3.11).

A member of its own would be one more array to whoever loops over the archive, and an archive's comment is too short.
The record is an archive extra data record; behind it stands its length, so that it is found from the directory.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import IO

from domains.common.recipes.notation import MARK, MAX_STORED_BYTES, too_large
from domains.common.recipes.splice import Damaged, Edit, Format, NoPlace, read_at, size_of

_SIGNATURE = b"PK\x06\x08"
_END, _END64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_TAIL = MARK + b"\x00"
_OVERHEAD = 8 + len(MARK) + 1 + 4 + len(_TAIL)


@dataclass(frozen=True)
class Archive:
    """Where things are in a zip archive: its directory, and the fields that state where it and what follows are."""

    directory: int
    stated32: int
    small: bool  # whether 32 bits state it
    stated64: int | None
    locator: int | None
    end64: int | None


def is_npz(head: bytes) -> bool:
    """Whether an archive that begins with `head` holds a NumPy array first."""
    if len(head) < 30:
        return False
    (length,) = struct.unpack("<H", head[26:28])
    return head[30 : 30 + length].endswith(b".npy")


def read(stream: IO[bytes]) -> bytes | None:
    """The recipe."""
    found = _record(stream, _archive(stream).directory)
    if found is None:
        return None
    start, end = found
    return read_at(stream, start + 8 + len(MARK) + 1, end - start - _OVERHEAD)


def edits(stream: IO[bytes], text: bytes | None) -> list[Edit]:
    """Takes an old recipe out, puts the new one before the directory, and states where that is now."""
    archive = _archive(stream)
    found = _record(stream, archive.directory)
    made = [Edit(*found)] if found is not None else []
    moved = -sum(edit.end - edit.start for edit in made)
    if text is not None:
        content = MARK + b"\x00" + text
        content += struct.pack("<I", len(content) + 12 + len(_TAIL)) + _TAIL
        new = _SIGNATURE + struct.pack("<I", len(content)) + content
        made.append(Edit(archive.directory, archive.directory, new))
        moved += len(new)
    return made + _moved(archive, moved) if moved else made


def _moved(archive: Archive, by: int) -> list[Edit]:
    """What states the directory's place anew."""
    place = archive.directory + by
    made = []
    if archive.small:
        if place >= 0xFFFFFFFF:
            raise NoPlace
        made.append(Edit(archive.stated32, archive.stated32 + 4, struct.pack("<I", place)))
    if archive.stated64 is None or archive.locator is None or archive.end64 is None:
        return made
    return [
        *made,
        Edit(archive.stated64, archive.stated64 + 8, struct.pack("<Q", place)),
        Edit(archive.locator, archive.locator + 8, struct.pack("<Q", archive.end64 + by)),
    ]


def _archive(stream: IO[bytes]) -> Archive:
    size = size_of(stream)
    start = max(0, size - 22 - 65_535)
    tail = read_at(stream, start, size - start)
    at = tail.rfind(_END)
    if at < 0 or at + 22 > len(tail):
        raise Damaged
    (directory,) = struct.unpack_from("<I", tail, at + 16)
    small = directory != 0xFFFFFFFF
    end = start + at
    stated64 = locator = end64 = None
    if end >= 20 and read_at(stream, end - 20, 4) == _LOCATOR:  # of 64 bits, also where 32 would do
        locator = end - 12
        (end64,) = struct.unpack("<Q", read_at(stream, locator, 8))
        if end64 + 56 > end or read_at(stream, end64, 4) != _END64:
            raise Damaged
        stated64 = end64 + 48
        (directory,) = struct.unpack("<Q", read_at(stream, stated64, 8))
    if directory + 4 > end or read_at(stream, directory, 4) not in (b"PK\x01\x02", _END, _END64):
        raise Damaged
    return Archive(directory, end + 16, small, stated64, locator, end64)


def _record(stream: IO[bytes], directory: int) -> tuple[int, int] | None:
    """Where the record of the recipe begins and ends, if there is one."""
    behind = 4 + len(_TAIL)
    if directory < _OVERHEAD:
        return None
    raw = read_at(stream, directory - behind, behind)
    if raw[4:] != _TAIL:
        return None
    (length,) = struct.unpack("<I", raw[:4])
    if length > MAX_STORED_BYTES:
        raise too_large()
    start = directory - length
    if start < 0 or length < _OVERHEAD:
        raise Damaged
    head = read_at(stream, start, 8 + len(MARK) + 1)
    if head != _SIGNATURE + struct.pack("<I", length - 8) + MARK + b"\x00":
        raise Damaged
    return start, directory


NPZ = Format("npz", "an archive extra data record before the zip directory", read, edits)
