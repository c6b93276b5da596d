"""kill -9 of the worker, the app, or both, at random moments: nothing that was finished is lost, nothing half-written
is seen, and whatever was interrupted goes on to the bytes of a run that was not."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from apps.engine.run import RESULT, Finished, run_task
from apps.engine.validation import make_request
from core.files import file_sha256
from domains.registry import find_task
from tests.engine.conftest import MODULE, PATIENCE, until

SETTINGS = {
    "task_modules": [MODULE],
    "warm_seconds": 10_000.0,
    "nice": 0,
    "free_bytes": 0,
    "checkpoint_seconds": 0.0,
    "threads": 1,
    "attempts": 100,  # here it is not the jobs that are poisonous
}
WALK: dict[str, Any] = {"length": 3000, "pace": 0.05}
STATES = ("queued", "running")


@dataclass
class Host:
    """An app with an engine that is killed and started again.

    Attributes:
        home: Its home folder.
        fields: Job -> (task, request) of everything that it has taken.
        finished: Job -> artifact hashes, of jobs once seen done.
    """

    home: Path
    fields: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    finished: dict[str, dict[str, str]] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Starts it, and waits until it is there."""
        words = [sys.executable, "-m", "tests.engine.host", str(self.home), json.dumps(SETTINGS)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._says() == "ready"

    def _says(self) -> str:
        assert self.process is not None and self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def submit(self, task: str, fields: dict[str, Any], owner: str) -> str:
        """Makes a job; it is on the disk when this returns."""
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(json.dumps({"task": task, "fields": fields, "owner": owner}) + "\n")
        self.process.stdin.flush()
        job = self._says()
        assert len(job) == 32
        self.fields[job] = task, fields
        return job

    def rows(self) -> dict[str, dict[str, Any]]:
        """Job -> its row, read as an onlooker does."""
        with sqlite3.connect(f"file:{self.home / 'jobs.db'}?mode=ro", uri=True, timeout=30) as file:
            file.row_factory = sqlite3.Row
            found = {row["id"]: dict(row) for row in file.execute("SELECT * FROM jobs")}
        file.close()
        return found

    def workers(self) -> list[psutil.Process]:
        """Its worker processes."""
        assert self.process is not None
        try:
            return psutil.Process(self.process.pid).children()
        except psutil.Error:
            return []

    def kill(self, what: str) -> None:
        """Kills the worker, the app, or both; an app is started again."""
        assert self.process is not None
        workers = self.workers()
        if what in ("worker", "both"):
            for worker in workers:
                worker.send_signal(signal.SIGKILL)
        if what in ("app", "both"):
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                assert pipe is not None
                pipe.close()
            _, alive = psutil.wait_procs(workers, timeout=PATIENCE)
            assert not alive, "a worker outlived its app"
            self.look()
            self.start()

    def look(self) -> None:
        """Checks everything that can be seen now: results are whole, and none that was there is gone."""
        for job in self.fields:
            folder = self.home / "jobs" / job / "result"
            if folder.exists():
                made = Finished.load(folder)
                for artifact in made.artifacts:
                    assert file_sha256(artifact.path) == artifact.sha256, "a file is not whole"
                    beside = artifact.path.with_name(artifact.path.name + ".recipe.json")
                    if beside.exists():
                        json.loads(beside.read_text("utf-8"))
                names = {path.name for path in folder.rglob("*") if path.is_file()}
                assert RESULT in names and not [name for name in names if name.endswith(".part")]
                hashes = made.recipe.content_sha256
                assert self.finished.setdefault(job, hashes) == hashes, "a finished result was changed"
        lost = [job for job in self.finished if not (self.home / "jobs" / job / "result" / RESULT).is_file()]
        assert not lost, "a finished result is gone"

    def stand(self) -> dict[str, tuple[str, str | None]]:
        """Job -> the worker that has it, and how far it is."""
        return {job: (row["worker"], row["progress"]) for job, row in self.rows().items()}

    def further(self, before: dict[str, tuple[str, str | None]]) -> str | None:
        """The note (or a blank) of a running job that another worker than `before` has brought further."""
        for job, row in self.rows().items():
            worker, progress = before.get(job, ("", None))
            if (
                row["state"] == "running"
                and row["worker"] != worker
                and row["progress"] not in (None, progress)
            ):
                return row["note"] or " "
        return None

    def waiting(self) -> int:
        return sum(row["state"] in STATES for row in self.rows().values())

    def close(self) -> None:
        """Ends it politely."""
        if self.process is not None and self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process.wait(PATIENCE)


def straight(tmp_path: Path, task: str, fields: dict[str, Any]) -> dict[str, str]:
    """Hashes of an uninterrupted run of the same request."""
    found = find_task(task)
    fields = {**fields, "pace": 0.0} if task == "demo.walk" else fields
    made = run_task(found, make_request(found, fields), out=tmp_path / f"straight-{random.getrandbits(64)}")
    return made.recipe.content_sha256


def table(tmp_path: Path) -> Path:
    lines = ["hour,low,high"]
    for hour in range(120):
        low = "" if hour % 50 in range(20, 30) else f"{10 + 3 * math.sin(hour / 4):.3f}"
        lines.append(f"{hour},{low},{math.cos(hour / 7):.4f}")
    path = tmp_path / "waves.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kills", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_whatever_is_killed_and_whenever(kills: int, tmp_path: Path) -> None:
    dice = random.Random(kills)
    host = Host(tmp_path / "home")
    host.start()
    series = {"table": str(table(tmp_path)), "samples": 2, "steps": 12}
    done: Counter[str] = Counter()
    resumed, before = 0, host.stand()
    for number in range(kills):
        while host.waiting() < 4:
            seed = dice.randrange(3)
            task, fields = ("series.impute", series) if len(host.fields) % 5 == 0 else ("demo.walk", WALK)
            if task == "demo.walk":  # a second, or so short that several end between two kills
                fields = {**fields, "steps": dice.choice((1, 3, 16))}
            host.submit(task, {**fields, "seed": seed}, dice.choice(("ann", "bob")))
        # Most often in the midst of a job that got further, sometimes while a worker starts or a job begins.
        if dice.random() < 0.8:
            note = until(lambda before=before: host.further(before), "a job that gets further")
            resumed += note.endswith("goes on from its last checkpoint")
        time.sleep(dice.uniform(0.0, 2.0))
        what = ("worker", "app", "both")[number % 3]
        done[what] += 1
        host.kill(what)
        host.look()
        before = host.stand()
    until(lambda: not host.waiting(), "the end of all jobs")
    host.look()
    rows = host.rows()
    host.close()
    assert set(rows) == set(host.fields), "no job is lost"
    expected: dict[str, dict[str, str]] = {}
    notes: Counter[str] = Counter()
    for job, (task, fields) in host.fields.items():
        row = rows[job]
        assert row["state"] == "done", (row["state"], row["error"], row["note"])
        key = json.dumps([task, fields])
        if key not in expected:
            expected[key] = straight(tmp_path, task, fields)
        assert host.finished[job] == expected[key], f"{task} came out different: {row['note']}"
        how, _, went_on = row["note"].partition("; ")
        notes[went_on] += 1
        assert bool(how) == bool(went_on), "who was interrupted says how it went on"
        assert went_on in (
            "",
            "goes on from its last checkpoint",
            "began again, as no checkpoint had been written",
        )
    print(f"{dict(done)}; went on {resumed} times; {len(rows)} jobs, at last: {dict(notes)}")
    assert resumed + notes["goes on from its last checkpoint"] >= max(1, kills // 10), (
        "the test is empty where nothing goes on"
    )
