"""Classical first estimates of missing values, which the diffusion model then refines.

For every entry of a window three classical ideas are combined in closed form: a random-walk bridge across the gap, the
same phase of neighbouring seasons, and the other columns of the same row through their correlation.  Their posterior mean
and standard deviation are the anchor: the model's state is what remains, (value - mean) / std, squashed by asinh, which
is of unit scale for a gap of one row as for one of a hundred, and on tables of any unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Variance (in units of a column's own) given to an observed value: rounding, and a floor for the arithmetic.
OBSERVED_VARIANCE = 1e-4
SEASONS_EACH_SIDE = 3


@dataclass(frozen=True)
class Anchors:
    """First estimates for a window; tensors `[batch, columns, window]` in normalised units unless said otherwise.

    Attributes:
        level, scale: `[batch, columns, 1]`, value = level + scale * normalised.
        observed: Normalised observed values, 0 where missing.
        mask: 1 where observed, 0 where missing.
        mean, std: The combined estimate and its standard deviation.
        bridge, bridge_std: The estimate from the column's neighbours in time alone.
        season, season_std: The estimate from neighbouring seasons; the deviation is large where there is none.
        before, after: Rows to the nearest observed value on each side; the context's length where there is none.
        period: `[batch, columns, 1]`, rows of the season that was found.
        strength: `[batch, columns, 1]`, how much autocorrelation rises again at that period, 0 to about 1.
    """

    level: Tensor
    scale: Tensor
    observed: Tensor
    mask: Tensor
    mean: Tensor
    std: Tensor
    bridge: Tensor
    bridge_std: Tensor
    season: Tensor
    season_std: Tensor
    before: Tensor
    after: Tensor
    period: Tensor
    strength: Tensor

    def squash(self, values: Tensor) -> Tensor:
        """Values in the table's units to the model's state, `[batch, columns, window]`."""
        normalised = (values - self.level) / self.scale
        return torch.asinh((normalised - self.mean) / self.std)

    def restore(self, state: Tensor) -> Tensor:
        """The inverse of `squash`; `state` may carry leading sample axes."""
        return self.level + self.scale * (self.mean + self.std * torch.sinh(state.clamp(-8, 8)))


def anchors(
    values: Tensor, observed: Tensor, start: Tensor, window: int, level: Tensor | None = None, scale: Tensor | None = None
) -> Anchors:
    """First estimates for a window inside a longer context.

    Args:
        values: `[batch, columns, context]` in any units; what stands at missing entries is not looked at.
        observed: Bool, of the same shape.
        start: int64 `[batch]`, where each item's window begins in its context.
        window: Rows of a window.
        level, scale: `[batch, columns, 1]` of the whole table, towards which those of a context with few observed
            values are drawn; by default there is no such pull.
    """
    level, scale = _normalisation(values, observed, level, scale)
    mask = observed.to(values.dtype)
    y = torch.where(observed, (values - level) / scale, 0.0)
    bridge, before, after = _interpolate(y, observed)
    variance = _bridge_variance(y, observed, bridge, before, after)
    period, strength = _period(y, mask)
    index = start[:, None, None] + torch.arange(window, device=values.device)

    def cut(full: Tensor) -> Tensor:
        return full.gather(2, index.expand(-1, full.shape[1], -1))

    season, season_variance = _season(y, mask, period, strength, index)
    correlation = _correlation(bridge, OBSERVED_VARIANCE * mask + variance * (1 - mask))
    seen = cut(mask)
    bridge_w, variance_w = cut(bridge), cut(variance)
    noise = torch.where(seen > 0, OBSERVED_VARIANCE, variance_w)
    mean, posterior = _combine(correlation, bridge_w, noise, season, season_variance)
    y_w = cut(y)
    return Anchors(
        level=level,
        scale=scale,
        observed=y_w,
        mask=seen,
        mean=torch.where(seen > 0, y_w, mean),
        std=(posterior + OBSERVED_VARIANCE).sqrt(),
        bridge=bridge_w,
        bridge_std=torch.where(seen > 0, 0.0, variance_w).sqrt(),
        season=season,
        season_std=season_variance.sqrt(),
        before=cut(before),
        after=cut(after),
        period=period,
        strength=strength,
    )


def _normalisation(
    values: Tensor, observed: Tensor, level: Tensor | None, scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of observed values, drawn towards the table's as by four more observations."""
    mask = observed.to(values.dtype)
    count = mask.sum(-1, keepdim=True)
    prior = 0.0 if level is None else 4.0
    old_level = torch.zeros_like(count) if level is None else level
    total = torch.where(observed, values, 0.0).sum(-1, keepdim=True)
    new_level = (total + prior * old_level) / (count + prior).clamp_min(1)
    squares = torch.where(observed, (values - new_level).square(), 0.0).sum(-1, keepdim=True)
    old_square = torch.zeros_like(count) if scale is None else scale.square() + (old_level - new_level).square()
    variance = (squares + prior * old_square) / (count + prior).clamp_min(1)
    # A constant column, or one with a single value, has no scale of its own: its rounding sets one.
    floor = (1e-4 * new_level.abs()).clamp_min(1e-6)
    fallback = torch.where(variance > floor.square(), variance.sqrt(), new_level.abs().mul(0.1).clamp_min(1e-3))
    alone = torch.where(count + prior < 2, new_level.abs().mul(0.3).clamp_min(1e-3), fallback)
    return new_level, alone


def _interpolate(y: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Linear interpolation (constant past the ends, 0 where nothing is observed) and rows to both neighbours."""
    n = y.shape[-1]
    position = torch.arange(n, device=y.device).expand(y.shape)
    left = torch.where(observed, position, -1).cummax(-1).values
    right = torch.where(observed, position, n).flip(-1).cummin(-1).values.flip(-1)
    return _between(y, position, left, right)


def _between(y: Tensor, position: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n = y.shape[-1]
    has_left, has_right = left >= 0, right < n
    low, high = y.gather(-1, left.clamp_min(0)), y.gather(-1, right.clamp_max(n - 1))
    before = torch.where(has_left, position - left, n).to(y.dtype)
    after = torch.where(has_right, right - position, n).to(y.dtype)
    inner = low + (high - low) * (before / (before + after).clamp_min(1))
    line = torch.where(has_left & has_right, inner, torch.where(has_left, low, torch.where(has_right, high, 0.0)))
    return line, before, after


def _bridge_variance(y: Tensor, observed: Tensor, line: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Variance of the bridge's error at each entry, capped at the column's own.

    The random walk's variance a row is fitted to the errors of interpolating each observed value from its neighbours;
    a walk that reverts to its mean is capped by the variance that it cannot leave.
    """
    n = y.shape[-1]
    position = torch.arange(n, device=y.device).expand(y.shape)
    left = torch.where(observed, position, -1).cummax(-1).values
    right = torch.where(observed, position, n).flip(-1).cummin(-1).values.flip(-1)
    left = torch.cat([torch.full_like(left[..., :1], -1), left[..., :-1]], -1)
    right = torch.cat([right[..., 1:], torch.full_like(right[..., :1], n)], -1)
    guess, b, a = _between(y, position, left, right)
    inside = observed & (left >= 0) & (right < n)
    span = torch.where(inside, b * a / (b + a).clamp_min(1), 1.0)
    weight = torch.where(inside, 1 / span.sqrt(), 0.0)  # close neighbours say most of the short range
    slope = (weight * (y - guess).square() / span).sum(-1, keepdim=True) + 0.02
    slope = slope / (weight.sum(-1, keepdim=True) + 0.2)
    ends = torch.where((before < n) & (after < n), before * after / (before + after).clamp_min(1), torch.minimum(before, after))
    walked = slope * ends
    return walked / (1 + walked / 1.5) + OBSERVED_VARIANCE


def _period(y: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The lag at which the autocorrelation of observed pairs rises most above its lowest value at shorter lags.

    Columns vote for each other's periods.  Returns `[batch, columns, 1]` lags and strengths.
    """
    n = y.shape[-1]
    size = 2 * n
    power = torch.fft.irfft(torch.fft.rfft(y * mask, size).abs().square(), size)[..., : n // 2 + 1]
    pairs = torch.fft.irfft(torch.fft.rfft(mask, size).abs().square(), size)[..., : n // 2 + 1].clamp_min(0)
    autocorrelation = power / (pairs + 2.0) * (pairs / (pairs + 10.0))
    autocorrelation = autocorrelation / autocorrelation[..., :1].clamp_min(1e-3)
    lowest = autocorrelation.cummin(-1).values
    rise = (autocorrelation - lowest).clamp(0, 1.5)
    lag = torch.arange(n // 2 + 1, device=y.device, dtype=y.dtype)
    peak = (rise >= rise.roll(1, -1)) & (rise >= rise.roll(-1, -1)) & (lag >= 3)
    score = rise + 0.5 * rise.mean(1, keepdim=True)
    score = torch.where(peak, score * (1 - 0.4 * lag / n), 0.0)
    # The shortest lag that is nearly the best: a season's multiples are as good as the season.
    near_best = score >= 0.75 * score.amax(-1, keepdim=True)
    best = near_best.to(torch.uint8).argmax(-1, keepdim=True)
    return best.clamp_min(3), rise.gather(-1, best).clamp(0, 1)


def _season(y: Tensor, mask: Tensor, period: Tensor, strength: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """The estimate from the same phase of nearby seasons, around the local level of one period's width.

    Returns the estimate and its variance `[batch, columns, window]`; the variance is fitted on observed entries of the
    whole context, and is large where no season is near.
    """
    b, c, n = y.shape
    padded_sum = torch.nn.functional.pad((y * mask).cumsum(-1), (1, 0))
    padded_count = torch.nn.functional.pad(mask.cumsum(-1), (1, 0))

    def local(position: Tensor) -> Tensor:
        low = (position - period // 2).clamp(0, n)
        high = (position + (period + 1) // 2).clamp(0, n)
        total = padded_sum.gather(-1, high) - padded_sum.gather(-1, low)
        return total / (padded_count.gather(-1, high) - padded_count.gather(-1, low) + 0.3)

    everywhere = torch.arange(n, device=y.device).expand(b, c, n)
    residual = (y - local(everywhere)) * mask

    def estimate(position: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.zeros_like(position, dtype=y.dtype)
        weight = torch.zeros_like(total)
        for k in range(1, SEASONS_EACH_SIDE + 1):
            for sign in (-1, 1):
                there = position + sign * k * period
                inside = (there >= 0) & (there < n)
                near = there.clamp(0, n - 1)
                w = torch.where(inside, mask.gather(-1, near), 0.0) * 0.75 ** (k - 1)
                total = total + w * residual.gather(-1, near)
                weight = weight + w
        return local(position) + total / weight.clamp_min(1e-6) * (weight / (weight + 0.3)), weight

    guess, weight = estimate(everywhere)
    error = (mask * weight * (y - guess).square()).sum(-1, keepdim=True) + 1.0
    typical = error / ((mask * weight).sum(-1, keepdim=True) + 1.0)
    wanted = index.expand(-1, c, -1)
    weight_w = weight.gather(-1, wanted)
    return guess.gather(-1, wanted), typical * (1 + 0.5 / (weight_w + 0.05)) + 0.02


def _correlation(line: Tensor, variance: Tensor) -> Tensor:
    """Correlation of columns over the context, `[batch, columns, columns]`, shrunk by how much was seen."""
    weight = 0.05 / (0.05 + variance)
    wl, wll = weight * line, weight * line.square()
    count = weight @ weight.mT
    cross = wl @ wl.mT
    squares = wll @ weight.mT
    r = cross / (squares * squares.mT + 1e-6).sqrt() * (count / (count + 8.0))
    r = 0.97 * r.clamp(-1, 1)
    eye = torch.eye(r.shape[-1], device=r.device, dtype=r.dtype)
    r = r * (1 - eye) + eye
    # Pairwise estimates need not be a correlation matrix: negative eigenvalues are lifted.
    value, vector = torch.linalg.eigh(r)
    return (vector * value.clamp_min(0.02)[..., None, :]) @ vector.mT


def _combine(
    correlation: Tensor, bridge: Tensor, bridge_variance: Tensor, season: Tensor, season_variance: Tensor
) -> tuple[Tensor, Tensor]:
    """Posterior mean and variance of each row given the bridge and the season of every column, `[b, c, window]`.

    Truth ~ N(0, correlation); bridge and season are truth plus independent errors.
    """
    precision = 1 / bridge_variance + 1 / season_variance
    pooled = (bridge / bridge_variance + season / season_variance) / precision
    noise = (1 / precision).mT  # [b, window, c]
    prior = correlation[:, None]
    total = prior + torch.diag_embed(noise)
    factor = torch.linalg.cholesky(total)
    gain = torch.cholesky_solve(prior.expand_as(total).contiguous(), factor)  # total^-1 prior
    mean = (gain * pooled.mT[..., None]).sum(-2)
    variance = (torch.diagonal(correlation, dim1=-2, dim2=-1)[:, None] - (prior * gain).sum(-2)).clamp_min(1e-6)
    return mean.mT, variance.mT
