"""One named endpoint a task, for `gradio_client` and Gradio's own HTTP calls.

`apps.web.jobs_api` has jobs over plain HTTP, `apps.web.tools` tools for assistants.

    from gradio_client import Client, handle_file
    files, result = Client("http://127.0.0.1:7860").predict(
        table=handle_file("table.csv"), samples=32, steps=10, api_name="/series_impute"
    )

The parameters are the fields of the request with those of `sampling` beside them, as on the command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from typing import Any, Literal

import gradio as gr
from gradio.data_classes import FileData

from apps.engine.jobs import Engine, Job, JobError, JobState
from apps.engine.run import Finished
from apps.engine.validation import served_request
from apps.studio.forms import FormField, form_fields, read_form
from apps.studio.uploads import into_cache, received
from apps.web.owners import owner_of
from domains.common.errors import BadInput
from domains.common.task import Task

_LOOK = 0.05  # seconds between looks at a job
_TYPES: dict[str, Any] = {
    "file": FileData,
    "files": list[FileData],
    "integer": int,
    "number": float,
    "boolean": bool,
    "text": str,
    "json": Any,
}


def add_endpoint(task: Task, engine: Engine) -> None:
    """Registers `/domain_verb` in the current Blocks."""
    name = task.name.replace(".", "_")
    gr.api(endpoint(task, engine), api_name=name, api_description=task.summary, concurrency_limit=None)


def endpoint(task: Task, engine: Engine) -> Callable[..., Any]:
    """A typed function that runs `task` as a job and returns its files and what `result.json` holds."""
    fields = form_fields(task.request)

    async def run(*values: Any) -> Any:
        asked, owner = values[: len(fields)], owner_of(next(iter(values[len(fields) :]), None))
        try:
            fit = served_request(task, read_form(fields, received(fields, asked, owner)))
            job = await asyncio.to_thread(engine.submit, task, fit, owner)  # it copies and flushes files
        except BadInput as error:
            raise gr.Error(str(error), print_exception=False) from None
        try:
            ended = await _ended(engine, job, owner)
        except (asyncio.CancelledError, GeneratorExit):  # the caller gave up
            with contextlib.suppress(BadInput):  # it has been forgotten meanwhile
                engine.cancel(job.id, owner)
            raise
        if ended is None or ended.state is JobState.CANCELLED:
            raise gr.Error("the run was cancelled", print_exception=False)
        if ended.result is None:
            fault = ended.error or JobError("", "the result has been cleared away")
            words = f"{fault.field}: {fault.message}" if fault.field else fault.message
            raise gr.Error(words, print_exception=False)
        files = [FileData(path=into_cache(item.path, owner)).model_dump() for item in ended.result.artifacts]
        return files, _result(ended.result)

    # gradio reads the parameters from the signature and their types from the annotations.
    run.__name__ = task.name.replace(".", "_")
    run.__doc__ = _documentation(task, fields)
    parameters = [
        inspect.Parameter(
            field.name.rsplit(".", 1)[-1],
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=field.default if field.optional else inspect.Parameter.empty,
        )
        for field in fields
    ]
    # gradio fills it in and shows it to nobody.
    parameters.append(inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None))
    returned = tuple[list[FileData], dict[str, Any]]
    vars(run)["__signature__"] = inspect.Signature(parameters, return_annotation=returned)
    run.__annotations__ = {
        parameter.name: _type(field) for parameter, field in zip(parameters[:-1], fields, strict=True)
    } | {"request": gr.Request, "return": returned}
    return run


async def _ended(engine: Engine, job: Job, owner: str) -> Job | None:
    """The job once it has ended; None where it has been forgotten."""
    latest: Job | None = job
    while latest is not None and not latest.state.final:
        await asyncio.sleep(_LOOK)
        latest = engine.get(job.id, owner)
    return latest


def _result(finished: Finished) -> dict[str, Any]:
    """What `result.json` holds, with `name` for the artifacts' `path`: gradio takes any `path` for a file to fetch."""
    result = finished.as_json()
    artifacts = [{"name": item.pop("path"), **item} for item in result["artifacts"]]
    return {**result, "artifacts": artifacts}


def _type(field: FormField) -> Any:
    kind: Any = Literal[field.choices] if field.kind in ("choice", "choices") else _TYPES[field.kind]
    kind = list[kind] if field.kind == "choices" else kind
    return kind | None if field.optional and field.default is None and field.kind != "json" else kind


def _documentation(task: Task, fields: list[FormField]) -> str:
    """A docstring in Google's style, from which the endpoint's description for tools is read."""
    lines = [f"    {field.name.rsplit('.', 1)[-1]}: {field.help or field.label}" for field in fields]
    return "\n".join([task.summary, "", "Args:", *lines])
