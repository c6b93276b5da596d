"""Jobs: requests that wait, run one at a time in a background thread, and can be watched and cancelled."""

from __future__ import annotations

import logging
import secrets
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Any

from apps.engine.failure import describe_crash
from apps.engine.progress import Progress
from apps.engine.run import Finished, run_task
from domains.common.errors import BadInput, Cancelled, MissingLibrary
from domains.common.task import Request, Task

_log = logging.getLogger(__name__)


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the job will not change any more."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True)
class JobError:
    """Why a job failed, for the person.

    Attributes:
        field: The request field at fault; empty where the fault is not in the request.
        message: One sentence.
    """

    field: str
    message: str


@dataclass(eq=False)
class Job:
    """One request on its way.  Read its attributes at any time; `revision` grows with every change.

    Attributes:
        id: Random, unguessable name; also the name of its folder.
        task: What runs.
        request: Its validated request.
        owner: Whose it is; empty where nobody asks.
        state: Where it stands.
        progress: How far the run is; None before its first update.
        preview: The latest intermediate figure.
        result: What came out, once done.
        error: Why it failed, once failed.
        created, started, ended: Seconds since the epoch; None while that has not happened.
        revision: Number of changes so far.
    """

    id: str
    task: Task
    request: Request
    owner: str = ""
    state: JobState = JobState.QUEUED
    progress: Progress | None = None
    preview: Mapping[str, Any] | None = None
    result: Finished | None = None
    error: JobError | None = None
    created: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    revision: int = 0
    _stop: Event = field(default_factory=Event, repr=False)
    _changed: Condition = field(default_factory=Condition, repr=False)

    @property
    def stopping(self) -> bool:
        """Whether the job was asked to stop and has not ended yet."""
        return self._stop.is_set() and not self.state.final

    def cancel(self) -> None:
        """Asks the job to stop: at once where it waits, at its next check (a denoiser step) where it runs."""
        self._stop.set()
        with self._changed:
            if self.state is JobState.QUEUED:
                self._update(state=JobState.CANCELLED, ended=time.time())

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the job to end; False where `timeout` seconds passed first."""
        with self._changed:
            return self._changed.wait_for(lambda: self.state.final, timeout)

    def wait_for_change(self, revision: int, timeout: float | None = None) -> int:
        """Waits until `self.revision` differs from `revision` (or `timeout` seconds) and returns it."""
        with self._changed:
            self._changed.wait_for(lambda: self.revision != revision, timeout)
            return self.revision

    def update(self, **changes: Any) -> None:
        """Sets attributes together and wakes everybody who waits; for the engine alone."""
        with self._changed:
            self._update(**changes)

    def _update(self, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(self, name, value)
        self.revision += 1
        self._changed.notify_all()

    def begin(self) -> bool:
        """Moves a queued job to running; False where it was cancelled meanwhile."""
        with self._changed:
            if self.state is not JobState.QUEUED:
                return False
            self._update(state=JobState.RUNNING, started=time.time())
            return True


class Engine:
    """Runs jobs one after another in one background thread.

    Jobs live in memory and their results in folders under `root`, one a job.

    Args:
        root: Folder for results; None makes a temporary one, removed by `close`.
        waiting: How many jobs may wait.
        kept: How many ended jobs are remembered; older ones are forgotten with their files.
    """

    def __init__(self, root: Path | None = None, *, waiting: int = 16, kept: int = 64) -> None:
        self._own_root = root is None
        self.root = Path(tempfile.mkdtemp(prefix="langevin-jobs-")) if root is None else root
        self.root.mkdir(parents=True, exist_ok=True)
        self._waiting, self._kept = waiting, kept
        self._jobs: dict[str, Job] = {}
        self._queue: deque[Job] = deque()
        self._wake = Condition()
        self._closed = False
        self._worker = Thread(target=self._work, name="langevin-engine", daemon=True)
        self._worker.start()

    def submit(self, task: Task, request: Request, owner: str = "") -> Job:
        """Queues a request.

        Raises:
            BadInput: If too many jobs wait already, or the engine is closed.
        """
        with self._wake:
            if self._closed:
                raise BadInput("queue", "the engine has been closed")
            self._queue = deque(job for job in self._queue if job.state is JobState.QUEUED)
            if len(self._queue) >= self._waiting:
                raise BadInput("queue", f"{self._waiting} jobs are waiting already; try again in a while")
            job = Job(secrets.token_hex(16), task, request, owner)
            self._forget_old()
            self._jobs[job.id] = job
            self._queue.append(job)
            self._wake.notify()
            return job

    def get(self, job_id: str, owner: str = "") -> Job | None:
        """The job `job_id` of `owner`; None where there is no such job or it is somebody else's."""
        job = self._jobs.get(job_id)
        return job if job is not None and job.owner == owner else None

    def jobs(self, owner: str = "") -> list[Job]:
        """The jobs of `owner`, oldest first."""
        return [job for job in list(self._jobs.values()) if job.owner == owner]

    def ahead(self, job: Job) -> int:
        """How many jobs run or wait before `job`; 0 where it runs or has ended."""
        if job.state is not JobState.QUEUED:
            return 0
        with self._wake:
            before = [
                other
                for other in self._jobs.values()
                if not other.state.final and other.created <= job.created
            ]
            return len([other for other in before if other is not job])

    def close(self) -> None:
        """Cancels everything, waits for the running step to end, and removes a temporary root."""
        with self._wake:
            self._closed = True
            for job in self._jobs.values():
                if not job.state.final:
                    job.cancel()
            self._wake.notify()
        self._worker.join(timeout=30)
        if self._own_root:
            shutil.rmtree(self.root, ignore_errors=True)

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._queue or self._closed)
                if self._closed:
                    return
                job = self._queue.popleft()
            if job.begin():
                self._run(job)

    def _run(self, job: Job) -> None:
        try:
            finished = run_task(
                job.task,
                job.request,
                out=self.root / job.id,
                on_progress=lambda moment: job.update(progress=moment),
                on_preview=lambda figure: job.update(preview=figure),
                cancel=job._stop,
            )
        except Cancelled:
            job.update(state=JobState.CANCELLED, ended=time.time())
        except BadInput as error:
            job.update(state=JobState.FAILED, error=JobError(error.field, error.message), ended=time.time())
        except MissingLibrary as error:
            job.update(state=JobState.FAILED, error=JobError("", str(error)), ended=time.time())
        except BaseException as error:  # the worker outlives whatever a task does, and says what it was
            _log.exception("job %s (%s) failed", job.id, job.task.name)
            job.update(state=JobState.FAILED, error=JobError("", describe_crash(error)), ended=time.time())
        else:
            job.update(state=JobState.DONE, result=finished, ended=time.time())

    def _forget_old(self) -> None:
        ended = [job for job in self._jobs.values() if job.state.final]
        for job in ended[: max(0, len(ended) - self._kept + 1)]:
            del self._jobs[job.id]
            shutil.rmtree(self.root / job.id, ignore_errors=True)
