"""`launch.py models [list | card NAME | verify [NAME] | get OWNER/NAME | remove NAME]`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from apps.cli.bar import plain_progress
from apps.cli.parser import Parser
from apps.cli.stopping import stop_on_terminate
from domains.common.errors import BadInput
from domains.common.files import human_size
from domains.common.installed_models import (
    describe,
    find_installed,
    installed_models,
    remove_installed,
    unfinished,
)
from domains.common.models import ModelFolder, builtin_models, find_model

_ACTIONS = ("list", "card", "verify", "get", "remove")


def main(arguments: Sequence[str]) -> int:
    """Lists models, shows a card, checks files, gets one from a hub, or removes one that came from there."""
    parser = Parser(
        "models", "Lists models, shows a card, verifies files, gets a model from a hub, or removes one."
    )
    parser.add_argument("action", nargs="?", default="list", choices=_ACTIONS)
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="a model, a folder made by train, or OWNER/NAME"
    )
    parser.add_argument("--json", action="store_true", help="print JSON (list)")
    parser.add_argument("--revision", help="branch, tag or commit (get); the commit is pinned and recorded")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="take these files alone (get); repeatable",
    )
    parser.add_argument("--plan", action="store_true", help="say what get would download, and stop there")
    chosen = parser.read(arguments)
    if (chosen.revision or chosen.only or chosen.plan) and chosen.action != "get":
        raise BadInput("arguments", "--revision, --only and --plan go with: models get OWNER/NAME")
    match chosen.action:
        case "card":
            if chosen.name is None:
                raise BadInput("name", f"say which: {', '.join(builtin_models()) or 'none is installed'}")
            print(json.dumps(find_model(chosen.name).card, indent=2, ensure_ascii=False))
            return 0
        case "verify":
            return _verify(chosen.name)
        case "get":
            return _get(chosen.name, chosen.revision, chosen.only, chosen.plan)
        case "remove":
            if chosen.name is None:
                raise BadInput("name", f"say which: {', '.join(installed_models()) or 'none is installed'}")
            removed = remove_installed(chosen.name)
            print(f"removed {removed.name}; {human_size(removed.bytes)} are free again")
            return 0
    return _list(chosen.json)


def _list(as_json: bool) -> int:
    models, others = builtin_models().values(), installed_models()
    if as_json:
        print(json.dumps({model.name: model.card for model in models}, indent=2, ensure_ascii=False))
        return 0
    for model in models:
        size = human_size(model.weights.stat().st_size) if model.weights.is_file() else "no weights"
        about = model.card.get("summary") or model.card.get("description") or ""
        print(f"{model.name}  {size}{'  ' + str(about) if about else ''}")
    if not models:
        print("no built-in model is installed")
    for other in others.values():
        print(describe(other))
    for name, come in unfinished().items():
        repo = name.partition("@")[0].replace("--", "/")
        print(f"{repo}  {human_size(come)} of an unfinished download; python launch.py models get {repo}")
    return 0


def _verify(name: str | None) -> int:
    others = installed_models()
    found: dict[str, str | None] = {}
    if name is None:
        found = {model.name: model.problem() for model in builtin_models().values()}
        found |= {other.name: other.problem() for other in others.values()}
    elif name in others or name.replace("/", "--") in others:
        other = find_installed(name)
        found[other.name] = other.problem()
    else:
        model: ModelFolder = find_model(name)
        found[model.name] = model.problem()
    for known, problem in found.items():
        print(f"{known}  {'ok' if problem is None else problem}")
    if not found:
        print("no built-in model is installed")
    return 1 if any(problem is not None for problem in found.values()) else 0


def _get(repo: str | None, revision: str | None, only: Sequence[str], plan_only: bool) -> int:
    if repo is None:
        raise BadInput("name", "say which: python launch.py models get OWNER/NAME")
    from apps.engine.settings import load_settings
    from domains.common.hub import make_plan
    from domains.common.hub_download import fetch

    plan = make_plan(repo, revision, only, load_settings().hub_bytes)
    print(plan.words())
    if plan.brings_code:
        print("it holds code, which is left out and never run")
    if plan_only:
        for file in plan.files:
            print(f"  {file.path}  {human_size(file.size)}")
        return 0
    with stop_on_terminate(), plain_progress() as told:
        model = fetch(plan, on_progress=told)
    print(f"installed {model.name} in {model.folder}; every hash checked")
    return 0
