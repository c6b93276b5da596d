"""Molecules that the tests share, made here and now."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from domains.molecule.evaluation import data_file


def embedded(smiles: str, seed: int = 1) -> Chem.Mol:
    """A molecule in space with its hydrogens, relaxed."""
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(molecule, randomSeed=seed) == 0
    rdForceFieldHelpers.MMFFOptimizeMolecule(molecule, mmffVariant="MMFF94s", maxIters=5000)
    return molecule


def arrays_of(molecule: Chem.Mol) -> tuple[np.ndarray, np.ndarray]:
    """Atomic numbers and positions."""
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    return numbers, np.array(molecule.GetConformer().GetPositions())


@pytest.fixture(scope="session")
def qm9(data_folder) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Atomic numbers and positions of 2,000 molecules of QM9, drawn evenly."""
    with np.load(data_file(data_folder, "qm9_3d.npz")) as held:
        sizes, z, x = held["n_atoms"].astype(int), held["z"], held["xyz_mA"]
    ends = np.cumsum(sizes)
    drawn = np.random.default_rng(0).choice(len(sizes), 2000, replace=False)
    spans = [slice(ends[k] - sizes[k], ends[k]) for k in drawn]
    return [z[span] for span in spans], [x[span] / 1000.0 for span in spans]
