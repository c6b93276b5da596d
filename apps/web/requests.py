"""From what came over the net to a validated request: files come as content or as uploads, never as names or URLs."""

from __future__ import annotations

import base64
import binascii
import copy
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType
from typing import Any

from apps.engine.validation import nested, printable, resolve, served_request
from apps.web.calls import is_own_file
from domains.common.errors import BadInput
from domains.common.files import human_size
from domains.common.task import Request, Task

FILE_SCHEMA: dict[str, Any] = {
    "description": "a file: its content, or the path that POST /gradio_api/upload answered",
    "anyOf": [
        {
            "type": "object",
            "properties": {"name": {"type": "string"}, "text": {"type": "string"}},
            "required": ["name", "text"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "base64": {"type": "string", "contentEncoding": "base64"},
            },
            "required": ["name", "base64"],
            "additionalProperties": False,
        },
        {"type": "string"},
    ],
}
_FILE = (
    "must be an uploaded file, or its content as {name, text} or {name, base64}; paths and URLs are not read"
)
_KEPT = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._- ()")


def file_fields(task: Task) -> Mapping[str, bool]:
    """Name -> whether it takes several files, for each field of a request of `task` that takes files."""
    return _file_fields(task.request)


def request_schema(task: Task) -> dict[str, Any]:
    """The JSON schema of a request as it is sent: fields of `sampling` may stand beside others, files as content."""
    return copy.deepcopy(_request_schema(task.request))


# A schema is made of the class of the request alone, and takes milliseconds.
@lru_cache(maxsize=1024)
def _file_fields(kind: type[Request]) -> Mapping[str, bool]:
    schema = kind.model_json_schema()
    found: dict[str, bool] = {}
    for name, stated in schema.get("properties", {}).items():
        field = resolve(stated, schema)
        if field.get("format") == "file":
            found[name] = False
        elif resolve(field.get("items", {}), schema).get("format") == "file":
            found[name] = True
    return MappingProxyType(found)


@lru_cache(maxsize=1024)
def _request_schema(kind: type[Request]) -> dict[str, Any]:
    schema = kind.model_json_schema()
    accepted: dict[str, Any] = _with_contents(schema)
    sampling = resolve(schema["properties"]["sampling"], schema)
    for name, field in sampling.get("properties", {}).items():
        accepted["properties"].setdefault(name, field)
    return accepted


class Intake:
    """Turns fields from the net into requests; what it writes lies in `place` and goes with it.

    Args:
        place: A private folder of this call.
        uploads: Folder of all uploads.
        owner: Who asks.
        limit: Largest file, bytes.
    """

    def __init__(self, place: Path, uploads: Path, owner: str, limit: int) -> None:
        self._place, self._uploads, self._owner, self._limit = place, uploads, owner, limit
        self._written = 0

    def request(
        self, task: Task, fields: Mapping[str, Any], files: Mapping[str, list[Path]] | None = None
    ) -> Request:
        """A validated request.

        Args:
            task: What is asked for.
            fields: As JSON has them, nested or flat.
            files: Field -> files that came beside the fields and lie in `place` already.

        Raises:
            BadInput: Naming the field at fault.
        """
        found, taking = dict(nested(task, fields)), file_fields(task)
        for name, paths in (files or {}).items():
            if name not in taking:
                known = ", ".join(taking) or "none"
                raise BadInput(printable(name), f"takes no file; the fields that do: {known}")
            if found.get(name) is not None:
                raise BadInput(name, "is given twice, as a file and in the request; keep one")
            if len(paths) > 1 and not taking[name]:
                raise BadInput(name, "takes one file")
            found[name] = [str(path) for path in paths] if taking[name] else str(paths[0])
        for name, several in taking.items():
            value = found.get(name)
            if value is None or name in (files or {}):
                continue
            if several:
                items = value if isinstance(value, list) else [value]
                found[name] = [str(self._file(name, item)) for item in items]
            else:
                found[name] = str(self._file(name, value))
        return served_request(task, found)

    def target(self, name: str) -> Path:
        """Where a file called `name` by its sender is to be written: its last part alone, of harmless letters."""
        folder = self._place / str(self._written)
        self._written += 1
        folder.mkdir(mode=0o700)
        return folder / harmless_name(name)

    def _file(self, field: str, value: object) -> Path:
        if isinstance(value, str) and is_own_file(value, self._uploads, self._owner):
            return Path(value)
        if not isinstance(value, Mapping):
            raise BadInput(field, _FILE)
        name, content = value.get("name"), [key for key in ("text", "base64") if key in value]
        known = set(value) <= {"name", "text", "base64"}
        if (
            not known
            or len(content) != 1
            or not isinstance(name, str)
            or not isinstance(value[content[0]], str)
        ):
            raise BadInput(field, _FILE)
        text: str = value[content[0]]
        try:
            data = text.encode() if content[0] == "text" else base64.b64decode(text, validate=True)
        except (UnicodeEncodeError, binascii.Error, ValueError):
            raise BadInput(field, f"its {content[0]} is not valid") from None
        if len(data) > self._limit:
            raise BadInput(
                field, f"holds {human_size(len(data))}; at most {human_size(self._limit)} are taken"
            )
        path = self.target(name)
        path.write_bytes(data)
        return path


def harmless_name(name: str) -> str:
    """The last part of a file's name, without what a shell, a system or a page might take for something else.

    >>> harmless_name("../a<b>.csv"), harmless_name("C:\\\\x\\\\..")
    ('a_b_.csv', 'file')
    """
    last = PureWindowsPath(PurePosixPath(name).name).name
    plain = "".join(letter if letter in _KEPT else "_" for letter in last)[-100:].strip(" .")
    return plain or "file"


def public_fields(job_fields: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """The fields of a job's request as its owner may see them: files by their base names."""
    shown = dict(job_fields)
    for name, several in file_fields(task).items():
        value = shown.get(name)
        if value is not None:
            shown[name] = [Path(item).name for item in value] if several else Path(value).name
    return shown


def _with_contents(node: Any) -> Any:
    """A schema in which fields that name a file take its content."""
    if isinstance(node, list):
        return [_with_contents(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "file":
        said = {key: node[key] for key in ("title", "description", "accept", "default") if key in node}
        return {**FILE_SCHEMA, **said}
    return {key: _with_contents(item) for key, item in node.items()}
