"""The cells of a sweep as numbers: which metric they share, which is best, and the table of them all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apps.engine.sweep_axes import Axis
from domains.common.files import atomic_path
from domains.common.intake.text import write_csv

NFE, SECONDS = "nfe", "seconds"
# Words in a metric's name that say that more is better; of all others, less is.
_MORE = (
    "accuracy", "coverage", "diversity", "gain", "improvement", "likelihood", "novelty", "precision", "psnr", "r2",
    "recall", "reward", "score", "similarity", "skill", "ssim", "uniqueness", "validity",
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One run of a sweep, as it stands.

    Attributes:
        values: Of the axes, in their order.
        state: A job's state, or `gone` where the job is no longer kept.
        metrics: Of the result; empty until it is there.
        nfe: Denoiser evaluations per sample; None until it is done.
        seconds: Duration; None until it is done.
        message: What went wrong, in a sentence.
        share: Of the work that is done, in [0, 1].
        job: Id of the job; empty where there is none.
        picture: Name of a picture among the artifacts; empty where there is none.
    """

    values: tuple[Any, ...]
    state: str
    metrics: Mapping[str, float | int | str] = field(default_factory=dict)
    nfe: int | None = None
    seconds: float | None = None
    message: str = ""
    share: float = 0.0
    job: str = ""
    picture: str = ""

    def value(self, metric: str) -> float | None:
        """A metric as a number; None where there is none, or it is not finite."""
        found: Any = {NFE: self.nfe, SECONDS: self.seconds}.get(metric) if metric in (NFE, SECONDS) else None
        found = self.metrics.get(metric) if found is None else found
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            return None
        return found


def metric_names(cells: Sequence[Cell]) -> list[str]:
    """The metrics that are numbers in at least one cell: those that differ first, nfe and seconds last."""
    names = [*dict.fromkeys(name for cell in cells for name in cell.metrics), NFE, SECONDS]
    own = [name for name in dict.fromkeys(names) if any(cell.value(name) is not None for cell in cells)]
    return sorted(own, key=lambda name: (name in (NFE, SECONDS), _spread(cells, name) is None))


def lowest_is_best(metric: str) -> bool:
    """Whether less of a metric is better, as far as its name tells."""
    return not any(word in metric.lower().replace("-", "_").split("_") for word in _MORE)


def best_cells(cells: Sequence[Cell], metric: str, lowest: bool) -> set[int]:
    """Places of the best cells; none where all are alike."""
    spread = _spread(cells, metric)
    if spread is None:
        return set()
    wanted = spread[0] if lowest else spread[1]
    return {place for place, cell in enumerate(cells) if cell.value(metric) == wanted}


def heat(cells: Sequence[Cell], metric: str, lowest: bool) -> list[float | None]:
    """How good each cell is, from 0 (the worst) to 1 (the best); None where there is no value."""
    spread = _spread(cells, metric)
    if spread is None:
        return [None if cell.value(metric) is None else 0.0 for cell in cells]
    low, high = spread
    shares: list[float | None] = []
    for cell in cells:
        value = cell.value(metric)
        # Halved first: the difference of two large numbers of opposite signs may be infinite.
        share = None if value is None else (value / 2 - low / 2) / (high / 2 - low / 2)
        shares.append(share if share is None or not lowest else 1.0 - share)
    return shares


def _spread(cells: Sequence[Cell], metric: str) -> tuple[float, float] | None:
    """Least and greatest value; None where there are not two that differ."""
    values = [value for cell in cells if (value := cell.value(metric)) is not None]
    return (min(values), max(values)) if values and min(values) < max(values) else None


def table(axes: Sequence[Axis], cells: Sequence[Cell]) -> tuple[list[str], list[list[object]]]:
    """Header and rows of the table of all cells: parameters, state, metrics, nfe, seconds, what went wrong, job."""
    names = list(dict.fromkeys(name for cell in cells for name in cell.metrics))
    own = [axis.short for axis in axes]
    # A metric may be called as a parameter is: a column has one meaning.
    taken = {*own, "state", NFE, SECONDS, "error", "job"}
    called = [f"{name} (metric)" if name in taken else name for name in names]
    header = [*own, "state", *called, NFE, SECONDS, "error", "job"]
    rows: list[list[object]] = [
        [
            *cell.values,
            cell.state,
            *(cell.metrics.get(name) for name in names),
            cell.nfe,
            cell.seconds,
            cell.message,
            cell.job,
        ]
        for cell in cells
    ]
    return header, rows


def write_table(path: Path, axes: Sequence[Axis], cells: Sequence[Cell]) -> None:
    """Writes the table of all cells as CSV; texts that a spreadsheet would run are made harmless."""
    header, rows = table(axes, cells)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        write_csv(stream, header, rows)
