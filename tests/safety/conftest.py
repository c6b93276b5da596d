"""The app behind its door, without pages: our own routes and a stand-in for Gradio's, on a real server and engine."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from apps.engine.jobs import Engine
from apps.engine.settings import Settings
from apps.web.application import Served, application
from apps.web.owners import owner_of
from apps.web.server import Server, in_background, listen
from apps.web.users import Users, hash_password
from tests.browser.driver import free_port

PASSWORD = "correct horse battery"


class BarePages:
    """Stands where the studio stands; says what reached it."""

    head = ""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.calls: list[Any] = []

    def takes(self, function: str | int) -> frozenset[int] | None:
        return frozenset(range(100))

    def mount(self, inner: FastAPI, root_path: str | None = None) -> Callable[[], None]:
        @inner.get("/")
        def page(request: Request) -> dict[str, str]:
            return {"owner": owner_of(request)}

        @inner.post("/gradio_api/queue/join")
        @inner.post("/gradio_api/run/{name}")
        async def call(request: Request, name: str = "") -> dict[str, Any]:
            body = await request.body()
            self.calls.append(body)
            return {"owner": owner_of(request), "bytes": len(body)}

        @inner.get("/gradio_api/heartbeat/{session}")
        @inner.get("/gradio_api/file={path:path}")
        def read(request: Request, session: str = "", path: str = "") -> dict[str, str]:
            self.calls.append(session or path)
            return {"owner": owner_of(request)}

        return lambda: None


@dataclass(frozen=True)
class Running:
    """A running app: its address, what serves it, its pages, and the folder of uploads."""

    url: str
    served: Served
    pages: BarePages
    uploads: Path
    port: int

    def client(self, **options: Any) -> httpx.Client:
        """A client that keeps cookies, as a browser would."""
        return httpx.Client(base_url=self.url, trust_env=False, timeout=30, **options)


Start = Callable[..., Running]


@pytest.fixture(scope="session")
def hashes() -> dict[str, str]:
    """Two users with one password; hashing takes its time by design."""
    return {name: hash_password(PASSWORD) for name in ("ada", "bob")}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts an app on a free port: settings as keywords, `users` as name -> hash."""
    count = itertools.count()
    with contextlib.ExitStack() as stack:

        def started(users: dict[str, str] | None = None, **chosen: Any) -> Running:
            # No worker is warmed: these tests run no job.
            settings = Settings(home=tmp_path / f"home{next(count) or ''}", warm_seconds=1e6, **chosen)
            engine = stack.enter_context(contextlib.closing(Engine(settings=settings)))
            pages, uploads, port = BarePages(engine), tmp_path / "uploads", free_port()
            served = application(pages, settings, Users(users or {}), uploads, "127.0.0.1")
            stack.enter_context(
                in_background(Server(served, settings.connections, quiet=True), listen("127.0.0.1", port))
            )
            return Running(f"http://127.0.0.1:{port}", served, pages, uploads, port)

        yield started
