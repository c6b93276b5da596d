"""Plotly figures on their way to the page: as JSON that gradio's own viewer draws, without importing plotly here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from gradio.components.plot import PlotData

_TOOLS_NOBODY_ASKS_FOR = ["select2d", "lasso2d", "autoScale2d", "toggleSpikelines"]


def plot_data(figure: Mapping[str, Any] | Path) -> PlotData:
    """A figure, or the file that holds one, for `gr.Plot`.

    Zoom and pan survive the previews of one run, since all its figures carry the same `uirevision`.
    """
    loaded = json.loads(figure.read_text("utf-8")) if isinstance(figure, Path) else figure
    layout = {"uirevision": "run", **loaded.get("layout", {})}
    layout.pop("width", None)
    layout |= {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}  # the sheet shows through, light or dark
    config = {
        "displaylogo": False,
        "modeBarButtonsToRemove": _TOOLS_NOBODY_ASKS_FOR,
        **loaded.get("config", {}),
    }
    shown = {"data": list(loaded.get("data", ())), "layout": layout, "config": config}
    # orjson, which gradio brings along, writes numpy arrays as lists and NaN (a gap) as null, as a browser wants them.
    return PlotData(type="plotly", plot=orjson.dumps(shown, option=orjson.OPT_SERIALIZE_NUMPY).decode())
