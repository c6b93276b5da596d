"""What a sweep may vary and over which values: parameters of a request, and lists, ranges and choices as people write
them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import product
from typing import Any, Literal

from apps.engine.validation import expectation, printable, resolve, unknown_field
from domains.common.errors import BadInput
from domains.common.task import Task

MOST_AXES = 3
MOST_VALUES = 256  # of one axis; the cells in all are bounded by the settings
Kind = Literal["integer", "number", "choice", "boolean", "text"]
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?"
_RANGE = re.compile(rf"({_NUMBER})\s*\.\.\s*({_NUMBER})(?:\s*(:|by|in)\s*({_NUMBER}))?")
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_LONGEST_TEXT = 4000


@dataclass(frozen=True)
class Parameter:
    """A field of a request that a sweep may vary.

    Attributes:
        name: Dotted path in the request, for example `sampling.steps`.
        kind: What it holds.
        choices: The values of a `choice` or a `boolean`.
        expected: What it takes, in words.
        default: Its default; None where it has none.
    """

    name: str
    kind: Kind
    choices: tuple[Any, ...] = ()
    expected: str = ""
    default: Any = None

    @property
    def short(self) -> str:
        """Its name on the command line: without the object that holds it."""
        return self.name.rsplit(".", 1)[-1]


@dataclass(frozen=True)
class Axis:
    """A parameter with the values that it takes in a sweep."""

    name: str
    values: tuple[Any, ...]

    @property
    def short(self) -> str:
        """The parameter's name without the object that holds it."""
        return self.name.rsplit(".", 1)[-1]


def parameters(task: Task) -> dict[str, Parameter]:
    """Dotted name -> parameter: numbers, choices, switches and texts of a task's request; files and lists are none."""
    schema = task.request.model_json_schema()
    return {found.name: found for found in _walk(schema, schema, "")}


def find_parameter(task: Task, name: str) -> Parameter:
    """The parameter of that dotted name, or of that last part.

    Raises:
        BadInput: If there is none, or a sweep cannot vary it.
    """
    known = parameters(task)
    asked = name.replace("-", "_")
    found = known.get(asked) or next((item for item in known.values() if item.short == asked), None)
    if found is None:
        raise unknown_field(name, [item.short for item in known.values()])
    return found


def read_axis(task: Task, name: str, values: str | Iterable[Any]) -> Axis:
    """An axis from what a person wrote or picked.

    Numbers: `5, 10, 20`, the whole numbers `0..4`, `0..1 by 0.25` (also `0..1:0.25`), or `0..1 in 5` values evenly
    spaced; these may be mixed with commas.  Choices and switches: their names with commas, or a list of them.

    >>> from domains.registry import find_task
    >>> read_axis(find_task("series.impute"), "seed", "0..2, 9")
    Axis(name='sampling.seed', values=(0, 1, 2, 9))

    Raises:
        BadInput: Naming the parameter.
    """
    parameter = find_parameter(task, name)
    if isinstance(values, str):
        if len(values) > _LONGEST_TEXT:
            raise BadInput(parameter.short, f"takes at most {_LONGEST_TEXT} characters of values")
        pieces: list[Any] = [piece.strip() for piece in values.split(",") if piece.strip()]
    else:
        pieces = list(values)
    found: dict[Any, None] = {}  # keeps their order, each once
    for piece in pieces:
        for value in _values(parameter, piece):
            found[value] = None
            if len(found) > MOST_VALUES:
                raise BadInput(parameter.short, f"takes at most {MOST_VALUES} values in a sweep; give fewer")
    if not found:
        raise BadInput(parameter.short, "needs values to vary over, for example " + example_of(parameter))
    return Axis(parameter.name, tuple(found))


def example_of(parameter: Parameter) -> str:
    """Values as one might write them."""
    if parameter.short == "seed":
        return "0..4"
    if parameter.kind == "integer":
        return "5, 10, 20"
    if parameter.kind == "number":
        return "0..1 by 0.25"
    return ", ".join(_written(choice) for choice in parameter.choices[:2]) or "a, b"


def check_axes(axes: Sequence[Axis], most_cells: int) -> int:
    """The number of cells that these axes span.

    Raises:
        BadInput: If there are too few or too many axes or cells, or one parameter is varied twice.
    """
    if not 1 <= len(axes) <= MOST_AXES:
        raise BadInput("vary", f"choose 1 to {MOST_AXES} parameters to vary")
    names = [axis.name for axis in axes]
    for axis in axes:
        if names.count(axis.name) > 1:
            raise BadInput(axis.short, "is varied twice; choose another parameter")
    count = math.prod(len(axis.values) for axis in axes)
    if count > most_cells:
        sizes = " × ".join(str(len(axis.values)) for axis in axes)
        raise BadInput(
            "vary", f"{sizes} are {count} runs and at most {most_cells} are made; give fewer values"
        )
    return count


def combinations(axes: Sequence[Axis]) -> Iterator[tuple[Any, ...]]:
    """The values of each cell, the last axis fastest."""
    return product(*(axis.values for axis in axes))


def with_values(fields: Mapping[str, Any], axes: Sequence[Axis], values: Sequence[Any]) -> dict[str, Any]:
    """A copy of a nested request with the parameters of the axes set."""
    changed = dict(fields)
    for axis, value in zip(axes, values, strict=True):
        *parents, leaf = axis.name.split(".")
        place = changed
        for parent in parents:
            held = place.get(parent)
            place[parent] = dict(held) if isinstance(held, Mapping) else {}
            place = place[parent]
        place[leaf] = value
    return changed


def _walk(part: Mapping[str, Any], schema: Mapping[str, Any], prefix: str) -> Iterator[Parameter]:
    for name, raw in part.get("properties", {}).items():
        spec = resolve(raw, schema)
        options = [option for option in raw.get("anyOf", ()) if option.get("type") != "null"]
        if spec.get("type") == "object" and "properties" in spec:
            yield from _walk(spec, schema, f"{prefix}{name}.")
            continue
        low, high = spec.get("minimum"), spec.get("maximum")
        settled = "const" in spec or (low is not None and low == high)
        kind = _kind(spec)
        if kind is None or len(options) > 1 or settled:
            continue
        choices = (
            tuple(spec.get("enum", ())) if kind == "choice" else (False, True) if kind == "boolean" else ()
        )
        yield Parameter(f"{prefix}{name}", kind, choices, expectation(spec, schema), spec.get("default"))


def _kind(spec: Mapping[str, Any]) -> Kind | None:
    if "enum" in spec:
        return "choice"
    if spec.get("type") == "string" and "format" not in spec:
        return "text"
    kinds: dict[str, Kind] = {"integer": "integer", "number": "number", "boolean": "boolean"}
    return kinds.get(str(spec.get("type")))


def _values(parameter: Parameter, piece: Any) -> Iterator[Any]:
    if parameter.kind in ("choice", "boolean"):
        yield _choice(parameter, piece)
    elif parameter.kind == "text":
        yield str(piece)
    elif isinstance(piece, str) and (found := _RANGE.fullmatch(piece)):
        yield from _range(parameter, found)
    else:
        yield _number(parameter, piece)


def _choice(parameter: Parameter, piece: Any) -> Any:
    if parameter.kind == "boolean" and isinstance(piece, str):
        piece = _WORDS.get(piece.lower(), piece)
    for choice in parameter.choices:
        if piece == choice or (isinstance(piece, str) and piece == _written(choice)):
            return choice
    raise BadInput(parameter.short, f"must be {parameter.expected}, not {printable(piece)}")


def _written(choice: Any) -> str:
    return str(choice).lower() if isinstance(choice, bool) else str(choice)


def _number(parameter: Parameter, piece: Any) -> int | float:
    try:
        exact = Decimal(str(piece))
    except InvalidOperation:
        exact = Decimal("NaN")
    # Bounded before it is written out: 1e999999999 is short to write and long to be.
    fit = exact.is_finite() and abs(exact.adjusted()) < 400 and not isinstance(piece, bool)
    if not fit or (parameter.kind == "integer" and exact != exact.to_integral_value()):
        raise BadInput(parameter.short, f"must be {parameter.expected}, not {printable(piece)}")
    return _plain(parameter, exact)


def _plain(parameter: Parameter, exact: Decimal) -> int | float:
    if parameter.kind == "integer":
        return int(exact)
    value = float(exact)
    if not math.isfinite(value):
        raise BadInput(parameter.short, f"must be {parameter.expected}, not {printable(str(exact))}")
    return value


def _range(parameter: Parameter, found: re.Match[str]) -> Iterator[int | float]:
    """The values of `a..b`, `a..b by s` or `a..b in n`, in decimal: 0.1 ten times is 1."""
    low, high = (Decimal(str(_number(parameter, found[i]))) for i in (1, 2))
    word, amount = found[3], Decimal(found[4] or 1)
    if word == "in":
        if amount != amount.to_integral_value() or not 2 <= amount <= MOST_VALUES:
            raise BadInput(parameter.short, f"{printable(found[0])}: say how many, from 2 to {MOST_VALUES}")
        steps = int(amount) - 1
        for step in range(steps + 1):
            exact = low + (high - low) * step / steps
            yield _plain(parameter, exact.to_integral_value() if parameter.kind == "integer" else exact)
        return
    if amount <= 0:
        raise BadInput(parameter.short, f"{printable(found[0])}: the step must be above 0")
    if (abs(high - low) / amount) >= MOST_VALUES:
        raise BadInput(parameter.short, f"takes at most {MOST_VALUES} values in a sweep; take larger steps")
    sign = 1 if high >= low else -1
    for step in range(int(abs(high - low) / amount) + 1):
        yield _number(parameter, low + sign * step * amount)
