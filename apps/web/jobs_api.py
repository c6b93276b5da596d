"""Jobs over plain HTTP: `POST /api/jobs`, then ask, listen, steer and download; described by `/openapi.json`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from apps.engine.jobs import Engine, Job
from apps.engine.run import RESULT
from apps.web.api_faults import Missing, OneLine
from apps.web.calls import owner_folder, strict_json
from apps.web.headers import FILE_POLICY
from apps.web.incoming import staging
from apps.web.job_events import job_events
from apps.web.job_models import (
    ArtifactList,
    Fault,
    JobList,
    JobView,
    State,
    TaskList,
    artifacts,
    job_summary,
    job_view,
    media_type,
    task_view,
)
from apps.web.openapi import SUBMISSION, described
from apps.web.owners import owner_of
from apps.web.requests import Intake
from domains.common.errors import BadInput
from domains.registry import all_tasks, find_task

_MOST_FILES, _MOST_FIELDS = 16, 8
_BLOCK = 1 << 20
_REFUSED: dict[int | str, dict[str, Any]] = {
    400: {"model": Fault, "description": "the request cannot be served; says why"},
    401: {"description": "log in first"},
    429: {"model": Fault, "description": "too many requests, or too many jobs wait"},
}
_OWN: dict[int | str, dict[str, Any]] = {
    401: {"description": "log in first"},
    404: {"model": Fault, "description": "there is no such job of yours"},
}
_STEERED: dict[int | str, dict[str, Any]] = {
    **_OWN,
    409: {"model": Fault, "description": "the job's state does not allow it"},
}


def jobs_routes(
    engine: Engine, uploads: Path, limit: int, ending: Callable[[], bool] = lambda: False
) -> APIRouter:
    """`/api/jobs`, `/api/tasks` and `/openapi.json`.

    Args:
        engine: Runs the jobs.
        uploads: Folder of all uploads.
        limit: Largest file, bytes.
        ending: Whether the app is ending, so that event streams close.
    """
    router = APIRouter(prefix="/api", route_class=OneLine, tags=["jobs"])

    def own(job_id: str, request: Request) -> Job:
        job = engine.get(job_id, owner_of(request))
        if job is None:
            raise Missing("job", "there is no such job of yours")
        return job

    def shown(job: Job) -> JobView:
        return job_view(job, engine.ahead(job))

    @router.get("/tasks", summary="List the tasks with the schemas of their requests", operation_id="tasks")
    def tasks() -> TaskList:
        return TaskList(tasks=[task_view(task) for task in all_tasks().values()])

    @router.post(
        "/jobs",
        status_code=202,
        summary="Submit a job",
        operation_id="submit",
        response_model=JobView,
        responses={**_REFUSED, 413: {"description": "the request is too large"}},
        openapi_extra={"requestBody": SUBMISSION},
    )
    async def submit(request: Request) -> Response:
        owner = owner_of(request)
        with staging(owner_folder(uploads, owner)) as place:
            intake = Intake(place, uploads, owner, limit)
            call, files = await _read(request, intake, limit)
            job = await run_in_threadpool(_submitted, engine, intake, owner, call, files)
        return JSONResponse(
            shown(job).model_dump(mode="json"),
            202,
            headers={"Location": f"{_base(request)}/api/jobs/{job.id}"},
        )

    @router.get("/jobs", summary="List your jobs, the newest first", operation_id="jobs", responses=_REFUSED)
    def jobs(
        request: Request,
        state: Annotated[State | None, Query(description="only jobs in this state")] = None,
        task: Annotated[str | None, Query(max_length=200, description="only jobs of this task")] = None,
        limit: Annotated[int, Query(ge=1, le=1000, description="how many at most")] = 100,
    ) -> JobList:
        found = [
            job
            for job in reversed(engine.jobs(owner_of(request)))
            if state in (None, str(job.state)) and task in (None, job.task_name)
        ]
        return JobList(jobs=[job_summary(job, engine.ahead(job)) for job in found[:limit]])

    @router.get("/jobs/{job_id}", summary="Look at a job", operation_id="job", responses=_OWN)
    def look(job_id: str, request: Request) -> JobView:
        return shown(own(job_id, request))

    @router.get(
        "/jobs/{job_id}/events",
        summary="Listen to a job until it ends (server-sent events)",
        operation_id="events",
        response_class=StreamingResponse,
        responses={
            **_OWN,
            200: {
                "description": "events `job` (a JobSummary) and, last, `end` (a JobView); ids are revisions",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            204: {"description": "the job has ended, and the reader has seen that already"},
        },
    )
    def events(
        job_id: str,
        request: Request,
        last_event_id: Annotated[str | None, Header(max_length=20, description="the last event seen")] = None,
    ) -> Response:
        job = own(job_id, request)
        seen = (
            int(last_event_id)
            if last_event_id and last_event_id.isascii() and last_event_id.isdigit()
            else None
        )
        if job.state.final and seen == job.revision:
            return Response(status_code=204)
        told = job_events(engine, job_id, job.owner, seen, ending, request.is_disconnected)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(told, media_type="text/event-stream", headers=headers)

    @router.get(
        "/jobs/{job_id}/artifacts", summary="List a job's files", operation_id="artifacts", responses=_OWN
    )
    def listed(job_id: str, request: Request) -> ArtifactList:
        job = own(job_id, request)
        finished = job.result
        return ArtifactList(artifacts=[] if finished is None else artifacts(job, finished))

    @router.get(
        "/jobs/{job_id}/artifacts/{name:path}",
        summary="Download a file of a job; result.json is one",
        operation_id="artifact",
        response_class=FileResponse,
        responses=_OWN,
    )
    def artifact(job_id: str, name: str, request: Request) -> Response:
        finished = own(job_id, request).result
        # Only names that the job lists: a path is never made of what was asked for.
        known = {item.name: item.path for item in finished.artifacts} if finished is not None else {}
        if finished is not None:
            known[RESULT] = finished.directory / RESULT
        path = known.get(name)
        if path is None or not path.is_file():
            raise Missing("name", "the job has no such file")
        headers = {"Content-Security-Policy": FILE_POLICY, "Cache-Control": "private, no-store"}
        return FileResponse(path, media_type=media_type(path.name), filename=path.name, headers=headers)

    def steered(verb: str, about: str, steer: Callable[[str, str], Job]) -> None:
        @router.post(f"/jobs/{{job_id}}/{verb}", summary=about, operation_id=verb, responses=_STEERED)
        def change(job_id: str, request: Request) -> JobView:
            job = own(job_id, request)
            return shown(steer(job.id, job.owner))

    steered("cancel", "End a job; one that runs ends within a step", engine.cancel)
    steered("pause", "Let a job rest; one that runs leaves a checkpoint", engine.pause)
    steered("resume", "Let a paused job go on", engine.resume)
    steered("retry", "Try a failed or cancelled job again", engine.retry)

    @router.delete(
        "/jobs/{job_id}",
        status_code=204,
        summary="Forget a job and its files",
        operation_id="forget",
        responses=_STEERED,
    )
    def forget(job_id: str, request: Request) -> Response:
        job = own(job_id, request)
        engine.forget(job.id, job.owner)
        return Response(status_code=204)

    whole = APIRouter()
    whole.include_router(router)

    @whole.get("/openapi.json", include_in_schema=False)
    def document(request: Request) -> JSONResponse:
        return JSONResponse(described(router, _base(request)))

    return whole


def _submitted(
    engine: Engine, intake: Intake, owner: str, call: dict[str, Any], files: dict[str, list[Path]]
) -> Job:
    unknown = set(call) - {"task", "request", "priority"}
    if unknown:
        raise BadInput(sorted(unknown)[0][:60], "unknown field; a job has task, request and priority")
    name, fields, priority = call.get("task"), call.get("request", {}), call.get("priority", 0)
    if not isinstance(name, str):
        raise BadInput("task", f"name one of {', '.join(all_tasks())}")
    if not isinstance(fields, dict):
        raise BadInput("request", "must be an object of fields")
    if type(priority) is not int or abs(priority) > 1000:
        raise BadInput("priority", "must be a whole number from -1000 to 1000")
    task = find_task(name)
    return engine.submit(task, intake.request(task, fields, files), owner, priority)


async def _read(request: Request, intake: Intake, limit: int) -> tuple[dict[str, Any], dict[str, list[Path]]]:
    """The call, and the files that came beside it."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        body = strict_json(await request.body())
        if not isinstance(body, dict):
            raise BadInput("request", "must be a JSON object with task and request")
        return body, {}
    if kind != "multipart/form-data":
        raise BadInput("Content-Type", "must be application/json or multipart/form-data")
    call: dict[str, Any] = {}
    files: dict[str, list[Path]] = {}
    async with _form(request) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                files.setdefault(name, []).append(await _saved(name, value, intake, limit))
            elif name in call:
                raise BadInput(name[:60], "is given twice; keep one")
            else:
                call[name] = value if name == "task" else strict_json(value.encode())
    return call, files


@contextlib.asynccontextmanager
async def _form(request: Request) -> AsyncIterator[Any]:
    try:
        async with request.form(max_files=_MOST_FILES, max_fields=_MOST_FIELDS) as form:
            yield form
    except HTTPException as error:  # starlette's words on a form that is none
        raise BadInput("request", f"{error.detail[:1].lower()}{error.detail[1:]}") from None


async def _saved(field: str, upload: UploadFile, intake: Intake, limit: int) -> Path:
    path = intake.target(upload.filename or "file")

    def write() -> int:
        size = 0
        with path.open("wb") as out:
            while block := upload.file.read(_BLOCK):
                size += len(block)
                if size > limit:
                    break
                out.write(block)
        return size

    if await run_in_threadpool(write) > limit:
        raise BadInput(field[:60], "the file is larger than what is taken")
    return path


def _base(request: Request) -> str:
    """The path under which a proxy serves the app; empty where none does."""
    return str(request.scope.get("root_path", "")).rstrip("/")
