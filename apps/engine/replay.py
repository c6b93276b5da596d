"""Makes an artifact again from its recipe and says whether it comes out the same."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from apps.engine.compare import difference
from apps.engine.environment import choose_device
from apps.engine.recipe import InputFile, Recipe, input_files, parse_recipe
from apps.engine.run import RESULT, Finished, OnProgress, run_task
from apps.engine.validation import make_request
from core.files import file_sha256
from domains.common.errors import BadInput
from domains.common.models import BUILTIN, builtin_models, find_model
from domains.common.recipes import RECIPE_SUFFIX, content_sha256, read_recipe
from domains.common.task import Task
from domains.registry import find_task

_RESULT_LIMIT = 16 << 20  # bytes of a result.json


@dataclass(frozen=True)
class Verdict:
    """Whether one artifact came out the same.

    Attributes:
        name: Name of the artifact.
        matches: Whether it did: to the bit on the same kind of device, within the published tolerance on another.
        reason: Why not, or how far apart; empty where the bytes are the same.
    """

    name: str
    matches: bool
    reason: str = ""


@dataclass(frozen=True)
class Replayed:
    """A replayed recipe.

    Attributes:
        recipe: The recipe that was followed.
        finished: The new run.
        verdicts: One an artifact.
        differences: How this environment differs from the recorded one, in sentences.
    """

    recipe: Recipe
    finished: Finished
    verdicts: list[Verdict]
    differences: list[str]

    @property
    def reproduces(self) -> bool:
        """Whether every artifact came out the same."""
        return all(verdict.matches for verdict in self.verdicts)


def find_recipe(artifact: Path) -> Recipe:
    """The recipe of `artifact`: inside it, beside it, or in the `result.json` of its folder.

    Raises:
        BadInput: If there is none or it is damaged.
    """
    if artifact.is_dir():
        artifact = artifact / RESULT
    if not artifact.is_file():
        raise BadInput("artifact", f"no file {artifact.name!r}; give a file that Langevin made")
    data = read_recipe(artifact)
    if data is None and artifact.suffix == ".json":
        data = _stored(artifact)
    if data is None and (artifact.parent / RESULT).is_file():
        result = _json(artifact.parent / RESULT)
        listed = result.get("artifacts", []) if isinstance(result, dict) else []
        if any(isinstance(item, dict) and item.get("path") == artifact.name for item in listed):
            data = result.get("recipe")
    if data is None:
        raise BadInput("artifact", f"{artifact.name} carries no recipe, and none lies beside it")
    return parse_recipe(data)


def find_inputs(recipe: Recipe, folders: Iterable[Path], given: Iterable[Path] = ()) -> dict[str, Path]:
    """Request field -> a file with the recorded hash, from `given` or else from `folders`.

    Raises:
        BadInput: If a file is not found.
    """
    given, folders = list(given), list(folders)
    found: dict[str, Path] = {}
    for name, wanted in recipe.inputs.items():
        for path in _candidates(wanted, folders, given):
            if path.is_file() and path.stat().st_size == wanted.bytes and file_sha256(path) == wanted.sha256:
                found[name] = path
                break
        else:
            raise BadInput(
                "input",
                f"{wanted.name} (sha256 {wanted.sha256[:12]}…) is not there; name it with --input FILE",
            )
    return found


def replay(
    artifact: Path,
    *,
    out: Path | None = None,
    inputs: Iterable[Path] = (),
    model: Path | None = None,
    device: str | None = None,
    on_progress: OnProgress | None = None,
    cancel: Event | None = None,
) -> Replayed:
    """Runs the recipe of `artifact` again and compares what comes out.

    On the same kind of device artifacts are compared byte for byte, without their recipes (`content_sha256`), since a
    recipe holds the duration of its run; on another, those of different bytes are compared with the recorded files
    within the tolerance of `apps.engine.compare`.  Recorded files that lie there must be as they were written, too.

    Args:
        artifact: A file that Langevin made (or its folder, or its `result.json`).
        out: Where the new results go; None compares and throws them away.
        inputs: Files to look at first for the recorded inputs.
        model: Folder of the recorded model, where it is not built in.
        device: "cpu" or "cuda"; None takes the recorded one where it is to be had.
        on_progress: Told how far the run is.
        cancel: Setting it stops the run.

    Raises:
        BadInput: If the recipe, its inputs or its model are not there.
        Cancelled: If `cancel` was set.
    """
    recipe = find_recipe(artifact)
    task = find_task(recipe.task)
    home = artifact if artifact.is_dir() else artifact.parent
    fields = json.loads(json.dumps(recipe.request))
    for name, path in find_inputs(recipe, [home, Path.cwd()], inputs).items():
        _put(fields, name, str(path))
    _choose_model(recipe, fields, task, [home, home.parent, Path.cwd()], model)
    request = make_request(task, fields)
    if set(input_files(request)) != set(recipe.inputs):  # a file may be read for its hash, never for its path
        raise BadInput("artifact", "its recipe names a file without its hash")
    wanted = device or _available(task, recipe.device)
    place = Path(tempfile.mkdtemp(prefix="langevin-replay-")) if out is None else out
    try:
        finished = run_task(
            task,
            request,
            out=place,
            on_progress=on_progress,
            cancel=cancel,
            device=wanted,
            threads=recipe.threads,
        )
        verdicts = list(_compare(recipe, finished, artifact))
    finally:
        if out is None:
            shutil.rmtree(place, ignore_errors=True)
    return Replayed(recipe, finished, verdicts, _differences(recipe, finished))


def compare_runs(recorded: Finished, made: Finished) -> list[Verdict]:
    """Whether each artifact of a run came out the same in another run of the same request."""
    return list(_compare(recorded.recipe, made, recorded.directory))


def _compare(recipe: Recipe, finished: Finished, artifact: Path) -> Iterator[Verdict]:
    new = {made.name: made for made in finished.artifacts}
    for name, recorded in recipe.content_sha256.items():
        if name not in new:
            yield Verdict(name, False, "was not made again")
            continue
        stored = _stored_file(artifact, name, recorded, new[name].path)
        if stored is not None and content_sha256(stored) != recorded:
            same = new[name].content_sha256 == recorded
            how = "comes out as recorded" if same else "came out different"
            yield Verdict(name, False, f"{how}, but the stored file was changed since")
        elif new[name].content_sha256 == recorded:
            yield Verdict(name, True)
        else:
            yield _judged(name, stored, new[name].path, recipe.device, finished.recipe.device)
    for name in new.keys() - recipe.content_sha256.keys():
        yield Verdict(name, False, "was not made before")


def _judged(name: str, stored: Path | None, made: Path, before: str, now: str) -> Verdict:
    """What to say of an artifact whose bytes differ from the recorded ones."""
    apart = difference(stored, made) if stored is not None else None
    if before == now:
        by = f", by {apart.size:.1e} of its range" if apart is not None else ""
        return Verdict(name, False, f"came out different{by}")
    if stored is None:
        return Verdict(
            name, False, f"ran on {before}, now on {now}, and the recorded file is not there to compare with"
        )
    if apart is None:
        return Verdict(name, False, f"came out different on {now}, in more than its numbers")
    how = f"{apart.size:.1e} of its range apart on {now}, {apart.tolerance:.1e} allowed"
    return Verdict(name, apart.allowed, how)


def _stored_file(artifact: Path, name: str, recorded: str, made: Path) -> Path | None:
    """The recorded file `name`: where it was written, else `artifact` under another name; None where it is neither."""
    home = artifact if artifact.is_dir() else artifact.parent
    place = _child(home, name)
    if place is not None and place.is_file() and place.resolve() != made.resolve():
        return place
    if artifact.is_file() and artifact.suffix == made.suffix and not artifact.name.endswith(RECIPE_SUFFIX):
        return artifact if content_sha256(artifact) == recorded else None
    return None


def _differences(recipe: Recipe, finished: Finished) -> list[str]:
    now = finished.recipe
    said = [
        f"{name} was {recipe.libraries.get(name, 'absent')}, is {now.libraries.get(name, 'absent')}"
        for name in sorted({*recipe.libraries, *now.libraries})
        if recipe.libraries.get(name) != now.libraries.get(name)
    ]
    if recipe.device != now.device:
        said.append(f"ran on {recipe.device}, now on {now.device}")
    before, after = recipe.model, now.model
    if before is not None and after is not None and before.sha256 != after.sha256:
        said.append(f"the weights of {before.name} have changed")
    return said


def _choose_model(
    recipe: Recipe, fields: dict[str, Any], task: Task, folders: list[Path], given: Path | None
) -> None:
    """Points `fields` at a model with the recorded weights, where the request named one."""
    if given is not None:
        fields.setdefault("sampling", {})["model"] = str(given)
        return
    named = fields.get("sampling", {}).get("model")
    if named is None:
        return
    if recipe.model is None or recipe.model.sha256 is None:
        raise BadInput("artifact", "its recipe names a model without its hash")
    if any(
        model.sha256() == recipe.model.sha256
        for model in builtin_models(BUILTIN).values()
        if model.name == named
    ):
        return
    for folder in folders:
        for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
            if entry.name == recipe.model.name and entry.is_dir():
                try:
                    if find_model(str(entry)).sha256() == recipe.model.sha256:
                        fields["sampling"]["model"] = str(entry)
                        return
                except BadInput:
                    continue
    raise BadInput(
        "model", f"the model {recipe.model.name!r} is not there; name its folder with --model FOLDER"
    )


def _available(task: Task, recorded: str) -> str | None:
    try:
        return choose_device(task, recorded)
    except BadInput:
        return None


def _candidates(wanted: InputFile, folders: list[Path], given: list[Path]) -> Iterator[Path]:
    yield from given
    base = Path(wanted.name).name
    for folder in folders:
        if base:
            yield folder / base
    # Renamed since: any file of the right size beside the artifact.
    for path in sorted(folders[0].iterdir()) if folders else []:
        if path.is_file() and path.stat().st_size == wanted.bytes:
            yield path


def _child(folder: Path, name: str) -> Path | None:
    """`folder / name`, or None where that would lie outside."""
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder.resolve()) else None


def _put(fields: dict[str, Any], dotted: str, value: str) -> None:
    *way, last = dotted.split(".")
    place: Any = fields
    try:
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if isinstance(place, list):
            place[int(last)] = value
        elif last in place:
            place[last] = value
        else:
            raise KeyError(last)
    except (KeyError, IndexError, ValueError, TypeError):
        raise BadInput(
            "artifact", f"its recipe names an input {dotted!r} that its request does not have"
        ) from None


def _stored(path: Path) -> dict[str, Any] | None:
    """The recipe in a `result.json` or in a recipe file itself; None where the JSON is something else."""
    data = _json(path)
    if not isinstance(data, dict):
        return None
    if isinstance(data.get("recipe"), dict):
        return dict(data["recipe"])
    return data if "recipe" in data and "task" in data else None


def _json(path: Path) -> Any:
    if path.stat().st_size > _RESULT_LIMIT:
        return None
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):
        return None
