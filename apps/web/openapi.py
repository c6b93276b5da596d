"""The description of the HTTP interface: the routes' own, and beside them the request of each task."""

from __future__ import annotations

import copy
from typing import Any

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi

from apps.engine.environment import langevin_version
from apps.web.requests import file_fields, request_schema
from domains.common.task import Task
from domains.registry import all_tasks

_COMPONENT = "#/components/schemas/"
SUBMISSION: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {"schema": {"$ref": f"{_COMPONENT}Submission"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "task": {"type": "string", "description": "domain.verb"},
                    "request": {"type": "string", "contentMediaType": "application/json"},
                    "priority": {"type": "integer", "default": 0},
                },
                "required": ["task"],
                "additionalProperties": {"type": "string", "format": "binary"},
                "description": "beside these, each file under the name of the request's field that takes it",
            }
        },
    },
}
_ABOUT = (
    "Each task of Langevin as a job: submit it, follow it, download what it made.  Without a login, an app that is "
    "open to all knows its visitors by a cookie that GET / sets; with one, send `Authorization: Bearer TOKEN` with "
    "the token that POST /login answers."
)


def described(router: APIRouter, base: str = "") -> dict[str, Any]:
    """The OpenAPI document of `router`.

    Args:
        router: The routes.
        base: Path under which the app is served.
    """
    document = get_openapi(
        title="Langevin", version=langevin_version(), description=_ABOUT, routes=router.routes
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which no route of ours answers
        schemas.pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    choices, mapping = [], {}
    for task in all_tasks().values():
        name = f"{_component(task)}Submission"
        schemas |= _task_schemas(task, name)
        choices.append({"$ref": _COMPONENT + name})
        mapping[task.name] = _COMPONENT + name
    schemas["Submission"] = {
        "oneOf": choices,
        "discriminator": {"propertyName": "task", "mapping": mapping},
    }
    if base:
        document["servers"] = [{"url": base}]
    return document


def _component(task: Task) -> str:
    """`series.impute` as `SeriesImpute`."""
    return "".join(word.capitalize() for word in task.name.replace(".", "_").split("_"))


def _task_schemas(task: Task, submission: str) -> dict[str, Any]:
    schema = copy.deepcopy(request_schema(task))
    prefix = _component(task)
    definitions = {f"{prefix}{name}": part for name, part in schema.pop("$defs", {}).items()}
    found = {**definitions, f"{prefix}Request": schema}
    about = task.summary
    if file_fields(task):
        about += f"  Files: {', '.join(file_fields(task))}."
    found[submission] = {
        "type": "object",
        "description": about,
        "properties": {
            "task": {"const": task.name},
            "request": {"$ref": f"{_COMPONENT}{prefix}Request"},
            "priority": {"type": "integer", "default": 0, "minimum": -1000, "maximum": 1000},
        },
        "required": ["task"],
        "additionalProperties": False,
    }
    return {name: _moved(part, prefix) for name, part in found.items()}


def _moved(node: Any, prefix: str) -> Any:
    """References to a schema's own definitions, as references to the document's components."""
    if isinstance(node, list):
        return [_moved(item, prefix) for item in node]
    if not isinstance(node, dict):
        return node
    moved = {key: _moved(item, prefix) for key, item in node.items()}
    if isinstance(reference := moved.get("$ref"), str) and reference.startswith("#/$defs/"):
        moved["$ref"] = _COMPONENT + prefix + reference.removeprefix("#/$defs/")
    return moved
