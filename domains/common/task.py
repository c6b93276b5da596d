"""The task contract: a typed request goes in, a run is watched, a result comes out.

One declaration gives the tab, the command, the HTTP endpoint and the table in the docs:

    class ImputeRequest(Request):
        table: TableFile = Field(description="CSV or Parquet; empty cells and NaN are missing")

    @task("series.impute", title="Fill gaps", model="series-base", request=ImputeRequest)
    def impute(request: ImputeRequest, run: Run) -> Result: ...

This module is imported by every entry of the app, so it loads neither torch nor any domain library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from domains.common.errors import BadInput

# The solvers of `core.solvers.SOLVERS` that walk R^n from pure noise in few steps, and the model's own fitted one.
SolverName = Literal[
    "multistep",
    "multistep-3",
    "multistep-sde",
    "unipc",
    "fitted",
    "heun",
    "ancestral",
    "ddim",
    "dpm-solver",
    "deis",
    "ipndm",
    "sa-solver",
    "edm",
    "rk4",
    "adaptive",
]


def _existing_file(value: object) -> Path:
    path = Path(str(value))
    try:
        path = path.expanduser()
        exists = path.is_file()
    except (OSError, RuntimeError):  # a name too long, a folder that may not be entered, an unknown ~user
        exists = False
    if not exists:
        raise ValueError("no such file; give the path of an existing file")
    return path


# A path that the person named.  `format: file` in the schema makes it an upload box; `accept` lists suffixes.
TableFile = Annotated[
    Path,
    BeforeValidator(_existing_file),
    Field(json_schema_extra={"format": "file", "accept": [".csv", ".tsv", ".txt", ".parquet"]}),
]
ImageFile = Annotated[
    Path,
    BeforeValidator(_existing_file),
    Field(json_schema_extra={"format": "file", "accept": [".png", ".jpg", ".jpeg", ".webp", ".gif"]}),
]
MoleculeFile = Annotated[
    Path,
    BeforeValidator(_existing_file),
    Field(
        json_schema_extra={
            "format": "file",
            "accept": [".sdf", ".sd", ".mol", ".mol2", ".xyz", ".smi", ".smiles", ".csv", ".tsv", ".txt"],
        }
    ),
]


class Fields(BaseModel):
    """Base of what a person fills in: refuses unknown fields, NaN, infinities, and booleans for numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _plain_numbers(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for name, value in data.items():
                if isinstance(value, float) and not math.isfinite(value):
                    raise BadInput(str(name), "must be a finite number")
                # pydantic reads True as 1; a person who writes `true` for a number of steps made a mistake.
                known = cls.model_fields.get(str(name))
                kinds = {known.annotation, *get_args(known.annotation)} if known is not None else set()
                if isinstance(value, bool) and bool not in kinds and kinds & {int, float}:
                    raise BadInput(str(name), "must be a number, not true or false")
        return data


class Sampling(Fields):
    """How the denoiser is walked; the same fields for every task, and plain flags on the command line."""

    solver: SolverName = Field("multistep", description="solver that walks from noise to data")
    steps: int = Field(10, ge=1, le=1000, description="solver steps; past 20, more is slower, seldom better")
    guidance: float = Field(
        1.0, ge=0.0, le=20.0, allow_inf_nan=False, description="classifier-free guidance weight; 1 is none"
    )
    seed: int = Field(0, ge=0, le=2**63 - 1, description="the same seed and request give the same result")
    model: str | None = Field(
        None, max_length=200, description="built-in model or a folder made by train; empty: the task's own"
    )


class Request(Fields):
    """Base of all requests; `sampling` is part of every request."""

    sampling: Sampling = Field(default_factory=Sampling, description="solver, steps, guidance, seed, model")


@dataclass(frozen=True)
class Artifact:
    """A file that a task wrote into `Run.directory`.

    Attributes:
        path: Name relative to the run's directory, chosen by the task (never from the request).
        kind: What it is: `table`, `figure`, `plot` (plotly JSON), `image`, `molecule`, ...
        title: A few words for people.
    """

    path: str
    kind: str
    title: str = ""


@dataclass(frozen=True)
class Result:
    """What a task returns.

    Attributes:
        artifacts: Files in the field's own formats, in the order in which a person wants to see them.
        metrics: Numbers worth a line each; plain floats, ints and strings.
        nfe: Denoiser evaluations per sample.
        notes: Sentences for the person, for example what was assumed about their file.
    """

    artifacts: list[Artifact]
    metrics: dict[str, float | int | str] = field(default_factory=dict)
    nfe: int = 0
    notes: list[str] = field(default_factory=list)


class Run(Protocol):
    """What a task may ask of the engine that runs it."""

    directory: Path  # where artifacts are written; empty at the start, published as a whole at the end
    device: str  # "cpu" or "cuda"

    def progress(self, done: float, total: float, message: str = "") -> None:
        """Says how far the run is; also raises `Cancelled` where the person asked to stop."""

    def preview(self, figure: Mapping[str, Any]) -> None:
        """Shows an intermediate result: a plotly figure as a plain dict."""

    def check(self) -> None:
        """Raises `Cancelled` where the person asked to stop; called at least once a denoiser step."""

    def keep(self, name: str, make: Callable[[], Any]) -> None:
        """Offers a checkpoint: what the task needs to go on from here, should this process end.

        `make` is called, and what it returns takes the place of what was kept under `name` before, only from time to
        time; so a task offers one at every step.  It returns tensors, numbers, strings and None in lists, tuples and
        dicts.  The results of a run that went on from a checkpoint are the bytes of one that was never interrupted:
        noise is drawn by its address, and a task keeps all else that its later steps depend on.

        Raises:
            Cancelled: Where the run is to be left here.
        """

    def kept(self, name: str) -> Any:
        """What an earlier attempt at this run kept under `name` last; None at the first attempt."""


@dataclass(frozen=True)
class Task:
    """A registered task.

    Attributes:
        name: `domain.verb`, as on the command line.
        title: The label of its pill in the tab.
        summary: One sentence that says what comes out.
        model: Name of the built-in model it uses by default.
        request: The class of its requests.
        function: `(request, run) -> Result`.
        extra: The extra of the project that installs the libraries it needs.
        libraries: Import names that must be present for the task to run.
        evaluate: `module:function` that makes the task's metric table, or None.
        examples: Label -> a function that returns the fields of a finished example request.
        action: Words on the button that runs it; the title where empty.
    """

    name: str
    title: str
    summary: str
    model: str
    request: type[Request]
    function: Callable[[Any, Run], Result]
    extra: str
    libraries: tuple[str, ...] = ()
    evaluate: str | None = None
    examples: Mapping[str, Callable[[], dict[str, Any]]] = field(default_factory=dict)
    action: str = ""

    @property
    def domain(self) -> str:
        return self.name.split(".", 1)[0]


TASKS: dict[str, Task] = {}


def task(
    name: str,
    *,
    title: str,
    model: str,
    request: type[Request],
    extra: str,
    summary: str = "",
    libraries: tuple[str, ...] = (),
    evaluate: str | None = None,
    examples: Mapping[str, Callable[[], dict[str, Any]]] | None = None,
    action: str = "",
) -> Callable[[Callable[[Any, Run], Result]], Callable[[Any, Run], Result]]:
    """Registers a task under `name`; the function's docstring opens with its one-sentence summary.

    Raises:
        ValueError: If the name is taken.
    """

    def register(function: Callable[[Any, Run], Result]) -> Callable[[Any, Run], Result]:
        if name in TASKS:
            raise ValueError(f"task {name} is declared twice")
        TASKS[name] = Task(
            name=name,
            title=title,
            summary=summary or (function.__doc__ or "").strip().split("\n", 1)[0],
            model=model,
            request=request,
            function=function,
            extra=extra,
            libraries=libraries,
            evaluate=evaluate,
            examples=dict(examples or {}),
            action=action,
        )
        return function

    return register
