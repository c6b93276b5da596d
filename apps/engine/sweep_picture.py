"""The grid of a sweep as a PNG: a metric per cell, coloured by how good it is, the best framed."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.engine.sweep_axes import Axis
from apps.engine.sweep_cells import Cell, best_cells, heat
from domains.common.errors import MissingLibrary
from domains.common.files import atomic_path
from domains.common.plot_style import OBSERVED, TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _PAPER, _EMPTY = "#14191e", "#ffffff", "#eceff1"
_CELL = (0.84, 0.46)  # inches
_WIDEST = 24.0  # inches of the picture
_DOTS = 160  # an inch
_STRONGEST = 0.6  # share of the accent in the best cell: the ink on it stays readable
_LONGEST_LABEL = 18


def grid_shape(axes: Sequence[Axis]) -> tuple[Axis | None, Axis, Axis | None]:
    """The axes that go down, across, and from panel to panel."""
    if len(axes) == 1:
        return None, axes[0], None
    return axes[0], axes[1], axes[2] if len(axes) > 2 else None


def place_of(axes: Sequence[Axis], row: int, column: int, panel: int) -> int:
    """Place in the list of cells, where the last axis runs fastest."""
    if len(axes) == 1:
        return column
    place = row * len(axes[1].values) + column
    return place if len(axes) == 2 else place * len(axes[2].values) + panel


def short_number(value: float | None) -> str:
    """A value with the digits that a cell has room for."""
    return "" if value is None else f"{value:.4g}"


def label(value: Any) -> str:
    """A value of an axis, as a cell's heading."""
    text = (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
    text = "none" if value is None else text or "(empty)"
    return text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1] + "…"


def write_grid(path: Path, axes: Sequence[Axis], cells: Sequence[Cell], metric: str, lowest: bool) -> None:
    """Draws the grid; a cell that failed says so, one without the metric is empty.

    Args:
        path: The PNG file to write.
        axes: What was varied: down, across, and small multiples.
        cells: In the order of `combinations(axes)`.
        metric: What is shown.
        lowest: Whether the lowest value is the best.

    Raises:
        MissingLibrary: Without matplotlib.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingLibrary("matplotlib", "app")
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    down, across, apart = grid_shape(axes)
    rows, columns = len(down.values) if down else 1, len(across.values)
    panels = len(apart.values) if apart else 1
    width, height = columns * _CELL[0] + 1.4, rows * _CELL[1] + 1.3
    beside = max(1, min(panels, int(_WIDEST // width)))
    below = -(-panels // beside)
    shares, best = heat(cells, metric, lowest), best_cells(cells, metric, lowest)
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "text.parse_math": False, "font.size": 9}):
        size = (max(3.6, beside * width), below * height + 0.5)
        canvas = FigureCanvasAgg(Figure(figsize=size, facecolor=_PAPER, layout="constrained"))
        figure = canvas.figure
        word = "lowest" if lowest else "highest"
        figure.suptitle(f"{metric} · best (framed) is the {word}", fontsize=10, color=TEXT)
        grid = figure.subplots(below, beside, squeeze=False)
        for panel in range(below * beside):
            place = grid[panel // beside][panel % beside]
            if panel >= panels:
                place.set_axis_off()
                continue
            for row in range(rows):
                for column in range(columns):
                    at = place_of(axes, row, column, panel)
                    _cell(place, row, column, cells[at], shares[at], at in best, metric)
            place.set(xlim=(0, columns), ylim=(rows, 0), aspect="auto")
            place.set_xticks([c + 0.5 for c in range(columns)], [label(v) for v in across.values], color=_INK)
            names = [label(value) for value in down.values] if down else []
            place.set_yticks([r + 0.5 for r in range(len(names))], names, color=_INK)
            place.tick_params(length=0)
            place.set_xlabel(across.short, color=TEXT)
            if down:
                place.set_ylabel(down.short, color=TEXT)
            if apart:
                place.set_title(f"{apart.short} {label(apart.values[panel])}", fontsize=9, color=_INK)
            for side in place.spines.values():
                side.set_visible(False)
        with warnings.catch_warnings(), atomic_path(path) as temporary:
            warnings.simplefilter("ignore", UserWarning)  # a name may hold letters that the typeface lacks
            dots = min(_DOTS, 12_000 / max(size))
            canvas.figure.savefig(temporary, format="png", dpi=dots, facecolor=_PAPER)


def _cell(
    place: Axes, row: int, column: int, cell: Cell, share: float | None, best: bool, metric: str
) -> None:
    from matplotlib.patches import Rectangle

    fill = _EMPTY if share is None else _mixed(OBSERVED, share * _STRONGEST)
    place.add_patch(Rectangle((column, row), 1, 1, facecolor=fill, edgecolor=_PAPER, linewidth=2))
    words = short_number(cell.value(metric)) or (cell.state if cell.state != "done" else "–")
    place.text(
        column + 0.5,
        row + 0.5,
        words,
        ha="center",
        va="center",
        color=_INK if cell.state == "done" else TEXT,
        fontweight="bold" if best else "normal",
    )
    if best:
        inset = Rectangle(
            (column + 0.05, row + 0.06), 0.9, 0.88, fill=False, edgecolor=_INK, linewidth=1.6, zorder=3
        )
        place.add_patch(inset)


def _mixed(colour: str, share: float) -> tuple[float, float, float]:
    """A colour thinned with white."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (1 - share * (1 - part) for part in parts)
    return red, green, blue
