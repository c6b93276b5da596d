"""The Settings page: how the page looks, what is kept where, which limits hold, and who is logged in."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from apps.engine import retention
from apps.engine.jobs import Engine, Job, JobState
from apps.engine.settings import Settings
from apps.web.owners import GUEST, LOCAL
from domains.common.files import human_size

_ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
_MOST = 1_000_000  # jobs of one owner; more are kept nowhere
# What concerns a person; the rest concerns whoever operates the app.
_LIMITS = (
    "workers", "worker_bytes", "job_seconds", "queue_per_owner", "queue_length", "input_bytes", "upload_bytes",
    "kept_bytes", "kept_days", "kept_jobs", "free_bytes", "requests_per_minute", "uploads_per_hour",
    "upload_megabytes_per_hour",
)  # fmt: skip


def clearable(engine: Engine, owner: str) -> list[Job]:
    """The ended jobs of `owner` that are not pinned."""
    return [job for job in engine.history(owner, states=_ENDED, limit=_MOST) if not job.pinned]


def clear_out(engine: Engine, owner: str) -> tuple[int, int]:
    """Removes the ended jobs of `owner` that are not pinned; how many, and the bytes that they took."""
    gone = clearable(engine, owner)
    for job in gone:
        engine.forget(job.id, owner)
    return len(gone), sum(job.bytes for job in gone)


def settings_html(engine: Engine, owner: str) -> str:
    """What the server knows: files, limits, login."""
    return _files(engine, owner) + _limits(engine.settings) + _login(owner)


def _files(engine: Engine, owner: str) -> str:
    mine = engine.history(owner, limit=_MOST)
    pinned = [job for job in mine if job.pinned]
    loose = [job for job in mine if job.state.final and not job.pinned]
    rows = [
        ("Kept", f"{_jobs(mine)}, {human_size(sum(job.bytes for job in mine))}"),
        ("Pinned", f"{_jobs(pinned)}, {human_size(sum(job.bytes for job in pinned))}"),
        ("Free on the disk", human_size(retention.free_bytes(engine.root))),
    ]
    if engine.settings.profile == "local" and owner == LOCAL:
        rows.insert(0, ("Folder", str(engine.home)))
    what = f"{_jobs(loose)}, {human_size(sum(job.bytes for job in loose))}"
    idle = "" if loose else " disabled"
    return (
        f'<section class="sheet"><h2>Files</h2>{_list(rows)}'
        "<p>Clearing out removes every ended job that is not pinned, with its files. It cannot be undone.</p>"
        f'<p class="actions"><button type="button" class="plain danger" data-clear-out '
        f'data-what="{escape(what)}"{idle}>'
        f"Clear out {escape(what)}</button></p></section>"
    )


def _jobs(jobs: list[Job]) -> str:
    return f"{len(jobs)} job{'s' if len(jobs) != 1 else ''}"


def _limits(settings: Settings) -> str:
    rows = []
    for name in _LIMITS:
        description = Settings.model_fields[name].description or name
        rows.append((description[:1].upper() + description[1:], _limit(name, getattr(settings, name))))
    return (
        '<section class="sheet"><h2>Limits in force</h2><p>Whoever runs the app sets them; '
        f"<code>docs/operate.md</code> says how.</p>{_list(rows)}</section>"
    )


def _limit(name: str, value: Any) -> str:
    if value == 0:
        return "none"
    if name.endswith("_bytes"):
        return human_size(value)
    if name.endswith("_seconds"):
        return f"{value / 3600:g} h" if value >= 3600 else f"{value:g} s"
    if name.endswith("_days"):
        return f"{value:g} days"
    return f"{value:,}".replace(",", "\u202f")


def _login(owner: str) -> str:
    if owner == LOCAL:
        return ""
    if owner.startswith(GUEST):
        return (
            '<section class="sheet"><h2>Login</h2><p>You are a guest: your results belong to this browser alone, '
            "and are lost with its cookies.</p></section>"
        )
    return (
        f'<section class="sheet"><h2>Login</h2><p>You are logged in as <b>{escape(owner)}</b>.</p>'
        '<form method="post" action="logout"><button class="plain">Log out</button></form></section>'
    )


def _list(rows: list[tuple[str, str]]) -> str:
    inside = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows)
    return f'<dl class="facts">{inside}</dl>'


class SettingsPage:
    """The page's component; made inside the current Blocks."""

    def build(self) -> gr.HTML:
        """Adds the page; what the server knows comes when it is seen."""
        return gr.HTML(self.html(), elem_id="settings_page", js_on_load="langevin.settings(element)")

    def html(self) -> str:
        """The page, as far as it concerns this browser alone."""
        return (
            '<section class="page settings" aria-label="Settings"><div class="page-head"><h1>Settings</h1></div>'
            '<section class="sheet"><h2>Look</h2>'
            + _radio("theme", "Light and dark", (("", "As the system"), ("light", "Light"), ("dark", "Dark")))
            + _radio("motion", "Motion", (("", "As the system"), ("reduced", "Reduced")))
            + '</section><div data-server><p class="quiet">Loading</p></div></section>'
        )


def _radio(name: str, legend: str, options: tuple[tuple[str, str], ...]) -> str:
    inside = "".join(
        f'<label><input type="radio" name="{name}" value="{value}">{words}</label>'
        for value, words in options
    )
    return f'<fieldset class="choices"><legend>{legend}</legend>{inside}</fieldset>'
