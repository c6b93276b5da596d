"""Jobs, tasks and artifacts as the HTTP interface shows them."""

from __future__ import annotations

import mimetypes
from typing import Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from apps.engine.environment import missing_libraries
from apps.engine.job import Job
from apps.engine.run import Finished, FinishedArtifact
from apps.web.requests import public_fields, request_schema
from domains.common.errors import BadInput
from domains.common.task import Task

State = Literal["queued", "running", "paused", "done", "failed", "cancelled"]
Number = float | int | str | None


class View(BaseModel):
    """Base of what is answered."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Fault(View):
    """Why a request was refused or a job failed."""

    field: str = Field(description="field of the request at fault; empty where none is")
    message: str = Field(description="one sentence that says what is wrong and how to mend it")


class TaskView(View):
    """A task."""

    name: str = Field(description="domain.verb")
    title: str
    summary: str = Field(description="what comes out")
    model: str = Field(description="built-in model that it uses by default; empty for none")
    missing: list[str] = Field(description="libraries that this installation lacks for it")
    request: dict[str, Any] = Field(description="JSON schema of its request")


class ProgressView(View):
    """How far a run is."""

    done: float
    total: float
    message: str
    seconds_left: float | None


class ArtifactView(View):
    """A file of a finished job."""

    name: str
    kind: str
    title: str
    media_type: str
    bytes: int
    sha256: str
    url: str = Field(description="where it is downloaded, relative to the app's root")


class ResultView(View):
    """What came out of a finished job."""

    artifacts: list[ArtifactView]
    metrics: dict[str, Number]
    notes: list[str]
    nfe: int = Field(description="denoiser evaluations per sample")
    seconds: float


class JobSummary(View):
    """A job as it stands."""

    id: str
    task: str
    state: State
    stopping: bool = Field(description="runs, and has been asked to stop")
    progress: ProgressView | None
    ahead: int = Field(description="about how many jobs run before it; 0 where it does not wait")
    error: Fault | None
    note: str = Field(description="what happened to it on its way")
    priority: int
    pinned: bool
    created: float = Field(description="seconds since 1970-01-01 UTC, as the other times")
    started: float | None
    ended: float | None
    seconds: float = Field(description="that it has run, all attempts together")
    attempts: int
    revision: int = Field(description="number of changes so far")


class JobView(JobSummary):
    """A job with its request and what came out of it."""

    request: dict[str, Any] = Field(description="every field; files by their base names")
    result: ResultView | None


class JobList(View):
    """Jobs, the newest first."""

    jobs: list[JobSummary]


class ArtifactList(View):
    """The files of a finished job."""

    artifacts: list[ArtifactView]


class TaskList(View):
    """All tasks."""

    tasks: list[TaskView]


def task_view(task: Task) -> TaskView:
    """A task for a client."""
    return TaskView(
        name=task.name,
        title=task.title,
        summary=task.summary,
        model=task.model,
        missing=missing_libraries(task),
        request=request_schema(task),
    )


def job_summary(job: Job, ahead: int) -> JobSummary:
    """A job without its request and result."""
    return JobSummary(**_summary(job, ahead))


def job_view(job: Job, ahead: int) -> JobView:
    """A job with all that its owner may see."""
    try:
        fields = public_fields(job.fields, job.task)
    except BadInput:  # this installation has no such task any more
        fields = {}
    return JobView(**_summary(job, ahead), request=fields, result=_result(job))


def artifacts(job: Job, finished: Finished) -> list[ArtifactView]:
    """The files of a finished job that are still there."""
    return [_artifact(job, item) for item in finished.artifacts if item.path.is_file()]


def media_type(name: str) -> str:
    """What a file is, by its ending."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def _summary(job: Job, ahead: int) -> dict[str, Any]:
    progress = job.progress
    return {
        "id": job.id,
        "task": job.task_name,
        "state": str(job.state),
        "stopping": job.stopping,
        "progress": ProgressView(
            done=progress.done,
            total=progress.total,
            message=progress.message,
            seconds_left=progress.left,
        )
        if progress is not None
        else None,
        "ahead": ahead,
        "error": Fault(field=job.error.field, message=job.error.message) if job.error is not None else None,
        "note": job.note,
        "priority": job.priority,
        "pinned": job.pinned,
        "created": job.created,
        "started": job.started,
        "ended": job.ended,
        "seconds": job.seconds,
        "attempts": job.attempts,
        "revision": job.revision,
    }


def _result(job: Job) -> ResultView | None:
    finished = job.result
    if finished is None:
        return None
    return ResultView(
        artifacts=artifacts(job, finished),
        metrics=finished.as_json()["metrics"],
        notes=finished.notes,
        nfe=finished.nfe,
        seconds=finished.seconds,
    )


def _artifact(job: Job, item: FinishedArtifact) -> ArtifactView:
    return ArtifactView(
        name=item.name,
        kind=item.kind,
        title=item.title,
        media_type=media_type(item.name),
        bytes=item.path.stat().st_size,
        sha256=item.sha256,
        url=f"api/jobs/{job.id}/artifacts/{quote(item.name)}",
    )
