"""Small tasks for the tests of the engine; its workers import this module through the setting `task_modules`.

What a test wants to happen inside a worker stands in the request, since nothing else reaches another process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field

from domains.common.errors import BadInput
from domains.common.task import TASKS, Artifact, Request, Result, Run, TableFile, task

Fault = Literal[
    "",
    "input",
    "exception",
    "segfault",
    "exit",
    "memory",
    "allocate",
    "hang",
    "spin",
    "disk",
    "suicide",
    "term",
]


class WalkRequest(Request):
    """A random walk that starts at the mean of a file's numbers."""

    table: TableFile | None = Field(None, description="numbers, one a line")
    length: int = Field(20, ge=2, le=1_000_000, description="points of the walk")
    drift: float = Field(0.5, ge=-5, le=5, description="drift a step")
    gaps: bool = Field(False, description="leave every fifth point out")
    color: str | None = Field(None, max_length=20, description="colour of the line")
    pace: float = Field(0.0, ge=0, description="seconds a step takes")
    fault: Fault = Field("", description="what goes wrong")
    fault_at: int = Field(2, ge=0, description="step at which it does")
    gate: str = Field("", description="a file without which no step begins")
    log: str = Field("", description="a file that gets a line a step")
    checkpoints: bool = Field(True, description="leave checkpoints")


@task("demo.walk", title="Walk", model="", request=WalkRequest, extra="series", libraries=("numpy", "PIL"))
def walk(request: WalkRequest, run: Run) -> Result:
    """Draws a random walk."""
    start = 0.0
    if request.table is not None:
        try:
            start = float(np.mean([float(line) for line in request.table.read_text("utf-8").split()]))
        except ValueError:
            raise BadInput("table", "holds something that is no number; keep one number a line") from None
    height, first = np.full(request.length, start), 0
    steps = request.sampling.steps
    kept = run.kept("walk") if request.checkpoints else None
    if kept is not None:
        first, height = kept["step"], kept["height"]
    for step in range(first, steps):
        _wait_for(request.gate, run)
        if request.log:
            with Path(request.log).open("a", encoding="utf-8") as log:
                log.write(f"{step} {time.monotonic()}\n")
        if request.fault and step == request.fault_at:
            fail(request.fault, run)
        # Noise by its address: the numbers of a step do not depend on which were drawn before.
        noise = np.random.default_rng([request.sampling.seed, step]).normal(
            request.drift, 1.0, request.length
        )
        height = height + np.cumsum(noise) / steps
        time.sleep(request.pace)
        run.preview({"data": [{"y": height[:1000]}]})
        if request.checkpoints:
            state = {"step": step + 1, "height": height}
            run.keep("walk", lambda state=state: state)  # type: ignore[misc]
        run.progress(step + 1, steps, "walking")
    lines = [f"{i},{value:.9f}" for i, value in enumerate(height) if not (request.gaps and i % 5 == 0)]
    (run.directory / "walk.csv").write_text("point,height\n" + "\n".join(lines) + "\n", "utf-8")
    shades = np.clip(128 + height[:1000] * 8, 0, 255).astype(np.uint8)
    Image.fromarray(np.tile(shades, (8, 1))).save(run.directory / "walk.png")
    return Result(
        [Artifact("walk.csv", "table", "the walk"), Artifact("walk.png", "figure", "a strip")],
        {"end": float(height[-1]), "process": os.getpid()},
        steps,
    )


def _wait_for(gate: str, run: Run) -> None:
    while gate and not Path(gate).exists():
        time.sleep(0.01)
        run.check()


def fail(fault: str, run: Run) -> None:
    """Goes wrong as asked."""
    match fault:
        case "input":
            raise BadInput("drift", "is too steep here; take a smaller one")
        case "exception":
            raise RuntimeError("the <i>walker</i> fell")
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
        case "suicide" | "term":
            os.kill(os.getpid(), 9 if fault == "suicide" else 15)
            time.sleep(10)
        case "allocate":
            np.ones(1 << 40, np.uint8)
        case "memory":  # little by little, as a leak does
            held = []
            while True:
                held.append(np.ones(8 << 20, np.uint8))
                time.sleep(0.01)
                run.check()
        case "hang":
            time.sleep(1000)
        case "spin":  # never looks whether it is to stop, but says that it lives
            with _uncancellable(run):
                while True:
                    time.sleep(0.01)
        case "disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run.directory / "walk.csv"))


@contextmanager
def _uncancellable(run: Run) -> Iterator[None]:
    run.check()
    yield


class NothingRequest(Request):
    """Nothing."""


@task("demo.nothing", title="Nothing", model="", request=NothingRequest, extra="series")
def nothing(request: NothingRequest, run: Run) -> Result:
    """Writes a word."""
    (run.directory / "word.txt").write_text("nothing\n", "utf-8")
    return Result([Artifact("word.txt", "text")])


# Kept here too: a test may take them from the registry and put them back.
WALK, NOTHING = TASKS["demo.walk"], TASKS["demo.nothing"]
