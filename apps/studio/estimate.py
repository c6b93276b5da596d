"""What a run will cost on this machine, learned from what runs of the same task have cost before.

Seconds are taken for a product of powers of a request's sizes: evaluations of the denoiser, bytes of input, and each
whole-number field.  Evaluations are supposed to count in proportion.  Of the other sizes nobody knows beforehand
whether they count in proportion (samples) or not at all (steps of a training that is not asked for), so they begin at
the square root and are learned: a ridge regression of log seconds, shrunk towards that guess.  Runs on a busy machine
take longer and none takes less than it has to, so runs far off the line weigh little, and of the nearest ones the lower
median counts.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.engine.jobs import Job
from apps.engine.recipe import input_files
from apps.engine.validation import resolve
from core.solvers import SOLVERS
from domains.common.task import Request

_KEPT = 64  # runs of a task
_NEAREST = 5  # runs that an estimate is made from
EVALUATIONS, BYTES = "evaluations of the denoiser", "bytes of input"  # no field has a space in its name
_GUESSES, _OTHERS = {EVALUATIONS: 1.0}, 0.5  # powers, before anything is known
_DOUBT = 0.5  # standard deviation of these guesses
_NOISE = 0.2  # standard deviation of log seconds between equal runs
_STEEPEST = 2.0
_LEAST = 0.3  # seconds: reading, checking and writing take some, however small the request
_SEEN = 10_000  # jobs


@dataclass(frozen=True)
class Size:
    """How large a request is.

    Attributes:
        amounts: Name -> a positive number: evaluations, bytes of input, whole-number fields, lengths of lists.
        choices: Name -> value of each field that chooses: runs that chose otherwise tell less.
    """

    amounts: Mapping[str, float]
    choices: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, request: Request) -> Size:
        """The size of a request; seeds say nothing, and steps stand in its evaluations."""
        sampling = request.sampling
        # Guidance needs both branches.
        each = _evaluations_a_step(sampling.solver) * (1 if sampling.guidance == 1 else 2)
        amounts = {EVALUATIONS: float(max(1, sampling.steps * each))}
        read = sum(path.stat().st_size for path in input_files(request).values() if path.is_file())
        if read:
            amounts[BYTES] = float(read)
        choosing = _choosing(type(request))
        for name, value in request:
            if isinstance(value, int) and name not in choosing:
                amounts[name] = float(max(1, value))
            elif isinstance(value, list) and value:
                amounts[name] = float(len(value))
        return cls(amounts, {name: getattr(request, name) for name in choosing})


@lru_cache(maxsize=1024)
def _choosing(kind: type[Request]) -> tuple[str, ...]:
    """The fields of a request that take one of some words, or yes and no."""
    schema = kind.model_json_schema()
    fields = {name: resolve(stated, schema) for name, stated in schema["properties"].items()}
    return tuple(name for name, spec in fields.items() if "enum" in spec or spec.get("type") == "boolean")


def _evaluations_a_step(solver: str) -> int:
    named = SOLVERS.get(solver)
    return (named.evaluations or 1) if named is not None else 1


@dataclass(frozen=True)
class Spent:
    """What one run took.

    Attributes:
        size: Of its request.
        seconds: That it took.
    """

    size: Size
    seconds: float


@dataclass
class Costs:
    """What runs of each task took: supposed from a stored example, then measured on this machine.

    Attributes:
        measured: Task -> its latest runs.
        supposed: Task -> what its stored example took where it was made, used until a run has been seen.
    """

    measured: dict[str, deque[Spent]] = field(default_factory=dict)
    supposed: dict[str, Spent] = field(default_factory=dict)
    _seen: OrderedDict[str, None] = field(default_factory=OrderedDict, repr=False)

    def suppose(self, task: str, seconds: float, size: Size) -> None:
        """Takes over what a stored example took elsewhere."""
        self.supposed[task] = Spent(size, seconds)

    def record(self, job: Job) -> None:
        """Learns from a finished job, once however many pages show it."""
        if job.id in self._seen or job.result is None:
            return
        self._seen[job.id] = None
        while len(self._seen) > _SEEN:
            self._seen.popitem(last=False)
        self.learn(job.task_name, job.result.seconds, Size.of(job.request))

    def learn(self, task: str, seconds: float, size: Size) -> None:
        """Takes note of what a run took on this machine."""
        self.measured.setdefault(task, deque(maxlen=_KEPT)).append(Spent(size, max(seconds, 1e-3)))

    def estimate(self, task: str, request: Request) -> float | None:
        """Seconds that a run will take; None where nothing is known about the task."""
        runs = list(self.measured.get(task, ()))
        if not runs and task in self.supposed:
            runs = [self.supposed[task]]
        if not runs:
            return None
        size, powers = Size.of(request), _powers(runs)
        alike = [run for run in runs if run.size.choices == size.choices] or runs
        found = []
        for run in reversed(alike):  # of equally near ones, the latest
            steps = [
                power * math.log(size.amounts.get(name, 1.0) / run.size.amounts.get(name, 1.0))
                for name, power in powers.items()
            ]
            found.append((sum(map(abs, steps)), math.log(run.seconds) + sum(steps)))
        nearest = sorted(found, key=lambda pair: pair[0])[:_NEAREST]
        guesses = sorted(guess for _, guess in nearest)
        return max(_LEAST, math.exp(guesses[(len(guesses) - 1) // 2]))


def _powers(runs: Sequence[Spent]) -> dict[str, float]:
    """Size -> the power in which it counts."""
    names = sorted({name for run in runs for name in run.size.amounts} | set(_GUESSES))
    guess = np.array([_GUESSES.get(name, _OTHERS) for name in names])
    sizes = np.log([[run.size.amounts.get(name, 1.0) for name in names] for run in runs])
    seconds = np.log([run.seconds for run in runs])
    weights, powers = np.ones(len(runs)), guess
    for _ in range(5):  # reweighted, so that single slow runs do not bend the line (Huber 1964)
        powers = np.clip(guess + _ridge(sizes, seconds - sizes @ guess, weights), 0.0, _STEEPEST)
        off = seconds - sizes @ powers
        weights = 1 / np.maximum(1.0, np.abs(off - np.median(off)) / _NOISE)
    return dict(zip(names, powers.tolist(), strict=True))


def _ridge(
    x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Slopes of `y` `[runs]` over `x` `[runs, sizes]` beside a free constant, shrunk towards zero."""
    share = weights / weights.sum()
    inner, outer = x - share @ x, y - share @ y
    weighed = (inner * weights[:, None]).T / _NOISE**2
    slopes: NDArray[np.float64] = np.linalg.solve(
        weighed @ inner + np.eye(x.shape[1]) / _DOUBT**2, weighed @ outer
    )
    return slopes
