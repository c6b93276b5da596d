"""`launch.py tasks [--json]`: every task with its request schema."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from apps.cli.flags import flag_lines, task_flags
from apps.cli.parser import Parser
from apps.engine.environment import install_command, missing_libraries
from domains.common.task import Task
from domains.registry import all_tasks


def main(arguments: Sequence[str]) -> int:
    """Prints the tasks."""
    parser = Parser("tasks", "Lists every task with its fields.")
    parser.add_argument(
        "--json", action="store_true", help="print JSON, each task with the schema of its request"
    )
    chosen = parser.read(arguments)
    tasks = all_tasks().values()
    if chosen.json:
        print(json.dumps([_as_json(task) for task in tasks], indent=2, ensure_ascii=False))
        return 0
    for task in tasks:
        missing = missing_libraries(task)
        print(f"{task.name}: {task.title}. {task.summary}")
        if missing:
            print(f"  needs {', '.join(missing)}; install with: {install_command(task.extra)}")
        print("\n".join(flag_lines(task_flags(task))), end="\n\n")
    return 0


def _as_json(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "domain": task.domain,
        "title": task.title,
        "summary": task.summary,
        "model": task.model,
        "extra": task.extra,
        "missing": missing_libraries(task),
        "examples": list(task.examples),
        "request": task.request.model_json_schema(),
    }
