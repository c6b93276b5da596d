"""The whole app, two people, one real job: what is one's own, nobody else sees, cancels or reads by any path."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from apps.engine.jobs import Engine
from apps.engine.settings import Settings
from apps.studio import answer
from apps.studio.app import Studio
from apps.studio.forms import form_fields
from apps.web.application import application
from apps.web.server import Server, in_background, listen
from apps.web.users import Users
from domains.common.errors import BadInput
from domains.common.task import TASKS
from tests.browser.driver import free_port
from tests.engine import demo_tasks
from tests.safety.conftest import PASSWORD

MODULE = "tests.engine.demo_tasks"
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    known = set(TASKS)
    settings = Settings(home=tmp_path_factory.mktemp("isolation") / "home", task_modules=(MODULE,), threads=1)
    TASKS.update(
        {"demo.walk": demo_tasks.WALK, "demo.nothing": demo_tasks.NOTHING}
    )  # whoever imported them first
    made = Engine(settings=settings)
    yield made
    made.close()
    for name in set(TASKS) - known:
        del TASKS[name]


@pytest.fixture(scope="module")
def people(
    engine: Engine, hashes: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Ada and Bob, logged in to one app."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        uploads, port = tmp_path_factory.mktemp("uploads"), free_port()
        patch.setenv("GRADIO_TEMP_DIR", str(uploads))
        studio = Studio(engine, [TASKS["demo.walk"]])
        served = application(studio, engine.settings, Users(hashes), uploads, "127.0.0.1")
        stack.enter_context(in_background(Server(served, quiet=True), listen("127.0.0.1", port)))
        clients = []
        for name in ("ada", "bob"):
            client = stack.enter_context(
                httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False)
            )
            assert client.post("/login", data={"username": name, "password": PASSWORD}).status_code == 200
            clients.append(client)
        yield clients[0], clients[1]


def run(client: httpx.Client, file: bytes, name: str, **changed: Any) -> list[Any]:
    """Uploads a file and runs the walk on it; what the endpoint answers."""
    path = client.post("/gradio_api/upload", files={"files": (name, file)}).json()[0]
    given = {
        "table": {"path": path, "meta": {"_type": "gradio.FileData"}},
        "length": 5,
        "steps": 2,
        **changed,
    }
    fields = form_fields(TASKS["demo.walk"].request)
    data = [given.get(field.name.rsplit(".", 1)[-1], field.default) for field in fields]
    reply = client.post("/gradio_api/run/demo_walk", json={"data": data})
    assert reply.status_code == 200, reply.text[:500]
    found: list[Any] = reply.json()["data"]
    return found


@pytest.fixture(scope="module")
def done(people: tuple[httpx.Client, httpx.Client]) -> list[Any]:
    """Ada's run, through Gradio's own route."""
    return run(people[0], b"1\n2\n3\n", "secret.csv")


def test_the_owner_reads_their_result_and_nobody_else_does(
    engine: Engine, people: tuple[httpx.Client, httpx.Client], done: list[Any]
) -> None:
    ada, bob = people
    (job,) = engine.jobs("ada")
    assert engine.jobs("bob") == [] and engine.jobs() == []
    assert job.result is not None
    mine = ada.get(f"/results/{job.id}/walk.csv")
    assert mine.text.startswith("point,height\n")
    assert mine.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in mine.headers["content-security-policy"]
    picture = ada.get(f"/results/{job.id}/walk.png")
    assert picture.headers["content-type"] == "image/png"
    assert bob.get(f"/results/{job.id}/walk.csv").status_code == 404
    assert bob.get(f"/results/{job.id}/result.json").status_code == 404
    for file in done[0]:
        assert ada.get(f"/gradio_api/file={file['path']}").status_code == 200
        assert bob.get(f"/gradio_api/file={file['path']}").status_code == 403
    for path in (
        job.result.directory / "walk.csv",
        *(job.directory / "inputs").rglob("*.csv"),
        engine.home / "jobs.db",
    ):
        assert path.exists()
        for client in people:  # not even one's own, but by the routes that ask the engine
            assert client.get(f"/gradio_api/file={path}").status_code == 403


def test_no_path_leads_out_of_a_result(
    engine: Engine, people: tuple[httpx.Client, httpx.Client], done: list[Any]
) -> None:
    (job,) = engine.jobs("ada")
    for name in (
        "../inputs",
        "..%2f..%2fjobs.db",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "..\\jobs.db",
        "walk.csv%00.png",
        "scratch.bin",
        "",
    ):
        assert people[0].get(f"/results/{job.id}/{name}").status_code == 404, name


def test_the_job_of_another_is_not_cancelled_watched_or_forgotten(
    engine: Engine, people: tuple[httpx.Client, httpx.Client], done: list[Any]
) -> None:
    (job,) = engine.jobs("ada")
    assert engine.get(job.id, "bob") is None
    for steer in (engine.cancel, engine.pause, engine.resume, engine.retry, engine.forget):
        with pytest.raises(BadInput):
            steer(job.id, "bob")
    assert engine.get(job.id, "ada") == job


HOSTILE = '"><img src=x onerror=alert(1)>\u202e.csv'


def test_markup_in_names_is_text_in_the_page(
    engine: Engine, people: tuple[httpx.Client, httpx.Client]
) -> None:
    before = {job.id for job in engine.jobs("bob")}
    run(people[1], b"1\n2\n", quote(HOSTILE), color="<script>x</script>")
    (job,) = (job for job in engine.jobs("bob") if job.id not in before)
    until = time.monotonic() + 30
    while not job.state.final and time.monotonic() < until:
        time.sleep(0.05)
        job = engine.get(job.id, "bob") or job
    assert job.result is not None
    page = answer.status(job) + answer.again(job.result, job.task) + answer.downloads(job, job.result)
    assert "<script" not in page and "<img" not in page
    assert "&lt;script&gt;" in page
    for words in ('<img src=x onerror="alert(1)">', "</p><script>x</script>", HOSTILE):
        for made in (answer.fault(words), answer.notes([words]), answer.metrics({words: words})):
            assert "<img" not in made and "<script" not in made
