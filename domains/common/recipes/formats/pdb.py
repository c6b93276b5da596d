"""PDB: lines `REMARK 999 langevin-recipe …` of at most 80 columns after the other remarks (wwPDB format 3.3).

REMARK 999 is free text; the remarks of that number that others wrote are not touched.
"""

from __future__ import annotations

from typing import IO

from domains.common.recipes.formats.lines import Comments, lines
from domains.common.recipes.splice import Edit, Format

# The title section and the remarks, in whose order the recipe comes last.
_BEFORE = frozenset(
    b"HEADER OBSLTE TITLE SPLIT CAVEAT COMPND SOURCE KEYWDS EXPDTA NUMMDL MDLTYP AUTHOR REVDAT SPRSDE JRNL".split()
) | {b"REMARK"}


def read(stream: IO[bytes]) -> bytes | None:
    """The recipe."""
    return _head(stream).recipe()


def edits(stream: IO[bytes], text: bytes | None) -> list[Edit]:
    """Takes old remarks out and puts the new ones after the others."""
    return _head(stream).edits(text)


def _head(stream: IO[bytes]) -> Comments:
    comments = Comments.after(b"REMARK 999 ", 80)
    comments.place = 0
    for line in lines(stream):
        if line.text[:6].rstrip() not in _BEFORE:
            if line.start == 0:
                comments.newline = line.newline or b"\n"
            break
        comments.newline = line.newline or b"\n"
        if not comments.take(line) and line.newline:
            comments.place = line.end
    return comments


PDB = Format("PDB", "lines `REMARK 999 langevin-recipe`", read, edits)
