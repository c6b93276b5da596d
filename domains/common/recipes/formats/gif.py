"""GIF: an application extension `LANGEVIN` before the trailer (GIF89a, section 26).

A comment extension would join the picture's own comments in the eyes of a reader.
"""

from __future__ import annotations

from typing import IO

from domains.common.recipes.notation import MARK, MAX_STORED_BYTES, too_large
from domains.common.recipes.splice import Damaged, Edit, Format, NoPlace, read_at, read_exactly

_EXTENSION, _IMAGE, _TRAILER, _APPLICATION = 0x21, 0x2C, 0x3B, 0xFF
_NAME = b"LANGEVIN1.0"  # eight letters and a code of three, as the format asks
_MAX_BLOCKS = 2**20  # a block holds 255 bytes but for the last of a frame: pictures of 250 MB


def read(stream: IO[bytes]) -> bytes | None:
    """The recipe."""
    found, _ = _walk(stream)
    if not found:
        return None
    start, end = found[0]
    if end - start > MAX_STORED_BYTES:
        raise too_large()
    data, position = bytearray(), 14
    raw = read_at(stream, start, end - start)
    while raw[position]:
        data += raw[position + 1 : position + 1 + raw[position]]
        position += 1 + raw[position]
    return bytes(data[len(MARK) :])


def edits(stream: IO[bytes], text: bytes | None) -> list[Edit]:
    """Takes old recipes out and puts the new one before the trailer."""
    found, trailer = _walk(stream)
    made = [Edit(start, end) for start, end in found]
    if text is not None:
        data = MARK + text
        pieces = [data[start : start + 255] for start in range(0, len(data), 255)]
        blocks = b"".join(bytes([len(piece)]) + piece for piece in pieces)
        head = bytes([_EXTENSION, _APPLICATION, len(_NAME)]) + _NAME
        made.append(Edit(trailer, trailer, head + blocks + b"\x00"))
    return made


def _walk(stream: IO[bytes]) -> tuple[list[tuple[int, int]], int]:
    """Where recipes begin and end, and where the trailer is."""
    found: list[tuple[int, int]] = []
    left = _MAX_BLOCKS
    packed = read_at(stream, 10, 3)[0]
    if packed & 0x80:
        stream.seek(3 * 2 ** ((packed & 7) + 1), 1)
    while True:
        start = stream.tell()
        introducer = read_exactly(stream, 1)[0]
        if introducer == _TRAILER:
            return found, start
        ours = False
        if introducer == _IMAGE:
            packed = read_exactly(stream, 9)[8]
            if packed & 0x80:
                stream.seek(3 * 2 ** ((packed & 7) + 1), 1)
            stream.seek(1, 1)  # size of the LZW codes
        elif introducer == _EXTENSION:
            ours = read_exactly(stream, 1)[0] == _APPLICATION
            if ours:
                named = stream.read(1 + len(_NAME) + 1 + len(MARK))
                ours = named[:12] == bytes([len(_NAME)]) + _NAME and named[13:] == MARK
                stream.seek(start + 2)
        else:
            raise Damaged
        while length := read_exactly(stream, 1)[0]:
            stream.seek(length, 1)
            left -= 1
            if not left:
                raise NoPlace
        if ours:
            found.append((start, stream.tell()))


GIF = Format("GIF", "an application extension `LANGEVIN1.0` before the trailer", read, edits)
