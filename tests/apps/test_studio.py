"""The studio without a browser: panels as views of jobs, endpoints, examples, and what its import costs."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest

from apps.engine.jobs import Engine, Job, JobState
from apps.engine.validation import make_request
from apps.studio import answer, film, gallery
from apps.studio.api import endpoint
from apps.studio.app import Studio
from apps.studio.estimate import Size
from apps.studio.figures import plot_data
from apps.studio.forms import fill_form
from apps.studio.panel import Panel
from apps.studio.uploads import into_cache
from apps.web.owners import LOCAL
from apps.web.server import listen
from domains.common.errors import BadInput
from domains.common.models import find_model
from domains.common.task import TASKS, Task
from domains.registry import all_tasks
from tests.engine import demo_tasks
from tests.engine.conftest import PATIENCE

pytestmark = pytest.mark.usefixtures("uploads", "no_jobs_left")
HERE: Any = None  # a call from this process, which is the local owner's


@pytest.fixture
def walk_task() -> Iterator[Task]:
    """The task `demo.walk` of the engine's tests: what goes wrong in a worker stands in its request."""
    TASKS["demo.walk"] = demo_tasks.WALK
    yield demo_tasks.WALK
    TASKS.pop("demo.walk", None)
    TASKS.pop("demo.nothing", None)


@pytest.fixture
def panel(walk_task: Task, engine: Engine) -> Panel:
    """The panel of `demo.walk`, on a page of its own."""
    return Studio(engine, [walk_task]).panels["demo.walk"]


def values(panel: Panel, **request: Any) -> list[Any]:
    return fill_form(panel.ask.fields, request)


def watch(panel: Panel, job_id: str | None) -> list[dict[Any, Any]]:
    async def collect() -> list[dict[Any, Any]]:
        return [updates async for updates in panel.watch(job_id, HERE)]

    return asyncio.run(collect())


def submit(panel: Panel, **request: Any) -> Job:
    job = panel.engine.get(panel.submit(HERE, *values(panel, **request))[panel.job])
    assert job is not None
    return job


def ended(engine: Engine, job: Job) -> Job:
    found = engine.wait(job.id, PATIENCE)
    assert found is not None and found.state.final
    return found


# ---------------------------------------------------------------- a panel is a view of a job


def test_a_task_declared_anywhere_gets_a_usable_tab(panel: Panel) -> None:
    job = submit(panel, length=8, sampling={"steps": 3, "seed": 5})
    done = ended(panel.engine, job)
    assert (done.state, done.request.length, done.request.sampling.seed) == (JobState.DONE, 8, 5)
    last = watch(panel, job.id)[-1]
    assert 'data-state="done"' in last[panel.status] and "seed 5" in last[panel.status]
    assert "walk.csv" in last[panel.details] and "result.json" in last[panel.details]
    assert last[panel.ask.run]["visible"] and not last[panel.ask.cancel]["visible"]


def test_a_run_is_shown_step_by_step(panel: Panel) -> None:
    job = submit(panel, length=8, pace=0.5, sampling={"steps": 6})
    seen = watch(panel, job.id)
    lines = [updates[panel.status] for updates in seen if panel.status in updates]
    assert any("step 3 of 6" in line for line in lines)
    assert any("s left" in line for line in lines)
    assert 'role="progressbar"' in lines[1]
    plots = [updates[panel.plot] for updates in seen if updates.get(panel.plot) is not None]
    assert len(json.loads(plots[0].plot)["data"][0]["y"]) == 8
    assert 'data-state="done"' in lines[-1]


def test_cancelling_stops_within_the_step_and_outlives_the_page(panel: Panel, tmp_path: Path) -> None:
    log = tmp_path / "log"
    job = submit(panel, log=str(log), pace=0.2, sampling={"steps": 500})

    def steps() -> int:
        return len(log.read_text().splitlines()) if log.exists() else 0

    async def leave_early() -> None:
        shown = panel.watch(job.id, HERE)
        async for _ in shown:
            if steps() >= 2:
                break
        await shown.aclose()  # the page is closed

    asyncio.run(leave_early())
    assert panel.engine.get(job.id).state is JobState.RUNNING
    at = steps()
    assert "Stopping" in panel.stop(job.id, HERE)[panel.status]
    stopped = ended(panel.engine, job)
    assert steps() <= at + 1
    assert stopped.state is JobState.CANCELLED
    last = watch(panel, job.id)[-1]
    assert 'data-state="cancelled"' in last[panel.status] and "shows how far it came" in last[panel.status]
    assert json.loads(last[panel.plot].plot)["data"][0]["y"], "the partial preview stays"
    assert not list(panel.engine.root.rglob("*.csv"))


def test_a_fault_is_shown_at_its_field(panel: Panel) -> None:
    updates = panel.submit(HERE, *values(panel, length=1))
    assert panel.job not in updates
    assert (
        "Length must be a whole number from 2 to 1000000, not 1"
        in updates[panel.ask.faults["length"]]["value"]
    )
    assert not updates[panel.ask.faults["drift"]]["visible"]
    folded = panel.submit(HERE, *values(panel, sampling={"steps": float("nan")}))
    assert "finite" in folded[panel.ask.faults["sampling.steps"]]["value"]
    assert folded[panel.ask.groups["sampling"]]["open"]


def test_a_fault_found_while_running_is_shown_at_its_field(panel: Panel, numbers: Path) -> None:
    numbers.write_text("one\n<b>two</b>\n")
    job = submit(panel, table=into_cache(numbers, LOCAL))
    ended(panel.engine, job)
    last = watch(panel, job.id)[-1]
    assert "holds something that is no number" in last[panel.ask.faults["table"]]["value"]
    assert 'data-state="failed"' in last[panel.status]
    assert last[panel.ask.run]["visible"] and last[panel.details] == ""


def test_a_crash_is_one_sentence_without_a_traceback(panel: Panel) -> None:
    job = submit(panel, fault="exception")
    ended(panel.engine, job)
    line = watch(panel, job.id)[-1][panel.status]
    assert "the &lt;i&gt;walker&lt;/i&gt; fell" in line and "Traceback" not in line


def test_an_input_is_kept_from_gradios_housekeeping(panel: Panel, numbers: Path, tmp_path: Path) -> None:
    """gradio touches and removes its copies of uploads, also while a job reads them."""
    uploaded, gate = Path(into_cache(numbers, LOCAL)), tmp_path / "gate"
    job = submit(panel, table=str(uploaded), gate=str(gate))
    uploaded.unlink()
    gate.touch()
    done = ended(panel.engine, job)
    assert done.state is JobState.DONE
    assert done.request.table.name == "numbers.csv"
    filled = panel.ask.fill(dict(done.fields))
    assert Path(filled[panel.ask.inputs[0]]).read_bytes() == numbers.read_bytes()


def test_coming_back_to_an_address_shows_its_job(panel: Panel) -> None:
    job = submit(panel, length=8)
    ended(panel.engine, job)

    def arrive(**query: str) -> dict[Any, Any]:
        request = gr.Request(query_params={"tab": "demo", "task": "walk", **query})
        return panel.arrive(None, request)

    back = arrive(job=job.id)
    assert back[panel.job] == job.id
    assert 8 in [back[item] for item in panel.ask.inputs]
    assert panel.job not in arrive(job="0" * 32)
    assert "No longer kept" in arrive(job="0" * 32)[panel.status]
    assert "Nothing yet" in arrive()[panel.status]
    assert "No longer kept" in watch(panel, "0" * 32)[-1][panel.status]


def test_missing_libraries_disable_the_button_and_say_what_to_install(
    walk_task: Task, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.studio.ask.missing_libraries", lambda task: ["rdkit"])
    shown = Studio(engine, [walk_task]).panels["demo.walk"]
    assert not shown.ask.run.interactive
    assert "rdkit" in shown.ask.fault.value and "langevin[series]" in unescape(shown.ask.fault.value)


def test_a_port_in_use_is_said_in_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"port: {port} cannot be opened.*--port"):
            listen("127.0.0.1", port)


# ---------------------------------------------------------------- words, costs, figures


def test_the_button_tells_the_cost_once_it_is_known(panel: Panel) -> None:
    assert panel.ask.label(HERE, *values(panel, length=10))["value"] == "Walk"
    job = ended(panel.engine, submit(panel, length=10))
    watch(panel, job.id)
    panel.costs.measured.clear()
    panel.costs.learn("demo.walk", 60, Size.of(job.request))
    assert panel.ask.label(HERE, *values(panel, length=10))["value"] == "Walk · about 60 s"
    assert (
        panel.ask.label(HERE, *values(panel, length=10, sampling={"steps": 30}))["value"]
        == "Walk · about 3 min"
    )
    assert panel.ask.label(HERE, *values(panel, length=-1))["value"] == "Walk"


def test_the_command_runs_what_the_page_ran(walk_task: Task, engine: Engine, numbers: Path) -> None:
    request = make_request(
        walk_task, {"table": str(numbers), "length": 9, "gaps": True, "color": "dark red", "seed": 3}
    )
    job = ended(engine, engine.submit(walk_task, request))
    assert job.result is not None
    line = answer.command(walk_task, job.result.recipe.request)
    assert line.startswith("python launch.py run demo.walk ") and line.endswith(" --out results")
    for part in ("--table numbers.csv", "--length 9", "--gaps true", "--color 'dark red'", "--seed 3"):
        assert part in line
    assert "--steps" not in line and "--drift" not in line


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.04, "0.1 s"), (0.4, "0.4 s"), (6.2, "6 s"), (89, "89 s"), (200, "3 min"), (9000, "2.5 h")],
)
def test_durations(value: float, words: str) -> None:
    assert answer.seconds(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (2284, "2\u202f284"),
        (0.123456, "0.1235"),
        (3.0, "3"),
        ("yes", "yes"),
        (True, "True"),
        (float("nan"), "nan"),
    ],
)
def test_numbers(value: Any, words: str) -> None:
    assert answer.number(value) == words


def test_frames_travel_in_the_layout_and_plotlys_own_slider_stays_behind() -> None:
    figure = {
        "data": [{"y": [1]}],
        "layout": {"sliders": [{}], "updatemenus": [{}], "height": 300},
        "frames": [{"name": "first", "data": [{"y": [float("nan")]}], "traces": [0]}],
    }
    sent = json.loads(plot_data(figure).plot)
    assert sent["layout"]["meta"]["frames"] == [{"name": "first", "data": [{"y": [None]}], "traces": [0]}]
    assert sent["layout"]["height"] == 300 and not {"sliders", "updatemenus"} & set(sent["layout"])
    assert "meta" not in json.loads(plot_data({"data": []}).plot)["layout"]


def test_a_figure_reaches_the_page_without_nan_and_without_a_colour_of_paper() -> None:
    figure = {
        "data": [{"y": np.array([1.0, np.nan, np.inf])}],
        "layout": {"paper_bgcolor": "white", "width": 900},
    }
    sent = json.loads(plot_data(figure).plot)
    assert sent["data"][0]["y"] == [1.0, None, None]
    assert sent["layout"]["paper_bgcolor"] == "rgba(0,0,0,0)" and "width" not in sent["layout"]
    assert sent["config"]["displaylogo"] is False


# ---------------------------------------------------------------- endpoints


def call(walk_task: Task, engine: Engine, **fields: Any) -> Any:
    run = endpoint(walk_task, engine)
    arguments = {
        name: fields.pop(name, None if item.default is inspect.Parameter.empty else item.default)
        for name, item in inspect.signature(run).parameters.items()
        if name != "request"
    }
    assert not fields
    return asyncio.run(run(*arguments.values()))


def test_an_endpoint_has_plain_typed_parameters_and_returns_files_and_result(
    walk_task: Task, engine: Engine
) -> None:
    parameters = inspect.signature(endpoint(walk_task, engine)).parameters
    assert list(parameters)[:2] == ["table", "length"] and {"solver", "steps", "seed"} < set(parameters)
    files, result = call(walk_task, engine, length=7, seed=2)
    assert [Path(item["path"]).name for item in files] == ["walk.csv", "walk.png"]
    assert len(Path(files[0]["path"]).read_text().splitlines()) == 8
    assert result["task"] == "demo.walk" and result["recipe"]["request"]["sampling"]["seed"] == 2
    assert result["artifacts"][0] == {
        "name": "walk.csv",
        "kind": "table",
        "sha256": result["artifacts"][0]["sha256"],
    }


def test_an_endpoint_reads_uploaded_files_and_no_others(
    walk_task: Task, engine: Engine, numbers: Path, uploads: Path
) -> None:
    meta = {"_type": "gradio.FileData"}
    uploaded = into_cache(numbers)
    _, result = call(walk_task, engine, table={"path": uploaded, "meta": meta})
    assert result["recipe"]["inputs"]["table"]["name"] == "numbers.csv"
    link = uploads / "link.csv"
    link.symlink_to(numbers)
    for path in (str(numbers), "/etc/passwd", f"{uploads}/../numbers.csv", str(link), 3):
        with pytest.raises(gr.Error, match="must be an uploaded file"):
            call(walk_task, engine, table={"path": path, "meta": meta})


def test_an_endpoint_says_in_a_sentence_what_is_wrong(walk_task: Task, engine: Engine) -> None:
    with pytest.raises(gr.Error, match="length: must be a whole number from 2 to 1000000"):
        call(walk_task, engine, length=1)
    with pytest.raises(gr.Error, match="drift: must be"):
        call(walk_task, engine, drift=float("nan"))

    with pytest.raises(gr.Error, match="drift: is too steep here"):
        call(walk_task, engine, fault="input")


def test_a_caller_who_gives_up_cancels_the_job(walk_task: Task, engine: Engine) -> None:
    run = endpoint(walk_task, engine)
    fields = fill_form(
        Studio(engine, [walk_task]).panels["demo.walk"].ask.fields, {"pace": 0.1, "sampling": {"steps": 500}}
    )

    async def give_up() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(run(*fields), 0.5)

    asyncio.run(give_up())
    (job,) = engine.jobs()
    assert ended(engine, job).state is JobState.CANCELLED


# ---------------------------------------------------------------- what is stored, and what an import costs


@pytest.mark.parametrize("name", list(all_tasks()))
def test_the_stored_example_was_made_by_the_model_that_is_shipped(name: str) -> None:
    task = all_tasks()[name]
    stored = gallery.stored_example(task)
    assert stored is not None and stored.figure["data"] and stored.metrics
    assert stored.label in task.examples
    expected = find_model(task.model).sha256() if task.model else None  # the Lab's laws are exact
    assert stored.model_sha256 == expected, "run: python -m apps.studio.gallery"


@pytest.mark.parametrize("domain", list(film.RECORDERS))
def test_the_stored_film_was_made_by_the_model_that_is_shipped(domain: str) -> None:
    stored = json.loads((film.STORE / f"{domain}.json").read_text("utf-8"))
    expected = find_model("series-base").sha256() if domain == "series" else ""
    assert stored["model_sha256"] == expected, "run: python -m apps.studio.gallery"
    frames = np.array(stored["frames"])
    assert frames.shape[0] > 10 and frames.shape[2] == (len(stored["x"]) or 2 * 150)
    if domain == "lab":  # noise fills the squares, form does not
        assert frames[0].std() > frames[-1].std() > 0
    assert (film.STORE / f"{domain}.json").stat().st_size < 100_000


def test_importing_the_studio_loads_no_heavy_library() -> None:
    code = "import sys, apps.studio.app; print([n for n in sys.argv[1:] if n in sys.modules])"
    heavy = ["torch", "plotly", "statsmodels", "scipy", "sklearn", "matplotlib"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_nothing_of_the_look_comes_from_outside() -> None:
    from apps.studio import theme

    page = (theme.css() + theme.head() + theme.theme()._get_theme_css()).replace(
        "http://www.w3.org/2000/svg", ""
    )
    assert "http://" not in page and "https://" not in page and "@import" not in page
    assert not theme.theme()._stylesheets
