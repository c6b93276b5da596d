"""`launch.py train series-base`: the built-in model from scratch, or fine-tuned on a person's own table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from domains.common.errors import BadInput
from domains.common.training_loop import Course, Scores, Told, averaged, check_new, follow, publish
from domains.common.training_report import in_processes
from domains.common.training_settings import parse_settings
from domains.series.corpus import Source, real_sources
from domains.series.judge import Case, calibrate, judge, make_cases, sample_sheet
from domains.series.kept_aside import LEFT_OUT, data_folder, kept_aside
from domains.series.model import SeriesModel, new_model
from domains.series.posterior import series_model
from domains.series.stream import TrainingStream
from domains.series.table import read_table
from domains.series.training import (
    DEFAULTS,
    FINE_TUNING,
    batch_loss,
    model_config,
)

NOISE_STRIDE = 1_000_003


@dataclass(frozen=True)
class TableStream(TrainingStream):
    """Batches from one table, all its columns in place, for fine-tuning.

    Attributes:
        table: Float32 `[columns, rows]`, NaN where missing.
    """

    table: Any = None

    def _draw_columns(self, rng: np.random.Generator) -> int:
        return min(len(self.table), self.max_columns)

    def _draw_values(
        self, rng: np.random.Generator, items: int, columns: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        values = np.full((items, columns, self.context), np.nan, np.float32)
        rows = self.table.shape[1]
        for item in range(items):
            chosen = np.arange(columns)
            if columns < len(self.table):
                chosen = np.sort(rng.permutation(len(self.table))[:columns])
            first = int(rng.integers(0, max(1, rows - self.context + 1)))
            piece = self.table[chosen, first : first + self.context]
            values[item, :, : piece.shape[1]] = piece
        return values, np.ones((items, columns), bool)


@dataclass(frozen=True)
class Job:
    """Everything a training process needs, so that several can be started alike."""

    stream: TrainingStream
    cases: list[Case]
    settings: dict[str, Any]
    base: str | None
    card: dict[str, Any]
    resume: bool
    device: str
    out: Path


def train(
    data: Path | None, settings: dict[str, str], resume: bool, device: str, out: Path, told: Told
) -> None:
    """Trains `series-base` into a model folder.

    Args:
        data: None or a folder for the built-in training mix; a CSV or Parquet table to fine-tune on it.
        settings: `--set` texts; see `training.DEFAULTS`.
        resume: Go on from the state in `out`.
        device: `cpu` or `cuda`.
        out: Folder for state, samples, metrics, and the finished model.
        told: Called with (done, total, message).

    Raises:
        BadInput: For a table or a setting that cannot be used.
    """
    check_new(out, resume)
    if data is not None and data.is_file():
        job = _fine_tuning(data, settings, resume, device, out)
    else:
        job = _from_scratch(data, settings, resume, device, out)
    out.mkdir(parents=True, exist_ok=True)
    in_processes(_train, (job, told), job.settings["processes"], device)


def _from_scratch(data: Path | None, given: dict[str, str], resume: bool, device: str, out: Path) -> Job:
    settings = parse_settings(given, DEFAULTS)
    folder = data_folder(data)
    sources = [s for s in real_sources(folder) if s.group not in LEFT_OUT]
    stream = TrainingStream(
        seed=settings["seed"],
        budget=settings["budget"],
        context=settings["context"],
        window=settings["window"],
        sources=sources,
        real_share=settings["real_share"],
    )
    card = {
        "data": _provenance(sources),
        "real_share": settings["real_share"],
        "limits": "Evenly spaced rows; seasons of up to 384 rows; no calendar, so holidays are unknown to it.",
    }
    return Job(stream, kept_aside(folder, settings["context"]), settings, None, card, resume, device, out)


def _fine_tuning(data: Path, given: dict[str, str], resume: bool, device: str, out: Path) -> Job:
    settings = parse_settings(given, {**DEFAULTS, **FINE_TUNING})
    table = read_table(data)
    rows = len(table.values)
    aside = max(1, rows // 10)
    if rows - aside < 64:
        raise BadInput("data", f"{rows} rows are too few to fine-tune on; give at least 72")
    base = series_model(None)
    config = base.card["model"]["config"]
    same = ("window", "patch", "width", "heads", "expansion", "encoder_layers", "decoder_layers")
    changed = [k for k in same if k in given and settings[k] != config[k]]
    if changed:
        raise BadInput("set", f"{changed[0]} is fixed by the built-in model that is fine-tuned; leave it out")
    settings |= {k: config[k] for k in same} | {"context": base.context}
    # Float64 centring first, as when sampling; the stream's normalisation does the rest.
    values = table.values - np.nanmedian(table.values, axis=0)
    stream = TableStream(
        seed=settings["seed"],
        budget=settings["budget"],
        context=settings["context"],
        window=settings["window"],
        table=values[: rows - aside].T.astype(np.float32),
        short_share=0.02,
        max_columns=16,
    )
    ends = [values[max(0, rows - aside - 300) :], values[rows - min(rows, 768) :]]
    cases = make_cases([(data.name, ends[k % 2]) for k in range(4)])
    card = {
        "data": [{"name": data.name, "rows": rows, "columns": len(table.columns)}],
        "fine_tuned_from": "series-base",
    }
    return Job(stream, cases, settings, "series-base", card, resume, device, out)


def _provenance(sources: list[Source]) -> list[dict[str, Any]]:
    files: dict[str, dict[str, Any]] = {}
    for source in sources:
        entry = files.setdefault(
            source.sha256,
            {"group": source.group, "licence": source.licence, "sha256": source.sha256, "tables": 0},
        )
        entry["tables"] += 1
    made = {"group": "synthetic", "licence": "this project's own", "tables": "endless"}
    return [made, *files.values()]


def _train(job: Job, told: Told) -> None:
    models: list[SeriesModel] = []

    def course(rank: int, ranks: int) -> Course:
        model = new_model(model_config(job.settings))
        if job.base is not None:
            model.network.load_state_dict(series_model(job.base).network.state_dict())
        model.network.to(job.device)
        models.append(model)

        def loss(address: int) -> torch.Tensor:
            seed = job.settings["seed"] * NOISE_STRIDE + address
            batch = job.stream.batch_at(address)
            return batch_loss(model, batch, seed, job.settings["draws"], job.device)

        def judged(network: nn.Module, out: Path) -> Scores:
            scores, drawn = judge(model.with_network(network), job.cases, job.device)
            sample_sheet(job.cases, drawn, out / "samples.png")
            return scores

        return Course(
            model.network,
            loss,
            judged,
            lambda scores: f"CRPS {scores['crps']:.4f}, anchors alone {scores['anchor_crps']:.4f}",
            ("crps", "anchor_crps"),
            lambda: new_model(model.config).network,
        )

    ended = follow(course, job.settings, job.resume, job.device, job.out, told)
    if ended is None:
        return
    trainer, lessons, last = ended
    told(1.0, 1.0, "calibrating the bands")
    finished = models[0].with_network(averaged(lessons, trainer))
    prior_std, tried = calibrate(finished, job.cases, job.device)
    scores = next(row for row in tried if row["prior_std"] == prior_std)  # of the model as it will be used
    card = {
        "name": "series-base" if job.base is None else job.out.name,
        "summary": "Fills gaps and forecasts tables of evenly spaced rows, of any columns, zero-shot.",
        "model": model_config(job.settings),
        **job.card,
        "validation": {
            "what": "tables kept aside; CRPS in column standard deviations; the anchors are the trivial baseline",
            **{k: round(scores[k], 5) for k in last},
        },
        "calibration": {"prior_std": prior_std, "tried": tried},
        "paper": "after CSDI (Tashiro et al. 2021) and TimeGrad (Rasul et al. 2021)",
        "licence": "Apache-2.0",
    }
    publish(job.out, trainer, "series-base", card, job.settings, DEFAULTS, job.device)
