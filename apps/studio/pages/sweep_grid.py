"""A sweep as HTML: its state in a line, and a table whose cells are coloured by how good they are."""

from __future__ import annotations

import base64
import io
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from apps.engine.sweep import Sweep
from apps.engine.sweep_axes import Axis
from apps.engine.sweep_cells import Cell, best_cells, heat, table
from apps.engine.sweep_picture import grid_shape, label, place_of
from apps.studio import answer
from domains.common.intake.text import write_csv
from domains.common.task import Task

_ENDED = ("done", "failed", "cancelled", "gone")
_WORDS = {
    "queued": "waiting",
    "paused": "paused",
    "cancelled": "cancelled",
    "failed": "failed",
    "gone": "gone",
}


def status(cells: Sequence[Cell], sweep_id: str) -> str:
    """One line on how far a sweep is, with its bar."""
    counts = Counter(cell.state for cell in cells)
    done, total = counts["done"], len(cells)
    share = sum(1.0 if cell.state in _ENDED else cell.share for cell in cells) / max(1, total)
    others = [f"{counts[state]} {_WORDS.get(state, state)}" for state in _order(counts) if state != "done"]
    words = " · ".join([f"{done} of {total} runs", *others])
    ended = all(cell.state in _ENDED for cell in cells)
    word = "Running" if not ended else "Done" if done == total else "Ended"
    bar = ""
    if not ended:
        bar = (
            '<div class="bar" role="progressbar" aria-label="share of the runs that is done" aria-valuemin="0" '
            f'aria-valuemax="100" aria-valuenow="{share * 100:.0f}"><i style="transform:scaleX({share:.3f})"></i></div>'
        )
    state = "running" if not ended else "done" if done else "failed"
    return (
        f'<div class="status" role="status" data-sweep="{escape(sweep_id)}" data-state="{state}" data-preview="yes">'
        f"<p><b>{word}</b> {escape(words)}</p>{bar}</div>"
    )


def _order(counts: Mapping[str, int]) -> list[str]:
    known = ["done", "running", "queued", "paused", "failed", "cancelled", "gone"]
    return [state for state in known if counts.get(state)]


def ended(cells: Sequence[Cell]) -> bool:
    """Whether no cell runs or waits any more."""
    return all(cell.state in _ENDED for cell in cells)


def grid(sweep: Sweep, cells: Sequence[Cell], metric: str, lowest: bool) -> str:
    """The tables, one for each value of the third parameter."""
    down, across, apart = grid_shape(sweep.axes)
    shares, best = heat(cells, metric, lowest), best_cells(cells, metric, lowest)
    panels = []
    for panel in range(len(apart.values) if apart else 1):
        title = f"{_name(apart)} {label(apart.values[panel])}" if apart else ""
        rows = []
        for row in range(len(down.values) if down else 1):
            head = f'<th scope="row">{escape(label(down.values[row]))}</th>' if down else ""
            places = [place_of(sweep.axes, row, column, panel) for column in range(len(across.values))]
            inside = "".join(_cell(sweep, cells[at], shares[at], at in best, metric) for at in places)
            rows.append(f"<tr>{head}{inside}</tr>")
        heads = "".join(f'<th scope="col">{escape(label(value))}</th>' for value in across.values)
        corner = ""
        if down:
            corner = f'<td class="corner"><span>{escape(_name(down))}</span></td>'
        over = f'<th class="axis" colspan="{len(across.values)}">{escape(_name(across))}</th>'
        over = f"<td></td>{over}" if down else over
        caption = f"<caption>{escape(title)}</caption>" if title else ""
        panels.append(
            f'<table class="sweep-table">{caption}<thead><tr>{over}</tr><tr>{corner}{heads}</tr></thead>'
            f"<tbody>{''.join(rows)}</tbody></table>"
        )
    word = "lowest" if lowest else "highest"
    inside = "".join(
        f'<div class="sweep-panel" tabindex="0" role="group" aria-label="grid">{panel}</div>'
        for panel in panels
    )
    ramp = '<span class="ramp" aria-hidden="true"></span>'
    key = f'<p class="sweep-key">{ramp}{escape(metric)}; the {word} is framed</p>' if metric else ""
    return f'<div class="sweep-grid">{inside}</div>{key}'


def _name(axis: Axis) -> str:
    return answer.field_words(axis.name)


def _cell(sweep: Sweep, cell: Cell, share: float | None, best: bool, metric: str) -> str:
    value = cell.value(metric)
    where = ", ".join(f"{axis.short} {label(v)}" for axis, v in zip(sweep.axes, cell.values, strict=True))
    words = answer.number(value) if value is not None else _WORDS.get(cell.state, "–")
    if cell.state == "running":
        words = f"{cell.share * 100:.0f} %"
    said = f"{where}: {metric} {words}" if value is not None else f"{where}: {words}"
    said += ", the best" if best else ""
    title = f"{said}. {cell.message}" if cell.message else said
    picture = ""
    if cell.picture:
        source = f"results/{quote(cell.job)}/{quote(cell.picture)}"
        picture = f'<img src="{source}" alt="" loading="lazy" decoding="async">'
    style = f' style="--share:{share * 100:.0f}"' if share is not None else ""
    inside = f"{picture}<b>{escape(words)}</b>"
    if cell.job:
        domain, _, task = sweep.task_name.partition(".")
        address = f"?tab={quote(domain)}&amp;task={quote(task)}&amp;job={quote(cell.job)}"
        named = f'title="{escape(title)}" aria-label="{escape(title)}"'
        inside = f'<a href="{address}" data-open="{cell.job}" {named}>{inside}</a>'
    else:
        inside = f'<span title="{escape(title)}">{inside}</span>'
    marks = f' class="{cell.state}{" best" if best else ""}{"" if share is None else " valued"}"'
    return f"<td{marks}{style}>{inside}</td>"


def faults(sweep: Sweep, cells: Sequence[Cell]) -> str:
    """What went wrong, each sentence once with the number of its cells."""
    said = Counter(cell.message for cell in cells if cell.state == "failed")
    lines = "".join(
        f"<li>{escape(message)}{f' ({count} runs)' if count > 1 else ''}</li>"
        for message, count in said.items()
    )
    return f'<section><h3>Failed</h3><ul class="notes sweep-faults">{lines}</ul></section>' if lines else ""


def downloads(sweep: Sweep, cells: Sequence[Cell], task: Task | None) -> str:
    """The table of all cells as a CSV file, and the command that makes the same sweep."""
    if not any(cell.state == "done" for cell in cells):
        return ""
    stream = io.StringIO()
    header, rows = table(sweep.axes, cells)
    write_csv(stream, header, rows)
    data = base64.b64encode(stream.getvalue().encode("utf-8")).decode("ascii")
    line = command(sweep, task) if task is not None else ""
    copy = (
        f'<button type="button" class="plain" data-copy="{escape(line)}">Copy command</button>'
        if line
        else ""
    )
    return (
        f'<p class="actions"><a class="plain" download="sweep.csv" href="data:text/csv;charset=utf-8;base64,{data}">'
        f"Download CSV</a>{copy}</p>"
    )


def command(sweep: Sweep, task: Task) -> str:
    """The command line of a sweep; files are named as they were, and lie where the person has them."""
    import shlex
    from pathlib import PurePath

    def portable(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: portable(item) for name, item in value.items()}
        return PurePath(value).name if isinstance(value, str) and value.startswith("/") else value

    fields = portable(dict(sweep.fields))
    for axis in sweep.axes:
        place = fields
        *parents, leaf = axis.name.split(".")
        for parent in parents:
            place = place.get(parent, {})
        place.pop(leaf, None)
    line = (
        answer.command(task, fields)
        .replace("launch.py run ", "launch.py sweep ")
        .removesuffix(" --out results")
    )
    vary = " ".join(
        "--vary " + shlex.quote(f"{axis.short}=" + ",".join(_written(value) for value in axis.values))
        for axis in sweep.axes
    )
    return f"{line} {vary} --out results"


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def recent(sweeps: Sequence[tuple[Sweep, str]]) -> str:
    """Links to a person's latest sweeps, each with its task's title."""
    rows = "".join(
        f'<li><a href="?tab=sweep&amp;sweep={sweep.id}"><b>{escape(title)}</b>'
        f"<span>{escape(' × '.join(f'{_name(axis)} ({len(axis.values)})' for axis in sweep.axes))}</span>"
        f"<small>{time.strftime('%Y-%m-%d %H:%M', time.localtime(sweep.created))}</small></a></li>"
        for sweep, title in sweeps
    )
    return f'<h3>Your sweeps</h3><ul class="sweep-recent">{rows}</ul>' if rows else ""
