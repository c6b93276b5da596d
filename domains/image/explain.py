"""`image.explain`: how a picture came about, step by step, and where each word was looked up."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from core.denoiser import Denoiser
from core.networks.attention_maps import AttentionMaps
from core.noise import Noise
from core.sampling import Counted
from domains.common.errors import BadInput
from domains.common.task import Artifact, Result, Run
from domains.image.files import contact_sheet, to_bytes, write_png
from domains.image.model import image_model
from domains.image.preview import Watch
from domains.image.prompt_syntax import read_syntax
from domains.image.prompting import prompted
from domains.image.requests import ExplainRequest
from domains.image.sampling import walk

_WORD = re.compile(r"[A-Za-z0-9'-]+|[^\x00-\x7f]")  # a Latin word, or a character of another script
_SCALE = 4  # of the film
_LAST = 8  # frames that the finished picture stays


def explain(request: ExplainRequest, run: Run) -> Result:
    """The task `image.explain`: draws one picture, films its predictions, and maps the words."""
    run.progress(0, 1, "reading the prompt")
    stages = read_syntax(request.prompt)
    if len(stages) > 1:
        raise BadInput(
            "prompt", "changes on the way, so its words have no one map; write it without [a:b:share]"
        )
    text = stages[0].text
    model = image_model(request.sampling.model, run.device)
    predictions: list[NDArray[np.uint8]] = []
    watch = Watch(run, 1)

    def report(step: int, steps: int, index: range, prediction: Tensor) -> None:
        predictions.append(to_bytes(prediction)[0])
        watch(step, steps, index, prediction)

    def bound(counter: Counted, index: range, times: Tensor) -> Denoiser:
        return prompted(model, request.prompt, "", request.sampling.guidance, len(index), times, counter)

    with AttentionMaps(model.network) as gathered:
        images, evaluations = walk(
            model, bound, request.sampling, Noise.of(request.sampling.seed, 1), report=report
        )
    run.progress(1, 1, "writing the film")
    picture = to_bytes(images)[0]
    write_png(picture, run.directory / "image_001.png")
    _write_film([*predictions, picture], run.directory / "film.gif")
    artifacts = [
        Artifact("image_001.png", "image", "Picture"),
        Artifact("film.gif", "image", "What the model took the picture for, step by step"),
    ]
    words = word_spans(text)
    if words:
        # The first row is the branch that was told; the other one reads the empty text.
        maps = word_maps(list(gathered.maps.values())[-1][0], words, model.side)
        shown = np.stack([picture[..., :3], *(_glowing(picture[..., :3], m) for m in maps.numpy())])
        contact_sheet(shown, ["the picture", *(word for word, _ in words)], run.directory / "words.png")
        artifacts.append(Artifact("words.png", "figure", "Where each word was looked up"))
    return Result(artifacts, {"words": len(words), "frames": len(predictions)}, evaluations)


def word_spans(text: str) -> list[tuple[str, slice]]:
    """Each word with the tokens of `core.networks.text_encoder.text_tokens` that spell it."""
    spans = []
    for found in _WORD.finditer(text):
        first = 1 + len(text[: found.start()].encode("utf-8"))  # the first token is the start
        spans.append((found.group(), slice(first, first + len(found.group().encode("utf-8")))))
    return spans


def word_maps(weights: Tensor, words: list[tuple[str, slice]], side: int) -> Tensor:
    """Where each word was looked up, `[words, side, side]` in [0, 1], each at its own scale.

    Args:
        weights: `[places, tokens]`, places of a square grid row by row.
        words: See `word_spans`; of one that was cut off the map is 0.
        side: Of the picture.
    """
    grid = math.isqrt(len(weights))
    rows = [weights[:, tokens].sum(-1) for _, tokens in words]
    coarse = torch.stack(rows).reshape(len(words), 1, grid, grid).float().cpu()
    low, high = coarse.amin((2, 3), keepdim=True), coarse.amax((2, 3), keepdim=True)
    scaled = torch.where(high > low, (coarse - low) / (high - low).clamp_min(1e-12), torch.zeros_like(coarse))
    return functional.interpolate(scaled, size=(side, side), mode="nearest-exact")[:, 0]


def _glowing(picture: NDArray[np.uint8], strength: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The picture in grey, warm where `strength` is high."""
    grey = picture.astype(np.float32).mean(-1, keepdims=True) * 0.6 + 60
    warm = np.array([255, 120, 20], np.float32)
    mixed = grey * (1 - strength[..., None]) + warm * strength[..., None]
    return mixed.clip(0, 255).astype(np.uint8)


def _write_film(frames: list[NDArray[np.uint8]], path: Path) -> None:
    pictures = [
        Image.fromarray(frame[..., :3]).resize(
            (frame.shape[1] * _SCALE, frame.shape[0] * _SCALE), Image.Resampling.NEAREST
        )
        for frame in [*frames, *[frames[-1]] * _LAST]
    ]
    pictures[0].save(path, format="GIF", save_all=True, append_images=pictures[1:], duration=120, loop=0)
