"""What the app does not use of Gradio is not there."""

from __future__ import annotations

import pytest

from tests.safety.conftest import Start

ABSENT = [
    ("GET", "/monitoring"),
    ("GET", "/monitoring/summary"),
    ("GET", "/monitoring/key"),
    ("GET", "/pwa_icon/100000"),
    ("GET", "/docs"),
    ("GET", "/gradio_api/deep_link"),
    ("GET", "/gradio_api/runs"),
    ("POST", "/gradio_api/run-history/connect"),
    ("GET", "/gradio_api/run-history/buckets"),
    ("GET", "/gradio_api/proxy=https://example.org/"),
    ("GET", "/gradio_api/file=https://example.org/a"),
    ("GET", "/gradio_api/file=http://169.254.169.254/latest/meta-data"),
    ("GET", "/gradio_api/custom_component/a/client/b/c"),
    ("GET", "/gradio_api/token"),
    ("GET", "/gradio_api/dev/reload"),
    ("GET", "/gradio_api/vibe-code"),
    ("POST", "/gradio_api/vibe-edit"),
    ("POST", "/gradio_api/vibe-code"),
    ("POST", "/gradio_api/undo-vibe-edit"),
    ("POST", "/gradio_api/process_recording"),
    ("POST", "/gradio_api/component_server"),
    ("POST", "/gradio_api/stream/abc"),
    ("GET", "/gradio_api/stream/a/b/1/playlist-file"),
    ("GET", "/gradio_api/startup-events"),
    ("GET", "/gradio_api/profiling/traces"),
    ("PUT", "/"),
    ("PATCH", "/config"),
    ("TRACE", "/"),
    ("DELETE", "/results/ab/x"),
    ("GET", "//monitoring"),
    ("GET", "/./monitoring"),
    ("GET", "/%6donitoring"),
    ("GET", "/results/../jobs.db"),
    ("GET", "/results/ab/%00"),
]


@pytest.mark.parametrize(("method", "path"), ABSENT)
def test_it_is_not_there(start: Start, method: str, path: str) -> None:
    app = start()
    with app.client() as client:
        answer = client.build_request(method, app.url)
        answer.url = answer.url.copy_with(raw_path=path.encode())
        assert client.send(answer).status_code in (404, 405)


def test_a_result_of_nobody_is_not_found(start: Start) -> None:
    app = start()
    with app.client() as client:
        for path in ("/results/0123/a.csv", "/results/0123/..%2f..%2fjobs.db", "/results/" + "a" * 64 + "/x"):
            assert client.get(path).status_code == 404
