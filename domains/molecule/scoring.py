"""The task `molecule.evaluate`: a person's file of molecules, scored, drawn and listed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rdkit import Chem

from domains.common.errors import BadInput
from domains.common.files import atomic_write_text
from domains.common.task import Artifact, Result, Run
from domains.molecule.chemistry import all_hydrogens, has_space, silenced
from domains.molecule.evaluator import RULES, Description, Evaluation, Judged, describe, evaluate, judge
from domains.molecule.files import Record, fault_words, read_molecules, read_smarts
from domains.molecule.metric_list import told
from domains.molecule.properties import NAMES
from domains.molecule.property_figure import property_figure
from domains.molecule.writing import Value, write_sdf, write_sheet, write_table

if TYPE_CHECKING:
    from domains.molecule.tasks import EvaluateRequest

DRAWN = 30
_TOLD = 5  # refused molecules that the notes name; the table names all


def score_file(request: EvaluateRequest, run: Run) -> Result:
    """Reads a file of molecules, scores them by the frozen evaluator, and writes tables, drawings and an SDF file."""
    query = read_smarts(request.contains, "contains") if request.contains is not None else None
    run.progress(0, 1, "reading the molecules")
    records = read_molecules(request.file, "file")
    seed = request.sampling.seed
    reference = _reference(request.reference, seed, run)

    def watch(share: float) -> None:
        run.progress(0.3 + 0.6 * share, 1, "scoring")

    found = evaluate([record.molecule for record in records], reference, seed, watch)
    reasons = [_reason(record, one) for record, one in zip(records, found.judged, strict=True)]
    notes = _notes(records, found, reasons, reference)
    metrics: dict[str, float | int | str] = {"molecules": len(records)}
    metrics |= {name: float(number) for name, number, _ in told(found.metrics)}
    contained: list[bool | None] = [None] * len(records)
    if query is not None:
        contained = [
            one.heavy.HasSubstructMatch(query) if one.heavy is not None else None for one in found.judged
        ]
        metrics["contain the pattern"] = round(100 * sum(map(bool, contained)) / len(records), 2)
        if not any(contained):
            notes.append("The pattern is found in none of the molecules.")
    run.progress(0.92, 1, "writing the results")
    artifacts = _write_metrics(run.directory, found)
    rows = [
        _row(record, one, reason, has)
        for record, one, reason, has in zip(records, found.judged, reasons, contained, strict=True)
    ]
    _add_stability(rows, records, found)
    write_table(run.directory / "molecules.csv", rows)
    artifacts.append(
        Artifact("molecules.csv", "table", "Every molecule, with what was found or why it was refused")
    )
    artifacts += _write_structures(run.directory, records, found)
    figure = property_figure(
        found.description.properties,
        reference.properties if reference is not None else None,
        f"{sum(one.good for one in found.judged)} valid and connected molecules",
    )
    atomic_write_text(run.directory / "properties.json", json.dumps(figure, allow_nan=False))
    artifacts.append(Artifact("properties.json", "plot", "Properties"))
    return Result(artifacts, metrics, 0, notes)


def _reference(path: Path | None, seed: int, run: Run) -> Description | None:
    if path is None:
        return None
    run.progress(0.02, 1, "reading the reference")
    judged = []
    records = read_molecules(path, "reference")
    for place, record in enumerate(records):
        judged.append(judge(record.molecule))
        if place % 100 == 0:
            run.progress(0.02 + 0.1 * place / len(records), 1, "reading the reference")
    if sum(one.good for one in judged) < 2:
        raise BadInput("reference", "holds fewer than two valid and connected molecules; give more")
    return describe(judged, seed)


def _reason(record: Record, one: Judged) -> str:
    """Why a molecule does not count as valid and connected; empty where it does."""
    if record.molecule is None:
        return record.reason
    if one.molecule is None:
        return f"is not accepted by RDKit: {_complaint(record.molecule)}"
    if not one.connected:
        return f"consists of {len(Chem.GetMolFrags(one.molecule))} pieces, as salts and mixtures do"
    return ""


def _complaint(molecule: Chem.Mol) -> str:
    with silenced():
        try:
            Chem.SanitizeMol(Chem.Mol(molecule))
        except (ValueError, RuntimeError) as error:
            return fault_words(error)
    return "it has no atoms"


def _notes(
    records: Sequence[Record], found: Evaluation, reasons: Sequence[str], reference: Description | None
) -> list[str]:
    notes = [f"Scored by version {RULES} of the rules in docs/molecules.md; nothing was repaired."]
    faults = [(record, reason) for record, reason in zip(records, reasons, strict=True) if reason]
    for record, reason in faults[:_TOLD]:
        name = f" ({record.name})" if record.name else ""
        notes.append(f"Molecule {record.place}{name} {reason}.")
    if len(faults) > _TOLD:
        notes.append(f"{len(faults) - _TOLD:,} more were refused; molecules.csv gives the reason of each.")
    kinds = Counter(kind for one in found.judged for kind in _kinds(one))
    for kind, words in (
        ("charged", "carry formal charges, which count as stated"),
        ("isotopes", "hold isotopes, which are left out of names and properties"),
        ("stereo", "state stereochemistry, which is left out when molecules are told apart"),
        ("radicals", "have unpaired electrons: valid for RDKit, short of a bond for a chemist"),
    ):
        if kinds[kind]:
            notes.append(
                f"{kinds[kind]:,} molecules {words}." if kinds[kind] > 1 else f"One molecule: {words}."
            )
    if found.stability is None:
        notes.append("No molecule has positions in space, so stability, geometry and strain are not scored.")
    elif not found.stability.judged.all():
        count = int((~found.stability.judged).sum())
        notes.append(
            f"Stability is not defined for {count:,} molecules: their elements are not in EDM's tables."
        )
    if found.stability is not None and not any(
        one.molecule is not None and has_space(one.molecule) and all_hydrogens(one.molecule)
        for one in found.judged
    ):
        notes.append("Hydrogens are missing from the positions: stability counts their bonds as missing too.")
    if reference is None:
        notes.append("Novelty and distances need a reference: give a file of real molecules as --reference.")
    return notes


def _kinds(one: Judged) -> list[str]:
    if one.molecule is None:
        return []
    atoms = list(one.molecule.GetAtoms())
    found = {
        "charged": any(atom.GetFormalCharge() for atom in atoms),
        "isotopes": any(atom.GetIsotope() for atom in atoms),
        "stereo": any(atom.GetChiralTag() != Chem.ChiralType.CHI_UNSPECIFIED for atom in atoms),
        "radicals": one.radicals,
    }
    return [name for name, holds in found.items() if holds]


def _row(record: Record, one: Judged, reason: str, contained: bool | None) -> dict[str, Value]:
    row: dict[str, Value] = {
        "place": record.place,
        "name": record.name,
        "smiles": one.smiles or None,
        "valid": one.molecule is not None,
        "connected": one.connected if one.molecule is not None else None,
        "radicals": one.radicals if one.molecule is not None else None,
        "refused because it": reason or None,
    }
    return row if contained is None else {**row, "contains the pattern": contained}


def _add_stability(rows: list[dict[str, Value]], records: Sequence[Record], found: Evaluation) -> None:
    """Adds what is known of the good molecules, and of those in space."""
    values = iter(found.description.properties.tolist())
    for row, one in zip(rows, found.judged, strict=True):
        if one.good:
            row |= dict(zip(NAMES, next(values), strict=True))
    if found.stability is None:
        return
    stability, place = found.stability, 0
    for row, record in zip(rows, records, strict=True):
        if record.molecule is not None and record.molecule.GetNumAtoms() and has_space(record.molecule):
            if stability.judged[place]:
                row["stable atoms"] = int(stability.stable_atoms[place])
                row["stable"] = bool(stability.molecules[place])
            row["atoms"] = int(stability.atoms[place])
            place += 1


def _write_metrics(folder: Path, found: Evaluation) -> list[Artifact]:
    listed = told(found.metrics) + [
        (f"check: {name}", f"{share:.1f}", "%") for name, share in found.checks.items()
    ]
    write_table(
        folder / "metrics.csv",
        [{"metric": name, "value": float(number), "unit": unit or None} for name, number, unit in listed],
    )
    lines = ["| metric | value | unit |", "|---|---:|---|", *(f"| {a} | {b} | {c} |" for a, b, c in listed)]
    atomic_write_text(folder / "metrics.md", "\n".join(lines) + "\n")
    return [
        Artifact("metrics.csv", "table", "Metrics"),
        Artifact("metrics.md", "text", "Metrics, as Markdown"),
    ]


def _write_structures(folder: Path, records: Sequence[Record], found: Evaluation) -> list[Artifact]:
    """The drawings and the SDF file of what RDKit accepts; nothing where it accepts none."""
    valid = [
        (record, one) for record, one in zip(records, found.judged, strict=True) if one.molecule is not None
    ]
    if not valid:
        return []
    values = iter(found.description.properties.tolist())
    written: list[tuple[str, Chem.Mol, dict[str, Value]]] = []
    for record, one in valid:
        items: dict[str, Value] = {"place": record.place, "smiles": one.smiles, "connected": one.connected}
        if one.good:
            items |= dict(zip(NAMES, next(values), strict=True))
        assert one.molecule is not None
        written.append((record.name or f"molecule {record.place}", one.molecule, items))
    write_sdf(folder / "molecules.sdf", written)
    evenly = np.unique(np.linspace(0, len(valid) - 1, min(DRAWN, len(valid))).astype(int))
    drawn = [valid[k] for k in evenly]
    sheet = write_sheet(
        folder,
        "molecules",
        [(record.name or str(record.place), one.heavy) for record, one in drawn if one.heavy is not None],
    )
    return [
        Artifact("molecules.sdf", "molecule", "Valid molecules, with properties"),
        *(Artifact(path.name, "image", "Drawings") for path in sheet),
    ]
