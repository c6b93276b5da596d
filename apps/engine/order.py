"""Whose turn it is: among owners the one who has been served least, among the jobs of one by priority, then place.

Each owner has a clock that runs with the seconds their jobs run (start-time fair queueing, Goyal, Vin and Cheng 1996):
who has many long jobs waits between them for who has few short ones.  An owner who comes back after a while begins at
the least clock of those who wait, so that nobody saves up time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush

from apps.engine.job import Job

TYPICAL = 10.0  # seconds that a job is thought to take where only their order matters


def own_order(jobs: Iterable[Job]) -> list[Job]:
    """The waiting jobs of one owner in the order in which they run."""
    return sorted(jobs, key=lambda job: (-job.priority, job.place))


def queues(waiting: Iterable[Job]) -> dict[str, list[Job]]:
    """Owner -> their waiting jobs in order."""
    grouped: dict[str, list[Job]] = {}
    for job in waiting:
        grouped.setdefault(job.owner, []).append(job)
    return {owner: own_order(jobs) for owner, jobs in grouped.items()}


def next_job(waiting: Iterable[Job], clocks: Mapping[str, float]) -> Job | None:
    """The job that runs next; None where none waits.

    Args:
        waiting: All queued jobs.
        clocks: Owner -> seconds of service, those of running jobs included.
    """
    first = [jobs[0] for jobs in queues(waiting).values()]
    return min(first, key=lambda job: (clocks.get(job.owner, 0.0), job.place), default=None)


def ahead(job: Job, waiting: Sequence[Job], clocks: Mapping[str, float]) -> int:
    """How many waiting jobs run before `job`, if all take as long as a typical one.

    Args:
        job: One of those that wait; for another the answer is 0.
        waiting: All queued jobs.
        clocks: As for `next_job`.
    """
    if job.id not in {other.id for other in waiting}:
        return 0
    grouped = queues(waiting)
    heads = [(clocks.get(owner, 0.0), jobs[0].place, owner) for owner, jobs in grouped.items()]
    heapify(heads)
    done = dict.fromkeys(grouped, 0)
    for count in range(len(waiting)):
        clock, _, owner = heappop(heads)
        jobs = grouped[owner]
        if jobs[done[owner]].id == job.id:
            return count
        done[owner] += 1
        if done[owner] < len(jobs):
            heappush(heads, (clock + TYPICAL, jobs[done[owner]].place, owner))
    return 0
