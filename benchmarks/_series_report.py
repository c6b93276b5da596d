"""What the page of `series_imputation` says besides its numbers: how it was done, which bars are met, where we lose."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from domains.common.evaluation_table import EvaluationTable

TUNED, MANY, ZERO = "Langevin, fine-tuned", "Langevin, fine-tuned, 4 x samples", "Langevin, zero-shot"
PEERS, SIMPLE = ("CSDI", "SAITS", "BRITS"), ("linear", "LOCF")

NOTES = (
    "ETTh1: first 60 % of the rows for training, next 20 % for validation, last fifth for judging. Errors are divided "
    "by the standard deviation of their column over the test part.",
    "Training takes the same minutes on the same number of threads: of the clock for ours, of processor time per "
    "thread for the peers, who so lose nothing to a busy machine. Ours starts from series-base, which was trained "
    "before on other tables (its card says for how long) and never on ETTh1; the peers start from random weights, as "
    "they are meant to. The zero-shot row is series-base as it is.",
    "The peers' models, losses, optimisers and samplers are PyPOTS' own, on its customary windows of 48 rows. Training "
    "windows are drawn at random places, each with a fresh mask: three in four lose 5 to 95 % of their cells at "
    "random, one in four blocks of 24 rows. The learning rate falls tenfold at 75 % and at 90 % of the time (CSDI's "
    "schedule); the weights with the least validation loss are kept.",
    "SAITS and BRITS give points; they get Gaussian bands fitted to their own errors on the validation part under the "
    "same kind of mask: one spread a column or one a column and distance to the nearest observation, whichever has the "
    "lower CRPS. LOCF and linear get theirs from cells held back in the test table.",
    "CRPS of Gaussian bands is the closed form, CRPS of samples the fair estimator (Ferro 2014). MAE judges the "
    "median, RMSE the mean.",
    "Seconds are processor time per thread for filling the whole test part, by as many samples from CSDI as from "
    "ours. PyPOTS computes in float32, our task in bfloat16 where the processor has it, each as it comes.",
    "Spread (±) is the standard deviation over mask seeds; the models are trained once.",
)


def mean_over(
    table: EvaluationTable, method: str, metric: str, setting: str | None, seeds: Iterable[int]
) -> float:
    """Mean of a metric over seeds, in one setting or evenly over all."""
    chosen = set(seeds)
    settings = table.settings if setting is None else [setting]
    return fmean(
        fmean(
            s.values[metric]
            for s in table.scores
            if s.method == method and s.setting == one and s.seed in chosen
        )
        for one in settings
    )


def bars(table: EvaluationTable) -> list[str]:
    """The three comparisons asked for, over the seeds that both sides have, and every setting where a peer wins."""
    lines = []
    rows = (
        ("CRPS", TUNED, "CSDI", 1.0, "CRPS below CSDI's"),
        ("MAE", TUNED, "SAITS", 1.05, "MAE within 5 % of SAITS'"),
        ("MAE", MANY, "SAITS", 1.05, "the same with four times as many samples behind the median"),
        ("seconds", TUNED, "CSDI", 0.1, "sampling at least 10 times faster than CSDI's default"),
    )
    for metric, own, peer, bar, text in rows:
        if own not in table.methods or peer not in table.methods:
            continue
        seeds = {s.seed for s in table.scores if s.method == peer} & {
            s.seed for s in table.scores if s.method == own
        }
        if not seeds:
            continue
        mine, other = (mean_over(table, m, metric, None, seeds) for m in (own, peer))
        each = ", ".join(
            f"{one} {mean_over(table, own, metric, one, seeds) / mean_over(table, peer, metric, one, seeds):.3g}"
            for one in table.settings
        )
        verdict = "met" if (mine < other if bar == 1.0 else mine <= bar * other) else "NOT met"
        speed = f" ({other / mine:.1f} times faster)" if metric == "seconds" and mine < other else ""
        lines.append(
            f"{text}: {verdict}. {metric} {mine:.4g} against {other:.4g}, ratio {mine / other:.3g}{speed}; "
            f"by setting: {each}."
        )
    return lines + losses(table)


def losses(table: EvaluationTable) -> list[str]:
    """Every peer, metric and setting in which the fine-tuned model does worse, over the seeds that both have."""
    lines = []
    for peer in (p for p in PEERS if TUNED in table.methods and p in table.methods):
        seeds = {s.seed for s in table.scores if s.method == peer} & {
            s.seed for s in table.scores if s.method == TUNED
        }
        lost = []
        for metric in table.metrics[:5]:
            for one in table.settings:
                mine, other = (mean_over(table, m, metric.name, one, seeds) for m in (TUNED, peer))
                if metric.cost(mine) > metric.cost(other):
                    lost.append(f"{metric.name} on {one} ({mine:.4g} against {other:.4g})")
        lines.append(f"Where {peer} does better than ours: {'; '.join(lost) if lost else 'nowhere'}.")
    return lines


def training_notes(work: Path, methods: Sequence[str]) -> list[str]:
    """What each peer's training came to, from its report."""
    notes = []
    for name in (p for p in PEERS if p in methods):
        report = json.loads((work / name / "report.json").read_text())
        settings = ", ".join(f"{k} {v}" for k, v in report["settings"].items())
        notes.append(
            f"{name}: {report['parameters']:,} parameters, {report['training_steps']:,} steps in "
            f"{report['training_seconds'] / 60:.1f} minutes, PyPOTS {report['versions']['pypots']}; {settings}. "
            f"Validation loss by steps: "
            + ", ".join(f"{v['steps']:,}: {v['loss']:.4f}" for v in report["validation"])
            + ("." if report.get("clock") == "processor" else ". Its seconds are those of the clock.")
        )
    return notes
