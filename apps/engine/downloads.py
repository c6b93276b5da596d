"""Downloads of models in the background: one at a time, seen by every page, gone on with after an interruption."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Literal

from apps.engine.failure import describe_crash
from domains.common.errors import BadInput, Cancelled, MissingLibrary
from domains.common.hub import Plan
from domains.common.hub_download import fetch

State = Literal["running", "done", "cancelled", "failed"]


@dataclass(frozen=True)
class Download:
    """A download, as it stands.

    Attributes:
        plan: What comes.
        state: Where it stands.
        done: Bytes that are there.
        file: The file that comes now.
        message: What went wrong, in a sentence.
        rate: Bytes a second of late; 0 until it is known.
    """

    plan: Plan
    state: State = "running"
    done: int = 0
    file: str = ""
    message: str = ""
    rate: float = 0.0

    @property
    def share(self) -> float:
        """Share of the bytes that are there, in [0, 1]."""
        return self.done / self.plan.bytes if self.plan.bytes else 1.0


class Downloads:
    """The download that is under way, and the one before it.

    Args:
        root: Folder of installed models; None takes the usual one.
        anonymous: Whether the operator's token for the hub stays out of it.
    """

    def __init__(self, root: Path | None = None, anonymous: bool = False) -> None:
        self._root, self._token = root, False if anonymous else None
        self._lock = Lock()
        self._latest: Download | None = None
        self._cancel = Event()
        self._thread: Thread | None = None

    @property
    def latest(self) -> Download | None:
        """The download under way, or the last one; None where there was none."""
        return self._latest

    def start(self, plan: Plan) -> Download:
        """Begins a download.

        Raises:
            BadInput: If another one is under way.
        """
        with self._lock:
            if self._latest is not None and self._latest.state == "running":
                raise BadInput(
                    "repo", f"{self._latest.plan.repo} is being downloaded; wait for it, or cancel it"
                )
            self._cancel = Event()
            self._latest = Download(plan)
            self._thread = Thread(
                target=self._run, args=(plan, self._cancel), name="model download", daemon=True
            )
            self._thread.start()
            return self._latest

    def cancel(self) -> None:
        """Stops the download under way; what has come stays for the next time."""
        self._cancel.set()

    def wait(self, timeout: float | None = None) -> Download | None:
        """Waits until the download has ended (or `timeout` seconds)."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self._latest

    def _run(self, plan: Plan, cancel: Event) -> None:
        then, before = time.monotonic(), -1

        def told(done: int, total: int, file: str) -> None:
            nonlocal then, before
            now, rate = time.monotonic(), self._latest.rate if self._latest is not None else 0.0
            if before < 0:
                then, before = now, done
            elif now - then > 1.0:
                rate = max(0.0, (done - before) / (now - then))
                then, before = now, done
            self._latest = Download(plan, "running", done, file, rate=rate)

        try:
            fetch(plan, self._root, told, cancel, self._token)
            ended = Download(plan, "done", plan.bytes)
        except Cancelled:
            ended = self._stopped(plan, "cancelled")
        except (BadInput, MissingLibrary) as error:
            ended = self._stopped(plan, "failed", getattr(error, "message", "") or str(error))
        except Exception as error:
            ended = self._stopped(plan, "failed", describe_crash(error))
        self._latest = ended

    def _stopped(self, plan: Plan, state: State, message: str = "") -> Download:
        return replace(self._latest or Download(plan), state=state, message=message)
