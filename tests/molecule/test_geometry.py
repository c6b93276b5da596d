"""Measured lengths, angles, dihedrals against RDKit's own, distances against known shifts."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdMolTransforms

from domains.molecule.geometry import distance, first_wasserstein, measure
from tests.molecule.conftest import embedded


def test_every_value_is_rdkits() -> None:
    molecule = embedded("CC(O)C#N")
    found, held = measure([molecule]), molecule.GetConformer()
    bonds = {(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()}
    lengths = [rdMolTransforms.GetBondLength(held, *pair) for pair in bonds]
    assert np.sort(np.concatenate(list(found.lengths.values()))) == pytest.approx(np.sort(lengths))
    near = {
        k: [b.GetIdx() for b in molecule.GetAtomWithIdx(k).GetNeighbors()]
        for k in range(molecule.GetNumAtoms())
    }
    angles = [
        rdMolTransforms.GetAngleDeg(held, a, k, b)
        for k, own in near.items()
        for a in own
        for b in own
        if a < b
    ]
    assert np.sort(np.concatenate(list(found.angles.values()))) == pytest.approx(np.sort(angles))
    turns = [
        abs(rdMolTransforms.GetDihedralDeg(held, a, i, j, d))
        for i, j in bonds
        for a in near[i]
        for d in near[j]
        if a != j and d != i
    ]
    assert np.sort(np.concatenate(list(found.dihedrals.values()))) == pytest.approx(np.sort(turns), abs=1e-6)
    assert set(found.lengths) == {"C-C", "C-H", "C-O", "H-O", "C#N"}
    assert len(found.lengths["C#N"]) == 1 and "C4" in found.angles and "C2" in found.angles


def test_a_mirror_image_measures_the_same() -> None:
    molecule = embedded("C[C@H](O)C(=O)O")
    mirrored = Chem.Mol(molecule)
    mirrored.GetConformer().SetPositions(molecule.GetConformer().GetPositions() * [1.0, 1.0, -1.0])
    for kind in ("lengths", "angles", "dihedrals"):
        assert distance(
            getattr(measure([mirrored]), kind), getattr(measure([molecule]), kind)
        ) == pytest.approx(0)


def test_a_shift_is_the_distance() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=500)
    assert first_wasserstein(values, values + 0.25) == pytest.approx(0.25)
    assert distance({"a": values}, {"a": values, "b": values + 1}) == pytest.approx(
        0.5
    )  # b is compared with a's
    assert distance({"a": values, "c": values}, {"a": values - 0.5}) == pytest.approx(0.5)
    rare = {"a": values, "b": values[:4] + 100}  # below a hundredth
    assert distance({"a": values}, rare) == pytest.approx(0)
    assert np.isnan(distance({}, rare)) and np.isnan(distance(rare, {}))


def test_stretched_bonds_are_seen_by_their_length() -> None:
    molecule = embedded("CCO")
    grown = Chem.Mol(molecule)
    grown.GetConformer().SetPositions(molecule.GetConformer().GetPositions() * 1.1)
    real, wide = measure([molecule]), measure([grown])
    mean = float(np.concatenate(list(real.lengths.values())).mean())
    assert distance(wide.lengths, real.lengths) == pytest.approx(0.1 * mean, rel=1e-6)
    assert distance(wide.angles, real.angles) == pytest.approx(0, abs=1e-6)
