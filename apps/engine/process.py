"""A worker as the app sees it: a process that is started, told, watched and ended."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from threading import Thread
from typing import Any

import psutil

from apps.engine.environment import ROOT

Inbox = Callable[["WorkerProcess", dict[str, Any] | None], None]


class WorkerProcess:
    """One worker process; to be made by a thread that lives as long as the worker is to live.

    (Linux ends the worker when the *thread* that started it ends.)

    Args:
        number: A number for people.
        inbox: Called with each report of the worker, and with None when there will be no more.
        threads: Numerical threads that it uses.
        limit: Memory that it may take, bytes.
        nice: How far it steps back behind other processes, as `nice`.
        task_modules: Modules that declare further tasks.

    Attributes:
        job: Id of the job it runs; empty where it is idle.
        ready: Whether it takes orders.
        worn: Whether it is to take no further job.
        jobs: How many it has run.
        resident: Memory that it held when last asked, bytes.
    """

    def __init__(
        self, number: int, inbox: Inbox, threads: int, limit: int, nice: int, task_modules: tuple[str, ...]
    ) -> None:
        self.number, self.job, self.jobs, self.resident = number, "", 0, 0
        self.ready = self.worn = False
        self.started = time.monotonic()
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "OPENBLAS_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "LANGEVIN_TASK_MODULES": ",".join(task_modules),
        }
        if (ROOT / "pyproject.toml").is_file():  # a checkout, which need not be installed
            paths = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
            environment["PYTHONPATH"] = os.pathsep.join(paths)
        # -P: a folder called `apps` where the person happens to be is not ours.
        words = [sys.executable, "-P", "-m", "apps.engine.worker", *map(str, (os.getpid(), limit, nice))]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        self._seen = psutil.Process(self._process.pid)
        self.name = f"{self._process.pid} {self._seen.create_time()}"
        self._inbox = inbox
        self._reader = Thread(target=self._read, name=f"worker-{number}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def tell(self, kind: str, **fields: Any) -> None:
        """Sends an order; a worker that is gone is noticed by its last report."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps({"kind": kind, **fields}).encode() + b"\n")
            self._process.stdin.flush()

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()

    def measure(self) -> int:
        """Memory that it holds now, bytes."""
        with contextlib.suppress(psutil.Error):
            self.resident = int(self._seen.memory_info().rss)
        return self.resident

    def reap(self, timeout: float = 10.0) -> int:
        """Waits for its end and frees what it held here; the exit status, negative for a signal."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._reader.join(timeout)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            for line in self._process.stdout:
                with contextlib.suppress(ValueError):  # half a line of a worker that was killed
                    report = json.loads(line)
                    if isinstance(report, dict):
                        self._inbox(self, report)
        self._inbox(self, None)


def end_orphan(name: str) -> None:
    """Ends a worker of an app that is gone, by its `name`; does nothing where another process has its number now."""
    pid, _, created = name.partition(" ")
    with contextlib.suppress(psutil.Error, ValueError):
        found = psutil.Process(int(pid))
        if abs(found.create_time() - float(created)) < 0.01:
            found.kill()
            found.wait(10)
