"""The examples of README.md, run as they stand against a running app."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from domains.series.examples import co2_table
from tests.browser.driver import free_port

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "127.0.0.1:7860"


def blocks(heading: str, language: str) -> list[str]:
    """The code blocks of a language between a bold heading of README.md and the next heading."""
    text = (ROOT / "README.md").read_text("utf-8")
    part = re.split(r"\n\*\*|\n## ", text.split(f"**{heading}**", 1)[1])[0]
    found = re.findall(rf"```{language}\n(.*?)```", part, re.DOTALL)
    assert found, f"README.md has no {language} under {heading}"
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the `table.csv` that the examples speak of."""
    place = tmp_path_factory.mktemp("examples")
    lines = Path(str(co2_table())).read_text("utf-8").splitlines(keepends=True)
    (place / "table.csv").write_text("".join(lines[:160]), "utf-8")
    return place


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """`HOST:PORT` of an app as README.md starts it."""
    port = free_port()
    environment = {**os.environ, "LANGEVIN_HOME": str(folder / "home"), "LANGEVIN_FREE_BYTES": "0"}
    command = [sys.executable, str(ROOT / "launch.py"), "--port", str(port)]
    with (folder / "log").open("wb") as log:
        app = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
        try:
            end = time.monotonic() + 120
            while time.monotonic() < end:
                try:
                    httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).raise_for_status()
                    break
                except httpx.HTTPError:
                    assert app.poll() is None, (folder / "log").read_text()
                    time.sleep(0.2)
            yield f"127.0.0.1:{port}"
        finally:
            app.terminate()
            app.wait(60)


def run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "no_proxy": "*"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_from_python(folder: Path) -> None:
    (code,) = blocks("From Python.", "python")
    assert "q95" in run([sys.executable, "-c", code], folder)


def test_over_http_with_gradio_client(folder: Path, address: str) -> None:
    (code,) = blocks("Over HTTP.", "python")
    printed = run([sys.executable, "-c", code.replace(ADDRESS, address)], folder)
    assert "completed.csv" in printed and "filled cells" in printed


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_over_http_with_curl(folder: Path, address: str) -> None:
    (code,) = blocks("Over HTTP.", "bash")
    printed = run(["bash", "-euo", "pipefail", "-c", code.replace(ADDRESS, address)], folder)
    assert "event: end" in printed and '"state":"done"' in printed
    filled = (folder / "completed.csv").read_text("utf-8").splitlines()
    assert len(filled) == len((folder / "table.csv").read_text("utf-8").splitlines())
