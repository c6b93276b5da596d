"""`image.generate`: from a prompt to pictures."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from core.denoiser import Denoiser
from core.noise import Noise
from core.sampling import Counted
from domains.common.errors import BadInput
from domains.common.task import Result, Run
from domains.image.files import to_bytes, write_pictures
from domains.image.model import ImageModel, image_model
from domains.image.preview import Watch
from domains.image.prompt_syntax import read_syntax
from domains.image.prompting import prompted
from domains.image.requests import GenerateRequest
from domains.image.sampling import Bound, Variation, walk
from domains.image.styles import styled


def generate(request: GenerateRequest, run: Run) -> Result:
    """The task `image.generate`: reads the prompt, draws, draws again larger where asked, writes pictures."""
    run.progress(0, request.count, "reading the prompt")
    prompt, negative = styled(request.prompt, request.negative_prompt, request.style)
    read_syntax(prompt)
    read_syntax(negative, "negative_prompt")
    sampling = request.sampling
    model = image_model(sampling.model, run.device)
    width, height = request.width or model.side, request.height or model.side
    noise = Noise.of(sampling.seed, request.count)
    variation = None
    if request.variation_seed is not None:
        variation = Variation(Noise.of(request.variation_seed, request.count), request.variation_strength)
    notes = []
    if request.variation_seed is None and request.variation_strength:
        raise BadInput("variation_seed", "is needed where a variation_strength is given")

    def bound(counter: Counted, index: range, times: Tensor) -> Denoiser:
        return prompted(model, prompt, negative, sampling.guidance, len(index), times, counter)

    watch = Watch(run, request.count * (2 if request.enlarge > 1 else 1))
    images, evaluations = walk(
        model, bound, sampling, noise, size=(height, width), variation=variation, report=watch
    )
    if request.enlarge > 1:
        images, more = _again(
            model, images, request, bound, noise, Watch(run, 2 * request.count, request.count)
        )
        evaluations += more
    if (width, height) != (model.side, model.side) or request.enlarge > 1:
        notes.append(
            f"The model was trained on pictures of {model.side} pixels; at other sizes it may repeat itself."
        )
    run.progress(1, 1, "writing the pictures")
    pixels = to_bytes(images)
    artifacts = write_pictures(pixels, run.directory)
    metrics = {"pictures": len(pixels), "width": pixels.shape[2], "height": pixels.shape[1]}
    return Result(artifacts, dict(metrics), evaluations, notes)


def _again(
    model: ImageModel, images: Tensor, request: GenerateRequest, bound: Bound, noise: Noise, watch: Watch
) -> tuple[Tensor, int]:
    """The second pass: enlarged, noised again part of the way, denoised at the larger size."""
    height, width = (round(side * request.enlarge / 8) * 8 for side in images.shape[2:])
    larger = functional.interpolate(images, size=(height, width), mode="bicubic", antialias=True).clamp(-1, 1)
    return walk(
        model,
        bound,
        request.sampling,
        noise.at("enlarged"),
        guess=larger,
        strength=request.enlarge_strength,
        report=watch,
    )
