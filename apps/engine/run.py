"""Runs a task: staging, watching, recipe, and publishing what it made in one go."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Any

from apps.engine.checkpoints import Checkpoints
from apps.engine.environment import (
    choose_device,
    library_versions,
    require_libraries,
    thread_count,
    use_threads,
)
from apps.engine.progress import Progress, ProgressMeter
from apps.engine.publish import publish, staging_folder
from apps.engine.recipe import (
    ModelUsed,
    Recipe,
    describe_file,
    input_files,
    model_of,
    portable_request,
)
from core.files import file_sha256
from domains.common.errors import BadInput, Cancelled
from domains.common.recipes import content_sha256, embed_recipe
from domains.common.task import Request, Result, Task

RESULT = "result.json"
OnProgress = Callable[[Progress], None]
OnPreview = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class FinishedArtifact:
    """An artifact where it lies now.

    Attributes:
        path: The file.
        name: Its name relative to the results' folder.
        kind: What it is, as the task said.
        title: A few words for people.
        sha256: Hash of the file as it lies there.
        content_sha256: Hash of its bytes before the recipe was written into it.
    """

    path: Path
    name: str
    kind: str
    title: str
    sha256: str
    content_sha256: str


@dataclass(frozen=True)
class Finished:
    """A finished run.

    Attributes:
        task: Name of the task.
        directory: Folder that holds the artifacts and `result.json`.
        artifacts: In the order in which the task gave them.
        metrics: As the task gave them.
        notes: Sentences for the person.
        recipe: What makes the artifacts again.
        nfe: Denoiser evaluations per sample.
        seconds: Duration of the task.
    """

    task: str
    directory: Path
    artifacts: list[FinishedArtifact]
    metrics: dict[str, float | int | str]
    notes: list[str]
    recipe: Recipe
    nfe: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """What `result.json` holds."""
        return {
            "task": self.task,
            "artifacts": [{"path": a.name, "kind": a.kind, "sha256": a.sha256} for a in self.artifacts],
            "metrics": {name: _plain(value) for name, value in self.metrics.items()},
            "recipe": self.recipe.as_json(),
            "nfe": self.nfe,
            "seconds": self.seconds,
            "notes": self.notes,
            "titles": {a.name: a.title for a in self.artifacts},
        }

    @classmethod
    def load(cls, directory: Path) -> Finished:
        """The run whose results lie in `directory`, from its `result.json`.

        Raises:
            OSError: If there is none.
            ValueError, KeyError: If it is damaged.
        """
        stored = json.loads((directory / RESULT).read_text("utf-8"))
        recipe = Recipe.model_validate(stored["recipe"])
        titles = stored.get("titles", {})
        artifacts = [
            FinishedArtifact(
                path=directory / item["path"],
                name=item["path"],
                kind=item["kind"],
                title=titles.get(item["path"], ""),
                sha256=item["sha256"],
                content_sha256=recipe.content_sha256[item["path"]],
            )
            for item in stored["artifacts"]
        ]
        return cls(
            task=stored["task"],
            directory=directory,
            artifacts=artifacts,
            metrics={k: float("nan") if v is None else v for k, v in stored["metrics"].items()},
            notes=list(stored.get("notes", [])),
            recipe=recipe,
            nfe=stored["nfe"],
            seconds=stored["seconds"],
        )


@dataclass
class LiveRun:
    """The `Run` that tasks see; see `domains.common.task.Run`."""

    directory: Path
    device: str
    on_progress: OnProgress | None = None
    on_preview: OnPreview | None = None
    cancel: Event = field(default_factory=Event)
    checkpoints: Checkpoints | None = None
    on_alive: Callable[[], None] | None = None
    meter: ProgressMeter = field(default_factory=ProgressMeter)

    def progress(self, done: float, total: float, message: str = "") -> None:
        self.check()
        moment = self.meter.update(done, total, message)
        if self.on_progress is not None:
            self.on_progress(moment)

    def preview(self, figure: Mapping[str, Any]) -> None:
        if self.on_preview is not None:
            self.on_preview(figure)

    def check(self) -> None:
        if self.cancel.is_set():
            raise Cancelled("the run was cancelled")
        if self.checkpoints is not None:
            self.checkpoints.check()
        if self.on_alive is not None:
            self.on_alive()

    def keep(self, name: str, make: Callable[[], Any]) -> None:
        if self.checkpoints is not None:
            self.checkpoints.keep(name, make)

    def kept(self, name: str) -> Any:
        return self.checkpoints.kept(name) if self.checkpoints is not None else None


def run_task(
    task: Task,
    request: Request,
    *,
    out: Path | None = None,
    on_progress: OnProgress | None = None,
    on_preview: OnPreview | None = None,
    cancel: Event | None = None,
    device: str | None = None,
    threads: int | None = None,
    checkpoints: Checkpoints | None = None,
    on_alive: Callable[[], None] | None = None,
    before: float = 0.0,
) -> Finished:
    """Runs `task` and publishes its artifacts, their recipes and `result.json` in `out`.

    Nothing appears in `out` before the task has succeeded, and nothing stays behind where it fails or is
    cancelled.

    Args:
        task: What to run.
        request: A validated request of that task.
        out: Folder for the results, made where absent; None makes a temporary one that then is the caller's.
        on_progress: Told how far the run is.
        on_preview: Given intermediate figures.
        cancel: Setting it stops the run at its next check.
        device: "cpu" or "cuda"; None takes the GPU where there is one.
        threads: Threads of numerical kernels; None leaves them as they are.
        checkpoints: Where the run leaves what it needs to be resumed, and finds what an earlier attempt left.
        on_alive: Called whenever the task looks whether it is to go on.
        before: Seconds that earlier attempts took; they count as part of the run's duration.

    Raises:
        BadInput: If the request cannot be served or `out` cannot be written.
        Cancelled: If `cancel` was set.
        MissingLibrary: If an optional library is absent.
    """
    require_libraries(task)
    chosen = choose_device(task, device)
    model = model_of(task, request)
    if threads is not None:
        use_threads(task, threads)
    inputs = input_files(request)
    stamps = {name: _stamp(path) for name, path in inputs.items()}
    temporary = Path(tempfile.mkdtemp(prefix="langevin-")) if out is None else None
    destination = temporary or out
    assert destination is not None
    try:
        with staging_folder(destination) as staging:
            work, ready = staging / "work", staging / "ready"
            work.mkdir()
            ready.mkdir()
            run = LiveRun(work, chosen, on_progress, on_preview, cancel or Event(), checkpoints, on_alive)
            run.check()
            start = time.perf_counter()
            result = task.function(request, run)
            seconds = before + time.perf_counter() - start
            run.check()
            contents = _collect(result, work, ready)
            # Inputs are hashed once the task has accepted them: it bounds their size.
            described = {name: describe_file(path) for name, path in inputs.items()}
            for name, path in inputs.items():
                if _stamp(path) != stamps[name]:
                    raise BadInput(name, "changed while it was being read; run again")
            recipe = Recipe(
                recipe=1,
                task=task.name,
                request=portable_request(request, model),
                inputs=described,
                model=ModelUsed(name=model.name, sha256=model.sha256()) if model is not None else None,
                libraries=library_versions(task.libraries),
                device="cuda" if chosen == "cuda" else "cpu",
                threads=thread_count(),
                seconds=round(seconds, 3),
                nfe=int(result.nfe),
                content_sha256=contents,
            )
            for name in contents:
                embed_recipe(ready / name, recipe.as_json())
            finished = Finished(
                task=task.name,
                directory=destination,
                artifacts=[
                    FinishedArtifact(
                        path=destination / a.path,
                        name=a.path,
                        kind=a.kind,
                        title=a.title,
                        sha256=file_sha256(ready / a.path),
                        content_sha256=contents[a.path],
                    )
                    for a in result.artifacts
                ],
                metrics=dict(result.metrics),
                notes=list(result.notes),
                recipe=recipe,
                nfe=recipe.nfe,
                seconds=recipe.seconds,
            )
            text = json.dumps(finished.as_json(), indent=2, ensure_ascii=False, allow_nan=False)
            (ready / RESULT).write_text(text + "\n", "utf-8")
            run.check()
            publish(ready, destination, last=[RESULT])
            return finished
    except BaseException:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise


def _collect(result: Result, work: Path, ready: Path) -> dict[str, str]:
    """Moves the listed artifacts from `work` to `ready`; name -> hash of its bytes."""
    contents: dict[str, str] = {}
    for artifact in result.artifacts:
        name = PurePosixPath(artifact.path)
        source = work / name
        if name.is_absolute() or ".." in name.parts or source.is_symlink() or not source.is_file():
            raise RuntimeError(f"the task lists {artifact.path!r}, which is no file in its folder")
        if artifact.path == RESULT or artifact.path in contents:
            raise RuntimeError(f"the task lists {artifact.path!r} twice, or takes the name of {RESULT}")
        contents[artifact.path] = content_sha256(source)
        target = ready / name
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
    return contents


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of change, which tell whether a file was rewritten during a run."""
    try:
        status = path.stat()
    except OSError:
        return (-1, -1)
    return status.st_size, status.st_mtime_ns


def _plain(value: object) -> float | int | str | None:
    """A metric as JSON can say it: numpy scalars become Python's, NaN and infinities null."""
    item = getattr(value, "item", None)
    if callable(item):
        value = item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, bool | int | str) or value is None else str(value)
