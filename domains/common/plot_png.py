"""A plotly figure as a PNG picture, drawn by matplotlib: the same dict, the same look, no browser needed."""

from __future__ import annotations

import html
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from domains.common.files import atomic_path
from domains.common.plot_style import OBSERVED, PLOT_TEMPLATE, TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PIXELS_PER_INCH = 96
_SCALE = 2
_WIDTH = 960
_DASHES = {"dot": ":", "dash": "--", "dashdot": "-."}
_RGBA = re.compile(r"rgba?\((\d+),\s*(\d+),\s*(\d+)(?:,\s*([\d.]+))?\)")
_PNG_PAPER = "#ffffff"


def write_png(figure: Mapping[str, Any], path: Path, *, width: int = _WIDTH) -> None:
    """Draws a figure of stacked panels on one x axis as PNG, at twice the size of the screen.

    Understands what our figures hold: scatter traces (lines, markers, `fill: toself`), y axes by their domains,
    annotations and vertical lines on paper coordinates. What is hidden is not drawn. The same figure gives the same
    bytes with the same version of matplotlib, whose own typeface is used.

    Args:
        figure: A plotly figure as a plain dict.
        path: The PNG file to write.
        width: Width in CSS pixels.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layout = figure["layout"]
    height = float(layout.get("height", 450))
    margin = {**PLOT_TEMPLATE["layout"]["margin"], **layout.get("margin", {})}
    slider = layout.get("xaxis", {}).get("rangeslider", {}).get("visible", False)
    if slider:
        height -= 60
    with matplotlib.rc_context(
        {"font.family": "DejaVu Sans", "text.parse_math": False, "path.simplify": True}
    ):
        inches = (width / _PIXELS_PER_INCH, height / _PIXELS_PER_INCH)
        canvas = FigureCanvasAgg(Figure(figsize=inches, facecolor=_PNG_PAPER))
        left, bottom = (margin["l"] + 16) / width, margin["b"] / height
        inside = (1 - left - margin["r"] / width, 1 - bottom - margin["t"] / height)
        dated = layout.get("xaxis", {}).get("type") == "date"
        panels = _panels(canvas.figure, figure, (left, bottom), inside)
        for trace in figure["data"]:
            panel = panels.get(trace.get("yaxis", "y"))
            if panel is not None and trace.get("visible", True) is True:
                _draw(panel, trace, dated)
        _finish(panels, layout, dated)
        _annotate(canvas.figure, layout, (left, bottom), inside, (width, height))
        with warnings.catch_warnings(), atomic_path(path) as temporary:
            warnings.simplefilter("ignore", UserWarning)  # a name may hold letters that the typeface lacks
            canvas.figure.savefig(
                temporary, format="png", dpi=_PIXELS_PER_INCH * _SCALE, facecolor=_PNG_PAPER
            )


def _panels(
    sheet: Figure, figure: Mapping[str, Any], corner: tuple[float, float], inside: tuple[float, float]
) -> dict[str, Axes]:
    """Trace axis (`y`, `y2`, …) -> axes at the domain that the layout states; those without a trace are left out."""
    panels: dict[str, Axes] = {}
    used = {trace.get("yaxis", "y") for trace in figure["data"] if trace.get("visible", True) is True}
    for key, axis in figure["layout"].items():
        name = "y" + key.removeprefix("yaxis")
        if not key.startswith("yaxis") or name not in used:
            continue
        low, high = axis.get("domain", (0.0, 1.0))
        box = (corner[0], corner[1] + low * inside[1], inside[0], (high - low) * inside[1])
        panels[name] = sheet.add_axes(box, sharex=next(iter(panels.values()), None))
    return panels


def _draw(panel: Axes, trace: Mapping[str, Any], dated: bool) -> None:
    from matplotlib.collections import PolyCollection

    x, y = (
        _numbers(trace["x"], dated),
        np.array([np.nan if v is None else v for v in trace["y"]], dtype=float),
    )
    if not len(x):
        return
    line = trace.get("line", {})
    if trace.get("fill") == "toself":
        breaks = np.flatnonzero(np.isnan(y))
        pieces = np.split(np.column_stack([x, y]), breaks)
        shapes = [piece[~np.isnan(piece[:, 1])] for piece in pieces]
        edge, fill = _colour(line.get("color", TEXT)), _colour(trace["fillcolor"])
        panel.add_collection(
            PolyCollection(
                [shape for shape in shapes if len(shape) > 1],
                facecolors=[fill],
                edgecolors=[edge],
                linewidths=_points(line.get("width", 1)),
            )
        )
        panel.autoscale_view()
        return
    mode = trace.get("mode", "lines")
    if "lines" in mode:
        colour, style = _colour(line.get("color", OBSERVED)), _DASHES.get(line.get("dash", ""), "-")
        panel.plot(
            x, y, style, color=colour, linewidth=_points(line.get("width", 1.5)), solid_joinstyle="round"
        )
    if "markers" in mode:
        marker = trace.get("marker", {})
        colour, size = _colour(marker.get("color", OBSERVED)), _points(marker.get("size", 6))
        hollow = str(marker.get("symbol", "")).endswith("-open")
        panel.plot(
            x,
            y,
            "o",
            markersize=size,
            markerfacecolor=_PNG_PAPER if hollow else colour,
            markeredgecolor=colour,
            markeredgewidth=_points(1.2) if hollow else 0,
        )


def _finish(panels: Mapping[str, Axes], layout: Mapping[str, Any], dated: bool) -> None:
    """Ticks, rules and the title of the shared axis."""
    from matplotlib import dates, ticker

    grid = _colour(PLOT_TEMPLATE["layout"]["yaxis"]["gridcolor"])
    text = _colour(layout.get("template", PLOT_TEMPLATE)["layout"]["font"]["color"])
    order = list(panels.values())
    for panel in order:
        panel.set_facecolor("none")
        for spine in panel.spines.values():
            spine.set_visible(False)
        panel.tick_params(length=0, labelsize=_points(12), labelcolor=text)
        panel.yaxis.set_major_locator(ticker.MaxNLocator(4))
        panel.yaxis.get_major_formatter().set_useOffset(False)  # type: ignore[attr-defined]
        panel.grid(axis="y", color=grid, linewidth=_points(1))
        panel.set_axisbelow(True)
        panel.margins(x=0.01, y=0.08)
        panel.tick_params(labelbottom=panel is order[-1])
    if not order:
        return
    bottom = order[-1]
    if dated:
        locator = dates.AutoDateLocator(maxticks=9)
        bottom.xaxis.set_major_locator(locator)
        bottom.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
        bottom.xaxis.get_offset_text().set(fontsize=_points(12), color=text)
    title = layout.get("xaxis", {}).get("title", {}).get("text", "")
    bottom.set_xlabel(_plain(title), fontsize=_points(13), color=text)
    for shape in layout.get("shapes", ()):
        if shape.get("type") == "line" and shape.get("x0") == shape.get("x1"):
            place, style = float(_numbers([shape["x0"]], dated)[0]), shape.get("line", {})
            for panel in order:
                dash, colour = _DASHES.get(style.get("dash", ""), "-"), _colour(style.get("color", TEXT))
                panel.axvline(place, linestyle=dash, color=colour, linewidth=_points(style.get("width", 1)))


def _annotate(
    sheet: Figure,
    layout: Mapping[str, Any],
    corner: tuple[float, float],
    inside: tuple[float, float],
    size: tuple[float, float],
) -> None:
    default = layout.get("template", PLOT_TEMPLATE)["layout"]["font"]
    for note in layout.get("annotations", ()):
        font = {**default, **note.get("font", {})}
        # Names begin at the edge of the tick labels rather than at the axis, as on the page.
        sheet.text(
            corner[0] + note["x"] * inside[0] + note.get("xshift", 0) * 1.15 / size[0],
            corner[1] + note["y"] * inside[1] + note.get("yshift", 0) / size[1],
            _plain(note["text"]),
            color=_colour(font["color"]),
            fontsize=_points(font["size"]),
            fontweight="bold" if note["text"].startswith("<b>") else "normal",
            ha=note.get("xanchor", "left"),
            va=note.get("yanchor", "bottom"),
        )


def _numbers(values: Sequence[Any], dated: bool) -> np.ndarray:
    """Places on the x axis as matplotlib counts them; None is NaN."""
    if not dated:
        return np.array([np.nan if value is None else value for value in values], dtype=float)
    from matplotlib import dates

    days = np.array(["NaT" if value is None else value for value in values], dtype="datetime64[ms]")
    return np.where(
        np.isnat(days), np.nan, dates.date2num(np.where(np.isnat(days), np.datetime64(0, "ms"), days))
    )


def _colour(css: str) -> str | tuple[float, float, float, float]:
    found = _RGBA.fullmatch(css)
    if found is None:
        return css
    return (int(found[1]) / 255, int(found[2]) / 255, int(found[3]) / 255, float(found[4] or 1))


def _points(pixels: float) -> float:
    return float(pixels) * 72 / _PIXELS_PER_INCH


def _plain(text: str) -> str:
    return html.unescape(re.sub(r"</?b>", "", text))
