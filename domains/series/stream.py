"""The endless stream of training batches, addressed by seed and step."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from domains.series.corpus import Source, real_batch
from domains.series.masks import future_mask, gap_mask
from domains.series.synthetic import synthetic_batch

MIN_TARGETS = 8
"""Entries that a window should ask for; a gap pattern is drawn again (a few times) until it does."""


@dataclass(frozen=True)
class TrainingStream:
    """Batches of windows with gaps, for training a conditional model of the missing entries.

    Attributes:
        seed: Non-negative; with the step it determines a batch entirely.
        budget: Series (items x columns) per batch, about; the number of items follows from the columns of the
            step.
        context: Rows that the model may look at.
        window: Rows within the context that the model completes.
        sources: Real tables; empty for synthetic ones only.
        real_share: Expected share of items that are real, in [0, 1].
        max_columns: Most columns of a batch.
        min_items: Fewest items of a batch.
        forecast_share: Share of items whose end is unknown.
        short_share: Share of items whose table is shorter than the context.
    """

    seed: int
    budget: int = 192
    context: int = 768
    window: int = 192
    sources: list[Source] = field(default_factory=list)
    real_share: float = 0.5
    max_columns: int = 12
    min_items: int = 4
    forecast_share: float = 0.22
    short_share: float = 0.08

    def batch_at(self, step: int) -> dict[str, np.ndarray]:
        """The batch of one step.

        Args:
            step: Non-negative number of the step.

        Returns:
            values: float32 [items, columns, context]; finite, 0 where no true value exists.
            known: bool [items, columns, context]; a true value exists.
            observed: bool [items, columns, context]; the model may look at the value; implies `known`.
            start: int64 [items]; the window is rows start to start + window of the context.
            columns: bool [items, columns]; a real column rather than padding.
        """
        rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, step], np.uint64)))
        columns = self._draw_columns(rng)
        items = max(self.min_items, self.budget // columns)
        values, valid = self._draw_values(rng, items, columns)
        known = np.isfinite(values)
        observed = np.zeros_like(known)
        start = np.zeros(items, np.int64)
        for item in range(items):
            observed[item], start[item] = self._mask(rng, known[item])
        return {
            "values": np.where(known, values, np.float32(0)),
            "known": known,
            "observed": observed,
            "start": start,
            "columns": valid,
        }

    def _draw_columns(self, rng: np.random.Generator) -> int:
        """Number of columns of a step: mostly few; 7, 8 and 11 (widths of real tables) more often."""
        weights = np.array([3.0, 2, 2, 2, 2, 2, 4, 3, 1, 1, 3, 1])
        counts = np.arange(1, self.max_columns + 1)
        weights = weights[np.minimum(counts, len(weights)) - 1]
        return int(rng.choice(counts, p=weights / weights.sum()))

    def _draw_values(
        self, rng: np.random.Generator, items: int, columns: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values [items, columns, context], NaN where unknown, and the real columns [items, columns]."""
        values = np.full((items, columns, self.context), np.nan, np.float32)
        valid = np.ones((items, columns), bool)
        real = np.flatnonzero(rng.random(items) < self.real_share) if self.sources else np.zeros(0, np.int64)
        made = np.setdiff1d(np.arange(items), real)
        if real.size:
            values[real], valid[real] = real_batch(rng, self.sources, real.size, columns, self.context)
        if made.size:
            values[made] = synthetic_batch(rng, made.size, columns, self.context)
        for item in np.flatnonzero(rng.random(items) < self.short_share):
            rows = int(np.exp(rng.uniform(np.log(min(32, self.context)), np.log(self.context))))
            first = (0, self.context - rows, int(rng.integers(0, self.context - rows + 1)))[rng.integers(3)]
            outside = np.ones(self.context, bool)
            outside[first : first + rows] = False
            values[item][:, outside] = np.nan
        return values, valid

    def _mask(self, rng: np.random.Generator, known: np.ndarray) -> tuple[np.ndarray, int]:
        """What the model may look at (bool [columns, context]) and where the window starts."""
        rows = np.flatnonzero(known.any(0))
        low, high = (int(rows[0]), int(rows[-1]) + 1) if rows.size else (0, self.context)
        ahead = rng.random() < self.forecast_share and high - low >= 4
        bare = rng.random() < 0.01  # a column without any observation: rare, but tables have them
        best: tuple[int, np.ndarray, int] | None = None
        for _ in range(6):
            observed, start = (
                self._future(rng, known, low, high) if ahead else self._gaps(rng, known, low, high)
            )
            if not bare:
                observed = _at_least_one(rng, known, observed, start, start + self.window)
            asked = (known & ~observed)[:, start : start + self.window].sum()
            if best is None or asked > best[0]:
                best = (int(asked), observed, start)
            if asked >= (1 if ahead else MIN_TARGETS):
                break
        assert best is not None
        return best[1], best[2]

    def _gaps(
        self, rng: np.random.Generator, known: np.ndarray, low: int, high: int
    ) -> tuple[np.ndarray, int]:
        """Gaps inside the table, and a window at its start, its end, amid the context or anywhere."""
        last = self.context - self.window
        first, final = sorted(
            (low, high - self.window)
        )  # window within the table, or table within the window
        places = (low, high - self.window, last // 2, int(rng.integers(first, final + 1)))
        start = min(max(places[rng.choice(4, p=[0.15, 0.3, 0.3, 0.25])], first, 0), final, last)
        return known & gap_mask(rng, known.shape[0], known.shape[1]), start

    def _future(
        self, rng: np.random.Generator, known: np.ndarray, low: int, high: int
    ) -> tuple[np.ndarray, int]:
        """An unknown end of the table whose first row is inside the window."""
        last = self.context - self.window
        longest = (high - low) // 2 if rng.random() < 0.15 else min(self.window, (high - low) // 2)
        horizon = int(np.exp(rng.uniform(0, np.log(longest))))
        first = high - horizon
        earliest = max(0, min(first, high - self.window))
        start = min(int(rng.integers(earliest, first + 1)), last)
        return known & future_mask(rng, known.shape[0], known.shape[1], first), start


def _at_least_one(
    rng: np.random.Generator, known: np.ndarray, observed: np.ndarray, start: int, stop: int
) -> np.ndarray:
    """Opens one to three known entries in each column that has none, outside [start, stop) where it can."""
    for column in np.flatnonzero(known.any(-1) & ~observed.any(-1)):
        rows = np.flatnonzero(known[column])
        outside = rows[(rows < start) | (rows >= stop)]
        rows = outside if outside.size else rows
        observed[column, rng.choice(rows, min(len(rows), int(rng.integers(1, 4))), replace=False)] = True
    return observed
