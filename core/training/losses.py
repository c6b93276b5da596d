"""Losses: the divergence of a prediction from its target, weighted by the clock, at random times."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from core.denoiser import Denoiser
from core.noise import Noise
from core.process import Process
from core.state import State, batch_size, part

Weighting: TypeAlias = Callable[[Tensor], Tensor]
Times: TypeAlias = Callable[[Noise, int], Tensor]


def simple(log_snr: Tensor) -> Tensor:
    """SNR: the mean squared error of the noise (Ho et al. 2020, eq. 14)."""
    return torch.exp(2 * log_snr)


def truncated_snr(log_snr: Tensor) -> Tensor:
    """max(SNR, 1) (Salimans & Ho 2022, eq. 9)."""
    return torch.exp(2 * log_snr).clamp_min(1.0)


def min_snr(log_snr: Tensor, gamma: float = 5.0) -> Tensor:
    """min(SNR, gamma) (Hang et al. 2023, eq. 7, for x0-prediction)."""
    return torch.exp(2 * log_snr).clamp_max(gamma)


def edm(log_snr: Tensor, data_std: float = 1.0) -> Tensor:
    """(sigma^2 + data_std^2) / (sigma data_std)^2 at alpha = 1 (Karras et al. 2022, table 1).

    At unit data_std it is SNR + 1, the mean squared error of v: `Preconditioned`'s raw output has unit variance.
    """
    return torch.exp(2 * log_snr) + 1 / data_std**2


def constant(log_snr: Tensor) -> Tensor:
    """One: the divergence itself, as tokens want."""
    return torch.ones_like(log_snr)


def uniform_times(noise: Noise, count: int) -> Tensor:
    """Times evenly spread over (0, 1) by one shared shift, `[count]` float64: less variance than independent draws.

    Their order is shuffled, so that times and samples are independent (Kingma et al. 2021, appendix I.1).
    """
    generator = noise.shared()
    spread = (generator.permutation(count) + generator.random()) / count
    return torch.from_numpy(spread).clamp(1e-4, 1.0)


def logit_normal_times(noise: Noise, count: int, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Times whose logit is normal (Esser et al. 2024, eq. 19), stratified like `uniform_times`."""
    u = uniform_times(noise, count).clamp(1e-6, 1 - 1e-6)
    return torch.sigmoid(mean + std * math.sqrt(2) * torch.erfinv(2 * u - 1)).clamp(1e-4, 1.0)


def denoising_loss(
    f: Denoiser, x0: State, noise: Noise, times: Times = uniform_times, weighting: Weighting = edm
) -> Tensor:
    """Corrupts clean data at random times and measures the prediction, `[batch]`.

    Args:
        f: The denoiser in training, with its condition bound.
        x0: Clean data `[batch, ...]`.
        noise: One stream a sample.
        times: Draws a time a sample.
        weighting: Of the clock log(alpha / sigma); of a product's parts only smooth ones are weighted.
    """
    t = times(noise.at("time"), batch_size(x0))
    process = f.process
    x = process.corrupt(x0, t, noise.at("corrupt"))
    return _weighted(process, x, process.target(x0, x, t), f(x, t), t, weighting)


def _weighted(process: Process, x: Any, p: Any, q: Any, t: Any, weighting: Weighting) -> Tensor:
    if isinstance(process.smooth, dict):
        parts: Any = process
        pieces = [
            (parts.weights or {}).get(name, 1.0)
            * _weighted(inner, x[name], p[name], q[name], part(t, name), weighting)
            for name, inner in parts.parts.items()
        ]
        return torch.stack(pieces).sum(0)
    loss = process.divergence(x, p, q)
    if not process.smooth:
        return loss
    return weighting(process.log_snr(t)).to(loss) * loss
