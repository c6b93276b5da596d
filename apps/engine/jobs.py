"""The engine: takes requests as jobs, lets their owners watch and steer them, and finds them again after a restart."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from apps.engine import retention
from apps.engine.environment import import_task_modules
from apps.engine.failure import DISK_FULL, disk_is_full
from apps.engine.inputs import adopt, sweep_blobs
from apps.engine.job import INPUTS, LOCAL, Job, JobError, JobState, Wish
from apps.engine.lock import HomeLock
from apps.engine.order import ahead, own_order
from apps.engine.process import end_orphan
from apps.engine.settings import Settings, default_home, load_settings
from apps.engine.store import Store, now
from apps.engine.supervisor import Supervisor
from apps.engine.watch import interrupted
from domains.common.errors import BadInput
from domains.common.files import human_size
from domains.common.task import Request, Task

__all__ = ["LOCAL", "Engine", "Job", "JobError", "JobState", "Wish"]
HIGHEST = 100  # priority
_CLOSING = 15.0  # seconds beyond what a job has to stop


class Engine:
    """The jobs of one home folder; one engine at a time works there.

    Args:
        home: Folder of the database, and of the jobs with their results; made where absent, for its owner alone.  None
            takes the one of the settings, else of LANGEVIN_HOME, else the user's data folder.
        settings: The limits; None reads them from the environment.

    Raises:
        BadInput: If another engine works there, or the folder cannot be used.
    """

    def __init__(self, home: Path | None = None, settings: Settings | None = None) -> None:
        self.settings = load_settings() if settings is None else settings
        self.home = (home or self.settings.home or default_home()).expanduser().absolute()
        self.root, self._blobs = self.home / "jobs", self.home / "blobs"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            os.chmod(self.home, 0o700)
        except OSError as error:
            raise BadInput("home", f"{self.home} cannot be used: {error.strerror}; name another") from None
        self._lock = HomeLock(self.home / "lock")
        try:
            self._store = Store(self.home / "jobs.db", self.root)
        except BaseException:
            self._lock.release()
            raise
        self._closed = False
        import_task_modules(self.settings.task_modules)
        self._recover()
        self._supervisor = Supervisor(self._store, self.settings, self.sweep)

    # -- asking ---------------------------------------------------------------------------------------------------

    def submit(self, task: Task, request: Request, owner: str = LOCAL, priority: int = 0) -> Job:
        """Queues a request.

        Args:
            task: What is to run.
            request: Its validated request; files that it names are copied.
            owner: Whose job it is.
            priority: Among the owner's own jobs, higher runs first; between owners it says nothing.

        Raises:
            BadInput: If too many jobs wait already, a file cannot be taken, the disk is full, or the engine is closed.
        """
        settings = self.settings
        if self._closed:
            raise BadInput("queue", "the engine has been closed")
        self._refuse_when_full(owner)
        if retention.free_bytes(self.root) < settings.free_bytes:
            self.sweep()
            if retention.free_bytes(self.root) < settings.free_bytes:
                least = human_size(settings.free_bytes)
                raise BadInput("disk", f"less than {least} are free; delete results or make space")
        job_id = secrets.token_hex(16)
        folder = self.root / job_id
        try:
            folder.mkdir()
            fields = adopt(request, folder / INPUTS, self._blobs, settings.input_bytes)
            limits = {"seconds": settings.job_seconds, "bytes": float(settings.worker_bytes)}
            with self._store.transaction(durable=True):
                self._refuse_when_full(owner)  # others may have come in between
                self._store.add(
                    Job(job_id, owner, task.name, fields, folder, limits, priority=priority, created=now())
                )
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if disk_is_full(error) or (isinstance(error, sqlite3.OperationalError) and "full" in str(error)):
                raise BadInput("disk", DISK_FULL) from None
            raise
        self._supervisor.wake()
        return self._own(job_id, owner)

    def _refuse_when_full(self, owner: str) -> None:
        settings = self.settings
        if self._store.waiting(owner) >= settings.queue_per_owner:
            raise BadInput(
                "queue", f"{settings.queue_per_owner} of your jobs are waiting already; try again in a while"
            )
        if self._store.waiting() >= settings.queue_length:
            raise BadInput("queue", f"{settings.queue_length} jobs are waiting already; try again in a while")

    # -- looking ------------------------------------------------------------------------------------------------------

    def get(self, job_id: str, owner: str = LOCAL) -> Job | None:
        """The job `job_id` of `owner`; None where there is no such job or it is somebody else's."""
        job = self._store.get(job_id)
        return job if job is not None and job.owner == owner else None

    def jobs(self, owner: str = LOCAL) -> list[Job]:
        """The jobs of `owner`, oldest first."""
        return self._store.select("owner = ?", [owner])

    def history(
        self,
        owner: str = LOCAL,
        *,
        states: Sequence[JobState] = tuple(JobState),
        tasks: Sequence[str] | None = None,
        pinned: bool = False,
        before: Job | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """Jobs of `owner`, newest first, a page at a time.

        Args:
            owner: Whose.
            states: In one of these states.
            tasks: Of one of these tasks; None for all.
            pinned: Pinned ones alone.
            before: The last job of the page before; None begins with the newest.
            limit: At most so many.
        """
        where, values = ["owner = ?"], [owner]
        for column, chosen in (("state", [str(state) for state in states]), ("task", tasks)):
            if chosen is not None:
                where.append(f"{column} IN ({', '.join('?' * len(chosen))})")
                values += chosen
        if pinned:
            where.append("pinned = 1")
        if before is not None:
            where.append("(created, id) < (?, ?)")
            values += [before.created, before.id]  # type: ignore[list-item]
        return self._store.select(" AND ".join(where), values, "created DESC, id DESC", limit)

    def ahead(self, job: Job) -> int:
        """About how many jobs run before `job` begins; 0 where it does not wait."""
        if job.state is not JobState.QUEUED:
            return 0
        waiting = self._store.in_state(JobState.QUEUED)
        if job.id not in {other.id for other in waiting}:
            return 0
        running = len(self._store.in_state(JobState.RUNNING))
        return running + ahead(job, waiting, self._clocks())

    def wait(self, job_id: str, timeout: float | None = None) -> Job | None:
        """Waits until a job has ended (or `timeout` seconds); the job as it is then."""
        self._store.wait_until(lambda: (job := self._store.get(job_id)) is None or job.state.final, timeout)
        return self._store.get(job_id)

    def counts(self) -> dict[str, int]:
        """State -> number of jobs, all owners together; for operators."""
        return self._store.counts()

    def workers(self) -> list[dict[str, Any]]:
        """Number, process id, job, jobs done and bytes of each worker; for operators."""
        return self._supervisor.workers()

    # -- steering -----------------------------------------------------------------------------------------------------

    def cancel(self, job_id: str, owner: str = LOCAL) -> Job:
        """Ends a job: at once where it waits, within one denoiser step where it runs; one that has ended stays so.

        Raises:
            BadInput: If it is not a job of `owner`.
        """

        def change(job: Job) -> None:
            if job.state is JobState.RUNNING:
                self._store.change(job.id, wish=Wish.CANCEL)
            elif not job.state.final:
                self._store.change(job.id, state=JobState.CANCELLED, ended=now())

        return self._steer(job_id, owner, change)

    def pause(self, job_id: str, owner: str = LOCAL) -> Job:
        """Lets a job rest: a running one leaves a checkpoint first, from which `resume` goes on.

        Raises:
            BadInput: If it is not a job of `owner`, or has ended.
        """

        def change(job: Job) -> None:
            if job.state.final:
                raise BadInput("job", f"is {job.state} and cannot be paused")
            if job.state is JobState.RUNNING and job.wish is Wish.NONE:
                self._store.change(job.id, wish=Wish.PAUSE)
            elif job.state is JobState.QUEUED:
                self._store.change(job.id, state=JobState.PAUSED)

        return self._steer(job_id, owner, change)

    def resume(self, job_id: str, owner: str = LOCAL) -> Job:
        """Lets a paused job wait again, at the place it had.

        Raises:
            BadInput: If it is not a job of `owner`, or is not paused.
        """

        def change(job: Job) -> None:
            if job.wish is Wish.PAUSE and job.state is JobState.RUNNING:
                raise BadInput("job", "is just being paused; try again in a moment")
            if job.state is not JobState.PAUSED:
                raise BadInput("job", f"is {job.state}, not paused")
            self._store.requeue(job)

        return self._steer(job_id, owner, change)

    def retry(self, job_id: str, owner: str = LOCAL) -> Job:
        """Lets a failed or cancelled job wait again; it goes on from its last checkpoint, where it has one that fits.

        Raises:
            BadInput: If it is not a job of `owner`, has not failed, or the queue is full.
        """

        def change(job: Job) -> None:
            if job.state not in (JobState.FAILED, JobState.CANCELLED):
                raise BadInput("job", f"is {job.state}; only a failed or cancelled one can be tried again")
            self._refuse_when_full(owner)
            self._store.requeue(job, attempts=0, seconds=0.0, note="tried again")

        return self._steer(job_id, owner, change)

    def move(self, job_id: str, owner: str = LOCAL, before: str | None = None) -> Job:
        """Moves a waiting job before another of the same owner, or to the end of their queue.

        Raises:
            BadInput: If either is not a waiting job of `owner`.
        """

        def change(job: Job) -> None:
            queue = own_order(
                other
                for other in self._store.in_state(JobState.QUEUED, JobState.PAUSED)
                if other.owner == owner and other.id != job.id
            )
            if job.state not in (JobState.QUEUED, JobState.PAUSED):
                raise BadInput("job", f"is {job.state} and cannot be moved")
            at = next((i for i, other in enumerate(queue) if other.id == before), None)
            if before is not None and at is None:
                raise BadInput("before", "is no waiting job of yours")
            at = len(queue) if at is None else at
            after, follower = queue[at - 1 : at], queue[at : at + 1]
            neighbour = (follower or after or [job])[0]
            low = after[0].place if after and after[0].priority == neighbour.priority else neighbour.place - 1
            high = follower[0].place if follower else low + 1
            place = (low + high) / 2
            self._store.change(job.id, place=place, priority=neighbour.priority)

        return self._steer(job_id, owner, change)

    def prioritise(self, job_id: str, owner: str = LOCAL, priority: int = 0) -> Job:
        """Gives a waiting job another priority; among the owner's own jobs, higher runs first.

        Raises:
            BadInput: If it is not a waiting job of `owner`, or the priority is not within ±100.
        """

        def change(job: Job) -> None:
            if job.state not in (JobState.QUEUED, JobState.PAUSED):
                raise BadInput("job", f"is {job.state} and cannot be given another priority")
            self._store.change(job.id, priority=priority)

        if not -HIGHEST <= priority <= HIGHEST:
            raise BadInput("priority", f"must lie between -{HIGHEST} and {HIGHEST}")
        return self._steer(job_id, owner, change)

    def pin(self, job_id: str, owner: str = LOCAL, pinned: bool = True) -> Job:
        """Keeps the results of a job whatever their age, or no longer.

        Raises:
            BadInput: If it is not a job of `owner`.
        """
        return self._steer(job_id, owner, lambda job: self._store.change(job.id, pinned=int(pinned)))

    def forget(self, job_id: str, owner: str = LOCAL) -> None:
        """Removes a job that does not run, with its files.

        Raises:
            BadInput: If it is not a job of `owner`, or it runs.
        """
        with self._store.transaction():
            job = self._own(job_id, owner)
            if job.state is JobState.RUNNING:
                raise BadInput("job", "is running; cancel it first")
            retention.remove(self._store, job)
        sweep_blobs(self._blobs)

    def sweep(self) -> int:
        """Removes what need not be kept any more; the number of jobs removed."""
        return retention.sweep(self._store, self.settings, self._blobs)

    def close(self) -> None:
        """Suspends what runs (it goes on at the next start), ends the workers, and lets go of the home folder."""
        if self._closed:
            return
        self._closed = True
        self._supervisor.close(self.settings.stop_seconds + _CLOSING)
        self._store.close()
        self._lock.release()

    # -- within -------------------------------------------------------------------------------------------------------

    def _steer(self, job_id: str, owner: str, change: Callable[[Job], None]) -> Job:
        with self._store.transaction():  # no flush: a wish that a power cut loses is made again
            change(self._own(job_id, owner))
        self._supervisor.wake()
        return self._own(job_id, owner)

    def _own(self, job_id: str, owner: str) -> Job:
        job = self.get(job_id, owner)
        if job is None:
            raise BadInput("job", "there is no such job of yours")
        return job

    def _clocks(self) -> dict[str, float]:
        clocks = self._store.clocks()
        for owner, seconds in self._supervisor.running().items():
            clocks[owner] = clocks.get(owner, 0.0) + seconds
        return clocks

    def _recover(self) -> None:
        """Takes up what an app that ended in the midst of it left behind."""
        for job in self._store.in_state(JobState.RUNNING):
            end_orphan(self._store.worker_of(job.id))
            if job.has_result:
                changes: dict[str, Any] = {"state": JobState.DONE, "ended": now()}
            elif job.wish is Wish.CANCEL:
                changes = {"state": JobState.CANCELLED, "ended": now()}
            elif job.wish is Wish.PAUSE:
                changes = {"state": JobState.PAUSED}
            else:
                changes = interrupted(job, "interrupted when the app ended", False, self.settings)
                if changes["state"].final:
                    changes["ended"] = now()
            self._store.change(job.id, durable=True, wish=Wish.NONE, **changes)
        retention.remove_orphans(self._store)
        self.sweep()
