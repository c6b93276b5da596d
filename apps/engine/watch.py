"""One attempt at a job as the supervisor sees it: its clocks and limits, and the reason of its end in words."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from apps.engine.environment import memory_bytes
from apps.engine.failure import NO_MEMORY, SMALLER, describe_exit
from apps.engine.job import CHECKPOINTS, PREVIEW, Job, JobError, JobState
from apps.engine.settings import Settings
from apps.engine.store import Store
from domains.common.files import human_size

_KILLED = (-9, -15)  # SIGKILL, SIGTERM: by somebody or by the kernel, and no fault of the job that is known


class Attempt:
    """An attempt that runs.

    Args:
        job: As it was when the attempt began.
        settings: The limits.

    Attributes:
        kept: Whether it has left a checkpoint.
        closing: Whether the app ends, and the attempt with it.
    """

    def __init__(self, job: Job, settings: Settings) -> None:
        self.job, self.settings = job, settings
        self.kept = self.closing = False
        self._began = self._heard = time.monotonic()
        self._asked = ""  # what the worker was told: cancel, pause, time
        self._asked_at = 0.0
        self._fault: str | None = None  # why the supervisor ended the worker
        self._kills = kernel_kills()
        limit = int(job.limits.get("bytes", settings.worker_bytes))
        self._limit = min(limit, memory_bytes() or limit)

    @property
    def elapsed(self) -> float:
        """Seconds since the attempt began."""
        return time.monotonic() - self._began

    def alive(self) -> None:
        """Notes a sign of life."""
        self._heard = time.monotonic()

    def look(self, store: Store, resident: int) -> str | None:
        """What the worker is to be told now, if anything: `cancel`, `pause` or `time`.

        Args:
            store: Where the person's wish stands.
            resident: Memory that the worker holds, bytes.
        """
        job = store.get(self.job.id)
        silent = time.monotonic() - self._heard
        if resident > self._limit:
            self._fault = f"needed more than {human_size(self._limit)} of memory; {SMALLER}"
        elif silent > self.settings.silent_seconds:
            self._fault = (
                f"gave no sign of life for {self.settings.silent_seconds:.0f} s: a library seems to hang; try again, "
                "or with a smaller file"
            )
        wish = str(job.wish) if job is not None else "cancel"
        if not wish and self.job.seconds + self.elapsed > self._seconds:
            wish = "time"
        if wish and wish != self._asked and self._asked != "cancel":
            self._asked, self._asked_at = wish, time.monotonic()
            return wish
        return None

    @property
    def _seconds(self) -> float:
        return float(self.job.limits.get("seconds", self.settings.job_seconds))

    def overdue(self) -> bool:
        """Whether the worker is to be ended: for a fault, or because it does not do as it was told."""
        waited = time.monotonic() - self._asked_at
        return self._fault is not None or (bool(self._asked) and waited > self.settings.stop_seconds)

    def as_asked(self, reason: str) -> dict[str, Any]:
        """The job's changes where it stopped because it was told to."""
        reason = self._asked or reason
        if reason in ("cancel", ""):  # or the task itself gave up
            return {"state": JobState.CANCELLED}
        if reason == "time":
            words = f"took longer than the {self._seconds:.0f} s that a job may run; ask for fewer steps or samples"
            return {"state": JobState.FAILED, "error": JobError("", words)}
        if self.closing and not self._asked:
            return {
                "state": JobState.QUEUED,
                "note": "interrupted when the app was closed",
                "attempts": self.job.attempts - 1,
            }
        return {"state": JobState.PAUSED, "attempts": 0}

    def verdict(self, status: int) -> dict[str, Any]:
        """The job's changes where its worker has ended under it.

        Args:
            status: Its exit status.
        """
        if self._fault is not None:
            return {"state": JobState.FAILED, "error": JobError("", self._fault)}
        if self._asked:
            return self.as_asked(self._asked)
        if self.closing:
            return self.as_asked("pause")
        if self.job.has_result:
            return {"state": JobState.DONE}
        if status == -9 and kernel_kills() > self._kills:
            return {"state": JobState.FAILED, "error": JobError("", NO_MEMORY)}
        if status in _KILLED:
            return interrupted(self.job, f"its worker {describe_exit(status)}", self.kept, self.settings)
        words = (
            f"its worker {describe_exit(status)}; a library failed on this request: change it, or try again"
        )
        return {"state": JobState.FAILED, "error": JobError("", words)}

    def resumption(self, usable: bool | None) -> str:
        """A sentence on how this attempt begins.

        Args:
            usable: Whether there are checkpoints that fit; None where there are none.
        """
        why = self.job.note.partition(";")[0] or "paused"
        if usable:
            return f"{why}; goes on from its last checkpoint"
        if usable is None:
            return f"{why}; began again, as no checkpoint had been written"
        return f"{why}; began again, as its checkpoint was made with other versions, weights or threads"

    def tidy(self, state: JobState) -> None:
        """Removes from the job's folder what nobody will need after it ended in `state`."""
        for left in self.job.directory.glob(".*"):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
        if state is JobState.DONE:
            shutil.rmtree(self.job.directory / CHECKPOINTS, ignore_errors=True)
            (self.job.directory / PREVIEW).unlink(missing_ok=True)


def interrupted(job: Job, how: str, kept: bool, settings: Settings) -> dict[str, Any]:
    """The changes of a job that ran when its worker or the app was ended: it goes on, unless that happens too often."""
    attempts = 1 if kept else job.attempts
    if attempts >= settings.attempts:
        words = f"{how}, as in all of {attempts} attempts that got no further; it is not tried again"
        return {"state": JobState.FAILED, "error": JobError("", words)}
    return {"state": JobState.QUEUED, "note": how, "attempts": attempts}


def kernel_kills() -> int:
    """How many processes the kernel has ended on this machine because memory ran out; 0 where it does not say."""
    try:
        for line in Path("/proc/vmstat").read_text("ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0
