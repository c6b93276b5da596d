"""Seasons of tables with gaps: finding their period, and what they say of a missing value."""

from __future__ import annotations

import torch
from torch import Tensor

from domains.series.bridge import better_share, interpolate


def find_season(y: Tensor, mask: Tensor, longest: int | None = None) -> tuple[Tensor, Tensor]:
    """The period at whose multiples the autocorrelation is highest and between whose multiples it is lowest.

    A comb over up to four seasons is compared with the comb halfway between; a season's multiples score low by it.
    Columns vote for each other's periods, the more so the fewer pairs of values a column has.

    Args:
        y: `[batch, columns, rows]`, normalised, 0 where missing.
        mask: 1 where observed.
        longest: Largest lag to consider; half the rows by default.

    Returns:
        Lags (int64, at least 3) and strengths, 0 to 1, `[batch, columns, 1]`.
    """
    n = y.shape[-1]
    size, top = 2 * n, n // 2
    longest = min(top, longest or top)
    power = torch.fft.irfft(torch.fft.rfft(y * mask, size).abs().square(), size)[..., : top + 1]
    pairs = torch.fft.irfft(torch.fft.rfft(mask, size).abs().square(), size)[..., : top + 1].clamp_min(0)
    variance = (power[..., :1] / pairs[..., :1].clamp_min(1)).clamp_min(1e-3)
    pooled = (power / variance).sum(1, keepdim=True)
    pooled_pairs = pairs.sum(1, keepdim=True)
    own = power / variance / (pairs + 2.0)
    shared = pooled / (pooled_pairs + 2.0)
    trust = pairs / (pairs + 60.0)
    lag = torch.arange(3, max(3, longest + 1), device=y.device)
    if len(lag) == 0:
        return torch.full_like(mask[..., :1], 3, dtype=torch.int64), torch.zeros_like(mask[..., :1])
    strength = _comb(trust * own + (1 - trust) * shared, lag) + 0.5 * _comb(shared, lag)
    score = strength - 0.3 * lag / min(n, 2 * longest)
    near_best = score >= 0.8 * score.amax(-1, keepdim=True).clamp_min(1e-3)
    best = near_best.to(torch.uint8).argmax(-1, keepdim=True)
    return lag[best], (strength / 1.5).gather(-1, best).clamp(0, 1)


def _comb(autocorrelation: Tensor, lag: Tensor) -> Tensor:
    """Mean at the first multiples of each lag less the mean halfway before and after them, `[..., lags]`.

    Taking both sides leaves a slow decline of the autocorrelation no score.
    """
    top = autocorrelation.shape[-1] - 1
    total = torch.zeros_like(autocorrelation[..., : len(lag)])
    count = torch.zeros(len(lag), device=lag.device)
    for k in range(1, 5):
        on, before, after = k * lag, (2 * k - 1) * lag // 2, ((2 * k + 1) * lag + 1) // 2
        inside = (after <= top).to(total.dtype)
        peak, low, high = (autocorrelation[..., i.clamp_max(top)] for i in (on, before, after))
        total = total + inside * (peak - (low + high) / 2)
        count = count + inside
    return total / count.clamp_min(1)


def season_estimate(y: Tensor, mask: Tensor, period: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Local level, seasonal pattern around it, and the variance of their sum's error, `[batch, columns, context]`.

    The pattern at a row is a mean over the same phase of other seasons, never of its own: near seasons alone, or many
    seasons and neighbouring phases, mixed as serves observed values best, and shrunk by how well it explains them.
    """
    everywhere = torch.arange(y.shape[-1], device=y.device).expand(y.shape)
    level = _local_level(y, mask, period, everywhere)
    rest = (y - level) * mask
    near, _ = _other_seasons(rest, mask, period, 0.55)
    kernel = torch.tensor([[[0.5, 1.0, 0.5]]], device=y.device, dtype=y.dtype)

    def blur(v: Tensor) -> Tensor:
        return torch.nn.functional.conv1d(v.flatten(0, 1)[:, None], kernel, padding=1)[:, 0].unflatten(
            0, v.shape[:2]
        )

    many, weight = _other_seasons(blur(rest), blur(mask), period, 0.93)
    counted = mask * (weight > 0.5)
    share = better_share(counted, rest - near, rest - many)
    pattern = near + share * (many - near)
    fit = (counted * rest * pattern).sum(-1, keepdim=True)
    pattern = pattern * (fit / ((counted * pattern.square()).sum(-1, keepdim=True) + 1e-6)).clamp(0, 1)
    error = (counted * (rest - pattern).square()).sum(-1, keepdim=True) + 2.0
    typical = error / (counted.sum(-1, keepdim=True) + 2.0)
    return level, pattern, typical * (1 + 0.3 / (weight + 0.2)) + 0.01


def _other_seasons(num: Tensor, den: Tensor, period: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    """Weighted mean over up to sixteen seasons on each side, weights falling by `decay` a season; and their sum.

    Sums over 1, 2, 4, … seasons are doubled by shifting, so that sixteen seasons cost four shifts.
    """
    n = num.shape[-1]
    position = torch.arange(n, device=num.device).expand(num.shape)
    both = torch.stack([num, den])

    def shifted(v: Tensor, rows: Tensor) -> Tensor:
        there = position + rows
        inside = ((there >= 0) & (there < n)).to(v.dtype)
        return v.gather(-1, there.clamp(0, n - 1).expand(v.shape)) * inside

    total = torch.zeros_like(both)
    for sign in (-1, 1):
        summed, seasons = shifted(both, sign * period), 1
        while seasons < 16:
            summed = summed + decay**seasons * shifted(summed, sign * seasons * period)
            seasons *= 2
        total = total + summed
    return total[0] / (total[1] + 0.3), total[1]


def _local_level(y: Tensor, mask: Tensor, period: Tensor, position: Tensor) -> Tensor:
    """Mean over one period around each row, `[batch, columns, context]`.

    Taken where the whole period lies between observed values and enough of it is seen; interpolated between such rows
    and held beyond them, so that a future, or a gap as long as a season, has the level of what is next to it.
    """
    n = y.shape[-1]
    total = torch.nn.functional.pad((y * mask).cumsum(-1), (1, 0))
    count = torch.nn.functional.pad(mask.cumsum(-1), (1, 0))
    low, high = position - period // 2, position - period // 2 + period
    inside = (low >= 0) & (high <= n)
    low, high = low.clamp(0, n), high.clamp(0, n)
    seen = count.gather(-1, high) - count.gather(-1, low)
    span = (
        mask.cummax(-1).values.sum(-1, keepdim=True)
        + mask.flip(-1).cummax(-1).values.sum(-1, keepdim=True)
        - n
    )
    density = count[..., -1:] / span.clamp_min(1)
    sure = inside & (seen >= 0.6 * density * period)
    mean = (total.gather(-1, high) - total.gather(-1, low)) / seen.clamp_min(1)
    filled, _, _ = interpolate(torch.where(sure, mean, 0.0), sure)
    whole = count[..., -1:].clamp_min(1)
    return torch.where(sure.any(-1, keepdim=True), filled, total[..., -1:] / whole)
