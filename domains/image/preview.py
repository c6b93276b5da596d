"""The picture that is on its way, as a plotly figure: what a page can show while a run goes on."""

from __future__ import annotations

import base64
import io
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from domains.common.task import Run
from domains.image.files import to_bytes

_SECONDS = 0.7  # between previews
_SHOWN = 16  # pictures at most
_GAP = 4


def tiled(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 `[n, height, width, channels]` -> one picture, about square, with gaps of light grey."""
    count, height, width, channels = pixels.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    shape = (rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, channels)
    sheet = np.full(shape, 236, np.uint8)
    for k, picture in enumerate(pixels):
        top, left = k // columns * (height + _GAP), k % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def picture_figure(pixels: NDArray[np.uint8]) -> dict[str, Any]:
    """A plotly figure that shows uint8 `[height, width, 3 or 4]` without axes, its pixels square."""
    height, width = pixels.shape[:2]
    scale = max(1, 512 // max(height, width))
    packed = io.BytesIO()
    Image.fromarray(pixels).resize((width * scale, height * scale), Image.Resampling.NEAREST).save(
        packed, "PNG"
    )
    source = "data:image/png;base64," + base64.b64encode(packed.getvalue()).decode("ascii")
    axis = {"visible": False, "fixedrange": True}
    return {
        "data": [],
        "layout": {
            "images": [
                {"source": source, "xref": "x", "yref": "y", "x": 0, "y": 0, "sizex": width, "sizey": height}
            ],
            "xaxis": {**axis, "range": [0, width]},
            "yaxis": {**axis, "range": [height, 0], "scaleanchor": "x"},
            "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        },
    }


class Watch:
    """Reports progress of a walk, and shows the predictions now and then.

    Args:
        run: That is told.
        count: Pictures in all, each as often as it is walked.
        before: Of these, how many were done by earlier walks.
    """

    def __init__(self, run: Run, count: int, before: int = 0) -> None:
        self.run, self.count, self.before, self.last = run, count, before, 0.0
        self.shown: dict[int, NDArray[np.uint8]] = {}

    def __call__(self, step: int, steps: int, index: range, prediction: Tensor) -> None:
        """To be handed to `walk` as `report`; raises where the person cancelled."""
        self.run.progress(self.before + index.start + len(index) * step / steps, self.count, "denoising")
        if time.monotonic() - self.last < _SECONDS and step < steps:
            return
        for k, picture in zip(index, to_bytes(prediction), strict=True):
            if k < _SHOWN:
                self.shown[k] = picture
        if index.start < _SHOWN:
            self.run.preview(picture_figure(tiled(np.stack([self.shown[k] for k in sorted(self.shown)]))))
        self.last = time.monotonic()
