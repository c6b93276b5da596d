"""A small real task for the tests of engine and command line, a random walk written as CSV and PNG; and an engine with
workers of its own for those of the pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import Field

from apps.engine.jobs import Engine
from apps.web.owners import LOCAL
from domains.common.errors import BadInput
from domains.common.task import TASKS, Artifact, Request, Result, Run, TableFile, Task, task
from tests.engine import demo_tasks
from tests.engine.conftest import PATIENCE, settings

Hook = Callable[[Run, int], None]


class WalkRequest(Request):
    """A random walk that starts at the mean of a file's numbers."""

    table: TableFile | None = Field(None, description="numbers, one a line")
    length: int = Field(20, ge=2, le=1000, description="points of the walk")
    drift: float = Field(0.5, ge=-5, le=5, description="drift a step")
    gaps: bool = Field(False, description="leave every fifth point out")
    marks: list[float] = Field(default_factory=list, max_length=4, description="heights to mark")
    color: str | None = Field(None, max_length=20, description="colour of the line")


def walk(request: WalkRequest, run: Run, hook: Hook | None = None) -> Result:
    """Draws a random walk."""
    start = 0.0
    if request.table is not None:
        try:
            start = float(np.mean([float(line) for line in request.table.read_text("utf-8").split()]))
        except ValueError:
            raise BadInput("table", "holds something that is no number; keep one number a line") from None
    rng = np.random.default_rng(request.sampling.seed)
    height = np.full(request.length, start)
    steps = request.sampling.steps
    for step in range(steps):
        height += np.cumsum(rng.normal(request.drift, 1.0, request.length)) / steps
        if hook is not None:
            hook(run, step)
        run.preview({"data": [{"y": height.tolist()}]})
        run.progress(step + 1, steps, "walking")
    lines = [f"{i},{value:.6f}" for i, value in enumerate(height) if not (request.gaps and i % 5 == 0)]
    (run.directory / "walk.csv").write_text("point,height\n" + "\n".join(lines) + "\n", "utf-8")
    (run.directory / "pictures").mkdir()
    shades = np.clip(128 + height * 8, 0, 255).astype(np.uint8)
    Image.fromarray(np.tile(shades, (8, 1))).save(run.directory / "pictures" / "walk.png")
    (run.directory / "scratch.bin").write_bytes(b"not an artifact")
    return Result(
        artifacts=[
            Artifact("walk.csv", "table", "the walk"),
            Artifact("pictures/walk.png", "figure", "a strip"),
        ],
        metrics={"end": float(height[-1]), "spread": np.float64(height.std()), "nothing": float("nan")},
        nfe=steps,
        notes=["starts at the mean of the table"] if request.table is not None else [],
    )


@pytest.fixture
def hooks() -> list[Hook]:
    """What the walk does at every step, if anything: tests append here."""
    return []


@pytest.fixture
def walk_task(hooks: list[Hook]) -> Iterator[Task]:
    """The task `demo.walk`, registered for the time of a test."""

    @task(
        "demo.walk", title="Walk", model="", request=WalkRequest, extra="series", libraries=("numpy", "PIL")
    )
    def demo_walk(request: WalkRequest, run: Run) -> Result:
        """Draws a random walk."""

        def every(run: Run, step: int) -> None:
            for hook in hooks:
                hook(run, step)

        return walk(request, run, every)

    yield TASKS["demo.walk"]
    del TASKS["demo.walk"]


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """A file of numbers."""
    path = tmp_path / "numbers.csv"
    path.write_text("1\n2\n3\n", "utf-8")
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[], dict[str, bytes]]:
    """A function that returns every file under `tmp_path` with its bytes, hidden ones too."""

    def files() -> dict[str, bytes]:
        return {
            path.relative_to(tmp_path).as_posix(): path.read_bytes() if path.is_file() else b"(folder)"
            for path in sorted(tmp_path.rglob("*"))
        }

    return files


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One engine for all tests of a module, with a worker process that knows the demo tasks."""
    made = Engine(tmp_path_factory.mktemp("engine") / "home", settings())
    yield made
    made.close()


@pytest.fixture(scope="module")
def tasks() -> Iterator[list[Task]]:
    """The demo tasks of the engine's tests, known in this process too."""
    known = {"demo.walk": demo_tasks.WALK, "demo.nothing": demo_tasks.NOTHING}
    TASKS.update(known)
    yield list(known.values())
    for name in known:
        TASKS.pop(name, None)


@pytest.fixture
def no_jobs_left(engine: Engine) -> Iterator[None]:
    """Ends and removes the jobs of a test."""
    yield
    for owner in (LOCAL, "eve"):
        for job in engine.jobs(owner):
            engine.cancel(job.id, owner)
            assert engine.wait(job.id, PATIENCE)
            engine.forget(job.id, owner)


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Gradio's folder for uploads, for the time of a test."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder
