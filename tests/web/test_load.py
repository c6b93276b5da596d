"""Fifty people at once, for ten minutes: nobody sees an error, nobody waits longer than others, the page stays quick.

    python -m pytest tests/web/test_load.py -m load -s

LANGEVIN_LOAD_SECONDS sets another time. The app is a process of its own on two cores with two workers, open to all;
each of its visitors keeps two jobs waiting, of four kinds in turn. It needs those two cores for itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.browser.driver import free_port

ROOT = Path(__file__).resolve().parents[2]
SECONDS = float(os.environ.get("LANGEVIN_LOAD_SECONDS", "600"))
OWNERS, BACKLOG = 50, 2
TABLE = "time,a\n" + "".join(
    f"2024-01-{1 + i // 24:02d} {i % 24:02d}:00,{'' if 30 <= i < 40 else i % 24}\n" for i in range(96)
)
FILE = {"name": "table.csv", "text": TABLE}
MIX: list[dict[str, Any]] = [
    {"task": "series.impute", "request": {"table": FILE, "samples": 4, "steps": 4}},
    {"task": "lab.theory", "request": {"samples": 100, "steps": 6}},
    {"task": "series.forecast", "request": {"table": FILE, "samples": 4, "steps": 4, "horizon": 8}},
    {
        "task": "lab.solvers",
        "request": {
            "problem": "mixture-2", "solvers": ["ddim"], "evaluations": [4], "samples": 8, "seeds": 1,
            "sampling": {"steps": 200},
        },
    },
]  # fmt: skip


@dataclass
class Seen:
    """What the visitors met."""

    refused: int = 0
    errors: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    service: dict[int, float] = field(default_factory=dict)  # visitor -> seconds that their jobs ran
    longest: float = 0.0
    page: list[float] = field(default_factory=list)
    memory: list[tuple[float, int, int]] = field(default_factory=list)  # time, the app's, the workers'


@pytest.fixture
def app(tmp_path: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A hosted app on two cores; address and process."""
    port = free_port()
    settings = {
        "HOME": str(tmp_path / "home"), "PROFILE": "hosted", "OPEN_TO_ALL": "true", "WORKERS": "2", "THREADS": "1",
        "REQUESTS_PER_MINUTE": "0", "UPLOADS_PER_HOUR": "0", "GUESTS_PER_HOUR": "0", "LOG_REQUESTS": "false",
        "FREE_BYTES": "0",
    }  # fmt: skip
    environment = {**os.environ, **{f"LANGEVIN_{name}": value for name, value in settings.items()}}
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, str(ROOT / "launch.py"), "--port", str(port)]
        started = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
        process = psutil.Process(started.pid)
        cores = sorted(process.cpu_affinity())[:2]
        process.cpu_affinity(cores)
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                try:
                    if httpx.get(f"{url}/healthz", trust_env=False).status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.2)
            yield url, process
        finally:
            started.terminate()
            started.wait(60)
    assert b'"level": "error"' not in (tmp_path / "log").read_bytes()


async def visit(number: int, url: str, seen: Seen, over: float) -> None:
    """One visitor, who always has jobs waiting."""
    turn, mine = number, {}
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
        await client.get("/")
        counted: dict[str, float] = {}
        while time.monotonic() < over:
            while len(mine) < BACKLOG:
                answer = await client.post("/api/jobs", json=MIX[turn % len(MIX)])
                if answer.status_code == 429:
                    seen.refused += 1
                    break
                if answer.status_code != 202:
                    seen.errors.append(f"{answer.status_code} {answer.text[:200]}")
                    return
                mine[answer.json()["id"]] = turn = turn + 1
            await asyncio.sleep(1.0)
            for job_id in list(mine):
                answer = await client.get(f"/api/jobs/{job_id}")
                if answer.status_code != 200:
                    seen.errors.append(f"{answer.status_code} {answer.text[:200]}")
                    return
                job = answer.json()
                if job["state"] in ("failed", "cancelled"):
                    seen.errors.append(json.dumps(job["error"]))
                if job["state"] == "done":
                    seen.done[job["task"]] += 1
                if job["state"] in ("done", "failed", "cancelled"):
                    counted[job_id] = job["seconds"]
                    seen.longest = max(seen.longest, job["seconds"])
                    del mine[job_id]
        seen.service[number] = sum(counted.values())


def watch(url: str, process: psutil.Process, seen: Seen, over: float) -> None:
    """Opens the page twice a second, and looks at memory."""
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        while time.monotonic() < over:
            began = time.monotonic()
            answer = client.get("/")
            seen.page.append(time.monotonic() - began)
            if answer.status_code != 200:
                seen.errors.append(f"page: {answer.status_code}")
            workers = 0
            for child in process.children(recursive=True):
                try:
                    workers += child.memory_info().rss
                except psutil.Error:
                    continue
            seen.memory.append((began, process.memory_info().rss, workers))
            time.sleep(0.5)


def growth(memory: list[tuple[float, int, int]], which: int) -> float:
    """Growth over the last half: the median of its last third against that of its first."""
    half = [moment[which] for moment in memory[len(memory) // 2 :]]
    third = max(1, len(half) // 3)
    return statistics.median(half[-third:]) / statistics.median(half[:third]) - 1.0


@pytest.mark.load
@pytest.mark.timeout(SECONDS + 300)
def test_fifty_people_at_once(app: tuple[str, psutil.Process]) -> None:
    url, process = app
    seen, over = Seen(), time.monotonic() + SECONDS
    watching = threading.Thread(target=watch, args=(url, process, seen, over))
    watching.start()

    async def all_of_them() -> None:
        await asyncio.gather(*(visit(number, url, seen, over) for number in range(OWNERS)))

    asyncio.run(all_of_them())
    watching.join()
    mean = statistics.fmean(seen.service.values())
    assert mean > 0, f"nothing was done; {seen.errors[:5]}"
    off = max(abs(seconds - mean) for seconds in seen.service.values())
    p95 = statistics.quantiles(seen.page, n=20)[-1]
    print(
        f"\n{sum(seen.done.values())} jobs {dict(seen.done)}, {seen.refused} refused, {len(seen.errors)} errors"
        f"\nservice {mean:.2f} s a visitor, at most {off / mean:.1%} off ({off:.2f} s), "
        f"longest job {seen.longest:.2f} s"
        f"\npage: median {statistics.median(seen.page) * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms, {len(seen.page)} visits"
        f"\nmemory: app {seen.memory[-1][1] >> 20} MB ({growth(seen.memory, 1):+.1%} over the last half), "
        f"workers {seen.memory[-1][2] >> 20} MB ({growth(seen.memory, 2):+.1%})"
    )
    assert not seen.errors, seen.errors[:5]
    assert len(seen.service) == OWNERS and len(seen.done) == len(MIX)
    # A job is the smallest portion: in a short run it alone may be a fifth of what each is served.
    assert off <= max(0.2 * mean, seen.longest)
    assert p95 < 0.5
    assert growth(seen.memory, 1) < 0.05 and growth(seen.memory, 2) < 0.05
