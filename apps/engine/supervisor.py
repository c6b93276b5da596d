"""The supervisor: one thread that gives jobs to workers, watches both, and writes down what became of them."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

from apps.engine.environment import cpu_count, memory_bytes
from apps.engine.failure import NO_MEMORY, describe_exit
from apps.engine.job import Job, JobError, JobState, Wish
from apps.engine.order import next_job
from apps.engine.pool import hire
from apps.engine.process import WorkerProcess
from apps.engine.progress import Progress
from apps.engine.retention import folder_bytes
from apps.engine.settings import Settings
from apps.engine.store import Store, now
from apps.engine.watch import Attempt

_log = logging.getLogger(__name__)
_TICK = 0.25  # seconds between looks at memory and clocks
_SWEEP = 20.0  # seconds between sweeps of what is kept
_HASTE = 0.5  # seconds between starts of workers that fail
_STARTS = 3  # failed starts in a row after which waiting jobs are told


class Supervisor:
    """Runs the jobs of a store.

    Args:
        store: The jobs.
        settings: The limits.
        sweep: Called from time to time to remove what need not be kept.
    """

    def __init__(self, store: Store, settings: Settings, sweep: Callable[[], object]) -> None:
        self._store, self._settings, self._sweep = store, settings, sweep
        self._inbox: SimpleQueue[tuple[WorkerProcess, dict[str, Any] | None] | None] = SimpleQueue()
        self._workers: dict[WorkerProcess, Attempt | None] = {}
        self._leaving: set[WorkerProcess] = set()
        self._made = self._failed_starts = 0
        self._next_start = 0.0
        self._closing = Event()
        self._begun = time.monotonic()
        self._swept = time.monotonic()
        self._warmed = False
        self._thread = Thread(target=self._work, name="langevin-supervisor", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Makes the thread look at the store at once."""
        self._inbox.put(None)

    def close(self, timeout: float) -> None:
        """Suspends what runs, ends the workers, and waits for the thread."""
        self._closing.set()
        self.wake()
        self._thread.join(timeout)

    def running(self) -> dict[str, float]:
        """Owner -> seconds that their running jobs have run in the present attempt."""
        seconds: dict[str, float] = {}
        for attempt in list(self._workers.values()):
            if attempt is not None:
                owner = attempt.job.owner
                seconds[owner] = seconds.get(owner, 0.0) + attempt.elapsed
        return seconds

    def workers(self) -> list[dict[str, Any]]:
        """What each worker does: number, process id, job (or empty), jobs done, bytes."""
        return [
            {"number": w.number, "pid": w.pid, "job": w.job, "jobs": w.jobs, "bytes": w.resident}
            for w in list(self._workers)
        ]

    # -- the thread -----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                self._listen(_TICK)
                self._watch()
                self._dispatch()
                self._keep_house()
            except Exception as error:  # a full disk, a locked file: what waits is tried again
                _log.error("the supervisor goes on after %s: %s", type(error).__name__, error)
                time.sleep(_TICK)
        self._end_all()

    def _listen(self, timeout: float) -> None:
        """Takes in what workers report; returns early where there is something to do."""
        try:
            item = self._inbox.get(timeout=timeout)
            while True:
                if item is not None:
                    self._take(*item)
                item = self._inbox.get_nowait()
        except Empty:
            pass

    def _take(self, worker: WorkerProcess, report: dict[str, Any] | None) -> None:
        try:
            if report is None:
                self._gone(worker)
            else:
                self._heard(worker, dict(report))
        except sqlite3.Error:  # a full disk: nothing that a worker said is lost
            self._inbox.put((worker, report))
            self._sweep()
            raise

    def _heard(self, worker: WorkerProcess, report: dict[str, Any]) -> None:
        attempt = self._workers.get(worker)
        kind = report.pop("kind")
        if kind in ("ready", "idle"):
            worker.ready = True
            self._failed_starts = 0
            worker.resident = report.get("bytes", worker.resident)
            if attempt is None and worker.jobs and self._worn(worker):
                self._dismiss(worker)
            return
        if attempt is None or report.pop("job") != attempt.job.id:
            return
        attempt.alive()
        match kind:
            case "progress":
                self._store.change(attempt.job.id, progress=Progress(**report))
            case "preview":
                self._store.change(attempt.job.id, previews=report["number"])
            case "kept":
                attempt.kept = True
                if attempt.job.attempts > 1:
                    self._store.change(attempt.job.id, attempts=1)
            case "resuming":
                note = attempt.resumption(report["usable"])
                self._store.change(attempt.job.id, note=note)
            case "done" | "failed" | "stopped":
                self._ended(worker, attempt, kind, report)

    def _ended(self, worker: WorkerProcess, attempt: Attempt, kind: str, report: dict[str, Any]) -> None:
        """A job's own end, or the one that it was asked for."""
        changes: dict[str, Any] = {}
        if report.get("last"):
            changes["progress"] = Progress(**report["last"])
        if kind == "done":
            changes |= {"state": JobState.DONE}
        elif kind == "failed":
            error = JobError(report["field"], report["message"])
            changes |= {"state": JobState.FAILED, "error": error}
        else:
            changes |= attempt.as_asked(report["reason"])
        self._finish(worker, attempt, **changes)
        worker.worn |= kind == "failed" and report["message"] == NO_MEMORY

    def _finish(self, worker: WorkerProcess, attempt: Attempt, **changes: Any) -> None:
        """Writes down the end of an attempt, and frees its worker."""
        job = attempt.job
        state = JobState(changes["state"])
        attempt.tidy(state)
        with self._store.transaction(durable=True):
            self._store.change(
                job.id,
                wish=Wish.NONE,
                seconds=job.seconds + attempt.elapsed,
                ended=now() if state.final else None,
                bytes=folder_bytes(job.directory),
                **changes,
            )
            self._store.charge(job.owner, attempt.elapsed)
        self._workers[worker] = None
        worker.job, worker.jobs = "", worker.jobs + 1
        worker.ready = False  # until it says so

    def _gone(self, worker: WorkerProcess) -> None:
        """A worker has ended: by itself, by the kernel, by somebody, or by us."""
        attempt = self._workers.get(worker)
        status = worker.reap()
        if attempt is not None:
            self._finish(worker, attempt, **attempt.verdict(status))
        elif worker in self._workers and not worker.ready and not worker.jobs:
            self._failed_starts += 1
            self._next_start = time.monotonic() + _HASTE * 2**self._failed_starts
            _log.error("worker %d %s before it was ready", worker.number, describe_exit(status))
        self._workers.pop(worker, None)
        self._leaving.discard(worker)

    # -- looking ------------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Passes wishes on, and ends what takes too much time, memory or silence."""
        for worker, attempt in list(self._workers.items()):
            if attempt is None:
                continue
            wish = attempt.look(self._store, worker.measure())
            if wish is not None:
                worker.tell("stop", job=attempt.job.id, reason=wish)
            if attempt.overdue():
                worker.kill()

    def _dispatch(self) -> None:
        """Gives waiting jobs to idle workers; starts workers while there are too few."""
        busy = sum(attempt is not None for attempt in self._workers.values())
        if busy == self._settings.workers:
            return
        waiting = self._store.in_state(JobState.QUEUED)
        while waiting and (idle := self._idle()) is not None:
            clocks = self._store.clocks()
            for owner, seconds in self.running().items():
                clocks[owner] = clocks.get(owner, 0.0) + seconds
            job = next_job(waiting, clocks)
            assert job is not None
            waiting = [other for other in waiting if other.id != job.id]
            self._start(job, idle)
        busy = sum(attempt is not None for attempt in self._workers.values())
        wanted = min(self._settings.workers, busy + len(waiting))
        if not self._warmed and time.monotonic() - self._begun > self._settings.warm_seconds:
            wanted = max(wanted, 1)
        if self._failed_starts >= _STARTS and waiting:
            self._refuse(waiting)
        elif wanted > len(self._workers) and time.monotonic() >= self._next_start:
            self._hire()

    def _idle(self) -> WorkerProcess | None:
        return next((w for w, attempt in self._workers.items() if attempt is None and w.ready), None)

    def _start(self, job: Job, worker: WorkerProcess) -> None:
        if job.has_result:  # it was finished by a worker whose app had just ended
            self._store.change(job.id, durable=True, state=JobState.DONE, ended=now())
            return
        with self._store.transaction(durable=True):
            fresh = self._store.get(job.id)
            if fresh is None or fresh.state is not JobState.QUEUED:  # cancelled or moved meanwhile
                return
            self._store.change(
                job.id,
                state=JobState.RUNNING,
                started=job.started or now(),
                attempts=fresh.attempts + 1,
                worker=worker.name,
            )
        started = self._store.get(job.id)
        assert started is not None
        attempt = self._workers[worker] = Attempt(started, self._settings)
        worker.job = job.id
        worker.tell(
            "run",
            job=job.id,
            task=job.task_name,
            fields=dict(job.fields),
            directory=str(job.directory),
            attempt=started.attempts,
            before=job.seconds,
            previews=job.previews,
            checkpoint_seconds=self._settings.checkpoint_seconds,
        )
        attempt.alive()

    def _refuse(self, waiting: list[Job]) -> None:
        error = JobError("", "no worker could be started; python launch.py doctor says what is missing")
        for job in waiting:
            self._store.change(job.id, durable=True, state=JobState.FAILED, error=error, ended=now())
        self._failed_starts = 0

    # -- workers ------------------------------------------------------------------------------------------------------

    def _hire(self) -> None:
        settings = self._settings
        self._made += 1
        physical = memory_bytes()
        limit = min(settings.worker_bytes, physical) if physical else settings.worker_bytes
        worker = hire(
            settings,
            self._made,
            lambda who, report: self._inbox.put((who, report)),
            settings.threads or max(1, cpu_count() // settings.workers),
            limit,
        )
        self._workers[worker] = None
        if not self._store.in_state(JobState.QUEUED):
            worker.tell("warm")
        self._warmed = True

    def _worn(self, worker: WorkerProcess) -> bool:
        settings = self._settings
        return worker.worn or worker.resident > settings.recycle_bytes or worker.jobs >= settings.recycle_jobs

    def _dismiss(self, worker: WorkerProcess) -> None:
        """Lets an idle worker go; another is started at once, warm before it is needed."""
        del self._workers[worker]
        self._leaving.add(worker)  # its last report will say that it is gone
        worker.tell("go")
        self._warmed = False

    def _keep_house(self) -> None:
        if time.monotonic() - self._swept > _SWEEP:
            self._swept = time.monotonic()
            self._sweep()

    def _end_all(self) -> None:
        """Suspends what runs: it leaves a checkpoint, waits in the queue, and goes on at the next start."""
        deadline = time.monotonic() + self._settings.stop_seconds
        for worker, attempt in self._workers.items():
            if attempt is None:
                worker.tell("go")
            else:
                attempt.closing = True
                worker.tell("stop", job=attempt.job.id, reason="pause")
                worker.tell("go")
        while self._workers and time.monotonic() < deadline:
            try:
                self._listen(0.1)
            except sqlite3.Error as error:
                _log.error("an ending could not be written: %s", error)
                break
        for worker in self._leaving:
            worker.reap()
        for worker in list(self._workers):
            worker.kill()
        for worker, attempt in list(self._workers.items()):
            worker.reap()
            if attempt is not None:
                self._finish(worker, attempt, **attempt.as_asked("pause"))
        self._workers.clear()
