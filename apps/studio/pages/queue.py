"""The Queue: a person's jobs that wait, run, rest or failed, with all that can be done about them."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from apps.engine.jobs import Engine, Job, JobState
from apps.engine.order import own_order
from apps.studio import answer
from apps.studio.pages.gallery import link, title_of, when

_MOST_SHOWN = 100  # of each section
_ACTIVE = (JobState.RUNNING, JobState.QUEUED, JobState.PAUSED)
_WORDS = {"pause": "Pause", "resume": "Resume", "retry": "Try again", "cancel": "Cancel", "delete": "Remove"}
PRIORITIES = ((-1, "Low"), (0, "Normal"), (1, "High"))


def queue_state(engine: Engine, owner: str) -> dict[str, Any]:
    """What the page shows: one sentence, and each section's rows in order, by id.

    A row says its own version, so that the page touches only what has changed.
    """
    active = engine.history(owner, states=_ACTIVE, limit=_MOST_SHOWN + 400)
    running = sorted(
        (job for job in active if job.state is JobState.RUNNING), key=lambda job: job.started or 0
    )
    waiting = own_order(job for job in active if job.state is not JobState.RUNNING)
    ended = engine.history(owner, states=(JobState.FAILED, JobState.CANCELLED), limit=_MOST_SHOWN)
    queued = [job for job in waiting if job.state is JobState.QUEUED]
    others = max(0, engine.ahead(queued[0]) - len(running)) if queued else 0
    shown = waiting[:_MOST_SHOWN]
    return {
        "summary": _summary(len(running), len(queued), len(waiting) - len(queued), others),
        "active": bool(active),
        "sections": {
            "running": [_row(job) for job in running],
            "waiting": [_row(job, shown, index) for index, job in enumerate(shown)],
            "ended": [_row(job) for job in ended],
        },
        "more": len(waiting) - len(shown),
    }


def _summary(running: int, queued: int, paused: int, others: int) -> str:
    if not running + queued + paused:
        return "Nothing waits and nothing runs."
    parts = [f"{running} running", f"{queued} waiting"] + ([f"{paused} paused"] if paused else [])
    words = ", ".join(parts) + "."
    if queued:
        words += f" {others} job{'s' if others != 1 else ''} of others ahead of your next one."
    return words[:1].upper() + words[1:]


def _row(job: Job, queue: list[Job] | None = None, index: int = 0) -> dict[str, Any]:
    """A job as a row; `share` moves its bar without the row being drawn anew."""
    share = job.progress.fraction if job.progress is not None and job.state is not JobState.QUEUED else 0.0
    verbs: list[str] = []
    match job.state:
        case JobState.RUNNING:
            verbs = [] if job.stopping else ["pause", "cancel"]
        case JobState.QUEUED:
            verbs = ["pause", "cancel"]
        case JobState.PAUSED:
            verbs = ["resume", "cancel"]
        case _:
            verbs = ["retry", "delete"]
    title = title_of(job)
    buttons = "".join(_button(verb, title) for verb in verbs)
    order = _order(job, queue, index) if queue is not None else ""
    about = " · ".join([*_inputs(job), f"seed {job.fields.get('sampling', {}).get('seed', 0)}"])
    return {
        "id": job.id,
        "share": round(share, 4),
        "words": _words(job),
        "html": (
            f'<div class="what"><a href="{escape(link(job))}" data-open="{job.id}"><b>{escape(title)}</b></a>'
            f'<p class="quiet">{escape(about)} · {when(job.created)}</p></div>'
            f'<div class="how"><p data-words></p><div class="bar" role="progressbar" aria-valuemin="0" '
            f'aria-valuemax="100" aria-label="progress of {escape(title)}"><i></i></div></div>'
            f'<div class="actions">{order}{buttons}</div>'
        ),
        "state": str(job.state),
    }


def _words(job: Job) -> str:
    """The state and what there is to say about it, as plain text."""
    moment = job.progress
    at = f"step {moment.done:.0f} of {moment.total:.0f}" if moment is not None and moment.total > 1 else ""
    match job.state:
        case JobState.RUNNING:
            if job.stopping:
                return "Stopping after this step"
            left = f"about {answer.seconds(moment.left)} left" if moment and moment.left is not None else ""
            return " · ".join(part for part in ("Running", at, left, job.note) if part)
        case JobState.QUEUED:
            return " · ".join(part for part in ("Waiting", job.note) if part)
        case JobState.PAUSED:
            return " · ".join(part for part in ("Paused", at) if part)
        case JobState.FAILED if job.error is not None:
            return f"Failed: {answer.sentence(job.error.field, job.error.message)}"
    return " · ".join(part for part in (str(job.state).capitalize(), at) if part)


def _button(verb: str, title: str) -> str:
    words = _WORDS[verb]
    label = f"{words}: {escape(title)}"
    return f'<button type="button" class="plain" data-do="{verb}" aria-label="{label}">{words}</button>'


def _order(job: Job, queue: list[Job], index: int) -> str:
    """Up, down and priority.  A button names the job before which this one is to go; an empty name is the end."""
    title = escape(title_of(job))
    up = queue[index - 1].id if index else None
    down = None
    if index + 1 < len(queue):
        down = queue[index + 2].id if index + 2 < len(queue) else ""
    options = "".join(
        f'<option value="{value}"{" selected" if value == max(-1, min(1, job.priority)) else ""}>{words}</option>'
        for value, words in PRIORITIES
    )

    def move(words: str, sign: str, before: str | None) -> str:
        to = "disabled" if before is None else f'data-before="{before}"'
        return f'<button type="button" class="plain" data-move {to} aria-label="{words}: {title}">{sign}</button>'

    return (
        f"{move('Earlier', '↑', up)}{move('Later', '↓', down)}"
        f'<select data-priority aria-label="Priority of {title}">{options}</select>'
    )


def _inputs(job: Job) -> Iterable[str]:
    names = [
        Path(item).name
        for value in job.fields.values()
        for item in (value if isinstance(value, list) else [value])
        if isinstance(item, str) and item.startswith(str(job.directory))
    ]
    return dict.fromkeys(names)


class QueuePage:
    """The page's component; made inside the current Blocks."""

    def build(self) -> gr.HTML:
        """Adds the page; it asks for its rows while it is seen."""
        return gr.HTML(self.html(), elem_id="queue_page", js_on_load="langevin.queue(element)")

    def html(self) -> str:
        """The page without rows."""
        sections = "".join(
            f'<section data-section="{name}" hidden><h2>{title}</h2><ol class="jobs"></ol></section>'
            for name, title in (
                ("running", "Running"),
                ("waiting", "Waiting and paused"),
                ("ended", "Failed and cancelled"),
            )
        )
        return (
            '<section class="page queue" aria-label="Queue"><div class="page-head"><h1>Queue</h1>'
            '<p data-summary role="status">Loading</p></div>'
            f'{sections}<p class="quiet" data-more hidden></p></section>'
        )
