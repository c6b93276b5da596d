"""The tools of the Model Context Protocol, with the official client."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.web.conftest import App, StartApp

mcp = pytest.importorskip("mcp")
from mcp import ClientSession  # noqa: E402
from mcp.client.streamable_http import streamable_http_client  # noqa: E402

Talk = Callable[[ClientSession], Awaitable[Any]]


def talk(app: App, what: Talk, **headers: str) -> Any:
    """What comes of a conversation with the app's tools."""

    async def run() -> Any:
        async with (
            httpx.AsyncClient(headers=headers, trust_env=False, timeout=120) as http,
            streamable_http_client(f"{app.url}/gradio_api/mcp/", http_client=http) as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await what(session)

    return asyncio.run(run())


def call(app: App, name: str, arguments: dict[str, Any], **headers: str) -> Any:
    """What a tool answers."""
    return talk(app, lambda session: session.call_tool(name, arguments), **headers)


@pytest.fixture
def app(start: StartApp) -> App:
    return start()


def test_each_task_is_a_tool_with_types_and_bounds(app: App) -> None:
    listed = talk(app, lambda session: session.list_tools())
    tools = {tool.name: tool for tool in listed.tools}
    assert {"series_impute", "series_forecast", "lab_theory", "lab_solvers", "demo_walk"} <= set(tools)
    fields = tools["series_impute"].inputSchema["properties"]
    assert (fields["samples"]["type"], fields["samples"]["maximum"]) == ("integer", 256)
    assert "multistep" in fields["solver"]["enum"] and fields["steps"]["minimum"] == 1
    assert tools["series_impute"].inputSchema["required"] == ["table"]
    assert "median" in tools["series_impute"].description


def test_a_tool_call_is_a_job_that_answers_numbers_pictures_and_files(app: App) -> None:
    told = []

    async def walk(session: ClientSession) -> Any:
        async def progress(done: float, total: float | None, message: str | None) -> None:
            told.append((done, total))

        table = {"name": "a.csv", "text": "1\n2\n"}
        arguments = {"table": table, "length": 12, "steps": 4, "pace": 0.6}
        return await session.call_tool("demo_walk", arguments, progress_callback=progress)

    answer = talk(app, walk)
    assert not answer.isError
    facts = json.loads(answer.content[0].text)
    assert facts == answer.structuredContent and facts["artifacts"] == ["walk.csv", "walk.png"]
    assert facts["recipe"]["request"]["sampling"]["steps"] == 4
    assert told and told[-1][1] == 4
    kinds = [part.type for part in answer.content]
    assert kinds == ["text", "resource", "image", "resource_link"]
    assert answer.content[1].resource.text.startswith("point,height")
    assert base64.b64decode(answer.content[2].data).startswith(b"\x89PNG")
    client = app.client()
    link = str(answer.content[3].uri)
    assert link.startswith(f"{app.url}/api/jobs/{facts['job']}/") and client.get(link).status_code == 200
    assert client.get(f"/api/jobs/{facts['job']}").json()["state"] == "done"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"table": "/etc/passwd"}, "table: must be an uploaded file"),
        ({"table": "file:///etc/passwd"}, "table: must be"),
        ({"table": "http://127.0.0.1/a.csv"}, "table: must be"),
        ({"table": {"path": "/etc/passwd"}}, "table: must be"),
        ({"table": {"name": "/etc/passwd", "text": ""}}, "table: the file is empty"),
        ({"length": 1}, "length: must be a whole number from 2"),
        ({"model": "../../x"}, "model: no model"),
        ({"fault": "input"}, "drift: is too steep"),
        ({"fault": "exception"}, "the <i>walker</i> fell"),
    ],
)
def test_what_cannot_be_served_is_one_line(app: App, arguments: dict[str, Any], word: str) -> None:
    answer = call(app, "demo_walk", arguments)
    assert answer.isError and len(answer.content) == 1
    text = answer.content[0].text
    assert word in text and "\n" not in text and "Traceback" not in text


def test_a_path_named_as_gradio_names_it_is_stopped_at_the_door(app: App) -> None:
    table = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    params = {"name": "demo_walk", "arguments": {"table": table}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {"Accept": "application/json, text/event-stream"}
    answer = app.client().post("/gradio_api/mcp", json=body, headers=headers)
    assert answer.status_code == 403 and app.engine.jobs() == []


def test_an_unknown_tool_is_named_so(app: App) -> None:
    answer = call(app, "demo_none", {})
    assert answer.isError and "there is no tool of this name" in answer.content[0].text


def test_tools_are_those_of_whoever_is_logged_in(start: StartApp, hashes: dict[str, str]) -> None:
    app = start(users=hashes)
    ada, bob = app.client("ada"), app.client("bob")
    with pytest.raises(BaseException) as refused:  # noqa: PT011 - the library raises groups of several kinds
        call(app, "demo_nothing", {})
    assert "401" in repr(refused.value) or "401" in repr(getattr(refused.value, "exceptions", ""))
    answer = call(app, "demo_nothing", {}, Authorization=ada.headers["Authorization"])
    job = answer.structuredContent["job"]
    assert ada.get(f"/api/jobs/{job}").status_code == 200
    assert bob.get(f"/api/jobs/{job}").status_code == 404
    path = ada.post("/gradio_api/upload", files={"files": ("a.csv", b"4\n")}).json()[0]
    mine = call(app, "demo_walk", {"table": path}, Authorization=ada.headers["Authorization"])
    theirs = call(app, "demo_walk", {"table": path}, Authorization=bob.headers["Authorization"])
    assert not mine.isError and theirs.isError
