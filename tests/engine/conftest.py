"""Engines on a folder of their own, with the demo tasks and tight limits; and an app that can be killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.engine.jobs import Engine, Job
from apps.engine.settings import Settings, load_settings
from apps.engine.validation import make_request
from domains.common.task import TASKS, Task
from domains.registry import find_task
from tests.engine import demo_tasks

# Known in this process for the time of a test only: others list all tasks there are.
for name in ("demo.walk", "demo.nothing"):
    TASKS.pop(name, None)

MODULE = "tests.engine.demo_tasks"
PATIENCE = 120.0  # seconds; a loaded machine is slow, and waiting costs nothing where it is not
Submit = Callable[..., Job]


def settings(**given: Any) -> Settings:
    """Settings for tests: no warm worker, no stepping back, every step a checkpoint, a full disk allowed."""
    base: dict[str, Any] = {
        "task_modules": (MODULE,),
        "warm_seconds": 10_000.0,
        "nice": 0,
        "free_bytes": 0,
        "checkpoint_seconds": 0.0,
        "threads": 1,
    }
    return load_settings(environ={}, **{**base, **given})


@pytest.fixture(autouse=True)
def demo() -> Iterator[None]:
    """The demo tasks, known in this process too for the time of a test."""
    TASKS.update({"demo.walk": demo_tasks.WALK, "demo.nothing": demo_tasks.NOTHING})
    yield
    for name in ("demo.walk", "demo.nothing"):
        TASKS.pop(name, None)


@pytest.fixture
def walk_task() -> Task:
    """The task `demo.walk`."""
    return find_task("demo.walk")


@pytest.fixture
def make_engine(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Makes engines on one home folder; they are closed at the end."""
    made: list[Engine] = []

    def make(home: Path | None = None, **given: Any) -> Engine:
        made.append(Engine(home or tmp_path / "home", settings(**given)))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    """An engine with one worker."""
    return make_engine()


def submit(
    engine: Engine, owner: str = "ann", task: str = "demo.walk", priority: int = 0, **fields: Any
) -> Job:
    """Makes a job of a demo task."""
    found = find_task(task)
    return engine.submit(found, make_request(found, fields), owner, priority)


def ended(engine: Engine, job: Job) -> Job:
    """The job once it has ended."""
    latest = engine.wait(job.id, PATIENCE)
    assert latest is not None and latest.state.final, latest
    return latest


def until(condition: Callable[[], Any], what: str = "it") -> Any:
    """Waits for something to become true, and returns it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited {PATIENCE:.0f} s for {what}")


def changed(engine: Engine, job: Job) -> Job:
    """The job once it is no longer as it was."""

    def now() -> Job | None:
        latest = engine.get(job.id, job.owner)
        assert latest is not None
        return latest if latest.revision != job.revision else None

    found: Job = until(now, "a change")
    return found


def reached(engine: Engine, job: Job, step: int) -> Job:
    """The job once it has done `step` steps."""

    def now() -> Job | None:
        latest = engine.get(job.id, job.owner)
        assert latest is not None
        assert not latest.state.final, latest
        return latest if latest.progress is not None and latest.progress.done >= step else None

    found: Job = until(now, f"step {step}")
    return found
