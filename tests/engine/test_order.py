"""Whose turn it is: fair between owners, by priority and place among the jobs of one."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from apps.engine.jobs import Engine, Job, JobState
from apps.engine.order import ahead, next_job
from domains.common.errors import BadInput
from tests.engine.conftest import ended, submit, until

Make = Callable[..., Engine]


def waiting(owner: str, place: float, priority: int = 0) -> Job:
    return Job(f"{owner}{place:g}", owner, "demo.walk", {}, Path(), priority=priority, place=place)


def serve(jobs: list[Job], seconds: Callable[[Job], float]) -> list[tuple[Job, dict[str, float]]]:
    """The order in which jobs run on one worker, with each owner's seconds of service after each."""
    clocks = {job.owner: 0.0 for job in jobs}
    served = []
    while (job := next_job(jobs, clocks)) is not None:
        jobs = [other for other in jobs if other is not job]
        clocks[job.owner] += seconds(job)
        served.append((job, dict(clocks)))
    return served


def test_nobody_waits_behind_a_heap_of_anothers() -> None:
    jobs = [waiting("ann", k) for k in range(10)] + [waiting("bob", 10), waiting("cyd", 11)]
    owners = [job.owner for job, _ in serve(jobs, lambda job: 1.0)]
    assert owners[:5] == ["ann", "bob", "cyd", "ann", "ann"]


def test_shares_of_time_are_fair_whatever_the_length_of_the_jobs() -> None:
    dice = random.Random(1)
    length = {"ann": 10.0, "bob": 1.0, "cyd": 3.0, "dan": 0.2}
    jobs = [waiting(owner, dice.random()) for owner in length for _ in range(int(90 / length[owner]))]
    served = serve(jobs, lambda job: length[job.owner] * dice.uniform(0.5, 1.5))
    for _, clocks in served[20 : len(served) // 2]:
        assert max(clocks.values()) - min(clocks.values()) <= 2 * 15.0, "never more than about a job apart"
    middle = served[len(served) // 2][1]
    fair = sum(middle.values()) / 4
    assert all(abs(seconds - fair) <= 0.2 * fair for seconds in middle.values())


def test_priority_is_among_ones_own_jobs() -> None:
    jobs = [waiting("ann", 0), waiting("ann", 1, priority=5), waiting("bob", 2), waiting("bob", 3)]
    assert [job.id for job, _ in serve(jobs, lambda job: 1.0)] == ["ann1", "bob2", "ann0", "bob3"]


def test_the_number_ahead_is_that_of_the_order() -> None:
    dice = random.Random(2)
    for _ in range(100):
        owners = [dice.choice("abcd") for _ in range(12)]
        jobs = [waiting(owner, k, dice.choice((0, 0, 1))) for k, owner in enumerate(owners)]
        order = [job.id for job, _ in serve(jobs, lambda job: 1.0)]
        assert [order.index(job.id) for job in jobs] == [
            ahead(job, jobs, dict.fromkeys("abcd", 0.0)) for job in jobs
        ]
    gone = replace(jobs[0], id="gone")
    assert ahead(gone, jobs, {}) == 0


def started(engine: Engine, owners: str) -> list[Job]:
    return sorted(
        (job for owner in owners for job in engine.jobs(owner) if job.started), key=lambda job: job.started
    )


def test_owners_take_turns_in_a_real_engine(engine: Engine, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = submit(engine, "ann", steps=1, gate=str(gate))
    until(lambda: engine.get(first.id, "ann").state is JobState.RUNNING)
    jobs = [submit(engine, "ann", steps=1, pace=0.1) for _ in range(4)]
    jobs += [submit(engine, "bob", steps=1, pace=0.1) for _ in range(2)]
    assert [engine.ahead(job) for job in (first, jobs[0], jobs[4])] == [0, 2, 1]
    gate.touch()
    for job in jobs:
        assert ended(engine, job).state is JobState.DONE
    served, waiting = {"ann": 0.0, "bob": 0.0}, Counter(job.owner for job in (first, *jobs))
    for job in started(engine, ("ann", "bob")):
        other = "bob" if job.owner == "ann" else "ann"
        assert waiting[other] == 0 or served[job.owner] <= served[other], "who was served least comes first"
        served[job.owner] += job.seconds
        waiting[job.owner] -= 1


def test_who_comes_back_has_saved_up_nothing(engine: Engine, tmp_path: Path) -> None:
    ended(engine, submit(engine, "ann", steps=1, pace=1.0))
    gate = tmp_path / "gate"
    held = submit(engine, "ann", steps=1, gate=str(gate))
    for _ in range(3):
        submit(engine, "ann", steps=1)
    submit(engine, "bob", steps=1)
    clocks = engine._store.clocks()
    assert clocks["bob"] >= clocks["ann"]
    gate.touch()
    ended(engine, held)
    until(lambda: all(job.state.final for owner in ("ann", "bob") for job in engine.jobs(owner)))
    assert engine._store.clocks() == {}, "where nothing waits there is nothing to remember"


def test_waiting_jobs_are_moved(engine: Engine, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    held = submit(engine, steps=1, gate=str(gate))
    until(lambda: engine.get(held.id, "ann").state is JobState.RUNNING)
    a, b, c, d = (submit(engine, steps=1, seed=k) for k in range(4))
    urgent = submit(engine, steps=1, priority=3)
    engine.move(c.id, "ann", before=a.id)  # urgent c a b d
    engine.move(a.id, "ann")  # urgent c b d a
    engine.move(d.id, "ann", before=urgent.id)  # d urgent c b a
    engine.move(b.id, "ann", before=c.id)  # d urgent b c a
    for wrong in (held.id, "0" * 32, submit(engine, "bob").id):
        with pytest.raises(BadInput, match="no waiting job of yours"):
            engine.move(a.id, "ann", before=wrong)
    with pytest.raises(BadInput, match="cannot be moved"):
        engine.move(held.id, "ann")
    gate.touch()
    for job in (a, b, c, d, urgent):
        ended(engine, job)
    assert [job.id for job in started(engine, ("ann",))[1:]] == [job.id for job in (d, urgent, b, c, a)]


def test_workers_run_side_by_side(make_engine: Make, tmp_path: Path) -> None:
    engine = make_engine(workers=2)
    gate = tmp_path / "gate"
    pair = [submit(engine, steps=1, gate=str(gate)) for _ in range(2)]
    until(lambda: all(engine.get(job.id, "ann").state is JobState.RUNNING for job in pair))
    third = submit(engine, steps=1)
    assert engine.ahead(third) == 2 and len(engine.workers()) == 2
    gate.touch()
    results = [ended(engine, job).result for job in pair]
    assert results[0].metrics["process"] != results[1].metrics["process"]
