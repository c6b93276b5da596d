"""Small pictures of plots for the gallery: the first lines of a figure, drawn as an SVG that runs nothing."""

from __future__ import annotations

import base64
import datetime
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from domains.common.plot_style import DOUBT, OBSERVED, SECOND

WIDTH, HEIGHT, MARGIN = 320, 160, 8
_POINTS, _TRACES = 160, 8
_MOST_BYTES = 32 << 20
_HEX = re.compile(r"#[0-9a-fA-F]{6}")
_COLOURS = (OBSERVED, DOUBT, SECOND)


def thumbnail(figure: Path) -> str | None:
    """The SVG of a plotly figure's lines and points; None where it has none that can be drawn flat."""
    if figure.stat().st_size > _MOST_BYTES:
        return None
    try:
        data = json.loads(figure.read_text("utf-8")).get("data", [])
        traces = list(_traces(data))
    except (ValueError, TypeError, AttributeError, KeyError):
        return None
    if not traces:
        return None
    low_x, high_x = _range([trace[0] for trace in traces])
    low_y, high_y = _range([trace[1] for trace in traces])

    def place(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[float, float]]:
        across = MARGIN + (x - low_x) / (high_x - low_x) * (WIDTH - 2 * MARGIN)
        down = HEIGHT - MARGIN - (y - low_y) / (high_y - low_y) * (HEIGHT - 2 * MARGIN)
        yield from zip(across.tolist(), down.tolist(), strict=True)

    parts = []
    for number, (x, y, mode, fill, colour) in enumerate(traces):
        colour = colour or (DOUBT if fill else _COLOURS[number % len(_COLOURS)])
        path, down = "", False
        for left, top in place(x, y):
            if not (math.isfinite(left) and math.isfinite(top)):
                down = False
                continue
            if mode == "points":
                path += f"M{left:.1f} {top:.1f}h0"
            else:
                path += f"{'L' if down else 'M'}{left:.1f} {top:.1f}"
            down = True
        look = (
            f'fill="{colour}" fill-opacity=".25" stroke="none"'
            if fill
            else f'fill="none" stroke="{colour}" stroke-linecap="round" '
            f'stroke-width="{3 if mode == "points" else 1.5}"'
        )
        parts.append(f'<path d="{path}" {look}/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}">{"".join(parts)}</svg>'
    )


def _traces(data: Any) -> Iterator[tuple[np.ndarray, np.ndarray, str, bool, str]]:
    """x, y, `lines` or `points`, whether an area, and the colour if any, of the traces on the first axes."""
    count = 0
    for trace in data if isinstance(data, list) else ():
        flat = isinstance(trace, Mapping) and trace.get("type", "scatter") in ("scatter", "scattergl")
        if not flat or trace.get("xaxis", "x") != "x" or trace.get("yaxis", "y") != "y":
            continue
        y = _numbers(trace.get("y"))
        if y is None or not len(y):
            continue
        x = _numbers(trace.get("x"))
        x = np.arange(len(y), dtype=float) if x is None or len(x) != len(y) else x
        closed = trace.get("fill") in ("toself", "tonext", "tonexty")
        keep = np.arange(0, len(y), 1 if closed else max(1, len(y) // _POINTS))
        mode = "points" if trace.get("mode") == "markers" else "lines"
        yield x[keep], y[keep], mode, trace.get("fill") == "toself", _colour(trace, mode)
        count += 1
        if count == _TRACES:
            return


def _colour(trace: Mapping[str, Any], mode: str) -> str:
    """A trace's own colour, where it is a plain one."""
    look = trace.get("marker" if mode == "points" else "line")
    named = look.get("color") if isinstance(look, Mapping) else None
    return named if isinstance(named, str) and _HEX.fullmatch(named) else ""


def _numbers(values: Any) -> np.ndarray | None:
    """Numbers, moments as seconds; NaN for what is neither.  Plotly writes long arrays as bytes in base 64."""
    if isinstance(values, Mapping):
        return (
            np.frombuffer(base64.b64decode(values["bdata"]), np.dtype(values["dtype"])).astype(float).ravel()
        )
    if not isinstance(values, Sequence) or isinstance(values, str):
        return None
    return np.array([_number(value) for value in values], dtype=float)


def _number(value: Any) -> float:
    if isinstance(value, str):
        try:
            return datetime.datetime.fromisoformat(value).replace(tzinfo=datetime.UTC).timestamp()
        except ValueError:
            return math.nan
    return float(value) if isinstance(value, int | float) else math.nan


def _range(arrays: list[np.ndarray]) -> tuple[float, float]:
    known = np.concatenate(arrays)
    known = known[np.isfinite(known)]
    if not len(known):
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)
