"""Judging a text-to-image model of scenes: what its pictures show of what their prompts assert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.noise import Noise
from domains.common.task import Sampling
from domains.image.files import contact_sheet, to_bytes
from domains.image.model import ImageModel
from domains.image.sampling import draw
from domains.image.scenes.assertions import Asserted, Score
from domains.image.scenes.captions import CORE, write_captions
from domains.image.scenes.render import render
from domains.image.scenes.sampler import Kind, Split, draw_scenes
from domains.image.scenes.scorer import Scorer
from domains.image.scenes.words import Language


@dataclass(frozen=True)
class Prompt:
    """What is asked for, what that asserts, and the true picture that it was written for.

    Attributes:
        text: The prompt.
        asserted: Its assertions.
        truth: uint8 `[3, side, side]`.
    """

    text: str
    asserted: Asserted
    truth: Tensor


def unseen_prompts(
    count: int, kind: Kind, language: Language = "en", split: Split = "test", seed: int = 20_26
) -> list[Prompt]:
    """Prompts of scenes that no training saw; the two languages ask for the same.

    Args:
        count: How many.
        kind: Of scenes; see `draw_scenes`.
        language: `en` or `zh`.
        split: `val` while training, `test` for tables.
        seed: Of scenes and words.
    """
    scenes = draw_scenes(seed, count, split, kind)
    rendered = render(scenes)
    captions = write_captions(scenes, rendered, seed, language, CORE)
    images = torch.from_numpy(rendered.images)
    return [Prompt(c.text, c.asserted, image) for c, image in zip(captions, images, strict=True)]


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
    prompts: Sequence[Prompt],
    sampling: Sampling,
    sheet: Path | None = None,
) -> dict[str, float]:
    """Draws a picture of each prompt and scores it.

    Args:
        model: To be judged.
        scorer: That reads the pictures.
        prompts: What is asked for.
        sampling: How to draw; its seed addresses the noise.
        sheet: Where to leave the first pictures with their prompts.
    """
    images, _ = draw(model, [p.text for p in prompts], sampling, Noise.of(sampling.seed, len(prompts)))
    if sheet is not None:
        shown = to_bytes(images[:24])
        contact_sheet(shown, [p.text for p in prompts[:24]], sheet)
    return rates(scorer.score(images[:, :3], [p.asserted for p in prompts]))
