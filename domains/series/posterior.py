"""Posterior samples of a table's missing values: windows in batches, one walk of the core's loop for each batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.checkpoint import BadModel
from core.noise import Noise
from core.sampling import NotFinite, sample
from domains.common.errors import BadInput
from domains.common.models import find_model
from domains.common.sampling import grid_of, noise_of, refuse_guidance, solver_of
from domains.common.task import Sampling
from domains.series.anchors import Anchors, anchors
from domains.series.model import SeriesModel, load_series_model
from domains.series.windows import TiledNoise, Window, fade_weights, plan, slice_rows

Watch = Callable[[float, float, Tensor | None], None]
OVERLAP = 64
# Tokens of noisy windows that are denoised at once; more does not go faster and takes memory.
TOKENS_AT_ONCE = 40_000
WINDOWS_READ_AT_ONCE = 8


@lru_cache(maxsize=4)
def _load(folder: Path, stamp: int, device: str) -> SeriesModel:
    return load_series_model(folder, device)


def series_model(name: str | None, device: str = "cpu") -> SeriesModel:
    """A built-in model by name (default `series-base`), or one in a folder that `train` made.

    Raises:
        BadInput: If there is none or it is damaged.
    """
    found = find_model(name or "series-base")
    try:
        return _load(found.folder, found.weights.stat().st_mtime_ns, device)
    except (BadModel, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise BadInput("model", f"{found.name} cannot be used: {error}") from None


class Posterior:
    """Samples of the missing values of one table.

    Args:
        values: `[rows, columns]`, NaN where missing.
        model: The model.
        sampling: Solver, steps, seed.
        samples: Samples.
        device: Where the network runs.
    """

    def __init__(
        self, values: NDArray[np.floating], model: SeriesModel, sampling: Sampling, samples: int, device: str = "cpu"
    ) -> None:
        refuse_guidance(sampling)
        self.model, self.sampling, self.samples, self.device = model, sampling, samples, device
        table = np.asarray(values, np.float64)
        present = np.isfinite(table)
        # Float32 comes after centring: a year of Unix seconds, or a price with a large base, keeps its digits.
        self.centre = np.array([np.median(c[m]) if m.any() else 0.0 for c, m in zip(table.T, present.T, strict=True)])
        centred = np.where(present, table - self.centre, 0.0)
        self.unit = np.maximum(np.abs(centred).max(0), 1e-30)
        self.values = torch.from_numpy((centred / self.unit).T.astype(np.float32))
        self.present = torch.from_numpy(present.T.copy())
        self.floor = np.array([0.0 if m.any() and c[m].min() >= 0 else -np.inf for c, m in zip(table.T, present.T, strict=True)])
        self.rows = table.shape[0]
        self.windows = plan(self.rows, model.window, model.context, OVERLAP)
        self.weights = fade_weights(self.windows, self.rows)

    def _window_anchors(self, windows: list[Window]) -> Anchors:
        context, n = self.model.context, self.model.window
        values = torch.stack([slice_rows(self.values, w.context_begin, context) for w in windows])
        present = torch.stack([slice_rows(self.present, w.context_begin, context) for w in windows])
        start = torch.tensor([w.begin - w.context_begin for w in windows])
        level = scale = None
        if self.rows > context:
            count = self.present.sum(1, keepdim=True).clamp_min(1)
            level = ((self.values * self.present).sum(1, keepdim=True) / count).expand(len(windows), -1, -1)
            spread = ((self.values - level[0]).square() * self.present).sum(1, keepdim=True) / count
            scale = spread.sqrt().clamp_min(1e-6).expand(len(windows), -1, -1)
        return anchors(values, present, start, n, level, scale)

    def _missing(self, w: Window) -> Tensor:
        """1 where the window has an entry to denoise; rows past the table's end have none."""
        hole = (~self.present[:, w.begin : w.begin + self.model.window]).float()
        return torch.nn.functional.pad(hole, (0, self.model.window - hole.shape[1]))

    def anchor(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The anchors alone: mean and standard deviation `[rows, columns]` in the table's units."""
        mean = torch.zeros(len(self.values), self.rows, dtype=torch.float64)
        std = torch.zeros_like(mean)
        for w, weight in zip(self.windows, self.weights, strict=True):
            a = self._window_anchors([w])
            inner = slice(w.keep_from - w.begin, w.keep_to - w.begin)
            mean[:, w.keep_from : w.keep_to] += weight * (a.level + a.scale * a.mean)[0, :, inner]
            std[:, w.keep_from : w.keep_to] += weight * (a.scale * a.std)[0, :, inner]
        return mean.T.numpy() * self.unit + self.centre, std.T.numpy() * self.unit

    @torch.inference_mode()
    def draw(self, watch: Watch | None = None) -> NDArray[np.float64]:
        """Posterior samples `[samples, rows, columns]`; observed entries are repeated as they are.

        Args:
            watch: Called with (work done, work in all, state now) at every denoiser step; may raise to stop.
        """
        noise = noise_of(self.sampling, self.samples)
        tiles = TiledNoise(noise.at("prior"), len(self.values))
        out = torch.where(self.present, self.values, 0.0).expand(self.samples, -1, -1).clone()
        open_windows = [k for k, w in enumerate(self.windows) if bool(self._missing(w).any())]
        holes = ~self.present
        for w in (self.windows[k] for k in open_windows):
            out[..., w.keep_from : w.keep_to] *= self.present[:, w.keep_from : w.keep_to]
        done, total = 0.0, float(max(1, len(open_windows) * self.sampling.steps))
        for first in range(0, len(open_windows), WINDOWS_READ_AT_ONCE):
            group = open_windows[first : first + WINDOWS_READ_AT_ONCE]
            a = self._window_anchors([self.windows[k] for k in group])
            with self._autocast():
                memory = self.model.read(_to(a, self.device))
            for i, k in enumerate(group):
                w = self.windows[k]
                prior = tiles.rows(w.begin, self.model.window)
                one = _take(a, i)

                def report(step: int, state: Tensor, base: float = done) -> None:
                    if watch is not None:
                        watch(base + step, total, state)

                state = self._walk(memory[i], self._missing(w), prior, noise.at("window", w.begin), report)
                done += self.sampling.steps
                inner = slice(w.keep_from - w.begin, w.keep_to - w.begin)
                drawn = one.restore(state)[..., inner] * holes[:, w.keep_from : w.keep_to]
                out[..., w.keep_from : w.keep_to] += self.weights[k] * drawn
        return self._restore(out)

    def _walk(
        self, memory: Tensor, where: Tensor, prior: Tensor, noise: Noise, report: Callable[[int, Tensor], None]
    ) -> Tensor:
        """One window: `[samples, columns, window]` from prior noise to the model's clean state."""
        per_sample = memory.shape[0] * memory.shape[1]
        size = max(1, TOKENS_AT_ONCE // per_sample)
        where = where.to(self.device)
        pieces = []
        for low in range(0, self.samples, size):
            index = range(low, min(self.samples, low + size))
            many = where.expand(len(index), -1, -1)
            cond = {"memory": memory.expand(len(index), *memory.shape), "where": many}
            f = self.model.denoiser(many).given(cond)
            x = prior[index.start : index.stop].to(self.device) * many
            grid = grid_of(self.sampling, f.process.schedule)
            x = x * f.process.schedule(grid[0])[1]
            share = len(index) / self.samples
            with self._autocast():
                try:
                    for step in sample(f, solver_of(self.sampling), x, grid, noise.take(index)):
                        x = step.x
                        report(round(low / self.samples * self.sampling.steps + share * step.index), x)
                except NotFinite as error:
                    raise BadInput("table", f"sampling broke down ({error}); look for extreme values") from None
            pieces.append(x.float().cpu())
        return torch.cat(pieces)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16)

    def _restore(self, out: Tensor) -> NDArray[np.float64]:
        """Back to the table's units; values never seen below zero are not put there."""
        values = out.permute(0, 2, 1).numpy() * self.unit + self.centre
        return np.maximum(values, self.floor).astype(np.float64)


def _take(a: Anchors, i: int) -> Anchors:
    return Anchors(**{k: v[i] for k, v in vars(a).items()})


def _to(a: Anchors, device: str) -> Anchors:
    return Anchors(**{k: v.to(device) for k, v in vars(a).items()})
