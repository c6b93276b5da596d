"""`molecule.generate`: molecules from a joint model, as they come or only those that hold together."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from rdkit import Chem
from torch import Tensor

from core.noise import Noise
from domains.common.errors import BadInput
from domains.common.files import atomic_write_text
from domains.common.task import Artifact, Result, Run, Sampling
from domains.molecule.conversion import molecules_of_tensors
from domains.molecule.evaluator import Judged, judge
from domains.molecule.joint_model import MoleculeModel, molecule_model
from domains.molecule.joint_sampling import drawn_sizes, walk
from domains.molecule.properties import NAMES, property_table
from domains.molecule.property_figure import property_figure
from domains.molecule.requests import GenerateRequest
from domains.molecule.writing import Value, write_sdf, write_sheet, write_table

ROUNDS = 30  # of drawing again, at most
_DRAWN = 30


def generate(request: GenerateRequest, run: Run) -> Result:
    """The task `molecule.generate`: draws, judges, and writes SDF, table, drawings and histograms."""
    model = molecule_model(request.sampling.model, run.device)
    noise = Noise.of(request.sampling.seed, request.count)
    sizes = drawn_sizes(model, noise) if request.atoms is None else [request.atoms] * request.count
    if request.atoms is not None and request.atoms not in model.sizes:
        known = sorted(model.sizes)
        raise BadInput(
            "atoms", f"the model knows molecules of {known[0]} to {known[-1]} atoms; none has {request.atoms}"
        )
    molecules, found, evaluations, drawn = draw(
        model, sizes, request.sampling, noise, run, strict=request.valence == "strict"
    )
    run.progress(1, 1, "writing the molecules")
    good = [one for one in found if one.good]
    notes = []
    if drawn > len(found):
        notes.append(f"{drawn} were drawn for {len(found)}: again what was not valid or not in one piece.")
    if request.valence == "strict" and len(good) < len(found):
        notes.append(f"{len(found) - len(good)} of {len(found)} did not hold together after {ROUNDS} rounds.")
    metrics: dict[str, float | int | str] = {
        "molecules": len(found),
        "valid and connected %": round(100 * len(good) / len(found), 2),
        "unique %": round(100 * len({one.smiles for one in good}) / max(1, len(good)), 2),
        "drawn": drawn,
    }
    return Result(_write(run, molecules, found), metrics, evaluations, notes)


def draw(
    model: MoleculeModel,
    sizes: Sequence[int],
    sampling: Sampling,
    noise: Noise,
    run: Run,
    *,
    strict: bool,
) -> tuple[list[Chem.Mol], list[Judged], int, int]:
    """Molecules as the model states them, what RDKit says of them, evaluations of each, and how many were drawn.

    Args:
        model: On its device.
        sizes: Atoms of each.
        sampling: Solver and steps.
        noise: One stream a molecule.
        run: Told of progress; may end it.
        strict: Draw again, from noise of its own, what is not valid or not in one piece.
    """
    molecules: list[Chem.Mol | None] = [None] * len(sizes)
    found = [Judged()] * len(sizes)
    left, evaluations, rounds, drawn = list(range(len(sizes))), 0, 0, 0
    while left and rounds < (ROUNDS if strict else 1):

        def report(
            done: float, index: Sequence[int], state: dict[str, Tensor], left: list[int] = left
        ) -> None:
            run.progress(len(sizes) - len(left) + done, len(sizes), "denoising")

        mine = noise.take(left).at("round", rounds) if rounds else noise.take(left)
        states, nfe = walk(model, [sizes[k] for k in left], sampling, mine, report=report)
        for k, molecule in zip(
            left, molecules_of_tensors(states, free_valence=not model.vocabulary.hydrogens), strict=True
        ):
            molecules[k], found[k] = molecule, judge(molecule)
        evaluations, rounds, drawn = evaluations + nfe, rounds + 1, drawn + len(left)
        left = [k for k in left if not found[k].good]
    return [m for m in molecules if m is not None], found, evaluations, drawn


def _write(run: Run, molecules: Sequence[Chem.Mol], found: Sequence[Judged]) -> list[Artifact]:
    good = [one.heavy for one in found if one.good and one.heavy is not None]
    table = property_table(good)
    values = iter(table.tolist())
    rows: list[dict[str, Value]] = []
    kept: list[tuple[str, Chem.Mol, dict[str, Value]]] = []
    for k, (_, one) in enumerate(zip(molecules, found, strict=True), 1):
        name = f"molecule {k}"
        row: dict[str, Value] = {
            "name": name,
            "smiles": one.smiles or None,
            "valid": one.molecule is not None,
            "connected": one.connected if one.molecule is not None else None,
        }
        if one.good:
            known: dict[str, Value] = dict(zip(NAMES, next(values), strict=True))
            row |= known
            if one.molecule is not None:
                kept.append((name, one.molecule, known))
        rows.append(row)
    write_table(run.directory / "molecules.csv", rows)
    artifacts = []
    if kept:
        write_sdf(run.directory / "molecules.sdf", kept)
        artifacts.append(Artifact("molecules.sdf", "molecule", "Molecules in space, with properties"))
    artifacts.append(Artifact("molecules.csv", "table", "Every molecule, with its properties"))
    if kept:
        drawings = [(name, one) for name, one, _ in kept[:_DRAWN]]
        for path in write_sheet(run.directory, "molecules", drawings):
            artifacts.append(Artifact(path.name, "figure", "Drawings"))
        figure = property_figure(np.asarray(table), None, f"{len(kept)} valid and connected molecules")
        atomic_write_text(run.directory / "properties.json", json.dumps(figure, allow_nan=False))
        artifacts.append(Artifact("properties.json", "plot", "Properties"))
    return artifacts
