"""Many results of one request, each in a folder of its own with a recipe of its own; what is done is not done again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from threading import Event
from typing import Any

from apps.engine.progress import Progress
from apps.engine.recipe import describe_file, input_files, model_of, portable_request
from apps.engine.run import RESULT, Finished, OnProgress, run_task
from core.files import atomic_write_text
from domains.common.errors import BadInput
from domains.common.several import result_request
from domains.common.task import Request, Task

MOST = 1_000_000


@dataclass(frozen=True)
class Many:
    """`count` results of one request in `out`.

    Attributes:
        task: What makes them.
        request: The request; result `i` is `result_request(request, i)`.
        count: How many.
        out: Folder of the folders `000000`, `000001`, ...

    Raises:
        BadInput: If `count` is not from 1 to a million.
    """

    task: Task
    request: Request
    count: int
    out: Path

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MOST:
            raise BadInput("count", f"must be a whole number from 1 to {MOST}")

    def folder(self, index: int) -> Path:
        """Where result `index` lies."""
        return self.out / f"{index:06d}"

    def request_of(self, index: int) -> Request:
        """The request that makes result `index` alone."""
        return result_request(self.request, index)

    @cached_property
    def model(self) -> Any:
        """The model that makes them, or None."""
        return model_of(self.task, self.request)

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """Field -> name, hash and size of each file of the request."""
        return {name: describe_file(path) for name, path in input_files(self.request).items()}

    def todo(self) -> list[int]:
        """The results that are not there yet; those that are were made by the same request, inputs and model."""
        return [index for index in range(self.count) if self.done(index) is None]

    def done(self, index: int) -> Finished | None:
        """Result `index` where it lies complete in its folder."""
        try:
            found = Finished.load(self.folder(index))
        except (OSError, ValueError, KeyError):
            return None
        recipe = found.recipe
        used = recipe.model.sha256 if recipe.model is not None else None
        same = (
            recipe.task == self.task.name
            and recipe.request == portable_request(self.request_of(index), self.model)
            and recipe.inputs == self.inputs
            and used == (self.model.sha256() if self.model is not None else None)
        )
        return found if same and all(item.path.is_file() for item in found.artifacts) else None

    def summary(self) -> dict[str, Any]:
        """Writes `result.json` of all results together, and returns what it holds.

        Metrics are means over the results; the recipe is that of result 0, with `count` beside it.

        Raises:
            BadInput: If a result is missing.
        """
        found = [self.done(index) for index in range(self.count)]
        whole = [item for item in found if item is not None]
        if len(whole) < self.count:
            raise BadInput("out", f"{self.count - len(whole)} results are missing or were changed; run again")
        numbers: dict[str, list[float]] = {}
        for item in whole:
            for name, value in item.as_json()["metrics"].items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    numbers.setdefault(name, []).append(float(value))
        result = {
            "task": self.task.name,
            "artifacts": [
                {"path": f"{item.directory.name}/{a.name}", "kind": a.kind, "sha256": a.sha256}
                for item in whole
                for a in item.artifacts
            ],
            "metrics": {name: fmean(values) for name, values in numbers.items()},
            "recipe": whole[0].recipe.as_json(),
            "nfe": max(item.nfe for item in whole),
            "seconds": round(sum(item.seconds for item in whole), 3),
            "count": self.count,
            "seeds": {item.directory.name: item.recipe.request["sampling"]["seed"] for item in whole},
        }
        text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
        atomic_write_text(self.out / RESULT, text + "\n")
        return result


def run_here(
    many: Many,
    todo: list[int],
    on_progress: OnProgress | None = None,
    cancel: Event | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Iterator[int]:
    """Makes results one after another in this process; yields the index of each that is done.

    Args:
        many: The results.
        todo: Which of them.
        on_progress: Told how far each is.
        cancel: Setting it stops at the next step; what is done stays.
        device: As for `run_task`.
        threads: As for `run_task`.
    """
    for index in todo:
        run_task(
            many.task,
            many.request_of(index),
            out=many.folder(index),
            on_progress=on_progress,
            cancel=cancel,
            device=device,
            threads=threads,
        )
        yield index


def counted(done: Iterator[int], before: int, count: int, show: Callable[[Progress], None] | None) -> int:
    """Follows results to the last; how many were made.

    Args:
        done: Yields as each is done.
        before: How many were there already.
        count: How many there will be.
        show: Told how far it is.
    """
    from apps.engine.progress import ProgressMeter

    meter, made = ProgressMeter(), 0
    for _ in done:
        made += 1
        if show is not None:
            show(meter.update(before + made, count, "results"))
    return made
