"""Jobs over plain HTTP: submitted, followed, steered, downloaded; and nothing of anybody else's."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.safety.conftest import PASSWORD
from tests.web.conftest import App, StartApp, ended, submit


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """The events of a stream that has ended."""
    found = []
    for block in answer.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append({**fields, "data": json.loads(fields["data"])})
    return found


@pytest.fixture
def app(start: StartApp) -> App:
    return start()


@pytest.fixture
def client(app: App) -> httpx.Client:
    return app.client()


# ---------------------------------------------------------------- the whole path


def test_a_job_is_submitted_followed_and_downloaded(client: httpx.Client) -> None:
    answer = client.post(
        "/api/jobs", json={"task": "demo.walk", "request": {"length": 9, "steps": 3, "seed": 4}}
    )
    job = answer.json()
    assert answer.status_code == 202 and answer.headers["location"] == f"/api/jobs/{job['id']}"
    assert job["state"] == "queued" and job["request"]["length"] == 9
    assert (job["request"]["sampling"]["steps"], job["request"]["sampling"]["seed"]) == (3, 4)
    told = events(client.get(f"/api/jobs/{job['id']}/events"))
    assert told[-1]["event"] == "end" and {event["event"] for event in told[:-1]} <= {"job"}
    revisions = [int(event["id"]) for event in told]
    assert revisions == sorted(set(revisions))
    done = told[-1]["data"]
    assert done == client.get(f"/api/jobs/{job['id']}").json()
    assert done["state"] == "done" and done["result"]["nfe"] == 3
    files = client.get(f"/api/jobs/{job['id']}/artifacts").json()["artifacts"]
    assert [item["name"] for item in files] == ["walk.csv", "walk.png"] and files == done["result"][
        "artifacts"
    ]
    for item in files:
        got = client.get("/" + item["url"])
        assert (len(got.content), hashlib.sha256(got.content).hexdigest()) == (item["bytes"], item["sha256"])
        assert got.headers["content-type"].split(";")[0] == item["media_type"]
        assert (
            "attachment" in got.headers["content-disposition"]
            and "sandbox" in got.headers["content-security-policy"]
        )
    stored = client.get(f"/api/jobs/{job['id']}/artifacts/result.json").json()
    assert stored["recipe"]["request"]["sampling"]["seed"] == 4


def test_files_come_in_a_form_as_text_or_as_base64_and_give_one_result(
    client: httpx.Client, app: App
) -> None:
    data = b"1\n2\n6\n"
    fields = {"length": 5, "seed": 2}
    form = client.post(
        "/api/jobs",
        data={"task": "demo.walk", "request": json.dumps(fields)},
        files={"table": ("../../my numbers<1>.csv", data)},
    )
    text = client.post(
        "/api/jobs",
        json={"task": "demo.walk", "request": {**fields, "table": {"name": "a.csv", "text": data.decode()}}},
    )
    packed = base64.b64encode(data).decode()
    inline = client.post(
        "/api/jobs",
        json={"task": "demo.walk", "request": {**fields, "table": {"name": "a.csv", "base64": packed}}},
    )
    path = client.post("/gradio_api/upload", files={"files": ("a.csv", data)}).json()[0]
    uploaded = client.post("/api/jobs", json={"task": "demo.walk", "request": {**fields, "table": path}})
    ends = set()
    for answer in (form, text, inline, uploaded):
        assert answer.status_code == 202, answer.text
        done = ended(client, answer.json()["id"])
        assert done["state"] == "done"
        ends.add(done["result"]["metrics"]["end"])
    assert len(ends) == 1
    assert form.json()["request"]["table"] == "my numbers_1_.csv", "a base name, of harmless letters"
    assert not [path for path in app.uploads.rglob("*") if ".incoming" in path.name], "nothing is left staged"


def test_a_reader_that_comes_back_misses_nothing_and_sees_nothing_twice(
    client: httpx.Client, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    job = submit(client, gate=str(gate), steps=4)
    seen = []
    with client.stream("GET", f"/api/jobs/{job['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if line.startswith("id: "):
                seen.append(int(line[4:]))
            if line.startswith("data: ") and json.loads(line[6:])["state"] == "running":
                break
    gate.touch()
    ended(client, job["id"])
    later = client.get(f"/api/jobs/{job['id']}/events", headers={"Last-Event-ID": str(seen[-1])})
    told = events(later)
    assert told[-1]["event"] == "end" and all(int(event["id"]) > seen[-1] for event in told)
    again = client.get(f"/api/jobs/{job['id']}/events", headers={"Last-Event-ID": told[-1]["id"]})
    assert again.status_code == 204, "a browser stops coming back"
    odd = client.get(f"/api/jobs/{job['id']}/events", headers={"Last-Event-ID": "x"})
    assert events(odd)[-1]["event"] == "end"


def test_a_job_is_paused_resumed_cancelled_retried_and_forgotten(
    client: httpx.Client, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    job = submit(client, gate=str(gate), steps=3)
    where = f"/api/jobs/{job['id']}"
    assert client.post(f"{where}/resume").status_code == 409
    assert client.post(f"{where}/pause").status_code == 200
    until(client, where, "paused")
    assert client.post(f"{where}/resume").json()["state"] == "queued"
    cancelled = client.post(f"{where}/cancel").json()
    assert cancelled["state"] == "cancelled" or cancelled["stopping"]
    assert ended(client, job["id"])["state"] == "cancelled"
    fault = client.post(f"{where}/pause")
    assert fault.status_code == 409
    assert fault.json() == {"field": "job", "message": "is cancelled and cannot be paused"}
    gate.touch()
    assert client.post(f"{where}/retry").status_code == 200
    assert ended(client, job["id"])["state"] == "done"
    assert client.delete(where).status_code == 204
    assert client.get(where).status_code == 404


def until(client: httpx.Client, where: str, state: str) -> None:
    end = time.monotonic() + 60
    while client.get(where).json()["state"] != state:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_jobs_are_listed_newest_first(client: httpx.Client) -> None:
    ids = [submit(client, task)["id"] for task in ("demo.nothing", "demo.walk", "demo.nothing")]
    for job_id in ids:
        ended(client, job_id)
    listed = client.get("/api/jobs").json()["jobs"]
    assert [job["id"] for job in listed] == ids[::-1]
    assert [job["id"] for job in client.get("/api/jobs?task=demo.walk").json()["jobs"]] == [ids[1]]
    assert client.get("/api/jobs?state=failed").json() == {"jobs": []}
    assert [job["id"] for job in client.get("/api/jobs?limit=1").json()["jobs"]] == [ids[2]]
    assert client.get("/api/jobs?limit=0").json()["field"] == "limit"
    assert client.get("/api/jobs?state=odd").status_code == 400


def test_a_failed_job_says_why(client: httpx.Client) -> None:
    job = ended(client, submit(client, fault="input")["id"])
    assert (job["state"], job["error"]["field"]) == ("failed", "drift")
    assert job["result"] is None and client.get(f"/api/jobs/{job['id']}/artifacts").json() == {
        "artifacts": []
    }


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("call", "field"),
    [
        ({"task": "demo.none"}, "task"),
        ({"task": 3}, "task"),
        ({}, "task"),
        ({"task": "demo.walk", "request": []}, "request"),
        ({"task": "demo.walk", "request": {"length": 1}}, "length"),
        ({"task": "demo.walk", "request": {"lenght": 5}}, "lenght"),
        ({"task": "demo.walk", "request": {"steps": True}}, "steps"),
        ({"task": "demo.walk", "request": {"model": "/etc"}}, "model"),
        ({"task": "demo.walk", "request": {"table": "/etc/passwd"}}, "table"),
        ({"task": "demo.walk", "request": {"table": "https://example.org/a.csv"}}, "table"),
        ({"task": "demo.walk", "request": {"table": {"path": "/etc/passwd"}}}, "table"),
        ({"task": "demo.walk", "request": {"table": {"name": "a", "text": "1", "base64": ""}}}, "table"),
        ({"task": "demo.walk", "request": {"table": {"name": "a", "base64": "?"}}}, "table"),
        ({"task": "demo.walk", "request": {"table": {"name": "a", "text": ""}}}, "table"),
        ({"task": "demo.walk", "priority": 1.5}, "priority"),
        ({"task": "demo.walk", "owner": "ann"}, "owner"),
        ([], "request"),
    ],
)
def test_a_bad_request_is_one_line_that_names_the_field(client: httpx.Client, call: Any, field: str) -> None:
    answer = client.post("/api/jobs", json=call)
    assert answer.status_code == 400, answer.text
    assert set(answer.json()) == {"field", "message"} and answer.json()["field"] == field
    assert "\n" not in answer.json()["message"] and "passwd" not in answer.json()["message"]
    assert client.get("/api/jobs").json() == {"jobs": []}


@pytest.mark.parametrize("body", [b"", b"{", b'{"task": NaN}', b'{"a": 1e999}', b"[" * 5000, b"\xff"])
def test_what_is_no_json_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/api/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and answer.json()["field"] == "request"
    plain = client.post("/api/jobs", content=body, headers={"Content-Type": "text/plain"})
    assert plain.status_code == 400 and plain.json()["field"] == "Content-Type"


@pytest.mark.parametrize(
    ("data", "files", "field"),
    [
        ({"task": "demo.walk"}, {"length": ("a", b"1")}, "length"),
        ({"task": "demo.walk"}, [("table", ("a", b"1")), ("table", ("b", b"1"))], "table"),
        ({"task": "demo.walk", "request": "{"}, {"table": ("a", b"1")}, "request"),
        (
            {"task": "demo.walk", "request": '{"table": {"name": "a", "text": "1"}}'},
            {"table": ("a", b"1")},
            "table",
        ),
        ({"task": "demo.walk"}, {"table": ("a", b"")}, "table"),
        ({"task": "demo.walk"}, [("table", (str(i), b"1")) for i in range(20)], "request"),
        ({}, {"table": ("a", b"1")}, "task"),
    ],
)
def test_a_bad_form_is_one_line_that_names_the_field(
    client: httpx.Client, app: App, data: Any, files: Any, field: str
) -> None:
    answer = client.post("/api/jobs", data=data, files=files)
    assert answer.status_code == 400, answer.text
    assert answer.json()["field"] == field
    assert not [path for path in app.uploads.rglob("*") if path.is_file()]


def too_large(client: httpx.Client, **call: Any) -> bool:
    """Whether a submission is turned away for its size, with an answer or, while it is still sent, without."""
    try:
        return client.post("/api/jobs", **call).status_code == 413
    except httpx.TransportError:
        return True


def test_sizes_are_bounded_and_only_a_form_may_be_as_large_as_an_upload(start: StartApp) -> None:
    app = start(request_bytes=8192, upload_bytes=1 << 20, input_bytes=1 << 19)
    client = app.client()
    big = {"name": "a.csv", "text": "1\n" * 10_000}
    assert too_large(client, json={"task": "demo.walk", "request": {"table": big}})
    form = {"data": {"task": "demo.walk"}}
    assert client.post("/api/jobs", files={"table": ("a.csv", b"1\n" * 10_000)}, **form).status_code == 202
    over = client.post("/api/jobs", files={"table": ("a.csv", b"1\n" * 400_000)}, **form)
    assert (over.status_code, over.json()["field"]) == (400, "table")
    assert too_large(client, files={"table": ("a.csv", b"1\n" * 900_000)}, **form)
    assert len(client.get("/api/jobs").json()["jobs"]) == 1


def test_a_full_queue_is_refused_politely(start: StartApp, tmp_path: Path) -> None:
    client = start(queue_per_owner=2).client()
    gate = str(tmp_path / "gate")
    answers = [
        client.post("/api/jobs", json={"task": "demo.walk", "request": {"gate": gate}}) for _ in range(5)
    ]
    assert {answer.status_code for answer in answers} == {202, 429}
    assert answers[-1].json()["field"] == "queue" and int(answers[-1].headers["retry-after"]) > 0


def test_nothing_of_anybody_else_is_there(start: StartApp, hashes: dict[str, str]) -> None:
    app = start(users=hashes)
    ada, bob = app.client("ada"), app.client("bob")
    assert httpx.get(f"{app.url}/api/jobs", trust_env=False).status_code == 401
    job = ended(ada, submit(ada, length=5)["id"])
    where = f"/api/jobs/{job['id']}"
    missing = {"field": "job", "message": "there is no such job of yours"}
    for path in ("", "/events", "/artifacts", "/artifacts/walk.csv", "/artifacts/result.json"):
        answer = bob.get(where + path)
        assert (answer.status_code, answer.json()) == (404, missing)
        assert answer.json() == bob.get("/api/jobs/" + "0" * 32 + path).json()
    for verb in ("cancel", "pause", "resume", "retry"):
        assert bob.post(f"{where}/{verb}").status_code == 404
    assert bob.delete(where).status_code == 404 and bob.get("/api/jobs").json() == {"jobs": []}
    path = ada.post("/gradio_api/upload", files={"files": ("a.csv", b"1")}).json()[0]
    stolen = bob.post("/api/jobs", json={"task": "demo.walk", "request": {"table": path}})
    assert (stolen.status_code, stolen.json()["field"]) == (400, "table")
    assert ada.get(where).status_code == 200


@pytest.mark.parametrize(
    "name", ["../jobs.db", "..%2F..%2Fjobs.db", "%2Fetc%2Fpasswd", "walk.csv%2F..", "", "walk.csv%00"]
)
def test_no_path_leads_out_of_a_result(client: httpx.Client, name: str) -> None:
    job = ended(client, submit(client, length=5)["id"])
    assert client.get(f"/api/jobs/{job['id']}/artifacts/{name}").status_code == 404 or name == ""


def test_other_sites_pages_may_not_submit(client: httpx.Client) -> None:
    call = {"task": "demo.nothing"}
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.post("/api/jobs", json=call, headers=headers).status_code == 403
        assert client.get("/api/jobs", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    form = client.post("/api/jobs", data=call, files={"x": b""}, headers={"Origin": "null"})
    assert form.status_code == 403


def test_visitors_of_an_open_app_have_jobs_of_their_own(start: StartApp) -> None:
    app = start(profile="hosted", open_to_all=True)
    first, second = app.client(), app.client()
    job = submit(first, "demo.nothing")
    assert second.get(f"/api/jobs/{job['id']}").status_code == 404
    assert first.get(f"/api/jobs/{job['id']}").status_code == 200


def test_no_answer_shows_a_folder_of_the_server(client: httpx.Client, app: App) -> None:
    job = submit(client, table={"name": "a.csv", "text": "1\n"})
    ended(client, job["id"])
    for path in (
        f"/api/jobs/{job['id']}",
        f"/api/jobs/{job['id']}/events",
        "/api/jobs",
        "/api/tasks",
        "/openapi.json",
    ):
        assert str(app.engine.home.parent) not in client.get(path).text
    assert PASSWORD not in client.get("/openapi.json").text
