"""The properties of a set of molecules as small histograms side by side, over those of a reference."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.common.plot_style import OBSERVED, PLOT_TEMPLATE, SECOND, TEXT, translucent
from domains.molecule.properties import PROPERTIES

_ACROSS, _BINS = 3, 24
_ROW, _GAP, _TOP = 200, 78, 56  # pixels
_COUNTED = ("rings", "H-bond donors")


def property_figure(
    values: NDArray[np.float64], reference: NDArray[np.float64] | None, title: str
) -> dict[str, Any]:
    """Histograms of every property, as shares of the molecules, as a plotly figure in a plain dict.

    Args:
        values: `[molecules, properties]` in the order of `PROPERTIES`.
        reference: The same of the molecules compared with; None where there are none.
        title: A line above.
    """
    rows = -(-len(PROPERTIES) // _ACROSS)
    inner = rows * _ROW + (rows - 1) * _GAP
    layout: dict[str, Any] = {
        "template": PLOT_TEMPLATE,
        "height": inner + _TOP + 48,
        "margin": {"l": 48, "r": 16, "t": _TOP, "b": 48},
        "barmode": "overlay",
        "bargap": 0.04,
        "annotations": [_words(title, 0, 1, 30, bold=True)],
    }
    data: list[dict[str, Any]] = []
    for place, prop in enumerate(PROPERTIES):
        row, column = divmod(place, _ACROSS)
        number = str(place + 1) if place else ""
        width, left = 1 / _ACROSS - 0.05, column / _ACROSS + (0.05 if column else 0)
        top = 1 - row * (_ROW + _GAP) / inner
        layout[f"xaxis{number}"] = {
            "domain": [left, min(1.0, left + width)],
            "anchor": f"y{number}",
            "title": {"text": f"{prop.name} ({prop.unit})" if prop.unit else prop.name},
        }
        layout[f"yaxis{number}"] = {
            "domain": [max(0.0, top - _ROW / inner), top],
            "anchor": f"x{number}",
            "rangemode": "tozero",
            "nticks": 4,
            "tickformat": ".0%",
        }
        sets = [("reference", reference[:, place], SECOND)] if reference is not None else []
        edges = _edges(prop.name, [values[:, place], *(item[1] for item in sets)])
        for label, own, colour in (*sets, ("these molecules", values[:, place], OBSERVED)):
            counts = np.histogram(own, edges)[0] / max(1, len(own))
            data.append(
                {
                    "type": "bar",
                    "x": [round(float(x), 5) for x in (edges[:-1] + edges[1:]) / 2],
                    "y": [round(float(y), 5) for y in counts],
                    "width": float(edges[1] - edges[0]),
                    "marker": {"color": translucent(colour, 0.55), "line": {"color": colour, "width": 1}},
                    "name": label,
                    "xaxis": f"x{number}",
                    "yaxis": f"y{number}",
                    "hovertemplate": f"{prop.name} %{{x:.3g}}: %{{y:.1%}}<extra>{label}</extra>",
                }
            )
    if reference is not None:
        layout["annotations"].append(_words("reference", 1, 1, 30, colour=SECOND, anchor="right"))
    return {"data": data, "layout": layout}


def _edges(name: str, samples: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    together = np.concatenate(samples)
    low, high = (float(together.min()), float(together.max())) if len(together) else (0.0, 1.0)
    if name in _COUNTED:
        return np.arange(np.floor(low) - 0.5, np.floor(high) + 1.5)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, _BINS + 1)


def _words(
    text: str, x: float, y: float, up: int, *, bold: bool = False, colour: str = TEXT, anchor: str = "left"
) -> dict[str, Any]:
    return {
        "text": f"<b>{text}</b>" if bold else text,
        "x": x,
        "y": y,
        "yshift": up,
        "xref": "paper",
        "yref": "paper",
        "xanchor": anchor,
        "showarrow": False,
        "font": {"color": colour},
    }
