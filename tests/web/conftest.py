"""The app behind its door with an engine that runs the demo tasks, without pages."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.engine.jobs import Engine
from apps.web.application import Served, application
from apps.web.server import Server, in_background, listen
from apps.web.users import Users
from domains.common.task import TASKS
from tests.browser.driver import free_port
from tests.engine import demo_tasks
from tests.engine.conftest import PATIENCE, settings
from tests.safety.conftest import PASSWORD, BarePages, hashes  # noqa: F401

DEMO = {"demo.walk": demo_tasks.WALK, "demo.nothing": demo_tasks.NOTHING}
for name in DEMO:
    TASKS.pop(name, None)


@pytest.fixture(autouse=True)
def demo() -> Iterator[None]:
    """The demo tasks, known in this process for the time of a test."""
    TASKS.update(DEMO)
    yield
    for name in DEMO:
        TASKS.pop(name, None)


@dataclass(frozen=True)
class App:
    """A running app."""

    url: str
    engine: Engine
    served: Served
    uploads: Path

    def client(self, user: str = "", **options: Any) -> httpx.Client:
        """A client, logged in as `user` where one is named; otherwise it has paid a visit to the page."""
        client = httpx.Client(base_url=self.url, trust_env=False, timeout=60, **options)
        if user:
            token = client.post("/login", data={"username": user, "password": PASSWORD}).json()["token"]
            client.cookies.clear()
            client.headers["Authorization"] = f"Bearer {token}"
        else:
            client.get("/")
        return client


StartApp = Callable[..., App]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartApp]:
    """Starts an app on a free port: settings as keywords, `users` as name -> hash."""
    with contextlib.ExitStack() as stack:

        def started(users: dict[str, str] | None = None, **chosen: Any) -> App:
            limits = settings(home=tmp_path / "home", **chosen)
            engine = stack.enter_context(contextlib.closing(Engine(settings=limits)))
            uploads, port = tmp_path / "uploads", free_port()
            served = application(BarePages(engine), limits, Users(users or {}), uploads, "127.0.0.1")
            server = Server(served, limits.connections, quiet=True)
            stack.enter_context(in_background(server, listen("127.0.0.1", port)))
            return App(f"http://127.0.0.1:{port}", engine, served, uploads)

        yield started


def submit(client: httpx.Client, task: str = "demo.walk", **request: Any) -> dict[str, Any]:
    """Submits a job of a demo task."""
    answer = client.post("/api/jobs", json={"task": task, "request": request})
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ended(client: httpx.Client, job_id: str) -> dict[str, Any]:
    """The job once it has ended."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        job: dict[str, Any] = client.get(f"/api/jobs/{job_id}").json()
        if job["state"] in ("done", "failed", "cancelled"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"{job_id} did not end")
