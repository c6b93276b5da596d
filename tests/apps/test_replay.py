"""Replay: recipes are found, inputs are found by content, and what comes out is compared."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.cli.main import main
from core.files import file_sha256
from domains.common.models import builtin_models
from domains.common.recipes import content_sha256, recipe_sidecar
from domains.common.task import Task

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def made(walk_task: Task, numbers: Path, tmp_path: Path, capsys: Capture) -> Path:
    """A folder with the results of a run on `numbers`."""
    out = tmp_path / "out"
    arguments = ["--table", str(numbers), "--seed", "11", "--marks", "1,2", "--out", str(out)]
    assert main(["run", "demo.walk", *arguments]) == 0
    capsys.readouterr()
    return out


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs each test in its own folder, where `numbers.csv` lies."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["walk.csv", "pictures/walk.png", "result.json", "."])
def test_every_way_to_name_a_run_reproduces(made: Path, name: str, capsys: Capture) -> None:
    if name == "pictures/walk.png":  # a picture that left its folder carries all that is needed
        shutil.move(made / name, "alone.png")
        shutil.rmtree(made)
        assert main(["replay", "alone.png"]) == 0
    else:
        assert main(["replay", str(made / name)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["walk.csv  matches", "pictures/walk.png  matches", "reproduces"]


def test_results_are_kept_where_asked(made: Path, tmp_path: Path) -> None:
    assert main(["replay", str(made / "walk.csv"), "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "walk.csv").read_bytes() == (made / "walk.csv").read_bytes()
    again = json.loads((tmp_path / "again" / "result.json").read_text("utf-8"))["recipe"]
    first = json.loads((made / "result.json").read_text("utf-8"))["recipe"]
    assert again["content_sha256"] == first["content_sha256"]
    assert again["request"] == first["request"]


def test_replaying_onto_itself_reproduces(made: Path) -> None:
    assert main(["replay", str(made / "walk.csv"), "--out", str(made)]) == 0


def test_an_input_is_known_by_its_content(made: Path, numbers: Path, tmp_path: Path, capsys: Capture) -> None:
    kept = tmp_path / "archive" / "renamed.txt"
    kept.parent.mkdir()
    numbers.rename(kept)
    assert main(["replay", str(made / "walk.csv")]) == 2
    assert capsys.readouterr().err.startswith("error: input: numbers.csv (sha256 ")
    numbers.write_text("1\n2\n4\n", "utf-8")  # the right name and size, other content
    assert main(["replay", str(made / "walk.csv")]) == 2
    assert main(["replay", str(made / "walk.csv"), "--input", str(tmp_path / "nope"), str(kept)]) == 0
    shutil.copy(kept, made / "beside.dat")
    assert main(["replay", str(made / "walk.csv")]) == 0


def test_a_changed_table_does_not_match(made: Path, capsys: Capture) -> None:
    text = (made / "walk.csv").read_text("utf-8")
    (made / "walk.csv").write_text(text.replace("1", "2", 1), "utf-8")
    assert main(["replay", str(made / "walk.csv")]) == 1
    printed = capsys.readouterr().out
    assert "walk.csv  does not match: comes out as recorded, but the stored file was changed since" in printed
    assert "walk.png  matches" in printed


def test_a_changed_picture_does_not_match(made: Path) -> None:
    picture = made / "pictures" / "walk.png"
    data = bytearray(picture.read_bytes())
    data += b"\0"
    picture.write_bytes(bytes(data))
    assert main(["replay", str(made / "walk.csv")]) == 1


def test_another_outcome_does_not_match(made: Path, hooks: list[Any], capsys: Capture) -> None:
    hooks.append(lambda run, step: (run.directory / "more").touch())  # changes nothing that is listed
    assert main(["replay", str(made / "walk.csv")]) == 0
    recipe = json.loads((made / "result.json").read_text("utf-8"))
    recipe["recipe"]["request"]["sampling"]["seed"] = 12
    recipe["recipe"]["libraries"]["numpy"] = "1.0"
    (made / "result.json").write_text(json.dumps(recipe), "utf-8")
    capsys.readouterr()
    assert main(["replay", str(made / "result.json")]) == 1
    printed = capsys.readouterr().out
    assert "walk.csv  does not match: came out different" in printed
    assert "numpy was 1.0, is " in printed


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"recipe": 2}, "version"),
        ({"task": "demo.none"}, "error: task: no task 'demo.none'"),
        ({"task": 3}, "damaged at 'task'"),
        ({"request": {"sampling": {}, "length": -1}}, "error: artifact: its recipe names an input"),
        (
            {"request": {"sampling": {}, "length": -1}, "inputs": {}},
            "error: length: must be a whole number from 2",
        ),
        (
            {
                "request": {"sampling": {"model": "gone"}},
                "model": {"name": "gone", "sha256": "0" * 64},
                "inputs": {},
            },
            "error: model: ",
        ),
        ({"request": {"sampling": {"model": "gone"}}, "inputs": {}}, "names a model without its hash"),
        (
            {"request": {"sampling": {}, "table": "/etc/hostname"}, "inputs": {}},
            "names a file without its hash",
        ),
        (
            {"inputs": {"table": {"name": "../../etc/passwd", "sha256": "0" * 64, "bytes": 1}}},
            "error: input: ",
        ),
        (
            {"inputs": {"table": {"name": "x", "sha256": "zz", "bytes": 1}}},
            "damaged at 'inputs.table.sha256'",
        ),
        ({"threads": 0}, "damaged at 'threads'"),
    ],
)
def test_a_damaged_recipe_is_bad_input(
    made: Path, change: dict[str, Any], line: str, capsys: Capture
) -> None:
    result = json.loads((made / "result.json").read_text("utf-8"))
    result["recipe"].update(change)
    (made / "result.json").write_text(json.dumps(result), "utf-8")
    assert main(["replay", str(made / "result.json")]) == 2
    printed = capsys.readouterr().err
    assert line in printed
    assert printed.count("\n") == 1


def test_the_result_beside_serves_where_recipes_are_gone(made: Path, tmp_path: Path, capsys: Capture) -> None:
    for sidecar in made.rglob("*.json"):
        if sidecar.name != "result.json":
            sidecar.unlink()
    assert main(["replay", str(made / "walk.csv")]) == 0
    (made / "stranger.csv").write_text("1\n", "utf-8")
    assert main(["replay", str(made / "stranger.csv")]) == 2
    assert "carries no recipe" in capsys.readouterr().err


def test_a_model_is_known_by_its_weights(walk_task: Task, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "tuned"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "card.json").write_text(
        json.dumps({"sha256": file_sha256(folder / "model.safetensors")}), "utf-8"
    )
    out = tmp_path / "out"
    assert main(["run", "demo.walk", "--model", str(folder), "--out", str(out)]) == 0
    assert main(["replay", str(out)]) == 0, "found in the working directory by its name"
    folder.rename(tmp_path / "moved")
    capsys.readouterr()
    assert main(["replay", str(out)]) == 2
    assert capsys.readouterr().err.startswith(
        "error: model: the model 'tuned' is not there; name its folder with"
    )
    assert main(["replay", str(out), "--model", str(tmp_path / "moved")]) == 0


@pytest.mark.parametrize("name", ["completed.csv", "plot.json"])
def test_the_series_task_reproduces(filled: Path, tmp_path: Path, name: str, capsys: Capture) -> None:
    alone = tmp_path / "alone" / name
    alone.parent.mkdir()
    shutil.copy(filled / name, alone)
    if name == "completed.csv":  # a table holds no recipe: the one beside it serves
        shutil.copy(recipe_sidecar(filled / name), recipe_sidecar(alone))
    shutil.copy(filled.parent / "table.csv", tmp_path / "table.csv")  # in the working directory
    assert main(["replay", str(alone)]) == 0
    assert capsys.readouterr().out.endswith("reproduces\n")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of `series.impute` on a small table, which lies beside their folder."""
    for library in ("torch", "pandas", "pyarrow"):
        pytest.importorskip(library, reason="the series extra is not installed")
    if "series-base" not in builtin_models():
        pytest.skip("the model series-base is not installed")
    folder = tmp_path_factory.mktemp("series")
    rows = [f"{i},{'' if i % 5 == 2 else round(np.sin(i / 3) + i / 50, 3)}" for i in range(64)]
    (folder / "table.csv").write_text("hour,level\n" + "\n".join(rows) + "\n", "utf-8")
    arguments = ["--table", str(folder / "table.csv"), "--samples", "4", "--steps", "2", "--seed", "5"]
    command = [sys.executable, str(ROOT / "launch.py"), "run", "series.impute", *arguments]
    done = subprocess.run(
        [*command, "--out", str(folder / "out")], capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_a_picture_of_another_name_is_compared_too(made: Path, tmp_path: Path, capsys: Capture) -> None:
    renamed = Path(shutil.move(made / "pictures" / "walk.png", tmp_path / "renamed.png"))
    shutil.rmtree(made)
    assert main(["replay", str(renamed)]) == 0
    assert "pictures/walk.png  matches" in capsys.readouterr().out


@pytest.mark.parametrize(("shift", "status"), [(1e-5, 0), (50.0, 1)])
def test_another_kind_of_device_is_held_to_the_tolerance(
    made: Path, hooks: list[Any], capsys: Capture, shift: float, status: int
) -> None:
    """The walk comes out a little other than recorded; on the recorded kind of device that is no match at any size."""
    hooks.append(lambda run, step: None)
    recorded = json.loads((made / "result.json").read_text("utf-8"))
    rows = (made / "walk.csv").read_text("utf-8").splitlines()
    rows[3] = f"2,{float(rows[3].split(',')[1]) + shift:.6f}"
    (made / "walk.csv").write_text("\n".join(rows) + "\n", "utf-8")
    recorded["recipe"]["content_sha256"]["walk.csv"] = file_sha256(made / "walk.csv")
    (made / "result.json").write_text(json.dumps(recorded), "utf-8")
    assert main(["replay", str(made / "result.json")]) == 1
    assert "walk.csv  does not match: came out different, by " in capsys.readouterr().out

    recorded["recipe"]["device"] = "cuda"
    (made / "result.json").write_text(json.dumps(recorded), "utf-8")
    assert main(["replay", str(made / "result.json")]) == status
    printed = capsys.readouterr().out
    assert ("walk.csv  matches: " if status == 0 else "walk.csv  does not match: ") in printed
    assert "of its range apart on cpu, 2.0e-02 allowed" in printed
    assert "pictures/walk.png  matches\n" in printed

    (made / "walk.csv").unlink()
    assert main(["replay", str(made / "result.json")]) == 1
    assert "the recorded file is not there to compare with" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["plot.png", "quantiles.parquet", "completed.csv.recipe.json"])
def test_replay_in_a_fresh_process_is_the_same(filled: Path, tmp_path: Path, name: str) -> None:
    """Run and replay share nothing but the file: each is a process of its own, the replay in an empty folder."""
    shutil.copy(filled / name, tmp_path / name)
    command = [sys.executable, str(ROOT / "launch.py"), "replay", name, "--out", "again"]
    done = subprocess.run(
        [*command, "--input", str(filled.parent / "table.csv")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=250,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("reproduces\n")
    for artifact in json.loads((filled / "result.json").read_text("utf-8"))["artifacts"]:
        first, second = filled / artifact["path"], tmp_path / "again" / artifact["path"]
        assert content_sha256(first) == content_sha256(second)


def test_other_kernels_stay_within_the_tolerance(
    filled: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without oneDNN sums are made in another order, as on another kind of device; the network runs in bfloat16."""
    import torch

    out = Path(shutil.copytree(filled, tmp_path / "out"))
    recorded = json.loads((out / "result.json").read_text("utf-8"))
    recorded["recipe"]["device"] = "cuda"
    (out / "result.json").write_text(json.dumps(recorded), "utf-8")
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    arguments = ["--input", str(filled.parent / "table.csv"), "--device", "cpu"]
    assert main(["replay", str(out / "result.json"), *arguments]) == 0, capsys.readouterr().out
    assert "quantiles.parquet  matches: " in capsys.readouterr().out, "other kernels, other digits"
