"""What a run will cost on this machine, from what runs of the same task have cost before."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from apps.engine.jobs import Job
from apps.engine.recipe import input_files
from core.solvers import SOLVERS
from domains.common.task import Request


def work(request: Request) -> float:
    """A number in proportion to which a run takes longer: steps × whole-number fields × bytes of input.

    Steps count by the evaluations that the solver makes in each, twice where guidance needs both branches.
    Whole-number fields of a request are numbers of things to make (samples, rows, pixels), whence the product.
    """
    sampling = request.sampling
    steps = sampling.steps * _evaluations_a_step(sampling.solver) * (1 if sampling.guidance == 1 else 2)
    sizes = [value for _, value in request if isinstance(value, int) and not isinstance(value, bool)]
    input_bytes = sum(path.stat().st_size for path in input_files(request).values() if path.is_file())
    return float(steps * math.prod(max(1, size) for size in sizes) * max(1, input_bytes))


def _evaluations_a_step(solver: str) -> int:
    named = SOLVERS.get(solver)
    return (named.evaluations or 1) if named is not None else 1


@dataclass
class Costs:
    """Seconds a unit of work, for each task: supposed from a stored example, then measured on this machine.

    Attributes:
        measured: Task -> seconds a unit of work; the latest run counts as much as all before it.
        supposed: Task -> the same from where the stored example was made, used until a run has been seen.
    """

    measured: dict[str, float] = field(default_factory=dict)
    supposed: dict[str, float] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set, repr=False)

    def suppose(self, task: str, seconds: float, amount: float) -> None:
        """Takes over what a stored example cost elsewhere."""
        self.supposed[task] = seconds / amount

    def record(self, job: Job) -> None:
        """Learns from a finished job, once however many pages show it."""
        if job.id in self._seen or job.result is None:
            return
        self._seen.add(job.id)
        rate = job.result.seconds / work(job.request)
        known = self.measured.get(job.task_name)
        self.measured[job.task_name] = rate if known is None else math.sqrt(known * rate)

    def estimate(self, task: str, request: Request) -> float | None:
        """Seconds that a run will take; None where nothing is known about the task."""
        rate = self.measured.get(task, self.supposed.get(task))
        return None if rate is None else rate * work(request)
