"""Whatever goes wrong ends one job with a sentence; the engine, its other jobs and its disk go on."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.engine.failure import describe_crash, describe_exit, disk_is_full
from apps.engine.job import Job, JobState
from apps.engine.jobs import Engine
from apps.engine.watch import Attempt, interrupted
from domains.common.errors import BadInput
from tests.engine.conftest import ended, reached, settings, submit, until

Make = Callable[..., Engine]
MEGABYTE = 1 << 20


@pytest.mark.parametrize(
    ("fault", "field", "words"),
    [
        ("input", "drift", "is too steep here; take a smaller one"),
        ("exception", "", "unexpected RuntimeError: the <i>walker</i> fell"),
        ("segfault", "", "its worker crashed (SIGSEGV); a library failed on this request"),
        ("exit", "", "its worker ended by itself (exit status 3); a library failed on this request"),
        ("allocate", "", "ran out of memory; ask for fewer samples or give a smaller file"),
        ("disk", "", "the disk is full; delete results or make space, then try again"),
    ],
)
def test_a_fault_is_one_sentence_and_the_next_job_runs(
    engine: Engine, fault: str, field: str, words: str
) -> None:
    broken, next_one = submit(engine, fault=fault), submit(engine, steps=2)
    failed = ended(engine, broken)
    assert failed.state is JobState.FAILED and failed.error is not None and failed.attempts == 1
    assert failed.error.field == field and failed.error.message.startswith(words)
    assert "\n" not in failed.error.message and "Traceback" not in failed.error.message
    assert not failed.has_result and failed.preview is not None, "what it had shown is kept"
    assert ended(engine, next_one).state is JobState.DONE


def test_a_job_that_grows_past_its_memory_is_ended_before_the_machine_is(make_engine: Make) -> None:
    engine = make_engine(worker_bytes=400 * MEGABYTE)
    failed = ended(engine, submit(engine, fault="memory", fault_at=0))
    assert failed.state is JobState.FAILED and failed.error is not None
    assert "memory" in failed.error.message and "fewer samples" in failed.error.message
    assert ended(engine, submit(engine, steps=1)).state is JobState.DONE


def test_memory_is_watched_where_no_limit_of_the_system_holds(
    make_engine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a GPU, whose driver reserves more addresses than any limit could allow."""
    engine = make_engine(worker_bytes=16 << 30)
    job = submit(engine, fault="memory", fault_at=0)
    until(lambda: engine.workers() and engine.workers()[0]["job"] == job.id)
    attempt = next(iter(engine._supervisor._workers.values()))
    assert attempt is not None
    attempt._limit = 300 * MEGABYTE
    failed = ended(engine, job)
    assert failed.error is not None
    assert failed.error.message.startswith("needed more than 300 MB of memory; ask for fewer samples")


def test_a_library_that_hangs_is_given_up(make_engine: Make) -> None:
    engine = make_engine(silent_seconds=3.0)
    failed = ended(engine, submit(engine, fault="hang"))
    assert failed.error is not None and "gave no sign of life for 3 s" in failed.error.message
    assert ended(engine, submit(engine, steps=20, pace=0.3)).state is JobState.DONE, "who reports is not hung"


def test_a_job_past_its_time_is_ended_and_its_pauses_do_not_help(make_engine: Make) -> None:
    engine = make_engine(job_seconds=3.0)
    job = reached(engine, submit(engine, steps=1000, pace=0.1), 5)
    engine.pause(job.id, "ann")
    until(lambda: engine.get(job.id, "ann").state is JobState.PAUSED)
    engine.resume(job.id, "ann")
    failed = ended(engine, job)
    assert failed.state is JobState.FAILED and failed.error is not None
    assert failed.error.message.startswith("took longer than the 3 s that a job may run")
    assert 2.9 < failed.seconds < 6 and failed.preview is not None


def test_limits_are_those_of_when_the_job_was_made(make_engine: Make, tmp_path: Path) -> None:
    engine = make_engine(job_seconds=1000.0)
    job = submit(engine, steps=40, pace=0.1, gate=str(tmp_path / "gate"))
    engine.close()
    later = make_engine(job_seconds=1.0)
    (tmp_path / "gate").touch()
    assert ended(later, job).state is JobState.DONE


def test_who_does_not_stop_is_stopped(make_engine: Make) -> None:
    engine = make_engine(stop_seconds=1.0)
    job = submit(engine, fault="spin", steps=5, pace=0.1)
    reached(engine, job, 2)
    engine.cancel(job.id, "ann")
    began = time.monotonic()
    assert ended(engine, job).state is JobState.CANCELLED
    assert time.monotonic() - began < 5
    assert ended(engine, submit(engine, steps=1)).state is JobState.DONE


def test_a_worker_that_is_killed_costs_a_job_nothing_but_time(engine: Engine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    job = reached(engine, submit(engine, steps=8, pace=0.1, seed=6, log=str(log)), 3)
    (worker,) = engine.workers()
    os.kill(worker["pid"], signal.SIGKILL)
    done = ended(engine, job)
    assert done.state is JobState.DONE
    assert done.note == "its worker was ended from outside (SIGKILL); goes on from its last checkpoint"
    steps = [int(line.split()[0]) for line in log.read_text().splitlines()]
    assert sorted(set(steps)) == list(range(8)) and steps.count(0) == 1, "it did not begin again"
    straight = ended(engine, submit(engine, steps=8, seed=6))
    assert done.result.recipe.content_sha256 == straight.result.recipe.content_sha256


def test_without_a_checkpoint_it_says_that_it_began_again(engine: Engine) -> None:
    job = reached(engine, submit(engine, steps=8, pace=0.1, checkpoints=False), 3)
    os.kill(engine.workers()[0]["pid"], signal.SIGTERM)
    done = ended(engine, job)
    assert done.state is JobState.DONE and done.attempts == 2
    assert done.note.endswith("(SIGTERM); began again, as no checkpoint had been written")


def test_a_poisonous_job_does_not_kill_workers_for_ever(make_engine: Make) -> None:
    engine = make_engine(attempts=2)
    poison = submit(engine, "ann", fault="suicide", fault_at=0)
    other = submit(engine, "bob", steps=2)
    failed = ended(engine, poison)
    assert failed.state is JobState.FAILED and failed.attempts == 2 and failed.error is not None
    assert "as in all of 2 attempts that got no further; it is not tried again" in failed.error.message
    assert ended(engine, other).state is JobState.DONE
    engine.retry(poison.id, "ann")
    assert ended(engine, poison).attempts == 2, "once more, as its owner wished"


def test_getting_further_counts_as_a_fresh_start() -> None:
    job = Job("0" * 32, "ann", "demo.walk", {}, Path(), attempts=4)
    assert interrupted(job, "killed", True, settings(attempts=4))["state"] is JobState.QUEUED
    assert interrupted(job, "killed", False, settings(attempts=4))["state"] is JobState.FAILED


def test_the_kernels_own_kill_is_told_from_a_persons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job("0" * 32, "ann", "demo.walk", {}, tmp_path, attempts=1)
    kills = [7]
    monkeypatch.setattr("apps.engine.watch.kernel_kills", lambda: kills[0])
    attempt = Attempt(job, settings())
    assert attempt.verdict(-9)["state"] is JobState.QUEUED
    kills[0] = 8
    verdict = attempt.verdict(-9)
    assert verdict["state"] is JobState.FAILED and "memory" in verdict["error"].message


def test_a_worker_that_cannot_start_is_said_and_not_tried_for_ever(
    make_engine: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = make_engine()
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    failed = ended(engine, submit(engine))
    assert failed.error is not None and "no worker could be started" in failed.error.message


def test_a_full_disk_refuses_new_jobs_in_a_sentence(
    make_engine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(free_bytes=MEGABYTE)
    assert ended(engine, submit(engine, steps=1)).state is JobState.DONE
    monkeypatch.setattr("apps.engine.retention.free_bytes", lambda folder: 0)
    with pytest.raises(BadInput, match="disk: less than 1 MB are free; delete results or make space"):
        submit(engine)


def test_a_disk_that_fills_while_a_job_is_made_leaves_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "numbers.csv").write_text("1\n", "utf-8")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("apps.engine.inputs.os.fsync", full)
    with pytest.raises(BadInput, match="disk: the disk is full"):
        submit(engine, table=str(tmp_path / "numbers.csv"))
    monkeypatch.undo()
    assert list(engine.root.iterdir()) == [] and list((engine.home / "blobs").iterdir()) == []
    assert engine.jobs("ann") == []


def test_an_ending_that_the_full_disk_refuses_to_write_is_written_later(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, refused = engine._store.change, []

    def full(job_id: str, **columns: object) -> None:
        if columns.get("state") is JobState.DONE and len(refused) < 3:
            refused.append(1)
            raise sqlite3.OperationalError("database or disk is full")
        change(job_id, **columns)  # type: ignore[arg-type]

    monkeypatch.setattr(engine._store, "change", full)
    done = ended(engine, submit(engine, steps=1))
    assert done.state is JobState.DONE and done.result is not None and len(refused) == 3


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="only root may mount a small disk"
)
def test_on_a_disk_that_is_really_full_a_job_fails_with_the_reason(make_engine: Make, tmp_path: Path) -> None:
    import subprocess

    home = tmp_path / "small"
    home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(home)], check=False)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        engine = make_engine(home)
        job = submit(engine, length=1_000_000, steps=2)  # its table takes some 20 MB
        failed = ended(engine, job)
        assert failed.state is JobState.FAILED and failed.error is not None
        assert failed.error.message == "the disk is full; delete results or make space, then try again"
        assert not failed.has_result and not list(failed.directory.glob(".*"))
        assert ended(engine, submit(engine, steps=1)).state is JobState.DONE, "and there is room again"
        engine.close()
    finally:
        subprocess.run(["umount", "-l", str(home)], check=False)


def test_words_for_ends_and_causes() -> None:
    assert describe_exit(-6) == "crashed (SIGABRT)"
    assert describe_exit(-15) == "was ended from outside (SIGTERM)"
    assert describe_exit(1) == "ended by itself (exit status 1)"
    assert describe_exit(-64) in ("crashed (signal 64)", "crashed (SIGRTMAX)")
    behind = BadInput("out", "cannot be written")
    behind.__context__ = OSError(errno.EDQUOT, "Disk quota exceeded")
    assert disk_is_full(behind)
    assert not disk_is_full(OSError(errno.EACCES, "no"))
    assert "memory" in describe_crash(
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
    )
