"""The table that `launch.py eval` prints: methods against settings, each metric with its spread over seeds.

Any domain fills it with scores and gets the same three forms: Markdown for people, CSV and JSON for programs.
Where our method loses is computed from the numbers and printed under them.
"""

from __future__ import annotations

import csv
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal


@dataclass(frozen=True)
class Metric:
    """A column of numbers.

    Attributes:
        name: As printed; the key of the scores. better: "lower", "higher", or a number where that number is
        the aim (0.9 for the coverage of 90 % bands). digits: Decimals in print. compared: Whether methods are
        ranked by it and ratios to the best baseline are printed.
    """

    name: str
    better: Literal["lower", "higher"] | float = "lower"
    digits: int = 3
    compared: bool = True

    def cost(self, value: float) -> float:
        """The value turned so that lower is better."""
        if self.better == "lower":
            return value
        return -value if self.better == "higher" else abs(value - float(self.better))


@dataclass(frozen=True)
class Score:
    """What one method got in one setting with one seed; `values` maps metric names to numbers."""

    method: str
    setting: str
    seed: int
    values: Mapping[str, float]


def environment() -> dict[str, str]:
    """What a number may depend on besides the code: machine, Python, torch."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"}
    found["python"] = platform.python_version()
    try:
        found["torch"] = version("torch")
    except PackageNotFoundError:
        found["torch"] = "not installed"
    return found


@dataclass
class EvaluationTable:
    """Scores and what is said about them.

    Attributes:
        task: Name of the task, for example `series.impute`.
        title: One line.
        metrics: The metrics in the order of print; the first is the one that decides.
        scores: One entry a method, setting and seed.
        ours: Names of the methods of ours; the first one is compared with the baselines.
        references: Methods that are neither ours nor competitors: trivial ones, and the truth.
        notes: Sentences on how the numbers came about.
        command: The command that makes the table again.
        date: ISO day, UTC.
        environment: See `environment`.
    """

    task: str
    title: str
    metrics: tuple[Metric, ...]
    scores: list[Score] = field(default_factory=list)
    ours: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    command: str = ""
    date: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    environment: dict[str, str] = field(default_factory=environment)

    def add(self, method: str, setting: str, seed: int, values: Mapping[str, float]) -> None:
        """Adds one score.

        Raises:
            ValueError: If a metric is lacking, or the same score is there already.
        """
        absent = [m.name for m in self.metrics if m.name not in values]
        if absent:
            raise ValueError(f"{method}, {setting}: no value for {', '.join(absent)}")
        if any((s.method, s.setting, s.seed) == (method, setting, seed) for s in self.scores):
            raise ValueError(f"{method}, {setting}, seed {seed} is there already")
        self.scores.append(Score(method, setting, seed, dict(values)))

    @property
    def methods(self) -> list[str]:
        """Names of the methods in the order in which they came."""
        return list(dict.fromkeys(score.method for score in self.scores))

    @property
    def settings(self) -> list[str]:
        """Names of the settings in the order in which they came."""
        return list(dict.fromkeys(score.setting for score in self.scores))

    @property
    def baselines(self) -> list[str]:
        """The methods that ours is compared with."""
        return [m for m in self.methods if m not in self.ours and m not in self.references]

    def _values(self, method: str, setting: str, metric: str) -> list[float]:
        return [s.values[metric] for s in self.scores if s.method == method and s.setting == setting]

    def mean(self, method: str, metric: str, setting: str | None = None) -> float:
        """Mean over seeds in a setting; over all settings where it is None (NaN if the method lacks one)."""
        if setting is not None:
            values = self._values(method, setting, metric)
            return fmean(values) if values else math.nan
        return fmean([self.mean(method, metric, one) for one in self.settings])

    def spread(self, method: str, metric: str, setting: str | None = None) -> float:
        """Standard deviation over seeds, of the mean over settings where `setting` is None; NaN with one seed."""
        if setting is not None:
            values = self._values(method, setting, metric)
        else:
            seeds = sorted({s.seed for s in self.scores if s.method == method})
            values = [
                fmean([s.values[metric] for s in self.scores if s.method == method and s.seed == seed])
                for seed in seeds
            ]
        return stdev(values) if len(values) > 1 else math.nan

    def best_baseline(self, metric: Metric, setting: str | None = None) -> str | None:
        """The baseline that does best in a setting, or on the mean of all; None where there is none."""
        costs = {b: metric.cost(self.mean(b, metric.name, setting)) for b in self.baselines}
        finite = {name: cost for name, cost in costs.items() if math.isfinite(cost)}
        return min(finite, key=finite.__getitem__) if finite else None

    def ratio(self, metric: Metric, setting: str | None = None, method: str | None = None) -> float:
        """Ours (or `method`) over the best baseline; below 1 is better where lower is; NaN where undefined."""
        best = self.best_baseline(metric, setting)
        chosen = method or (self.ours[0] if self.ours else None)
        if best is None or chosen is None or chosen not in self.methods:
            return math.nan
        below = self.mean(best, metric.name, setting)
        return self.mean(chosen, metric.name, setting) / below if below else math.nan

    def verdict(self) -> list[str]:
        """Sentences, computed: how ours compares on the mean of the settings, and every setting where it loses."""
        if not self.ours or self.ours[0] not in self.methods or not self.baselines:
            return []
        first, lines = self.ours[0], []
        for metric in (m for m in self.metrics if m.compared):
            best = self.best_baseline(metric)
            if best is None:
                continue
            own, other = self.mean(first, metric.name), self.mean(best, metric.name)
            if isinstance(metric.better, float):
                aim = f"aim {metric.better:g}"
                lines.append(f"{metric.name}: {own:.{metric.digits}f} on the mean of the settings ({aim}).")
            else:
                word = "better" if metric.cost(own) < metric.cost(other) else "worse"
                by = f"{abs(own / other - 1):.1%}" if other else f"{abs(own):.{metric.digits}f}"
                lines.append(
                    f"{metric.name}: {first} {own:.{metric.digits}f}, the best baseline on the mean of the settings "
                    f"({best}) {other:.{metric.digits}f}: {by} {word}."
                )
            losses = []
            for setting in self.settings:
                rival = self.best_baseline(metric, setting)
                if rival is None or isinstance(metric.better, float):
                    continue
                if metric.cost(self.mean(first, metric.name, setting)) > metric.cost(
                    self.mean(rival, metric.name, setting)
                ):
                    losses.append(f"{setting} (to {rival}, by {abs(self.ratio(metric, setting) - 1):.1%})")
            if losses:
                lines.append(f"{metric.name}: we lose on {'; '.join(losses)}.")
        return lines or ["We lose in no setting."]

    def _cell(self, method: str, metric: Metric, setting: str | None) -> str:
        mean, spread = self.mean(method, metric.name, setting), self.spread(method, metric.name, setting)
        if not math.isfinite(mean):
            return "–"
        text = f"{mean:.{metric.digits}f}"
        if math.isfinite(spread):
            text += f" ± {spread:.{metric.digits}f}"
        best = [m for m in self.methods if m not in self.references]
        costs = [metric.cost(self.mean(m, metric.name, setting)) for m in best]
        finite = [cost for cost in costs if math.isfinite(cost)]
        leads = metric.compared and method in best and finite and metric.cost(mean) <= min(finite)
        return f"**{text}**" if leads else text

    def to_markdown(self) -> str:
        """The page: one table a metric (methods down, settings across, their mean last), notes and the verdict."""
        where = ", ".join(
            f"{value}" if key == "machine" else f"{key} {value}" for key, value in self.environment.items()
        )
        lines = [f"# {self.title}", "", f"{self.date}. {where}."]
        if self.command:
            lines += ["", f"```\n{self.command}\n```"]
        verdict = self.verdict()
        if verdict:
            lines += ["", "## In short", "", *(f"- {line}" for line in verdict)]
        for metric in self.metrics:
            aim = (
                f"aim {metric.better:g}" if isinstance(metric.better, float) else f"{metric.better} is better"
            )
            lines += ["", f"## {metric.name} ({aim})", ""]
            lines += ["| method | " + " | ".join(self.settings) + " | mean |"]
            lines += ["|---" * (len(self.settings) + 2) + "|"]
            for method in self.methods:
                cells = [self._cell(method, metric, setting) for setting in (*self.settings, None)]
                lines.append(f"| {method} | " + " | ".join(cells) + " |")
            if self.ours and self.baselines and metric.compared and not isinstance(metric.better, float):
                ratios = [self.ratio(metric, setting) for setting in (*self.settings, None)]
                cells = [f"{r:.2f}" if math.isfinite(r) else "–" for r in ratios]
                lines.append("| *ours / best baseline* | " + " | ".join(cells) + " |")
        if self.notes:
            lines += ["", "## How", "", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def rows(self) -> Iterable[dict[str, Any]]:
        """One plain record a method, setting and metric, with mean, spread and number of seeds."""
        for method in self.methods:
            for setting in self.settings:
                for metric in self.metrics:
                    values = self._values(method, setting, metric.name)
                    if values:
                        yield {
                            "method": method,
                            "setting": setting,
                            "metric": metric.name,
                            "mean": _plain(fmean(values)),
                            "spread": _plain(self.spread(method, metric.name, setting)),
                            "seeds": len(values),
                        }

    def to_json(self) -> str:
        """The table as JSON text; numbers that are not finite become null."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)

    def to_dict(self) -> dict[str, Any]:
        """The table as plain values; numbers that are not finite become None."""
        return {
            "task": self.task,
            "title": self.title,
            "date": self.date,
            "environment": dict(self.environment),
            "command": self.command,
            "ours": list(self.ours),
            "references": list(self.references),
            "rows": list(self.rows()),
            "means": {
                method: {m.name: _plain(self.mean(method, m.name)) for m in self.metrics}
                for method in self.methods
            },
            "ratio_to_best_baseline": {m.name: _plain(self.ratio(m)) for m in self.metrics if m.compared},
            "verdict": self.verdict(),
            "notes": list(self.notes),
        }

    def write(self, folder: Path) -> list[Path]:
        """Writes `DOMAIN_VERB.md`, `.csv` and `.json` into `folder`, each by rename; returns their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        stem = self.task.replace(".", "_")
        markdown, table, plain = (folder / f"{stem}.{suffix}" for suffix in ("md", "csv", "json"))
        _replace(markdown, self.to_markdown())
        _replace(plain, self.to_json() + "\n")
        temporary = table.with_name(table.name + ".part")
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, ["method", "setting", "metric", "mean", "spread", "seeds"])
            writer.writeheader()
            writer.writerows(self.rows())
        temporary.replace(table)
        return [markdown, table, plain]


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
