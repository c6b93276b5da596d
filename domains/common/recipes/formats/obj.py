"""Wavefront OBJ: comments `# langevin-recipe …` at the head of the file."""

from __future__ import annotations

from typing import IO

from domains.common.recipes.formats.lines import Comments, Line, lines
from domains.common.recipes.splice import Edit, Format


def read(stream: IO[bytes]) -> bytes | None:
    """The recipe."""
    return _head(stream).recipe()


def edits(stream: IO[bytes], text: bytes | None) -> list[Edit]:
    """Takes old comments out and puts the new ones first."""
    return _head(stream).edits(text)


def _head(stream: IO[bytes]) -> Comments:
    comments = Comments.after(b"# ", 200)
    first: Line | None = None
    for line in lines(stream):
        first = first or line
        if line.text.strip() and not line.text.startswith(b"#"):
            break
        comments.take(line)
    comments.place = 0
    comments.newline = (first.newline if first is not None else b"") or b"\n"
    return comments


OBJ = Format("OBJ", "comments `# langevin-recipe` at the head", read, edits)
