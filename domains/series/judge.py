"""Judging a series model while it trains: CRPS on tables kept aside, beside the anchors it starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray

from core.metrics.probabilistic import crps_gaussian, crps_samples
from domains.common.task import Sampling
from domains.series.masks import missing_at_random, missing_blocks
from domains.series.model import SeriesModel
from domains.series.posterior import Posterior

SAMPLES = 24
WALK = Sampling(steps=8)


@dataclass(frozen=True)
class Case:
    """A table with values hidden on purpose.

    Attributes:
        name: What it is.
        truth: `[rows, columns]`, NaN where the value is truly missing.
        hidden: Bool, the entries that are hidden and scored.
    """

    name: str
    truth: NDArray[np.float64]
    hidden: NDArray[np.bool_]

    @property
    def shown(self) -> NDArray[np.float64]:
        """What the model sees."""
        return np.where(self.hidden, np.nan, self.truth)


def make_cases(tables: list[tuple[str, NDArray[np.floating]]], seed: int = 0) -> list[Case]:
    """One case a table, with 50 %, 10 % and 90 % at random, blocks, and an unknown end by turns."""
    cases = []
    for k, (name, values) in enumerate(tables):
        rng = np.random.default_rng([seed, k])
        truth = np.asarray(values, np.float64)
        shape = (truth.shape[0], truth.shape[1])
        kind = ("50 %", "blocks", "10 %", "90 %", "end")[k % 5]
        if kind == "blocks":
            hidden = missing_blocks(rng, shape, min(24, shape[0] // 4), 0.2)
        elif kind == "end":
            hidden = np.zeros(shape, bool)
            hidden[-min(48, shape[0] // 4) :] = True
        else:
            hidden = missing_at_random(rng, shape, float(kind.split()[0]) / 100)
        hidden &= np.isfinite(truth)
        for column in range(shape[1]):  # nothing can be said of a column without any value
            if not (np.isfinite(truth[:, column]) & ~hidden[:, column]).any():
                hidden[:, column] = False
        if hidden.any():
            cases.append(Case(f"{name}, {kind}", truth, hidden))
    return cases


def judge(
    model: SeriesModel, cases: list[Case], device: str, sampling: Sampling = WALK
) -> tuple[dict[str, float], list[NDArray[np.float64]]]:
    """Scores a model.

    Returns:
        Mean over cases of CRPS (fair estimator), of the anchors' CRPS, and 90 % coverage, errors in each column's
        standard deviations; and each case's samples `[samples, rows, columns]`.
    """
    rows, drawn = [], []
    for case in cases:
        usable = np.isfinite(case.shown).any(axis=0)
        posterior = Posterior(case.shown[:, usable], model, sampling, SAMPLES, device)
        mean, std = posterior.anchor()
        samples = posterior.draw()
        truth, hidden = case.truth[:, usable], case.hidden[:, usable]
        unit = np.nanstd(truth, axis=0)
        unit = torch.from_numpy(np.where(unit > 0, unit, 1.0))
        target = torch.from_numpy(np.nan_to_num(truth))
        scored = torch.from_numpy(hidden)
        ours = (crps_samples(torch.from_numpy(samples), target) / unit)[scored]
        theirs = (crps_gaussian(torch.from_numpy(mean), torch.from_numpy(std), target) / unit)[scored]
        low, high = np.quantile(samples, (0.05, 0.95), axis=0, method="weibull")
        inside = ((truth >= low) & (truth <= high))[hidden]
        rows.append((float(ours.mean()), float(theirs.mean()), float(inside.mean())))
        full = np.full((SAMPLES, *case.truth.shape), np.nan)
        full[:, :, usable] = samples
        drawn.append(full)
    crps, anchor, cover = np.mean(rows, axis=0)
    return {"crps": float(crps), "anchor_crps": float(anchor), "coverage_90": float(cover)}, drawn


PRIOR_STDS = (1.0, 1.05, 1.1, 1.15, 1.2)


def calibrate(
    model: SeriesModel, cases: list[Case], device: str, sampling: Sampling = WALK
) -> tuple[float, list[dict[str, float]]]:
    """The standard deviation of the prior's noise with the lowest CRPS on tables kept aside.

    It belongs to a walk: coarse steps narrow the bands, and a grid that was fitted does so less.

    Returns:
        It, and the scores at each one tried.
    """
    tried = []
    for std in PRIOR_STDS:
        scores, _ = judge(replace(model, prior_std=std, prior_stds={}), cases, device, sampling)
        tried.append({"prior_std": std, **{k: round(v, 5) for k, v in scores.items()}})
    return min(tried, key=lambda row: row["crps"])["prior_std"], tried


def sample_sheet(cases: list[Case], drawn: list[NDArray[np.float64]], path: Path) -> None:
    """A picture of each case's first column: truth, what was shown, and the samples' band."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(cases), 1, figsize=(11, 1.9 * len(cases)), squeeze=False)
    for axis, case, samples in zip(axes[:, 0], cases, drawn, strict=True):
        column = int(case.hidden.sum(axis=0).argmax())
        rows = np.arange(len(case.truth))
        low, middle, high = np.quantile(samples[:, :, column], (0.05, 0.5, 0.95), axis=0)
        where = case.hidden[:, column]
        band = [np.where(where, edge, np.nan) for edge in (low, high)]
        axis.fill_between(rows, *band, color="#d98b4a", alpha=0.35, step="mid", linewidth=0)
        axis.plot(rows, np.where(where, middle, np.nan), ".", color="#b8560f", markersize=2.5)
        axis.plot(rows, case.truth[:, column], color="#9aa5ad", linewidth=0.7)
        axis.plot(rows, case.shown[:, column], ".", color="#1b7f8f", markersize=2)
        axis.set_title(case.name, fontsize=8, loc="left")
        axis.tick_params(labelsize=6)
    figure.tight_layout()
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, dpi=90, format="png")
    pyplot.close(figure)
    temporary.replace(path)
