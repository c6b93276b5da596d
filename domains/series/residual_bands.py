"""Gaussian bands for methods that give a point only, from their errors on cells held back for the purpose.

A method that fills gaps with single numbers is compared with a distribution by the errors that it makes where
the answer is known: some observed cells are hidden in the way in which cells are missing already, filled, and
compared. Four ways of turning these errors into a spread are fitted (one spread a column or one a column and
distance to the nearest observation; the root of the mean square, or that times the factor with the lowest
CRPS, which is below 1 where errors have heavy tails), and the one with the lowest CRPS on errors that it was
not fitted to is taken. This is more care than the point methods usually get: a baseline should be as hard to
beat as it can be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from domains.series.column_statistics import column_scale

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

HOLD_BACK = 0.1  # share of the observed cells hidden in each fold
FEWEST = 40  # errors needed before a bin of distances gets a spread of its own
BINS = 10
FACTORS = np.array([0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1])


@dataclass(frozen=True)
class Bands:
    """A normal distribution for every cell.

    Attributes:
        mean: `[T, C]`, also the median; in the unit of the column.
        std: `[T, C]`, standard deviation; zero means certain.
    """

    mean: Array
    std: Array

    def quantile(self, level: float) -> Array:
        """The quantile `[T, C]` at `level` in (0, 1)."""
        return np.asarray(self.mean + norm.ppf(level) * self.std)


def gaussian_crps(mean: Array, std: Array, truth: Array) -> Array:
    """CRPS of normal distributions, elementwise: the core's `crps_gaussian` for numpy arrays."""
    import torch

    from core.metrics.probabilistic import crps_gaussian

    return np.asarray(crps_gaussian(*(torch.from_numpy(np.ascontiguousarray(a)) for a in (mean, std, truth))))


def gap_distances(observed: Mask) -> tuple[Array, Array]:
    """Rows back to the last and on to the next observed cell of the same column, `[T, C]` each; inf where
    there is none.

    An observed cell is at distance zero from itself.
    """
    rows = np.arange(observed.shape[0], dtype=np.float64)[:, None]
    last = np.maximum.accumulate(np.where(observed, rows, -np.inf), axis=0)
    following = np.minimum.accumulate(np.where(observed, rows, np.inf)[::-1], axis=0)[::-1]
    return rows - last, following - rows


def block_length(observed: Mask) -> int | None:
    """The usual length of a gap where cells are missing in blocks, None where they are missing one by one.

    Cells missing independently at rate p come in runs of mean length 1 / (1 - p); runs more than twice as
    long are taken for blocks, and their median (weighted by length: of the run that a missing cell lies in)
    for their length.
    """
    missing = ~observed
    padded = np.pad(missing, ((1, 1), (0, 0))).astype(np.int8)
    lengths: list[Array] = []
    for column in padded.T[observed.any(axis=0)]:
        step = np.diff(column)
        lengths.append((np.flatnonzero(step == -1) - np.flatnonzero(step == 1)).astype(np.float64))
    runs = np.concatenate(lengths or [np.empty(0)])
    if len(runs) == 0 or runs.mean() <= 2.0 / (1.0 - missing.mean()):
        return None
    return int(np.median(np.repeat(runs, runs.astype(np.int64))))


def held_back(observed: Mask, rng: np.random.Generator, share: float = HOLD_BACK) -> Mask:
    """Observed cells to hide `[T, C]`, about `share` of them, in the pattern in which cells are missing.

    At least one observed cell a column stays, so that no method is left without anything to go by.
    """
    length, columns = observed.shape
    block = block_length(observed)
    chosen = np.zeros_like(observed)
    for c in range(columns):
        cells = np.flatnonzero(observed[:, c])
        wanted = round(share * len(cells))
        if len(cells) < 2:
            continue
        wanted = min(max(wanted, 1), len(cells) - 1)
        if block is None or block >= length // 4:
            chosen[rng.choice(cells, wanted, replace=False), c] = True
            continue
        hidden = 0
        for start in rng.permutation(length - block + 1):
            around = slice(max(start - 1, 0), start + block + 1)
            if not (observed[around, c] & ~chosen[around, c]).all():
                continue  # a block that touched a gap would make a longer gap than there are
            chosen[start : start + block, c] = True
            hidden += block
            if hidden >= wanted:
                break
        if hidden == 0:
            chosen[rng.choice(cells, wanted, replace=False), c] = True
    return chosen


@dataclass(frozen=True)
class Spread:
    """Standard deviations by column and distance.

    Attributes:
        edges: Upper ends (inclusive) of all bins of distances but the last, which is open.
        std: `[C, bins]`.
    """

    edges: Array
    std: Array

    def __call__(self, distance: Array) -> Array:
        """Standard deviations `[T, C]` for distances `[T, C]`."""
        which = np.searchsorted(self.edges, distance, side="left")
        return np.asarray(self.std[np.arange(self.std.shape[0])[None, :], which])


def _one_std(errors: Array, heavy: bool) -> float:
    """The root of the mean square, or that times the factor which gives the lowest CRPS on the errors themselves."""
    std = float(np.sqrt(np.square(errors).mean()))
    if not heavy or std == 0.0:
        return std
    trials = np.repeat(FACTORS[:, None] * std, errors.size, axis=1)
    costs = gaussian_crps(np.zeros_like(trials), trials, np.broadcast_to(errors, trials.shape)).mean(axis=1)
    return float(FACTORS[int(np.argmin(costs))]) * std


def fit_spread(error: Array, distance: Array, known: Mask, *, binned: bool, heavy: bool) -> Spread:
    """Fits standard deviations to errors `[T, C]` at the cells `known`.

    A bin with fewer than `FEWEST` errors in a column takes the column's own spread, scaled as that bin is
    scaled over all columns together.
    """
    columns = error.shape[1]
    overall = np.array(
        [_one_std(error[known[:, c], c], heavy) if known[:, c].any() else np.nan for c in range(columns)]
    )
    fallback = np.nanmean(overall) if np.isfinite(overall).any() else 0.0
    overall = np.where(np.isfinite(overall), overall, fallback)
    edges = np.empty(0)
    if binned and known.sum() >= 2 * FEWEST:
        levels = np.quantile(distance[known], np.linspace(0, 1, BINS + 1)[1:-1], method="lower")
        edges = np.unique(levels[np.isfinite(levels)])
    spread = Spread(edges, np.repeat(overall[:, None], len(edges) + 1, axis=1))
    if len(edges) == 0:
        return spread
    which = np.searchsorted(edges, distance, side="left")
    relative = error / np.where(overall > 0, overall, 1.0)
    for b in range(len(edges) + 1):
        in_bin = known & (which == b)
        if in_bin.sum() < FEWEST:
            continue
        pooled = _one_std(relative[in_bin], heavy)
        for c in range(columns):
            own = in_bin[:, c]
            spread.std[c, b] = _one_std(error[own, c], heavy) if own.sum() >= FEWEST else overall[c] * pooled
    return spread


def residual_spread(folds: list[tuple[Array, Array, Mask]]) -> Spread:
    """The best of the four spreads, chosen by CRPS on errors other than those each was fitted to.

    Args:
        folds: `(error [T, C], distance [T, C], known [T, C])` of each hold-back.
    """
    error, distance, known = (np.concatenate(parts) for parts in zip(*folds, strict=True))
    half = np.random.default_rng(0).random(known.shape) < 0.5
    scale = column_scale(np.where(known, error, np.nan))
    best: tuple[float, bool, bool] | None = None
    for binned in (False, True):
        for heavy in (False, True):
            total = 0.0
            for fitted_on in (half, ~half):
                spread = fit_spread(error, distance, known & fitted_on, binned=binned, heavy=heavy)
                judged = known & ~fitted_on
                score = gaussian_crps(np.zeros_like(error), spread(distance), np.where(judged, error, 0.0))
                total += float((score / scale)[judged].sum())
            if best is None or total < best[0]:
                best = (total, binned, heavy)
    assert best is not None
    return fit_spread(error, distance, known, binned=best[1], heavy=best[2])


def with_residual_bands(
    fill: Callable[[Array], Array],
    distance: Callable[[Mask], Array],
    values: Array,
    *,
    folds: int = 4,
    seed: int = 0,
) -> Bands:
    """Fills the gaps of `values` by `fill` and puts Gaussian residual bands around what it filled.

    Args:
        fill: Table `[T, C]` with NaN -> complete table `[T, C]`. distance: Observed mask -> how far each cell
        is from what it is filled with; the spread may depend on it. values: `[T, C]`, NaN where missing.
        folds: Times that cells are held back. seed: Of the hold-back.
    """
    observed = ~np.isnan(values)
    rng = np.random.default_rng(seed)
    parts: list[tuple[Array, Array, Mask]] = []
    for _ in range(folds):
        hidden = held_back(observed, rng)
        reduced = np.where(hidden, np.nan, values)
        error = np.where(hidden, values - fill(reduced), 0.0)
        parts.append((error, distance(observed & ~hidden), hidden))
    mean = fill(values)
    std = np.where(observed, 0.0, residual_spread(parts)(distance(observed)))
    return Bands(np.where(observed, values, mean), std)
