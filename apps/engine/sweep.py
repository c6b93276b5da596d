"""Sweeps: many jobs of one request, each with other values of a few parameters, kept together under one id.

A sweep is a file in the home folder, `sweeps/ID.jsonl`: what was asked for in its first line, then a line for each job
as it is queued.  Its cells are ordinary jobs: they wait for their owner's turn (behind the owner's other jobs), resume
after a crash, and are cleared away when others are.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from apps.engine.job import LOCAL, Job, JobState
from apps.engine.jobs import Engine
from apps.engine.run import Finished
from apps.engine.sweep_axes import Axis, check_axes, combinations, with_values
from apps.engine.sweep_cells import Cell
from apps.engine.validation import served_request
from domains.common.errors import BadInput
from domains.common.task import Request, Task

BEHIND = -1  # priority of cells: a sweep's owner may run something else meanwhile
GONE = "gone"
_ID = re.compile(r"[0-9a-f]{32}")
_REMEMBERED = 4096  # cells whose results are kept in memory; they never change
_PICTURES = (".png", ".webp", ".jpg", ".jpeg", ".gif")


@dataclass(frozen=True)
class Sweep:
    """What was asked for, and the jobs that it became.

    Attributes:
        id: Random, unguessable name.
        owner: Whose it is.
        task_name: `domain.verb`.
        fields: The request that all cells share, nested and of plain JSON types.
        axes: What is varied; the last varies fastest.
        jobs: Ids of the jobs, in the order of the cells; shorter than the cells where the app was killed on the way.
        created: Seconds since the epoch.
    """

    id: str
    owner: str
    task_name: str
    fields: Mapping[str, Any]
    axes: tuple[Axis, ...]
    jobs: tuple[str, ...] = ()
    created: float = 0.0

    @property
    def values(self) -> list[tuple[Any, ...]]:
        """The values of each cell."""
        return list(combinations(self.axes))


@dataclass
class Sweeps:
    """The sweeps of an engine's home folder.

    Args:
        engine: Runs the cells.
    """

    engine: Engine
    _cells: OrderedDict[str, Cell] = field(default_factory=OrderedDict, repr=False)

    @property
    def folder(self) -> Path:
        """Where they are kept."""
        return self.engine.home / "sweeps"

    @property
    def most_cells(self) -> int:
        """Cells of one sweep at most: no more than the jobs of one owner that may wait."""
        return min(self.engine.settings.sweep_cells, self.engine.settings.queue_per_owner)

    def create(
        self,
        task: Task,
        fields: Mapping[str, Any],
        axes: Sequence[Axis],
        owner: str = LOCAL,
        check: Callable[[Task, Mapping[str, Any]], Request] = served_request,
    ) -> Sweep:
        """Queues all cells of a sweep, or none.

        Args:
            task: What is to run.
            fields: The request that all cells share, nested.
            axes: What is varied.
            owner: Whose sweep it is.
            check: Makes a request of fields.

        Raises:
            BadInput: If there are too many cells, one of them is no valid request (before any is queued), or the queue
                has no room for all.
        """
        count = check_axes(axes, self.most_cells)
        requests = [check(task, with_values(fields, axes, values)) for values in combinations(axes)]
        waiting = sum(not job.state.final for job in self.engine.jobs(owner))
        room = self.engine.settings.queue_per_owner - waiting
        if count > room:
            raise BadInput(
                "vary",
                f"{count} runs are more than your queue has room for ({max(room, 0)}); wait, or give fewer values",
            )
        sweep = Sweep(
            secrets.token_hex(16),
            owner,
            task.name,
            to_jsonable_python(dict(fields)),
            tuple(axes),
            created=time.time(),
        )
        path = self.folder / f"{sweep.id}.jsonl"
        jobs: list[str] = []
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            with path.open("x", encoding="utf-8") as stream:
                _append(stream, _header(sweep))
                for request in requests:
                    jobs.append(self.engine.submit(task, request, owner, BEHIND).id)
                    _append(stream, {"job": jobs[-1]})
        except BaseException as error:
            for job_id in jobs:
                self._drop(job_id, owner)
            path.unlink(missing_ok=True)
            if isinstance(error, FileNotFoundError):
                raise BadInput("file", "has been cleared away meanwhile; choose it again") from None
            raise
        found = self.get(sweep.id, owner)
        assert found is not None
        return found

    def get(self, sweep_id: str, owner: str = LOCAL) -> Sweep | None:
        """The sweep of that id; None where there is none or it is somebody else's."""
        if not _ID.fullmatch(sweep_id):
            return None
        found = _read(self.folder / f"{sweep_id}.jsonl")
        return found if found is not None and found.owner == owner else None

    def of(self, owner: str = LOCAL, most: int = 20) -> list[Sweep]:
        """The latest sweeps of `owner`, newest first; those of which no job is left are forgotten on the way."""
        kept = {job.id for job in self.engine.jobs(owner)}
        found: list[Sweep] = []
        for path in self.folder.glob("*.jsonl") if self.folder.is_dir() else ():
            sweep = _read(path)
            if sweep is None or sweep.owner != owner:
                continue
            if sweep.jobs and not kept & set(sweep.jobs):
                path.unlink(missing_ok=True)
            else:
                found.append(sweep)
        return sorted(found, key=lambda sweep: -sweep.created)[:most]

    def cells(self, sweep: Sweep) -> list[Cell]:
        """The cells as they stand, in their order."""
        return [
            self._cell(values, sweep.jobs[place] if place < len(sweep.jobs) else "", sweep.owner)
            for place, values in enumerate(sweep.values)
        ]

    def cancel(self, sweep_id: str, owner: str = LOCAL) -> int:
        """Ends all cells that have not ended; how many these were.

        Raises:
            BadInput: If it is not a sweep of `owner`.
        """
        ended = 0
        # From the back: while the first is stopped, none of the others begins.
        for job_id in reversed(self._own(sweep_id, owner).jobs):
            job = self.engine.get(job_id, owner)
            if job is not None and not job.state.final:
                with contextlib.suppress(BadInput):  # forgotten in this very moment
                    self.engine.cancel(job_id, owner)
                    ended += 1
        return ended

    def retry(self, sweep_id: str, owner: str = LOCAL) -> int:
        """Lets the cells that failed or were cancelled wait again; how many these were.

        Raises:
            BadInput: If it is not a sweep of `owner`, or the queue is full.
        """
        tried = 0
        for job_id in self._own(sweep_id, owner).jobs:
            job = self.engine.get(job_id, owner)
            if job is not None and job.state in (JobState.FAILED, JobState.CANCELLED):
                self.engine.retry(job_id, owner)
                tried += 1
        return tried

    def forget(self, sweep_id: str, owner: str = LOCAL) -> None:
        """Removes a sweep with its jobs, but for pinned ones.

        Raises:
            BadInput: If it is not a sweep of `owner`, or one of its cells runs.
        """
        sweep = self._own(sweep_id, owner)
        jobs = [job for job_id in sweep.jobs if (job := self.engine.get(job_id, owner)) is not None]
        if any(job.state is JobState.RUNNING for job in jobs):
            raise BadInput("sweep", "is running; cancel it first")
        for job in jobs:
            if not job.pinned:
                self.engine.forget(job.id, owner)
        (self.folder / f"{sweep.id}.jsonl").unlink(missing_ok=True)

    def _own(self, sweep_id: str, owner: str) -> Sweep:
        sweep = self.get(sweep_id, owner)
        if sweep is None:
            raise BadInput("sweep", "there is no such sweep of yours")
        return sweep

    def _drop(self, job_id: str, owner: str) -> None:
        with contextlib.suppress(BadInput):
            self.engine.cancel(job_id, owner)
            self.engine.forget(job_id, owner)  # refused where it runs already: then it is left, cancelled

    def _cell(self, values: tuple[Any, ...], job_id: str, owner: str) -> Cell:
        job = self.engine.get(job_id, owner) if job_id else None
        if job is None:
            return Cell(values, GONE, message="is no longer kept" if job_id else "was never queued")
        if job.state is not JobState.DONE:
            self._cells.pop(job_id, None)
            return cell_of_job(values, job)
        known = self._cells.get(job_id)
        if known is None:
            known = self._cells[job_id] = cell_of_job(values, job)
            while len(self._cells) > _REMEMBERED:
                self._cells.popitem(last=False)
        return known


def cell_of_job(values: tuple[Any, ...], job: Job) -> Cell:
    """A cell from its job."""
    result = job.result
    if result is not None:
        return cell_of_result(values, result, job.id)
    if job.state is JobState.DONE:
        return Cell(values, GONE, message="is no longer kept", job=job.id)
    words = ""
    if job.error is not None:
        words = f"{job.error.field}: {job.error.message}" if job.error.field else job.error.message
    share = job.progress.fraction if job.progress is not None else 0.0
    return Cell(values, str(job.state), message=words, share=share, job=job.id)


def cell_of_result(values: tuple[Any, ...], result: Finished, job_id: str = "") -> Cell:
    """A cell from a finished run."""
    pictures = (item.name for item in result.artifacts if item.path.suffix.lower() in _PICTURES)
    return Cell(
        values,
        str(JobState.DONE),
        dict(result.metrics),
        result.nfe,
        result.seconds,
        share=1.0,
        job=job_id,
        picture=next(pictures, ""),
    )


def _header(sweep: Sweep) -> dict[str, Any]:
    return {
        "sweep": 1,
        "id": sweep.id,
        "owner": sweep.owner,
        "task": sweep.task_name,
        "fields": sweep.fields,
        "axes": [{"name": axis.name, "values": axis.values} for axis in sweep.axes],
        "created": sweep.created,
    }


def _append(stream: Any, line: Mapping[str, Any]) -> None:
    """Writes a line that a crash of this process does not take away again."""
    stream.write(json.dumps(line, ensure_ascii=False) + "\n")
    stream.flush()
    os.fsync(stream.fileno())


def _read(path: Path) -> Sweep | None:
    """The sweep in a file; None where it is no such file.  A line that was cut off by a crash is left out."""
    try:
        head, *rest = path.read_text("utf-8").splitlines()
        stored = json.loads(head)
        if stored["sweep"] != 1:
            return None
        jobs = []
        for line in rest:
            with contextlib.suppress(ValueError):
                jobs.append(str(json.loads(line)["job"]))
        return Sweep(
            id=path.stem,
            owner=stored["owner"],
            task_name=stored["task"],
            fields=stored["fields"],
            axes=tuple(Axis(axis["name"], tuple(axis["values"])) for axis in stored["axes"]),
            jobs=tuple(jobs),
            created=stored["created"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
