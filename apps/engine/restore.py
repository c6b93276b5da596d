"""From an artifact to the form that made it: its task, its fields as far as they hold today, and what is missing.

The artifact may come from anybody: no path that it names is opened, no model but a built-in one is taken from it, and
its fields go through the request's own checks one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from apps.engine.environment import langevin_version
from apps.engine.recipe import InputFile, Recipe
from apps.engine.replay import find_recipe
from apps.engine.validation import explain, printable, resolve
from core.files import file_sha256
from domains.common.errors import BadInput
from domains.common.files import human_size
from domains.common.models import builtin_models
from domains.common.recipes.foreign import ForeignSettings, read_foreign
from domains.common.task import Task
from domains.registry import find_task

_MAX_NOTES = 40


@dataclass(frozen=True)
class Restored:
    """A tab as it was.

    Attributes:
        task: Name of the task.
        fields: The request, nested and of plain JSON types; what is not there has its default or has to be given.
        notes: Sentences for the person: what was left out and why.
        missing: Field -> the input file that it needs, which is not there.
    """

    task: str
    fields: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    missing: dict[str, InputFile] = field(default_factory=dict)


def restore(path: Path, folders: Iterable[Path] = ()) -> Restored:
    """The task and the fields that an artifact was made with.

    Args:
        path: An artifact with a recipe in it or beside it, a `.recipe.json` or a `result.json`.
        folders: Where input files may lie; they are known by their content.

    Raises:
        BadInput: For `artifact`, if it carries no recipe or a damaged one; for `task`, if there is no such task.
    """
    path = Path(path)
    try:
        recipe = find_recipe(path)
    except BadInput:
        made = read_foreign(path) if path.is_file() else None
        if made is not None:
            raise BadInput("artifact", _words(made)) from None
        raise
    task = find_task(recipe.task)
    schema = task.request.model_json_schema()
    notes: list[str] = []
    fields = _known(recipe.request, schema, schema, "", notes)
    missing = _put_inputs(recipe, fields, list(folders), notes)
    _check_model(recipe, fields, notes)
    _check_values(task, fields, missing, notes)
    if (version := recipe.libraries.get("langevin")) is not None and version != langevin_version():
        notes.append(f"made with Langevin {printable(version)}; this is {langevin_version()}")
    return Restored(task.name, fields, notes[:_MAX_NOTES], missing)


def _known(
    value: Mapping[str, Any],
    part: Mapping[str, Any],
    schema: Mapping[str, Any],
    prefix: str,
    notes: list[str],
) -> dict[str, Any]:
    """The fields that the task has today, without those that name files."""
    kept: dict[str, Any] = {}
    properties = part.get("properties", {})
    for name, item in value.items():
        if name not in properties:
            notes.append(
                f"{printable(prefix + str(name))} is no field of this task any more and was left out"
            )
            continue
        spec = resolve(properties[name], schema)
        if _is_file(spec) or _is_file(resolve(spec.get("items", {}), schema)):
            continue  # put in below, if the file is found
        if isinstance(item, Mapping) and "properties" in spec:
            kept[name] = _known(item, spec, schema, f"{prefix}{name}.", notes)
        else:
            kept[name] = item
    return kept


def _is_file(spec: Mapping[str, Any]) -> bool:
    return spec.get("format") in ("file", "path", "file-path", "directory-path")


def _put_inputs(
    recipe: Recipe, fields: dict[str, Any], folders: list[Path], notes: list[str]
) -> dict[str, InputFile]:
    """Puts in the input files that are there; the others by field, with a note each."""
    missing: dict[str, InputFile] = {}
    for name, wanted in recipe.inputs.items():
        way = name.split(".")
        found = next(_same_content(wanted, folders), None)
        if found is None:
            missing[name] = wanted
            size = human_size(wanted.bytes)
            notes.append(
                f"{printable(name)}: give {printable(wanted.name)} again "
                f"({size}, sha256 {wanted.sha256[:12]}…); it is not part of the artifact"
            )
            continue
        place: Any = fields
        for part in way[:-1]:
            place = place.setdefault(part, []) if isinstance(place, dict) else {}
        if isinstance(place, list):
            place.append(str(found))
        elif isinstance(place, dict):
            place[way[-1]] = str(found)
    return missing


def _same_content(wanted: InputFile, folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.is_file() and path.stat().st_size == wanted.bytes and file_sha256(path) == wanted.sha256:
                yield path


def _check_model(recipe: Recipe, fields: dict[str, Any], notes: list[str]) -> None:
    """Keeps the name of a built-in model; a folder's name is nobody's to give but the person's."""
    sampling = fields.get("sampling")
    named = sampling.get("model") if isinstance(sampling, dict) else None
    models = builtin_models()
    if named is not None and (not isinstance(named, str) or named not in models):
        del fields["sampling"]["model"]
        notes.append(
            f"the model {printable(named)} is not built in; choose it again, or the task's own is used"
        )
    used = recipe.model
    if (
        used is not None
        and used.name in models
        and used.sha256 not in (None, models[used.name].recorded_sha256)
    ):
        notes.append(f"the weights of {used.name} have changed since; results will differ")


def _check_values(
    task: Task, fields: dict[str, Any], missing: Mapping[str, InputFile], notes: list[str]
) -> None:
    """Leaves out values that the request refuses, one a round, and names what has to be given."""
    for _ in range(200):
        try:
            task.request.model_validate(fields)
            return
        except ValidationError as error:
            faults = [fault for fault in error.errors(include_url=False) if fault["type"] != "missing"]
            if not faults:
                lacking = {".".join(map(str, fault["loc"])) for fault in error.errors(include_url=False)}
                notes += [f"{name}: has to be given" for name in sorted(lacking - {*missing})]
                return
            said = explain(_only(error, faults[0]), task.request)
            loc = [*faults[0]["loc"]]
            cause = faults[0].get("ctx", {}).get("error")
            if isinstance(cause, BadInput):
                loc.append(cause.field)
            if not _drop(fields, loc):
                fields.clear()
            notes.append(f"{said}; it was left out")
        except RecursionError:
            fields.clear()
            notes.append("the fields are nested too deeply and were left out")


def _only(error: ValidationError, fault: Any) -> ValidationError:
    """The error with one fault alone, which `explain` puts into words."""
    line: Any = {key: fault[key] for key in ("type", "loc", "input", "ctx") if key in fault}
    return ValidationError.from_exception_data(error.title, [line])


def _drop(fields: dict[str, Any], loc: list[Any]) -> bool:
    """Takes out the field at `loc`, or the nearest above it that is in an object."""
    place: Any = fields
    owner: tuple[dict[str, Any], str] | None = None
    for part in loc:
        if isinstance(place, dict) and part in place:
            owner = (place, part)
            place = place[part]
        else:
            break
    if owner is None:
        return False
    del owner[0][owner[1]]
    return True


def _words(made: ForeignSettings) -> str:
    solver = f" with the solver {made.solver}" if made.solver else ""
    return (
        f"made by {made.program}: {made.steps or 'unknown'} steps{solver}, seed {made.seed}; "
        "no task of this installation makes images, so there is no form to fill"
    )
