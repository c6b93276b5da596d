"""Gallery, queue and settings without a browser: what is found, compared, zipped, steered, cleared out, and by whom."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from apps.engine.jobs import Engine, Job, JobState
from apps.engine.validation import make_request
from apps.studio.pages import gallery
from apps.studio.pages.gallery import Sought, find
from apps.studio.pages.routes import page_routes
from apps.studio.pages.stacked import stacked
from apps.studio.pages.thumbnails import thumbnail
from apps.web.owners import LOCAL, set_owner
from domains.common.task import TASKS, Task
from tests.engine.conftest import PATIENCE

pytestmark = pytest.mark.usefixtures("tasks", "no_jobs_left")


@pytest.fixture
def client(engine: Engine, tasks: list[Task]) -> TestClient:
    """The routes, asked by whoever the header `who` names."""
    app = FastAPI()
    app.include_router(page_routes(engine, tasks))

    async def door(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            who = dict(scope["headers"]).get(b"who", LOCAL.encode()).decode()
            set_owner(scope, who)
        await app(scope, receive, send)

    return TestClient(door)  # type: ignore[arg-type]


def submit(engine: Engine, task: str = "demo.walk", owner: str = LOCAL, **fields: Any) -> Job:
    found = TASKS[task]
    return engine.submit(found, make_request(found, fields), owner)


def done(engine: Engine, task: str = "demo.walk", owner: str = LOCAL, **fields: Any) -> Job:
    job = engine.wait(submit(engine, task, owner, **fields).id, PATIENCE)
    assert job is not None and job.state is JobState.DONE, job
    return job


# ---------------------------------------------------------------- finding


def test_results_are_found_newest_first_and_by_what_they_were_made_with(
    engine: Engine, tasks: list[Task], tmp_path: Path
) -> None:
    table = tmp_path / "tides.csv"
    table.write_text("1\n2\n", "utf-8")
    first = done(engine, length=8, color="teal", sampling={"steps": 2})
    second = done(engine, length=9, table=str(table), sampling={"steps": 2, "seed": 77})
    third = done(engine, "demo.nothing")
    done(engine, owner="eve", length=5, sampling={"steps": 2})

    def ids(**sought: Any) -> list[str]:
        return [job.id for job in find(engine, LOCAL, tasks, Sought(**sought)).jobs]

    assert ids() == [third.id, second.id, first.id]
    assert ids(task="demo.walk") == [second.id, first.id]
    assert ids(domain="demo") == ids() and ids(domain="series") == []
    assert ids(text="TIDES") == [second.id] and ids(text="teal walk") == [first.id]
    assert ids(text=first.id[:8]) == [first.id]
    assert ids(text=engine.home.name) == [], "where files lie is nothing that one looks for"
    assert ids(model="series-base") == []
    engine.pin(first.id)
    assert ids(pinned=True) == [first.id]


def test_pages_follow_one_another_without_gap_or_repetition(
    engine: Engine, tasks: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "A_PAGE", 2)
    made = [done(engine, "demo.nothing", sampling={"seed": seed}).id for seed in range(5)]
    seen: list[str] = []
    before = ""
    for _ in range(3):
        page = find(engine, LOCAL, tasks, Sought(), before)
        seen += [job.id for job in page.jobs]
        before = page.before
    assert seen == made[::-1] and before == ""
    assert find(engine, LOCAL, tasks, Sought(), "0" * 32).jobs == []


def test_a_card_shows_hostile_words_as_text(engine: Engine, tmp_path: Path) -> None:
    table = tmp_path / "<img src=x onerror=alert(1)>.csv"
    table.write_text("1\n", "utf-8")
    job = done(engine, table=str(table), length=4, sampling={"steps": 2})
    shown = gallery.card(job)
    assert "&lt;img src=x" in shown and "<img src=x" not in shown
    assert f"results/{job.id}/walk.png" in shown


# ---------------------------------------------------------------- comparing


def test_a_comparison_shows_pictures_numbers_and_what_differs(engine: Engine, client: TestClient) -> None:
    one = done(engine, length=8, drift=0.5, sampling={"steps": 2})
    other = done(engine, length=8, drift=1.5, sampling={"steps": 2, "seed": 3})
    html = client.get(f"/pages/compare?a={one.id}&b={other.id}").json()["html"]
    assert 'data-viewer="image"' in html and f"results/{other.id}/walk.png" in html
    assert "<td>0.5</td><td>1.5</td><td>+1 (+200\u202f%)" in html  # drift
    assert ">Length<" not in html, "what is equal does not differ"
    assert client.get(f"/pages/compare?a={one.id}&b={other.id}", headers={"who": "eve"}).status_code == 404
    assert client.get(f"/pages/compare/{one.id}/{other.id}/plot.json").status_code == 409  # they have no plot


def test_stacked_plots_share_their_axes() -> None:
    def figure(low: float) -> dict[str, Any]:
        return {
            "data": [{"x": [0, 1], "y": [low, 1]}, {"x": [0, 1], "y": [2, 3], "xaxis": "x2", "yaxis": "y2"}],
            "layout": {
                "xaxis": {"anchor": "y"},
                "yaxis": {"domain": [0.6, 1.0]},
                "xaxis2": {"anchor": "y2", "matches": "x"},
                "yaxis2": {"domain": [0.0, 0.4], "anchor": "x2"},
                "annotations": [{"text": "gap", "xref": "x2", "yref": "y2 domain", "y": 0.5}],
            },
        }

    joint = stacked(figure(0), figure(-5), ("A", "B"))
    layout = joint["layout"]
    assert [trace.get("yaxis", "y") for trace in joint["data"]] == ["y", "y2", "y3", "y4"]
    assert layout["yaxis3"]["matches"] == "y" and layout["xaxis4"]["matches"] == "x2"
    assert layout["xaxis3"]["anchor"] == "y3" and layout["yaxis4"]["anchor"] == "x4"
    assert min(layout["yaxis2"]["domain"]) > max(layout["yaxis3"]["domain"])
    assert min(layout["yaxis4"]["domain"]) >= 0 and max(layout["yaxis"]["domain"]) <= 1
    words = {item["text"]: item["yref"] for item in layout["annotations"] if item["text"] != "gap"}
    assert words == {"A": "paper", "B": "paper"}
    assert [item["yref"] for item in layout["annotations"] if item["text"] == "gap"] == [
        "y2 domain",
        "y4 domain",
    ]


def test_a_thumbnail_draws_lines_and_leaves_gaps(tmp_path: Path) -> None:
    plot = tmp_path / "plot.json"
    trace = {"x": ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"], "y": [1, None, 3, 4]}
    plot.write_text(json.dumps({"data": [{**trace, "name": "</svg><script>"}]}), "utf-8")
    drawn = thumbnail(plot)
    assert drawn is not None and drawn.count("M") == 2 and drawn.count("L") == 1 and "script" not in drawn
    for broken in (
        "[]",
        '{"data": 3}',
        '{"data": [{"y": {"bdata": "!"}}]}',
        "nonsense",
        '{"data": [{"y": []}]}',
    ):
        plot.write_text(broken, "utf-8")
        assert thumbnail(plot) is None


# ---------------------------------------------------------------- taking along


def test_a_zip_holds_results_and_recipes_under_safe_names(engine: Engine, client: TestClient) -> None:
    one, other = done(engine, length=8, sampling={"steps": 2}), done(engine, "demo.nothing")
    answer = client.get(f"/pages/zip?job={one.id}&job={other.id}&job={one.id}")
    assert answer.headers["content-disposition"] == 'attachment; filename="langevin-2-results.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len({name.partition("/")[0] for name in names}) == 2
        assert {name.partition("/")[2] for name in names} >= {
            "walk.csv",
            "walk.png",
            "result.json",
            "word.txt",
        }
        assert not [name for name in names if ".." in name or name.startswith("/") or "\\" in name]
        result = next(name for name in names if "walk" in name and name.endswith("result.json"))
        assert json.loads(archive.read(result))["recipe"]["request"]["length"] == 8
        stored = one.directory / "result" / "walk.csv"
        assert archive.read(result.replace("result.json", "walk.csv")) == stored.read_bytes()


def test_nobody_takes_the_results_of_others(engine: Engine, client: TestClient) -> None:
    mine, theirs = done(engine, "demo.nothing"), done(engine, "demo.nothing", owner="eve")
    assert client.get(f"/pages/zip?job={mine.id}&job={theirs.id}").status_code == 404
    assert theirs.id not in client.get("/pages/gallery").text
    assert client.get(f"/pages/thumbnail/{theirs.id}").status_code == 404
    for verb in (
        "cancel",
        "pause",
        "resume",
        "retry",
        "pin",
        "unpin",
        "delete",
        "move",
        "priority",
        "replay",
    ):
        refused = client.post(f"/pages/jobs/{theirs.id}/{verb}", json={"priority": 1})
        assert refused.status_code in (404, 409), verb
    assert engine.get(theirs.id, "eve") == theirs
    assert client.get(f"/pages/replay/{theirs.id}?of={mine.id}").status_code == 404


# ---------------------------------------------------------------- the queue


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file without which no step begins; it is there at the end."""
    path = tmp_path / "gate"
    yield path
    path.write_text("", "utf-8")


def queue(client: TestClient, who: str = LOCAL) -> dict[str, Any]:
    return dict(client.get("/pages/queue", headers={"who": who}).json())


def until(look: Callable[[], bool]) -> None:
    import time

    end = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_queue_is_seen_ordered_and_steered(engine: Engine, client: TestClient, gate: Path) -> None:
    jobs = [submit(engine, gate=str(gate), length=4 + i, sampling={"steps": 2}) for i in range(4)]
    theirs = submit(engine, owner="eve", gate=str(gate), sampling={"steps": 2})
    until(lambda: len(queue(client)["sections"]["running"]) == 1)

    def waiting() -> list[str]:
        return [row["id"] for row in queue(client)["sections"]["waiting"]]

    ids = [job.id for job in jobs]
    assert queue(client)["sections"]["running"][0]["id"] == ids[0]
    assert waiting() == ids[1:]
    assert queue(client)["active"] and queue(client)["summary"].startswith("1 running, 3 waiting. ")
    assert theirs.id not in json.dumps(queue(client)), "of others there are numbers only"
    assert "1 job of others ahead" in queue(client, "eve")["summary"]
    assert client.post(f"/pages/jobs/{ids[3]}/move", json={"before": ids[1]}).status_code == 200
    assert waiting() == [ids[3], ids[1], ids[2]]
    assert client.post(f"/pages/jobs/{ids[3]}/move", json={"before": ""}).status_code == 200
    assert waiting() == [ids[1], ids[2], ids[3]]
    assert client.post(f"/pages/jobs/{ids[3]}/priority", json={"priority": 1}).status_code == 200
    assert waiting() == [ids[3], ids[1], ids[2]]
    for bad in (True, "1", 1.5, None, 10**9):
        assert client.post(f"/pages/jobs/{ids[3]}/priority", json={"priority": bad}).status_code == 409
    assert client.post(f"/pages/jobs/{ids[1]}/pause").json()["state"] == "paused"
    assert client.post(f"/pages/jobs/{ids[1]}/resume").json()["state"] == "queued"
    assert client.post(f"/pages/jobs/{ids[2]}/cancel").json()["state"] == "cancelled"
    ended = queue(client)["sections"]["ended"]
    assert [row["id"] for row in ended] == [ids[2]] and 'data-do="retry"' in ended[0]["html"]
    assert client.post(f"/pages/jobs/{ids[2]}/retry").json()["state"] == "queued"
    assert client.post(f"/pages/jobs/{ids[0]}/delete").status_code == 409  # it runs
    assert client.post(f"/pages/jobs/{ids[0]}/explode").status_code == 404


def test_a_failed_job_says_why_as_text(engine: Engine, client: TestClient) -> None:
    job = submit(engine, fault="exception", sampling={"steps": 4})
    engine.wait(job.id, PATIENCE)
    row = queue(client)["sections"]["ended"][0]
    assert row["words"].startswith("Failed: ") and "<i>walker" not in row["html"]
    assert client.post(f"/pages/jobs/{job.id}/delete").status_code == 200
    assert queue(client)["sections"]["ended"] == []


# ---------------------------------------------------------------- replay, settings


def test_a_replay_runs_again_and_says_whether_it_matches(engine: Engine, client: TestClient) -> None:
    job = done(engine, length=8, sampling={"steps": 2, "seed": 4})
    made = client.post(f"/pages/jobs/{job.id}/replay").json()
    assert made["id"] != job.id
    engine.wait(made["id"], PATIENCE)
    said = client.get(f"/pages/replay/{made['id']}?of={job.id}").json()
    assert said == {"state": "same", "words": "All 2 files came out the same, to the bit"}
    other = done(engine, length=8, sampling={"steps": 2, "seed": 5})
    said = client.get(f"/pages/replay/{other.id}?of={job.id}").json()
    assert said["state"] == "differs" and "walk.csv came out different" in said["words"]
    failed = submit(engine, fault="exception", sampling={"steps": 4})
    engine.wait(failed.id, PATIENCE)
    assert client.get(f"/pages/replay/{failed.id}?of={job.id}").json()["state"] == "failed"


def test_clearing_out_spares_what_is_pinned_running_or_of_others(
    engine: Engine, client: TestClient, gate: Path
) -> None:
    kept, gone = done(engine, "demo.nothing"), done(engine, "demo.nothing")
    theirs = done(engine, "demo.nothing", owner="eve")
    client.post(f"/pages/jobs/{kept.id}/pin")
    waiting = submit(engine, gate=str(gate), sampling={"steps": 2})
    page = client.get("/pages/settings").json()["html"]
    assert "Clear out 1 job," in page and str(engine.home) in page and "Log out" not in page
    assert client.post("/pages/clear").json()["words"].startswith("Removed 1 job, ")
    assert engine.get(gone.id) is None and not gone.directory.exists()
    assert engine.get(kept.id) and engine.get(waiting.id) and engine.get(theirs.id, "eve")


def test_the_settings_say_who_is_logged_in_and_hide_where_files_lie(
    engine: Engine, client: TestClient
) -> None:
    page = client.get("/pages/settings", headers={"who": "eve"}).json()["html"]
    assert "logged in as <b>eve</b>" in page and 'action="logout"' in page and str(engine.home) not in page
    guest = client.get("/pages/settings", headers={"who": "guest-0123"}).json()["html"]
    assert "You are a guest" in guest and "guest-0123" not in guest
    assert "500" in page  # jobs of one owner that may wait
