"""Which rows of a long series are drawn: every gap and what surrounds it first, then the extremes of what is left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A filled cell is drawn as two corners in each of two bands, a point of the median's line and a mark; a gap also takes
# a point of each at both of its ends, and one that parts it from the next.
_POINTS_PER_CELL = 6
_POINTS_PER_GAP = 9
_SHARE_OF_FILLED = 0.7


@dataclass(frozen=True)
class Gap:
    """A run of filled cells.

    Attributes:
        before: Row of the observed cell before it, -1 where there is none.
        after: Row of the observed cell after it, T where there is none.
        rows: The filled rows that are drawn, rising.
    """

    before: int
    after: int
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class DrawnRows:
    """What is drawn of one column.

    Attributes:
        observed: Observed rows in order; -1 stands where the line breaks, at filled and at missing cells.
        gaps: Gaps in order.
        thinned: Whether some filled cells are left out.
    """

    observed: NDArray[np.int64]
    gaps: list[Gap]
    thinned: bool


def drawn_rows(values: NDArray[np.float64], filled: NDArray[np.bool_], budget: int) -> DrawnRows:
    """Chooses rows so that a column takes about `budget` points.

    Args:
        values: The column, [T], NaN where it is not observed.
        filled: Which cells are drawn as filled, [T].
        budget: Points that may be drawn, at least 50.
    """
    rows = len(values)
    cells = np.flatnonzero(filled)
    stride, gaps = 1, _gaps(cells, rows, 1)
    while (cost := _cost(gaps)) > _SHARE_OF_FILLED * budget and stride < len(cells):
        stride = max(stride + 1, int(stride * cost / (_SHARE_OF_FILLED * budget)))
        gaps = _gaps(cells, rows, stride)
    observed = np.flatnonzero(~np.isnan(values) & ~filled)
    kept = cells[::stride]
    left = max(budget - cost, 20)
    if len(observed) > left:
        beside = np.array([edge for gap in gaps for edge in (gap.before, gap.after)], dtype=np.int64)
        beside = np.intersect1d(beside[(beside >= 0) & (beside < rows)], observed)
        if len(beside) > left // 2:
            beside = beside[:: -(-len(beside) // (left // 2))]
        observed = np.union1d(beside, _extremes(values, observed, (left - len(beside)) // 2))
    unknown = np.flatnonzero(np.isnan(values) & ~filled)
    return DrawnRows(_with_breaks(observed, np.union1d(kept, unknown)), gaps, stride > 1)


def _cost(gaps: list[Gap]) -> int:
    return _POINTS_PER_GAP * len(gaps) + _POINTS_PER_CELL * sum(len(gap.rows) for gap in gaps)


def _gaps(cells: NDArray[np.int64], rows: int, stride: int) -> list[Gap]:
    if not len(cells):
        return []
    breaks = np.flatnonzero(np.diff(cells) > 1) + 1
    starts, ends = np.concatenate([[0], breaks]), np.concatenate([breaks, [len(cells)]])
    gaps = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        first = -(-start // stride) * stride
        if first < end:
            gaps.append(
                Gap(int(cells[start]) - 1, min(int(cells[end - 1]) + 1, rows), cells[first:end:stride])
            )
    return gaps


def _extremes(values: NDArray[np.float64], observed: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    """Row of the least and of the greatest value of each of `bins` stretches, and both ends."""
    bins = max(bins, 1)
    kept = [observed[:1], observed[-1:]]
    for part in np.array_split(observed, min(bins, len(observed))):
        kept.append(part[[int(np.argmin(values[part])), int(np.argmax(values[part]))]])
    return np.unique(np.concatenate(kept))


def _with_breaks(observed: NDArray[np.int64], gaps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Puts -1 between two observed rows where a row of `gaps` lies between them."""
    if len(observed) < 2:
        return observed
    passed = np.searchsorted(gaps, observed)
    return np.insert(observed, np.flatnonzero(np.diff(passed) > 0) + 1, -1)
