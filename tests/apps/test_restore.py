"""From an artifact back to its form: the task, the fields that hold, what is missing; nothing hostile gets through."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from apps.cli.main import main
from apps.engine.restore import restore
from domains.common.errors import BadInput
from domains.common.recipes import embed_recipe, read_recipe, recipe_sidecar
from domains.common.task import Task


@pytest.fixture
def made(walk_task: Task, numbers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with the results of a run on `numbers`."""
    arguments = ["--table", str(numbers), "--seed", "11", "--marks", "1,2", "--length", "30", "--gaps"]
    assert main(["run", "demo.walk", *arguments, "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    return tmp_path / "out"


FIELDS = {
    "length": 30,
    "drift": 0.5,
    "gaps": True,
    "marks": [1.0, 2.0],
    "color": None,
    "sampling": {"solver": "multistep", "steps": 10, "guidance": 1.0, "seed": 11, "model": None},
}


@pytest.mark.parametrize("name", ["pictures/walk.png", "walk.csv", "walk.csv.recipe.json", "result.json"])
def test_every_artifact_brings_its_form_back(made: Path, tmp_path: Path, name: str) -> None:
    found = restore(made / name)
    assert found.task == "demo.walk"
    assert found.fields == FIELDS
    assert [*found.missing] == ["table"]
    assert found.missing["table"].name == "numbers.csv"
    assert len(found.notes) == 1
    assert found.notes[0].startswith("table: give numbers.csv again (6 bytes, sha256 ")
    there = restore(made / name, folders=[tmp_path])
    assert there.fields == FIELDS | {"table": str(tmp_path / "numbers.csv")}
    assert there.missing == {}
    assert there.notes == []


def test_an_input_is_known_by_its_content_alone(made: Path, numbers: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    shutil.copy(numbers, kept / "renamed.dat")
    (kept / "numbers.csv").write_text("7\n8\n9\n")
    assert restore(made / "walk.csv", folders=[kept]).fields["table"] == str(kept / "renamed.dat")


def changed(made: Path, change: dict[str, Any]) -> Path:
    """A copy of the picture whose recipe says something else."""
    recipe = read_recipe(made / "pictures" / "walk.png")
    assert recipe is not None
    recipe.update(change)
    path = Path(shutil.copy(made / "pictures" / "walk.png", made.parent / "changed.png"))
    embed_recipe(path, recipe)
    recipe_sidecar(path).unlink()
    return path


def test_fields_that_do_not_hold_are_left_out_and_named(made: Path) -> None:
    request = {
        **FIELDS,
        "length": 10**9,
        "colour": "red",
        "drift": "fast",
        "sampling": {"steps": 7, "seed": -1, "eta": 1},
    }
    found = restore(changed(made, {"request": request}))
    assert found.fields == {"gaps": True, "marks": [1.0, 2.0], "color": None, "sampling": {"steps": 7}}
    assert found.notes[:2] == [
        "sampling.eta is no field of this task any more and was left out",
        "colour is no field of this task any more and was left out",
    ]
    said = "\n".join(found.notes)
    for name in ("length: must be a whole number from 2 to 1000", "drift: must be a number", "seed: must be"):
        assert name in said


def test_paths_in_a_recipe_are_never_opened(made: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("1\n")
    request = {**FIELDS, "table": str(secret), "sampling": {"model": str(tmp_path)}}
    found = restore(changed(made, {"request": request, "inputs": {}}), folders=[])
    assert "table" not in found.fields
    assert found.fields["sampling"] == {}
    assert "is not built in" in found.notes[0]


@pytest.mark.parametrize(
    "inputs",
    [
        {"../../table": {"name": "x", "sha256": "0" * 64, "bytes": 6}},
        {"sampling.seed.table": {"name": "../../etc/passwd", "sha256": "0" * 64, "bytes": 6}},
        {"marks.0.x": {"name": "", "sha256": "0" * 64, "bytes": 0}},
    ],
)
def test_inputs_of_strange_names_are_only_named(made: Path, tmp_path: Path, inputs: dict[str, Any]) -> None:
    found = restore(changed(made, {"inputs": inputs}), folders=[tmp_path])
    assert found.fields == FIELDS
    assert [*found.missing] == [*inputs]


def test_an_input_found_for_a_field_that_is_none_is_left_out(
    made: Path, numbers: Path, tmp_path: Path
) -> None:
    recipe = read_recipe(made / "walk.csv")
    assert recipe is not None
    known = recipe["inputs"]["table"]
    for name in ("nothing", "sampling.seed", "length.deep.er", "sampling.nothing", "marks.0"):
        found = restore(changed(made, {"inputs": {name: known}}), folders=[tmp_path])
        assert str(numbers) not in json.dumps(found.fields)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    request=st.dictionaries(
        st.sampled_from([*FIELDS, "table", "seed", ""]),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=9),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["steps", "seed", "model", "x"]), inner)
            ),
            max_leaves=6,
        ),
    )
)
def test_any_request_restores_to_fields_that_hold(
    made: Path, walk_task: Task, request: dict[str, Any]
) -> None:
    found = restore(changed(made, {"request": request, "inputs": {}}))
    walk_task.request.model_validate(found.fields)
    assert all("\n" not in note and len(note) < 400 for note in found.notes)


def test_what_carries_no_recipe_is_bad_input(made: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.png"
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(plain)
    with pytest.raises(BadInput, match=r"artifact: plain\.png carries no recipe"):
        restore(plain)
    with pytest.raises(BadInput, match="artifact: no file"):
        restore(tmp_path / "nothing.png")
    with pytest.raises(BadInput, match="task: no task"):
        restore(changed(made, {"task": "demo.gone"}))
    info = PngInfo()
    info.add_text("parameters", "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 64x64")
    Image.new("L", (2, 2)).save(plain, pnginfo=info)
    with pytest.raises(BadInput, match="made by AUTOMATIC1111: 20 steps with the solver ancestral, seed 5"):
        restore(plain)
