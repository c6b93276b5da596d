"""A worker on a node of a Ray cluster: a worker process like those of one machine, in a mirror of the job's folder.

The node shares no folder with the app.  What a job needs comes with its order (inputs, the checkpoint of an earlier
attempt), and what it makes (previews, checkpoints, results) goes back with the worker's reports.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

from apps.engine.job import CHECKPOINTS, PREVIEW, RESULT_FOLDER
from apps.engine.process import WorkerProcess
from apps.engine.ray_run import Files, ray, read_files

Report = dict[str, Any]


class NodeWorker:
    """The actor around one worker process; its arguments are those of `WorkerProcess`."""

    def __init__(
        self, number: int, threads: int, limit: int, nice: int, task_modules: tuple[str, ...]
    ) -> None:
        self._reports: SimpleQueue[Report | None] = SimpleQueue()
        self._arguments = (number, threads, limit, nice, task_modules)
        self._process: WorkerProcess | None = None
        self._folder: Path | None = None
        self._sent: dict[
            str, tuple[int, int]
        ] = {}  # checkpoints that the app has: name -> size, time of change
        made = Event()
        # Linux ends a process when the thread that started it ends, and Ray's threads come and go.
        Thread(target=self._live, args=(made,), name="keeper", daemon=True).start()
        made.wait()

    def _live(self, made: Event) -> None:
        number, threads, limit, nice, modules = self._arguments
        self._process = WorkerProcess(
            number, lambda _, report: self._reports.put(report), threads, limit, nice, modules
        )
        made.set()
        Event().wait()

    @ray.method(concurrency_group="orders")
    def tell(self, kind: str, fields: dict[str, Any], files: Files) -> None:
        """Passes an order on; one to run brings the files of the job's folder."""
        assert self._process is not None
        if kind == "run":
            self._folder, self._sent = mirror(fields["job"]), {}
            shutil.rmtree(self._folder, ignore_errors=True)
            for name, data in files.items():
                target = self._folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            self._folder.mkdir(parents=True, exist_ok=True)
            for path in self._folder.glob(f"{CHECKPOINTS}/*"):
                self._sent[path.name] = _stamp(path)
            fields = moved(fields, fields["directory"], str(self._folder))
        self._process.tell(kind, **fields)

    @ray.method(concurrency_group="reports")
    def poll(self, timeout: float) -> tuple[list[tuple[Report, Files]], int, int | None]:
        """Reports since the last call with the files that belong to them; memory held; the exit status, once ended."""
        assert self._process is not None
        reports: list[Report | None] = []
        with contextlib.suppress(Empty):
            reports.append(self._reports.get(timeout=timeout))
            while True:
                reports.append(self._reports.get_nowait())
        status = self._process.reap() if None in reports else None
        told = [report for report in reports if report is not None]
        last = {report["kind"]: position for position, report in enumerate(told)}
        # Of several previews in one answer the last stands for all.
        files = [self._files(r["kind"]) if last[r["kind"]] == i else {} for i, r in enumerate(told)]
        return list(zip(told, files, strict=True)), self._process.measure(), status

    @ray.method(concurrency_group="orders")
    def kill(self) -> None:
        """Ends the process at once."""
        assert self._process is not None
        self._process.kill()

    def _files(self, kind: str) -> Files:
        """What of the mirror the app is to have with a report."""
        if self._folder is None:
            return {}
        found: Files = {}
        if kind == "preview":
            found = _existing(self._folder / PREVIEW)
        elif kind in ("kept", "stopped", "failed"):
            for path in self._folder.glob(f"{CHECKPOINTS}/*.safetensors"):
                if (stamp := _stamp(path)) != self._sent.get(path.name):
                    self._sent[path.name] = stamp
                    found[f"{CHECKPOINTS}/{path.name}"] = path.read_bytes()
        elif kind == "done":
            result = read_files(self._folder / RESULT_FOLDER)
            found = {f"{RESULT_FOLDER}/{name}": data for name, data in result.items()}
        if kind in ("done", "stopped", "failed"):
            shutil.rmtree(self._folder, ignore_errors=True)
        return found


def mirror(job: str) -> Path:
    """Where a node keeps the files of a job; the same on every node, for a checkpoint names its inputs by path."""
    return Path(tempfile.gettempdir()) / f"langevin-nodes-{os.getuid()}" / job


def moved(value: Any, old: str, new: str) -> Any:
    """`value` with every path under the folder `old` as one under `new`."""
    if isinstance(value, dict):
        return {key: moved(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [moved(item, old, new) for item in value]
    if isinstance(value, str) and (value == old or value.startswith(old + os.sep)):
        return new + value[len(old) :]
    return value


def _existing(path: Path) -> Files:
    try:
        return {path.name: path.read_bytes()}
    except OSError:
        return {}


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
