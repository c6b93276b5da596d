"""Plots of filled gaps and of forecasts: observed solid, estimates hollow in their 50 % and 90 % bands.

A figure is a plain dict in plotly's schema: the page draws it, and `write_png` draws the same one as a picture.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from domains.common.plot_png import write_png
from domains.common.plot_style import (
    BAND_INNER,
    BAND_OUTER,
    DOUBT,
    OBSERVED,
    PLOT_TEMPLATE,
    RULE,
    TEXT,
    translucent,
)
from domains.series.drawn_points import drawn_rows
from domains.series.numeric import NumberFormat
from domains.series.outputs import LEVELS, number_formats
from domains.series.table import SeriesTable
from domains.series.times import Times, future_times

__all__ = ["forecast_figure", "gap_figure", "write_png"]

PANELS = 8
MAX_POINTS = 20_000
_Q05, _Q25, _Q50, _Q75, _Q95 = 0, 4, 9, 14, 18
_MANY_MARKS = 400
_SLIDER_ROWS = 200
_NAME_LENGTH = 60
_TOP, _BOTTOM, _PANEL, _LONE_PANEL, _SLIDER = 64, 56, 150, 320, 60


def gap_figure(
    table: SeriesTable,
    quantiles: NDArray[np.float64],
    filled: NDArray[np.bool_] | None = None,
    *,
    max_points: int = MAX_POINTS,
) -> dict[str, Any]:
    """The table with its gaps filled: a panel for each column, all on one time axis.

    Eight columns are shown at once; a menu turns to the others. Long tables are thinned to about `max_points` points:
    gaps and what surrounds them are kept first, then the extremes of the rest.

    Args:
        table: The table as read.
        quantiles: At the levels 0.05, 0.10, …, 0.95, [19, T, C]; a cell with NaN is left out.
        filled: Which cells are drawn as filled, [T, C]; by default those that are missing.
        max_points: Points of all lines, marks and bands together.

    Returns:
        A plotly figure.
    """
    filled = table.missing if filled is None else filled
    if quantiles.shape != (len(LEVELS), *table.values.shape) or filled.shape != table.values.shape:
        shapes = f"quantiles {quantiles.shape} and filled {filled.shape}"
        raise ValueError(f"{shapes} do not fit the table {table.values.shape}")
    x = _positions(table.time, table.rows)
    budget = max(max_points // len(table.columns), 50)
    formats = number_formats(table)
    groups, thinned = [], False
    for column in range(len(table.columns)):
        estimated = filled[:, column] & np.isfinite(quantiles[:, :, column]).all(axis=0)
        values = np.where(filled[:, column], np.nan, table.values[:, column])
        drawn = drawn_rows(values, estimated, budget)
        thinned |= drawn.thinned
        gaps = [(gap.before, gap.rows, gap.after) for gap in drawn.gaps]
        bands = _estimates(x, values, quantiles[:, :, column], gaps, formats[column], "filled")
        groups.append([*bands, *_observed(x, values, drawn.observed)])
    mark = "filled (not all drawn)" if thinned else "filled"
    return _figure(table, groups, mark if filled.any() else "")


def forecast_figure(
    table: SeriesTable,
    quantiles: NDArray[np.float64],
    *,
    max_points: int = MAX_POINTS,
) -> dict[str, Any]:
    """The end of the table and the rows that follow it, a panel for each column.

    Args:
        table: The table as read.
        quantiles: Of the rows that follow, at the levels 0.05, 0.10, …, 0.95, [19, H, C]; a cell with NaN is left out.
        max_points: Points of all lines, marks and bands together.

    Returns:
        A plotly figure.

    Raises:
        BadInput: For `horizon`, where the times run out of the calendar.
    """
    horizon = quantiles.shape[1]
    if quantiles.shape != (len(LEVELS), horizon, len(table.columns)):
        raise ValueError(
            f"quantiles have the shape {quantiles.shape}; the table has {len(table.columns)} columns"
        )
    first = max(table.rows - max(3 * horizon, 100), 0)
    past = table.values[first:]
    shown = len(past)
    future = None if table.time is None else future_times(table.time, horizon)
    x = _positions(table.time, table.rows)[first:] + _positions(future, horizon, start=table.rows)
    budget = max(max_points // len(table.columns), 50)
    formats = number_formats(table)
    groups, thinned = [], False
    for column in range(len(table.columns)):
        values = np.concatenate([past[:, column], np.full(horizon, np.nan)])
        ahead = np.concatenate(
            [np.zeros(shown, dtype=bool), np.isfinite(quantiles[:, :, column]).all(axis=0)]
        )
        drawn = drawn_rows(values, ahead, budget)
        thinned |= drawn.thinned
        history = drawn.observed
        last = int(history[-1]) if len(history) else -1
        bands = np.concatenate([np.full((len(LEVELS), shown), np.nan), quantiles[:, :, column]], axis=1)
        gaps = [(last, gap.rows, len(values)) for gap in drawn.gaps]
        estimates = _estimates(x, values, bands, gaps, formats[column], "forecast")
        groups.append([*estimates, *_observed(x, values, history)])
    figure = _figure(table, groups, "forecast (not all drawn)" if thinned else "forecast")
    end = {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": x[shown - 1],
        "x1": x[shown - 1],
        "y0": 0,
        "y1": 1,
    }
    figure["layout"]["shapes"] = [
        {**end, "line": {"color": RULE.replace("0.22", "0.6"), "width": 1, "dash": "dot"}}
    ]
    return figure


def _positions(times: Times | None, rows: int, start: int = 0) -> list[str] | list[float] | list[int]:
    """Places on the time axis, as JSON: ISO times, numbers, or row numbers."""
    if times is None:
        return list(range(start, start + rows))
    if isinstance(times, pd.DatetimeIndex):
        plain = times.tz_convert("UTC").tz_localize(None) if times.tz is not None else times
        whole = bool((plain == plain.normalize()).all())
        return np.datetime_as_string(plain.to_numpy(), unit="D" if whole else "ms").tolist()
    return [float(time) for time in times]


def _estimates(
    x: Sequence[Any],
    values: NDArray[np.float64],
    quantiles: NDArray[np.float64],
    gaps: Sequence[tuple[int, NDArray[np.int64], int]],
    format: NumberFormat,
    word: str,
) -> list[dict[str, Any]]:
    """Bands, median line and hollow marks; bands close upon the observed cells at both sides of a gap."""
    if not gaps:
        return []
    outer, inner, line = _Path(), _Path(), _Path()
    mark_x, mark_y, texts = [], [], []
    for before, rows, after in gaps:
        ends = [
            [row] if 0 <= row < len(values) and not np.isnan(values[row]) else [] for row in (before, after)
        ]
        path = [*ends[0], *rows.tolist(), *ends[1]]
        where = [x[row] for row in path]
        sides = [[float(values[row]) for row in end] for end in ends]
        below = [x[row] for row in reversed(rows.tolist())]
        for band, low, high in ((outer, _Q05, _Q95), (inner, _Q25, _Q75)):
            top, bottom = quantiles[high, rows].tolist(), quantiles[low, rows].tolist()
            band.add([*where, *below], [*sides[0], *top, *sides[1], *bottom[::-1]])
        line.add(where, [*sides[0], *quantiles[_Q50, rows].tolist(), *sides[1]])
        for row in rows.tolist():
            median, below_it, above_it = (format.text(float(quantiles[q, row])) for q in (_Q50, _Q05, _Q95))
            mark_x.append(x[row])
            mark_y.append(float(quantiles[_Q50, row]))
            texts.append(f"{x[row]}<br>{word} {median}<br>90 %: {below_it} to {above_it}")
    edge = {"color": translucent(DOUBT, 0.35), "width": 0.5}
    polygon = {"type": "scatter", "mode": "lines", "fill": "toself", "line": edge, "hoverinfo": "skip"}
    size = 6 if len(x) <= _MANY_MARKS // 2 else 5 if len(mark_x) <= _MANY_MARKS // 4 else 4
    marker = {"symbol": "circle-open", "size": size, "color": DOUBT, "line": {"width": 1.2, "color": DOUBT}}
    return [
        {**polygon, **outer.points(), "name": "90 % band", "fillcolor": translucent(DOUBT, BAND_OUTER)},
        {**polygon, **inner.points(), "name": "50 % band", "fillcolor": translucent(DOUBT, BAND_INNER)},
        {
            "type": "scatter",
            "mode": "lines",
            "name": "median",
            **line.points(),
            "line": {"color": DOUBT, "width": 1.2},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": word,
            "x": mark_x,
            "y": mark_y,
            "marker": marker,
            "text": texts,
            "hoverinfo": "text",
        },
    ]


def _observed(x: Sequence[Any], values: NDArray[np.float64], rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The observed line; cells that stand alone, or all where there are few, as solid points."""
    where = [None if row < 0 else x[row] for row in rows.tolist()]
    heights = [None if row < 0 else float(values[row]) for row in rows.tolist()]
    style = {"type": "scatter", "name": "observed", "hovertemplate": "%{x}<br>observed %{y}<extra></extra>"}
    line = {**style, "mode": "lines", "x": where, "y": heights, "line": {"color": OBSERVED, "width": 1.6}}
    solid = {"symbol": "circle", "size": 4, "color": OBSERVED}
    if len(rows) <= 2 * _MANY_MARKS // 5:
        return [{**line, "mode": "lines+markers", "marker": solid}]
    padded = np.concatenate([[-1], rows, [-1]])
    alone = rows[(padded[:-2] < 0) & (rows >= 0) & (padded[2:] < 0)].tolist()
    if not alone:
        return [line]
    points = {"x": [x[row] for row in alone], "y": [float(values[row]) for row in alone]}
    return [line, {**style, **points, "mode": "markers", "marker": {**solid, "size": 3}}]


class _Path:
    """Pieces of a line or of polygons, parted by None."""

    def __init__(self) -> None:
        self._x: list[Any] = []
        self._y: list[float | None] = []

    def add(self, x: Sequence[Any], y: Sequence[float]) -> None:
        if self._x:
            self._x.append(None)
            self._y.append(None)
        self._x.extend(x)
        self._y.extend(y)

    def points(self) -> dict[str, Any]:
        return {"x": self._x, "y": self._y}


def _figure(table: SeriesTable, groups: Sequence[list[dict[str, Any]]], word: str) -> dict[str, Any]:
    """Puts the traces of each column into its panel, and pages where there are more columns than panels."""
    columns = len(groups)
    panels = min(columns, PANELS)
    slider = columns == 1 and table.rows > _SLIDER_ROWS
    inner = _LONE_PANEL if panels == 1 else _PANEL * panels
    space = 34 / inner if panels > 1 else 0.0
    height = (1 - space * (panels - 1)) / panels
    domains = [(max(1 - (height + space) * k - height, 0.0), 1 - (height + space) * k) for k in range(panels)]
    layout: dict[str, Any] = {
        "template": PLOT_TEMPLATE,
        "height": _TOP + inner + _BOTTOM + (_SLIDER if slider else 0),
        "margin": {"l": 56, "r": 16, "t": _TOP, "b": _BOTTOM, "pad": 4},
        "dragmode": "zoom",
        "xaxis": _x_axis(table, "y" if panels == 1 else f"y{panels}", slider),
    }
    for panel, domain in enumerate(domains):
        layout[f"yaxis{panel + 1 if panel else ''}"] = {"domain": list(domain), "anchor": "x", "nticks": 5}
    data = []
    for column, traces in enumerate(groups):
        panel = column % PANELS
        place = {"xaxis": "x", "yaxis": f"y{panel + 1}" if panel else "y", "visible": column < PANELS}
        data += [{**trace, **place} for trace in traces]
    layout["annotations"] = _labels(table.columns[:PANELS], domains, word)
    if columns > PANELS:
        layout["updatemenus"] = [_pages(table, groups, domains, word)]
    return {"data": data, "layout": layout}


def _x_axis(table: SeriesTable, anchor: str, slider: bool) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "anchor": anchor,
        "title": {"text": _label(table.time_column or "row")},
        "type": "date" if isinstance(table.time, pd.DatetimeIndex) else "linear",
        "rangeslider": {"visible": slider, "thickness": 0.1, "yaxis": {"rangemode": "auto"}},
    }
    if slider and axis["type"] == "date":
        axis["hoverformat"] = "%Y-%m-%d %H:%M"
    return axis


def _labels(names: Sequence[str], domains: Sequence[tuple[float, float]], word: str) -> list[dict[str, Any]]:
    """The name of each panel above it, and once, at the top, what the marks mean."""
    plain = {
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
    }
    labels = [
        {**plain, "y": top, "yshift": 4, "text": f"<b>{_label(name)}</b>", "font": {"size": 13}}
        for name, (_, top) in zip(names, domains, strict=False)
    ]
    key = [("●", OBSERVED, "observed", OBSERVED)]
    if word:
        bands = [
            ("■", _shade(inner=inner), share, TEXT) for inner, share in ((True, "50 %"), (False, "90 %"))
        ]
        key += [("○", DOUBT, word, DOUBT), *bands]
    shift = 0.0
    for sign, sign_colour, meaning, colour in key:
        for text, shade, offset in ((sign, sign_colour, 0), (meaning, colour, 16)):
            font = {"size": 12, "color": shade}
            labels.append(
                {**plain, "y": 1, "yshift": 30, "xshift": shift + offset, "text": text, "font": font}
            )
        shift += 34 + 6.6 * len(meaning)
    return labels


def _shade(*, inner: bool) -> str:
    """The colour in which a band appears: the inner one lies upon the outer."""
    return translucent(DOUBT, 1 - (1 - BAND_OUTER) * (1 - BAND_INNER) if inner else BAND_OUTER)


def _pages(
    table: SeriesTable,
    groups: Sequence[list[dict[str, Any]]],
    domains: Sequence[tuple[float, float]],
    word: str,
) -> dict[str, Any]:
    """A menu that turns the panels to the next columns."""
    buttons = []
    for first in range(0, len(groups), PANELS):
        last = min(first + PANELS, len(groups))
        visible = [first <= column < last for column, traces in enumerate(groups) for _ in traces]
        labels = _labels(table.columns[first:last], domains, word)
        ranges = {f"yaxis{panel + 1 if panel else ''}.autorange": True for panel in range(len(domains))}
        unused = {
            f"yaxis{panel + 1 if panel else ''}.visible": panel < last - first
            for panel in range(len(domains))
        }
        buttons.append(
            {
                "label": f"Columns {first + 1} to {last}",
                "method": "update",
                "args": [{"visible": visible}, {"annotations": labels, **ranges, **unused}],
            }
        )
    return {
        "type": "dropdown",
        "buttons": buttons,
        "x": 1,
        "xanchor": "right",
        "y": 1,
        "yanchor": "bottom",
        "pad": {"b": 24},
        "showactive": True,
    }


def _label(name: str) -> str:
    """A person's text inside plotly's markup: shortened, and without markup of its own."""
    short = name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…"
    return html.escape(" ".join(short.split()), quote=False)
