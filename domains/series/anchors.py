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

from domains.series.bridge import OBSERVED_VARIANCE, bridge_estimate
from domains.series.season import find_season, season_estimate


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

    local, pattern, season_variance = season_estimate(y, mask, period)
    bridge, variance, before, after = bridge_estimate(y, observed, pattern, season_variance)
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
