"""Bond lengths, angles and dihedrals by chemical kind, and how far two sets of molecules lie apart in them.

The kind of a bond is its two elements and its order (aromatic an order of its own); of an angle the element of its
middle atom and how many neighbours that has; of a dihedral the kind of its middle bond and whether that lies in a ring.
Dihedrals are compared without their sign, since a molecule and its mirror image are equally likely.

A distance is the mean over kinds of the first Wasserstein distance, each weighted by its share in the reference.  Kinds
that make up less than 1 % of the reference are left out.  A kind that the sample lacks is compared with all values of
the sample, which is the nearest that it offers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rdkit import Chem

from core.metrics.transport import wasserstein

LEAST_SHARE = 0.01
Values = Mapping[str, NDArray[np.float64]]
"""Kind -> measured values."""
_BOND = {
    Chem.BondType.SINGLE: "-",
    Chem.BondType.DOUBLE: "=",
    Chem.BondType.TRIPLE: "#",
    Chem.BondType.AROMATIC: ":",
}


@dataclass(frozen=True)
class Geometry:
    """What was measured on some molecules.

    Attributes:
        lengths: Å, by kind of bond. angles: Degrees, by kind of middle atom. dihedrals: Degrees from 0 to 180.
    """

    lengths: Values
    angles: Values
    dihedrals: Values


def measure(molecules: Sequence[Chem.Mol]) -> Geometry:
    """Measures sanitised molecules with positions, hydrogens included where they are atoms."""
    kinds: tuple[list[str], list[str], list[str]] = ([], [], [])
    indices: tuple[list[tuple[int, ...]], ...] = ([], [], [])
    positions, start = [], 0
    for molecule in molecules:
        positions.append(molecule.GetConformer().GetPositions())
        atoms = [(atom.GetSymbol(), atom.GetDegree()) for atom in molecule.GetAtoms()]
        near: list[list[int]] = [[] for _ in atoms]
        for bond in molecule.GetBonds():
            i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            near[i].append(j)
            near[j].append(i)
        for bond in molecule.GetBonds():
            i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            first, second = sorted((atoms[i][0], atoms[j][0]))
            kind = f"{first}{_BOND.get(bond.GetBondType(), '~')}{second}"
            kinds[0].append(kind)
            indices[0].append((start + i, start + j))
            turning = f"{kind} ring" if bond.IsInRing() else kind
            for a in near[i]:
                for d in near[j]:
                    if a != j and d != i and a != d:
                        kinds[2].append(turning)
                        indices[2].append((start + a, start + i, start + j, start + d))
        for middle, others in enumerate(near):
            for place, a in enumerate(others):
                for b in others[place + 1 :]:
                    kinds[1].append(f"{atoms[middle][0]}{atoms[middle][1]}")
                    indices[1].append((start + a, start + middle, start + b))
        start += len(atoms)
    x = np.concatenate(positions) if positions else np.zeros((0, 3))
    made = [
        _by_kind(names, compute(x, np.array(index, dtype=np.int64).reshape(-1, width)))
        for names, index, width, compute in zip(
            kinds, indices, (2, 3, 4), (_lengths, _angles, _dihedrals), strict=True
        )
    ]
    return Geometry(*made)


def distance(sample: Values, reference: Values) -> float:
    """How far two sets of values lie apart, in their unit; NaN where one is empty."""
    total = sum(len(values) for values in reference.values())
    everything = [values for values in sample.values() if len(values)]
    if not total or not everything:
        return float("nan")
    pooled = np.concatenate(everything)
    spent, weight = 0.0, 0.0
    for kind, values in reference.items():
        share = len(values) / total
        if share < LEAST_SHARE:
            continue
        spent += share * first_wasserstein(sample.get(kind, pooled), values)
        weight += share
    return spent / weight if weight else float("nan")


def first_wasserstein(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """First Wasserstein distance of two samples of numbers; NaN where one is empty."""
    if not len(a) or not len(b):
        return float("nan")
    return float(wasserstein(torch.from_numpy(a)[:, None], torch.from_numpy(b)[:, None])[0])


def _by_kind(names: list[str], values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    if not names:
        return {}
    kinds, place = np.unique(np.array(names), return_inverse=True)
    order = np.argsort(place, kind="stable")
    parts = np.split(values[order], np.cumsum(np.bincount(place))[:-1])
    return {str(kind): part for kind, part in zip(kinds, parts, strict=True)}


def _lengths(x: NDArray[np.float64], index: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.linalg.norm(x[index[:, 0]] - x[index[:, 1]], axis=-1)


def _angles(x: NDArray[np.float64], index: NDArray[np.int64]) -> NDArray[np.float64]:
    a, b = x[index[:, 0]] - x[index[:, 1]], x[index[:, 2]] - x[index[:, 1]]
    sizes = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.degrees(np.arccos(np.clip((a * b).sum(-1) / np.maximum(sizes, 1e-12), -1, 1)))


def _dihedrals(x: NDArray[np.float64], index: NDArray[np.int64]) -> NDArray[np.float64]:
    a, b, c = (x[index[:, k + 1]] - x[index[:, k]] for k in range(3))
    n, m = np.cross(a, b), np.cross(b, c)
    along = b / np.maximum(np.linalg.norm(b, axis=-1, keepdims=True), 1e-12)
    return np.degrees(np.abs(np.arctan2((np.cross(n, m) * along).sum(-1), (n * m).sum(-1))))
