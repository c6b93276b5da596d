"""`launch.py run DOMAIN.TASK [--field value ...] [--request FILE.json] --out DIR`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from apps.cli.bar import duration, progress_bar
from apps.cli.flags import flag_lines, read_flags, task_flags
from apps.cli.stopping import stop_on_terminate
from apps.engine.validation import nested, validated
from domains.common.errors import BadInput
from domains.common.files import human_size, read_bounded
from domains.common.task import Request, Task
from domains.registry import all_tasks, find_task

_OPTIONS = {
    "request": "value",
    "out": "value",
    "device": "value",
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
        print(_HELP.format(task=task.name, summary=task.summary, fields="\n".join(flag_lines(flags))))
        return 0
    fields, options = read_flags(words, flags, _OPTIONS)
    request = build_request(task, fields, options.get("request"))
    if not options.get("out"):
        raise BadInput("out", "say where the results go: --out DIR")
    out = Path(options["out"]).expanduser()
    from apps.engine.publish import check_destination
    from apps.engine.run import run_task

    check_destination(out)
    wanted = True if "progress" in options else False if "no_progress" in options else None
    with stop_on_terminate(), progress_bar(wanted) as show:
        finished = run_task(task, request, out=out, on_progress=show, device=options.get("device"))
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
