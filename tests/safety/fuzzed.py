"""The whole app around an engine that lets nothing through: where fuzzing sends requests, and how it judges answers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.engine.job import Job
from apps.engine.jobs import Engine
from apps.engine.settings import Settings
from apps.studio.app import Studio
from apps.web.application import application
from apps.web.server import Server, in_background, listen
from apps.web.users import Users
from domains.common.errors import BadInput
from domains.common.task import Request, Task
from tests.browser.driver import free_port
from tests.safety.hostile import leaves

GOOD_TABLE = "day,x\n" + "".join(f"2024-01-{day:02d},{day}\n" for day in range(1, 29))
CLOSED = "this engine takes no jobs"


class Turnstile(Engine):
    """Lets nothing through to a worker, and keeps what would have gone."""

    def __init__(self, home: Path) -> None:
        super().__init__(settings=Settings(home=home, warm_seconds=1e6, request_bytes=1 << 20))
        self.passed: list[Request] = []

    def submit(self, task: Task, request: Request, owner: str = "local", priority: int = 0) -> Job:
        self.passed.append(request)
        raise BadInput("queue", CLOSED)


@contextlib.contextmanager
def fuzzed_app(engine: Engine, uploads: Path, users: dict[str, str] | None = None) -> Iterator[httpx.Client]:
    """A client of the whole app: Gradio's own routes and ours behind the door."""
    with pytest.MonkeyPatch.context() as patch:
        port = free_port()
        patch.setenv("GRADIO_TEMP_DIR", str(uploads))
        served = application(Studio(engine), engine.settings, Users(users or {}), uploads, "127.0.0.1")
        with (
            in_background(Server(served, quiet=True), listen("127.0.0.1", port)),
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as made,
        ):
            yield made


def base(task: Task, file: Any) -> dict[str, Any]:
    """A request that is good: its files given, all else left to the defaults."""
    return {name: file for name, spec in leaves(task) if spec.get("format") == "file"}


def post(client: httpx.Client, path: str, body: Any, **headers: str) -> httpx.Response:
    """Posts JSON as a careless client would: Python's own writer says NaN and Infinity."""
    text = json.dumps(body).encode("utf-8", "surrogatepass")
    return client.post(path, content=text, headers={"Content-Type": "application/json", **headers})


def one_line(words: str) -> None:
    """Asserts that this is one short sentence, and nothing of the program's inside."""
    assert 0 < len(words) < 500, words[:500]
    assert words.isprintable(), words
    assert "Traceback" not in words and "site-packages" not in words
