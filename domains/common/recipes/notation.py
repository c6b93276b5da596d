"""How a recipe is spelled: one line of ASCII JSON of bounded size, and that line cut to fit formats of short lines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from domains.common.errors import BadInput

RECIPE_KEY = "langevin"
# Where a format has comments only, this word marks ours.
MARK = b"langevin-recipe"
MAX_RECIPE_BYTES = 2**20
# Cutting into lines may lengthen a recipe, and other programs may write it with spaces; no read goes past this.
MAX_STORED_BYTES = 2 * MAX_RECIPE_BYTES
# What may not begin a line somewhere: a blank, mmCIF's end of text, SDF's next property and its end of a record.
_NOT_FIRST = frozenset(b" ;>$#")
_NOT_LAST = frozenset(b" ")


def encode(recipe: dict[str, Any]) -> bytes:
    """The recipe as one line of ASCII JSON.

    Raises:
        ValueError: If the recipe is not JSON (NaN and infinities are not), or holds more than 1 MiB.
    """
    if not isinstance(recipe, dict):
        raise ValueError("a recipe is a JSON object")
    try:
        text = json.dumps(recipe, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    except RecursionError:
        raise ValueError("the recipe is nested too deeply") from None
    if len(text) > MAX_RECIPE_BYTES:
        raise ValueError(
            f"the recipe holds {len(text)} bytes; at most {MAX_RECIPE_BYTES} travel with an artifact"
        )
    return text.replace("\x7f", "\\u007f").encode(
        "ascii"
    )  # the one control character that JSON leaves as it is


def decode(data: bytes) -> dict[str, Any]:
    """The recipe that `data` spells.

    Raises:
        BadInput: For `artifact`, if it is too large, no JSON, or JSON of another kind than an object.
    """
    if len(data) > MAX_STORED_BYTES:
        raise too_large()
    try:
        recipe = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise BadInput("artifact", "its recipe is damaged; give the artifact as it was written") from None
    if not isinstance(recipe, dict):
        raise BadInput("artifact", "its recipe is no JSON object; give the artifact as it was written")
    return recipe


def too_large() -> BadInput:
    """The refusal of a recipe that this project cannot have written."""
    return BadInput("artifact", "its recipe is larger than any that this project writes; give another file")


def cut(text: bytes, width: int) -> Iterator[bytes]:
    """`text` in pieces of at most `width` bytes that, joined, are the same JSON.

    No piece begins or ends with a blank, which programs trim, nor begins with a sign that means something to SDF or
    mmCIF: such a sign, which JSON has within strings alone, is spelled as its escape.
    """
    room = width - 10
    position = 0
    while position < len(text):
        piece = text[position : position + room]
        position += len(piece)
        if piece[0] in _NOT_FIRST:
            piece = _escape(piece[0]) + piece[1:]
        if piece[-1] in _NOT_LAST:
            piece = piece[:-1] + _escape(piece[-1])
        yield piece


def _escape(byte: int) -> bytes:
    return b"\\u%04x" % byte


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value
