"""Requests made of a task's schema and then broken: what a script, a fuzzer or a tired person may send."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from apps.engine.validation import resolve
from domains.common.task import Task

PATHS = (
    "/etc/passwd",
    "../../../../etc/passwd",
    "..",
    ".",
    "~/.ssh/id_rsa",
    "C:\\Windows\\win.ini",
    "C:/Windows/win.ini",
    "..\\..\\secret",
    "\\\\host\\share\\a",
    "file:///etc/passwd",
    "http://127.0.0.1:1/a.csv",
    "https://example.org/a.csv",
    "/proc/self/environ",
    "/dev/zero",
    "a\0b",
    "x" * 5000,
    "",
    "\ud800",
)
NUMBERS: tuple[Any, ...] = (
    math.nan,
    math.inf,
    -math.inf,
    True,
    False,
    10**400,
    -(10**400),
    2**63,
    1e308,
    -1,
    0,
    0.5,
    "nan",
    "1e400",
    "7; DROP TABLE jobs",
    "٣",
)
SHAPES: tuple[Any, ...] = (
    [],
    {},
    [[[]]],
    {"a": {"b": []}},
    [None] * 100,
    {"__proto__": 1},
    [{"path": "/etc/passwd"}],
)
TEXTS = (
    "\0",
    "<script>alert(1)</script>",
    "../../x",
    "=cmd|' /C calc'!A0",
    "x" * 100_000,
    "\u202e",
    "{{7*7}}",
    "%s%n",
)
VALUES: tuple[Any, ...] = (*NUMBERS, *SHAPES, *TEXTS, *PATHS, None)
NAMES = (
    "__class__",
    "model_config",
    "sampling.seed",
    "",
    "\0",
    "x" * 1000,
    "constructor",
    "table\n",
    "request",
)


def leaves(task: Task) -> list[tuple[str, Mapping[str, Any]]]:
    """Every field of a request with its schema, those of `sampling` by their own names."""
    schema = task.request.model_json_schema()
    found = []
    for name, raw in schema["properties"].items():
        spec = resolve(raw, schema)
        if name == "sampling":
            found += [(inner, resolve(part, schema)) for inner, part in spec["properties"].items()]
        else:
            found.append((name, spec))
    return found


def broken_values(spec: Mapping[str, Any]) -> list[Any]:
    """Values that a field of this schema must refuse, whatever else the request holds."""
    nonsense: list[Any] = [[[[]]], {"a": {"b": []}}]
    if spec.get("format") == "file":
        return [*nonsense, *(path for path in PATHS if path), 3, math.nan]
    kind = spec.get("type")
    if kind in ("integer", "number"):
        past = [
            spec[key] + sign * (abs(spec[key]) + 1)
            for key, sign in (("maximum", 1), ("minimum", -1))
            if key in spec
        ]
        return [
            *nonsense,
            math.nan,
            math.inf,
            -math.inf,
            10**400,
            True,
            False,
            "nan",
            "1e400",
            "7; DROP",
            *past,
        ]
    if "enum" in spec:
        return [*nonsense, "no such choice", "\0", 3, True, "x" * 5000]
    if kind == "boolean":
        return [*nonsense, "maybe", 7, math.nan]
    if kind == "string":
        return [*nonsense, 3, "x" * (spec["maxLength"] + 1)] if "maxLength" in spec else [*nonsense, 3]
    if kind == "array":
        return ["x", 3, {"a": 1}, [{"a": 1}], math.nan]
    return []


def requests(task: Task) -> st.SearchStrategy[dict[str, Any]]:
    """Some fields of a task, each with a value of its kind or one from anywhere, and now and then an unknown field."""
    scraps = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=5,
    )
    fields = {
        name: st.one_of(st.sampled_from(VALUES), st.sampled_from([*broken_values(spec), None]), scraps)
        for name, spec in leaves(task)
    }
    known = st.fixed_dictionaries({}, optional=fields)
    unknown = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=1)
    return st.builds(lambda a, b: {**a, **b}, known, unknown)
