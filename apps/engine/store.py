"""The jobs' table: one SQLite file in WAL mode, touched by this module alone.

All threads of the app write through one connection and read through another, each under its lock, so that who looks
never waits for a flush; workers never see the file.  Submissions and endings are on the disk before they are reported;
progress is not worth a flush.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from threading import Condition, Lock, get_ident
from typing import Any

from apps.engine.job import Job, JobError, JobState, Wish
from apps.engine.progress import Progress
from domains.common.errors import BadInput

VERSION = 1
_SCHEMA = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    task TEXT NOT NULL,
    request TEXT NOT NULL,
    limits TEXT NOT NULL,
    state TEXT NOT NULL,
    wish TEXT NOT NULL DEFAULT '',
    priority INTEGER NOT NULL DEFAULT 0,
    place REAL NOT NULL,
    progress TEXT,
    previews INTEGER NOT NULL DEFAULT 0,
    error_field TEXT,
    error TEXT,
    note TEXT NOT NULL DEFAULT '',
    created REAL NOT NULL,
    started REAL,
    ended REAL,
    seconds REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    pinned INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    worker TEXT NOT NULL DEFAULT '',
    revision INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, owner);
CREATE INDEX jobs_by_owner ON jobs (owner, created);
-- Seconds of service of those who have jobs waiting or running; see apps/engine/order.py.
CREATE TABLE clocks (owner TEXT PRIMARY KEY, seconds REAL NOT NULL) STRICT;
"""
# The request, the limits, the owner and the task of a job never change: the database itself refuses.
_IMMUTABLE = """
CREATE TRIGGER jobs_are_immutable BEFORE UPDATE OF id, owner, task, limits, created ON jobs
BEGIN SELECT RAISE(ABORT, 'a job keeps its owner, task and limits'); END;
CREATE TRIGGER requests_are_immutable BEFORE UPDATE OF request ON jobs
BEGIN SELECT RAISE(ABORT, 'a job keeps its request'); END;
"""
_CHANGEABLE = {
    "state", "wish", "priority", "place", "progress", "previews", "error", "note", "started", "ended", "seconds",
    "attempts", "pinned", "bytes", "worker",
}  # fmt: skip


class Store:
    """The table of jobs.

    Args:
        file: The database; made where absent.
        jobs: Folder that holds a folder for each job.

    Raises:
        BadInput: If the file is no database of this program, or was made by a newer version of it.
    """

    def __init__(self, file: Path, jobs: Path) -> None:
        self.jobs = jobs
        self.changed = Condition()  # its lock guards the writing connection too
        self._reading = Lock()
        self._writer: int | None = None  # the thread that is within a transaction
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        self._connection, self._reader = (
            sqlite3.connect(file, timeout=30, isolation_level=None, check_same_thread=False) for _ in range(2)
        )
        self._connection.row_factory = self._reader.row_factory = sqlite3.Row
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._migrate()
            self._reader.execute("PRAGMA query_only = ON")
        except sqlite3.DatabaseError as error:
            self.close()
            raise BadInput("home", f"{file} is no database of jobs ({error}); move it away") from None
        except BadInput:
            self.close()
            raise

    def _migrate(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise BadInput("home", "was written by a newer Langevin; update this one or name another folder")
        if version == 0:
            with self.transaction(durable=True) as sql:
                for script in (_SCHEMA, _IMMUTABLE):
                    for statement in _statements(script):
                        sql.execute(statement)
                sql.execute(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        """Closes the file; the store is of no use afterwards."""
        with self.changed, self._reading:
            self._reader.close()
            self._connection.close()

    @contextmanager
    def transaction(self, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """All changes of the block or none; whoever waits for a change is woken at its end.

        Args:
            durable: Whether the changes are on the disk when the block ends.
        """
        with self.changed:
            if self._connection.in_transaction:  # part of the block around it
                yield self._connection
                return
            if durable:
                self._connection.execute("PRAGMA synchronous = FULL")
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                self._writer = get_ident()
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
            finally:
                self._writer = None
                if durable:
                    self._connection.execute("PRAGMA synchronous = NORMAL")
                self.changed.notify_all()

    # -- reading ------------------------------------------------------------------------------------------------------

    def _rows(self, query: str, values: Iterable[Any] = ()) -> list[sqlite3.Row]:
        if self._writer == get_ident():  # who changes things sees them changed
            return self._connection.execute(query, tuple(values)).fetchall()
        with self._reading:
            return self._reader.execute(query, tuple(values)).fetchall()

    def get(self, job_id: str) -> Job | None:
        """The job; None where there is none."""
        rows = self._rows("SELECT * FROM jobs WHERE id = ?", (job_id,))
        return self._job(rows[0]) if rows else None

    def select(
        self, where: str = "1", values: Iterable[Any] = (), order: str = "created", limit: int = -1
    ) -> list[Job]:
        """Jobs by a condition of the program's own (never of a person's making); all where `limit` is negative."""
        query = f"SELECT * FROM jobs WHERE {where} ORDER BY {order}, rowid LIMIT {int(limit)}"
        return [self._job(row) for row in self._rows(query, values)]

    def in_state(self, *states: JobState) -> list[Job]:
        """Jobs in one of these states, oldest first."""
        marks = ", ".join("?" * len(states))
        return self.select(f"state IN ({marks})", [str(state) for state in states])

    def waiting(self, owner: str | None = None) -> int:
        """How many jobs wait: of `owner`, or in all."""
        condition, values = (" AND owner = ?", (owner,)) if owner is not None else ("", ())
        query = f"SELECT count(*) FROM jobs WHERE state IN ('queued', 'paused'){condition}"
        return int(self._rows(query, values)[0][0])

    def counts(self) -> dict[str, int]:
        """State -> number of jobs, all owners together."""
        rows = self._rows("SELECT state, count(*) FROM jobs GROUP BY state")
        return {str(state): 0 for state in JobState} | {row[0]: row[1] for row in rows}

    def clocks(self) -> dict[str, float]:
        """Owner -> seconds of service."""
        return {row[0]: row[1] for row in self._rows("SELECT owner, seconds FROM clocks")}

    def worker_of(self, job_id: str) -> str:
        """Which process a job was given to last."""
        rows = self._rows("SELECT worker FROM jobs WHERE id = ?", (job_id,))
        return str(rows[0][0]) if rows else ""

    # -- writing ------------------------------------------------------------------------------------------------------

    def add(self, job: Job) -> None:
        """Stores a new job at the end of its owner's queue."""
        with self.transaction(durable=True) as sql:
            self._wind(job.owner)
            (last,) = sql.execute("SELECT coalesce(max(place), 0) FROM jobs").fetchone()
            sql.execute(
                "INSERT INTO jobs (id, owner, task, request, limits, state, priority, place, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    job.id,
                    job.owner,
                    job.task_name,
                    json.dumps(job.fields),
                    json.dumps(job.limits),
                    str(job.state),
                    job.priority,
                    last + 1.0,
                    job.created,
                ),
            )

    def change(self, job_id: str, *, durable: bool = False, **columns: Any) -> None:
        """Sets columns of a job; None for `error` and `progress` empties them.

        Raises:
            ValueError: If a column is not one that changes.
        """
        if unknown := columns.keys() - _CHANGEABLE:
            raise ValueError(f"a job keeps its {', '.join(sorted(unknown))}")
        if "error" in columns:
            error: JobError | None = columns.pop("error")
            columns["error_field"] = error.field if error is not None else None
            columns["error"] = error.message if error is not None else None
        if "progress" in columns and columns["progress"] is not None:
            columns["progress"] = json.dumps(asdict(columns["progress"]))
        values = {name: str(v) if isinstance(v, JobState | Wish) else v for name, v in columns.items()}
        names = ", ".join(f"{name} = ?" for name in values)
        with self.transaction(durable) as sql:
            sql.execute(
                f"UPDATE jobs SET {names}, revision = revision + 1 WHERE id = ?", (*values.values(), job_id)
            )

    def charge(self, owner: str, seconds: float) -> None:
        """Adds to an owner's clock; forgets those of owners for whom nothing waits."""
        with self.transaction() as sql:
            sql.execute(
                "INSERT INTO clocks VALUES (?, ?) ON CONFLICT (owner) DO UPDATE SET seconds = seconds + ?",
                (owner, seconds, seconds),
            )
            sql.execute(
                "DELETE FROM clocks WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE state IN ('queued', 'running'))"
            )

    def _wind(self, owner: str) -> None:
        """Brings the clock of an owner who comes back up to the others': idle time is no credit."""
        with self.transaction() as sql:
            active = "SELECT owner FROM jobs WHERE state IN ('queued', 'running')"
            if sql.execute(f"{active} AND owner = ? LIMIT 1", (owner,)).fetchone():
                return
            (least,) = sql.execute(
                f"SELECT coalesce(min(seconds), 0) FROM clocks WHERE owner IN ({active})"
            ).fetchone()
            sql.execute(
                "INSERT INTO clocks VALUES (?, ?) ON CONFLICT (owner) DO UPDATE SET seconds = max(seconds, ?)",
                (owner, least, least),
            )

    def requeue(self, job: Job, **columns: Any) -> None:
        """Lets a paused, failed or cancelled job wait again, at the place it had."""
        with self.transaction(durable=True):
            self._wind(job.owner)
            self.change(job.id, state=JobState.QUEUED, wish=Wish.NONE, ended=None, error=None, **columns)

    def delete(self, job_id: str) -> None:
        """Forgets a job; its folder is the caller's to remove."""
        with self.transaction() as sql:
            sql.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def wait_until(self, condition: Any, timeout: float | None) -> bool:
        """Waits until `condition()` holds; it is looked at after every change."""
        with self.changed:
            return bool(self.changed.wait_for(condition, timeout))

    def _job(self, row: sqlite3.Row) -> Job:
        progress: Mapping[str, Any] | None = json.loads(row["progress"]) if row["progress"] else None
        return Job(
            id=row["id"],
            owner=row["owner"],
            task_name=row["task"],
            fields=json.loads(row["request"]),
            directory=self.jobs / row["id"],
            limits=json.loads(row["limits"]),
            state=JobState(row["state"]),
            wish=Wish(row["wish"]),
            priority=row["priority"],
            progress=Progress(**progress) if progress is not None else None,
            previews=row["previews"],
            error=JobError(row["error_field"] or "", row["error"]) if row["error"] is not None else None,
            note=row["note"],
            created=row["created"],
            started=row["started"],
            ended=row["ended"],
            seconds=row["seconds"],
            attempts=row["attempts"],
            pinned=bool(row["pinned"]),
            bytes=row["bytes"],
            place=row["place"],
            revision=row["revision"],
        )


def now() -> float:
    """Seconds since the epoch."""
    return time.time()


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; triggers hold semicolons of their own."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
