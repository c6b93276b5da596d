"""Posterior samples of a table's missing values: windows in batches, one walk of the core's loop for each batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.noise import Noise
from core.sampling import Counted, NotFinite, Step, sample
from domains.common.errors import BadInput
from domains.common.loaded_models import LoadedModels
from domains.common.resuming import Forgetful, Keeps, step_from, step_kept
from domains.common.sampling import noise_of, refuse_guidance, walk_of
from domains.common.task import Sampling
from domains.series.anchors import Anchors, anchors, table_facts
from domains.series.model import SeriesModel, load_series_model
from domains.series.windows import TiledNoise, Window, fade_weights, plan, slice_rows

Watch = Callable[[float, float, Callable[[], NDArray[np.float64]]], None]
OVERLAP_SHARE = 3  # neighbouring windows share a third of their rows
# Tokens of noisy windows that are denoised at once; more does not go faster and takes memory.
TOKENS_AT_ONCE = 4_000
WINDOWS_READ_AT_ONCE = 8


# A built-in model by name (default `series-base`), or one in a folder that `train` made.
series_model = LoadedModels(load_series_model, "series-base")


class Denoised(NamedTuple):
    """What a walk came to: states `[samples, columns, window]`, and denoiser evaluations a sample."""

    states: Tensor
    evaluations: int


def denoise(
    model: SeriesModel,
    memory: Tensor,
    where: Tensor,
    prior: Tensor,
    noise: Noise,
    sampling: Sampling,
    report: Callable[[int, range, Tensor], None],
    keep: Callable[[Callable[[], dict[str, Any]]], None] | None = None,
    kept: Mapping[str, Any] | None = None,
) -> Denoised:
    """One window from prior noise to the model's clean state, by the core's loop.

    Args:
        memory: `[samples or 1, columns, tokens, width]`; one for all samples, or one each.
        where: `[samples or 1, columns, window]`, 1 at entries to denoise.
        prior: `[samples, columns, window]`, standard normal.
        noise: One stream a sample.
        report: Called after each step with (steps done, which samples are walked, their state); may raise to stop.
        keep: Offered, after each step, a function that makes what is needed to go on from here.
        kept: What such a function made in an earlier attempt.

    Returns:
        States `[samples, columns, window]`, and the denoiser evaluations that each took.
    """
    device = str(next(model.network.parameters()).device)
    samples = len(prior)
    if (
        samples == 1
    ):  # a product with one row has kernels of its own, which round otherwise than those of a batch
        two = prior.expand(2, *prior.shape[1:]), noise.take([0, 0])

        def first(step: int, _: range, state: Tensor) -> None:
            report(step, range(1), state[:1])

        states, evaluations = denoise(model, memory, where, *two, sampling, first, keep, kept)
        return Denoised(states[:1], evaluations)
    size = max(2, TOKENS_AT_ONCE // (memory.shape[1] * memory.shape[2]))
    kept = kept or {"pieces": [], "most": 0, "low": 0, "step": None}
    pieces, most = list(kept["pieces"]), kept["most"]
    high = kept["low"]
    while high < samples:
        low, high = high, high + size
        if high >= samples - 1:  # none is walked alone
            high = samples
        index = range(low, high)

        def mine(v: Tensor, index: range = index) -> Tensor:
            chosen = v[index.start : index.stop] if len(v) == samples else v.expand(len(index), *v.shape[1:])
            return chosen.to(device)

        many = mine(where)
        bound = model.denoiser(many).given({"memory": mine(memory), "where": many})
        solver, times = walk_of(sampling, bound.process, model.card)
        x = mine(prior) * many * bound.process.schedule(times[0])[1] * model.spread(sampling)
        f, resume = Counted(bound), None
        if low == kept["low"] and kept["step"] is not None:
            f.counter[0], resume = kept["nfe"], step_from(kept["step"], device)
            x = resume.x
        with _autocast(device):
            for step in sample(f, solver, x, times, noise.take(index), resume=resume):
                x = step.x
                if keep is not None:
                    done_before = {"pieces": pieces, "most": most, "low": low, "nfe": f.nfe}
                    keep(partial(_walk_kept, done_before, step))
                done = (low + len(index) * step.index / sampling.steps) / samples
                report(round(done * sampling.steps), index, x)
        pieces.append(x.float().cpu())
        most = max(most, f.nfe)
    return Denoised(torch.cat(pieces), most)


def _walk_kept(before: dict[str, Any], step: Step) -> dict[str, Any]:
    return {**before, "step": step_kept(step)}


def _autocast(device: str) -> torch.autocast:
    return torch.autocast(torch.device(device).type, torch.bfloat16)


@dataclass(frozen=True)
class Units:
    """A table's values in float32 without loss: centred and scaled in float64 first, column by column.

    Attributes:
        centre, unit: `[columns]`; value = centre + unit * stored.
        floor: `[columns]`, 0 for columns never seen below zero, minus infinity for others.
        values: Float32 `[columns, rows]`, 0 where missing.
        present: Bool `[columns, rows]`.
    """

    centre: NDArray[np.float64]
    unit: NDArray[np.float64]
    floor: NDArray[np.float64]
    values: Tensor
    present: Tensor

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> Units:
        """From `[rows, columns]`, NaN where missing."""
        table = np.asarray(values, np.float64)
        present = np.isfinite(table)
        columns = [c[m] if m.any() else np.zeros(1) for c, m in zip(table.T, present.T, strict=True)]
        centre = np.array([np.median(c) for c in columns])
        unit = np.array(
            [max(float(np.abs(c - m).max()), 1e-30) for c, m in zip(columns, centre, strict=True)]
        )
        floor = np.array([0.0 if c.min() >= 0 else -np.inf for c in columns])
        stored = np.where(present, (table - centre) / unit, 0.0)
        return cls(
            centre,
            unit,
            floor,
            torch.from_numpy(stored.T.astype(np.float32)),
            torch.from_numpy(present.T.copy()),
        )

    def restore(self, stored: Tensor) -> NDArray[np.float64]:
        """`[..., columns, rows]` to the table's units and `[..., rows, columns]`; never below the floor."""
        out = stored.transpose(-1, -2).numpy().astype(np.float64) * self.unit + self.centre
        return np.maximum(out, self.floor)


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
        self,
        values: NDArray[np.floating],
        model: SeriesModel,
        sampling: Sampling,
        samples: int,
        device: str = "cpu",
    ) -> None:
        refuse_guidance(sampling)
        self.model, self.sampling, self.samples, self.device = model, sampling, samples, device
        self.evaluations = 0  # of the denoiser, a sample and window
        self.units = Units.of(values)
        self.values, self.present = self.units.values, self.units.present
        self.rows = len(values)
        # Level, scale and season of the whole table: a context with few values leans on them.
        self.whole = table_facts(self.values[None], self.present[None], model.context // 2)
        self.windows = plan(self.rows, model.window, model.context, model.window // OVERLAP_SHARE)
        self.weights = fade_weights(self.windows, self.rows)

    def _window_anchors(self, windows: list[Window]) -> Anchors:
        context, n = self.model.context, self.model.window
        values = torch.stack([slice_rows(self.values, w.context_begin, context) for w in windows])
        present = torch.stack([slice_rows(self.present, w.context_begin, context) for w in windows])
        start = torch.tensor([w.begin - w.context_begin for w in windows])
        many = len(windows)
        level, scale, period, strength = (v.expand(many, -1, -1) for v in self.whole)
        return anchors(values, present, start, n, level, scale, (period, strength))

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
        return self.units.restore(mean), std.T.numpy() * self.units.unit

    @torch.inference_mode()
    def draw(self, watch: Watch | None = None, keeps: Keeps | None = None) -> NDArray[np.float64]:
        """Posterior samples `[samples, rows, columns]`; observed entries are repeated as they are.

        Args:
            watch: Called with (work done, work in all, snapshot) at every denoiser step, where `snapshot()` gives the
                samples as they are now, NaN where nothing is yet known of a cell; may raise to stop.
            keeps: Remembers how far the walk is; one that was left goes on from there.
        """
        noise = noise_of(self.sampling, self.samples)
        tiles = TiledNoise(noise.at("prior"), len(self.values))
        keeps = keeps or Forgetful()
        kept = keeps.kept("posterior") or {"window": 0, "walk": None}
        out = kept.get("out", torch.zeros(self.samples, *self.values.shape))
        touched = kept.get("touched", torch.zeros(self.rows, dtype=torch.bool))
        self.evaluations = kept.get("evaluations", 0)
        todo = [w for w in self.windows if bool(self._missing(w).any())]
        total = float(max(1, len(todo) * self.sampling.steps))
        weight_of = dict(zip(self.windows, self.weights, strict=True))

        def add(w: Window, a: Anchors, state: Tensor, target: Tensor) -> None:
            inner = slice(w.keep_from - w.begin, w.keep_to - w.begin)
            target[..., w.keep_from : w.keep_to] += weight_of[w] * a.restore(state)[..., inner]

        for first in range(0, len(todo), WINDOWS_READ_AT_ONCE):
            group = todo[first : first + WINDOWS_READ_AT_ONCE]
            if first + len(group) <= kept["window"]:
                continue
            several = self._window_anchors(group)
            with _autocast(self.device):
                memory = self.model.read(_to(several, self.device))
            for i, w in enumerate(group):
                if first + i < kept["window"]:
                    continue

                def keep(make: Callable[[], dict[str, Any]], window: int = first + i) -> None:
                    table = {"out": out, "touched": touched, "evaluations": self.evaluations}
                    keeps.keep("posterior", lambda: {"window": window, "walk": make(), **table})

                a, base = _take(several, i), (first + i) * self.sampling.steps

                def report(
                    step: int, which: range, state: Tensor, w: Window = w, a: Anchors = a, base: int = base
                ) -> None:
                    if watch is None:
                        return

                    def snapshot() -> NDArray[np.float64]:
                        now, known = out[which.start : which.stop].clone(), touched.clone()
                        add(w, a, state.float().cpu(), now)
                        known[w.keep_from : w.keep_to] = True
                        now = torch.where(self.present, self.values, torch.where(known, now, torch.nan))
                        return self.units.restore(now)

                    watch(base + step, total, snapshot)

                prior = tiles.rows(w.begin, self.model.window)
                where = self._missing(w)[None]
                try:
                    states, evaluations = denoise(
                        self.model,
                        memory[i : i + 1],
                        where,
                        prior,
                        noise.at("window", w.begin),
                        self.sampling,
                        report,
                        keep,
                        kept["walk"] if first + i == kept["window"] else None,
                    )
                except NotFinite as error:
                    raise BadInput(
                        "table", f"sampling broke down ({error}); look for extreme values"
                    ) from None
                add(w, a, states, out)
                self.evaluations = max(self.evaluations, evaluations)
                touched[w.keep_from : w.keep_to] = True
        return self.units.restore(torch.where(self.present, self.values, out))


def _take(a: Anchors, i: int) -> Anchors:
    return Anchors(**{k: v[i] for k, v in vars(a).items()})


def _to(a: Anchors, device: str) -> Anchors:
    return Anchors(**{k: v.to(device) for k, v in vars(a).items()})
