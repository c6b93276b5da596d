"""The words around a result, as HTML: how far a job is, what came out, files, notes, and what went wrong."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from apps.engine.jobs import Job, JobError, JobState
from apps.engine.run import RESULT, Finished
from apps.studio.handover import handovers
from apps.studio.viewers import viewer_for
from domains.common.files import human_size
from domains.common.task import Task

_MOST_VIEWERS = 12  # in one answer; the other files can be downloaded
_LONG_ENOUGH_TO_ASK = 5.0  # seconds without a first step after which the page says why it may take a moment

_ACRONYMS = ("crps", "mae", "rmse", "nfe", "csv")


def status(job: Job, ahead: int = 0) -> str:
    """One line on where a job stands, with its bar; `data-state` lets the style sheet do the rest."""
    match job.state:
        case JobState.QUEUED:
            others = f"{ahead} other run{'s' if ahead != 1 else ''}" if ahead else "the engine"
            return _line(job, "Waiting", f"for {others}{_note(job)}", share=0.0)
        case JobState.RUNNING:
            return _running(job)
        case JobState.PAUSED:
            at = f"at {_steps(job)}" if _steps(job) else ""
            return _line(job, "Paused", at, share=job.progress.fraction if job.progress else 0.0)
        case JobState.DONE:
            if job.result is None:
                return gone()
            nfe = f" · {job.result.nfe} denoiser evaluations a sample" if job.result.nfe else ""
            seed = job.fields["sampling"]["seed"]
            return _line(job, "Done", f"in {seconds(job.result.seconds)}{nfe} · seed {seed}{_note(job)}")
        case JobState.CANCELLED:
            at = f"at {_steps(job)}; " if _steps(job) else ""
            shown = "the plot shows how far it came" if job.previews else "nothing was written"
            return _line(job, "Cancelled", f"{at}your request is kept, {shown}")
    error = job.error or JobError("", "for an unknown reason")
    return _line(job, "Failed", f"{sentence(error.field, error.message)}. Your request is kept.")


def _running(job: Job) -> str:
    moment = job.progress
    if job.stopping:
        return _line(job, "Stopping", "after this step", share=moment.fraction if moment else 0.0)
    if moment is None:
        waited = time.time() - (job.started or job.created)
        return _line(
            job, "Starting", "· loading the model" if waited > _LONG_ENOUGH_TO_ASK else "", share=0.0
        )
    left = f"about {seconds(moment.left)} left" if moment.left is not None else ""
    words = " · ".join(part for part in (moment.message, _steps(job), left, job.note) if part)
    return _line(job, "Running", words, share=moment.fraction)


def _note(job: Job) -> str:
    """What happened to the job on its way, after a dot."""
    return f" · {job.note}" if job.note else ""


def _steps(job: Job) -> str:
    """`step 3 of 10`; empty where the work is not counted in steps."""
    moment = job.progress
    return f"step {moment.done:.0f} of {moment.total:.0f}" if moment is not None and moment.total > 1 else ""


def _line(job: Job, word: str, words: str, share: float | None = None) -> str:
    bar = ""
    if share is not None:
        bar = (
            '<div class="bar" role="progressbar" aria-label="share of the work that is done" aria-valuemin="0" '
            f'aria-valuemax="100" aria-valuenow="{share * 100:.0f}"><i style="transform:scaleX({share:.4f})"></i></div>'
        )
    preview = "yes" if job.previews else "no"
    return (
        f'<div class="status" role="status" data-state="{job.state}" data-job="{job.id}" data-preview="{preview}">'
        f"<p><b>{escape(word)}</b> {escape(words)}</p>{bar}</div>"
    )


def sentence(field: str, message: str) -> str:
    """`Samples must be ...`: a message with the field that it is about, as one sentence."""
    if not field:
        return message[:1].upper() + message[1:]
    return f"{field_words(field)}{' ' if message[:1].islower() else ': '}{message}"


def fault(words: str) -> str:
    """A fault, for the place where it can be mended."""
    return f'<p class="fault" role="alert">{escape(words)}</p>'


def example_status(label: str) -> str:
    """The line above a finished example: that it is one, and whose data it shows."""
    return (
        f'<div class="status" data-state="example"><p><b>Example</b> {escape(label)}. '
        "Your result takes its place.</p></div>"
    )


def gone() -> str:
    """The line for a job that the address names and the engine has forgotten."""
    return (
        '<div class="status" data-state="gone"><p><b>No longer kept</b> The run that this address names has been '
        "cleared away; run it again.</p></div>"
    )


def restored(name: str, sentences: list[str]) -> str:
    """The line above an empty viewer after a file has filled the form in."""
    return (
        f'<div class="status" data-state="restored"><p><b>Restored</b> from {escape(name)}: the settings on the left '
        f"are those that made it{', but for these' if sentences else ''}.</p>{notes(sentences)}</div>"
    )


def received(name: str, action: str) -> str:
    """The line above an empty viewer after another task's result has been put into the form."""
    return (
        f'<div class="status" data-state="restored"><p><b>Received</b> {escape(name)}. '
        f"{escape(action)} begins when you press the button.</p></div>"
    )


def nothing_yet(task: Task) -> str:
    """The line above an empty viewer."""
    first = next(iter(task.examples), None)
    mend = f"; {first} on the left fills everything in" if first else ""
    return (
        '<div class="status" data-state="empty"><p><b>Nothing yet</b> '
        f"The result appears here{escape(mend)}.</p></div>"
    )


def example_details(values: Mapping[str, float | int | str], sentences: list[str]) -> str:
    """What stands under the plot of a finished example."""
    return '<div class="details">' + notes(sentences) + metrics(values) + "</div>"


def details(job: Job, finished: Finished, task: Task, others: Iterable[Task] = ()) -> str:
    """What stands under the plot: what can be done with the result, viewers, notes, numbers, files, the command.

    Args:
        job: The job.
        finished: Its result.
        task: Its task.
        others: Tasks to which the result may be handed on.
    """
    parts = [
        actions(job, finished, others),
        viewers(finished),
        notes(finished.notes),
        metrics(finished.metrics),
        downloads(job, finished),
        again(finished, task),
    ]
    return '<div class="details">' + "".join(parts) + "</div>"


def actions(job: Job, finished: Finished, others: Iterable[Task] = ()) -> str:
    """The buttons under an answer; the page's script does what their `data-` names say."""
    recipe = json.dumps(finished.recipe.as_json(), indent=2, ensure_ascii=False)
    pinned = "true" if job.pinned else "false"
    sends = "".join(
        f'<li><button type="button" class="plain" data-send="{job.id}" data-artifact="{escape(way.artifact)}" '
        f'data-task="{escape(way.task)}" data-field="{escape(way.field)}">'
        f"{escape(PurePosixPath(way.artifact).name)} to {escape(way.title)}</button></li>"
        for way in handovers(finished, others)
    )
    menu = (
        f'<details class="menu"><summary class="plain">Send to</summary><ul>{sends}</ul></details>'
        if sends
        else ""
    )
    return (
        f'<div class="after" data-for="{job.id}"><p class="actions">'
        f'<a class="plain" href="pages/zip?job={job.id}" download>Download</a>'
        f'<button type="button" class="plain" data-copy="{escape(recipe)}">Copy recipe</button>'
        '<button type="button" class="plain" data-replay>Replay</button>'
        '<button type="button" class="plain" data-vary>Vary</button>'
        '<button type="button" class="plain" data-compare aria-pressed="false">Compare</button>'
        f'<button type="button" class="plain" data-do="{"unpin" if job.pinned else "pin"}" aria-pressed="{pinned}">'
        f'{"Pinned" if job.pinned else "Pin"}</button>{menu}</p><p class="verdict" role="status"></p></div>'
    )


def viewers(finished: Finished) -> str:
    """Viewers of the artifacts that have one, each loaded when seen; pictures only where no plot says the same."""
    plotted = any(item.kind == "plot" for item in finished.artifacts)
    shown = []
    for item in finished.artifacts:
        viewer = viewer_for(item) if item.kind != "plot" else None
        if viewer is not None and not (plotted and viewer.name == "image"):
            shown.append(viewer.html(_address(finished, item.name), item.title or item.name))
    return "".join(shown[:_MOST_VIEWERS])


def _address(finished: Finished, name: str) -> str:
    """Where the page finds a file of a result; the server asks the engine whether whoever asks owns the job."""
    job_id = finished.directory.parent.name  # the engine keeps results in JOB/result
    return f"results/{quote(job_id)}/{quote(name)}"


def notes(sentences: list[str]) -> str:
    """What the person should know about how their input was read."""
    if not sentences:
        return ""
    return '<ul class="notes">' + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>"


def metrics(values: Mapping[str, float | int | str]) -> str:
    """A small table, a number a row."""
    rows = "".join(
        f'<tr><th scope="row">{escape(field_words(name))}</th><td>{escape(number(value))}</td></tr>'
        for name, value in values.items()
    )
    return f'<section><h3>Numbers</h3><table class="metrics">{rows}</table></section>' if rows else ""


def downloads(job: Job, finished: Finished) -> str:
    """Links to the artifacts and to the recipe that makes them again."""
    rows = [
        (item.name, item.title or item.kind, item.path) for item in finished.artifacts if item.kind != "plot"
    ]
    rows.append((RESULT, "Metrics, hashes and recipe", finished.directory / RESULT))
    items = "".join(
        f'<li><a href="{_address(finished, name)}" download="{escape(path.name)}">'
        f'<span class="mono">{escape(name)}</span><span>{escape(title)}</span>'
        f"<small>{human_size(path.stat().st_size)}</small></a></li>"
        for name, title, path in rows
        if path.is_file()
    )
    return f'<section><h3>Files</h3><ul class="files">{items}</ul></section>'


def again(finished: Finished, task: Task) -> str:
    """The command that makes the same files again, a click from the clipboard."""
    line = command(task, finished.recipe.request)
    return (
        "<section><h3>Again</h3>"
        f'<pre class="mono" tabindex="0" aria-label="command">{escape(line)}</pre><p class="actions">'
        f'<button type="button" class="plain" data-copy="{escape(line)}">Copy command</button></p></section>'
    )


def command(task: Task, request: Mapping[str, Any]) -> str:
    """The command line that runs a (portable) request: what differs from the defaults, as flags."""
    words = ["python launch.py run", task.name]
    fields = {**request, **request.get("sampling", {})}
    sampling = task.request.model_fields["sampling"].annotation
    defaults = {
        name: info.default
        for model in (task.request, sampling)
        for name, info in getattr(model, "model_fields", {}).items()
    }
    for name, value in fields.items():
        if name == "sampling" or value is None or value == defaults.get(name):
            continue
        text = value if isinstance(value, str) else json.dumps(value)
        words.append(f"--{name.replace('_', '-')} {shlex.quote(text)}")
    return " ".join([*words, "--out results"])


def seconds(value: float) -> str:
    """A duration to the digits that matter: `0.4 s`, `6 s`, `3 min`, `2 h`."""
    if value < 0.95:
        return f"{max(value, 0.1):.1f} s"
    if value < 90:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.1f} h"


def number(value: float | int | str) -> str:
    """A metric with the digits that it deserves: four significant ones, thousands set apart."""
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:.4g}"


def field_words(name: str) -> str:
    """`sampling.time_column` as a person would write it: `Time column`."""
    words = name.rsplit(".", 1)[-1].replace("_", " ")
    for acronym in _ACRONYMS:
        words = re.sub(rf"\b{acronym}\b", acronym.upper(), words)
    return words[:1].upper() + words[1:]
