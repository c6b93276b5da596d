"""Jobs in worker processes: they run, report, end, are refused, and are found again after a restart."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.engine.jobs import Engine, JobState, Wish
from core.files import file_sha256
from domains.common.errors import BadInput
from domains.common.recipes import read_recipe
from tests.engine.conftest import changed, ended, reached, submit, until

Make = Callable[..., Engine]


def test_a_job_runs_in_another_process_and_its_result_is_there(engine: Engine) -> None:
    job = submit(engine, length=9, steps=4, seed=5)
    assert job.state is JobState.QUEUED and job.result is None
    done = ended(engine, job)
    assert done.state is JobState.DONE and done.error is None and done.attempts == 1
    assert done.result is not None and done.result.metrics["process"] != os.getpid()
    assert [item.title for item in done.result.artifacts] == ["the walk", "a strip"]
    for item in done.result.artifacts:
        assert file_sha256(item.path) == item.sha256
        recipe = read_recipe(item.path)
        assert recipe is not None and recipe["request"]["sampling"]["seed"] == 5
        assert str(engine.home) not in str(recipe)
    assert done.progress is not None and done.progress.fraction == 1.0 and done.previews == 4
    assert sorted(path.name for path in done.directory.iterdir()) == ["result"], "nothing else is left"
    assert done.bytes > 0 and done.seconds > 0 and done.created <= done.started <= done.ended


def test_a_worker_stays_warm_and_is_replaced_after_its_share(make_engine: Make) -> None:
    engine = make_engine(recycle_jobs=3)
    processes = [ended(engine, submit(engine, steps=1)).result.metrics["process"] for _ in range(7)]
    assert processes[0] == processes[1] == processes[2] != processes[3]
    assert processes[3] == processes[5] != processes[6]


def test_a_worker_that_has_grown_is_replaced(make_engine: Make) -> None:
    engine = make_engine(recycle_bytes=16 << 20)  # less than Python alone takes
    first, second = (ended(engine, submit(engine, steps=1)).result.metrics["process"] for _ in range(2))
    assert first != second


def test_changes_are_seen_as_they_come(engine: Engine) -> None:
    job, revisions = submit(engine, steps=4, pace=0.1), []
    while not job.state.final:
        job = changed(engine, job)
        revisions.append(job.revision)
    assert revisions == sorted(set(revisions)) and len(revisions) > 5


def test_a_snapshot_does_not_change_and_neither_does_the_request(engine: Engine, tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("1\n2\n3\n", "utf-8")
    gate = tmp_path / "gate"
    job = submit(engine, table=str(numbers), steps=2, gate=str(gate))
    twin = submit(engine, table=str(numbers), steps=2)
    numbers.write_text("nothing that is a number", "utf-8")  # the person goes on working
    gate.touch()
    done = ended(engine, job)
    assert done.state is JobState.DONE and job.state is JobState.QUEUED
    assert done.request.table.name == "numbers.csv" and done.request.table.is_relative_to(done.directory)
    assert done.result.recipe.inputs["table"].bytes == 6
    other = ended(engine, twin)
    assert os.path.samefile(done.request.table, other.request.table), "equal inputs share their bytes"
    with sqlite3.connect(engine.home / "jobs.db") as file, pytest.raises(sqlite3.IntegrityError):
        file.execute("UPDATE jobs SET request = '{}'")


def test_owners_see_and_steer_only_their_own_jobs(engine: Engine) -> None:
    job = submit(engine, "ann", steps=500, pace=0.05)
    assert engine.get(job.id, "bob") is None and engine.jobs("bob") == []
    for verb in (
        engine.cancel,
        engine.pause,
        engine.resume,
        engine.retry,
        engine.move,
        engine.pin,
        engine.forget,
    ):
        with pytest.raises(BadInput, match="no such job of yours"):
            verb(job.id, "bob")
    with pytest.raises(BadInput, match="no such job of yours"):
        engine.cancel("0" * 32, "ann")
    reached(engine, job, 2)
    assert engine.cancel(job.id, "ann").stopping
    assert ended(engine, job).state is JobState.CANCELLED


def test_a_cancelled_job_keeps_its_last_preview(engine: Engine) -> None:
    job = reached(engine, submit(engine, steps=500, pace=0.05, length=7), 3)
    engine.cancel(job.id, "ann")
    stopped = ended(engine, job)
    assert stopped.state is JobState.CANCELLED and stopped.wish is Wish.NONE
    assert stopped.result is None and not stopped.has_result
    assert stopped.preview is not None and len(stopped.preview["data"][0]["y"]) == 7
    assert stopped.progress is not None and 3 <= stopped.progress.done < 500
    assert engine.cancel(job.id, "ann").state is JobState.CANCELLED, "once more changes nothing"


def test_a_waiting_job_is_cancelled_at_once(engine: Engine, tmp_path: Path) -> None:
    first = submit(engine, gate=str(tmp_path / "gate"))
    second = submit(engine)
    assert engine.cancel(second.id, "ann").state is JobState.CANCELLED
    (tmp_path / "gate").touch()
    assert ended(engine, first).state is JobState.DONE
    assert engine.get(second.id, "ann").attempts == 0


def test_a_job_rests_and_goes_on_where_it_was(engine: Engine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    job = reached(engine, submit(engine, steps=12, pace=0.1, seed=3, log=str(log)), 3)
    engine.pause(job.id, "ann")
    resting = until(lambda: (j := engine.get(job.id, "ann")).state is JobState.PAUSED and j, "pause")
    assert resting.progress.done < 12 and resting.preview is not None
    between = ended(engine, submit(engine, steps=1))  # the worker is free meanwhile
    assert between.state is JobState.DONE
    engine.resume(job.id, "ann")
    done = ended(engine, job)
    steps = [int(line.split()[0]) for line in log.read_text().splitlines()]
    assert steps == list(range(12)), "no step was made twice"
    assert "goes on from its last checkpoint" in done.note
    straight = ended(engine, submit(engine, steps=12, seed=3))
    assert done.result.recipe.content_sha256 == straight.result.recipe.content_sha256
    assert done.result.seconds > straight.result.seconds, "all attempts count"
    with pytest.raises(BadInput, match="is done"):
        engine.pause(job.id, "ann")
    with pytest.raises(BadInput, match="not paused"):
        engine.resume(job.id, "ann")


def test_a_cancelled_job_that_is_tried_again_goes_on_from_its_checkpoint(
    engine: Engine, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    job = reached(engine, submit(engine, steps=10, pace=0.1, log=str(log)), 3)
    engine.cancel(job.id, "ann")
    ended(engine, job)
    assert engine.retry(job.id, "ann").state is JobState.QUEUED
    assert ended(engine, job).state is JobState.DONE
    steps = [int(line.split()[0]) for line in log.read_text().splitlines()]
    assert steps[-1] == 9 and steps.count(0) == 1, "it did not begin again"
    with pytest.raises(BadInput, match="only a failed or cancelled one"):
        engine.retry(job.id, "ann")


def test_too_many_waiting_jobs_are_refused_in_one_sentence(make_engine: Make, tmp_path: Path) -> None:
    engine = make_engine(queue_per_owner=2, queue_length=3)
    gate = tmp_path / "gate"
    first = submit(engine, "ann", gate=str(gate))
    until(lambda: engine.get(first.id, "ann").state is JobState.RUNNING)
    for _ in range(2):
        submit(engine, "ann", gate=str(gate))
    with pytest.raises(BadInput, match="queue: 2 of your jobs are waiting already; try again in a while"):
        submit(engine, "ann")
    submit(engine, "bob", gate=str(gate))
    with pytest.raises(BadInput, match="queue: 3 jobs are waiting already; try again in a while"):
        submit(engine, "cyd")
    assert len(list(engine.root.iterdir())) == 4, "a refused job leaves no folder"


def test_an_input_that_is_too_large_is_refused(make_engine: Make, tmp_path: Path) -> None:
    engine = make_engine(input_bytes=10)
    (tmp_path / "numbers.csv").write_text("1\n" * 6, "utf-8")
    with pytest.raises(BadInput, match="table: the file holds 12 bytes and at most 10 bytes"):
        submit(engine, table=str(tmp_path / "numbers.csv"))
    assert list(engine.root.iterdir()) == []


def test_a_restart_finds_everything_again(make_engine: Make, tmp_path: Path) -> None:
    before = make_engine()
    done = ended(before, submit(before, steps=3, seed=9))
    gate = tmp_path / "gate"
    running = reached(before, submit(before, steps=6, pace=0.1), 2)
    waiting = submit(before, gate=str(gate))
    before.close()
    after = make_engine()
    again = after.get(done.id, "ann")
    assert again.state is JobState.DONE and again.result.recipe == done.result.recipe
    assert again.result.as_json() == done.result.as_json()
    gone_on = ended(after, running)
    assert gone_on.state is JobState.DONE
    assert gone_on.note == "interrupted when the app was closed; goes on from its last checkpoint"
    gate.touch()
    assert ended(after, waiting).state is JobState.DONE
    assert [job.id for job in after.jobs("ann")] == [done.id, running.id, waiting.id]


def test_one_engine_at_a_time_works_in_a_home(engine: Engine, make_engine: Make) -> None:
    with pytest.raises(BadInput, match="in use by another Langevin"):
        make_engine()
    engine.close()
    make_engine()


def test_the_home_is_its_owners_alone(engine: Engine) -> None:
    assert stat.S_IMODE(engine.home.stat().st_mode) == 0o700
    assert stat.S_IMODE((engine.home / "jobs.db").stat().st_mode) == 0o600


def test_a_database_of_a_newer_version_is_left_alone(engine: Engine, make_engine: Make) -> None:
    engine.close()
    with sqlite3.connect(engine.home / "jobs.db") as file:
        file.execute("PRAGMA user_version = 99")
    with pytest.raises(BadInput, match="newer Langevin"):
        make_engine()


def test_a_closed_engine_takes_no_jobs(engine: Engine) -> None:
    engine.close()
    with pytest.raises(BadInput, match="has been closed"):
        submit(engine)
