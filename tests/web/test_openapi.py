"""The description of the HTTP interface: complete, true, and without anything from outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from domains.registry import all_tasks
from tests.web.conftest import App, StartApp, ended, submit

jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture
def app(start: StartApp) -> App:
    return start()


@pytest.fixture
def document(app: App) -> dict[str, Any]:
    found: dict[str, Any] = app.client().get("/openapi.json").json()
    return found


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for item in node.values():
            yield from references(item)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


def valid(document: dict[str, Any], name: str, value: Any) -> None:
    """Checks a value against one of the document's schemas."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)


def test_every_address_and_every_answer_is_described(document: dict[str, Any]) -> None:
    job = "/api/jobs/{job_id}"
    assert {(path, verb) for path, verbs in document["paths"].items() for verb in verbs} == {
        ("/api/tasks", "get"),
        ("/api/jobs", "get"),
        ("/api/jobs", "post"),
        (job, "get"),
        (job, "delete"),
        (f"{job}/events", "get"),
        (f"{job}/artifacts", "get"),
        (f"{job}/artifacts/{{name}}", "get"),
        *((f"{job}/{verb}", "post") for verb in ("cancel", "pause", "resume", "retry")),
    }
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= known
    for verbs in document["paths"].values():
        for operation in verbs.values():
            assert operation["summary"] and operation["responses"]
            good = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
            assert good
    assert "openapi" in document and "//" not in str(document.get("servers", ""))


def test_each_task_has_a_submission_of_its_own(document: dict[str, Any]) -> None:
    mapping = document["components"]["schemas"]["Submission"]["discriminator"]["mapping"]
    assert set(mapping) == set(all_tasks())
    call = {"name": "a.csv", "text": "1\n"}
    valid(
        document, "Submission", {"task": "series.impute", "request": {"table": call, "samples": 8, "seed": 1}}
    )
    for wrong in (
        {"samples": 1, "table": call},
        {"samples": 8},
        {"table": 3},
        {"table": call, "solver": "x"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            valid(document, "SeriesImputeSubmission", {"task": "series.impute", "request": wrong})


def test_answers_are_as_described(app: App, document: dict[str, Any]) -> None:
    client = app.client()
    job = submit(client, length=5)
    valid(document, "JobView", job)
    valid(document, "JobView", ended(client, job["id"]))
    valid(document, "JobView", ended(client, submit(client, fault="input")["id"]))
    valid(document, "JobList", client.get("/api/jobs").json())
    valid(document, "TaskList", client.get("/api/tasks").json())
    valid(document, "ArtifactList", client.get(f"/api/jobs/{job['id']}/artifacts").json())
    valid(document, "Fault", client.post("/api/jobs", json={}).json())


def test_what_the_schemas_say_of_a_request_is_what_the_app_takes(app: App) -> None:
    client = app.client()
    walk = next(task for task in client.get("/api/tasks").json()["tasks"] if task["name"] == "demo.walk")
    call = {"table": {"name": "a.csv", "text": "1\n"}, "length": 5, "steps": 2, "sampling": {"seed": 3}}
    jsonschema.validate(call, walk["request"])
    assert client.post("/api/jobs", json={"task": "demo.walk", "request": call}).status_code == 202
    assert walk["missing"] == [] and walk["summary"]


def test_no_page_of_docs_asks_for_anything(app: App) -> None:
    client = app.client()
    assert {client.get(path).status_code for path in ("/docs", "/redoc")} == {404}
