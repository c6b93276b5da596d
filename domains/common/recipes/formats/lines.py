"""What the formats of lines share: reading a header line by line, and lines of comment that hold a recipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

from domains.common.recipes.notation import MARK, MAX_STORED_BYTES, cut, too_large
from domains.common.recipes.splice import MAX_PARTS, Damaged, Edit

MAX_LINE = 2**16


@dataclass(frozen=True)
class Line:
    """A line without its end, and where it begins and ends in the file, its end included."""

    text: bytes
    start: int
    end: int
    newline: bytes


@dataclass
class Comments:
    """Lines that hold a recipe, and where a new one goes.

    Attributes:
        prefix: What each line begins with: the format's sign of a comment, and our word.
        width: Longest line that the format's readers take, without its end.
        place: Where a new recipe goes; None where there is no place.
        newline: How lines end there.
    """

    prefix: bytes
    width: int
    place: int | None = None
    newline: bytes = b"\n"
    found: list[Line] = field(default_factory=list)

    @classmethod
    def after(cls, comment: bytes, width: int) -> Comments:
        """Lines of at most `width` bytes that begin with the sign `comment` and our word."""
        return cls(comment + MARK + b" ", width)

    def take(self, line: Line) -> bool:
        """Notes the line if it holds part of a recipe."""
        ours = line.text.startswith(self.prefix)
        if ours:
            self.found.append(line)
        return ours

    def recipe(self) -> bytes | None:
        """The recipe, joined."""
        if not self.found:
            return None
        if sum(len(line.text) - len(self.prefix) for line in self.found) > MAX_STORED_BYTES:
            raise too_large()
        return b"".join(line.text[len(self.prefix) :].strip() for line in self.found)

    def edits(self, text: bytes | None) -> list[Edit]:
        """Takes the old lines out and puts the new ones in."""
        made = [Edit(line.start, line.end) for line in self.found]
        if text is not None:
            if self.place is None:
                raise Damaged
            pieces = cut(text, self.width - len(self.prefix))
            new = b"".join(self.prefix + piece + self.newline for piece in pieces)
            made.append(Edit(self.place, self.place, new))
        return made


def lines(stream: IO[bytes], longest: int = MAX_LINE, most: int = MAX_PARTS) -> Iterator[Line]:
    r"""The lines of a file from its start, ended by `\n` or `\r\n`; the last one may have no end.

    Raises:
        Damaged: If one is longer than `longest`, or more than `most` are asked for.
    """
    stream.seek(0)
    position = 0
    for _ in range(most):
        raw = stream.readline(longest)
        if not raw:
            return
        if len(raw) == longest and not raw.endswith(b"\n"):
            raise Damaged
        text = raw.rstrip(b"\r\n")
        yield Line(text, position, position + len(raw), raw[len(text) :])
        position += len(raw)
    raise Damaged
