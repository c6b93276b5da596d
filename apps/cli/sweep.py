"""`launch.py sweep DOMAIN.TASK [--field value ...] --vary NAME=VALUES ... --out DIR`: a task over a grid."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from apps.cli.bar import duration, progress_bar
from apps.cli.flags import flag_lines, read_flags, task_flags
from apps.cli.run import build_request
from apps.cli.stopping import stop_on_terminate
from apps.engine.sweep_axes import Axis, check_axes, combinations, parameters, read_axis, with_values
from apps.engine.validation import make_request
from domains.common.errors import BadInput, Cancelled, MissingLibrary
from domains.common.task import Request, Task
from domains.registry import all_tasks, find_task

_OPTIONS = {
    "request": "value",
    "out": "value",
    "device": "value",
    "metric": "value",
    "best": "value",
    "progress": "switch",
    "no_progress": "switch",
}
_MOST_CELLS = 10_000
_HELP = """usage: python launch.py sweep {task} [--field value ...] --vary NAME=VALUES [--vary ...] --out DIR

{summary}

Runs the task once for each combination of the values of one to three fields, and writes DIR/sweep.csv (all cells),
DIR/sweep.png (a grid) and the results of each run under DIR/cells.

fields that can be varied:
  {varied}

values: 5,10,20 | 0..4 | 0..1:0.25 | "0..1 in 5" | names of choices with commas

fields:
{fields}

options:
  --vary NAME=VALUES    up to three: the first goes down the grid, the second across, the third from panel to panel
  --request FILE.json   fields as JSON, nested or flat; flags override them
  --out DIR             folder for the table, the picture and the results, made where absent
  --metric NAME         what the picture shows (default: the first metric that differs between cells)
  --best lowest|highest which end of the metric is best (default: by its name)
  --device cpu|cuda     where to compute (default: a GPU where there is one)
  --progress            show the progress bar though stderr is no terminal; --no-progress never shows it"""


def main(arguments: Sequence[str]) -> int:
    """Runs a sweep and says what failed; 1 where a cell did."""
    words = list(arguments)
    if not words or words[0] in ("-h", "--help"):
        print(
            "usage: python launch.py sweep DOMAIN.TASK [--field value ...] --vary NAME=VALUES ... --out DIR\n"
        )
        print("python launch.py sweep DOMAIN.TASK --help lists the fields of a task.")
        return 0 if words else _no_task()
    if words[0].startswith("-"):
        return _no_task()
    task = find_task(words.pop(0))
    flags = task_flags(task)
    if {"-h", "--help"} & set(words):
        varied = ", ".join(item.short for item in parameters(task).values())
        lines = "\n".join(flag_lines(flags))
        print(_HELP.format(task=task.name, summary=task.summary, varied=varied, fields=lines))
        return 0
    words, asked = _split_vary(words)
    given, options = read_flags(words, flags, _OPTIONS)
    axes = [_axis(task, item) for item in asked]
    check_axes(axes, _MOST_CELLS)
    for axis in axes:
        if axis.short in given:
            raise BadInput(axis.short, "is given and varied; keep one")
    if options.get("best", "lowest") not in ("lowest", "highest"):
        raise BadInput("best", "must be lowest or highest")
    if not options.get("out"):
        raise BadInput("out", "say where the results go: --out DIR")
    # The first values stand in for fields that are needed and varied, until each cell brings its own.
    first = {axis.short: axis.values[0] for axis in axes if "." not in axis.name}
    base = build_request(task, {**given, **first}, options.get("request")).model_dump(mode="python")
    requests = [make_request(task, with_values(base, axes, values)) for values in combinations(axes)]
    return _run(task, axes, requests, Path(options["out"]).expanduser(), options)


def _run(task: Task, axes: list[Axis], requests: list[Request], out: Path, options: Mapping[str, str]) -> int:
    from apps.engine.publish import check_destination
    from apps.engine.sweep_cells import best_cells, lowest_is_best, metric_names, write_table
    from apps.engine.sweep_picture import label, short_number, write_grid

    check_destination(out)
    if (out / "cells").exists() and any((out / "cells").iterdir()):
        raise BadInput("out", f"{out / 'cells'} holds results already; name another folder")
    cells = _cells(task, axes, requests, out, options)
    names = metric_names(cells)
    metric = options.get("metric") or next(iter(names), "seconds")
    write_table(out / "sweep.csv", axes, cells)
    print(f"{out / 'sweep.csv'}  table of {len(cells)} runs")
    failed = [cell for cell in cells if cell.state != "done"]
    if len(failed) < len(cells):
        if metric not in names:
            raise BadInput("metric", f"no run has a number of that name; there are {', '.join(names)}")
        lowest = options["best"] == "lowest" if "best" in options else lowest_is_best(metric)
        write_grid(out / "sweep.png", axes, cells, metric, lowest)
        print(f"{out / 'sweep.png'}  grid of {metric}")
        for place in sorted(best_cells(cells, metric, lowest)):
            value = short_number(cells[place].value(metric))
            print(f"best {metric} {value}: {_words(axes, cells[place].values, label)}")
    for cell in failed:
        print(f"failed: {_words(axes, cell.values, label)}: {cell.message}", file=sys.stderr)
    seconds = sum(cell.seconds or 0.0 for cell in cells)
    print(f"{len(cells) - len(failed)} of {len(cells)} runs done in {duration(seconds)}")
    return 1 if failed else 0


def _cells(
    task: Task, axes: list[Axis], requests: list[Request], out: Path, options: Mapping[str, str]
) -> list[Any]:
    from apps.engine.failure import describe_crash
    from apps.engine.progress import Progress, ProgressMeter
    from apps.engine.run import run_task
    from apps.engine.sweep import cell_of_result
    from apps.engine.sweep_cells import Cell

    wanted = True if "progress" in options else False if "no_progress" in options else None
    cells: list[Cell] = []
    digits = max(3, len(str(len(requests))))
    meter = ProgressMeter()
    with stop_on_terminate(), progress_bar(wanted) as show:
        for number, (values, request) in enumerate(zip(combinations(axes), requests, strict=True), 1):

            def told(moment: Progress, before: int = number - 1) -> None:
                show(
                    meter.update(
                        before + moment.fraction, len(requests), f"run {before + 1} of {len(requests)}"
                    )
                )

            folder = out / "cells" / f"{number:0{digits}d}"
            try:
                done = run_task(task, request, out=folder, on_progress=told, device=options.get("device"))
                cells.append(cell_of_result(values, done))
            except (Cancelled, MissingLibrary):
                raise
            except BadInput as error:
                cells.append(Cell(values, "failed", message=str(error)))
            except Exception as error:
                cells.append(Cell(values, "failed", message=describe_crash(error)))
            show(meter.update(number, len(requests), f"run {number} of {len(requests)}"))
    return cells


def _split_vary(words: list[str]) -> tuple[list[str], list[str]]:
    """The words without `--vary`, and what followed each `--vary`."""
    rest: list[str] = []
    asked: list[str] = []
    waiting = iter(words)
    for word in waiting:
        if word == "--vary":
            value = next(waiting, None)
            if value is None or value.startswith("--"):
                raise BadInput("vary", "needs a field and its values: --vary steps=5,10,20")
            asked.append(value)
        elif word.startswith("--vary="):
            asked.append(word.removeprefix("--vary="))
        else:
            rest.append(word)
    return rest, asked


def _axis(task: Task, text: str) -> Axis:
    name, equals, values = text.partition("=")
    if not equals:
        raise BadInput("vary", f"{name[:40]!r} has no values; write --vary {name[:40]}=VALUES")
    return read_axis(task, name.strip(), values)


def _words(axes: list[Axis], values: tuple[Any, ...], label: Any) -> str:
    return ", ".join(f"{axis.short} {label(value)}" for axis, value in zip(axes, values, strict=True))


def _no_task() -> int:
    raise BadInput("task", f"name one after sweep: {', '.join(all_tasks())}")
