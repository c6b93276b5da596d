"""How far a run is, and how long the rest of it will take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Progress:
    """A moment of a run.

    Attributes:
        done: Units of work that are behind.
        total: Units of work in all.
        message: What is being done, in a few words.
        elapsed: Seconds since the run began.
        left: Estimated seconds to the end; None until two updates have been seen.
    """

    done: float
    total: float
    message: str
    elapsed: float
    left: float | None

    @property
    def fraction(self) -> float:
        """Share of the work that is behind, in [0, 1]."""
        return min(1.0, max(0.0, self.done / self.total)) if self.total > 0 else 0.0


class ProgressMeter:
    """Turns `(done, total)` updates into `Progress` with an estimate of the time left.

    The estimate is the work left times the *median* of the latest paces (seconds a unit), so that a slow
    first step (loading a model, compiling a kernel) or one hiccup does not spoil it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, window: int = 32) -> None:
        self._clock = clock
        self._start = clock()
        self._paces: deque[float] = deque(maxlen=window)
        self._last: tuple[float, float, float] | None = None  # seconds, done, total

    def update(self, done: float, total: float, message: str = "") -> Progress:
        """Records one update and returns the moment it describes."""
        now = self._clock()
        if self._last is not None:
            then, before, total_before = self._last
            if total != total_before or done < before:
                self._paces.clear()  # another phase began: its pace is its own
            elif done > before:
                self._paces.append((now - then) / (done - before))
        if self._last is None or self._last[1:] != (done, total):
            self._last = (now, done, total)
        left = median(self._paces) * max(0.0, total - done) if self._paces else None
        return Progress(float(done), float(total), message, now - self._start, left)
