"""The Sweep page without a browser: where its settings come from, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr
import pytest

from apps.engine.jobs import Engine
from apps.engine.sweep import Sweeps
from apps.engine.sweep_axes import read_axis
from apps.engine.validation import make_request
from apps.studio.estimate import Costs, Size
from apps.studio.pages import sweep_grid
from apps.studio.pages.sweep import SweepPage
from apps.web.owners import LOCAL
from domains.common.task import TASKS, Task
from tests.engine import demo_tasks
from tests.engine.conftest import PATIENCE

HERE: Any = None  # a call from this process, which is the local owner's


@pytest.fixture
def walk_task() -> Iterator[Task]:
    """The task `demo.walk` of the engine's tests."""
    TASKS["demo.walk"] = demo_tasks.WALK
    yield demo_tasks.WALK
    TASKS.pop("demo.walk", None)


@pytest.fixture
def page(walk_task: Task, engine: Engine) -> SweepPage:
    """The page, with one task."""
    made = SweepPage(engine, [walk_task], Costs())
    with gr.Blocks():
        made.build()
    return made


def form(names: list[str], texts: list[str], picks: list[Any] | None = None) -> list[Any]:
    def three(items: list[Any], empty: Any) -> list[Any]:
        return [*items, *[empty] * (3 - len(items))]

    return [*three(names, ""), *three(texts, ""), *three(picks or [], [])]


def test_vary_under_an_answer_fills_the_form_with_its_settings(page: SweepPage, engine: Engine) -> None:
    request = make_request(demo_tasks.WALK, {"length": 7, "drift": 1.5, "steps": 2, "seed": 9})
    job = engine.submit(demo_tasks.WALK, request)
    assert engine.wait(job.id, PATIENCE).state.final
    filled = page.vary(job.id)
    base = filled[page.form.base]
    assert base["task"] == "demo.walk" and base["fields"]["drift"] == 1.5
    assert "1.5" in filled[page.form.rest] and set(filled) <= set(page.filled)
    asked = page.submit(HERE, base, *form(["sampling.steps", "gaps"], ["1, 2"], [[], [True, False]]))
    sweep = page.sweeps.get(asked[page.sweep])
    assert sweep is not None and len(sweep.jobs) == 4
    for job_id, (steps, gaps) in zip(sweep.jobs, sweep.values, strict=True):
        fields = engine.get(job_id).fields
        assert (fields["length"], fields["drift"], fields["sampling"]["seed"]) == (7, 1.5, 9)
        assert (fields["sampling"]["steps"], fields["gaps"]) == (steps, gaps)


def test_settings_are_taken_from_ones_own_runs_alone(page: SweepPage, engine: Engine) -> None:
    theirs = engine.submit(demo_tasks.WALK, make_request(demo_tasks.WALK, {"steps": 1}), "bob")
    assert engine.wait(theirs.id, PATIENCE).state.final
    assert page.form.base not in page.vary(theirs.id) and "no longer kept" in str(page.vary(theirs.id))
    taken = page.form.choose_start("demo.walk", f"job:{theirs.id}", HERE)
    assert taken[page.form.base] is None and "no longer kept" in taken[page.form.rest]
    words = [value for _, value in page.form.choose_task("demo.walk", HERE)[page.form.start]["choices"]]
    assert f"job:{theirs.id}" not in words


def test_the_sweep_of_another_is_not_shown(page: SweepPage, engine: Engine) -> None:
    axes = [read_axis(demo_tasks.WALK, "seed", "0,1")]
    sweep = Sweeps(engine).create(demo_tasks.WALK, {}, axes, "bob", make_request)

    class Asked:
        query_params = {"sweep": sweep.id}  # noqa: RUF012

    opened = page.arrive(Asked())  # type: ignore[arg-type]
    assert "No longer kept" in opened[page.status] and page.sweep not in opened
    assert page.stop(sweep.id, HERE)[page.status] == opened[page.status]
    assert set(opened) <= set(page.opened)


def test_the_button_says_how_many_runs_and_how_long(page: SweepPage) -> None:
    base = {"task": "demo.walk", "fields": {"length": 10}}
    asked = form(["sampling.steps", "sampling.seed"], ["5,10", "0..4"])
    assert page.form.label(base, *asked)["value"] == "Run 10"
    page.costs.suppose("demo.walk", 1.0, Size.of(make_request(demo_tasks.WALK, {"length": 10, "steps": 10})))
    assert page.form.label(base, *asked)["value"].startswith("Run 10 · about ")
    assert page.form.label(base, *form(["sampling.steps"], ["0"]))["value"] == "Run"
    assert page.form.label(None, *asked)["value"] == "Run"


@pytest.mark.parametrize(
    ("names", "texts", "place"),
    [
        (["sampling.steps"], ["0"], 0),
        (["sampling.seed", "drift"], ["0", "99"], 1),
        (["sampling.seed", "sampling.steps", "length"], ["0", "1", "x"], 2),
        (["sampling.seed", "sampling.seed"], ["0", "1"], 0),
        ([], [], None),
    ],
)
def test_a_fault_stands_where_it_can_be_mended(
    page: SweepPage, names: list[str], texts: list[str], place: int | None
) -> None:
    told = page.submit(HERE, {"task": "demo.walk", "fields": {}}, *form(names, texts))
    slot = page.form.fault if place is None else page.form.slots[place]
    assert 'role="alert"' in told[slot]["value"] and told[slot]["visible"]
    assert page.sweep not in told and set(told) <= set(page.asked)


def test_what_a_request_says_is_text_on_the_page(page: SweepPage, engine: Engine) -> None:
    nasty = "<img src=x>"
    axes = [read_axis(demo_tasks.WALK, "color", [nasty, "b"])]
    sweep = page.sweeps.create(demo_tasks.WALK, {"sampling": {"steps": 1}}, axes, LOCAL)
    for job_id in sweep.jobs:
        assert engine.wait(job_id, PATIENCE).state.final
    cells = page.sweeps.cells(sweep)
    assert {cell.state for cell in cells} == {"done"}
    shown = sweep_grid.grid(sweep, cells, "end", True) + sweep_grid.downloads(sweep, cells, demo_tasks.WALK)
    assert nasty not in shown and "&lt;img" in shown
    assert "--vary 'color=<img src=x>,b'" in sweep_grid.command(sweep, demo_tasks.WALK)
