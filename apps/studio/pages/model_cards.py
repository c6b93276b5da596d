"""Models as HTML: what each was made of, how well it does beside its baselines, what it is not for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from apps.engine.downloads import Download
from apps.studio.answer import field_words, number
from domains.common.files import human_size
from domains.common.hub import Plan
from domains.common.installed_models import InstalledModel
from domains.common.intake.text import plain_text
from domains.common.models import ModelFolder
from domains.common.task import Task

_BASELINES = ("anchor_", "baseline_", "trivial_", "real_")
_SHORT_HASH = 12
_FILES_SHOWN = 12


def builtin_card(model: ModelFolder, tasks: Iterable[Task], checked: str = "") -> str:
    """The card of a model with a `card.json`."""
    card = model.card
    size = human_size(model.weights.stat().st_size) if model.weights.is_file() else "no weights"
    users = [task for task in tasks if task.model == model.name]
    rows = [
        ("Used by", _used_by(users) or "no task takes it unless it is named in Model"),
        ("Data", _data(card.get("data"))),
        ("Training", _training(card.get("training"))),
        ("Limits", escape(_text(card.get("limits")))),
        ("Licence", escape(_text(card.get("licence")))),
        ("Method", escape(_text(card.get("paper")))),
        ("Steps with fitted grids", escape(", ".join(sorted(card.get("grids") or {}, key=_as_number)))),
        ("Weights", _hash(model.recorded_sha256)),
    ]
    summary = _text(card.get("summary") or card.get("description"))
    return _card(
        model.name, "built-in" if model.builtin else "installed", size, summary, rows, _metrics(card), checked
    )


def installed_card(
    model: InstalledModel,
    usable: ModelFolder | None,
    tasks: Sequence[Task],
    removable: bool,
    checked: str = "",
) -> str:
    """The card of a model from a hub.

    Args:
        model: The model.
        usable: The same as a model of ours, where it has a `card.json`.
        tasks: All tasks.
        removable: Whether the page offers to remove it.
        checked: What a check of its files has found.
    """
    if usable is not None:
        users = f"any task of its kind: <code>{escape(model.name)}</code> in Model"
        summary = _text(usable.card.get("summary") or usable.card.get("description"))
    else:
        users = (
            "no task by name. From Python, <code>core.networks.foreign</code> drives networks of diffusers; see "
            "docs/public-models.md"
        )
        summary = ""
    names = sorted(model.files, key=lambda name: -model.files[name].size)
    files = "".join(
        f"<tr><th scope=row>{escape(name)}</th><td>{human_size(model.files[name].size)}</td>"
        f"<td>{_hash(model.files[name].sha256)}</td></tr>"
        for name in names[:_FILES_SHOWN]
    )
    more = len(names) - _FILES_SHOWN
    table = f'<table class="metrics">{files}</table>' + (f"<p>and {more} more</p>" if more > 0 else "")
    rows = [
        ("From", f"{escape(model.repo)}, {escape(model.endpoint)}"),
        ("Commit", f'<span class="mono">{escape(model.commit)}</span>, fetched {escape(model.fetched)}'),
        ("Licence", escape(model.licence) or "none stated by the hub; ask its owner before you build on it"),
        ("Used by", users),
        ("Files", table),
    ]
    remove = ""
    if removable:
        remove = (
            '<details class="sure"><summary class="plain">Remove</summary>'
            f'<p>This frees {human_size(model.bytes)}. <button type="button" class="plain" data-act="remove" '
            f'data-model="{escape(model.name)}">Yes, remove {escape(model.name)}</button></p></details>'
        )
    extra = _metrics(usable.card) if usable is not None else ""
    return _card(model.name, "installed", human_size(model.bytes), summary, rows, extra, checked, remove)


def _card(
    name: str,
    kind: str,
    size: str,
    summary: str,
    rows: Iterable[tuple[str, str]],
    extra: str,
    checked: str,
    more: str = "",
) -> str:
    inside = "".join(f"<dt>{escape(word)}</dt><dd>{value}</dd>" for word, value in rows if value)
    about = f"<p>{escape(summary)}</p>" if summary else ""
    good = "yes" if checked.startswith("ok") else "no"
    found = (
        f'<p class="checked" role="status" data-good="{good}">{escape(_verdict(checked))}</p>'
        if checked
        else ""
    )
    return (
        f'<article class="model-card" data-name="{escape(name)}"><header><h2>{escape(name)}</h2>'
        f"<small>{kind} · {escape(size)}</small></header>{about}<dl>{inside}</dl>{extra}"
        f'<div class="actions"><button type="button" class="plain" data-act="verify" data-model="{escape(name)}">'
        f"Check files</button>{more}</div>{found}</article>"
    )


def _verdict(checked: str) -> str:
    return (
        "Every file has the hash that is stated."
        if checked == "ok"
        else f"{checked[:1].upper()}{checked[1:]}."
    )


def _used_by(tasks: Iterable[Task]) -> str:
    return ", ".join(
        f'<a href="?tab={quote(task.domain)}&amp;task={quote(task.name.partition(".")[2])}">'
        f"{escape(field_words(task.domain))}: {escape(task.title)}</a>"
        for task in tasks
    )


def _data(data: Any) -> str:
    """The data sets, each with its licence and hash."""
    if not isinstance(data, list):
        return escape(_text(data))
    rows = []
    for item in data:
        if not isinstance(item, Mapping):
            continue
        name = _text(item.get("group") or item.get("name"))
        amount = next(
            (f"{_text(v)} {k}" for k, v in item.items() if k in ("tables", "rows", "samples", "images")), ""
        )
        rows.append(
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(amount)}</td><td>{escape(_text(item.get("licence")))}'
            f"</td><td>{_hash(item.get('sha256'))}</td></tr>"
        )
    return f'<table class="metrics">{"".join(rows)}</table>' if rows else ""


def _training(training: Any) -> str:
    if not isinstance(training, Mapping):
        return escape(_text(training))
    command = _text(training.get("command"))
    words = [
        f"{_text(training[key])} {unit}"
        for key, unit in (("steps", "steps"), ("minutes", "minutes"))
        if key in training
    ]
    words += [_text(training[key]) for key in ("machine", "date") if key in training]
    note = _text(training.get("note"))
    code = (
        f'<pre class="mono" tabindex="0" aria-label="command">python {escape(command)}</pre>'
        if command
        else ""
    )
    return code + escape(", ".join(words)) + (f"<br>{escape(note)}" if note else "")


def _metrics(card: Mapping[str, Any]) -> str:
    """The metrics on the card, each beside its baseline."""
    for key in ("metrics", "validation", "evaluation"):
        found = card.get(key)
        if not isinstance(found, Mapping):
            continue
        values = {name: value for name, value in found.items() if isinstance(value, int | float)}
        beside = {name: _baseline(name, values) for name in values}
        taken = {other for other in beside.values() if other}
        rows = "".join(
            f'<tr><th scope="row">{escape(field_words(name))}</th><td>{number(value)}</td>'
            f"<td>{number(values[other]) if (other := beside[name]) else '–'}</td></tr>"
            for name, value in values.items()
            if name not in taken
        )
        baseline = next((field_words(other.rsplit("_", 1)[0]) for other in taken), "Baseline")
        what = f"<p>{escape(_text(found.get('what')))}</p>" if found.get("what") else ""
        heads = f'<th scope="col">This model</th><th scope="col">{escape(baseline)}</th>'
        head = f"<thead><tr><td></td>{heads}</tr></thead>"
        if rows:
            return (
                f'<h3>How well it does</h3>{what}<table class="metrics">{head}<tbody>{rows}</tbody></table>'
            )
    return ""


def _baseline(name: str, values: Mapping[str, Any]) -> str:
    return next((prefix + name for prefix in _BASELINES if prefix + name in values), "")


def plan_words(plan: Plan) -> str:
    """What a download would bring, before it begins."""
    rows = "".join(
        f'<tr><th scope="row">{escape(file.path)}</th><td>{human_size(file.size)}</td></tr>'
        for file in sorted(plan.files, key=lambda file: -file.size)[:_FILES_SHOWN]
    )
    more = len(plan.files) - _FILES_SHOWN
    notes = []
    if plan.gated:
        notes.append(
            "It is gated: you have accepted its terms, and HF_TOKEN or your login is sent to the hub."
        )
    if plan.brings_code:
        notes.append("It holds code, which is left out and never run.")
    if plan.left_out:
        notes.append(f"{len(plan.left_out)} other files are left out.")
    licence = f"Licence: <b>{escape(plan.licence)}</b>" if plan.licence else "<b>No licence is stated.</b>"
    return (
        f'<div class="plan" data-commit="{plan.commit}"><p><b>{escape(plan.repo)}</b> at <span class="mono">'
        f"{plan.commit[:_SHORT_HASH]}</span> · {len(plan.files)} files, <b>{human_size(plan.bytes)}</b> · {licence}</p>"
        f'<table class="metrics">{rows}</table>{f"<p>and {more} more</p>" if more > 0 else ""}'
        f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul></div>'
    )


def download_line(download: Download) -> str:
    """How far a download is."""
    plan, done = download.plan, human_size(download.done)
    bar = ""
    match download.state:
        case "running":
            rate = f" · {human_size(int(download.rate))}/s" if download.rate else ""
            words = f"{done} of {human_size(plan.bytes)}{rate} · {download.file}"
            word = "Downloading"
            bar = (
                '<div class="bar" role="progressbar" aria-label="share of the bytes that are there" aria-valuemin="0" '
                f'aria-valuemax="100" aria-valuenow="{download.share * 100:.0f}">'
                f'<i style="transform:scaleX({download.share:.4f})"></i></div>'
            )
        case "done":
            word, words = "Installed", f"{plan.repo}, {human_size(plan.bytes)}, every hash checked"
        case "cancelled":
            word, words = "Cancelled", f"{done} are kept; asking again goes on from there"
        case _:
            word, words = "Failed", f"{plan.repo}: {download.message}"
    state = {"running": "running", "failed": "failed"}.get(download.state, download.state)
    return (
        f'<div class="status" role="status" data-state="{state}" data-preview="yes">'
        f"<p><b>{word}</b> {escape(words)}</p>{bar}</div>"
    )


def disk_line(builtin: int, installed: int, unfinished: Mapping[str, int], free: int, removable: bool) -> str:
    """What the models take on the disk."""
    left = sum(unfinished.values())
    rows = "".join(
        f"<li>{escape(name.partition('@')[0].replace('--', '/'))}: {human_size(size)} of an unfinished download"
        + (
            f' <button type="button" class="plain" data-act="discard" data-model="{escape(name)}">Discard</button>'
            if removable
            else ""
        )
        + "</li>"
        for name, size in unfinished.items()
    )
    words = f"Built-in {human_size(builtin)} · installed {human_size(installed)}"
    words += f" · unfinished {human_size(left)}" if unfinished else ""
    return f'<p class="disk">{words} · {human_size(free)} free</p><ul class="notes">{rows}</ul>'


def _hash(value: Any) -> str:
    if not isinstance(value, str) or not value:
        return ""
    return f'<span class="mono" title="{escape(value)}">{escape(value[:_SHORT_HASH])}…</span>'


def _text(value: Any) -> str:
    if isinstance(value, bool | None):
        return ""
    return number(value) if isinstance(value, int | float) else plain_text(value, 600)


def _as_number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
