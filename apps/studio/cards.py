"""The model chip: which model answers, and its card behind a click."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from apps.studio.answer import field_words, number
from domains.common.errors import BadInput
from domains.common.files import human_size
from domains.common.models import find_model
from domains.common.task import Task

_SHOWN_APART = ("name", "title", "description", "summary")
_FOR_MACHINES = ("sha256", "network", "process", "config", "denoiser", "model", "schema", "format", "version")


def model_chip(task: Task) -> str:
    """The name of a task's model, with its card; says plainly where the model is not installed."""
    if not task.model:
        return ""
    try:
        model = find_model(task.model)
    except BadInput:
        return _chip(
            f"<b>{escape(task.model)}</b> not installed", "<p>Its folder under assets/models is missing.</p>"
        )
    size = human_size(model.weights.stat().st_size) if model.weights.is_file() else "weights missing"
    return _chip(f"<b>{escape(model.name)}</b> built-in · {size}", _card(model.card))


def _chip(summary: str, card: str) -> str:
    return f'<details class="chip"><summary>{summary}</summary><div class="card">{card}</div></details>'


def _card(card: Mapping[str, Any]) -> str:
    opening = next((str(card[name]) for name in ("description", "summary") if card.get(name)), "")
    rows = "".join(
        f"<dt>{escape(field_words(name))}</dt><dd>{_value(value)}</dd>"
        for name, value in card.items()
        if name not in _SHOWN_APART + _FOR_MACHINES and value not in (None, "", [], {})
    )
    return (f"<p>{escape(opening)}</p>" if opening else "") + f"<dl>{rows}</dl>"


def _value(value: Any) -> str:
    """A value as HTML: a line for each entry of a mapping or a list, and a list's own mappings in one line each."""
    if isinstance(value, Mapping):
        return "<br>".join(_entries(value))
    if isinstance(value, list | tuple):
        return "<br>".join(
            ", ".join(_entries(item)) if isinstance(item, Mapping) else _value(item) for item in value
        )
    return escape(number(value) if isinstance(value, int | float) else str(value))


def _entries(value: Mapping[str, Any]) -> list[str]:
    return [
        f"{escape(field_words(str(name)))}: {_value(item)}"
        for name, item in value.items()
        if name not in _FOR_MACHINES
    ]
