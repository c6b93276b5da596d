"""Workers of the app on a Ray cluster: to the supervisor they are worker processes like those of this machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

from apps.engine.failure import DISK_FULL, disk_is_full
from apps.engine.job import CHECKPOINTS, INPUTS, RESULT_FOLDER
from apps.engine.process import Inbox, WorkerProcess
from apps.engine.ray_node import NodeWorker
from apps.engine.ray_run import Files, RayError, connect, ray, read_files, slots, write_files
from apps.engine.settings import Settings

_POLL = 1.0  # seconds that a node waits for a report before it answers that there is none
_KILLED = -9  # the status of a worker whose node is gone: nobody's fault, so its job goes on elsewhere


def sized(settings: Settings) -> Settings:
    """The settings with as many workers as the cluster has places for, where nobody has chosen a number."""
    connect(settings.ray_address)
    threads = settings.threads or 1
    workers = settings.workers if "workers" in settings.model_fields_set else min(256, slots(threads))
    return settings.model_copy(update={"threads": threads, "workers": workers})


class RayWorker(WorkerProcess):
    """A worker on some node; see `WorkerProcess` for the arguments and what the supervisor asks of it.

    Where its node is lost, it ends as a process does that was killed from outside: the supervisor queues the job again,
    and the next worker goes on from the checkpoints that have arrived here.

    Args:
        gpus: GPUs that it takes on its node; may be a part of one.
    """

    def __init__(
        self,
        number: int,
        inbox: Inbox,
        threads: int,
        limit: int,
        nice: int,
        task_modules: tuple[str, ...],
        gpus: float = 0.0,
    ) -> None:
        self.number, self.job, self.jobs, self.resident = number, "", 0, 0
        self.ready = self.worn = False
        self.started = time.monotonic()
        self._inbox = inbox
        self._directory: Path | None = None
        self._status: int | None = None
        self._let_go = Event()
        make: Any = ray.remote
        actor = make(concurrency_groups={"orders": 1, "reports": 1})(NodeWorker)
        placed = actor.options(num_cpus=threads, num_gpus=gpus, max_restarts=0, scheduling_strategy="SPREAD")
        self._actor: Any = placed.remote(number, threads, limit, nice, task_modules)
        # No process of this machine: an app that starts again has none to end.
        self.name = f"ray {self._actor._actor_id.hex()}"
        self._reader = Thread(target=self._read, name=f"worker-{number}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """0: the process is one of another machine."""
        return 0

    def tell(self, kind: str, **fields: Any) -> None:
        files: Files = {}
        if kind == "run":
            self._directory = Path(fields["directory"])
            for part in (INPUTS, CHECKPOINTS):
                found = read_files(self._directory / part)
                files |= {f"{part}/{name}": data for name, data in found.items() if not _unfinished(name)}
        if kind == "go":
            self._let_go.set()
        with contextlib.suppress(RayError):
            self._actor.tell.remote(kind, fields, files)

    def kill(self) -> None:
        with contextlib.suppress(RayError, ValueError):
            ray.kill(self._actor)

    def measure(self) -> int:
        return self.resident

    def reap(self, timeout: float = 10.0) -> int:
        self._reader.join(timeout)
        self.kill()
        return _KILLED if self._status is None else self._status

    def _read(self) -> None:
        try:
            while self._status is None:
                reports, self.resident, self._status = ray.get(self._actor.poll.remote(_POLL))
                for report, files in reports:
                    self._inbox(self, self._stored(report, files))
        except RayError:  # the node is gone, or we ended the worker
            pass
        self._inbox(self, None)

    def _stored(self, report: dict[str, Any], files: Files) -> dict[str, Any]:
        """Writes the files that came with a report; the report, or what it becomes where they cannot be written."""
        try:
            result = {
                name.removeprefix(f"{RESULT_FOLDER}/"): data
                for name, data in files.items()
                if name.startswith(f"{RESULT_FOLDER}/")
            }
            if self._directory is not None and self._directory.is_dir():
                for name, data in files.items():
                    if not name.startswith(f"{RESULT_FOLDER}/"):
                        _replace(self._directory / name, data)
                if result:
                    write_files(result, self._directory / RESULT_FOLDER)
        except OSError as error:
            if report["kind"] == "done":
                words = (
                    DISK_FULL if disk_is_full(error) else f"the result cannot be written: {error.strerror}"
                )
                return {**report, "kind": "failed", "field": "", "message": words}
        return report


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _unfinished(name: str) -> bool:
    return name.endswith(".part")
