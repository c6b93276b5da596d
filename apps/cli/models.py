"""`launch.py models [list | card NAME | verify [NAME]]`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from apps.cli.parser import Parser
from domains.common.errors import BadInput
from domains.common.files import human_size
from domains.common.models import builtin_models, find_model


def main(arguments: Sequence[str]) -> int:
    """Lists models, shows a card, or checks weights against their cards."""
    parser = Parser("models", "Lists built-in models, shows a card, or verifies weights against their cards.")
    parser.add_argument("action", nargs="?", default="list", choices=("list", "card", "verify"))
    parser.add_argument("name", nargs="?", metavar="NAME", help="a built-in model or a folder made by train")
    parser.add_argument("--json", action="store_true", help="print JSON (list)")
    chosen = parser.read(arguments)
    if chosen.action == "card":
        if chosen.name is None:
            raise BadInput("name", f"say which: {', '.join(builtin_models()) or 'none is installed'}")
        print(json.dumps(find_model(chosen.name).card, indent=2, ensure_ascii=False))
        return 0
    if chosen.action == "verify":
        return _verify(chosen.name)
    models = builtin_models().values()
    if chosen.json:
        print(json.dumps({model.name: model.card for model in models}, indent=2, ensure_ascii=False))
        return 0
    for model in models:
        size = human_size(model.weights.stat().st_size) if model.weights.is_file() else "no weights"
        about = model.card.get("summary") or model.card.get("description") or ""
        print(f"{model.name}  {size}{'  ' + str(about) if about else ''}")
    if not models:
        print("no built-in model is installed")
    return 0


def _verify(name: str | None) -> int:
    models = builtin_models().values() if name is None else [find_model(name)]
    faults = 0
    for model in models:
        problem = model.problem()
        faults += problem is not None
        print(f"{model.name}  {'ok' if problem is None else problem}")
    if not models:
        print("no built-in model is installed")
    return 1 if faults else 0
