"""Editing with a denoiser that was trained for nothing but its data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from core.denoiser import Denoiser
from core.inversion import decode, encode
from core.noise import Noise
from core.sampling import Solver, Step, final, sample
from core.starts import come_closer
from core.state import State


def sdedit(
    f: Denoiser, solver: Solver, guide: State, times: Tensor, start: float, noise: Noise
) -> Iterator[Step]:
    """SDEdit: the guide is corrupted up to `start` and denoised from there (Meng et al. 2022, algorithm 1).

    What is coarser than the noise at `start` is kept, what is finer is the denoiser's.  In every space: on tokens those
    that survive the corruption are kept.

    Args:
        f: The denoiser, conditioned on what is wanted.
        solver: For the way down.
        guide: A sketch, a picture, a sequence: clean data `[batch, ...]`, faithful or not.
        times: The whole decreasing grid `[n]`; only what lies below `start` is walked.
        start: Strength of the edit in (0, 1]; 1 keeps next to nothing.
        noise: One stream a sample.

    Raises:
        ValueError: If `start` is outside (0, 1], or no time of the grid lies below it.
    """
    x, left = come_closer(f.process, guide, start, times, noise.at("guide"))
    return sample(f, solver, x, left, noise)


def translate(source: Denoiser, target: Denoiser, solver: Solver, x0: State, times: Tensor) -> Iterator[Step]:
    """Encodes with one denoiser and decodes with another (Su et al. 2023, dual diffusion implicit bridges).

    With one network under two conditions it is the edit by DDIM inversion; with two networks a translation whose latent
    state keeps what both have in common.  Nothing is drawn.

    Args:
        source: The denoiser of the data's own domain or condition.
        target: The one of the domain or condition that is wanted, with the same prior.
        solver: A deterministic one.
        x0: Clean data `[batch, ...]`.
        times: A decreasing grid `[n]`; the yielded steps are those of the way down.

    Raises:
        ValueError: If the times do not decrease.
    """
    latent: Any = final(encode(source, solver, x0, times)).x
    return decode(target, solver, latent, times)
