"""Classical first estimates of missing values, which the diffusion model then refines.

For every entry of a window three classical ideas are combined in closed form: a random-walk bridge across the gap,
the same phase of other seasons, and the other columns of the same row through their correlation.  Their posterior mean
and standard deviation are the anchor: the model's state is what remains, (value - mean) / std, squashed by asinh, which
is of unit scale for a gap of one row as for one of a hundred, and on tables of any unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Variance (in units of a column's own) given to an observed value: rounding, and a floor for the arithmetic.
OBSERVED_VARIANCE = 1e-4


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
    values: Tensor,
    observed: Tensor,
    start: Tensor,
    window: int,
    level: Tensor | None = None,
    scale: Tensor | None = None,
    season: tuple[Tensor, Tensor] | None = None,
) -> Anchors:
    """First estimates for a window inside a longer context.

    Args:
        values: `[batch, columns, context]` in any units; what stands at missing entries is not looked at.
        observed: Bool, of the same shape.
        start: int64 `[batch]`, where each item's window begins in its context.
        window: Rows of a window.
        level, scale: `[batch, columns, 1]` of the whole table, towards which those of a context with few observed
            values are drawn; by default there is no such pull.
        season: Period and strength `[batch, columns, 1]` found on the whole table by `find_season`; by default they are
            found on the context.
    """
    level, scale = _normalisation(values, observed, level, scale)
    mask = observed.to(values.dtype)
    y = torch.where(observed, (values - level) / scale, 0.0)
    period, strength = season if season is not None else find_season(y, mask)
    index = start[:, None, None] + torch.arange(window, device=values.device)

    def cut(full: Tensor) -> Tensor:
        return full.gather(2, index.expand(-1, full.shape[1], -1))

    local, pattern, season_variance = _season(y, mask, period)
    bridge, variance, before, after = _bridge(y, observed, pattern, season_variance)
    correlation = _correlation(bridge, OBSERVED_VARIANCE * mask + variance * (1 - mask))
    seen, y_w = cut(mask), cut(y)
    bridge_w, variance_w = cut(bridge), cut(variance)
    season_w, season_variance_w = cut(local + pattern), cut(season_variance)
    noise = torch.where(seen > 0, OBSERVED_VARIANCE, variance_w)
    mean, posterior = _combine(correlation, bridge_w, noise, season_w, season_variance_w)
    return Anchors(
        level=level,
        scale=scale,
        observed=y_w,
        mask=seen,
        mean=torch.where(seen > 0, y_w, mean),
        std=(posterior + OBSERVED_VARIANCE).sqrt(),
        bridge=bridge_w,
        bridge_std=torch.where(seen > 0, 0.0, variance_w).sqrt(),
        season=season_w,
        season_std=season_variance_w.sqrt(),
        before=cut(before),
        after=cut(after),
        period=period,
        strength=strength,
    )


def table_facts(values: Tensor, observed: Tensor, longest: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Level, scale, period and strength `[batch, columns, 1]` of whole tables `[batch, columns, rows]`.

    Args:
        longest: Largest period to consider, in rows.
    """
    level, scale = _normalisation(values, observed, None, None)
    y = torch.where(observed, (values - level) / scale, 0.0)
    return level, scale, *find_season(y, observed.to(values.dtype), longest)


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
    old_square = (
        torch.zeros_like(count) if scale is None else scale.square() + (old_level - new_level).square()
    )
    variance = (squares + prior * old_square) / (count + prior).clamp_min(1)
    # A constant column, or one with a single value, has no scale of its own: its rounding sets one.
    floor = (1e-4 * new_level.abs()).clamp_min(1e-6)
    fallback = torch.where(
        variance > floor.square(), variance.sqrt(), new_level.abs().mul(0.1).clamp_min(1e-3)
    )
    alone = torch.where(count + prior < 2, new_level.abs().mul(0.3).clamp_min(1e-3), fallback)
    return new_level, alone


def _interpolate(y: Tensor, observed: Tensor, apart: int = 0) -> tuple[Tensor, Tensor, Tensor]:
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


def _share(mask: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The share of the second of two estimates that makes the squared error on observed entries smallest, in [0, 1].

    Args:
        mask: 1 where the errors count.
        first, second: Errors of the two estimates.
    """
    apart = first - second
    gain = (mask * first * apart).sum(-1, keepdim=True)
    return (gain / (mask * apart.square()).sum(-1, keepdim=True).clamp_min(1e-9)).clamp(0, 1)


def _bridge(
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
    line, before, after = _interpolate(rest, observed)
    blind, b, a = _interpolate(rest, observed, apart=1)
    mask = (observed & (b < n) & (a < n)).to(y.dtype)
    smooth, weight = _smooth(rest, observed.to(y.dtype))
    share = _share(mask, rest - blind, rest - smooth)
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


def _season(y: Tensor, mask: Tensor, period: Tensor) -> tuple[Tensor, Tensor, Tensor]:
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
    share = _share(counted, rest - near, rest - many)
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
    filled, _, _ = _interpolate(torch.where(sure, mean, 0.0), sure)
    whole = count[..., -1:].clamp_min(1)
    return torch.where(sure.any(-1, keepdim=True), filled, total[..., -1:] / whole)


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

    Truth ~ N(0, correlation); bridge and season are truth plus errors.
    """
    precision = 1 / bridge_variance + 1 / season_variance
    pooled = (bridge / bridge_variance + season / season_variance) / precision
    # Both look at the same neighbourhood: where they are equally sure they mostly err together.
    alike = 2 * (bridge_variance * season_variance).sqrt() / (bridge_variance + season_variance)
    noise = ((1 + 0.7 * alike) / precision).mT  # [b, window, c]
    prior = correlation[:, None]
    total = prior + torch.diag_embed(noise)
    factor = torch.linalg.cholesky(total)
    gain = torch.cholesky_solve(prior.expand_as(total).contiguous(), factor)  # total^-1 prior
    mean = (gain * pooled.mT[..., None]).sum(-2)
    variance = (torch.diagonal(correlation, dim1=-2, dim2=-1)[:, None] - (prior * gain).sum(-2)).clamp_min(
        1e-6
    )
    return mean.mT, variance.mT
