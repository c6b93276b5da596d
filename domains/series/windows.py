"""Overlapping windows over a table of any length, each with the context that its anchors are made from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.noise import Noise

# Rows over which two windows' samples are cross-faded, in the middle of their overlap.
FADE = 16
# Noise of the prior is addressed by tiles of the table, so that overlapping windows begin from the same numbers.
TILE = 64


@dataclass(frozen=True)
class Window:
    """One window of a table, in rows.

    Attributes:
        begin: First row of the window (may leave rows past the table's end, which are not shown).
        context_begin: First row of the context that surrounds it.
        keep_from, keep_to: The rows for which this window answers, cross-fades included.
    """

    begin: int
    context_begin: int
    keep_from: int
    keep_to: int


def plan(rows: int, window: int, context: int, overlap: int) -> list[Window]:
    """Windows that cover `rows`, neighbours overlapping by `overlap`; the last one ends with the table.

    A table shorter than a window gets one that begins at its first row.
    """
    last = max(0, rows - window)
    begins = [*range(0, last, window - overlap), last]
    out = []
    for k, begin in enumerate(begins):
        middle = begin + window // 2
        context_begin = min(max(0, middle - context // 2), max(0, rows - context))
        left = 0 if k == 0 else (begins[k - 1] + window + begin) // 2 - FADE // 2
        right = rows if k == len(begins) - 1 else (begin + window + begins[k + 1]) // 2 + (FADE + 1) // 2
        out.append(Window(begin, context_begin, max(left, begin), min(right, begin + window, rows)))
    return out


def fade_weights(windows: list[Window], rows: int) -> list[Tensor]:
    """Weights of each window over the rows it answers for; they sum to one at every row of the table."""
    raw = []
    total = torch.zeros(rows)
    for k, w in enumerate(windows):
        ramp = torch.ones(w.keep_to - w.keep_from)
        if k > 0:
            shared = windows[k - 1].keep_to - w.keep_from
            ramp[:shared] = (torch.arange(shared) + 0.5) / shared
        if k < len(windows) - 1:
            shared = w.keep_to - windows[k + 1].keep_from
            ramp[len(ramp) - shared :] *= 1 - (torch.arange(shared) + 0.5) / shared
        raw.append(ramp)
        total[w.keep_from : w.keep_to] += ramp
    return [r / total[w.keep_from : w.keep_to] for r, w in zip(raw, windows, strict=True)]


def slice_rows(full: Tensor, begin: int, length: int) -> Tensor:
    """Rows `begin` to `begin + length` of `[columns, rows]`, padded with zeros past the end."""
    piece = full[:, begin : begin + length]
    return torch.nn.functional.pad(piece, (0, length - piece.shape[1]))


class TiledNoise:
    """Prior noise by absolute row: `[samples, columns, rows]` standard normal numbers for any range of rows."""

    def __init__(self, noise: Noise, columns: int) -> None:
        self.noise, self.columns = noise, columns
        self._tiles: dict[int, Tensor] = {}

    def rows(self, begin: int, length: int) -> Tensor:
        """Numbers for rows `begin` to `begin + length`; windows must be asked for in rising order of `begin`."""
        first, last = begin // TILE, (begin + length - 1) // TILE
        for old in [k for k in self._tiles if k < first]:
            del self._tiles[old]
        like = torch.empty(len(self.noise), self.columns, TILE)
        for k in range(first, last + 1):
            if k not in self._tiles:
                self._tiles[k] = self.noise.at("rows", k).normal(like)
        wide = torch.cat([self._tiles[k] for k in range(first, last + 1)], -1)
        return wide[..., begin - first * TILE : begin - first * TILE + length]
