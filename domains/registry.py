"""Every task of every domain; importing a domain's `tasks` module declares them."""

from __future__ import annotations

import importlib

from domains.common.errors import BadInput
from domains.common.task import TASKS, Task

DOMAINS = ("series", "molecule", "lab")

# Model -> `module:function` that trains it: train(data, settings, resume, device, out, progress).
TRAINABLE = {
    "series-base": "domains.series.train:train",
    "scenes-scorer": "domains.image.scenes.scorer_training:train",
    "scenes": "domains.image.train:train",
    "scenes-control": "domains.image.train_control:train",
    "emoji": "domains.image.train:train_emoji",
    "qm9-joint": "domains.molecule.joint_training:train_qm9",
    "druglike-graph": "domains.molecule.joint_training:train_druglike",
}


def all_tasks() -> dict[str, Task]:
    """Name -> task, for all domains, in the order of declaration."""
    for domain in DOMAINS:
        importlib.import_module(f"domains.{domain}.tasks")
    return dict(TASKS)


def find_task(name: str) -> Task:
    """The task called `name`.

    Raises:
        BadInput: If there is none; the message lists the ones there are.
    """
    tasks = all_tasks()
    if name not in tasks:
        raise BadInput("task", f"no task {name[:60]!r}; choose one of {', '.join(tasks)}")
    return tasks[name]
