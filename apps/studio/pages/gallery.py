"""The Gallery: all results of a person, newest first, to find, compare, keep, take along and throw away."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from apps.engine.jobs import Engine, Job, JobState
from apps.engine.run import FinishedArtifact
from apps.studio.answer import number
from domains.common.errors import BadInput
from domains.common.files import human_size
from domains.common.task import Task

A_PAGE = 24  # results
_LOOKED_THROUGH = 2000  # jobs that one search looks at before it answers with what it has
_PICTURES = (".png", ".webp", ".jpg", ".jpeg", ".gif")
_SHOWN_METRICS = 3


@dataclass(frozen=True)
class Sought:
    """What a person looks for; empty fields say nothing.

    Attributes:
        domain: A domain.
        task: `domain.verb`.
        model: A model's name.
        text: Words that have to occur in the task, its settings, its input files' names or its notes.
        pinned: Pinned results alone.
    """

    domain: str = ""
    task: str = ""
    model: str = ""
    text: str = ""
    pinned: bool = False


@dataclass(frozen=True)
class Found:
    """One page of results.

    Attributes:
        jobs: Newest first.
        before: Id of the job at which the next page begins; empty at the end.
    """

    jobs: list[Job]
    before: str


def find(engine: Engine, owner: str, tasks: Sequence[Task], sought: Sought, before: str = "") -> Found:
    """A page of the owner's results that fit.

    Args:
        engine: Whose jobs.
        owner: Whose results.
        tasks: The tasks there are.
        sought: What they have to fit.
        before: Id of the last job of the page before.
    """
    names = [
        task.name for task in tasks if sought.domain in ("", task.domain) and sought.task in ("", task.name)
    ]
    all_of_them = names if sought.domain or sought.task else None
    known = {task.name: task for task in tasks}
    last = engine.get(before, owner) if before else None
    if before and last is None:  # it has been deleted meanwhile; there is no way to go on from it
        return Found([], "")
    fitting: list[Job] = []
    looked = 0
    while looked < _LOOKED_THROUGH:
        some = engine.history(
            owner,
            states=[JobState.DONE],
            tasks=all_of_them,
            pinned=sought.pinned,
            before=last,
            limit=A_PAGE + 1,
        )
        for job in some:
            if len(fitting) == A_PAGE:
                return Found(fitting, last.id if last else "")
            looked, last = looked + 1, job
            if fits(job, known.get(job.task_name), sought):
                fitting.append(job)
        if len(some) <= A_PAGE:
            return Found(fitting, "")
    return Found(fitting, last.id if last else "")


def fits(job: Job, task: Task | None, sought: Sought) -> bool:
    """Whether a job is what somebody looks for, as far as the database did not decide it."""
    if sought.model and model_of(job, task) != sought.model:
        return False
    words = sought.text.lower().split()
    if not words:
        return True
    said = " ".join(
        [
            job.task_name,
            task.title if task is not None else "",
            model_of(job, task),
            job.note,
            *_said(job.fields),
        ]
    ).lower()
    # An id is found by its beginning: single digits occur in all of them.
    return all(word in said or (len(word) >= 6 and job.id.startswith(word)) for word in words)


def _said(value: Any) -> Iterable[str]:
    """Names and values of settings; of a file its name alone, for where it lies says nothing."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield str(name)
            yield from _said(item)
    elif isinstance(value, list):
        for item in value:
            yield from _said(item)
    elif value is not None:
        yield Path(value).name if isinstance(value, str) and "/" in value else str(value)


def model_of(job: Job, task: Task | None) -> str:
    """The model that a job asks for, or else its task's own; empty where there is none."""
    sampling = job.fields.get("sampling")
    named = sampling.get("model") if isinstance(sampling, Mapping) else None
    return Path(str(named)).name if named else (task.model if task is not None else "")


def address(job: Job, name: str) -> str:
    """Where the page finds a file of a result; the server asks the engine whether whoever asks owns the job."""
    return f"results/{quote(job.id)}/{quote(name)}"


def link(job: Job) -> str:
    """The page's own address of a job."""
    domain, _, verb = job.task_name.partition(".")
    return f"?tab={quote(domain)}&task={quote(verb)}&job={quote(job.id)}"


def title_of(job: Job) -> str:
    """The task's title, as far as it is still there."""
    try:
        return job.task.title
    except BadInput:
        return job.task_name


def when(moment: float) -> str:
    """`2026-03-01 14:05`, as an element that the page's script puts into the reader's own time."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
    return f'<time datetime="{stamp}">{stamp[:10]} {stamp[11:16]} UTC</time>'


def picture_of(job: Job) -> FinishedArtifact | None:
    """The artifact that stands for a result: a plot, for which a small drawing is made, or else a picture."""
    items = job.result.artifacts if job.result is not None else []
    plot = next((item for item in items if item.kind == "plot"), None)
    return plot or next((item for item in items if item.path.suffix in _PICTURES), None)


def card(job: Job) -> str:
    """A result as an entry of the gallery; the script finds its parts by their `data-` names."""
    result = job.result
    if result is None:
        return ""
    title = escape(title_of(job))
    shown = picture_of(job)
    if shown is None:
        kinds = ", ".join(sorted({item.path.suffix.lstrip(".").upper() for item in result.artifacts}))
        picture = f'<span class="no-picture mono">{escape(kinds or "no file")}</span>'
    else:
        source = f"pages/thumbnail/{job.id}" if shown.kind == "plot" else address(job, shown.name)
        picture = f'<img src="{escape(source)}" alt="" loading="lazy" width="320" height="160">'
    numbers = "".join(
        f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(number(value))}</dd></div>"
        for name, value in list(result.metrics.items())[:_SHOWN_METRICS]
    )
    files = ", ".join(dict.fromkeys(name for name in _input_names(job)))
    about = " · ".join(
        part for part in (escape(files), f"seed {job.fields.get('sampling', {}).get('seed', 0)}") if part
    )
    return (
        f'<li class="result" data-id="{job.id}"{" data-pinned" if job.pinned else ""}>'
        f'<label class="pick"><input type="checkbox" data-pick aria-label="Select {title} of this card"></label>'
        f'<a class="opens" href="{escape(link(job))}" data-open="{job.id}"><span class="picture-frame">{picture}</span>'
        f'<b>{title}</b></a><p>{when(job.created)} · {human_size(job.bytes)}</p><p class="inputs">{about}</p>'
        f'<dl>{numbers}</dl><p class="actions">'
        f'<button type="button" class="plain" data-do="{"unpin" if job.pinned else "pin"}" '
        f'aria-pressed="{"true" if job.pinned else "false"}">{"Pinned" if job.pinned else "Pin"}</button>'
        f'<a class="plain" href="pages/zip?job={job.id}" download>Download</a>'
        f'<button type="button" class="plain" data-remove>Delete</button></p></li>'
    )


def _input_names(job: Job) -> Iterable[str]:
    for value in job.fields.values():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and item.startswith(str(job.directory)):
                yield Path(item).name


class GalleryPage:
    """The page's component; made inside the current Blocks.

    Args:
        tasks: What may be filtered by.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks

    def build(self) -> gr.HTML:
        """Adds the page; its results come when it is seen."""
        return gr.HTML(self.html(), elem_id="gallery_page", js_on_load="langevin.gallery(element)")

    def html(self) -> str:
        """The page without results."""
        domains = dict.fromkeys(task.domain for task in self.tasks)
        models = dict.fromkeys(task.model for task in self.tasks if task.model)
        filters = "".join(
            [
                _choice(
                    "domain", "Domain", [(name, name.replace("_", " ").capitalize()) for name in domains]
                ),
                _choice("task", "Task", [(task.name, task.title) for task in self.tasks]),
                _choice("model", "Model", [(name, name) for name in models]),
            ]
        )
        return (
            '<section class="page gallery" aria-label="Gallery">'
            '<div class="page-head"><h1>Gallery</h1>'
            "<p>All your results, newest first. Choose two to compare them.</p></div>"
            f'<form class="filters" role="search" data-filters>{filters}'
            '<label>Words<input type="search" name="text" maxlength="100" placeholder="file, setting, value"></label>'
            '<label class="check"><input type="checkbox" name="pinned" value="1">Pinned only</label></form>'
            '<div class="tray" role="group" aria-label="Chosen results"><p data-count>None chosen</p>'
            '<button type="button" class="plain" data-compare-chosen disabled>Compare two</button>'
            '<button type="button" class="plain" data-zip-chosen disabled>Download as zip</button>'
            '<button type="button" class="plain" data-remove-chosen disabled>Delete</button>'
            '<button type="button" class="plain" data-clear-chosen disabled>Choose none</button></div>'
            '<div data-comparison></div><ul class="results" data-list aria-label="Results" aria-busy="true"></ul>'
            '<p class="quiet" data-end role="status">Loading</p></section>'
        )


def _choice(name: str, label: str, options: Iterable[tuple[str, str]]) -> str:
    inside = "".join(f'<option value="{escape(value)}">{escape(words)}</option>' for value, words in options)
    return f'<label>{label}<select name="{name}"><option value="">All</option>{inside}</select></label>'
