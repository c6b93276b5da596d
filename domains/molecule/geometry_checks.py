"""Checks of a single geometry, as PoseBusters defines them for a molecule by itself (Buttenschoen, Morris & Deane 2024,
"PoseBusters", Chem. Sci. 15, 3130, table 2), on the bounds of RDKit's distance geometry.

Bond lengths and angles (as distances of outer atoms) may leave the bounds by 25 %, other pairs may be 30 % closer than
the lower bound; aromatic rings of five and six atoms and the surroundings of C=C bonds lie within 0.25 Å of a plane;
saturated rings of six (at most one double bond) do not lie within 0.05 Å of one.  Hydrogens are not looked at.

Written here because the package needs pandas and tens of milliseconds a molecule; a test holds both side by side.  Its
ratio of energies, which embeds 50 conformers of each molecule, is left to `strain`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from domains.molecule.chemistry import silenced

CHECKS = (
    "bond lengths",
    "bond angles",
    "no clash",
    "aromatic rings flat",
    "double bonds flat",
    "saturated rings not flat",
)
BEYOND, CLOSER = 0.25, 0.30
FLAT, NOT_FLAT = 0.25, 0.05
_AROMATIC = ("[ar5^2]1[ar5^2][ar5^2][ar5^2][ar5^2]1", "[ar6^2]1[ar6^2][ar6^2][ar6^2][ar6^2][ar6^2]1")
_DOUBLE = "[C;X3;^2](*)(*)=[C;X3;^2](*)(*)"
_TERMINAL = "[O,N;D1;$([O,N;D1]-[*]=[O,N;D1]),$([O,N;D1]=[*]-[O,N;D1])]~[*]"


def check_geometry(molecule: Chem.Mol) -> dict[str, bool] | None:
    """Each of `CHECKS` -> whether it is passed; None where RDKit has no bounds for the molecule.

    Args:
        molecule: Sanitised, with positions.
    """
    x = np.array(molecule.GetConformer().GetPositions())
    made = _within_bounds(molecule, x)
    if made is None:
        return None
    groups = [match for smarts in _AROMATIC for match in molecule.GetSubstructMatches(_pattern(smarts))]
    made["aromatic rings flat"] = all(off_plane(x[list(group)]) <= FLAT for group in groups)
    doubles = molecule.GetSubstructMatches(_pattern(_DOUBLE))
    made["double bonds flat"] = all(off_plane(x[list(group)]) <= FLAT for group in doubles)
    made["saturated rings not flat"] = all(
        off_plane(x[list(ring)]) >= NOT_FLAT for ring in _saturated_rings(molecule)
    )
    return {name: made[name] for name in CHECKS}


def off_plane(x: NDArray[np.float64]) -> float:
    """Largest distance in Å of points `[n, 3]` from the plane that fits them best."""
    centred = x - x.mean(axis=0)
    normal = np.linalg.svd(centred)[2][-1]
    return float(np.abs(centred @ normal).max())


def _within_bounds(molecule: Chem.Mol, x: NDArray[np.float64]) -> dict[str, bool] | None:
    with silenced():
        try:
            bounds = rdDistGeom.GetMoleculeBoundsMatrix(
                molecule,
                set15bounds=True,
                scaleVDW=True,
                doTriangleSmoothing=True,
                useMacrocycle14config=False,
            )
        except (RuntimeError, ValueError):
            return None
    upper, lower = np.triu(bounds, 1), np.tril(bounds, -1).T
    bonded = np.array(Chem.GetAdjacencyMatrix(molecule), dtype=bool)
    _widen_terminal(molecule, bonded, lower, upper)
    heavy = np.array([atom.GetAtomicNum() != 1 for atom in molecule.GetAtoms()])
    looked_at = np.triu(heavy[:, None] & heavy[None], 1)
    distances = np.linalg.norm(x[:, None] - x[None], axis=-1)
    angle = (bonded.astype(int) @ bonded.astype(int) > 0) & ~bonded & looked_at
    bond, other = bonded & looked_at, looked_at & ~bonded & ~angle
    short, long = distances < lower * (1 - BEYOND), distances > upper * (1 + BEYOND)
    return {
        "bond lengths": not (bond & (short | long)).any(),
        "bond angles": not (angle & (short | long)).any(),
        "no clash": not (other & (distances < lower * (1 - CLOSER))).any(),
    }


def _widen_terminal(
    molecule: Chem.Mol,
    bonded: NDArray[np.bool_],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
) -> None:
    """Gives the two ends of carboxylates and their like the same bounds, since their double bond is drawn at will."""
    groups: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for match in molecule.GetSubstructMatches(_pattern(_TERMINAL)):
        i, j = sorted(match)
        if bonded[i, j]:
            symbols = sorted(molecule.GetAtomWithIdx(k).GetSymbol() for k in (i, j))
            groups.setdefault(tuple(symbols), []).append((i, j))
    for pairs in groups.values():
        rows, columns = np.array(pairs).T
        lower[rows, columns] = lower[rows, columns].min()
        upper[rows, columns] = upper[rows, columns].max()


def _saturated_rings(molecule: Chem.Mol) -> Iterable[tuple[int, ...]]:
    """Rings of six of C, N, O, S, each atom in this ring alone, none aromatic, with at most one double bond."""
    rings = molecule.GetRingInfo()
    for atoms, bonds in zip(rings.AtomRings(), rings.BondRings(), strict=True):
        members = [molecule.GetAtomWithIdx(k) for k in atoms]
        simple = len(atoms) == 6 and all(
            atom.GetAtomicNum() in (6, 7, 8, 16)
            and not atom.GetIsAromatic()
            and rings.NumAtomRings(atom.GetIdx()) == 1
            for atom in members
        )
        kinds = [molecule.GetBondWithIdx(k).GetBondType() for k in bonds]
        if simple and sum(kind != Chem.BondType.SINGLE for kind in kinds) <= 1:
            yield atoms


@cache
def _pattern(smarts: str) -> Chem.Mol:
    return Chem.MolFromSmarts(smarts)
