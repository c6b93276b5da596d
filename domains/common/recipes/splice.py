"""Changing a file by a list of edits, so that every byte that no edit names stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO

MAX_PARTS = 100_000  # chunks, boxes, segments or header lines that a file may have
_BLOCK = 2**20


class Damaged(Exception):
    """A file is not built as its format says."""


class NoPlace(Exception):
    """A file is sound, but this variant of its format holds no recipe; it travels beside it."""


@dataclass(frozen=True)
class Edit:
    """Bytes `start` to `end` of a file are replaced by `new`; an insertion where `start == end`."""

    start: int
    end: int
    new: bytes = b""


@dataclass(frozen=True)
class Format:
    """How one format carries a recipe.

    Attributes:
        title: Its name, for people.
        place: Where the recipe sits, for people.
        read: Stream -> the recipe's JSON, or None where there is none.
        edits: (stream, JSON) -> what to change so that the file carries it in place of any other; None for the JSON
            takes it out.  Taking out what was put in gives the very bytes from before.
        gzipped: Whether the stream is what a gzip file holds.

    `read` and `edits` raise `Damaged` and `NoPlace`.
    """

    title: str
    place: str
    read: Callable[[IO[bytes]], bytes | None]
    edits: Callable[[IO[bytes], bytes | None], list[Edit]]
    gzipped: bool = False


def spliced(stream: IO[bytes], edits: Iterable[Edit]) -> Iterator[bytes]:
    """The bytes of `stream` with `edits` made, in blocks.

    Raises:
        Damaged: If the stream ends before the last edit, or edits overlap.
    """
    position = 0
    stream.seek(0)
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if edit.start < position:
            raise Damaged
        left = edit.start - position
        while left:
            block = stream.read(min(left, _BLOCK))
            if not block:
                raise Damaged
            left -= len(block)
            yield block
        yield edit.new
        position = edit.end
        stream.seek(position)
    while block := stream.read(_BLOCK):
        yield block


def size_of(stream: IO[bytes]) -> int:
    """Size of a stream in bytes; it is left at its start."""
    size = stream.seek(0, 2)
    stream.seek(0)
    return size


def read_exactly(stream: IO[bytes], count: int) -> bytes:
    """The next `count` bytes.

    Raises:
        Damaged: If there are fewer.
    """
    data = stream.read(count)
    if len(data) != count:
        raise Damaged
    return data


def read_at(stream: IO[bytes], offset: int, count: int) -> bytes:
    """`count` bytes from `offset`.

    Raises:
        Damaged: If there are fewer.
    """
    stream.seek(offset)
    return read_exactly(stream, count)
