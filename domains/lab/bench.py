"""The task `lab.solvers`: error of solvers on a frozen denoiser, against evaluations and against seconds."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from core.metrics.transport import sliced_wasserstein
from core.noise import Noise
from core.sampling import final
from core.schedules import Schedule
from core.solvers import SOLVERS, Named
from core.solvers.unipc import UniPC
from core.spaces.gaussian import Gaussian
from core.time_grids import karras
from domains.common.bench_problems import BenchProblem, bench_problem
from domains.common.resuming import step_from, step_kept
from domains.common.task import Artifact, Result, Run
from domains.lab.bench_figure import bench_figure
from domains.lab.tasks import BenchRequest
from domains.lab.walks import counted, grid_of, walked

TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4)  # of solvers that choose their steps themselves
_TYPICAL = 60  # evaluations of such a walk, for the estimate of the time left
_PREVIEW = 1.0
_GOOD_DIGITS = 6


@dataclass(frozen=True)
class Row:
    """One walk of one solver from one seed's prior noise.

    Attributes:
        solver: Its name.
        seed: Which repetition.
        steps: Of the grid; where the solver chooses its own, minus the place of its tolerance.
        nfe: Evaluations a sample.
        error: Root mean square distance to the reference walk's end, or sliced Wasserstein to reference samples.
        seconds: Of the walk.
        stochastic: Whether `error` is the latter.
    """

    solver: str
    seed: int
    steps: int
    nfe: int
    error: float
    seconds: float
    stochastic: bool


@dataclass(frozen=True)
class Point:
    """A solver at one number of steps or tolerance: medians over seeds, and the fewest seconds."""

    solver: str
    steps: int
    nfe: float
    error: float
    seconds: float
    stochastic: bool


@dataclass
class Bench:
    """What is measured, and how far it is.

    Attributes:
        request: The request.
        run: Told how far it is.
        rows: So far.
        floors: Seed -> sliced Wasserstein between two reference sets.
        done, total: Evaluations.
    """

    request: BenchRequest
    run: Run
    rows: list[Row] = field(default_factory=list)
    floors: dict[int, float] = field(default_factory=dict)
    done: float = 0.0
    total: float = 1.0
    shown: float = 0.0

    def advance(self, amount: float, message: str) -> None:
        """Counts evaluations, and shows the curves from time to time."""
        self.done = min(self.done + amount, self.total)
        self.run.progress(self.done, self.total, message)
        if self.rows and time.monotonic() - self.shown > _PREVIEW:
            self.run.preview(bench_figure(points(self.rows), self.floor, self.request.problem))
            self.shown = time.monotonic()

    def restore(self, kept: list[dict[str, Any]] | None) -> None:
        """Takes up the walks that an earlier attempt has measured."""
        self.rows = [Row(**row) for row in kept or []]

    def keep(self) -> None:
        """Offers the walks that are measured."""
        self.run.keep("rows", lambda: [vars(row) for row in self.rows])

    def measured(self, solver: str, seed: int, steps: int) -> bool:
        """Whether a walk is among them."""
        return any((row.solver, row.seed, row.steps) == (solver, seed, steps) for row in self.rows)

    @property
    def floor(self) -> float | None:
        """The median of the floors."""
        return median(self.floors.values()) if self.floors else None


def steps_for(named: Named, evaluations: int) -> int:
    """Steps that cost at most so many evaluations: a last step onto clean data costs one alone.

    >>> steps_for(SOLVERS["heun"], 5), steps_for(SOLVERS["multistep"], 5)
    (3, 5)
    """
    return 1 + (evaluations - 1) // (named.evaluations or 1)


def points(rows: Sequence[Row]) -> list[Point]:
    """By solver and evaluations; of seconds the fewest, since other work only ever slows a walk down."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.solver, row.steps), []).append(row)
    made = [
        Point(
            solver,
            max(0, steps),
            median(r.nfe for r in some),
            median(r.error for r in some),
            min(r.seconds for r in some),
            some[0].stochastic,
        )
        for (solver, steps), some in groups.items()
    ]
    return sorted(made, key=lambda p: (list(SOLVERS).index(p.solver), p.nfe))


def measure(request: BenchRequest, run: Run) -> Result:
    """Walks every solver at every number of evaluations and writes figure and tables."""
    names = list(dict.fromkeys(request.solvers))
    bench = Bench(request, run)
    stochastic = any(SOLVERS[name].stochastic for name in names)
    bench.total = float(
        request.seeds * (_reference_cost(request, names) + sum(_cost(request, n) for n in names))
    )
    run.progress(0, bench.total, "preparing")
    bench.restore(run.kept("rows"))
    title = ""
    for seed in range(request.seeds):
        streams = Noise.of(request.sampling.seed, request.seeds * request.samples)
        mine = streams.take(range(seed * request.samples, (seed + 1) * request.samples))
        problem = bench_problem(request.problem, mine, run.device)
        title = problem.title
        goal, law = None, None
        if any(not SOLVERS[name].stochastic for name in names):
            goal = _reference(bench, problem, f"reference {seed}")
        if stochastic:
            law, other = (_law(bench, mine.at("law", k), f"law {seed} {k}") for k in range(2))
            bench.floors[seed] = sliced_wasserstein(law, other)
        for name in names:
            _measure(bench, problem, name, seed, mine, law if SOLVERS[name].stochastic else goal)
    run.progress(1, 1, "writing the results")
    return _result(bench, title)


def _cost(request: BenchRequest, name: str) -> float:
    if SOLVERS[name].evaluations is None:
        return float(_TYPICAL * len(TOLERANCES))
    return float(sum(set(request.evaluations)))


def _reference_cost(request: BenchRequest, names: Sequence[str]) -> float:
    walks = int(any(not SOLVERS[n].stochastic for n in names))
    if any(SOLVERS[n].stochastic for n in names) and request.problem == "series-base":
        walks += 2
    return float(walks * request.sampling.steps)


def fine_grid(schedule: Schedule, steps: int, start: float) -> Tensor:
    """A grid nearly even in the clock but finer towards noise: equal steps of (sigma / alpha)^(1 / 20), then 0."""
    return karras(schedule, steps, start, 1e-3, 20.0)


def _reference(bench: Bench, problem: BenchProblem, name: str) -> Tensor:
    """Where a fine walk from the problem's states ends; it is kept under `name`."""
    process: Gaussian = problem.denoiser.process
    steps = bench.request.sampling.steps
    times = fine_grid(process.schedule, steps, problem.start)
    noise = Noise((0,) * len(problem.state))
    x, resume = problem.state, None
    if (earlier := bench.run.kept(name)) is not None:
        resume = step_from(earlier, str(x.device))
        x = resume.x
        bench.advance(resume.index, "reference walk")
    f = counted(problem.denoiser, bench.run)
    for step in walked(f, UniPC(3), x, times, noise, field="problem", resume=resume):
        x = step.x
        bench.run.keep(name, partial(step_kept, step))
        bench.advance(1, "reference walk")
    return x


def _law(bench: Bench, noise: Noise, name: str) -> Tensor:
    """Reference samples: exact draws, or ends of fine walks from other noise where the law is not known."""
    problem = bench_problem(bench.request.problem, noise, bench.run.device)
    return _reference(bench, problem, name) if problem.draw is None else problem.draw(noise.at("exact"))


def _measure(
    bench: Bench, problem: BenchProblem, name: str, seed: int, noise: Noise, goal: Tensor | None
) -> None:
    """All walks of one solver from one seed."""
    assert goal is not None
    named = SOLVERS[name]
    process: Gaussian = problem.denoiser.process
    request = bench.request
    plans: list[tuple[int, Any, Tensor, float]] = []
    if named.evaluations is None:
        loose = torch.tensor([problem.start, 1e-3, 0.0], dtype=torch.float64)
        for k, tolerance in enumerate(TOLERANCES):
            plans.append((-k, replace(named.make(2), rtol=tolerance, atol=tolerance), loose, _TYPICAL))
    else:
        for evaluations in sorted(set(request.evaluations)):
            steps = steps_for(named, evaluations)
            if steps not in [plan[0] for plan in plans]:
                grid = grid_of(request.sampling.grid, process.schedule, steps, problem.start)
                plans.append((steps, named.make(steps), grid, float(evaluations)))
            else:
                bench.done += evaluations
    for steps, solver, grid, cost in plans:
        if bench.measured(name, seed, steps):
            bench.advance(cost, name)
            continue
        f = counted(problem.denoiser, bench.run)
        began = time.perf_counter()
        end = final(walked(f, solver, problem.state, grid, noise.at("walk"), field="solvers")).x
        seconds = time.perf_counter() - began
        if named.stochastic:
            error = sliced_wasserstein(end.cpu(), goal.cpu())
        else:
            error = float((end.double() - goal.double()).square().mean().sqrt())
        bench.rows.append(Row(name, seed, steps, f.nfe, error, seconds, named.stochastic))
        bench.keep()
        words = f"tolerance {solver.rtol:g}" if steps <= 0 else f"{f.nfe} evaluations"
        bench.advance(cost, f"{name}, {words}")


def _result(bench: Bench, title: str) -> Result:
    run, request, rows = bench.run, bench.request, bench.rows
    medians = points(rows)
    figure = bench_figure(medians, bench.floor, request.problem)
    (run.directory / "plot.json").write_text(
        json.dumps(figure, allow_nan=False, separators=(",", ":")), encoding="utf-8"
    )
    with (run.directory / "errors.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["problem", "solver", "seed", "steps", "evaluations", "measure", "error"])
        for r in rows:
            measure = "sliced_wasserstein" if r.stochastic else "rms_to_reference"
            writer.writerow(
                [
                    request.problem,
                    r.solver,
                    r.seed,
                    max(0, r.steps),
                    r.nfe,
                    measure,
                    f"{r.error:.{_GOOD_DIGITS}g}",
                ]
            )
    with (run.directory / "seconds.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["problem", "solver", "evaluations", "samples", "seconds"])
        for p in medians:
            writer.writerow([request.problem, p.solver, f"{p.nfe:g}", request.samples, f"{p.seconds:.4g}"])
    artifacts = [
        Artifact("plot.json", "plot", "Interactive plot"),
        Artifact("errors.csv", "table", "Error of every walk"),
        Artifact("seconds.csv", "table", "Fewest seconds over seeds"),
    ]
    notes = [
        f"{title[:1].upper()}{title[1:]}; {request.samples} samples a seed, medians over {request.seeds}."
    ]
    if any(not r.stochastic for r in rows):
        notes.append(
            f"Error: root mean square distance to where {request.sampling.steps} steps from the same prior noise end."
        )
    if any(r.stochastic for r in rows):
        notes.append(
            "Stochastic solvers end elsewhere by design: they are judged by sliced Wasserstein to the law."
        )
    return Result(artifacts, _metrics(bench, medians), 0, notes)


def _metrics(bench: Bench, medians: Sequence[Point]) -> dict[str, float | int | str]:
    """For each solver its error at about ten evaluations and at the most."""
    metrics: dict[str, float | int | str] = {}
    for name in dict.fromkeys(p.solver for p in medians):
        own = [p for p in medians if p.solver == name]
        middle = min(own, key=lambda p: abs(p.nfe - 10))
        for p in dict.fromkeys([middle, own[-1]]):
            metrics[f"{name}, {p.nfe:g} evaluations"] = float(f"{p.error:.3g}")
    if bench.floor is not None:
        metrics["two sets of reference samples (floor of the stochastic)"] = float(f"{bench.floor:.3g}")
    return metrics
