"""One run: what it publishes, and what it leaves behind when it fails; jobs are tested in tests/engine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from PIL import Image

from apps.engine.progress import Progress, ProgressMeter
from apps.engine.publish import check_destination, staging_folder
from apps.engine.recipe import parse_recipe
from apps.engine.run import run_task
from apps.engine.validation import make_request
from domains.common.errors import BadInput, Cancelled, MissingLibrary
from domains.common.recipes import RECIPE_SUFFIX, read_recipe
from domains.common.task import Artifact, Result, Run, Task

Files = Callable[[], dict[str, bytes]]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_run_publishes_artifacts_recipes_and_result(walk_task: Task, numbers: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    request = make_request(walk_task, {"table": str(numbers), "seed": 7, "steps": 4})
    finished = run_task(walk_task, request, out=out)

    result = json.loads((out / "result.json").read_text("utf-8"))
    assert {"task", "artifacts", "metrics", "recipe", "nfe", "seconds"} <= set(result)
    assert result["task"] == "demo.walk"
    assert [item["path"] for item in result["artifacts"]] == ["walk.csv", "pictures/walk.png"]
    assert all(set(item) == {"path", "kind", "sha256"} for item in result["artifacts"])
    for item, artifact in zip(result["artifacts"], finished.artifacts, strict=True):
        assert item["sha256"] == sha256(out / item["path"]) == artifact.sha256
        assert artifact.path == out / item["path"]
    assert result["nfe"] == 4
    assert result["metrics"]["nothing"] is None, "NaN is no JSON"
    assert result["metrics"]["spread"] > 0
    assert not (out / "scratch.bin").exists()
    assert [path.name for path in out.parent.iterdir()] == ["out"], "no staging folder stays"
    # The recipe is inside the picture and beside both.
    for name in ("walk.csv", "pictures/walk.png"):
        assert read_recipe(out / name) == result["recipe"]
    shutil.copy(out / "pictures" / "walk.png", tmp_path / "alone.png")
    assert read_recipe(tmp_path / "alone.png") == result["recipe"]
    beside = {path.name for path in out.rglob("*") if path.is_file()}
    assert beside == {
        "result.json",
        *(f"walk.{kind}{end}" for kind in ("csv", "png") for end in ("", RECIPE_SUFFIX)),
    }
    with Image.open(out / "pictures" / "walk.png") as picture:
        assert picture.size == (20, 8)
    # A table stays as the task wrote it.
    assert sha256(out / "walk.csv") == result["recipe"]["content_sha256"]["walk.csv"]


def test_the_recipe_holds_what_is_needed_and_no_folder(
    walk_task: Task, numbers: Path, tmp_path: Path
) -> None:
    request = make_request(walk_task, {"table": str(numbers), "seed": 7, "marks": [1.5, 2]})
    recipe = run_task(walk_task, request, out=tmp_path / "out").recipe
    assert recipe.request["sampling"]["seed"] == 7
    assert recipe.request["length"] == 20, "defaults are recorded too"
    assert recipe.request["table"] == "numbers.csv"
    assert recipe.inputs["table"].sha256 == sha256(numbers)
    assert recipe.inputs["table"].bytes == numbers.stat().st_size
    assert {"langevin", "python", "torch", "numpy", "pydantic", "PIL"} <= set(recipe.libraries)
    assert recipe.device in ("cpu", "cuda")
    assert str(tmp_path) not in json.dumps(recipe.as_json())
    assert parse_recipe(json.loads(json.dumps(recipe.as_json()))) == recipe


def test_a_recipe_of_another_version_is_refused(walk_task: Task, tmp_path: Path) -> None:
    recipe = run_task(walk_task, make_request(walk_task, {}), out=tmp_path / "out").recipe.as_json()
    assert parse_recipe({**recipe, "later": "additions are passed over"}).as_json() == recipe
    with pytest.raises(BadInput, match="version"):
        parse_recipe({**recipe, "recipe": 2})
    for damaged in ([], None, {"recipe": 1}, {**recipe, "content_sha256": 3}):
        with pytest.raises(BadInput) as caught:
            parse_recipe(damaged)
        assert caught.value.field == "artifact"


@pytest.mark.parametrize("damage", ["weights", "card"])
def test_a_damaged_model_is_refused_before_the_run(walk_task: Task, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    digest = sha256(folder / "model.safetensors")
    (folder / "card.json").write_text(json.dumps({"sha256": digest}), "utf-8")
    request = make_request(walk_task, {"model": str(folder)})
    recipe = run_task(walk_task, request, out=tmp_path / "out").recipe
    assert recipe.model is not None
    assert (recipe.model.name, recipe.model.sha256) == ("model", digest)
    assert recipe.request["sampling"]["model"] == "model", "by base name"
    if damage == "weights":
        (folder / "model.safetensors").write_bytes(b"Weights")
    else:
        (folder / "card.json").write_text("{}", "utf-8")
    with pytest.raises(BadInput) as caught:
        run_task(walk_task, request, out=tmp_path / "again")
    assert caught.value.field == "model"


def test_earlier_results_are_replaced_only_after_success(
    walk_task: Task, tmp_path: Path, tree: Files, hooks: list[Any]
) -> None:
    out = tmp_path / "out"
    run_task(walk_task, make_request(walk_task, {"seed": 1}), out=out)
    (out / "mine.txt").write_text("keep me", "utf-8")
    before = tree()

    def fail(run: Run, step: int) -> None:
        (run.directory / "walk.csv").write_text("half", "utf-8")
        if step == 1:
            raise RuntimeError("broken")

    hooks.append(fail)
    with pytest.raises(RuntimeError, match="broken"):
        run_task(walk_task, make_request(walk_task, {"seed": 2}), out=out)
    assert tree() == before
    hooks.clear()
    run_task(walk_task, make_request(walk_task, {"seed": 2}), out=out)
    after = tree()
    assert after["out/walk.csv"] != before["out/walk.csv"]
    assert after["out/mine.txt"] == b"keep me"
    assert set(after) == set(before)


@pytest.mark.parametrize(
    "error", [Cancelled("stop"), KeyboardInterrupt(), BadInput("table", "no"), MemoryError()]
)
def test_a_failed_run_leaves_nothing(
    walk_task: Task, tmp_path: Path, tree: Files, hooks: list[Any], error: BaseException
) -> None:
    def fail(run: Run, step: int) -> None:
        raise error

    hooks.append(fail)
    with pytest.raises(type(error)):
        run_task(walk_task, make_request(walk_task, {}), out=tmp_path / "a" / "out")
    assert tree() == {}


def test_cancel_is_seen_within_one_step(walk_task: Task, tmp_path: Path, tree: Files) -> None:
    cancel, seen = Event(), []

    def watch(moment: Progress) -> None:
        seen.append(moment.done)
        if moment.done == 3:
            cancel.set()

    with pytest.raises(Cancelled):
        run_task(
            walk_task,
            make_request(walk_task, {"steps": 900}),
            out=tmp_path / "out",
            on_progress=watch,
            cancel=cancel,
        )
    assert seen == [1, 2, 3]
    assert tree() == {}


def test_without_a_folder_the_caller_gets_a_temporary_one(walk_task: Task) -> None:
    finished = run_task(walk_task, make_request(walk_task, {}))
    assert (finished.directory / "result.json").is_file()
    shutil.rmtree(finished.directory)


def test_a_file_that_changes_during_the_run_is_refused(
    walk_task: Task, numbers: Path, tmp_path: Path, hooks: list[Any]
) -> None:
    hooks.append(lambda run, step: numbers.write_text("4\n5\n6\n7\n", "utf-8"))
    with pytest.raises(BadInput, match="changed while"):
        run_task(walk_task, make_request(walk_task, {"table": str(numbers)}), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../walk.csv", "absent.csv", "/etc/hostname", "result.json", "link.csv"])
def test_a_task_publishes_only_files_of_its_own_folder(walk_task: Task, tmp_path: Path, name: str) -> None:
    def function(request: object, run: Run) -> Result:
        (run.directory / "result.json").write_text("{}", "utf-8")
        (run.directory / "link.csv").symlink_to("/etc/hostname")
        return Result([Artifact(name, "table")])

    broken = Task("demo.bad", "", "", "", walk_task.request, function, "series")
    with pytest.raises(RuntimeError, match="the task lists"):
        run_task(broken, make_request(walk_task, {}), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_library_is_named_before_anything_runs(walk_task: Task, tmp_path: Path) -> None:
    lacking = Task(
        "demo.lack", "", "", "", walk_task.request, walk_task.function, "image", ("no_such_library",)
    )
    with pytest.raises(MissingLibrary, match=r"no_such_library.*image"):
        run_task(lacking, make_request(walk_task, {}), out=tmp_path / "out")


def test_the_destination_is_checked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    for bad in (
        tmp_path / "file",
        tmp_path / "file" / "below",
        Path("/proc/none/here"),
        tmp_path / ("x" * 300),
    ):
        with pytest.raises(BadInput) as caught, staging_folder(bad):
            pass
        assert caught.value.field == "out"
    assert check_destination(tmp_path / "new" / "deeper") == tmp_path


def test_the_estimate_forgets_a_slow_start() -> None:
    now = [0.0]
    meter = ProgressMeter(clock=lambda: now[0])
    assert meter.update(0, 100).left is None
    now[0] = 30.0  # loading a model
    meter.update(1, 100)
    for done in range(2, 12):
        now[0] += 0.5
        moment = meter.update(done, 100)
    assert moment.left == pytest.approx(0.5 * 89)
    assert moment.fraction == pytest.approx(0.11)
    now[0] += 1.0
    assert meter.update(0, 10, "next phase").left is None, "another phase has its own pace"


def test_the_result_appears_last_and_every_file_whole(
    walk_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    moved: list[str] = []
    replace = os.replace

    def watched(source: Any, target: Any) -> None:
        if Path(target).is_relative_to(out):
            assert Path(source).stat().st_size > 0
            moved.append(Path(target).relative_to(out).as_posix())
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    run_task(walk_task, make_request(walk_task, {}), out=out)
    assert moved[-1] == "result.json"
    assert {"walk.csv", "pictures/walk.png"} < set(moved)
    assert len(moved) == 5
