"""Sweeps: values as people write them, cells as ordinary jobs, the table and the picture, and the command line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from apps.cli.main import main
from apps.engine.jobs import Engine, JobState
from apps.engine.sweep import Sweep, Sweeps
from apps.engine.sweep_axes import Axis, check_axes, combinations, parameters, read_axis, with_values
from apps.engine.sweep_cells import Cell, best_cells, heat, lowest_is_best, metric_names, table, write_table
from apps.engine.sweep_picture import place_of, write_grid
from apps.engine.validation import make_request
from domains.common.errors import BadInput
from domains.common.task import Task
from tests.engine.conftest import PATIENCE, submit, until
from tests.engine.demo_tasks import WALK

Make = Callable[..., Engine]


def axes_of(**values: Any) -> list[Axis]:
    return [read_axis(WALK, name, written) for name, written in values.items()]


def made(engine: Engine, owner: str = "ann", fields: Any = None, **values: Any) -> Sweep:
    return Sweeps(engine).create(WALK, fields or {"length": 5}, axes_of(**values), owner, make_request)


def finished(engine: Engine, sweep: Sweep) -> list[Cell]:
    for job_id in sweep.jobs:
        assert engine.wait(job_id, PATIENCE).state.final
    return Sweeps(engine).cells(sweep)


# ---------------------------------------------------------------- what is varied


@pytest.mark.parametrize(
    ("name", "written", "values"),
    [
        ("steps", "5,10,20", (5, 10, 20)),
        ("seed", "0..4", (0, 1, 2, 3, 4)),
        ("seed", "4..2, 9, 9", (4, 3, 2, 9)),
        ("drift", "0..1 by 0.25", (0.0, 0.25, 0.5, 0.75, 1.0)),
        ("drift", "0..0.3:0.1", (0.0, 0.1, 0.2, 0.3)),
        ("drift", "-1..1 in 5", (-1.0, -0.5, 0.0, 0.5, 1.0)),
        ("length", "10..100 in 4", (10, 40, 70, 100)),
        ("drift", "1e-2, -.5", (0.01, -0.5)),
        ("gaps", "no, yes", (False, True)),
        ("gaps", [True, False], (True, False)),
        ("solver", "heun, ddim", ("heun", "ddim")),
        ("color", "red, blue", ("red", "blue")),
        ("sampling.steps", [3, 4.0], (3, 4)),
    ],
)
def test_values_are_read_as_people_write_them(name: str, written: Any, values: tuple[Any, ...]) -> None:
    axis = read_axis(WALK, name, written)
    assert axis.values == values
    assert [type(value) for value in axis.values] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("name", "written", "words"),
    [
        ("steps", "5.5", "must be a whole number from 1 to 1000"),
        ("steps", "many", "must be a whole number"),
        ("steps", "", "needs values to vary over"),
        ("steps", "1..1000000000", "at most 256 values"),
        ("drift", "0..1 by 1e-300", "at most 256 values"),
        ("drift", "0..1 by 0", "the step must be above 0"),
        ("drift", "0..1 in 1e300", "say how many"),
        ("drift", "nan", "must be a number from -5 to 5"),
        ("drift", "1e999999999", "must be a number"),
        ("drift", [float("inf")], "must be a number"),
        ("seed", [True], "must be a whole number"),
        ("solver", "heun, none", "must be one of"),
        ("table", "a.csv", "unknown field"),
        ("stepz", "1", "did you mean steps"),
        ("steps", "1," * 3000, "at most 4000 characters"),
    ],
)
def test_what_cannot_be_varied_is_said_in_a_sentence(name: str, written: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        read_axis(WALK, name, written)
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="0123456789.,-+eE:binyx ", max_size=30))
def test_no_text_for_a_range_takes_long_or_makes_much(text: str) -> None:
    try:
        axis = read_axis(WALK, "drift", text)
    except BadInput:
        return
    assert 1 <= len(axis.values) <= 256
    assert len(set(axis.values)) == len(axis.values)


def test_files_lists_and_settled_fields_are_no_parameters(walk_task: Task) -> None:
    names = parameters(walk_task)
    assert "sampling.seed" in names and "drift" in names and "table" not in names


def test_the_number_of_axes_and_cells_is_bounded() -> None:
    steps, seeds = axes_of(steps="1..10", seed="1..10")
    assert check_axes([steps, seeds], 100) == 100
    with pytest.raises(BadInput, match="10 × 10 are 100 runs and at most 99"):
        check_axes([steps, seeds], 99)
    with pytest.raises(BadInput, match="varied twice"):
        check_axes([steps, steps], 1000)
    for wrong in ([], [steps] * 4):
        with pytest.raises(BadInput, match="choose 1 to 3"):
            check_axes(wrong, 10**9)


def test_the_last_axis_runs_fastest_and_the_base_stays_as_it_is() -> None:
    axes = axes_of(steps="1,2", gaps="no,yes", seed="0..2")
    values = list(combinations(axes))
    assert values[:4] == [(1, False, 0), (1, False, 1), (1, False, 2), (1, True, 0)]
    assert values[place_of(axes, row=1, column=0, panel=2)] == (2, False, 2)
    base = {"length": 7, "sampling": {"solver": "heun", "steps": 99}}
    changed = with_values(base, axes, values[-1])
    assert changed == {"length": 7, "gaps": True, "sampling": {"solver": "heun", "steps": 2, "seed": 2}}
    assert base == {"length": 7, "sampling": {"solver": "heun", "steps": 99}}


# ---------------------------------------------------------------- cells are jobs


def test_each_cell_is_a_job_of_its_own(engine: Engine) -> None:
    sweep = made(engine, steps="2,3", seed="0..2")
    cells = finished(engine, sweep)
    assert [cell.values for cell in cells] == [(2, 0), (2, 1), (2, 2), (3, 0), (3, 1), (3, 2)]
    for cell in cells:
        job = engine.get(cell.job, "ann")
        assert job is not None and job.fields["length"] == 5
        assert (job.fields["sampling"]["steps"], job.fields["sampling"]["seed"]) == cell.values
        assert cell.state == "done" and cell.nfe == cell.values[0] and cell.picture == "walk.png"
        assert cell.value("end") == job.result.metrics["end"]
    assert len({cell.value("end") for cell in cells}) == 6


def test_a_sweep_is_found_again_after_a_restart_and_goes_on(make_engine: Make, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = make_engine()
    sweep = made(first, fields={"gate": str(gate)}, steps="2", seed="0..3")
    first.close()
    gate.touch()
    again = make_engine()
    found = Sweeps(again).get(sweep.id, "ann")
    assert found == sweep
    assert {cell.state for cell in finished(again, found)} == {"done"}
    assert [item.id for item in Sweeps(again).of("ann")] == [sweep.id]


def test_a_line_that_a_crash_cut_off_is_left_out(engine: Engine) -> None:
    sweep = made(engine, steps="2,3", seed="0,1")
    path = engine.home / "sweeps" / f"{sweep.id}.jsonl"
    path.write_text(path.read_text("utf-8")[:-20], "utf-8")
    found = Sweeps(engine).get(sweep.id, "ann")
    assert found is not None and found.jobs == sweep.jobs[:3]
    last = Sweeps(engine).cells(found)[-1]
    assert (last.state, last.message) == ("gone", "was never queued")


def test_one_owner_neither_sees_nor_steers_the_sweeps_of_another(engine: Engine) -> None:
    sweep, sweeps = made(engine, steps="2", seed="0,1"), Sweeps(engine)
    assert sweeps.get(sweep.id, "bob") is None and sweeps.of("bob") == []
    for steer in (sweeps.cancel, sweeps.retry, sweeps.forget):
        with pytest.raises(BadInput, match="no such sweep of yours"):
            steer(sweep.id, "bob")
    for name in ("", "../jobs", "x" * 32, sweep.id.upper() + "/"):
        assert sweeps.get(name, "ann") is None


def test_all_cells_or_none(engine: Engine, make_engine: Make, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="steps"):
        made(engine, steps="2,2000", seed="0..3")
    small = make_engine(tmp_path / "small", queue_per_owner=6)
    submit(small, steps=1, gate=str(tmp_path / "never"))
    submit(small, steps=1)
    with pytest.raises(BadInput, match=r"6 runs are more than your queue has room for \(4\)"):
        made(small, steps="2,3", seed="0..2")
    with pytest.raises(BadInput, match="9 runs and at most 6"):
        made(small, steps="2,3,4", seed="0..2")
    assert len(small.jobs("ann")) == 2 and not list((small.home / "sweeps").glob("*"))


def test_a_refusal_half_way_takes_everything_back(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = engine.submit
    calls = iter(range(10))

    def refuse(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 3:
            raise BadInput("disk", "is full")
        return asked(*args, **kwargs)

    blocker = submit(engine, steps=500, pace=0.05)
    until(lambda: engine.get(blocker.id, "ann").state is JobState.RUNNING)
    monkeypatch.setattr(engine, "submit", refuse)
    with pytest.raises(BadInput, match="is full"):
        made(engine, steps="2,3", seed="0..2")
    assert [job.id for job in engine.jobs("ann")] == [blocker.id]
    assert not list((engine.home / "sweeps").iterdir())


def test_cancel_all_ends_every_cell_and_retry_begins_them_again(engine: Engine, tmp_path: Path) -> None:
    gate, sweeps = tmp_path / "gate", Sweeps(engine)
    sweep = made(engine, fields={"gate": str(gate)}, steps="3", seed="0..3")
    until(lambda: any(cell.state == "running" for cell in sweeps.cells(sweep)))
    other = submit(engine, steps=1, gate=str(gate))
    assert sweeps.cancel(sweep.id, "ann") == 4
    assert {cell.state for cell in finished(engine, sweep)} == {"cancelled"}
    assert engine.get(other.id, "ann").state is not JobState.CANCELLED
    assert sweeps.cancel(sweep.id, "ann") == 0
    gate.touch()
    assert sweeps.retry(sweep.id, "ann") == 4
    assert {cell.state for cell in finished(engine, sweep)} == {"done"}


def test_cells_wait_behind_their_owners_other_jobs(engine: Engine, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    sweep = made(engine, fields={"gate": str(gate)}, steps="2", seed="0..3")
    until(lambda: any(cell.state == "running" for cell in Sweeps(engine).cells(sweep)))
    job = submit(engine, steps=1)
    assert engine.ahead(job) == 1, "the cell that runs, and no other"
    gate.touch()
    ended = engine.wait(job.id, PATIENCE)
    last = finished(engine, sweep)[-1]
    assert ended.ended < engine.get(last.job, "ann").started


def test_a_cell_that_fails_says_why_and_the_others_go_on(engine: Engine) -> None:
    sweep = made(engine, fields={"length": 5, "fault_at": 0}, fault="input", seed="0,1")
    cells = finished(engine, sweep)
    assert {cell.state for cell in cells} == {"failed"} and "too steep" in cells[0].message


def test_forgetting_a_sweep_removes_its_jobs_but_pinned_ones(engine: Engine) -> None:
    sweep, sweeps = made(engine, steps="1", seed="0..2"), Sweeps(engine)
    finished(engine, sweep)
    engine.pin(sweep.jobs[1], "ann")
    sweeps.forget(sweep.id, "ann")
    assert [job.id for job in engine.jobs("ann")] == [sweep.jobs[1]]
    assert sweeps.get(sweep.id, "ann") is None


def test_a_sweep_of_which_nothing_is_kept_is_forgotten(engine: Engine) -> None:
    sweep = made(engine, steps="1", seed="0,1")
    finished(engine, sweep)
    engine.forget(sweep.jobs[0], "ann")
    (half, _) = Sweeps(engine).cells(sweep)
    assert half.state == "gone" and Sweeps(engine).of("ann")
    engine.forget(sweep.jobs[1], "ann")
    assert not Sweeps(engine).of("ann") and not list((engine.home / "sweeps").iterdir())


# ---------------------------------------------------------------- the numbers


CELLS = [
    Cell((1, "=cmd()"), "done", {"error": 3.0, "name": "@x", "seed": 1}, 10, 1.5),
    Cell((1, "b"), "done", {"error": 1.0, "name": "y", "seed": 1}, 10, 1.5),
    Cell((2, "=cmd()"), "done", {"error": float("nan"), "name": "z", "seed": 1}, 20, 1.5),
    Cell((2, "b"), "failed", message="=boom"),
]
AXES = [Axis("sampling.seed", (1, 2)), Axis("color", ("=cmd()", "b"))]


def test_metrics_that_differ_come_first_and_texts_are_none() -> None:
    assert metric_names(CELLS) == ["error", "seed", "nfe", "seconds"]


def test_the_best_is_marked_and_ties_and_gaps_are_respected() -> None:
    assert best_cells(CELLS, "error", lowest=True) == {1} and best_cells(CELLS, "error", lowest=False) == {0}
    assert heat(CELLS, "error", lowest=True) == [0.0, 1.0, None, None]
    assert best_cells(CELLS, "nfe", lowest=True) == {0, 1}
    assert best_cells(CELLS, "seconds", lowest=True) == set(), "nothing is best where all are alike"
    huge = [Cell((0,), "done", {"x": value}) for value in (-1.7e308, 0.0, 1.7e308)]
    assert heat(huge, "x", lowest=False) == pytest.approx([0.0, 0.5, 1.0])


@pytest.mark.parametrize(
    ("metric", "lowest"), [("crps", True), ("seconds", True), ("mean error", True), ("coverage_90", False)]
)
def test_which_end_is_best_is_read_from_the_name(metric: str, lowest: bool) -> None:
    assert lowest_is_best(metric) is lowest


def test_the_table_holds_every_cell_and_no_formula(tmp_path: Path) -> None:
    header, rows = table(AXES, CELLS)
    assert header == [
        "seed",
        "color",
        "state",
        "error (metric)",
        "name",
        "seed (metric)",
        "nfe",
        "seconds",
        "error",
        "job",
    ]
    assert len(rows) == 4
    write_table(tmp_path / "sweep.csv", AXES, CELLS)
    with (tmp_path / "sweep.csv").open(encoding="utf-8", newline="") as stream:
        read = list(csv.DictReader(stream))
    assert read[0]["color"] == "'=cmd()" and read[0]["name"] == "'@x" and read[3]["error"] == "'=boom"
    assert read[0]["error (metric)"] == "3.0" and read[3]["nfe"] == "" and read[1]["seconds"] == "1.5"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_picture_shows_each_cell(tmp_path: Path, count: int) -> None:
    axes = [Axis("a", (1, 2)), Axis("b", ("x", "y", "z")), Axis("c", (True, False))][:count]
    cells = [Cell(v, "done", {"m": float(i)}) for i, v in enumerate(combinations(axes))]
    cells[-1] = Cell(cells[-1].values, "failed", message="no")
    write_grid(tmp_path / "grid.png", axes, cells, "m", lowest=False)
    picture = Image.open(tmp_path / "grid.png").convert("RGB")
    # Each of the valued cells has a shade of its own.
    colours = {colour for number, colour in picture.getcolors(1 << 24) if number > 2000}
    assert len(colours) >= min(len(cells), 4)


# ---------------------------------------------------------------- the command line


def test_the_command_writes_table_picture_and_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["demo.walk", "--length", "6", "--vary", "steps=2,3", "--vary=seed=0..2", "--out", str(out)]
    assert main(["sweep", *arguments]) == 0
    with (out / "sweep.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["steps"], row["seed"]) for row in rows] == [(a, b) for a in "23" for b in "012"]
    ends = [float(row["end"]) for row in rows]
    assert len(set(ends)) == 6 and {row["state"] for row in rows} == {"done"}
    result = json.loads((out / "cells" / "005" / "result.json").read_text("utf-8"))
    assert result["recipe"]["request"]["sampling"]["seed"] == 1 and result["metrics"]["end"] == ends[4]
    assert Image.open(out / "sweep.png").width > 300
    said = capsys.readouterr().out
    assert f"best end {min(ends):.4g}" in said and "6 of 6 runs done" in said
    assert main(["sweep", *arguments]) == 2, "results are not mixed with older ones"


def test_the_command_says_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert (
        main(
            [
                "sweep",
                "demo.walk",
                "--vary",
                "fault=input,exception",
                "--vary",
                "fault-at=0,99",
                "--out",
                str(out),
            ]
        )
        == 1
    )
    said = capsys.readouterr()
    assert "failed: fault input, fault_at 0: drift: is too steep here" in said.err
    assert "2 of 4 runs done" in said.out and said.err.count("failed:") == 2
    with (out / "sweep.csv").open(encoding="utf-8", newline="") as stream:
        assert [row["state"] for row in csv.DictReader(stream)] == ["failed", "done", "failed", "done"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--vary", "steps=5,2000"], "steps: must be a whole number from 1 to 1000"),
        (["--vary", "steps"], "vary: 'steps' has no values"),
        (["--vary"], "vary: needs a field and its values"),
        ([], "vary: choose 1 to 3"),
        (["--vary", "steps=1", "--steps", "4"], "steps: is given and varied"),
        (["--vary", "steps=1,2", "--best", "middle"], "best: must be lowest or highest"),
        (["--vary", "nothing=1"], "nothing: unknown field"),
    ],
)
def test_bad_input_ends_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["sweep", "demo.walk", *arguments, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()
