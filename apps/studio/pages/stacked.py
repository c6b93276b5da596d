"""Two figures of the same task as one: the second below the first, with the same axes, so that zooming moves both."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

_AXIS = re.compile(r"([xy])axis(\d*)")
_NAME = re.compile(r"([xy])(\d*)( domain)?")
_GAP = 0.06  # of the height, half of it on either side of the middle


def stacked(first: Mapping[str, Any], second: Mapping[str, Any], titles: tuple[str, str]) -> dict[str, Any]:
    """One figure of two.

    Args:
        first, second: Plotly figures as plain dicts, drawn on axes of x and y.
        titles: What stands above each.
    """
    shift = max([1, *_numbers(first)])
    upper, lower = copy.deepcopy(dict(first)), copy.deepcopy(dict(second))
    layout: dict[str, Any] = {
        name: value
        for name, value in upper.get("layout", {}).items()
        if not _AXIS.fullmatch(name)
        and name not in ("annotations", "shapes", "sliders", "updatemenus", "title")
    }
    data: list[Any] = []
    annotations: list[Any] = []
    shapes: list[Any] = []
    for place, figure in enumerate((upper, lower)):
        by = shift * place
        own = figure.get("layout", {})
        axes = {name: value for name, value in own.items() if _AXIS.fullmatch(name)}
        axes = {"xaxis": {}, "yaxis": {}} | axes
        for name, axis in axes.items():
            kind, number = _AXIS.fullmatch(name).groups()  # type: ignore[union-attr]
            moved = {**axis}
            for link in ("anchor", "overlaying", "matches", "scaleanchor"):
                if isinstance(moved.get(link), str) and moved[link] != "free":
                    moved[link] = _renamed(moved[link], by)
            moved.pop("rangeslider", None)
            if kind == "y":
                moved["domain"] = [_half(edge, place) for edge in axis.get("domain", (0, 1))]
            else:
                moved.setdefault("anchor", _renamed("y", by))
            if kind == "y":
                moved.setdefault("anchor", _renamed("x", by))
            if place and _twin(name, first):
                moved["matches"] = f"{kind}{number}"
            layout[f"{kind}axis{_suffix(number, by)}"] = moved
        for trace in figure.get("data", ()):
            renamed = {**trace, "xaxis": _renamed(trace.get("xaxis", "x"), by)}
            renamed["yaxis"] = _renamed(trace.get("yaxis", "y"), by)
            if place:
                renamed["showlegend"] = False
            data.append(renamed)
        annotations += [_moved(item, by, place) for item in own.get("annotations", ())]
        shapes += [_moved(item, by, place) for item in own.get("shapes", ())]
        annotations.append(
            {
                "text": titles[place],
                "xref": "paper",
                "yref": "paper",
                "x": 0,
                "y": _half(1, place),
                "xanchor": "left",
                "yanchor": "bottom",
                "showarrow": False,
            }
        )
    layout |= {"annotations": annotations, "shapes": shapes}
    layout.pop("height", None)
    return {"data": data, "layout": layout}


def _numbers(figure: Mapping[str, Any]) -> list[int]:
    named = [_AXIS.fullmatch(name) for name in figure.get("layout", {})]
    used = [
        _NAME.fullmatch(str(t.get(key, key[0]))) for t in figure.get("data", ()) for key in ("xaxis", "yaxis")
    ]
    return [int(match[2] or 1) for match in (*named, *used) if match]


def _twin(name: str, figure: Mapping[str, Any]) -> bool:
    """Whether the other figure has this axis too."""
    return name in ("xaxis", "yaxis") or name in figure.get("layout", {})


def _suffix(number: str, by: int) -> str:
    moved = int(number or 1) + by
    return "" if moved == 1 else str(moved)


def _renamed(name: str, by: int) -> str:
    """`y2 domain` as the name of the axis in the joint figure; `paper` stays."""
    match = _NAME.fullmatch(name)
    return f"{match[1]}{_suffix(match[2], by)}{match[3] or ''}" if match else name


def _half(edge: float, place: int) -> float:
    """A height of a figure in the upper (0) or lower (1) half of the joint one."""
    room = 0.5 - _GAP
    return edge * room + (0.5 + _GAP / 2 if place == 0 else 0.0)


def _moved(item: Mapping[str, Any], by: int, place: int) -> dict[str, Any]:
    """An annotation or a shape at its place in the joint figure."""
    moved = dict(item)
    for key in ("xref", "yref", "axref", "ayref"):
        if isinstance(moved.get(key), str):
            moved[key] = _renamed(moved[key], by)
    if item.get("yref") == "paper":
        for key in ("y", "y0", "y1"):
            if isinstance(moved.get(key), int | float):
                moved[key] = _half(moved[key], place)
    return moved
