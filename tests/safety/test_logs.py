"""Logs and metrics: enough to run the app by, nothing of what people wrote, named or uploaded."""

from __future__ import annotations

import json
import logging

import pytest

from apps.web.logs import JsonFormatter, route
from apps.web.metrics import Metrics
from tests.safety.conftest import Start

SECRET = "patient-smith"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/", "/"),
        ("/healthz", "/healthz"),
        (f"/gradio_api/file=/tmp/uploads/{SECRET}.csv", "/gradio_api/file=*"),
        (f"/results/0123abcd/{SECRET}.csv", "/results/*"),
        (f"/gradio_api/heartbeat/{SECRET}", "/gradio_api/heartbeat/*"),
        ("/gradio_api/call/series_impute/0123", "/gradio_api/call/series_impute"),
        (f"/assets/{SECRET}.js", "/assets/*"),
        (f"/{SECRET}", "other"),
        ("/a\nb", "other"),
        ("/" + "x" * 500, "other"),
    ],
)
def test_addresses_are_logged_without_what_people_chose(path: str, shown: str) -> None:
    assert route(path) == shown


def test_a_line_is_json_and_quotes_no_error() -> None:
    try:
        raise ValueError(f"cannot read {SECRET}\nof Zürich")
    except ValueError as error:
        record = logging.LogRecord(
            "uvicorn.error", logging.ERROR, "", 0, "failed", (), (ValueError, error, error.__traceback__)
        )
    record.route = "/results/*"
    text = JsonFormatter().format(record)
    line = json.loads(text)
    assert SECRET not in text and "\n" not in text
    assert (line["level"], line["event"], line["error"], line["route"]) == (
        "error",
        "failed",
        "ValueError",
        "/results/*",
    )
    assert line["at"] and line["at"][0].split(":")[0] == __name__


def test_a_library_may_not_write_values_into_its_message() -> None:
    record = logging.LogRecord("gradio", logging.WARNING, "", 0, "could not read %s", (SECRET,), None)
    assert SECRET not in JsonFormatter().format(record)


def test_requests_are_logged_and_counted(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    app = start()
    with caplog.at_level(logging.INFO, "langevin.requests"), app.client() as client:
        client.get("/", headers={"User-Agent": SECRET, "Cookie": f"a={SECRET}"}, params={"q": SECRET})
        client.get(f"/gradio_api/file=/tmp/{SECRET}")
        client.post("/gradio_api/queue/join", json={"data": [SECRET]})
        client.post("/gradio_api/upload", files={"files": (f"{SECRET}.csv", SECRET.encode())})
        text = client.get("/metrics").text
    formatter = JsonFormatter()
    lines = [
        json.loads(formatter.format(record))
        for record in caplog.records
        if record.name == "langevin.requests"
    ]
    assert SECRET not in json.dumps(lines) and SECRET not in text
    assert [line["status"] for line in lines][:4] == [200, 403, 200, 200]
    assert all({"method", "route", "status", "ms", "bytes_in", "bytes_out"} <= set(line) for line in lines)
    assert 'langevin_requests_total{method="GET",route="/gradio_api/file=*",status="403"} 1.0' in text
    assert "process_resident_memory_bytes" in text and "langevin_request_seconds_bucket" in text


def test_jobs_are_counted_by_state() -> None:
    text = Metrics(lambda: {"running": 2, "done": 5}).text().decode()
    assert 'langevin_jobs{state="running"} 2.0' in text and 'langevin_jobs{state="done"} 5.0' in text


def test_metrics_are_open_on_ones_own_machine_alone(start: Start, hashes: dict[str, str]) -> None:
    for chosen, token, status in (
        ({}, "", 200),
        ({"profile": "hosted", "open_to_all": True}, "", 404),
        ({"profile": "hosted", "open_to_all": True, "metrics_token": "t0ken"}, "", 401),
        ({"profile": "hosted", "open_to_all": True, "metrics_token": "t0ken"}, "t0ke", 401),
        ({"profile": "hosted", "open_to_all": True, "metrics_token": "t0ken"}, "t0ken", 200),
    ):
        with start_one(start, chosen) as client:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            assert client.get("/metrics", headers=headers).status_code == status, (chosen, token)


def start_one(start: Start, chosen: dict[str, object]):  # type: ignore[no-untyped-def]
    return start(**chosen).client()


def test_many_addresses_make_no_many_counters(start: Start) -> None:
    app = start()
    with app.client() as client:
        for index in range(200):
            client.get(f"/nothing/{index}")
        text = client.get("/metrics").text
    assert sum(line.startswith("langevin_requests_total{") for line in text.splitlines()) < 10
