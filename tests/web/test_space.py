"""`python launch.py` under the variables that a Space sets: it starts, hosted, open to visitors alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.browser.driver import free_port

ROOT = Path(__file__).resolve().parents[2]
HOST = "ada-langevin.hf.space"


def front_matter() -> dict[str, object]:
    text = (ROOT / "README.md").read_text("utf-8")
    found: dict[str, object] = yaml.safe_load(text.split("---\n", 2)[1])
    return found


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    """The running app: its address, process, and home folder."""
    place, port = tmp_path_factory.mktemp("space"), free_port()
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("LANGEVIN_", "GRADIO_"))
    }
    variables = {
        "SPACE_ID": "ada/langevin", "SPACE_HOST": HOST, "SYSTEM": "spaces", "SPACE_AUTHOR_NAME": "ada",
        "GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1", "XDG_DATA_HOME": str(place), "LANGEVIN_FREE_BYTES": "0",
    }  # fmt: skip
    command = [sys.executable, str(ROOT / str(front_matter()["app_file"]))]
    with (place / "log").open("wb") as log:
        app = subprocess.Popen(command, env={**kept, **variables}, stdout=log, stderr=log, cwd=place)
        try:
            end = time.monotonic() + 120
            while time.monotonic() < end:
                try:
                    if httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200:
                        break
                except httpx.TransportError:
                    assert app.poll() is None, (place / "log").read_text()
                    time.sleep(0.2)
            yield f"http://127.0.0.1:{port}", app, place
        finally:
            app.kill()
            app.wait(30)


def visitor(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, trust_env=False, timeout=60, headers={"Host": HOST})


def test_the_front_matter_is_a_gradio_spaces() -> None:
    matter = front_matter()
    assert (matter["sdk"], matter["app_file"]) == ("gradio", "launch.py")
    pins = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert f"gradio=={matter['sdk_version']}" in pins


def test_it_opens_in_the_spaces_frame_and_in_no_other(
    space: tuple[str, subprocess.Popen[bytes], Path],
) -> None:
    with visitor(space[0]) as client:
        page = client.get("/")
    assert page.status_code == 200 and "Langevin" in page.text
    policy = page.headers["content-security-policy"]
    assert "frame-ancestors https://huggingface.co" in policy and "x-frame-options" not in page.headers
    cookie = page.headers["set-cookie"]
    assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=None", "Partitioned"))


def test_strangers_names_operators_numbers_and_tunnels_are_shut(
    space: tuple[str, subprocess.Popen[bytes], Path],
) -> None:
    url = space[0]
    with visitor(url) as client:
        assert client.get("/metrics").status_code == 404
        assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 421
        assert client.get("/gradio_api/file=/etc/passwd").status_code in (403, 404)
        assert (
            client.post("/api/jobs", json={}, headers={"Origin": "https://evil.example"}).status_code == 403
        )


def test_visitors_have_limits_and_jobs_of_their_own(space: tuple[str, subprocess.Popen[bytes], Path]) -> None:
    url = space[0]

    def secret(
        client: httpx.Client,
    ) -> dict[str, str]:  # the cookie is for https alone, which the proxy speaks
        return {"Cookie": client.get("/").headers["set-cookie"].partition(";")[0]}

    with visitor(url) as first, visitor(url) as second:
        ann, bob = secret(first), secret(second)
        call = {"task": "lab.theory", "request": {"samples": 50, "steps": 2}}
        job = first.post("/api/jobs", json=call, headers=ann)
        assert job.status_code == 202, job.text
        where = f"/api/jobs/{job.json()['id']}"
        assert second.get(where, headers=bob).status_code == 404
        assert first.get(where, headers=ann).status_code == 200
        statuses = {second.post("/api/jobs", json=call, headers=bob).status_code for _ in range(12)}
        assert 429 in statuses <= {202, 429}, "eight may wait in the hosted profile"


def test_its_folder_is_its_own_and_it_ends_in_order(space: tuple[str, subprocess.Popen[bytes], Path]) -> None:
    _, app, place = space
    home = place / "langevin"
    assert (home / "jobs.db").is_file() and home.stat().st_mode & 0o077 == 0
    app.send_signal(signal.SIGTERM)
    assert app.wait(60) == 0
    assert b"Traceback" not in (place / "log").read_bytes()
