"""From loose fields (flags, JSON, a form) to a validated request, or to one sentence that says what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from domains.common.errors import BadInput
from domains.common.models import usable_models
from domains.common.task import Request, Task


def make_request(task: Task, fields: Mapping[str, Any]) -> Request:
    """A request of `task` from `fields`, nested (`{"sampling": {"seed": 1}}`) or flat (`{"seed": 1}`).

    Raises:
        BadInput: Naming the first field that is at fault, what it must be, and what it was.
    """
    return validated(task.request, nested(task, fields))


def served_request(task: Task, fields: Mapping[str, Any]) -> Request:
    """As `make_request`, for somebody who reaches the app over a page or the net: models are named, never a folder.

    Raises:
        BadInput: As `make_request`, or if the model is not an installed one.
    """
    request = make_request(task, fields)
    name = request.sampling.model
    if name is not None and name not in (installed := usable_models()):
        known = ", ".join(installed) or "none is installed"
        raise BadInput("model", f"no model {printable(name)!r} is installed; choose one of {known}")
    return request


def nested(task: Task, fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` with those of `sampling` moved to where they belong.

    Raises:
        BadInput: If a field is unknown or given twice.
    """
    own, shared = set(task.request.model_fields), set(sampling_fields(task))
    sampling = fields.get("sampling", {})
    if not isinstance(sampling, Mapping):
        raise BadInput("sampling", "must be an object with solver, steps, guidance, seed, model")
    found: dict[str, Any] = {}
    moved: dict[str, Any] = dict(sampling)
    for name, value in fields.items():
        if name in own:
            found[name] = value
        elif name in shared:
            if name in sampling:
                raise BadInput(name, "is given twice, by itself and in sampling; keep one")
            moved[name] = value
        else:
            raise unknown_field(name, [*own - {"sampling"}, *shared])
    found["sampling"] = moved
    return found


def sampling_fields(task: Task) -> list[str]:
    """Names of the fields of `sampling`, which are plain flags of every task."""
    kind = task.request.model_fields["sampling"].annotation
    assert isinstance(kind, type)
    assert issubclass(kind, BaseModel)
    return [name for name in kind.model_fields if name not in task.request.model_fields]


def unknown_field(name: object, known: Iterable[str]) -> BadInput:
    """The error for a field that does not exist, with the closest one that does."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name).replace("-", "_"), known, n=1, cutoff=0.5)
    mend = f"did you mean {close[0]}?" if close else f"the fields are {', '.join(known)}"
    return BadInput(printable(name), f"unknown field; {mend}")


def validated(kind: type[Request], data: Mapping[str, Any]) -> Request:
    """An instance of `kind`.

    Raises:
        BadInput: In the words of a person instead of pydantic's.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise explain(error, kind) from None
    except RecursionError:
        raise BadInput("request", "is nested too deeply") from None


def explain(error: ValidationError, kind: type[BaseModel]) -> BadInput:
    """The first fault of a `ValidationError` of `kind` in one sentence."""
    fault = error.errors(include_url=False)[0]
    schema = kind.model_json_schema()
    where = [str(part) for part in fault["loc"]]
    cause = fault.get("ctx", {}).get("error")
    if isinstance(cause, BadInput):
        return BadInput(_name([*where, cause.field]), cause.message)
    name = _name(where)
    if fault["type"] == "extra_forbidden":
        return unknown_field(name, _properties(_at(schema, where[:-1]), schema))
    field = _at(schema, where)
    if fault["type"] == "missing":
        about = field.get("description", "")
        return BadInput(name, "is required" + (f": {about}" if about else ""))
    if fault["type"] == "value_error" and cause is not None:
        return BadInput(name, f"{cause}; got {printable(fault['input'])}")
    expected = expectation(field, schema)
    return BadInput(name, f"must be {expected}, not {printable(fault['input'])}")


def expectation(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What a field takes, in words, from its JSON schema.

    >>> expectation({"type": "integer", "minimum": 1, "maximum": 9}, {})
    'a whole number from 1 to 9'
    """
    field = resolve(field, schema)
    if "enum" in field:
        return "one of " + ", ".join(str(choice) for choice in field["enum"])
    if "const" in field:
        return str(field["const"])
    kind = field.get("type")
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _range(field)
    if kind == "boolean":
        return "true or false"
    if field.get("format") in ("file", "path"):
        return "the path of an existing file"
    if kind == "string":
        limit = field.get("maxLength")
        return "text" + (f" of at most {limit} characters" if limit is not None else "")
    if kind == "array":
        bounds = [
            f"{word} {field[key]}"
            for key, word in (("minItems", "at least"), ("maxItems", "at most"))
            if key in field
        ]
        what = " and ".join(bounds) + " of " if bounds else ""
        return f"a list of {what}{expectation(field.get('items', {}), schema)}"
    return "an object" if kind == "object" else "a valid value"


def resolve(field: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follows `$ref` and takes the part of an optional field that is not null."""
    while True:
        if "$ref" in field:
            field = {
                **schema.get("$defs", {}).get(field["$ref"].rsplit("/", 1)[-1], {}),
                **_but(field, "$ref"),
            }
        elif "anyOf" in field:
            parts = [part for part in field["anyOf"] if part.get("type") != "null"]
            if not parts:
                return field
            field = {**parts[0], **_but(field, "anyOf")}
        else:
            return field


def printable(value: object, limit: int = 60) -> str:
    """A value as one short line without control characters, for an error message."""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[: limit + 1]
    )
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return repr(value) if value == "" else text


def _range(field: Mapping[str, Any]) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    above, below = field.get("exclusiveMinimum"), field.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {_number(low)} to {_number(high)}"
    parts = [
        f"{words} {_number(bound)}"
        for words, bound in (("at least", low), ("above", above), ("at most", high), ("below", below))
        if bound is not None
    ]
    return " " + " and ".join(parts) if parts else ""


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def _but(field: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in field.items() if name != key}


def _name(where: list[str]) -> str:
    parts = where[1:] if where[:1] == ["sampling"] and len(where) > 1 else where
    return ".".join(printable(part) for part in parts) or "request"


def _at(schema: Mapping[str, Any], where: list[str]) -> Mapping[str, Any]:
    """The part of a schema that describes the field at `where`; empty where it says nothing."""
    field = resolve(schema, schema)
    for part in where:
        if field.get("type") == "array":
            field = resolve(field.get("items", {}), schema)
        else:
            field = resolve(field.get("properties", {}).get(part, {}), schema)
    return field


def _properties(field: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    return list(resolve(field, schema).get("properties", {}))
