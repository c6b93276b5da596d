"""The task `lab.theory`: a known law is noised, denoised by a solver, and compared with itself."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from core.guidance.classifier_free import Guided
from core.metrics.transport import sliced_wasserstein
from core.noise import Noise
from core.sampling import Counted, Step
from core.solvers import SOLVERS
from domains.common.errors import BadInput
from domains.common.resuming import step_from, step_kept
from domains.common.sampling import noise_of
from domains.common.task import Artifact, Result, Run
from domains.lab.distances import rotation_distance
from domains.lab.figure_plane import Panel, plane_figure
from domains.lab.figure_rotations import angle_density, histogram, rotation_figure, vectors
from domains.lab.figure_tokens import token_figure, total_variation_at_end
from domains.lab.laws import (
    GROUPS,
    PlaneLaw,
    RotationLaw,
    TokenLaw,
    make_law,
    prior_at,
    start_of,
    tilted_draws,
)
from domains.lab.learned import learn
from domains.lab.tasks import TheoryRequest
from domains.lab.walks import counted, grid_of, solver_name, walked

AnyLaw = PlaneLaw | TokenLaw | RotationLaw
FRAMES, NOISING = 14, 6
REFERENCE = 4096
_PREVIEW = 1.0  # seconds between previews
_TILTED_SHOWN = 1500


@dataclass
class Walk:
    """A walk with the states that are shown of it.

    Attributes:
        x: The last state.
        times: Of the states shown.
        states: `[samples, ...]` each, the prior first.
        indices: Steps done at each.
        nfe: Evaluations a sample.
        seconds: Without what is drawn in between.
    """

    x: Tensor
    times: list[float]
    states: list[Tensor]
    indices: list[int]
    nfe: int = 0
    seconds: float = 0.0


@dataclass
class Show:
    """All that one request asks for, checked.

    Attributes:
        request: The request.
        law: The law.
        solver: Name of the solver.
        group: The component guided towards, or None.
        start: The first time.
        noise: One stream a sample.
        walks: Title -> walk, the exact score's first.
        scores: Denoisers of these walks.
    """

    request: TheoryRequest
    law: AnyLaw
    solver: str
    group: int | None
    start: float
    noise: Noise
    walks: dict[str, Walk] = field(default_factory=dict)
    scores: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, request: TheoryRequest) -> Show:
        """Checks that law, noise, solver, score and guidance fit each other.

        Raises:
            BadInput: At the field that does not.
        """
        law = make_law(request.law, request.noise)
        sampling = request.sampling
        solver = solver_name(sampling.solver, law.process, _space(law))
        if request.towards == "none" and sampling.guidance != 1.0:
            raise BadInput(
                "guidance",
                "needs a component to go towards; set towards to first or second, or leave it at 1",
            )
        if not isinstance(law, PlaneLaw):
            if request.score == "learned":
                raise BadInput("score", f"is learned in the plane only; take exact for {request.law}")
            if request.arrows:
                raise BadInput(
                    "arrows", f"can be drawn in the plane only, not for {request.law}; leave them out"
                )
        if request.score == "learned" and request.towards != "none":
            raise BadInput("score", "is learned without components; take exact, or towards none")
        group = GROUPS.get(request.towards)
        return cls(request, law, solver, group, start_of(law), noise_of(sampling, request.samples))

    @property
    def weight(self) -> float:
        """Of the guidance."""
        return self.request.sampling.guidance

    def guided(self, f: Any, run: Run) -> tuple[Any, Counted]:
        """The denoiser that is walked, and what counts its evaluations."""
        outer = counted(f, run)
        if self.group is None:
            return outer, outer
        strong = counted(self.law.given(self.group).denoiser, run)
        if self.weight == 1.0:
            return strong, strong
        weak = Counted(outer.inner, strong.counter)
        return Guided(strong, weak, self.weight), strong


def _space(law: AnyLaw) -> str:
    """The space of a law, in words."""
    if not isinstance(law, TokenLaw):
        return "the plane" if isinstance(law, PlaneLaw) else "rotations"
    stationary = law.process.stationary
    kernel = "absorbing" if 1.0 in stationary else "uniform" if len(set(stationary)) == 1 else "marginal"
    return f"tokens of the {kernel} kernel"


def show_law(request: TheoryRequest, run: Run) -> Result:
    """Walks, draws, measures, writes."""
    show = Show.of(request)
    scores: dict[str, Any] = {"exact score" if request.score == "learned" else "samples": show.law.denoiser}
    seconds_learning = 0.0
    if request.score == "learned":
        assert isinstance(show.law, PlaneLaw)
        began = time.perf_counter()
        watch = _learning_shown(show, show.law, run)
        scores["learned score"] = learn(show.law, request.training, request.sampling.seed, run, watch)
        seconds_learning = time.perf_counter() - began
    for title, f in scores.items():
        show.scores.append(f)
        show.walks[title] = _walk(show, title, f, run)
    run.progress(1, 1, "measuring")
    metrics = _metrics(show)
    if seconds_learning:
        metrics["seconds of learning"] = round(seconds_learning, 2)
    run.progress(1, 1, "drawing")
    figure = _figure(show)
    (run.directory / "plot.json").write_text(
        json.dumps(figure, allow_nan=False, separators=(",", ":")), encoding="utf-8"
    )
    _write_samples(show, run)
    artifacts = [
        Artifact("plot.json", "plot", "Interactive plot"),
        Artifact("samples.csv", "table", "Samples"),
    ]
    return Result(artifacts, metrics, next(iter(show.walks.values())).nfe, _notes(show))


def _learning_shown(show: Show, law: PlaneLaw, run: Run) -> Callable[[Any], None]:
    """Shows both scores over draws at half of the noise, from time to time."""
    t = 0.35 * show.start
    noise = show.noise.at("learning")
    x = law.process.corrupt(law.draw(noise), torch.tensor(t, dtype=torch.float64), noise.at("path"))
    last = time.monotonic()

    def watch(f: Any) -> None:
        nonlocal last
        if time.monotonic() - last > _PREVIEW:
            panels = [Panel("exact score", [x], law.denoiser), Panel("learned score so far", [x], f)]
            run.preview(plane_figure(law, [f"t = {t:.2f}"], [t], panels))
            last = time.monotonic()

    return watch


def _walk(show: Show, title: str, f: Any, run: Run) -> Walk:
    sampling = show.request.sampling
    guided, counter = show.guided(f, run)
    times = grid_of(sampling.grid, show.law.process.schedule, sampling.steps, show.start)
    x = prior_at(show.law, show.start, show.noise.at("prior"))
    walk, resume = Walk(x, [show.start], [x], [0]), None
    if (earlier := run.kept(f"walk, {title}")) is not None:
        walk, resume = Walk(**earlier["walk"]), step_from(earlier["step"])
        counter.counter[0] = walk.nfe
    kept = {round(k * sampling.steps / FRAMES) for k in range(FRAMES)} | {sampling.steps}
    solver = SOLVERS[show.solver].make(sampling.steps)
    field = "guidance" if show.group is not None and show.weight != 1.0 else "solver"
    last, began = 0.0, time.perf_counter()
    for step in walked(guided, solver, x, times, show.noise, field=field, resume=resume):
        walk.seconds += time.perf_counter() - began
        walk.x = step.x
        if step.index in kept:
            walk.times.append(float(step.t))
            walk.states.append(step.x)
            walk.indices.append(step.index)
        walk.nfe = counter.nfe
        run.keep(f"walk, {title}", partial(_walk_kept, walk, step))
        run.progress(step.index, sampling.steps, f"denoising, {title}" if title != "samples" else "denoising")
        if time.monotonic() - last > _PREVIEW:
            show.walks[title] = Walk(step.x, [float(step.t)], [step.x], [step.index])
            run.preview(_figure(show, preview=True))
            last = time.monotonic()
        began = time.perf_counter()
    return walk


def _walk_kept(walk: Walk, step: Step) -> dict[str, Any]:
    return {"walk": vars(walk), "step": step_kept(step)}


def _noising(show: Show) -> tuple[list[str], list[float], list[Tensor]]:
    """Exact draws on their way to noise; with guidance, draws of the tilted law."""
    law, noise = show.law, show.noise.at("noising")
    x0 = _truth(show, noise)
    times = [show.start * k / NOISING for k in range(NOISING)]
    states = [law.process.corrupt(x0, torch.tensor(t, dtype=torch.float64), noise.at("path")) for t in times]
    return [f"noising · t = {t:.2f}" for t in times], times, states


def _truth(show: Show, noise: Noise) -> Tensor:
    """Exact draws of the law that the walk should end on."""
    if show.group is None:
        return show.law.draw(noise)
    if isinstance(show.law, TokenLaw):
        return show.law.tilted(show.group, show.weight).draw(noise)
    return tilted_draws(show.law, show.group, show.weight, noise)


def _figure(show: Show, preview: bool = False) -> dict[str, Any]:
    """All moments; of a preview only the state now."""
    first, steps = next(iter(show.walks.values())), show.request.sampling.steps
    names, times, before = ([], [], []) if preview else _noising(show)
    names = names + [
        f"step {k} of {steps} · t = {t:.2f}" for k, t in zip(first.indices, first.times, strict=True)
    ]
    times = times + first.times
    law = show.law
    if preview:  # the walk that goes on now; others have ended
        latest = list(show.walks.values())[-1]
        names, times = [f"step {latest.indices[-1]}"], [latest.times[-1]]
    states = {
        title: [*before, *(walk.states[-1:] if preview else walk.states)]
        for title, walk in show.walks.items()
    }
    if isinstance(law, PlaneLaw):
        wanted = show.request.arrows or show.request.score == "learned"
        panels = [
            Panel(_titled(show, title), own, show.scores[k] if wanted else None)
            for k, (title, own) in enumerate(states.items())
        ]
        return plane_figure(law, names, times, panels, show.group, show.weight)
    (own,) = states.values()
    if isinstance(law, TokenLaw):
        tilted = law.tilted(show.group, show.weight) if show.group is not None else None
        return token_figure(law, names, times, own, tilted)
    return rotation_figure(law, names, own, _angles(show, law, times), show.group is not None)


def _titled(show: Show, title: str) -> str:
    if show.group is not None:
        return "guided samples" if show.weight != 1.0 else "samples of the component"
    return title


def _angles(show: Show, law: RotationLaw, times: Sequence[float]) -> list[Tensor]:
    if show.group is None:
        return [angle_density(law, t) for t in times]
    noise = Noise.of(show.request.sampling.seed, _TILTED_SHOWN).at("angles")
    x0 = _truth(show, noise)
    return [
        histogram(law, law.process.corrupt(x0, torch.tensor(t, dtype=torch.float64), noise.at("path")))
        for t in times
    ]


def _metrics(show: Show) -> dict[str, float | int | str]:
    """Distance to the law beside that of exact draws of the same number."""
    law, seed = show.law, show.request.sampling.seed
    aim = "exact law" if show.group is None else "exact tilted law"
    metrics: dict[str, float | int | str] = {"solver": SOLVERS[show.solver].title}
    exact = _truth(show, show.noise.at("floor"))
    if isinstance(law, TokenLaw):
        truth = law if show.group is None else law.tilted(show.group, show.weight)
        (walk,) = show.walks.values()
        metrics[f"total variation from the {aim}"] = round(total_variation_at_end(truth, walk.x), 4)
        bias = _bias(show, law, truth)
        if bias is not None:
            metrics["of which the solver's own, without chance"] = round(bias, 6)
        metrics["the same of exact draws"] = round(total_variation_at_end(truth, exact), 4)
    else:
        distance = sliced_wasserstein if isinstance(law, PlaneLaw) else rotation_distance
        unit = "" if isinstance(law, PlaneLaw) else ", rad"
        word = "sliced Wasserstein" if isinstance(law, PlaneLaw) else "Wasserstein of angles"
        reference = _truth(show, Noise.of(seed, REFERENCE).at("reference"))
        for title, walk in show.walks.items():
            who = f", {title}" if len(show.walks) > 1 else ""
            metrics[f"{word} to the {aim}{who}{unit}"] = round(distance(walk.x, reference), 4)
        metrics[f"the same of exact draws{unit}"] = round(distance(exact, reference), 4)
        if isinstance(law, PlaneLaw) and show.group is not None and show.weight != 1.0:
            (walk,) = show.walks.values()
            metrics["spread of the guided samples"] = round(_spread(walk.x), 4)
            metrics["spread of the exact tilted law"] = round(_spread(reference), 4)
    metrics["samples"] = show.request.samples
    metrics["seconds of walking"] = round(sum(walk.seconds for walk in show.walks.values()), 3)
    return metrics


def _spread(x: Tensor) -> float:
    return float(x.var(0).mean().sqrt())


def _bias(show: Show, law: TokenLaw, truth: TokenLaw) -> float | None:
    """Total variation of the law that the walk has, with no number drawn; None where it is not known."""
    from core.exact.chains import law_of_walk, total_variation

    sampling = show.request.sampling
    f: Any = law.denoiser if show.group is None else law.given(show.group).denoiser
    if show.group is not None and show.weight != 1.0:
        f = Guided(f, law.denoiser, show.weight)
    times = grid_of(sampling.grid, law.process.schedule, sampling.steps, show.start)
    if sampling.steps > 200:
        return None
    try:
        walk = law_of_walk(f, SOLVERS[show.solver].make(sampling.steps), times, law.length)
    except TypeError:
        return None
    return total_variation(walk, truth.table)


def _notes(show: Show) -> list[str]:
    notes = []
    if show.group is not None and show.weight != 1.0:
        notes.append(
            "Guidance bends each step; its samples are not draws of p(x | component)^w p(x)^(1 - w), which is shaded "
            "and measured against."
        )
    walks = list(show.walks.values())
    if len(walks) > 1:
        notes.append(f"The network learned from 4,096 draws in {show.request.training} gradient steps.")
    if show.start < 1.0:
        notes.append(f"The walk starts at t = {show.start:.3f}: at t = 1 this schedule has no signal at all.")
    return notes


def _write_samples(show: Show, run: Run) -> None:
    """`walk,sample,…`: coordinates, tokens, or rotation vectors in radians."""
    law = show.law
    if isinstance(law, PlaneLaw):
        head = ["x", "y"]
    else:
        head = (
            [f"token_{k + 1}" for k in range(law.length)] if isinstance(law, TokenLaw) else ["rx", "ry", "rz"]
        )
    with (run.directory / "samples.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["walk", "sample", *head])
        for title, walk in show.walks.items():
            rows = vectors(walk.x) if isinstance(law, RotationLaw) else walk.x
            for k, row in enumerate(rows.tolist()):
                writer.writerow([title, k, *(v if isinstance(v, int) else f"{v:.6g}" for v in row)])
