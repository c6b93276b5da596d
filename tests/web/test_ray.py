"""Ray: results equal to those made here, a node killed in the midst of it, and nothing lost.

A cluster of two nodes of one core each on this machine; its head does no work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("ray")
from apps.engine.jobs import Engine, Job, JobState
from apps.engine.many import Many, run_here
from apps.engine.validation import make_request
from domains.common.errors import BadInput
from tests.browser.driver import free_port
from tests.engine.conftest import MODULE, demo, ended, reached, settings, submit, until  # noqa: F401
from tests.engine.demo_tasks import WALK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster that this process has joined."""
    monkeypatch.setenv("LANGEVIN_TASK_MODULES", MODULE)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    from ray.cluster_utils import Cluster

    from apps.engine import ray_run

    made = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0})
    try:
        made.workers = [added(made), added(made)]
        made.wait_for_nodes()
        ray_run.connect(made.address)
        yield made
    finally:
        ray_run.ray.shutdown()
        made.shutdown()


def added(cluster: Any) -> Any:
    """A new node; Ray gives one 30 s to come up, which a machine that does other things too may not manage."""
    for _ in range(4):
        try:
            return cluster.add_node(**NODE)
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    raise AssertionError("no node came up")


def contents(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / "result.json").read_text())["recipe"]["content_sha256"]
    return found


def several(out: Path, count: int, **fields: Any) -> Many:
    return Many(WALK, make_request(WALK, {"length": 30, "steps": 4, "seed": 9, **fields}), count, out)


def test_a_node_is_killed_in_a_run_of_many_and_nothing_is_lost(cluster: Any, tmp_path: Path) -> None:
    from apps.engine.ray_run import run_on_ray

    numbers = tmp_path / "numbers.csv"
    numbers.write_text("1\n2\n6\n")
    count = 200
    there = several(tmp_path / "there", count, pace=0.02, table=str(numbers))
    made = []
    for index in run_on_ray(there, there.todo(), threads=1):
        made.append(index)
        if len(made) == 40:
            cluster.remove_node(cluster.workers[0], allow_graceful=False)
    assert sorted(made) == list(range(count)), "each is made, and published once"
    assert there.todo() == [] and there.summary()["count"] == count
    here = several(tmp_path / "here", count, pace=0.0, table=str(numbers))
    for index in (0, 1, 57, 123, 199):
        list(run_here(here, [index], threads=1))
        assert contents(here.folder(index)) == contents(there.folder(index))
    assert not list(there.out.rglob(".*")), "no half-written file"


def test_a_fault_of_the_request_ends_the_run_in_one_line(cluster: Any, tmp_path: Path) -> None:
    from apps.engine.ray_run import run_on_ray

    faulty = several(tmp_path / "out", 20, fault="input")
    with pytest.raises(BadInput, match="drift: is too steep"):
        list(run_on_ray(faulty, faulty.todo(), threads=1))
    odd = several(tmp_path / "out", 2, model=str(tmp_path))
    with pytest.raises(BadInput, match="on Ray name an installed model"):
        list(run_on_ray(odd, [0, 1], threads=1))


def test_a_worker_that_dies_again_and_again_is_given_up(cluster: Any, tmp_path: Path) -> None:
    from apps.engine.ray_run import run_on_ray

    doomed = several(tmp_path / "out", 1, fault="suicide")
    with pytest.raises(RuntimeError, match="was lost 8 times"):
        list(run_on_ray(doomed, [0], threads=1))


def test_jobs_of_the_app_outlive_the_node_that_ran_them(cluster: Any, tmp_path: Path) -> None:
    with_ray = settings(engine="ray", workers=2)
    engine = Engine(tmp_path / "home", with_ray)
    try:
        numbers = tmp_path / "numbers.csv"
        numbers.write_text("4\n5\n")
        jobs = [
            submit(engine, owner=f"owner-{i}", length=2000, steps=60, pace=0.1, seed=i, table=str(numbers))
            for i in range(6)
        ]
        running = until(lambda: [job for job in now(engine, jobs) if at(job) >= 8], "a job to be under way")
        assert running[0].previews and running[0].preview is not None
        threading.Timer(0.0, cluster.remove_node, [cluster.workers[0]], {"allow_graceful": False}).start()
        added(cluster)
        done = [ended(engine, job) for job in jobs]
        assert {job.state for job in done} == {JobState.DONE}, [job.error for job in done]
        notes = [job.note for job in done if job.note]
        assert notes and all("goes on from its last checkpoint" in note for note in notes), notes
        found = {job.request.sampling.seed: job.result for job in done}
    finally:
        engine.close()
    local = Engine(tmp_path / "local", settings())
    try:
        for seed in (0, 1):
            job = submit(local, length=2000, steps=60, seed=seed, pace=0.0, table=str(numbers))
            alone = ended(local, job).result
            assert alone is not None and found[seed] is not None
            assert alone.recipe.content_sha256 == found[seed].recipe.content_sha256
    finally:
        local.close()


def test_jobs_on_a_cluster_are_cancelled_paused_and_fail_like_others(cluster: Any, tmp_path: Path) -> None:
    engine = Engine(tmp_path / "home", settings(engine="ray", workers=2))
    try:
        job = submit(engine, steps=1000, pace=0.05)
        reached(engine, job, 3)
        began = time.monotonic()
        engine.cancel(job.id, job.owner)
        assert ended(engine, job).state is JobState.CANCELLED and time.monotonic() - began < 5
        crashed = ended(engine, submit(engine, fault="segfault"))
        assert crashed.state is JobState.FAILED and "SIGSEGV" in crashed.error.message
        refused = ended(engine, submit(engine, fault="input"))
        assert refused.error is not None and refused.error.field == "drift"
        rested = submit(engine, steps=40, pace=0.05, seed=3)
        reached(engine, rested, 5)
        engine.pause(rested.id, rested.owner)
        until(lambda: engine.get(rested.id, rested.owner).state is JobState.PAUSED, "the pause")
        engine.resume(rested.id, rested.owner)
        done = ended(engine, rested)
        assert done.state is JobState.DONE and "goes on from its last checkpoint" in done.note
        stop = submit(engine, steps=1000, pace=0.05)
        reached(engine, stop, 3)
    finally:
        engine.close()
    again = Engine(tmp_path / "home", settings(engine="ray", workers=2))
    try:
        waiting = again.get(stop.id, stop.owner)
        assert waiting is not None and waiting.state in (JobState.QUEUED, JobState.RUNNING)
        reached(again, stop, 10)
        again.cancel(stop.id, stop.owner)
        assert ended(again, stop).state is JobState.CANCELLED
    finally:
        again.close()


def now(engine: Engine, jobs: list[Job]) -> list[Job]:
    return [found for job in jobs if (found := engine.get(job.id, job.owner)) is not None]


def at(job: Job) -> float:
    return job.progress.done if job.progress is not None and job.state is JobState.RUNNING else 0.0


def test_settings_take_the_clusters_size(cluster: Any) -> None:
    from apps.engine.pool import sized

    assert (sized(settings(engine="ray")).workers, sized(settings(engine="ray", workers=5)).workers) == (2, 5)
    assert sized(settings()).workers == 1


def test_the_app_opens_on_a_cluster_of_its_own(tmp_path: Path) -> None:
    port = free_port()
    variables = {"LANGEVIN_HOME": str(tmp_path / "home"), "LANGEVIN_FREE_BYTES": "0", "LANGEVIN_WORKERS": "1"}
    command = [sys.executable, str(ROOT / "launch.py"), "--engine", "ray", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        app = subprocess.Popen(command, env={**os.environ, **variables}, stdout=log, stderr=log, cwd=tmp_path)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client:
                until(lambda: answers(client, app), "the app")
                call = {"task": "lab.theory", "request": {"samples": 50, "steps": 2}}
                where = "/api/jobs/" + client.post("/api/jobs", json=call).json()["id"]
                job = until(lambda: final(client.get(where).json()), "the job")
            assert job["state"] == "done", job["error"]
        finally:
            app.terminate()
            assert app.wait(90) == 0, (tmp_path / "log").read_text()


def answers(client: httpx.Client, app: subprocess.Popen[bytes]) -> bool:
    assert app.poll() is None
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def final(job: dict[str, Any]) -> dict[str, Any] | None:
    return job if job["state"] in ("done", "failed") else None
