"""Every metric of the evaluator: how it is printed, and which way is better.  Loads no chemistry library."""

from __future__ import annotations

from domains.common.evaluation_table import Metric

# Shares in percent.  Diversity and strain have no better side: the reference's own value is the aim.
METRICS: tuple[Metric, ...] = (
    Metric("valid", "higher", 1),
    Metric("connected", "higher", 1),
    Metric("valid and connected", "higher", 1),
    Metric("no radicals", "higher", 1),
    Metric("unique", "higher", 1),
    Metric("novel", "higher", 1, compared=False),
    Metric("atom stability", "higher", 2),
    Metric("molecule stability", "higher", 1),
    Metric("geometry checks", "higher", 1),
    Metric("strain", "lower", 3, compared=False),
    Metric("internal diversity", "higher", 3, compared=False),
    Metric("logP distance", "lower", 3),
    Metric("QED distance", "lower", 4),
    Metric("weight distance", "lower", 2),
    Metric("TPSA distance", "lower", 2),
    Metric("rings distance", "lower", 3),
    Metric("H-bond donors distance", "lower", 3),
    Metric("bond length distance", "lower", 4),
    Metric("angle distance", "lower", 2),
    Metric("dihedral distance", "lower", 2),
    Metric("strain distance", "lower", 3),
    Metric("fragment similarity", "higher", 3),
    Metric("NSPDK distance", "lower", 4),
)
UNITS = {
    "strain": "kcal/mol a heavy atom, median",
    "weight distance": "Da",
    "TPSA distance": "Å²",
    "bond length distance": "Å",
    "angle distance": "°",
    "dihedral distance": "°",
    "strain distance": "kcal/mol a heavy atom",
} | {metric.name: "%" for metric in METRICS[:9]}


def told(values: dict[str, float]) -> list[tuple[str, str, str]]:
    """Name, number in print, unit, of the metrics that are defined."""
    return [
        (metric.name, f"{values[metric.name]:.{metric.digits}f}", UNITS.get(metric.name, ""))
        for metric in METRICS
        if values[metric.name] == values[metric.name]
    ]
