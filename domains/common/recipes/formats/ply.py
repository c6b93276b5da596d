"""PLY, ascii and binary: comments `comment langevin-recipe …` after the header's line `format`.

Lines stay under 200 bytes: rply, which Open3D and R read with, takes 1,024 at most.
"""

from __future__ import annotations

from typing import IO

from domains.common.recipes.formats.lines import Comments, lines
from domains.common.recipes.splice import Damaged, Edit, Format


def read(stream: IO[bytes]) -> bytes | None:
    """The recipe."""
    return _header(stream).recipe()


def edits(stream: IO[bytes], text: bytes | None) -> list[Edit]:
    """Takes old comments out and puts the new ones in."""
    return _header(stream).edits(text)


def _header(stream: IO[bytes]) -> Comments:
    comments = Comments.after(b"comment ", 200)
    for line in lines(stream, longest=4096):
        if line.text.startswith(b"format ") and comments.place is None:
            comments.place, comments.newline = line.end, line.newline
        elif line.text == b"end_header" and comments.place is not None:
            return comments
        comments.take(line)
    raise Damaged


PLY = Format("PLY", "header comments `comment langevin-recipe`", read, edits)
