"""The Fréchet distance of two samples' features, each taken as a normal law."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Fréchet distance of two normal laws with the moments of the samples (Dowson & Landau 1982).

    |mean_a - mean_b|^2 + tr(C_a) + tr(C_b) - 2 tr((C_a^1/2 C_b C_a^1/2)^1/2), the form that Heusel et al. (2017) apply
    to features of pictures.  It is biased upwards by the number of samples, so compare at equal numbers, and beside
    the distance of two samples of the true law.

    Args:
        a, b: Features `[n, k]` and `[m, k]`; worked on in float64.

    Returns:
        The distance, in squared units of the features; at least 0.

    Raises:
        ValueError: If there are fewer than two rows, the widths differ, or a feature is not finite.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"features are [n, k] and [m, k], not {list(a.shape)} and {list(b.shape)}")
    if min(len(a), len(b)) < 2:
        raise ValueError("a covariance needs at least two rows")
    if not (bool(a.isfinite().all()) and bool(b.isfinite().all())):
        raise ValueError("a feature is not finite")
    a, b = a.double(), b.double()
    one, other = _covariance(a), _covariance(b)
    values, vectors = torch.linalg.eigh(one)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.mT
    cross = torch.linalg.eigvalsh(root @ other @ root).clamp_min(0).sqrt().sum()
    means = (a.mean(0) - b.mean(0)).square().sum()
    return float((means + one.trace() + other.trace() - 2 * cross).clamp_min(0))


def _covariance(a: Tensor) -> Tensor:
    centred = a - a.mean(0)
    return centred.mT @ centred / (len(a) - 1)
