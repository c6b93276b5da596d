"""`launch.py eval image.generate`: what pictures of unseen prompts show, read by the scorer, beside trivial rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from core.noise import Noise
from domains.common.errors import BadInput
from domains.common.evaluation_table import EvaluationTable, Metric
from domains.image.judge import rates
from domains.image.model import ImageModel, image_model
from domains.image.requests import ImageSampling
from domains.image.sampling import draw
from domains.image.scenes.assertions import Asserted, Found, Score, judge, true_findings
from domains.image.scenes.render import render
from domains.image.scenes.sampler import Kind, draw_scenes
from domains.image.scenes.scorer import Scorer, builtin_scorer
from domains.image.scenes.unseen import unseen_prompts
from domains.image.scenes.words import Language

Progress = Callable[..., None]
OURS, SHUFFLED, REAL, NEAREST = (
    "Langevin",
    "Langevin, captions shuffled",
    "real pictures",
    "nearest of training",
)
KINDS: dict[str, Kind] = {
    "one object": "single",
    "two objects": "binding",
    "relation": "relation",
    "up to three": "any",
    "pairs never trained": "held-out",
}
LANGUAGES: dict[str, Language] = {"English": "en", "Chinese": "zh"}
METRICS = (
    Metric("attributes", "higher"),
    Metric("binding", "higher"),
    Metric("relations", "higher"),
    Metric("count", "higher"),
    Metric("everything", "higher"),
    Metric("seconds", compared=False, digits=2),
)
_PROMPTS, _QUICK = 100, 16  # a kind
_KEPT = 300  # training pictures that the nearest one is looked for in


def evaluate_generate(
    data: Path | None = None,
    *,
    model: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    quick: bool = False,
    progress: Progress | None = None,
) -> EvaluationTable:
    """The table of `image.generate`.

    Args:
        data: None; prompts and true pictures are made.
        model: Name or folder of the model; the task's own where None.
        seeds: Of the noise, one run each.
        quick: One seed, few prompts.
        progress: Called with `(done, total, message)`; what it raises stops the evaluation.

    Raises:
        BadInput: If data is given, or a model is not there.
    """
    if data is not None:
        raise BadInput("data", "the prompts are made by the evaluation; leave --data out")
    judged, scorer = image_model(model), builtin_scorer()
    count, seeds = (_QUICK, seeds[:1]) if quick else (_PROMPTS, seeds)
    sampling = ImageSampling()
    table = EvaluationTable(
        "image.generate",
        "Pictures of prompts never seen, read by a classifier that was trained on true pictures",
        METRICS,
        ours=(OURS,),
        references=(SHUFFLED, REAL),
        notes=[
            f"{count} prompts in each column, {sampling.steps} steps of {sampling.solver}, guidance "
            f"{sampling.guidance:g}; Chinese columns ask for what the English ones ask for.",
            "Attributes: named colours and shapes that an object shows. Binding: objects that have both their colour "
            "and their shape. Relations: those that hold. Everything: prompts of which every assertion holds.",
            f"{SHUFFLED}: the same pictures held against the next prompt of the column: what is right by chance.",
            f"{REAL}: the scene that the prompt was written for, rendered: where the reader itself errs.",
            f"{NEAREST}: of {_KEPT} training pictures the one that fits a prompt best.",
            "Seconds: of a processor, for one picture.",
        ],
        command="python launch.py eval image.generate" + (" --quick" if quick else ""),
    )
    kept = draw_scenes(0, _KEPT)
    shelf = true_findings(kept, render(kept))
    columns = [(language, kind) for language in LANGUAGES for kind in KINDS]
    for k, (language, kind) in enumerate(columns):
        chosen = unseen_prompts(KINDS[kind], count)
        prompts, asserted = chosen.words(LANGUAGES[language]), chosen.asserted
        setting = f"{language}, {kind}"
        for n, seed in enumerate(seeds):
            if progress is not None:
                progress(k * len(seeds) + n, len(columns) * len(seeds), f"{setting}, seed {seed}")
            own, chance, seconds = _drawn(
                judged, scorer, prompts, asserted, sampling.model_copy(update={"seed": seed})
            )
            table.add(OURS, setting, seed, {**rates(own), "seconds": seconds})
            table.add(SHUFFLED, setting, seed, {**rates(chance), "seconds": seconds})
        true = scorer.score(chosen.images, asserted)
        table.add(REAL, setting, 0, {**rates(true), "seconds": float("nan")})
        fitting = [max((judge(found, a) for found in shelf), key=_fit) for a in asserted]
        table.add(NEAREST, setting, 0, {**rates(fitting), "seconds": float("nan")})
    if progress is not None:
        progress(1, 1, "done")
    return table


def _fit(score: Score) -> tuple[int, int]:
    return sum(score.hits), sum(score.bound)


def _drawn(
    model: ImageModel,
    scorer: Scorer,
    prompts: Sequence[str],
    asserted: Sequence[Asserted],
    sampling: ImageSampling,
) -> tuple[list[Score], list[Score], float]:
    """Scores against the own prompts and against the next one's, and processor seconds a picture."""
    begun = time.process_time()
    images, _ = draw(model, prompts, sampling, Noise.of(sampling.seed, len(prompts)))
    seconds = (time.process_time() - begun) / len(prompts)
    found: list[Found] = scorer.read(images[:, :3])
    own = [judge(f, a) for f, a in zip(found, asserted, strict=True)]
    return own, [judge(f, a) for f, a in zip(found, [*asserted[1:], asserted[0]], strict=True)], seconds
