"""A job: one request on its way, as it stood at one moment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from apps.engine.progress import Progress
from apps.engine.run import RESULT, Finished
from apps.engine.validation import make_request
from domains.common.task import Request, Task
from domains.registry import find_task

LOCAL = "local"  # whose jobs are those of an app that only its own machine reaches
PREVIEW, RESULT_FOLDER, INPUTS, CHECKPOINTS = "preview.json", "result", "inputs", "checkpoints"


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the job has ended; only `retry` moves a failed or cancelled one again."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class Wish(StrEnum):
    """What a running job has been asked for."""

    NONE = ""
    CANCEL = "cancel"
    PAUSE = "pause"


@dataclass(frozen=True)
class JobError:
    """Why a job failed, for the person.

    Attributes:
        field: The request field at fault; empty where the fault is not in the request.
        message: One sentence.
    """

    field: str
    message: str


@dataclass(frozen=True)
class Job:
    """A snapshot of a job; ask the engine for a newer one.

    Attributes:
        id: Random, unguessable name; also the name of its folder.
        owner: Whose it is.
        task_name: `domain.verb`.
        fields: Its request as plain JSON; never changes.  Files are the engine's own copies.
        directory: Its folder.
        limits: What it may take (`seconds`, `bytes`), fixed when it was submitted.
        state: Where it stands.
        wish: What it has been asked for while it runs.
        priority: Among the jobs of its owner, higher runs first.
        progress: How far the run is; None before its first update.
        previews: Number of previews so far.
        error: Why it failed, once failed.
        note: What happened to it on its way, for example that it was interrupted and went on; a sentence.
        created, started, ended: Seconds since the epoch; None while that has not happened.
        seconds: That it has run, all attempts together; of a running one, without the attempt that runs.
        attempts: Starts since it was queued or last left a checkpoint.
        pinned: Whether it is kept whatever its age.
        bytes: That its folder takes, once ended.
        place: Among the waiting jobs of its owner, smaller runs first.
        revision: Number of changes so far.
    """

    id: str
    owner: str
    task_name: str
    fields: Mapping[str, Any]
    directory: Path
    limits: Mapping[str, float] = field(default_factory=dict)
    state: JobState = JobState.QUEUED
    wish: Wish = Wish.NONE
    priority: int = 0
    progress: Progress | None = None
    previews: int = 0
    error: JobError | None = None
    note: str = ""
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    seconds: float = 0.0
    attempts: int = 0
    pinned: bool = False
    bytes: int = 0
    place: float = 0.0
    revision: int = 0

    @property
    def stopping(self) -> bool:
        """Whether the job runs and has been asked to stop."""
        return self.wish is not Wish.NONE and self.state is JobState.RUNNING

    @cached_property
    def task(self) -> Task:
        """What runs.

        Raises:
            BadInput: If this installation has no such task (any more).
        """
        return find_task(self.task_name)

    @cached_property
    def request(self) -> Request:
        """The validated request.

        Raises:
            BadInput: If the task has changed since and takes it no longer.
        """
        return make_request(self.task, self.fields)

    @cached_property
    def preview(self) -> Mapping[str, Any] | None:
        """The latest intermediate figure; None where there is none."""
        if not self.previews:
            return None
        try:
            figure: Mapping[str, Any] = json.loads((self.directory / PREVIEW).read_text("utf-8"))
        except (OSError, ValueError):  # forgotten meanwhile
            return None
        return figure

    @cached_property
    def result(self) -> Finished | None:
        """What came out; None unless the job is done and its files are still there."""
        if self.state is not JobState.DONE:
            return None
        try:
            return Finished.load(self.directory / RESULT_FOLDER)
        except (OSError, ValueError, KeyError):
            return None

    @property
    def has_result(self) -> bool:
        """Whether a complete result lies in the job's folder, whatever the state says."""
        return (self.directory / RESULT_FOLDER / RESULT).is_file()
