"""Two results side by side: pictures under one slider, plots on the same axes, numbers and settings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from apps.engine.jobs import Job
from apps.engine.run import Finished, FinishedArtifact
from apps.studio.answer import field_words, number
from apps.studio.pages.gallery import address, link, title_of, when
from apps.studio.pages.stacked import stacked
from apps.studio.viewers import VIEWERS, viewer_for
from domains.common.errors import BadInput


def comparison(first: Job, second: Job) -> str:
    """Both results as HTML.

    Raises:
        BadInput: If one of them has no result any more.
    """
    one, other = _result(first), _result(second)
    parts = [
        '<section class="comparison" aria-label="Comparison" tabindex="-1"><div class="page-head"><h2>Comparison</h2>'
        '<button type="button" class="plain" data-close-comparison>Close</button></div>',
        f'<p class="legend"><b>A</b> {_name(first)} <b>B</b> {_name(second)}</p>',
        *_pictures(first, one, second, other),
        _table("Numbers", "number", _metric_rows(one, other)),
        _table("Settings that differ", "setting", _setting_rows(first, second)),
        "</section>",
    ]
    return "".join(parts)


def joint_plot(first: Job, second: Job) -> dict[str, Any]:
    """The plots of both, one below the other on the same axes.

    Raises:
        BadInput: If one of them has none.
    """
    figures = []
    for job in (first, second):
        plot = _plot(_result(job))
        if plot is None:
            raise BadInput("job", "has no plot")
        figures.append(json.loads(plot.path.read_text("utf-8")))
    return stacked(figures[0], figures[1], ("A", "B"))


def _result(job: Job) -> Finished:
    if job.result is None:
        raise BadInput("job", "has no result any more")
    return job.result


def _name(job: Job) -> str:
    seed = job.fields.get("sampling", {}).get("seed", 0)
    opens = f'<a href="{escape(link(job))}" data-open="{job.id}">{escape(title_of(job))}</a>'
    return f"{opens} {when(job.created)}, seed {seed}"


def _plot(result: Finished) -> FinishedArtifact | None:
    return next((item for item in result.artifacts if item.kind == "plot"), None)


def _pictures(first: Job, one: Finished, second: Job, other: Finished) -> Iterator[str]:
    """What can be seen of both: files of one name whose viewer compares, and the plots."""
    plots = _plot(one), _plot(other)
    if plots[0] is not None and plots[1] is not None:
        viewer = VIEWERS["plot"]
        yield viewer.html(
            f"pages/compare/{first.id}/{second.id}/plot.json", "A above, B below, on the same axes"
        )
    theirs = {item.name: item for item in other.artifacts}
    plotted = None not in plots
    for item in one.artifacts:
        twin = theirs.get(item.name)
        viewer_a = viewer_for(item) if item.kind != "plot" else None
        if twin is None or viewer_a is None or viewer_for(twin) is not viewer_a:
            continue
        if plotted and viewer_a.name == "image":
            continue  # a picture of what the plots above show
        title = item.title or item.name
        if viewer_a.compares:
            beside = (address(second, twin.name), f"B: {title}")
            yield viewer_a.html(address(first, item.name), f"A: {title}", beside=beside)
        else:
            yield (
                f'<div class="two">{viewer_a.html(address(first, item.name), f"A: {title}")}'
                f"{viewer_a.html(address(second, twin.name), f'B: {title}')}</div>"
            )


def _metric_rows(one: Finished, other: Finished) -> Iterator[tuple[str, str, str, str]]:
    one_and_all = {**one.metrics, "seconds": one.seconds}
    other_and_all = {**other.metrics, "seconds": other.seconds}
    for name in dict.fromkeys([*one_and_all, *other_and_all]):
        a, b = one_and_all.get(name), other_and_all.get(name)
        yield field_words(name), _said(a), _said(b), _difference(a, b)


def _said(value: Any) -> str:
    return (
        "" if value is None else number(value) if isinstance(value, int | float | str) else json.dumps(value)
    )


def _difference(a: Any, b: Any) -> str:
    """`+0.12 (+3 %)`, the second less the first; empty where they are no two numbers."""
    if any(isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v) for v in (a, b)):
        return ""
    apart = b - a
    if apart == 0:
        return "equal"
    percent = 100 * apart / abs(a) if a else math.inf
    share = f" ({percent:+.{0 if abs(percent) >= 10 else 1}f}\u202f%)" if abs(percent) < 1000 else ""
    sign = "+" if apart > 0 else "\u2212"
    return f"{sign}{number(abs(apart))}{share}"


def _setting_rows(first: Job, second: Job) -> Iterator[tuple[str, str, str, str]]:
    one, other = dict(_flat(first)), dict(_flat(second))
    if first.task_name != second.task_name:
        yield "Task", title_of(first), title_of(second), ""
    for name in dict.fromkeys([*one, *other]):
        if one.get(name) != other.get(name):
            a, b = one.get(name), other.get(name)
            yield field_words(name), _said(a), _said(b), _difference(a, b)


def _flat(job: Job) -> Iterator[tuple[str, Any]]:
    """The settings by dotted name; of input files their content's beginning, for their place says nothing."""
    inputs = _result(job).recipe.inputs
    request = _result(job).recipe.request

    def walk(part: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in part.items():
            if isinstance(value, Mapping):
                yield from walk(value, f"{prefix}{name}.")
            elif f"{prefix}{name}" in inputs:
                wanted = inputs[f"{prefix}{name}"]
                yield f"{prefix}{name}", f"{wanted.name} ({wanted.sha256[:8]})"
            else:
                yield f"{prefix}{name}", value

    yield from walk(request, "")


def _table(title: str, what: str, rows: Iterator[tuple[str, str, str, str]]) -> str:
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in rows
    )
    if not body:
        return f'<p class="quiet">No {what} differs.</p>'
    head = "".join(f'<th scope="col">{words}</th>' for words in (what.capitalize(), "A", "B", "B less A"))
    return (
        f'<div class="scrolls" tabindex="0" role="region" aria-label="{escape(title)}"><h3>{escape(title)}</h3>'
        f'<table class="metrics"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
