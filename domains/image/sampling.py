"""From prompts to pictures in [-1, 1]: the core's loop with guidance, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.denoiser import Denoiser
from core.guidance.classifier_free import Guided
from core.noise import Noise
from core.sampling import Counted, sample
from core.starts import come_closer
from domains.common.sampling import walk_of
from domains.common.task import Sampling
from domains.image.model import ImageModel

AT_ONCE = (
    16  # pictures in a batch of the network's; more go no faster on a CPU, and cancelling waits for a step
)

# (counted denoiser of the model, which pictures, the grid) -> what is walked.
Bound = Callable[[Counted, range, Tensor], Denoiser]


@dataclass(frozen=True)
class Variation:
    """Another noise mixed into the prior's, which moves a picture towards a neighbour (spherical interpolation).

    Attributes:
        noise: The other one's streams.
        strength: 0 is the picture itself, 1 the other one.
    """

    noise: Noise
    strength: float


def prior_noise(like: Tensor, noise: Noise, variation: Variation | None, index: range) -> Tensor:
    """Standard normal numbers like `like`, or those of a variation."""
    z = noise.at("prior").normal(like)
    if variation is None or variation.strength == 0:
        return z
    other = variation.noise.take(index).at("prior").normal(like)
    a, b = z.flatten(1), other.flatten(1)
    cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    angle = cosine.clamp(-1, 1).acos()[:, None, None, None]
    s = variation.strength
    return ((1 - s) * angle).sin() / angle.sin() * z + (s * angle).sin() / angle.sin() * other


def walk(
    model: ImageModel,
    bound: Bound,
    sampling: Sampling,
    noise: Noise,
    *,
    size: tuple[int, int] | None = None,
    variation: Variation | None = None,
    guess: Tensor | None = None,
    strength: float = 1.0,
    report: Callable[[int, int, range, Tensor], None] | None = None,
) -> tuple[Tensor, int]:
    """Pictures `[n, channels, height, width]`, and the denoiser evaluations that each took.

    Args:
        model: On its device.
        bound: Gives the denoiser of each batch.
        sampling: Solver and steps.
        noise: One stream a picture.
        size: Height and width; the model's own if None.
        variation: Of the prior's noise.
        guess: Clean pictures to begin from, `[n, channels, height, width]`; None begins in pure noise.
        strength: How far a guess is corrupted, in (0, 1].
        report: Called after each step with (step, steps, which pictures, their predictions); may raise to stop.
    """
    device = next(model.network.parameters()).device
    height, width = size or (model.side, model.side)
    pieces, most = [], 0
    for low in range(0, len(noise), AT_ONCE):
        index = range(low, min(len(noise), low + AT_ONCE))
        mine = noise.take(index)
        # In float32 on a CPU: half precision rounds differently from one size of batch to another.
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu"),
        ):
            counter = Counted(model.denoiser)
            process = model.denoiser.process
            solver, times = walk_of(sampling, process, model.card)
            if guess is None:
                like = torch.empty(len(index), model.channels, height, width, device=device)
                x = prior_noise(like, mine, variation, index) * process.schedule(times[0])[1].to(like)
            else:
                begun = guess[index.start : index.stop].to(device)
                x, times = come_closer(process, begun, strength, times, mine.at("guess"))
            f = bound(counter, index, times)
            for step in sample(f, solver, x, times, mine):
                x = step.x
                if report is not None:
                    report(step.index, len(times) - 1, index, step.prediction)
        pieces.append(x.float().cpu())
        most = max(most, counter.nfe)
    return torch.cat(pieces), most


def draw(
    model: ImageModel, prompts: Sequence[str], sampling: Sampling, noise: Noise, against: str = ""
) -> tuple[Tensor, int]:
    """Pictures of plain prompts, one each, with the request's guidance; see `walk`.

    Args:
        model: On its device.
        prompts: One a picture, taken as they stand.
        sampling: Solver, steps and guidance.
        noise: One stream a picture.
        against: What to guide away from; empty is the unconditional branch.
    """

    def bound(counter: Counted, index: range, times: Tensor) -> Denoiser:
        told, untold = model.told([prompts[i] for i in index], [against] * len(index))
        return Guided(counter.given(told), counter.given(untold), sampling.guidance)

    return walk(model, bound, sampling, noise)
