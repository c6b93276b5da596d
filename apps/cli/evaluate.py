"""`launch.py eval DOMAIN.TASK [--data PATH] [--json] [--model NAME] [--quick] [--out DIR]`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from apps.cli.bar import plain_progress
from apps.cli.parser import Parser
from apps.cli.stopping import stop_on_terminate
from domains.common.errors import BadInput
from domains.registry import find_task


def main(arguments: Sequence[str]) -> int:
    """Prints a task's metrics table with its baselines."""
    parser = Parser("eval", "Prints the metrics of a task's model beside its baselines.")
    parser.add_argument("task", metavar="DOMAIN.TASK")
    parser.add_argument("--data", type=Path, help="your data; without it, the task's reference sets")
    parser.add_argument("--model", help="built-in model or a folder made by train (default: the task's own)")
    parser.add_argument("--quick", action="store_true", help="a smaller evaluation, for a first look")
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    parser.add_argument("--out", type=Path, help="also write the table into this folder")
    parser.add_argument(
        "--progress", action="store_true", default=None, help="show the bar though no terminal"
    )
    chosen = parser.read(arguments)
    task = find_task(chosen.task)
    if task.evaluate is None:
        raise BadInput("task", f"{task.name} has no evaluation")
    if chosen.data is not None and not chosen.data.exists():
        raise BadInput("data", "no such file or folder; give an existing one")
    from apps.engine.environment import require_libraries
    from apps.engine.publish import check_destination

    if chosen.out is not None:
        check_destination(chosen.out)
    require_libraries(task)
    module, _, function = task.evaluate.partition(":")
    evaluate = getattr(importlib.import_module(module), function)
    with stop_on_terminate(), plain_progress(chosen.progress) as told:
        table = evaluate(chosen.data, model=chosen.model, quick=chosen.quick, progress=told)
    print(table.to_json() if chosen.json else table.to_markdown())
    if chosen.out is not None:
        table.write(chosen.out)
    return 0
