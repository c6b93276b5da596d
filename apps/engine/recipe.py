"""The recipe: everything that is needed to make an artifact again.  One JSON schema, versioned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_jsonable_python

from core.files import file_sha256
from domains.common.errors import BadInput
from domains.common.models import ModelFolder, builtin_models, find_model
from domains.common.task import Request, Task

_HEX = r"^[0-9a-f]{64}$"


class InputFile(BaseModel):
    """A file that a request named; its folder is nobody's business."""

    name: str = Field(max_length=1000, description="base name")
    sha256: str = Field(pattern=_HEX)
    bytes: int = Field(ge=0, description="size")


class ModelUsed(BaseModel):
    """The model that ran."""

    name: str = Field(max_length=1000)
    sha256: str | None = Field(None, pattern=_HEX, description="hash of the weights")


class Recipe(BaseModel):
    """What made a set of artifacts; travels inside them where their format has a place, and beside them."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    recipe: Literal[1] = Field(1, description="version of this schema")
    task: str = Field(max_length=200, description="domain.verb")
    request: dict[str, Any] = Field(
        description="every field and the seed; files and model folders by base name"
    )
    inputs: dict[str, InputFile] = Field(
        default_factory=dict, description="request field -> the file it named"
    )
    model: ModelUsed | None = None
    libraries: dict[str, str] = Field(default_factory=dict, description="name -> version")
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(1, ge=1, description="threads of numerical kernels; they set the order of sums")
    seconds: float = Field(0.0, ge=0.0, description="duration of the run")
    nfe: int = Field(0, ge=0, description="denoiser evaluations per sample")
    content_sha256: dict[str, str] = Field(
        default_factory=dict,
        description="artifact -> hash of its bytes without a recipe (`domains.common.recipes.content_sha256`)",
    )

    def as_json(self) -> dict[str, Any]:
        """The recipe as plain JSON types."""
        return self.model_dump(mode="json")


def parse_recipe(data: object) -> Recipe:
    """Checks a recipe that came out of a file.

    Raises:
        BadInput: If it is of another version or malformed.
    """
    if isinstance(data, dict) and data.get("recipe") != 1:
        raise BadInput(
            "artifact", "its recipe has a version that this Langevin does not know; update Langevin"
        )
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "recipe"
        raise BadInput("artifact", f"its recipe is damaged at {where!r}") from None


def input_files(request: Request) -> dict[str, Path]:
    """Dotted field name -> path, for every file that the request names."""
    return dict(_paths("", request))


def describe_file(path: Path) -> InputFile:
    """Name, hash and size of an input file."""
    return InputFile(name=path.name, sha256=file_sha256(path), bytes=path.stat().st_size)


def portable_request(request: Request, model: ModelFolder | None) -> dict[str, Any]:
    """Every field of a request as plain JSON, with files and model folders by base name alone."""
    fields: dict[str, Any] = to_jsonable_python(_without_folders(request.model_dump(mode="python")))
    if request.sampling.model and model is not None:
        fields["sampling"]["model"] = model.name
    return fields


def model_of(task: Task, request: Request) -> ModelFolder | None:
    """The model that a request of `task` asks for; None where the task uses none or its own is not installed.

    Raises:
        BadInput: If the request names a model that is not there, or the model is damaged.
    """
    if request.sampling.model:
        model = find_model(request.sampling.model)
    elif task.model in builtin_models():
        model = find_model(task.model)
    else:
        return None
    if (problem := model.problem()) is not None:
        raise BadInput("model", f"{model.name}: {problem}; fetch or train it again")
    return model


def _paths(prefix: str, value: object) -> Iterator[tuple[str, Path]]:
    if isinstance(value, Path):
        yield prefix, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _paths(f"{prefix}.{name}" if prefix else name, getattr(value, name))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _paths(f"{prefix}.{name}" if prefix else str(name), item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _paths(f"{prefix}.{index}" if prefix else str(index), item)


def _without_folders(value: Any) -> Any:
    if isinstance(value, Path):
        return value.name
    if isinstance(value, dict):
        return {name: _without_folders(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(item) for item in value]
    return value
