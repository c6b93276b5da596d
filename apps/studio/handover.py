"""Which results one task may hand to another: those whose file a field of the other takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from apps.engine.run import Finished
from apps.studio.forms import form_fields
from domains.common.task import Task


@dataclass(frozen=True)
class Handover:
    """A result on its way to another task.

    Attributes:
        artifact: Name of the artifact.
        task: Name of the task that takes it.
        field: Field of its request.
        title: The task, in words.
    """

    artifact: str
    task: str
    field: str
    title: str


def handovers(finished: Finished, tasks: Iterable[Task]) -> list[Handover]:
    """What of a result the tasks take, an entry for each artifact and task; their own task is none of them.

    A field says by its file endings what it takes; JSON says nothing of what it means, so it is handed to nobody.
    """
    found = []
    for task in tasks:
        if task.name == finished.task:
            continue
        takers = [field for field in form_fields(task.request) if field.kind in ("file", "files")]
        for item in finished.artifacts:
            ending = item.path.suffix.lower()
            taker = next((field for field in takers if ending in field.suffixes), None)
            if taker is not None and ending != ".json":
                found.append(Handover(item.name, task.name, taker.name, task.title))
    return found
