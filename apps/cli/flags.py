"""Plain flags for the fields of a request, from its JSON schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.engine.validation import expectation, printable, resolve, sampling_fields, unknown_field
from domains.common.errors import BadInput
from domains.common.task import Task

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True)
class Flag:
    """A field as a flag.

    Attributes:
        name: The field's name.
        kind: JSON type: `string`, `integer`, `number`, `boolean`, `array`, `object`.
        nullable: Whether it may be left empty.
        required: Whether it must be given.
        expected: What it takes, in words.
        default: Its default; None where it has none.
        about: Its description.
    """

    name: str
    kind: str
    nullable: bool
    required: bool
    expected: str
    default: Any
    about: str


def task_flags(task: Task) -> dict[str, Flag]:
    """Name -> flag: the task's own fields first, then those of `sampling`."""
    schema = task.request.model_json_schema()
    shared = resolve(schema["properties"]["sampling"], schema)
    flags = {name: flag for name, flag in _flags(schema, schema) if name != "sampling"}
    wanted = sampling_fields(task)
    return flags | {name: flag for name, flag in _flags(shared, schema) if name in wanted}


def read_flags(
    tokens: Sequence[str], flags: Mapping[str, Flag], options: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Splits the words after the task's name into request fields and options of the command.

    Args:
        tokens: The words.
        flags: The task's flags.
        options: Name -> `value` or `switch`, for what the command itself takes.

    Returns:
        Field -> value as given (numbers still text: the request's own validation reads them), and
        option -> value.

    Raises:
        BadInput: If a flag is unknown, given twice, or lacks its value.
    """
    fields: dict[str, Any] = {}
    chosen: dict[str, str] = {}
    words = list(tokens)
    while words:
        word = words.pop(0)
        if not word.startswith("--") or word == "--":
            raise BadInput("arguments", f"unexpected {printable(word)!r}; fields are given as --name value")
        spelled, equals, value = word[2:].partition("=")
        name = spelled.replace("-", "_")
        flag, option = flags.get(name), options.get(name)
        negated = flags.get(name.removeprefix("no_")) if name.startswith("no_") else None
        if (
            option is None
            and flag is None
            and negated is not None
            and negated.kind == "boolean"
            and not equals
        ):
            name, flag, value, equals = negated.name, negated, "false", "="
        if flag is None and option is None:
            raise unknown_field(spelled, [*flags, *options])
        follows = bool(words) and not words[0].startswith("--")
        if not equals:
            switch = option == "switch" or (flag is not None and flag.kind == "boolean")
            if switch and not (option is None and follows and words[0].lower() in _TRUE + _FALSE):
                value = "true"
            elif follows:
                value = words.pop(0)
            else:
                raise BadInput(name, f"needs a value: --{spelled} VALUE")
        many = flag is not None and flag.kind == "array"
        if name in chosen or (name in fields and not many):
            raise BadInput(name, "is given twice; keep one")
        if option is not None:
            chosen[name] = value
        elif flag is not None:
            read = _value(flag, value)
            fields[name] = fields[name] + read if many and name in fields else read
    return fields, chosen


def flag_lines(flags: Mapping[str, Flag]) -> list[str]:
    """One line a flag, for help."""
    heads = {name: f"--{name.replace('_', '-')}" for name in flags}
    width = max((len(head) for head in heads.values()), default=0)
    lines = []
    for name, flag in flags.items():
        if flag.required:
            default = "required"
        else:
            default = "default: " + ("none" if flag.default is None else str(flag.default))
        lines.append(
            f"  {heads[name]:<{width}}  {flag.about}{': ' if flag.about else ''}{flag.expected} ({default})"
        )
    return lines


def _flags(owner: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[tuple[str, Flag]]:
    for name, stated in owner.get("properties", {}).items():
        field = resolve(stated, schema)
        yield (
            name,
            Flag(
                name=name,
                kind=str(field.get("type", "string")),
                nullable=any(part.get("type") == "null" for part in stated.get("anyOf", [])),
                required=name in owner.get("required", []),
                expected=expectation(field, schema),
                default=field.get("default"),
                about=str(field.get("description", "")),
            ),
        )


def _value(flag: Flag, text: str) -> Any:
    if text == "" and flag.nullable:
        return None
    if flag.kind == "boolean" and text.lower() in _TRUE + _FALSE:
        return text.lower() in _TRUE
    if flag.kind == "object" or (flag.kind == "array" and text.lstrip().startswith("[")):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise BadInput(flag.name, f"must be {flag.expected}, as JSON") from None
    return text.split(",") if flag.kind == "array" else text
