"""Finished examples that the pages show before anybody has asked for anything; real results, stored small.

    python -m apps.studio.gallery

runs the first example of every task with the models as they are installed, stores figure and numbers under
`static/examples`, and records the films of the home page.  Run it again when a model changes: a test compares the
model's hash with the one stored here.
"""

from __future__ import annotations

import importlib
import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from apps.engine.environment import missing_libraries
from apps.engine.run import run_task
from apps.engine.validation import make_request
from apps.studio import film
from apps.studio.estimate import Size
from domains.common.errors import BadInput
from domains.common.task import Task
from domains.registry import all_tasks

STORE = Path(__file__).parent / "static" / "examples"
_DIGITS = 5  # significant ones; a screen shows fewer


@dataclass(frozen=True)
class StoredExample:
    """A finished example.

    Attributes:
        label: Its name, as on its button.
        figure: Plotly figure as a plain dict.
        metrics: As the task gave them.
        notes: As the task gave them.
        seconds: How long it took where it was made, on a machine with nothing else to do.
        size: How large its request is.
        model_sha256: Weights it was made with; None where the task uses no model.
    """

    label: str
    figure: dict[str, Any]
    metrics: dict[str, Any]
    notes: list[str]
    seconds: float
    size: Size
    model_sha256: str | None = None


def stored_example(task: Task) -> StoredExample | None:
    """The finished example of a task; None where none is stored."""
    path = STORE / f"{task.name}.json"
    if not path.is_file():
        return None
    stored = json.loads(path.read_text("utf-8"))
    return StoredExample(**{**stored, "size": Size(**stored["size"])})


def make_example(task: Task) -> StoredExample:
    """Runs the first example of a task.

    Raises:
        BadInput: If the task has no example, or its result no plot.
    """
    if not task.examples:
        raise BadInput("task", f"{task.name} declares no example")
    label, fields = next(iter(task.examples.items()))
    request = make_request(task, fields())
    with tempfile.TemporaryDirectory() as folder:
        for library in task.libraries:  # the app has them warm
            importlib.import_module(library)
        began = time.process_time()
        finished = run_task(task, request, out=Path(folder))
        processor = time.process_time() - began
        plot = next((item.path for item in finished.artifacts if item.kind == "plot"), None)
        if plot is None:
            raise BadInput("task", f"{task.name} makes no plot to show")
        figure = json.loads(plot.read_text("utf-8"))
    return StoredExample(
        label=label,
        figure=_rounded(figure),
        metrics=finished.as_json()["metrics"],
        notes=finished.notes,
        seconds=round(min(finished.seconds, processor), 2),  # a busy machine stretches the former
        size=Size.of(request),
        model_sha256=finished.recipe.model.sha256 if finished.recipe.model else None,
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value


def main(show: Callable[[str], None] = print) -> None:
    """Makes and stores the examples of all tasks whose libraries are installed, and the films."""
    STORE.mkdir(parents=True, exist_ok=True)
    for task in all_tasks().values():
        if missing_libraries(task) or not task.examples:
            continue
        path = STORE / f"{task.name}.json"
        path.write_text(json.dumps(asdict(make_example(task)), separators=(",", ":")), "utf-8")
        show(f"{path.name}: {path.stat().st_size / 1024:.0f} KB")
    for domain in film.RECORDERS:
        path = film.store_film(domain)
        show(f"film {path.name}: {path.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
