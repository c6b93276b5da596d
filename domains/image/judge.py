"""Judging a text-to-image model of scenes: what its pictures show of what their prompts assert."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.noise import Noise
from domains.common.task import Sampling
from domains.image.files import contact_sheet, to_bytes
from domains.image.model import ImageModel
from domains.image.sampling import draw
from domains.image.scenes.assertions import Asserted, Score
from domains.image.scenes.scorer import Scorer


def rates(scores: Sequence[Score]) -> dict[str, float]:
    """Shares of hits: of attributes, of objects with both their colour and their shape, of relations, and counts.

    A share of nothing is NaN.
    """

    def share(hits: list[bool]) -> float:
        return float(np.mean(hits)) if hits else float("nan")

    return {
        "attributes": share([hit for s in scores for hit in s.attributes.values()]),
        "binding": share([hit for s in scores for hit in s.bound]),
        "relations": share([hit for s in scores for hit in s.relations]),
        "count": share([s.count for s in scores]),
        "everything": share([s.all for s in scores]),
    }


def judge(
    model: ImageModel,
    scorer: Scorer,
    prompts: Sequence[str],
    asserted: Sequence[Asserted],
    sampling: Sampling,
    sheet: Path | None = None,
) -> dict[str, float]:
    """Draws a picture of each prompt and scores it.

    Args:
        model: To be judged.
        scorer: That reads the pictures.
        prompts: What is asked for.
        asserted: What each prompt asserts.
        sampling: How to draw; its seed addresses the noise.
        sheet: Where to leave the first pictures with their prompts.
    """
    images, _ = draw(model, prompts, sampling, Noise.of(sampling.seed, len(prompts)))
    if sheet is not None:
        contact_sheet(to_bytes(images[:24]), prompts[:24], sheet)
    return rates(scorer.score(images[:, :3], asserted))
