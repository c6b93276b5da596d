"""`launch.py eval molecule.evaluate`: what real molecules score under the frozen rules, and the baselines to beat.

Models to come add their rows to the same table by `add_rows`: the same reference, the same number of molecules a seed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rdkit import Chem

from domains.common.errors import BadInput
from domains.common.evaluation_table import EvaluationTable, Metric
from domains.molecule.conversion import molecules_of_arrays, molecules_of_smiles
from domains.molecule.data import MoleculeArrays
from domains.molecule.evaluator import RULES, STRAINED, Description, describe, evaluate, judge
from domains.molecule.metric_list import METRICS
from domains.molecule.ngram import NGram
from domains.molecule.prepare import Progress, prepared
from domains.molecule.smiles_lstm import train_lstm

Sampler = Callable[[int, int], Sequence[Chem.Mol | None]]
"""`(count, seed)` -> molecules as stated, None where there is none."""

COUNT, QUICK_COUNT = 1000, 200
REFERENCE, QUICK_REFERENCE = 5000, 1000
REFERENCE_SEED = 20_250
NOISE = 0.1  # Å
LSTM_PARAMETERS, LSTM_MINUTES, QUICK_MINUTES = 1_000_000, 10.0, 0.5
REAL, SHAKEN = "real molecules of the test part", f"the same, atoms moved by {NOISE} Å"
SECONDS = Metric("seconds a thousand", "lower", 1, compared=False)
NOTES = (
    f"Scored by version {RULES} of the rules in docs/molecules.md. Shares are percentages; distances are first "
    "Wasserstein distances in the unit of the property; nothing is corrected before it is scored.",
    "The reference is drawn from the training part once for all rows; novel means absent from the whole training part. "
    "The row of real molecules is what a perfect model would score with as many samples.",
    "Parts are split by canonical SMILES, so no molecule of the test part is in the training part.",
    f"Strain is relaxed for {STRAINED} molecules a seed. A dash: not defined for that set.",
    "Spread (±) is the standard deviation over seeds, each with its own molecules.",
)


def data_file(data: Path | None, *names: str) -> Path:
    """A file of molecules: `data` itself, or the first of `names` in that folder or its `molecules`.

    Args:
        data: What the person named; `../shared/data` beside the project where None.

    Raises:
        BadInput: If none is there.
    """
    root = Path(__file__).resolve().parents[2].parent / "shared" / "data" if data is None else Path(data)
    if root.is_file():
        return root
    for folder in (root / "molecules", root):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise BadInput("data", f"no {names[0]} there; name the folder that holds it by --data PATH")


@dataclass(frozen=True)
class Benchmark:
    """A data set that models are judged on.

    Attributes:
        name: The setting's name in tables.
        arrays: All molecules.
        reference: What distances are taken to.
    """

    name: str
    arrays: MoleculeArrays
    reference: Description

    @property
    def smiles(self) -> list[str]:
        """Of the training part."""
        return [self.arrays.smiles[k] for k in self.arrays.members("train")]

    def real(self, count: int, seed: int) -> list[Chem.Mol]:
        """Molecules of the test part, drawn without replacement."""
        members = self.arrays.members("test")
        drawn = np.random.default_rng(seed).permutation(members)[:count]
        return molecules_of_arrays(self.arrays, drawn)


def benchmark(name: str, arrays: MoleculeArrays, size: int = REFERENCE) -> Benchmark:
    """The judge's view of a data set: `size` molecules of the training part, the same ones always."""
    train = arrays.members("train")
    drawn = np.random.default_rng(REFERENCE_SEED).permutation(train)[:size]
    judged = [judge(molecule) for molecule in molecules_of_arrays(arrays, drawn)]
    return Benchmark(name, arrays, describe(judged, known=[arrays.smiles[k] for k in train]))


def add_rows(
    table: EvaluationTable,
    judged_on: Benchmark,
    methods: Mapping[str, Sampler],
    seeds: Sequence[int],
    count: int = COUNT,
    told: Callable[[float, str], None] | None = None,
) -> None:
    """Adds the scores of every method and seed to `table`, in the setting of the benchmark."""
    jobs = [(name, seed) for name in methods for seed in seeds]
    for place, (name, seed) in enumerate(jobs):
        if told is not None:
            told(place / len(jobs), f"{judged_on.name}, seed {seed}: {name}")
        began = time.process_time()
        candidates = methods[name](count, seed)
        seconds = (time.process_time() - began) * 1000 / max(1, len(candidates))
        found = evaluate(candidates, judged_on.reference, seed)
        table.add(name, judged_on.name, seed, {**found.metrics, SECONDS.name: seconds})


def shaken(judged_on: Benchmark) -> Sampler:
    """Real molecules whose atoms are moved by Gaussian noise: how fast each metric sees a bad geometry."""

    def draw(count: int, seed: int) -> list[Chem.Mol]:
        rng = np.random.default_rng([seed, 1])
        molecules = judged_on.real(count, seed)
        for molecule in molecules:
            held = molecule.GetConformer()
            held.SetPositions(held.GetPositions() + rng.normal(0, NOISE, (molecule.GetNumAtoms(), 3)))
        return molecules

    return draw


def smiles_baselines(
    judged_on: Benchmark,
    parameters: int = LSTM_PARAMETERS,
    minutes: float = LSTM_MINUTES,
    told: Callable[[float], None] | None = None,
) -> dict[str, Sampler]:
    """The n-gram model and the LSTM, trained on the SMILES of the training part.

    Args:
        parameters, minutes: What the LSTM is given; those of the model that it stands beside.
    """
    counts = NGram(judged_on.smiles)
    lstm, training = train_lstm(judged_on.smiles, parameters=parameters, minutes=minutes, watch=told)
    size = sum(weight.numel() for weight in lstm.parameters())
    name = f"SMILES LSTM, {size / 1e6:.2f} M parameters, {minutes:g} min, {training.steps:,} steps"
    return {
        f"SMILES {counts.order}-gram": lambda count, seed: molecules_of_smiles(counts.sample(count, seed)),
        name: lambda count, seed: molecules_of_smiles(lstm.sample(count, seed)),
    }


def evaluate_references(
    data: Path | None = None,
    *,
    model: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    quick: bool = False,
    progress: Progress | None = None,
) -> EvaluationTable:
    """The table of real molecules and baselines, on QM9's geometries and on ZINC's graphs.

    Args:
        data: Folder with `qm9_3d.npz` and `zinc_druglike.csv.gz`; `../shared/data` beside the project where None.
        model: Must be None: the rules judge, and have no model.
        quick: One seed, 200 molecules, a small reference, half a minute for the LSTM.
        progress: Called with `(done, total, message)`; what it raises stops the evaluation.

    Raises:
        BadInput: If the data are not there, or a model is named.
    """
    if model is not None:
        raise BadInput("model", "the evaluator uses no model; leave it out")
    told = progress or (lambda done, total, message: None)
    count, size = (QUICK_COUNT, QUICK_REFERENCE) if quick else (COUNT, REFERENCE)
    seeds = seeds[:1] if quick else seeds
    minutes = QUICK_MINUTES if quick else LSTM_MINUTES
    sources = [data_file(data, "qm9_3d.npz"), data_file(data, "zinc_druglike.csv.gz")]
    table = EvaluationTable(
        "molecule.evaluate",
        "Real molecules and baselines under the frozen rules",
        (*METRICS, SECONDS),
        ours=(),
        references=(REAL, SHAKEN),
        notes=list(NOTES),
        command="python launch.py eval molecule.evaluate" + (" --quick" if quick else ""),
    )

    def part(begin: float, end: float) -> Callable[[float, str], None]:
        return lambda share, message: told(begin + share * (end - begin), 1, message)

    spatial = benchmark("QM9, in space", prepared(sources[0], _within(told, 0, 0.1)), size)
    add_rows(table, spatial, {REAL: spatial.real, SHAKEN: shaken(spatial)}, seeds, count, part(0.15, 0.4))
    flat = benchmark("ZINC, graphs", prepared(sources[1], _within(told, 0.4, 0.5)), size)
    baselines = smiles_baselines(
        flat, minutes=minutes, told=lambda share: told(0.55 + 0.15 * share, 1, "training the SMILES LSTM")
    )
    add_rows(table, flat, {REAL: flat.real, **baselines}, seeds, count, part(0.7, 1))
    for held in (spatial, flat):
        parts = ", ".join(f"{name} {len(held.arrays.members(name)):,}" for name in ("train", "val", "test"))
        table.notes.append(
            f"{held.name}: {parts} molecules; {count:,} a row and seed, reference of {size:,}."
        )
    told(1, 1, "done")
    return table


def _within(told: Progress, begin: float, end: float) -> Progress:
    return lambda done, total, message: told(begin + (end - begin) * done / max(1.0, total), 1, message)
