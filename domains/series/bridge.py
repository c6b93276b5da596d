"""Estimates from neighbours in time: lines between them, smoothers over them, and how wrong these are."""

from __future__ import annotations

import torch
from torch import Tensor

# Variance (in units of a column's own) given to an observed value: rounding, and a floor for the arithmetic.
OBSERVED_VARIANCE = 1e-4


def interpolate(y: Tensor, observed: Tensor, apart: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Linear interpolation between observed neighbours at least `apart` rows away, and the rows to each of them.

    Constant past the ends and 0 where nothing is observed; with `apart` 1 an observed value does not see itself.
    """
    n = y.shape[-1]
    position = torch.arange(n, device=y.device).expand(y.shape)
    left = torch.where(observed, position, -1).cummax(-1).values
    right = torch.where(observed, position, n).flip(-1).cummin(-1).values.flip(-1)
    if apart:
        left = torch.nn.functional.pad(left, (apart, 0), value=-1)[..., :n]
        right = torch.nn.functional.pad(right, (0, apart), value=n)[..., apart:]
    has_left, has_right = left >= 0, right < n
    low, high = y.gather(-1, left.clamp_min(0)), y.gather(-1, right.clamp_max(n - 1))
    before = torch.where(has_left, position - left, n).to(y.dtype)
    after = torch.where(has_right, right - position, n).to(y.dtype)
    inner = low + (high - low) * (before / (before + after).clamp_min(1))
    line = torch.where(
        has_left & has_right, inner, torch.where(has_left, low, torch.where(has_right, high, 0.0))
    )
    return line, before, after


def _span(before: Tensor, after: Tensor, n: int) -> Tensor:
    """Rows a random walk's bridge is free for: its variance a row times this is that of its error."""
    both = (before < n) & (after < n)
    return torch.where(both, before * after / (before + after).clamp_min(1), torch.minimum(before, after))


SMOOTHERS = (0.8, 2.0, 5.0, 14.0)  # rows over which a smoother's weights fall by e


def _smooth(y: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of neighbours with weights that fall exponentially, an observed value not seeing itself.

    Of four widths the one with the smallest error on observed values is taken, column by column.  Returns the estimate
    and the sum of weights behind it.
    """
    b, c, n = y.shape
    reach = min(64, n - 1)
    away = torch.arange(-reach, reach + 1, device=y.device, dtype=y.dtype).abs()
    kernels = torch.stack([torch.exp(-away / width) * (away > 0) for width in SMOOTHERS])[:, None]
    both = torch.stack([y * mask, mask]).reshape(2 * b * c, 1, n)
    total, weight = torch.nn.functional.conv1d(both, kernels, padding=reach).reshape(2, b, c, -1, n).unbind(0)
    guess = total / weight.clamp_min(1e-9)
    error = (mask[:, :, None] * (y[:, :, None] - guess).square()).sum(-1)
    best = error.argmin(-1)[..., None, None].expand(b, c, 1, n)
    return guess.gather(2, best)[:, :, 0], weight.gather(2, best)[:, :, 0]


def better_share(mask: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The share of the second of two estimates that makes the squared error on observed entries smallest, in [0, 1].

    Args:
        mask: 1 where the errors count.
        first, second: Errors of the two estimates.
    """
    apart = first - second
    gain = (mask * first * apart).sum(-1, keepdim=True)
    return (gain / (mask * apart.square()).sum(-1, keepdim=True).clamp_min(1e-9)).clamp(0, 1)


def bridge_estimate(
    y: Tensor, observed: Tensor, pattern: Tensor, ceiling: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The estimate from neighbours in time, made on what the season's pattern leaves over.

    A line between the nearest observed values and a smoother are mixed as serves observed values best.  The error's
    variance grows with the gap as a random walk's that reverts to its mean; its slope is fitted to observed values that
    are estimated without themselves, and `ceiling`, the variance of the seasonal estimate's error, bounds it.

    Returns the estimate, its variance, and the rows to the neighbours on both sides, `[batch, columns, context]`.
    """
    n = y.shape[-1]
    rest = torch.where(observed, y - pattern, 0.0)
    line, before, after = interpolate(rest, observed)
    blind, b, a = interpolate(rest, observed, apart=1)
    mask = (observed & (b < n) & (a < n)).to(y.dtype)
    smooth, weight = _smooth(rest, observed.to(y.dtype))
    share = better_share(mask, rest - blind, rest - smooth)
    # Far from any observed value a smoother's weights are those of its tails: the line is as good and is kept.
    near = share * (weight / (weight + 0.1))
    estimate = line + near * (smooth - line)
    error = rest - blind - share * (smooth - blind)
    span = _span(b, a, n)
    trust = mask / span.clamp_min(0.5).sqrt()  # close neighbours say most of the short range
    slope = (trust * error.square() / span.clamp_min(0.5)).sum(-1, keepdim=True) + 0.02
    slope = slope / (trust.sum(-1, keepdim=True) + 0.2)
    walked = slope * _span(before, after, n)
    top = 1.3 * ceiling
    variance = top * (1 - torch.exp(-walked / top)) + OBSERVED_VARIANCE
    return torch.where(observed, y, estimate + pattern), variance, before, after
