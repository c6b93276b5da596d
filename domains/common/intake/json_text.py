"""JSON from strangers: as its standard has it, bounded in size and depth."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from domains.common.errors import BadInput
from domains.common.files import human_size

# A string, closed or not, or a bracket.  Possessive, so that matching takes linear time.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


def parse_json(data: bytes, field: str, *, limit: int = 8 << 20, depth: int = 64) -> Any:
    """The value that `data` holds.

    Args:
        data: UTF-8 text.
        field: Name of the request field, for the error.
        limit: Most bytes.
        depth: Most levels of nesting.

    Raises:
        BadInput: On NaN, infinities, numbers beyond a double, a name given twice, deep nesting, or no JSON at all.
    """
    if len(data) > limit:
        raise BadInput(
            field, f"holds {human_size(len(data))} of JSON and at most {human_size(limit)} are read"
        )
    if _depth(data, depth) > depth:
        raise BadInput(field, f"is nested more than {depth} levels deep; flatten it")

    def refuse(name: str) -> NoReturn:
        raise BadInput(field, f"holds {name}, which JSON has no word for; use null or a finite number")

    def number(text: str) -> float:
        value = float(text)
        return value if math.isfinite(value) else refuse(text[:20])

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise BadInput(field, "names something twice in one object; keep one")
        return found

    try:
        return json.loads(
            data.decode("utf-8"), parse_constant=refuse, parse_float=number, object_pairs_hook=once
        )
    except BadInput:
        raise
    except (ValueError, RecursionError):  # also numbers of thousands of digits
        raise BadInput(field, "is not valid JSON") from None


def _depth(data: bytes, most: int) -> int:
    """Levels of nesting, counted outside strings; stops at one past `most`."""
    depth = deepest = 0
    for token in _TOKEN.finditer(data):
        opens = data[token.start()] in b"[{"
        if opens or data[token.start()] in b"]}":
            depth += 1 if opens else -1
            deepest = max(deepest, depth)
            if deepest > most:
                break
    return deepest
