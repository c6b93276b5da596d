"""Every task, by every way in: broken requests end in a 4xx or one line, and reach no worker."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.engine.validation import served_request
from apps.studio.forms import form_fields
from domains.common.errors import BadInput
from domains.common.task import Task
from domains.registry import all_tasks
from tests.safety.fuzzed import CLOSED, GOOD_TABLE, Turnstile, base, fuzzed_app, one_line, post
from tests.safety.hostile import PATHS, broken_values, leaves, requests

TASKS = list(all_tasks().values())
NAMES = [task.name for task in TASKS]
SLOW = settings(max_examples=60, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Turnstile]:
    made = Turnstile(tmp_path_factory.mktemp("fuzz") / "home")
    yield made
    made.close()


@pytest.fixture(scope="module")
def client(engine: Turnstile, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of the whole app."""
    with fuzzed_app(engine, tmp_path_factory.mktemp("uploads")) as made:
        yield made


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good table."""
    path = tmp_path_factory.mktemp("table") / "table.csv"
    path.write_text(GOOD_TABLE, "utf-8")
    return path


@pytest.fixture(scope="module")
def sent(client: httpx.Client, table: Path) -> dict[str, Any]:
    """The same table, uploaded."""
    path = client.post("/gradio_api/upload", files={"files": ("table.csv", table.read_bytes())}).json()[0]
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


# ---------------------------------------------------------------- by the request's own class


@pytest.mark.parametrize("name", NAMES)
@SLOW
@given(data=st.data())
def test_whatever_is_asked_is_a_request_or_one_line(name: str, table: Path, data: st.DataObject) -> None:
    task = all_tasks()[name]
    fields = {**base(task, table), **data.draw(requests(task))}
    try:
        request = served_request(task, fields)
    except BadInput as error:
        one_line(str(error))
    else:
        # What passes is finite and of its kind: it survives strict JSON unchanged.
        text = json.dumps(request.model_dump(mode="json"), allow_nan=False)
        assert served_request(task, json.loads(text)) == request


@pytest.mark.parametrize("name", NAMES)
def test_each_field_refuses_what_it_must(name: str, table: Path) -> None:
    task = all_tasks()[name]
    good = base(task, table)
    assert served_request(task, good)
    for field, spec in leaves(task):
        for value in broken_values(spec):
            if spec.get("format") == "file" and value in (
                "/etc/passwd",
                "../../../../etc/passwd",
                "/proc/self/environ",
            ):
                continue  # on the command line these are files like any other; the app refuses them below
            with pytest.raises(BadInput) as error:
                served_request(task, {**good, field: value})
            one_line(str(error.value))
    with pytest.raises(BadInput, match="unknown field"):
        served_request(task, {**good, "no_such_field": 1})


@pytest.mark.parametrize(
    "model",
    ["assets/models/series-base", "/etc", "..", "../models", "https://example.org/m", "a\0b", "x" * 200, ""],
)
def test_a_model_is_named_and_never_a_folder(
    model: str, table: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    for task in TASKS:
        with pytest.raises(BadInput) as error:
            served_request(task, {**base(task, table), "model": model})
        one_line(str(error.value))


# ---------------------------------------------------------------- over HTTP


def values(task: Task, changed: dict[str, Any]) -> list[Any]:
    """The parameters of an endpoint in order, with some of them changed."""
    return [changed.get(field.name.rsplit(".", 1)[-1], field.default) for field in form_fields(task.request)]


def refused(answer: httpx.Response) -> None:
    """A 4xx, or Gradio's error with one line in it."""
    assert answer.status_code >= 400, answer.text[:300]
    if answer.status_code < 500:
        assert len(answer.text) < 2000 and "Traceback" not in answer.text
        return
    words = answer.json()["error"]
    assert words, answer.text[:300]
    one_line(words)


@pytest.mark.parametrize("name", NAMES)
def test_broken_values_over_http_reach_no_worker(
    client: httpx.Client, engine: Turnstile, sent: dict[str, Any], name: str
) -> None:
    task = all_tasks()[name]
    address, good = f"/gradio_api/run/{name.replace('.', '_')}", base(task, sent)
    before = len(engine.passed)
    assert CLOSED in post(client, address, {"data": values(task, good)}).text
    assert len(engine.passed) == before + 1  # what is good does come through
    before += 1
    memory = psutil.Process().memory_info().rss
    asked = {field.name.rsplit(".", 1)[-1] for field in form_fields(task.request)}
    for field, spec in leaves(task):
        if field not in asked:  # it admits one value only
            continue
        for value in broken_values(spec):
            refused(
                post(
                    client,
                    f"/gradio_api/run/{name.replace('.', '_')}",
                    {"data": values(task, {**good, field: value})},
                )
            )
            assert len(engine.passed) == before, (field, value)
    assert psutil.Process().memory_info().rss - memory < 128 << 20


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_comes_over_http_is_answered_in_order(
    client: httpx.Client, engine: Turnstile, sent: dict[str, Any], name: str, data: st.DataObject
) -> None:
    task = all_tasks()[name]
    changed = {**base(task, sent), **data.draw(requests(task))}
    before = len(engine.passed)
    body = {"data": values(task, changed)} if data.draw(st.booleans()) else changed
    refused(post(client, f"/gradio_api/run/{name.replace('.', '_')}", body))
    for request in engine.passed[before:]:
        for value in request.model_dump().values():
            assert not (isinstance(value, float) and not math.isfinite(value))
            assert not isinstance(value, Path) or str(value) == sent["path"]  # no other file gets through


@pytest.mark.parametrize("path", [path for path in PATHS if path])
@pytest.mark.parametrize("shape", ["file", "text", "list", "url", "bare"])
def test_files_by_path_are_refused(client: httpx.Client, engine: Turnstile, path: str, shape: str) -> None:
    task = next(task for task in TASKS if any(spec.get("format") == "file" for _, spec in leaves(task)))
    field = next(name for name, spec in leaves(task) if spec.get("format") == "file")
    value: Any = {
        "file": {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "a.csv"},
        "text": path,
        "list": [{"path": path, "meta": {"_type": "gradio.FileData"}}],
        "url": {"path": path, "url": path, "meta": {"_type": "gradio.FileData"}},
        "bare": {"path": path},
    }[shape]
    before = len(engine.passed)
    refused(
        post(client, f"/gradio_api/run/{task.name.replace('.', '_')}", {"data": values(task, {field: value})})
    )
    assert len(engine.passed) == before


BODIES: list[bytes] = [
    b"",
    b"null",
    b"[]",
    b"3",
    b'"data"',
    b'{"data": null}',
    b'{"data": {}}',
    b'{"data": []}',
    b'{"data": [1]}',
    b'{"data": ' + json.dumps([1] * 10_000).encode() + b"}",
    b'{"data": [], "fn_index": 99999}',
    b'{"data": [], "fn_index": -1}',
    b'{"data": [], "fn_index": 1e300}',
    b'{"data": [], "session_hash": 3}',
    b'{"data": [], "session_hash": {"a": 1}}',
    b'{"data": [], "event_data": {"__class__": "x"}}',
    b'{"data": [], "trigger_id": "x", "batched": true}',
    b'{"data": ["\\u0000"]}',
    b"{" * 1000,
    b"\xff\xfe",
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_bodies_of_any_form_are_answered(client: httpx.Client, engine: Turnstile, body: bytes) -> None:
    before = len(engine.passed)
    for path in (
        "run/series_impute",
        "run/predict",
        "queue/join",
        "call/series_impute",
        "call/v2/series_impute",
        "cancel",
        "run/no_such_thing",
        "call/no_such_thing",
    ):
        answer = client.post(
            f"/gradio_api/{path}", content=body, headers={"Content-Type": "application/json"}
        )
        assert "Traceback" not in answer.text and "site-packages" not in answer.text
        assert len(answer.text) < 200_000
    assert len(engine.passed) == before
    assert client.get("/healthz").status_code == 200
