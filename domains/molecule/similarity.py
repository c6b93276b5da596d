"""How alike two sets of molecules are in their parts, and how unlike the molecules of one set are among themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, DataStructs
from rdkit.Chem import BRICS, rdFingerprintGenerator

from domains.molecule.chemistry import silenced

FEATURES = 1 << 16
_RADII, _REACH = 3, 4
_BITS = 2048


def brics_fragments(molecules: Sequence[Chem.Mol]) -> Counter[str]:
    """SMILES of the fragments between BRICS bonds (Degen et al. 2008), and how often each occurs."""
    found: Counter[str] = Counter()
    with silenced():
        for molecule in molecules:
            flat = Chem.Mol(molecule)
            Chem.RemoveStereochemistry(flat)
            parts = Chem.MolToSmiles(BRICS.BreakBRICSBonds(flat))
            found.update(parts.split("."))
    return found


def fragment_similarity(sample: Mapping[str, int], reference: Mapping[str, int]) -> float:
    """Cosine of two counts of fragments, from 0 to 1 (`Frag` of MOSES, Polykovskiy et al. 2020); NaN without any."""
    sizes = [float(np.sqrt(sum(count**2 for count in counts.values()))) for counts in (sample, reference)]
    if not all(sizes):
        return float("nan")
    return sum(count * reference.get(name, 0) for name, count in sample.items()) / (sizes[0] * sizes[1])


def internal_diversity(molecules: Sequence[Chem.Mol]) -> float:
    """One less the mean Tanimoto similarity of all pairs, by Morgan fingerprints of radius 2 and 2,048 bits.

    `IntDiv1` of MOSES (Polykovskiy et al. 2020), over pairs of different molecules; NaN below two molecules.
    """
    if len(molecules) < 2:
        return float("nan")
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=_BITS)
    prints = [generator.GetFingerprint(molecule) for molecule in molecules]
    total = sum(
        sum(DataStructs.BulkTanimotoSimilarity(one, prints[:place]))
        for place, one in enumerate(prints)
        if place
    )
    return 1 - total / (len(prints) * (len(prints) - 1) / 2)


def pair_features(molecules: Sequence[Chem.Mol]) -> NDArray[np.float64]:
    """Mean feature vector `[FEATURES]` of the neighbourhood-subgraph pairwise-distance kernel (NSPDK, Costa & De Grave
    2010), by which GDSS and later papers compare sets of graphs.

    A feature is a pair of rooted neighbourhoods of one radius (0 to 3) whose roots lie 0 to 4 bonds apart.
    Neighbourhoods are told apart by the hashed refinement of Weisfeiler & Leman on elements, charges and bond kinds.
    Counts of each (radius, distance) are scaled to length one, then the whole, so that the kernel of a graph with
    itself is 1.  Features are hashed into `FEATURES` places.
    """
    total = np.zeros(FEATURES)
    for molecule in molecules:
        places, values = _features(molecule)
        total[places] += values
    return total / max(1, len(molecules))


def pair_distance(sample: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Squared maximum mean discrepancy (Gretton et al. 2012) under that kernel, from two mean feature vectors."""
    return float(np.square(sample - reference).sum())


def _features(molecule: Chem.Mol) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The places of a molecule's features, each once, and their values."""
    apart = Chem.GetDistanceMatrix(molecule)
    first, second = np.nonzero((apart <= _REACH) & np.triu(np.ones_like(apart, dtype=bool)))
    gap = apart[first, second].astype(np.int64)
    keys = []
    for radius, labels in enumerate(_labels(molecule)):
        low, high = np.minimum(labels[first], labels[second]), np.maximum(labels[first], labels[second])
        block = gap * (_RADII + 1) + radius
        hashed = _mix(_mix(low) * np.uint64(3) + _mix(high) + block.astype(np.uint64)) % np.uint64(FEATURES)
        keys.append(block * FEATURES + hashed.astype(np.int64))
    found, counts = np.unique(np.concatenate(keys), return_counts=True)
    blocks, places = found // FEATURES, found % FEATURES
    sizes = np.sqrt(np.bincount(blocks, weights=counts.astype(np.float64) ** 2))
    distinct, back = np.unique(places, return_inverse=True)
    values = np.bincount(back, weights=counts / sizes[blocks])
    return distinct, values / np.linalg.norm(values)


def _labels(molecule: Chem.Mol) -> list[NDArray[np.uint64]]:
    """Hashes of the neighbourhoods of radius 0, 1, 2, 3 around every atom."""
    atoms = molecule.GetAtoms()
    start = [atom.GetAtomicNum() * 32 + atom.GetFormalCharge() + 8 for atom in atoms]
    labels = [_mix(np.array(start, dtype=np.uint64))]
    bonds = [
        (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), int(bond.GetBondTypeAsDouble() * 2))
        for bond in molecule.GetBonds()
    ]
    table = np.array(bonds, dtype=np.int64).reshape(-1, 3)
    ends = np.concatenate([table[:, :2], table[:, 1::-1]]) if len(table) else np.zeros((0, 2), dtype=np.int64)
    kinds = np.concatenate([table[:, 2], table[:, 2]]).astype(np.uint64)
    for _ in range(_RADII):
        gathered = np.zeros(len(start), dtype=np.uint64)
        # A sum of mixed hashes does not depend on the order of the neighbours.
        np.add.at(gathered, ends[:, 0], _mix(labels[-1][ends[:, 1]] * np.uint64(7) + kinds))
        labels.append(_mix(labels[-1] * np.uint64(31) + gathered))
    return labels


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A hash of each 64-bit number (the finaliser of SplitMix64; Steele, Lea & Flood 2014); overflow is meant."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
