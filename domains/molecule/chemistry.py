"""RDKit at the edge: molecules from arrays and back, canonical names, and its chatter silenced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Geometry import Point3D

_ORDERS = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}
_NUMBERS = {kind: order for order, kind in _ORDERS.items()}


@contextmanager
def silenced() -> Iterator[None]:
    """Keeps RDKit from writing to the terminal inside the block."""
    block = rdBase.BlockLogs()
    try:
        yield
    finally:
        del block


@dataclass(frozen=True)
class Graph:
    """A molecule as arrays.

    Attributes:
        numbers: Atomic numbers `[n]`.
        charges: Formal charges `[n]`.
        hydrogens: Hydrogens that are not atoms of their own, `[n]`.
        pairs: Bonded atoms `[m, 2]`, the smaller index first.
        orders: 1, 2, 3 of one Kekulé structure, `[m]`.
        aromatic: Whether a bond is aromatic, `[m]`.
        positions: Å, `[n, 3]`; None where flat.
    """

    numbers: NDArray[np.int64]
    charges: NDArray[np.int64]
    hydrogens: NDArray[np.int64]
    pairs: NDArray[np.int64]
    orders: NDArray[np.int64]
    aromatic: NDArray[np.bool_]
    positions: NDArray[np.float64] | None = None


def to_molecule(
    numbers: NDArray[np.integer],
    pairs: NDArray[np.integer],
    orders: NDArray[np.integer],
    charges: NDArray[np.integer] | None = None,
    hydrogens: NDArray[np.integer] | None = None,
    positions: NDArray[np.floating] | None = None,
) -> Chem.Mol:
    """A molecule as it is stated, with nothing added, moved or repaired, and not sanitised.

    Args:
        numbers: Atomic numbers `[n]`.
        pairs: Bonded atoms `[m, 2]`.
        orders: 1, 2 or 3, `[m]`.
        charges: Formal charges `[n]`; none where None.
        hydrogens: Hydrogens of each atom that are not atoms themselves, `[n]`; where None, RDKit fills free valences.
        positions: Å, `[n, 3]`.
    """
    made = Chem.RWMol()
    for index, number in enumerate(numbers):
        atom = Chem.Atom(int(number))
        if charges is not None:
            atom.SetFormalCharge(int(charges[index]))
        if hydrogens is not None:
            atom.SetNoImplicit(True)
            atom.SetNumExplicitHs(int(hydrogens[index]))
        made.AddAtom(atom)
    for (first, second), order in zip(pairs, orders, strict=True):
        made.AddBond(int(first), int(second), _ORDERS[int(order)])
    if positions is not None:
        made.AddConformer(conformer(positions), assignId=True)
    return made.GetMol()


def conformer(positions: NDArray[np.floating]) -> Chem.Conformer:
    """A conformer of these positions in Å, `[n, 3]`."""
    placed = Chem.Conformer(len(positions))
    placed.Set3D(True)
    for index, (x, y, z) in enumerate(positions.tolist()):
        placed.SetAtomPosition(index, Point3D(x, y, z))
    return placed


def to_graph(molecule: Chem.Mol) -> Graph:
    """The arrays of a sanitised molecule, with the bond orders of RDKit's Kekulé structure.

    Raises:
        ValueError: If a bond has another order than 1, 2, 3 or aromatic (dative, zero, quadruple), or RDKit finds no
            Kekulé structure.
    """
    aromatic = [bond.GetIsAromatic() for bond in molecule.GetBonds()]
    plain = Chem.Mol(molecule)
    Chem.Kekulize(plain, clearAromaticFlags=True)
    kinds = [bond.GetBondType() for bond in plain.GetBonds()]
    if any(kind not in _NUMBERS for kind in kinds):
        raise ValueError("a bond is neither single, double, triple nor aromatic")
    pairs = [sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())) for bond in plain.GetBonds()]
    atoms = list(plain.GetAtoms())
    flat = not molecule.GetNumConformers() or not molecule.GetConformer().Is3D()
    return Graph(
        numbers=np.array([atom.GetAtomicNum() for atom in atoms], dtype=np.int64),
        charges=np.array([atom.GetFormalCharge() for atom in atoms], dtype=np.int64),
        hydrogens=np.array([atom.GetTotalNumHs() for atom in atoms], dtype=np.int64),
        pairs=np.array(pairs, dtype=np.int64).reshape(-1, 2),
        orders=np.array([_NUMBERS[kind] for kind in kinds], dtype=np.int64),
        aromatic=np.array(aromatic, dtype=bool),
        positions=None if flat else np.array(molecule.GetConformer().GetPositions()),
    )


def sanitised(molecule: Chem.Mol | None) -> Chem.Mol | None:
    """A copy that passed RDKit's sanitisation (valences, Kekulé structure, aromaticity); None where it fails."""
    if molecule is None:
        return None
    made = Chem.Mol(molecule)
    with silenced():
        try:
            Chem.SanitizeMol(made)
        except (ValueError, RuntimeError):
            return None
    return made


def is_connected(molecule: Chem.Mol) -> bool:
    """Whether all atoms hang together."""
    return len(Chem.GetMolFrags(molecule)) == 1


def has_radicals(molecule: Chem.Mol) -> bool:
    """Whether a sanitised molecule has unpaired electrons: an atom with fewer bonds than its valence, none implied."""
    return any(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())


def without_hydrogens(molecule: Chem.Mol) -> Chem.Mol:
    """A sanitised molecule with its hydrogens implied; those that cannot be (H2, hydrides, isotopes) stay."""
    with silenced():
        return Chem.RemoveHs(molecule)


def canonical_smiles(molecule: Chem.Mol) -> str:
    """The name by which molecules are compared: canonical SMILES of the graph, without stereo, isotopes, hydrogens.

    Args:
        molecule: Sanitised.
    """
    plain = Chem.Mol(molecule)
    Chem.RemoveStereochemistry(plain)
    for atom in plain.GetAtoms():
        atom.SetIsotope(0)
        atom.SetAtomMapNum(0)
    plain = without_hydrogens(plain)
    Chem.RemoveStereochemistry(plain)
    return str(Chem.MolToSmiles(plain))


def has_space(molecule: Chem.Mol) -> bool:
    """Whether the molecule has positions in three dimensions."""
    return bool(molecule.GetNumConformers() and molecule.GetConformer().Is3D())


def all_hydrogens(molecule: Chem.Mol) -> bool:
    """Whether every hydrogen of a sanitised molecule is an atom of its own."""
    return all(atom.GetNumImplicitHs() + atom.GetNumExplicitHs() == 0 for atom in molecule.GetAtoms())
