"""A law of tokens over time: bars of how often each state was drawn, and the exact probabilities as marks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from torch import Tensor

from core.exact.chains import law_at, total_variation
from core.state import time64
from domains.common.plot_style import translucent
from domains.lab.distances import frequencies
from domains.lab.frames import EXACT, MADE, Frame, animated, note, rounded
from domains.lab.laws import TokenLaw


def state_names(law: TokenLaw) -> list[str]:
    """Of every joint state, the last token turning fastest; the mask is written as a dot."""
    size, masked = law.process.vocabulary, law.process.vocabulary > law.table.shape[0]
    letters = [chr(ord("A") + k) for k in range(size - masked)] + ["·"] * masked
    return ["".join(letters[k] for k in state) for state in product(range(size), repeat=law.length)]


def token_figure(
    law: TokenLaw,
    names: Sequence[str],
    times: Sequence[float],
    states: Sequence[Tensor],
    tilted: TokenLaw | None,
) -> dict[str, Any]:
    """Bars of the samples beside marks of the exact law, or of the exact tilted one, at each moment."""
    truth, labels, size = (tilted or law).table, state_names(law), law.process.vocabulary
    traces: list[dict[str, Any]] = [
        {
            "type": "bar",
            "name": "samples",
            "x": labels,
            "marker": {"color": translucent(MADE, 0.65), "line": {"width": 0}},
            "hovertemplate": "%{x}: %{y:.3f}<extra>samples</extra>",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "exact law",
            "x": labels,
            "marker": {
                "color": EXACT,
                "symbol": "line-ew",
                "size": 12 if law.length == 1 else 6,
                "line": {"color": EXACT, "width": 3},
            },
            "hovertemplate": "%{x}: %{y:.3f}<extra>exact</extra>",
        },
    ]
    frames, top = [], 0.0
    for name, t, x in zip(names, times, states, strict=True):
        exact = law_at(law.process, truth, time64(t)).flatten()
        seen = frequencies(x, size).flatten()
        if t == times[-1]:
            top = max(float(exact.max()), float(seen.max()))
        frames.append(Frame(name, [{"y": rounded(seen, 4)}, {"y": rounded(exact, 4)}]))
    layout = {
        "height": 480,
        "margin": {"l": 56, "r": 16, "t": 48, "b": 56},
        "bargap": 0.25,
        "xaxis": {"title": {"text": _axis(law)}, "type": "category"},
        "yaxis": {
            "title": {"text": "probability"},
            "range": [0, 1.12 * max(top, 0.05)],
            "rangemode": "tozero",
        },
        "annotations": [
            note("<b>samples</b>", MADE),
            note("exact tilted law" if tilted else "exact law", EXACT, 0.0, xshift=72),
        ],
    }
    return animated(traces, layout, frames)


def _axis(law: TokenLaw) -> str:
    masked = law.process.vocabulary > law.table.shape[0]
    return ("token" if law.length == 1 else "pair of tokens") + (", · is masked" if masked else "")


def total_variation_at_end(law: TokenLaw, x: Tensor) -> float:
    """Total variation of samples `[n, length]` from a law."""
    return total_variation(frequencies(x, law.process.vocabulary), law.table)
