"""Text of a file's own on its way to a page, a log or an exported table: made harmless, never trusted."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable, Sequence
from html import escape
from typing import TextIO

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# Control characters, and the invisible ones that reorder or hide what stands around them.
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def plain_text(value: object, limit: int = 200) -> str:
    """A title, a name or a comment of a file as one short line: no control, bidirectional or invisible characters.

    Args:
        value: What the file says; bytes are read as UTF-8.
        limit: Most characters of the line; what is longer ends in `…`.
    """
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    text = text[: 8 * limit]
    kept = (" " if letter.isspace() or unicodedata.category(letter) in _HIDDEN else letter for letter in text)
    line = " ".join("".join(kept).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def page_text(value: object, limit: int = 200) -> str:
    """As `plain_text`, escaped for HTML, in text and in quoted attributes alike."""
    return escape(plain_text(value, limit), quote=True)


def is_number(text: str) -> bool:
    """Whether a cell's text is a number, infinities and NaN included."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def harmless_cell(text: str) -> str:
    """A cell that no spreadsheet runs as a formula; numbers and all other text stay as they are.

    A text that begins with `=`, `+`, `-`, `@`, a tab or a carriage return and is no number gets a leading apostrophe,
    as https://owasp.org/www-community/attacks/CSV_Injection advises.
    """
    return "'" + text if text.startswith(_FORMULA) and not is_number(text) else text


def write_csv(
    stream: TextIO, header: Sequence[str], rows: Iterable[Sequence[object]], delimiter: str = ","
) -> None:
    """Writes a table of ours: text cells harmless to spreadsheets, numbers with all their digits, None empty."""
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    writer.writerow([harmless_cell(name) for name in header])
    for row in rows:
        writer.writerow([harmless_cell(cell) if isinstance(cell, str) else cell for cell in row])
