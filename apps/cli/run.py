"""`launch.py run DOMAIN.TASK [--field value ...] [--request FILE.json] --out DIR`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from apps.cli.bar import duration, progress_bar
from apps.cli.flags import flag_lines, read_flags, task_flags
from apps.cli.stopping import stop_on_terminate
from apps.engine.validation import nested, validated
from domains.common.errors import BadInput, Cancelled
from domains.common.files import human_size, read_bounded
from domains.common.task import Request, Task
from domains.registry import all_tasks, find_task

_OPTIONS = {
    "request": "value",
    "out": "value",
    "device": "value",
    "count": "value",
    "engine": "value",
    "threads": "value",
    "gpus": "value",
    "progress": "switch",
    "no_progress": "switch",
}
_REQUEST_LIMIT = 8 << 20  # bytes of a request file
_HELP = """usage: python launch.py run {task} [--field value ...] [--request FILE.json] --out DIR

{summary}

fields:
{fields}

options:
  --request FILE.json   fields as JSON, nested or flat; flags override them
  --out DIR             folder for the artifacts and result.json, made where absent
  --device cpu|cuda     where to compute (default: a GPU where there is one)
  --count N             so many results, each of a seed of its own, in DIR/000000, DIR/000001, ...
  --engine local|ray    where results are made; ray: on a cluster (RAY_ADDRESS), else on all cores of this machine
  --threads N           numerical threads a result (default: those of this machine)
  --gpus X              with --engine ray, GPUs a result; may be a part of one (default: 0)
  --progress            show the progress bar though stderr is no terminal; --no-progress never shows it"""


def main(arguments: Sequence[str]) -> int:
    """Runs a task and lists what it made."""
    words = list(arguments)
    if not words or words[0] in ("-h", "--help"):
        print(
            "usage: python launch.py run DOMAIN.TASK [--field value ...] [--request FILE.json] --out DIR\n"
            "\ntasks:"
        )
        for known in all_tasks().values():
            print(f"  {known.name}: {known.summary}")
        print("\npython launch.py run DOMAIN.TASK --help lists the fields of a task.")
        return 0 if words else _no_task()
    if words[0].startswith("-"):
        return _no_task()
    task = find_task(words.pop(0))
    flags = task_flags(task)
    if {"-h", "--help"} & set(words):
        shown = "\n".join(
            line for line in _HELP.splitlines() if "count" not in flags or "--count" not in line
        )
        print(shown.format(task=task.name, summary=task.summary, fields="\n".join(flag_lines(flags))))
        return 0
    # A task that makes several results in one run has a field for it, which `--count` then is.
    taken = {name: kind for name, kind in _OPTIONS.items() if name != "count" or name not in flags}
    fields, options = read_flags(words, flags, taken)
    request = build_request(task, fields, options.get("request"))
    if not options.get("out"):
        raise BadInput("out", "say where the results go: --out DIR")
    out = Path(options["out"]).expanduser()
    from apps.engine.publish import check_destination
    from apps.engine.run import run_task

    check_destination(out)
    threads = _whole("threads", options["threads"]) if "threads" in options else None
    if "count" in options or "engine" in options:
        return run_several(task, request, out, options, threads)
    if "gpus" in options:
        raise BadInput("gpus", "is for --engine ray; --device cuda takes this machine's own")
    with stop_on_terminate(), progress_bar(bar_wanted(options)) as show:
        finished = run_task(
            task, request, out=out, on_progress=show, device=options.get("device"), threads=threads
        )
    for artifact in finished.artifacts:
        size = human_size(artifact.path.stat().st_size)
        print(
            f"{out / artifact.name}  {artifact.kind}, {size}{', ' + artifact.title if artifact.title else ''}"
        )
    print(f"{out / 'result.json'}  recipe and metrics")
    for name, value in finished.metrics.items():
        print(f"{name}: {value:.6g}" if isinstance(value, float) else f"{name}: {value}")
    for note in finished.notes:
        print(f"note: {note}")
    print(f"{duration(finished.seconds)}, {finished.nfe} denoiser evaluations per sample")
    return 0


def bar_wanted(options: Mapping[str, str]) -> bool | None:
    """Whether a progress bar was asked for; None where nothing was said."""
    return True if "progress" in options else False if "no_progress" in options else None


def _whole(name: str, value: str, most: int = 1024) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 8 and 1 <= int(value) <= most):
        raise BadInput(name, f"must be a whole number from 1 to {most}, not {value[:20]!r}")
    return int(value)


def run_several(
    task: Task, request: Request, out: Path, options: Mapping[str, str], threads: int | None
) -> int:
    """`--count`: results that are there already stay, so that a run that was interrupted goes on."""
    from apps.engine.many import MOST, Many, counted, run_here

    engine = options.get("engine", "local")
    if engine not in ("local", "ray"):
        raise BadInput("engine", f"must be local or ray, not {engine[:20]!r}")
    many = Many(task, request, _whole("count", options.get("count", "1"), MOST), out)
    todo = many.todo()
    before = many.count - len(todo)
    made = 0
    if engine == "ray":
        if "device" in options:
            raise BadInput("device", "is chosen by --gpus on Ray; leave it out")
        from apps.engine import ray_run

        ray_run.connect()
        done = ray_run.run_on_ray(many, todo, threads, _gpus(options))
    else:
        if "gpus" in options:
            raise BadInput("gpus", "is for --engine ray; --device cuda takes this machine's own")
        done = run_here(many, todo, device=options.get("device"), threads=threads)
    try:
        with stop_on_terminate(), progress_bar(bar_wanted(options)) as show:
            made = counted(done, before, many.count, show)
    except (KeyboardInterrupt, Cancelled):
        there = many.count - len(many.todo())
        print(
            f"cancelled: {there} of {many.count} results are in {out}; the same command goes on",
            file=sys.stderr,
        )
        return 130
    result = many.summary()
    was = f", {before} of them were there already" if before else ""
    print(f"{out}  {many.count} results{was}; {made} made")
    print(f"{out / 'result.json'}  all artifacts, their hashes and the results' seeds")
    for name, value in result["metrics"].items():
        print(f"mean {name}: {value:.6g}")
    return 0


def _gpus(options: Mapping[str, str]) -> float:
    try:
        gpus = float(options.get("gpus", "0"))
    except ValueError:
        gpus = -1.0
    if not 0 <= gpus <= 64:
        raise BadInput("gpus", "must be a number from 0 to 64")
    return gpus


def build_request(task: Task, fields: Mapping[str, Any], request_file: str | None) -> Request:
    """A request from a JSON file, if any, and from flags, which override it.

    Raises:
        BadInput: Naming the field at fault.
    """
    merged = nested(task, _stored_fields(Path(request_file)) if request_file is not None else {})
    for name, value in fields.items():
        if name in task.request.model_fields:
            merged[name] = value
        else:
            merged["sampling"][name] = value
    return validated(task.request, merged)


def _stored_fields(path: Path) -> dict[str, Any]:
    data = read_bounded(path.expanduser(), _REQUEST_LIMIT, "request")
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise BadInput(
            "request", f"{path.name} is not valid JSON{where}; write an object of fields"
        ) from None
    if not isinstance(fields, dict):
        raise BadInput("request", f"{path.name} must hold a JSON object of fields")
    return fields


def _no_task() -> int:
    raise BadInput("task", f"name one after run: {', '.join(all_tasks())}")
