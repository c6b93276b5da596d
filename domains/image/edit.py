"""`image.edit`: redraw a region, extend a picture, change it by an instruction, or make another like it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.denoiser import Denoiser
from core.noise import Noise
from core.sampling import Counted
from domains.common.errors import BadInput
from domains.common.intake.images import read_image
from domains.common.task import Result, Run
from domains.image.files import from_bytes, to_bytes, write_pictures
from domains.image.framing import Pixels, Window, around, whole
from domains.image.given import known_pixels, source_picture
from domains.image.model import ImageModel, image_model
from domains.image.preview import Watch
from domains.image.prompt_syntax import read_syntax
from domains.image.prompting import prompted
from domains.image.requests import EditRequest
from domains.image.sampling import walk

Mask = NDArray[np.bool_]


def edit(request: EditRequest, run: Run) -> Result:
    """The task `image.edit`: reads picture and mask, draws what is asked for, puts it into the picture."""
    run.progress(0, request.count, "reading the picture")
    read_syntax(request.prompt)
    read_syntax(request.negative_prompt, "negative_prompt")
    model = image_model(request.sampling.model, run.device)
    pixels = _picture(request, model)
    way: Callable[[EditRequest, ImageModel, Pixels, Watch], tuple[list[Pixels], Mask | None, int]]
    way = {"change": _change, "redraw": _redraw, "extend": _extend, "vary": _vary}[request.way]
    pictures, mask, evaluations = way(request, model, pixels, Watch(run, request.count))
    run.progress(1, 1, "writing the pictures")
    artifacts = write_pictures(np.stack(pictures), run.directory)
    metrics: dict[str, float | int | str] = {"pictures": len(pictures)}
    if mask is not None:
        metrics["drawn share"] = round(float(mask.mean()), 4)
    return Result(artifacts, metrics, evaluations, _notes(request, pixels, model))


def _notes(request: EditRequest, pixels: Pixels, model: ImageModel) -> list[str]:
    notes = []
    if max(pixels.shape[:2]) > model.side:
        notes.append(
            f"The model works at {model.side} pixels a side; what it draws is scaled up and finer detail is not there."
        )
    if request.way in ("redraw", "extend"):
        notes.append("Outside the drawn region every pixel is that of the picture, to the bit.")
    return notes


def _picture(request: EditRequest, model: ImageModel) -> Pixels:
    mode = "RGB" if model.channels == 3 else "RGBA"
    return np.asarray(read_image(request.image).convert(mode))


def _mask(request: EditRequest, shape: tuple[int, ...]) -> Mask:
    if request.mask is None:
        raise BadInput(
            "mask", "is needed to redraw a region; draw one, or give a picture that is white there"
        )
    picture = read_image(request.mask, "mask")
    if picture.size != (shape[1], shape[0]):
        raise BadInput(
            "mask",
            f"is {picture.size[0]} × {picture.size[1]} and the picture {shape[1]} × {shape[0]}; make them alike",
        )
    found = np.asarray(picture.convert("L")) > 127
    if not found.any():
        raise BadInput("mask", "is black everywhere; paint white what is to be redrawn")
    return found


def _draw(
    request: EditRequest,
    model: ImageModel,
    watch: Watch,
    given: Tensor | None,
    guess: Tensor | None = None,
) -> tuple[Tensor, int]:
    """Pictures of the request's prompt, with something given or a guess to begin from, one for all."""

    def bound(counter: Counted, index: range, times: Tensor) -> Denoiser:
        also = None if given is None else {"stacked": given.expand(len(index), *given.shape[1:])}
        weight, words = request.sampling.guidance, (request.prompt, request.negative_prompt)
        return prompted(model, *words, weight, len(index), times, counter, also)

    noise = Noise.of(request.sampling.seed, request.count)
    several = None if guess is None else guess.expand(request.count, *guess.shape[1:])
    strength = request.strength if guess is not None else 1.0
    return walk(model, bound, request.sampling, noise, guess=several, strength=strength, report=watch)


def _composed(
    request: EditRequest, model: ImageModel, pixels: Pixels, mask: Mask, window: Window, watch: Watch
) -> tuple[list[Pixels], Mask, int]:
    seen = from_bytes(window.cut(pixels)[None])
    hidden = window.cut_mask(mask)
    given = known_pixels(seen, torch.from_numpy(hidden)[None])
    drawn, evaluations = _draw(request, model, watch, given)
    return [window.put_back(pixels, piece, mask) for piece in to_bytes(drawn)], mask, evaluations


def _redraw(
    request: EditRequest, model: ImageModel, pixels: Pixels, watch: Watch
) -> tuple[list[Pixels], Mask | None, int]:
    mask = _mask(request, pixels.shape)
    return _composed(request, model, pixels, mask, around(mask, model.side), watch)


def _extend(
    request: EditRequest, model: ImageModel, pixels: Pixels, watch: Watch
) -> tuple[list[Pixels], Mask | None, int]:
    height, width = pixels.shape[:2]
    sides = dict.fromkeys(("left", "right", "top", "bottom"), 0)
    for side in request.towards:
        sides[side] = round(request.extend_by * (width if side in ("left", "right") else height))
    if not any(sides.values()):
        raise BadInput("extend_by", "comes to less than a pixel; give more")
    padding = ((sides["top"], sides["bottom"]), (sides["left"], sides["right"]))
    larger = np.pad(pixels, (*padding, (0, 0)), mode="edge")
    mask = np.pad(np.zeros((height, width), bool), padding, constant_values=True)
    return _composed(request, model, larger, mask, whole(mask.shape[0], mask.shape[1], model.side), watch)


def _change(
    request: EditRequest, model: ImageModel, pixels: Pixels, watch: Watch
) -> tuple[list[Pixels], Mask | None, int]:
    window = whole(pixels.shape[0], pixels.shape[1], model.side)
    source = source_picture(from_bytes(window.cut(pixels)[None]))
    return _instead(pixels, window, *_draw(request, model, watch, source))


def _vary(
    request: EditRequest, model: ImageModel, pixels: Pixels, watch: Watch
) -> tuple[list[Pixels], Mask | None, int]:
    window = whole(pixels.shape[0], pixels.shape[1], model.side)
    return _instead(pixels, window, *_draw(request, model, watch, None, from_bytes(window.cut(pixels)[None])))


def _instead(
    pixels: Pixels, window: Window, drawn: Tensor, evaluations: int
) -> tuple[list[Pixels], Mask | None, int]:
    """What was drawn in place of the whole picture."""
    everywhere = np.ones(pixels.shape[:2], bool)
    return [window.put_back(pixels, piece, everywhere) for piece in to_bytes(drawn)], None, evaluations
