"""Prepared arrays and padded tensors as RDKit molecules: exactly what they state, for the evaluator and for files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from rdkit import Chem

from domains.molecule.chemistry import to_molecule
from domains.molecule.data import MoleculeArrays, MoleculeTensors


def molecules_of_arrays(arrays: MoleculeArrays, index: Iterable[int]) -> list[Chem.Mol]:
    """The molecules at `index`, not sanitised, with positions where the set has them."""
    atom_ends, bond_ends = np.cumsum(arrays.sizes), np.cumsum(arrays.bond_counts)
    made = []
    for k in index:
        atoms = slice(atom_ends[k] - arrays.sizes[k], atom_ends[k])
        bonds = slice(bond_ends[k] - arrays.bond_counts[k], bond_ends[k])
        made.append(
            to_molecule(
                arrays.numbers[atoms],
                arrays.pairs[bonds],
                arrays.orders[bonds],
                arrays.charges[atoms],
                arrays.hydrogens[atoms],
                None if arrays.positions is None else arrays.positions[atoms],
            )
        )
    return made


def molecules_of_tensors(states: MoleculeTensors, free_valence: bool = False) -> list[Chem.Mol]:
    """Samples of a model as molecules, not sanitised.

    Args:
        states: Padded samples, on any device.
        free_valence: Let RDKit fill free valences with hydrogens instead of the stated ones; for graphs of heavy atoms.
    """
    here = states.to("cpu")
    made = []
    for k, size in enumerate(here.sizes.tolist()):
        bonds = here.bonds[k, :size, :size].triu(1)
        pairs = bonds.nonzero()
        made.append(
            to_molecule(
                here.numbers[k, :size].numpy(),
                pairs.numpy(),
                bonds[pairs[:, 0], pairs[:, 1]].numpy(),
                here.charges[k, :size].numpy(),
                None if free_valence else here.hydrogens[k, :size].numpy(),
                None if here.positions is None else here.positions[k, :size].double().numpy(),
            )
        )
    return made


def molecules_of_smiles(smiles: Sequence[str]) -> list[Chem.Mol | None]:
    """Samples of a model of SMILES, not sanitised; None where the text is no SMILES."""
    from domains.molecule.files import molecule_of_smiles

    return [molecule_of_smiles(one) for one in smiles]
