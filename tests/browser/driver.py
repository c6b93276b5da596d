"""Starts the app as a person does, and a real Chromium to look at it; for the tests and for the documents' pictures."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 120_000  # milliseconds; a loaded machine is slow, and waiting costs nothing where it is not


@dataclass(frozen=True)
class App:
    """A running app.

    Attributes:
        url: Its address, with a slash at the end.
        process: Its process.
        cpu_seconds: Processor time that it had used when the first page had been answered.
        log: What it prints.
    """

    url: str
    process: subprocess.Popen[bytes]
    cpu_seconds: float
    log: Path


@dataclass
class Tab:
    """A page of the browser with all that it asked for.

    Attributes:
        page: The page.
        requests: Addresses that it asked for.
        errors: Errors of its scripts.
    """

    page: Page
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """Processor time of a process so far; wall-clock time says little on a machine that others use too."""
    stat = Path(f"/proc/{process.pid}/stat")
    if not stat.exists():
        return float("nan")
    ticks = stat.read_text().rpartition(")")[2].split()
    return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def running_app(root: Path, log: Path) -> Iterator[App]:
    """`python launch.py --port FREE`, from the moment it answers."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    with log.open("wb") as output:
        command = [sys.executable, "launch.py", "--port", str(port)]
        environ = {**os.environ, "LANGEVIN_HOME": str(log.parent / "home")}
        process = subprocess.Popen(command, cwd=root, env=environ, stdout=output, stderr=subprocess.STDOUT)
    try:
        for _ in range(1800):
            if process.poll() is not None:
                raise RuntimeError(f"the app has ended: {log.read_text('utf-8')}")
            with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=60):
                break
            time.sleep(0.1)
        else:
            raise RuntimeError(f"the app does not answer: {log.read_text('utf-8')}")
        yield App(url, process, cpu_seconds(process), log)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()


@contextlib.contextmanager
def running_browser(chromium: str) -> Iterator[Browser]:
    """A Chromium without a window."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()


def open_page(browser: Browser, url: str, **options: object) -> Tab:
    """A page in a context of its own; options are those of a browser context."""
    context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    tab = Tab(page)
    page.on("request", lambda request: tab.requests.append(request.url))
    page.on("pageerror", lambda error: tab.errors.append(str(error)))
    page.goto(url)
    page.wait_for_selector("#tabs [role=tab]")
    return tab
