"""A model's square window on a picture of any size: cut out and scaled, and put back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
_ROOM = 2.0  # side of the window over that of the region it is opened for


@dataclass(frozen=True)
class Window:
    """A square of a picture; what lies outside of the picture is its edge, repeated.

    Attributes:
        left, top, side: Pixels of the picture.
        model: Side at which the model works, pixels.
    """

    left: int
    top: int
    side: int
    model: int

    def cut(self, pixels: Pixels) -> Pixels:
        """The window of uint8 `[height, width, channels]`, scaled, `[model, model, channels]`."""
        height, width = pixels.shape[:2]
        rows = np.arange(self.top, self.top + self.side).clip(0, height - 1)
        columns = np.arange(self.left, self.left + self.side).clip(0, width - 1)
        return self._scaled(pixels[rows][:, columns], self.model)

    def cut_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The window of a mask `[height, width]`, `[model, model]`: True where any of its pixels is; outside, False."""
        square = np.zeros((self.side, self.side), bool)
        top, left, bottom, right = self._inside(mask.shape[0], mask.shape[1])
        square[top - self.top : bottom - self.top, left - self.left : right - self.left] = mask[
            top:bottom, left:right
        ]
        if self.side == self.model:
            return square
        as_picture = Image.fromarray(square.astype(np.uint8) * 255)
        smaller = as_picture.resize((self.model, self.model), Image.Resampling.BOX)
        return np.asarray(smaller) > 0

    def put_back(self, pixels: Pixels, drawn: Pixels, mask: NDArray[np.bool_]) -> Pixels:
        """`pixels` `[height, width, channels]` with `drawn` `[model, model, channels]` where `mask` is set.

        Where it is not set, nothing changes, to the bit.
        """
        top, left, bottom, right = self._inside(pixels.shape[0], pixels.shape[1])
        large = self._scaled(drawn, self.side)
        piece = large[top - self.top : bottom - self.top, left - self.left : right - self.left]
        out = pixels.copy()
        where = mask[top:bottom, left:right]
        out[top:bottom, left:right][where] = piece[where]
        return out

    def _inside(self, height: int, width: int) -> tuple[int, int, int, int]:
        return (
            max(0, self.top),
            max(0, self.left),
            min(height, self.top + self.side),
            min(width, self.left + self.side),
        )

    @staticmethod
    def _scaled(pixels: Pixels, side: int) -> Pixels:
        if pixels.shape[0] == side:
            return pixels
        way = Image.Resampling.LANCZOS if pixels.shape[0] > side else Image.Resampling.BICUBIC
        return np.asarray(Image.fromarray(pixels).resize((side, side), way))


def whole(height: int, width: int, model: int) -> Window:
    """The smallest window that shows all of a picture, which lies in its middle."""
    side = max(height, width)
    return Window((width - side) // 2, (height - side) // 2, side, model)


def around(mask: NDArray[np.bool_], model: int) -> Window:
    """A window around a region `[height, width]` with as much of its surroundings as of itself.

    It is no smaller than the model works at, and where the picture allows it lies within the picture.

    Raises:
        ValueError: If the mask is empty.
    """
    if not mask.any():
        raise ValueError("the region is empty")
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    extent = int(max(np.ptp(rows), np.ptp(columns))) + 1
    side = max(model, round(_ROOM * extent))
    if side >= max(height, width):
        return whole(height, width, model)

    def begin(centre: float, length: int) -> int:
        if side >= length:
            return (length - side) // 2
        return int(np.clip(round(centre - side / 2), 0, length - side))

    middle = (rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2
    return Window(begin(middle[1], width), begin(middle[0], height), side, model)
