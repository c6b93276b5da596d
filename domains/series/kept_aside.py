"""Tables that no model is trained on: what one is judged by while it trains, and its bands are calibrated on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from domains.common.errors import BadInput
from domains.series.corpus import real_sources
from domains.series.judge import Case, make_cases

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "timeseries"
# Data without a stated licence is not trained on.
LEFT_OUT = ("exchange",)
_TABLES, _COLUMNS, _ROWS = 10, 8, 200


def data_folder(data: Path | None) -> Path:
    """The folder of time series that was named, or that lies beside the project.

    Raises:
        BadInput: If it is not there.
    """
    folder = data or DATA
    if not folder.is_dir():
        raise BadInput(
            "data", "the training data is not there; name its folder, or a table of yours to fine-tune on"
        )
    return folder / "timeseries" if (folder / "timeseries").is_dir() else folder


def kept_aside(folder: Path, context: int) -> list[Case]:
    """Ten pieces of `context` rows, of tables whose people and stations are in no training, with values hidden."""
    aside = [
        s for s in real_sources(folder, "validation") if s.group not in LEFT_OUT and len(s.values) >= _ROWS
    ]
    rng = np.random.default_rng(1)
    tables = []
    for source in [aside[i] for i in rng.permutation(len(aside))[:_TABLES]]:
        first = int(rng.integers(0, max(1, len(source.values) - context + 1)))
        piece = source.values[first : first + context, :_COLUMNS]
        tables.append((source.name, piece[:, np.isfinite(piece).sum(axis=0) > 20]))
    return make_cases([t for t in tables if t[1].shape[1]])
