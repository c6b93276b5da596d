"""A thousand jobs leave no file open, no thread running and no memory taken."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from apps.engine.jobs import Engine, JobState
from tests.engine.conftest import ended, submit, until

Make = Callable[..., Engine]


@dataclass(frozen=True)
class Held:
    """What this process and its workers hold."""

    files: int
    threads: int
    bytes: int
    children: int


def held() -> Held:
    gc.collect()
    me = psutil.Process()
    return Held(me.num_fds(), me.num_threads(), me.memory_info().rss, len(me.children()))


@pytest.mark.parametrize(
    "jobs", [30, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_many_jobs_leave_nothing_behind(make_engine: Make, tmp_path: Path, jobs: int) -> None:
    engine = make_engine(recycle_jobs=max(10, jobs // 4), kept_jobs=50, queue_per_owner=50)

    def serve(count: int) -> None:
        for first in range(0, count, 25):
            batch = [
                submit(engine, task="demo.nothing", seed=k) for k in range(first, min(count, first + 25))
            ]
            assert all(ended(engine, job).state is JobState.DONE for job in batch)

    def worker() -> int:
        """Memory of the worker, which is one of several that took turns."""
        ended(engine, submit(engine, task="demo.nothing"))
        return int(until(lambda: [w["bytes"] for w in engine.workers() if w["bytes"]])[0])

    serve(jobs // 2)
    begun = worker()
    engine.sweep()
    before = held()
    serve(jobs - jobs // 2)
    last = worker()
    engine.sweep()
    after = held()
    print(f"before {before}, after {after}, worker {begun} -> {last}")
    assert after.files <= before.files + 1 and after.threads <= before.threads and after.children <= 1
    assert after.bytes <= 1.05 * before.bytes, "memory has grown"
    assert last <= 1.1 * begun
    assert len(engine.jobs("ann")) == len(list(engine.root.iterdir())) == min(50, jobs + 2)
    assert {path.name for path in engine.home.iterdir()} <= {
        *("jobs.db", "jobs.db-wal", "jobs.db-shm", "jobs", "blobs", "lock"),
    }
