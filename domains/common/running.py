"""Running a task from Python, without an engine: its files go to a folder, its progress to a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class PlainRun:
    """A `domains.common.task.Run` of a program that calls a task itself.

    Attributes:
        directory: Where artifacts go.
        device: "cpu" or "cuda".
        told: Called with (done, total) as the run proceeds; may raise `Cancelled` to end it.
    """

    directory: Path
    device: str = "cpu"
    told: Callable[[float, float], None] | None = None

    def progress(self, done: float, total: float, message: str = "") -> None:
        if self.told is not None:
            self.told(done, total)

    def preview(self, figure: Mapping[str, Any]) -> None:
        """Nobody looks."""

    def check(self) -> None:
        """Nobody asks to stop but `told`."""

    def keep(self, name: str, make: Callable[[], Any]) -> None:
        """Nothing is resumed."""

    def kept(self, name: str) -> Any:
        return None
