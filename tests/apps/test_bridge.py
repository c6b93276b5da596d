"""What the page's script may ask of the panels: opening jobs, restoring dropped files, handing results on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from apps.engine.jobs import Engine, Job, JobState
from apps.engine.run import run_task
from apps.engine.validation import make_request
from apps.studio import answer
from apps.studio.app import Studio
from apps.studio.handover import handovers
from apps.web.calls import owner_folder
from apps.web.owners import LOCAL
from domains.common.task import TASKS, Task
from tests.engine import demo_tasks
from tests.engine.conftest import PATIENCE

pytestmark = pytest.mark.usefixtures("tasks", "uploads")
HERE: Any = None  # a call from this process, which is the local owner's


@pytest.fixture
def studio(engine: Engine, tasks: list[Task]) -> Studio:
    return Studio(engine, tasks)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder with results of `demo.walk` on a table that no job has."""
    table = tmp_path / "numbers.csv"
    table.write_text("1\n2\n3\n", "utf-8")
    request = make_request(
        demo_tasks.WALK, {"table": str(table), "length": 33, "sampling": {"steps": 2, "seed": 9}}
    )
    run_task(demo_tasks.WALK, request, out=tmp_path / "made")
    return tmp_path / "made"


@pytest.fixture
def upload(uploads: Path) -> Callable[..., str]:
    """Puts a file where an upload of an owner lies."""

    def put(path: Path, owner: str = LOCAL) -> str:
        place = owner_folder(uploads, owner) / "0a" / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        return str(shutil.copyfile(path, place))

    return put


def ask(studio: Studio, **wish: Any) -> dict[Any, Any]:
    return studio.bridge.asked(SimpleNamespace(_data=wish), HERE)  # type: ignore[arg-type]


def done(engine: Engine, task: str = "demo.walk", **fields: Any) -> Job:
    job = engine.submit(TASKS[task], make_request(TASKS[task], fields))
    found = engine.wait(job.id, PATIENCE)
    assert found is not None and found.state is JobState.DONE
    return found


def form(studio: Studio, task: str, updates: dict[Any, Any]) -> dict[str, Any]:
    panel = studio.panels[task]
    return {
        field.name: updates.get(box) for field, box in zip(panel.ask.fields, panel.ask.inputs, strict=True)
    }


def test_a_dropped_picture_fills_its_tab_and_says_what_is_missing(
    studio: Studio, made: Path, upload: Callable[..., str]
) -> None:
    updates = ask(studio, restore=upload(made / "walk.png"), name="mine.png")
    panel = studio.panels["demo.walk"]
    assert updates[studio.tabs].selected == "demo"
    assert updates[studio.task_tabs["demo"]].selected == "demo.walk"
    filled = form(studio, "demo.walk", updates)
    assert (filled["length"], filled["sampling.seed"], filled["sampling.steps"]) == (33, 9, 2)
    assert filled["table"] is None
    assert "Choose numbers.csv again" in updates[panel.ask.faults["table"]]["value"]
    assert updates[panel.ask.faults["table"]]["visible"]
    assert "mine.png" in updates[panel.status] and 'data-state="restored"' in updates[panel.status]
    assert updates[panel.job] == ""
    # Opening the tab afterwards leaves all that as it is.
    assert list(panel.arrive("", HERE)) == [panel.job]


def test_an_input_that_the_person_has_with_a_job_or_uploaded_need_not_be_given_again(
    studio: Studio, engine: Engine, made: Path, upload: Callable[..., str], tmp_path: Path
) -> None:
    panel = studio.panels["demo.walk"]
    upload(tmp_path / "numbers.csv")
    updates = ask(studio, restore=upload(made / "walk.png"), name="walk.png")
    table = form(studio, "demo.walk", updates)["table"]
    assert Path(table).read_text("utf-8") == "1\n2\n3\n"
    assert not updates[panel.ask.faults["table"]]["visible"]
    # An input of somebody else's job is nobody's but theirs.
    other = tmp_path / "other.csv"
    other.write_text("4\n5\n", "utf-8")
    request = make_request(demo_tasks.WALK, {"table": str(other), "length": 5, "sampling": {"steps": 1}})
    job = engine.submit(demo_tasks.WALK, request, owner="eve")
    assert engine.wait(job.id, PATIENCE)
    out = run_task(demo_tasks.WALK, request, out=tmp_path / "theirs").directory
    assert form(studio, "demo.walk", ask(studio, restore=upload(out / "walk.png"), name=""))["table"] is None
    mine = done(engine, table=str(other), length=5, sampling={"steps": 1})
    assert mine.state is JobState.DONE
    assert form(studio, "demo.walk", ask(studio, restore=upload(out / "walk.png"), name=""))["table"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.png", b"\x89PNG\r\n\x1a\n" + b"\xff" * 64),
        ("x.parquet", b"PAR1\xff\xff\xff\x7fPAR1"),
        ("x.json", b"[" * 100_000),
        ("x.json", b'{"recipe": 1, "task": "../../etc", "request": {}}'),
        ("x.recipe.json", b'{"recipe": {"task": "<script>"}}'),
        ("x.zip", b"PK\x03\x04"),
        ("x.csv", b"a,b\n1,2\n"),
        ("x.pdb", b"REMARK 999 \x00\xff"),
    ],
)
def test_hostile_files_end_in_one_line(
    studio: Studio, tmp_path: Path, upload: Callable[..., str], name: str, data: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    updates = ask(studio, restore=upload(path), name="<b>evil</b>.png")
    assert [*updates] == [studio.bridge.notice]
    said = updates[studio.bridge.notice]
    assert "data-fault" in said and "\n" not in said and "<b>" not in said and "<script" not in said


def test_only_own_uploads_are_read(studio: Studio, made: Path, upload: Callable[..., str]) -> None:
    for path in (str(made / "walk.png"), upload(made / "walk.png", "eve"), "../../etc/passwd", "\x00", ""):
        updates = ask(studio, restore=path, name="x")
        assert [*updates] == [studio.bridge.notice] and "drop the file again" in updates[
            studio.bridge.notice
        ].lower()


def test_a_job_opens_in_its_tab_and_those_of_others_do_not(studio: Studio, engine: Engine) -> None:
    job = done(engine, length=12, sampling={"steps": 1})
    updates = ask(studio, open=job.id)
    assert updates[studio.panels["demo.walk"].job] == job.id
    assert form(studio, "demo.walk", updates)["length"] == 12
    theirs = engine.submit(demo_tasks.NOTHING, make_request(demo_tasks.NOTHING, {}), owner="eve")
    for wish in (
        {"open": theirs.id},
        {"open": "x"},
        {"open": None},
        {"page": "nowhere"},
        {},
        {"vary": theirs.id},
    ):
        assert [*ask(studio, **wish)] == [studio.bridge.notice]


def test_results_are_handed_to_tasks_that_take_their_kind_alone(
    studio: Studio, engine: Engine, tasks: list[Task]
) -> None:
    word = done(engine, "demo.nothing")
    assert word.result is not None
    ways = handovers(word.result, tasks)
    assert [(way.artifact, way.task, way.field) for way in ways] == [("word.txt", "demo.walk", "table")]
    walk = done(engine, length=4, sampling={"steps": 1})
    assert walk.result is not None and handovers(walk.result, tasks) == []
    assert "Send to" not in answer.details(walk, walk.result, walk.task, tasks)
    assert "word.txt to Walk" in answer.details(word, word.result, word.task, tasks)
    updates = ask(studio, send=word.id, artifact="word.txt", task="demo.walk", field="table")
    assert Path(form(studio, "demo.walk", updates)["table"]).read_text("utf-8") == "nothing\n"
    for change in (
        {"artifact": "../jobs.db"},
        {"field": "length"},
        {"task": "demo.none"},
        {"send": "0" * 32},
    ):
        wish = {"send": word.id, "artifact": "word.txt", "task": "demo.walk", "field": "table", **change}
        assert [*ask(studio, **wish)] == [studio.bridge.notice]


def test_the_answer_has_its_actions_and_viewers(engine: Engine) -> None:
    job = done(engine, length=8, sampling={"steps": 1})
    assert job.result is not None
    html = answer.details(job, job.result, job.task)
    for part in ("data-replay", "data-compare", 'data-do="pin"', "Copy recipe", f"pages/zip?job={job.id}"):
        assert part in html
    assert 'data-viewer="image"' in html and f'data-src="results/{job.id}/walk.png"' in html


def test_a_page_that_shows_another_job_stops_watching_the_first(studio: Studio, engine: Engine) -> None:
    panel = studio.panels["demo.walk"]
    request = make_request(demo_tasks.WALK, {"pace": 0.2, "length": 4, "sampling": {"steps": 300}})
    job = engine.submit(demo_tasks.WALK, request)
    page = SimpleNamespace(session_hash="a page")

    async def look() -> int:
        seen = 0
        async for _ in panel.watch(job.id, page):  # type: ignore[arg-type]
            seen += 1
            if seen == 1:
                async for _ in panel.watch("", page):  # type: ignore[arg-type]
                    pass
        return seen

    assert asyncio.run(asyncio.wait_for(look(), PATIENCE)) <= 3
    assert not engine.get(job.id).state.final  # type: ignore[union-attr]
    engine.cancel(job.id)
    assert engine.wait(job.id, PATIENCE)
