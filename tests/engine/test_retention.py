"""What is kept: by age, by number, by bytes, with a floor of free space; pinned jobs stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apps.engine.jobs import Engine, Job, JobState
from apps.engine.retention import victims
from domains.common.errors import BadInput
from tests.engine.conftest import ended, reached, settings, submit, until

Make = Callable[..., Engine]
DAY = 86_400.0
MEGABYTE = 1 << 20


def old(name: str, days: float = 0.0, **more: Any) -> Job:
    fields = {"owner": "ann", "state": JobState.DONE, "ended": -days * DAY, "bytes": MEGABYTE, **more}
    return Job(name, fields.pop("owner"), "demo.walk", {}, Path(), **fields)


def names(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]


def test_what_is_too_old_goes() -> None:
    jobs = [old("a", 31), old("b", 31, pinned=True), old("c", 29)]
    assert names(victims(jobs, settings(kept_days=30), 0.0)) == ["a"]


def test_what_is_too_many_goes_oldest_first() -> None:
    jobs = [old("a", 3), old("b", 2, pinned=True), old("c", 1), old("d")]
    assert names(victims(jobs, settings(kept_jobs=2), 0.0)) == ["a"]


def test_what_is_too_large_goes_from_whoever_holds_the_most() -> None:
    jobs = [old("bob", 9, owner="bob"), *(old(f"a{k}", 5 - k) for k in range(4))]
    assert names(victims(jobs, settings(kept_bytes=3 * MEGABYTE), 0.0)) == ["a0", "a1"]
    assert victims(jobs, settings(kept_bytes=5 * MEGABYTE), 0.0) == []


def test_where_the_disk_runs_low_results_go_until_the_floor_is_free_again() -> None:
    jobs = [old("a", 400), old("b", 2), old("c", 1), old("d", 0, pinned=True)]
    assert names(victims(jobs, settings(), 0.0, missing=2 * MEGABYTE)) == ["a", "b"]
    assert names(victims(jobs, settings(), 0.0, missing=10**12)) == ["a", "b", "c"]
    assert names(victims(jobs, settings(), 0.0, missing=-(10**12))) == ["a"]


def test_old_jobs_are_forgotten_with_their_files_and_inputs(make_engine: Make, tmp_path: Path) -> None:
    engine = make_engine(kept_jobs=2)
    for k in range(4):
        (tmp_path / f"{k}.csv").write_text(f"{k}\n", "utf-8")
    jobs = [ended(engine, submit(engine, table=str(tmp_path / f"{k}.csv"), steps=1)) for k in range(4)]
    engine.pin(jobs[0].id, "ann")
    assert engine.sweep() == 1
    assert [job.id for job in engine.jobs("ann")] == [jobs[k].id for k in (0, 2, 3)]
    assert not jobs[1].directory.exists() and jobs[0].directory.exists()
    assert len(list((engine.home / "blobs").iterdir())) == 3
    engine.pin(jobs[0].id, "ann", pinned=False)
    assert engine.sweep() == 1 and engine.get(jobs[0].id, "ann") is None
    assert (tmp_path / "0.csv").read_text() == "0\n", "the person's own file is not ours to remove"


def test_a_full_disk_takes_the_oldest_result_before_it_refuses(
    make_engine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(free_bytes=MEGABYTE)
    first = ended(engine, submit(engine, steps=1))
    free = [0, 0, 2 * MEGABYTE]
    monkeypatch.setattr(
        "apps.engine.retention.free_bytes", lambda folder: free.pop(0) if len(free) > 1 else free[0]
    )
    second = submit(engine, steps=1)
    assert engine.get(first.id, "ann") is None and not first.directory.exists()
    assert ended(engine, second).state is JobState.DONE


def test_what_waits_or_runs_is_never_swept(make_engine: Make) -> None:
    engine = make_engine(kept_jobs=1, kept_days=1e-9)
    job = reached(engine, submit(engine, steps=500, pace=0.05), 2)
    paused = submit(engine)
    engine.pause(paused.id, "ann")
    assert engine.sweep() == 0
    with pytest.raises(BadInput, match="is running; cancel it first"):
        engine.forget(job.id, "ann")
    engine.forget(paused.id, "ann")
    assert engine.get(paused.id, "ann") is None and not paused.directory.exists()
    engine.cancel(job.id, "ann")
    until(lambda: engine.get(job.id, "ann").state.final)
    engine.forget(job.id, "ann")
    assert engine.jobs("ann") == [] and list(engine.root.iterdir()) == []


def test_folders_that_no_job_knows_go_at_the_next_start_and_nothing_else(make_engine: Make) -> None:
    engine = make_engine()
    kept = ended(engine, submit(engine, steps=1))
    engine.close()
    (engine.root / ("f" * 32)).mkdir()
    (engine.root / ("f" * 32) / "half").write_text("x")
    (engine.root / "mine").mkdir()
    make_engine()
    assert {path.name for path in engine.root.iterdir()} == {kept.id, "mine"}
