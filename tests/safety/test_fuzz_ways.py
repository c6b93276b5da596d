"""Jobs over HTTP, tools, pages and viewers: whatever is asked ends in a 4xx or one line, and reaches no worker.

Two people may log in.  All jobs are Ada's, everything is asked by Bob.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import secrets
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.engine.job import RESULT_FOLDER, Job, JobState
from apps.engine.run import run_task
from apps.engine.store import now
from apps.engine.validation import make_request
from domains.common.task import Task
from domains.registry import all_tasks
from tests.safety.conftest import PASSWORD
from tests.safety.fuzzed import CLOSED, GOOD_TABLE, Turnstile, base, fuzzed_app, one_line, post
from tests.safety.hostile import NUMBERS, PATHS, SHAPES, TEXTS, VALUES, broken_values, leaves, requests

TASKS = list(all_tasks().values())
NAMES = [task.name for task in TASKS]
FILE = {"name": "table.csv", "text": GOOD_TABLE}
FUZZ = settings(max_examples=30, suppress_health_check=list(HealthCheck))
MCP = "/gradio_api/mcp"
ACCEPT = {"Accept": "application/json, text/event-stream"}
GROWTH = 128 << 20  # bytes that the whole app may come to hold meanwhile


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Turnstile]:
    made = Turnstile(tmp_path_factory.mktemp("fuzz") / "home")
    yield made
    made.close()


@pytest.fixture(scope="module")
def jobs(engine: Turnstile) -> dict[str, Job]:
    """Jobs of Ada's in each state in which one rests, the finished one with its files."""
    made, task = {}, all_tasks()["lab.theory"]
    for state in (JobState.PAUSED, JobState.DONE, JobState.FAILED):
        job = Job(secrets.token_hex(16), "ada", task.name, {}, engine.root, {}, created=now())
        job = dataclasses.replace(job, directory=engine.root / job.id, state=state)
        job.directory.mkdir()
        if state is JobState.DONE:
            run_task(
                task, make_request(task, {"samples": 100, "steps": 2}), out=job.directory / RESULT_FOLDER
            )
        engine._store.add(job)
        made[str(state)] = job
    return made


@pytest.fixture(scope="module")
def bob(
    engine: Turnstile,
    jobs: dict[str, Job],
    hashes: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[httpx.Client]:
    """Bob, logged in."""
    with fuzzed_app(engine, tmp_path_factory.mktemp("uploads"), hashes) as made:
        token = made.post("/login", data={"username": "bob", "password": PASSWORD}).json()["token"]
        made.cookies.clear()
        made.headers["Authorization"] = f"Bearer {token}"
        yield made


@pytest.fixture(autouse=True)
def _nothing_happens(engine: Turnstile, jobs: dict[str, Job], bob: httpx.Client) -> Iterator[None]:
    """No job comes, goes or changes, nothing is left among the uploads, memory stays bounded, and the app lives."""
    rows, memory = engine._store.select(), psutil.Process().memory_info().rss
    assert len(rows) == len(jobs)
    yield
    assert engine._store.select() == rows
    assert all(job.has_result == (job.state is JobState.DONE) for job in rows)
    assert bob.get("/healthz").status_code == 200
    assert psutil.Process().memory_info().rss - memory < GROWTH


def refused(answer: httpx.Response) -> None:
    """A 4xx with one short sentence."""
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:300])
    said = answer.json()
    one_line(said["message"] if "message" in said else said["error"])


def in_order(answer: httpx.Response) -> None:
    """Any answer but an error of the server's."""
    assert answer.status_code < 500, answer.text[:300]
    if answer.status_code >= 400 and answer.content:
        refused(answer)


def call(bob: httpx.Client, task: Task, arguments: Any) -> str:
    """What a tool says to a call that it cannot serve."""
    params = {"name": task.name.replace(".", "_"), "arguments": arguments}
    return refusal_of(
        post(bob, MCP, {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, **ACCEPT)
    )


def refusal_of(answer: httpx.Response) -> str:
    """The one line in an answer of the tools: the door's, the protocol's, or a tool's own."""
    assert answer.status_code < 500, answer.text[:300]
    if not answer.headers["content-type"].startswith("text/event-stream"):
        said = answer.json()
        error = said["error"]
        words = error["message"] if isinstance(error, dict) else error
    else:
        lines = [
            line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")
        ]
        told = json.loads(lines[-1])
        if "error" in told:
            words = told["error"]["message"]
        else:
            assert told["result"]["isError"], told
            (content,) = told["result"]["content"]
            words = content["text"]
    one_line(words)
    return str(words)


# ---------------------------------------------------------------- jobs and tools, from the schemas


@pytest.mark.parametrize("name", NAMES)
def test_each_field_refuses_what_it_must_as_a_job_and_as_a_tool(
    bob: httpx.Client, engine: Turnstile, name: str
) -> None:
    task = all_tasks()[name]
    good, before = base(task, FILE), len(engine.passed)
    assert CLOSED in post(bob, "/api/jobs", {"task": name, "request": good}).text
    assert CLOSED in call(bob, task, good)
    assert len(engine.passed) == before + 2  # what is good does come through, by both ways
    for field, spec in leaves(task):
        for value in broken_values(spec):
            changed = {**good, field: value}
            refused(post(bob, "/api/jobs", {"task": name, "request": changed}))
            call(bob, task, changed)
            assert len(engine.passed) == before + 2, (field, value)


@pytest.mark.parametrize("name", NAMES)
@FUZZ
@given(data=st.data())
def test_whatever_is_asked_of_jobs_and_tools_is_refused_in_a_line(
    bob: httpx.Client, engine: Turnstile, name: str, data: st.DataObject
) -> None:
    task = all_tasks()[name]
    before = len(engine.passed)
    asked = {**base(task, FILE), **data.draw(requests(task))}
    refused(post(bob, "/api/jobs", {"task": name, "request": asked}))
    call(bob, task, asked)
    for request in engine.passed[before:]:
        for value in request.model_dump().values():
            assert not (isinstance(value, float) and not math.isfinite(value))
            assert (
                not isinstance(value, Path) or value.name == FILE["name"]
            )  # what was sent, and no other file


FILES: tuple[Any, ...] = (
    *PATHS,
    *({"path": path} for path in PATHS),
    *({"path": path, "meta": {"_type": "gradio.FileData"}} for path in PATHS[:3]),
    {"name": "a.csv"},
    {"name": "a.csv", "text": 3},
    {"name": "a.csv", "text": "x", "base64": "eA=="},
    {"name": "a.csv", "base64": "%%%"},
    {"name": "a.csv", "base64": "é"},
    {"name": 3, "text": "x"},
    {"name": "a.csv", "text": GOOD_TABLE, "mode": "r"},
    {"name": "a.csv", "text": "\ud800"},
    [FILE],
)


@pytest.mark.parametrize("task", [task for task in TASKS if base(task, FILE)], ids=lambda task: task.name)
def test_a_file_is_its_content_or_an_own_upload(bob: httpx.Client, engine: Turnstile, task: Task) -> None:
    before = len(engine.passed)
    for value in FILES:
        asked = base(task, value)
        refused(post(bob, "/api/jobs", {"task": task.name, "request": asked}))
        call(bob, task, asked)
    assert len(engine.passed) == before
    # Whatever it is called, it lands in the caller's own folder under a harmless name.
    for hostile in (*PATHS, *TEXTS):
        post(
            bob,
            "/api/jobs",
            {"task": task.name, "request": base(task, {"name": hostile, "text": GOOD_TABLE})},
        )
    for request in engine.passed[before:]:
        for value in request.model_dump().values():
            if isinstance(value, Path):
                assert ".." not in value.parts and value.name.isprintable() and len(value.name) <= 100
                assert not value.exists()  # gone with the call


BODIES: list[Any] = [
    *NUMBERS,
    *SHAPES,
    "x",
    {"task": "lab.theory", "request": 3},
    {"task": "lab.theory", "request": None},
    {"task": "lab.theory", "request": [{}]},
    *({"task": value} for value in VALUES),
    *(
        {"task": "lab.theory", "request": {}, "priority": value}
        for value in VALUES
        if value not in (0, -1) or value is False
    ),
    *(
        {"task": "lab.theory", "request": {}, name: 1}
        for name in ("owner", "id", "state", "\x1b[2J", "é" * 500, "")
    ),
    {"task": "lab.theory", "request": {"sampling": {"sampling": {}}}},
    {"task": "lab.theory", "request": {"sampling": {"seed": 1}, "seed": 1}},
]
RAW: list[bytes] = [
    b"",
    b"{",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b'{"task": "\xed\xa0\x80"}',
    b'{"task": "lab.theory", "request": {"seed": ' + b"9" * 5000 + b"}}",
    b'{"task": "lab.theory", "request": {"seed": 1e400}}',
    b'{"task": "lab.theory", "request": {"seed": NaN}}',
    b'{"task": "lab.theory"} {}',
]
KINDS = [
    "application/json",
    "text/plain",
    "",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "a/b;" + "x" * 900,
]


def test_bodies_of_any_form_make_no_job(bob: httpx.Client, engine: Turnstile) -> None:
    before = len(engine.passed)
    for body in BODIES:
        refused(post(bob, "/api/jobs", body))
    for raw in RAW:
        for kind in KINDS:
            refused(bob.post("/api/jobs", content=raw, headers={"Content-Type": kind}))
    assert len(engine.passed) == before


CHARSETS = [
    "unicode_escape",
    "idna",
    "punycode",
    "utf-7",
    "hex",
    "undefined",
    "utf-16",
    "\u00e9".encode().hex(),
    "x" * 500,
]


@pytest.mark.parametrize("charset", CHARSETS)
@pytest.mark.parametrize("path", ["/api/jobs", "/gradio_api/upload"])
def test_forms_in_odd_charsets_make_no_job(
    bob: httpx.Client, engine: Turnstile, path: str, charset: str
) -> None:
    before = len(engine.passed)
    fields = {"task": r"\ud800.-", "request": r"\ud800", r"\ud800": "1", "priority": "1e400"}
    for name, value in fields.items():
        for file in ("", f'; filename="{value}"'):
            part = f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n{value}\r\n--b--\r\n'
            kind = f"multipart/form-data; boundary=b; charset={charset}"
            in_order(bob.post(path, content=part.encode(), headers={"Content-Type": kind}))
    assert len(engine.passed) == before


CALLS: list[Any] = [
    *SHAPES,
    *NUMBERS[:8],
    {"method": "tools/call"},
    {"jsonrpc": "2.0", "id": 1, "method": "no/such"},
    {"jsonrpc": "2.0", "id": 1, "method": "tools/call"},
    {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": 3}},
    {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "lab_theory", "arguments": "x"}},
    {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "lab_theory", "arguments": [1]}},
    {"jsonrpc": "2.0", "id": math.nan, "method": "tools/list"},
    {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "file:///etc/passwd"}},
    {"jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": {"name": "../x"}},
    *(
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {}}}
        for name in (*PATHS, *TEXTS[:5], "__class__", "lab.theory")
    ),
]


def test_calls_of_any_form_run_no_tool(bob: httpx.Client, engine: Turnstile) -> None:
    before = len(engine.passed)
    for body in CALLS:
        refusal_of(post(bob, MCP, body, **ACCEPT))
    for raw in RAW:
        refusal_of(bob.post(MCP, content=raw, headers={"Content-Type": "application/json", **ACCEPT}))
    assert len(engine.passed) == before


# ---------------------------------------------------------------- pages and viewers

ODD = (
    "0",
    "0" * 32,
    "f" * 65,
    "..",
    "../..",
    "..%2f..%2fjobs.db",
    "%2e%2e",
    "..\\..\\jobs.db",
    "/etc/passwd",
    "//etc/passwd",
    "C:\\x",
    "a\0b",
    "\ud800",
    "é" * 40,
    "' OR 1=1 --",
    "%",
    "\r\nX: y",
    "x" * 5000,
    "<script>alert(1)</script>",
)
STEERING = ("cancel", "pause", "resume", "retry")
VERBS = (
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
    "no",
    "__init__",
    "..",
)


def get(client: httpx.Client, path: str, method: str = "GET", **query: Any) -> httpx.Response:
    """Asks for an address as it stands, which httpx would tidy up; what no request line can hold is quoted."""

    def quoted(text: Any, safe: str = "") -> str:
        return quote(str(text).encode("utf-8", "surrogatepass"), safe=safe)

    said = "&".join(f"{name}={quoted(value)}" for name, value in query.items())
    wire = HTTPConnection(client.base_url.host, client.base_url.port or 80, timeout=60)
    with contextlib.closing(wire):
        headers = {"Authorization": client.headers["Authorization"]}
        wire.request(method, f"{quoted(path, '/%:.<>=-')}?{said}", headers=headers)
        answer = wire.getresponse()
        return httpx.Response(answer.status, content=answer.read(), headers=dict(answer.getheaders()))


def test_addresses_of_any_form_lead_nowhere(bob: httpx.Client, jobs: dict[str, Job]) -> None:
    ids = [*ODD, *(job.id for job in jobs.values())]
    for one in ids:
        for path in (
            f"/pages/{one}",
            f"/pages/thumbnail/{one}",
            f"/pages/replay/{one}",
            f"/pages/compare/{one}/{jobs['done'].id}/plot.json",
            f"/viewers/{one}",
            f"/viewers/frame/{one}",
            f"/results/{one}/plot.png",
            f"/api/jobs/{one}",
            f"/api/jobs/{one}/events",
            f"/api/jobs/{one}/artifacts/plot.png",
        ):
            refused(get(bob, path))
        for name in ("a", "b", "of"):
            refused(get(bob, f"/pages/replay/{jobs['done'].id}", **{name: one}))
            refused(
                get(bob, "/pages/compare", a=jobs["done"].id, **{name: one} if name != "a" else {"b": one})
            )
        refused(get(bob, "/pages/zip", job=one))
        refused(get(bob, f"/api/jobs/{one}", "DELETE"))
        for verb in STEERING:
            refused(get(bob, f"/api/jobs/{one}/{verb}", "POST"))


def test_queries_of_any_form_find_nothing(bob: httpx.Client, jobs: dict[str, Job]) -> None:
    known = {
        "/pages/gallery": ("domain", "task", "model", "text", "pinned", "before"),
        "/api/jobs": ("state", "task", "limit"),
    }
    for path, names in known.items():
        for name in names:
            for value in (*ODD, *NUMBERS, *TEXTS[:6], jobs["done"].id):
                answer = get(bob, path, **{name: str(value)[:6000]})
                in_order(answer)
                assert not any(job.id in answer.text for job in jobs.values())
    refused(bob.get("/pages/zip?" + "&".join(f"job={jobs['done'].id}" for _ in range(150))))
    for path in ("/pages/queue", "/pages/settings", "/pages/zip", "/pages/compare", "/viewers/frame/image"):
        in_order(get(bob, path, job=math.nan, a="[]", b="{}"))


def test_nobody_steers_the_jobs_of_another(
    bob: httpx.Client, engine: Turnstile, jobs: dict[str, Job]
) -> None:
    before = len(engine.passed)
    for job in jobs.values():
        for verb in VERBS:
            for body in (None, {}, {"before": job.id, "priority": 1}):
                refused(post(bob, f"/pages/jobs/{job.id}/{verb}", body))
    assert len(engine.passed) == before


def test_what_pages_post_is_refused_whatever_its_form(bob: httpx.Client, jobs: dict[str, Job]) -> None:
    job = jobs["paused"].id
    for value in VALUES:
        refused(post(bob, f"/pages/jobs/{job}/pin", value))
        refused(post(bob, f"/pages/jobs/{job}/move", {"before": value, str(value): value}))
        refused(post(bob, f"/pages/jobs/{job}/priority", {"priority": value}))
    for raw in RAW:
        for kind in KINDS:
            refused(bob.post(f"/pages/jobs/{job}/move", content=raw, headers={"Content-Type": kind}))
        for kind in KINDS[:2]:
            in_order(bob.post("/pages/clear", content=raw, headers={"Content-Type": kind}))
            in_order(bob.post("/viewers/sketch", content=raw, headers={"Content-Type": kind}))


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    path=st.lists(st.one_of(st.sampled_from(ODD), st.text(max_size=8)), max_size=3),
    query=st.dictionaries(
        st.sampled_from(["a", "b", "of", "job", "before", "limit", "pinned"]), st.text(max_size=12)
    ),
    where=st.sampled_from(
        ["/pages", "/pages/thumbnail", "/pages/jobs", "/viewers/frame", "/api/jobs", "/results"]
    ),
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH"]),
)
def test_any_address_is_answered_in_order(
    bob: httpx.Client, path: list[str], query: dict[str, str], where: str, method: str
) -> None:
    in_order(get(bob, "/".join([where, *path]), method, **query))
