"""A worker: a process that runs one job after another and stays warm between them.

    python -m apps.engine.worker PARENT LIMIT NICE

The app starts it.  Orders come as lines of JSON on standard input, reports leave as lines of JSON on what was standard
output; what a library prints goes to standard error.  The worker ends when the app does: at the end of its input, and
on Linux by a signal of the kernel, also where the main thread hangs in a library.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import logging
import os
import secrets
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, BinaryIO

from apps.engine.checkpoints import Checkpoints
from apps.engine.environment import (
    choose_device,
    import_task_modules,
    library_versions,
    missing_libraries,
    thread_count,
)
from apps.engine.failure import DISK_FULL, describe_crash, disk_is_full
from apps.engine.job import CHECKPOINTS, PREVIEW, RESULT_FOLDER
from apps.engine.progress import Progress
from apps.engine.recipe import model_of
from apps.engine.run import run_task
from apps.engine.settings import load_settings
from apps.engine.validation import make_request
from domains.common.errors import BadInput, Cancelled, MissingLibrary
from domains.common.task import Request, Task
from domains.registry import all_tasks, find_task

_log = logging.getLogger("langevin.worker")
_PACE = 0.05  # seconds between reports of progress
_ALIVE = 0.5  # seconds between signs of life
_OOM_SCORE = 600  # where memory runs out, the kernel ends a worker, not the app
_PR_SET_PDEATHSIG = 1
Order = dict[str, Any]


class Reports:
    """Reports to the app, a line each."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = Lock()

    def __call__(self, kind: str, **fields: Any) -> None:
        """Sends one report; an app that is gone ends the worker."""
        line = json.dumps({"kind": kind, **fields}).encode() + b"\n"
        try:
            with self._lock:
                self._stream.write(line)
                self._stream.flush()
        except OSError:
            os._exit(0)


class Attempt:
    """One attempt at one job: what its run calls, and what the app may tell it meanwhile."""

    def __init__(self, order: Order, report: Reports) -> None:
        self.job: str = order["job"]
        self.order, self.report = order, report
        self.directory = Path(order["directory"])
        self.cancel = Event()
        self.reason = ""  # of the end that was asked for: cancel, pause, time
        self.checkpoints: Checkpoints | None = None
        self._latest: Progress | None = None
        self._reported = self._beaten = 0.0
        self._previews = int(order.get("previews", 0))

    def stop(self, reason: str) -> None:
        """Ends the run at its next step (called from the thread that reads orders)."""
        self.reason = reason
        if reason == "pause" and self.checkpoints is not None:
            self.checkpoints.suspend.set()
        else:
            self.cancel.set()

    def run(self) -> None:
        """Runs the job and reports how it ended."""
        try:
            task = find_task(self.order["task"])
            request = make_request(task, self.order["fields"])
            self._clear()
            self._prepare(task, request)
            run_task(
                task,
                request,
                out=self.directory / RESULT_FOLDER,
                on_progress=self._on_progress,
                on_preview=self._on_preview,
                cancel=self.cancel,
                checkpoints=self.checkpoints,
                on_alive=self._on_alive,
                before=float(self.order.get("before", 0.0)),
            )
        except Cancelled:
            self._end("stopped", reason=self.reason)
        except BadInput as error:
            message = DISK_FULL if disk_is_full(error) else error.message
            self._end("failed", field="" if message is DISK_FULL else error.field, message=message)
        except MissingLibrary as error:
            self._end("failed", field="", message=str(error))
        except BaseException as error:  # the worker outlives whatever a task does
            # Frames alone: the words of an error may hold what the person's file holds.
            frames = "".join(traceback.format_tb(error.__traceback__))
            _log.error(
                "job %s (%s) failed with %s\n%s", self.job, self.order["task"], type(error).__name__, frames
            )
            self._end("failed", field="", message=describe_crash(error))
        else:
            self._end("done")

    def _clear(self) -> None:
        """Removes what an attempt that was killed left in the midst of writing."""
        for left in self.directory.glob(".langevin-*"):
            shutil.rmtree(left, ignore_errors=True)
        for left in self.directory.rglob(".*.part"):
            left.unlink(missing_ok=True)

    def _prepare(self, task: Task, request: Request) -> None:
        device = choose_device(task)
        if "torch" in task.libraries:
            importlib.import_module("torch")
        model = model_of(task, request)
        fingerprint = {
            "task": task.name,
            "fields": self.order["fields"],
            "model": model.sha256() if model is not None else None,
            "libraries": library_versions(task.libraries),
            "device": device,
            "threads": thread_count(),
        }
        interval = float(self.order["checkpoint_seconds"])
        checkpoints = Checkpoints(
            self.directory / CHECKPOINTS, fingerprint, interval, lambda: self.report("kept", job=self.job)
        )
        if self.order["attempt"] > 1 or self.order.get("before"):
            self.report("resuming", job=self.job, usable=checkpoints.usable())
        self.checkpoints = checkpoints

    def _on_progress(self, moment: Progress) -> None:
        now = time.monotonic()
        other = self._latest is None or moment.message != self._latest.message
        self._latest = moment
        if other or now - self._reported >= _PACE or moment.done >= moment.total:
            self._reported = self._beaten = now
            self.report("progress", job=self.job, **vars(moment))

    def _on_alive(self) -> None:
        now = time.monotonic()
        if now - self._beaten >= _ALIVE:
            self._beaten = now
            self.report("alive", job=self.job)

    def _on_preview(self, figure: Mapping[str, Any]) -> None:
        import orjson

        try:
            data = orjson.dumps(figure, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)
            part = self.directory / f".{PREVIEW}.{secrets.token_hex(4)}.part"
            part.write_bytes(data)  # no flush: the next one comes in a second
            os.replace(part, self.directory / PREVIEW)
        except OSError as error:
            _log.warning("no preview could be written: %s", error.strerror)
            return
        self._previews += 1
        self.report("preview", job=self.job, number=self._previews)

    def _end(self, kind: str, **fields: Any) -> None:
        moment = vars(self._latest) if self._latest is not None else None
        resumed = self.checkpoints is not None and self.checkpoints.resumed
        self.report(kind, job=self.job, last=moment, resumed=resumed, **fields)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a figure holds a {type(value).__name__}, which JSON cannot say")


class Worker:
    """Takes orders until it is told to go, or the app is gone."""

    def __init__(self, orders: BinaryIO, reports: BinaryIO) -> None:
        self.report = Reports(reports)
        self._orders = orders
        self._todo: SimpleQueue[Attempt | str] = SimpleQueue()
        self._attempt: Attempt | None = None
        self._lock = Lock()

    def serve(self) -> None:
        """Works until it is told to go."""
        Thread(target=self._read, name="orders", daemon=True).start()
        self.report("ready", tasks=list(all_tasks()))
        while (todo := self._todo.get()) != "go":
            if isinstance(todo, Attempt):
                todo.run()
                with self._lock:
                    self._attempt = None
            else:
                self._warm()
            self.report("idle", bytes=resident_bytes())

    def _warm(self) -> None:
        """Loads the libraries of all tasks, so that the first job does not wait for them."""
        tasks = [task for task in all_tasks().values() if not missing_libraries(task)]
        for library in dict.fromkeys(library for task in tasks for library in task.libraries):
            with contextlib.suppress(Exception):  # a job that needs it will say what is wrong
                importlib.import_module(library)

    def _read(self) -> None:
        for line in self._orders:
            order = json.loads(line)
            if order["kind"] == "stop":
                with self._lock:
                    attempt = self._attempt
                if attempt is not None and attempt.job == order["job"]:
                    attempt.stop(order["reason"])
            elif order["kind"] == "run":
                attempt = Attempt(order, self.report)
                with self._lock:  # here, so that a stop that follows at once finds it
                    self._attempt = attempt
                self._todo.put(attempt)
            else:
                self._todo.put(order["kind"])
        os._exit(0)  # the app is gone


def resident_bytes() -> int:
    """Memory that this process holds."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def die_with_parent(parent: int) -> None:
    """Makes the kernel end this process when its parent ends, where it can (Linux)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(0)


def bound_memory(limit: int) -> None:
    """Makes allocations fail beyond `limit` bytes, and the kernel look here first where memory runs out."""
    with contextlib.suppress(OSError, ValueError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE), "ascii")
    # A CUDA driver reserves far more addresses than it uses; there the app alone watches.
    if sys.platform == "linux" and not Path("/dev/nvidiactl").exists():
        import resource

        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def main(arguments: list[str] | None = None) -> None:
    """The process."""
    parent, limit, nice = (int(word) for word in (arguments or sys.argv[1:]))
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the app, which tells its workers
    bound_memory(limit)
    with contextlib.suppress(OSError):
        os.nice(nice)
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    orders, reports = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    import_task_modules(load_settings().task_modules)
    Worker(orders, reports).serve()


if __name__ == "__main__":
    main()
