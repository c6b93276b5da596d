"""The evaluator: one set of molecules in, one number a metric out.  Frozen: a change of any definition changes `RULES`.

Three rules of what a good molecule is are kept apart, since one set of samples may score 40 % under one and 90 % under
another: EDM's stability (`stability`), RDKit's sanitisation, and sanitisation in one piece.  Nothing is repaired: a
molecule is judged as it was stated.  docs/molecules.md defines every metric.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from domains.molecule.chemistry import (
    all_hydrogens,
    canonical_smiles,
    has_radicals,
    has_space,
    is_connected,
    sanitised,
    without_hydrogens,
)
from domains.molecule.geometry import Geometry, distance, first_wasserstein, measure
from domains.molecule.geometry_checks import check_geometry
from domains.molecule.properties import NAMES, property_table
from domains.molecule.similarity import (
    brics_fragments,
    fragment_similarity,
    internal_diversity,
    pair_distance,
    pair_features,
)
from domains.molecule.stability import Stability, edm_stability
from domains.molecule.strain import strain_energy

RULES = "1"
STRAINED = (
    250  # molecules whose strain is computed, drawn by the seed; relaxing takes tens of milliseconds each
)
_LEAST = 2

Watch = Callable[[float], None]
"""Told the share that is done; may raise to stop."""


@dataclass(frozen=True)
class Judged:
    """What became of one candidate.

    Attributes:
        molecule: Sanitised, as stated; None where RDKit does not accept it or there was none.
        heavy: The same with hydrogens implied; None where `molecule` is.
        connected: Whether it is one piece.
        radicals: Whether it has unpaired electrons.
        smiles: Canonical SMILES without stereo; empty where `molecule` is None.
    """

    molecule: Chem.Mol | None = None
    heavy: Chem.Mol | None = None
    connected: bool = False
    radicals: bool = False
    smiles: str = ""

    @property
    def good(self) -> bool:
        """Valid and in one piece."""
        return self.molecule is not None and self.connected


def judge(candidate: Chem.Mol | None) -> Judged:
    """Sanitises a candidate and looks at the pieces; an empty molecule is invalid."""
    molecule = sanitised(candidate)
    if molecule is None or not molecule.GetNumAtoms():
        return Judged()
    heavy = without_hydrogens(molecule)
    return Judged(molecule, heavy, is_connected(molecule), has_radicals(molecule), canonical_smiles(molecule))


@dataclass(frozen=True)
class Description:
    """What is known of a set of good molecules: what distances are taken between.

    Attributes:
        names: Canonical SMILES of all molecules that count as known.
        properties: `[molecules, properties]` in the order of `properties.PROPERTIES`.
        fragments: BRICS fragment -> count.
        pairs: Mean NSPDK features.
        geometry: Of the molecules with positions; None where there are none.
        strains: kcal/mol a heavy atom, of those drawn for it.
    """

    names: frozenset[str]
    properties: NDArray[np.float64]
    fragments: Mapping[str, int]
    pairs: NDArray[np.float64]
    geometry: Geometry | None
    strains: NDArray[np.float64]


def describe(judged: Sequence[Judged], seed: int = 0, known: Sequence[str] | None = None) -> Description:
    """Describes the good ones among `judged`; as a reference, `known` are the SMILES that are not novel."""
    good = [one for one in judged if one.good]
    heavy = [one.heavy for one in good if one.heavy is not None]
    spatial = [one.molecule for one in good if one.molecule is not None and has_space(one.molecule)]
    return Description(
        names=frozenset(known if known is not None else (one.smiles for one in good)),
        properties=property_table(heavy),
        fragments=brics_fragments(heavy),
        pairs=pair_features(heavy),
        geometry=measure(spatial) if spatial else None,
        strains=strains(spatial, seed),
    )


def strains(molecules: Sequence[Chem.Mol], seed: int = 0, most: int = STRAINED) -> NDArray[np.float64]:
    """Strain of up to `most` of the molecules, drawn by the seed; those without hydrogens or parameters left out."""
    drawn = np.random.default_rng(seed).permutation(len(molecules))[:most]
    found = [strain_energy(molecules[k]) for k in sorted(drawn) if all_hydrogens(molecules[k])]
    return np.array([value for value in found if value is not None], dtype=np.float64)


@dataclass(frozen=True)
class Evaluation:
    """The numbers of a set, and what they came from.

    Attributes:
        metrics: Name -> number; shares in percent; NaN where a metric is not defined for the set.
        judged: One entry a candidate, in order.
        stability: EDM's rule on the candidates in space; None where there are none.
        description: Of the good molecules.
        checks: Check -> percent passed, of good molecules in space.
    """

    metrics: dict[str, float]
    judged: list[Judged]
    stability: Stability | None
    description: Description
    checks: dict[str, float] = field(default_factory=dict)


def evaluate(
    candidates: Sequence[Chem.Mol | None],
    reference: Description | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Evaluation:
    """Scores molecules.

    Args:
        candidates: Molecules as stated, not sanitised; None for what could not be read as one.
        reference: What they are compared with; without it, novelty and distances are NaN.
        seed: Draws the molecules whose strain is computed.
        watch: Told the share that is done.

    Raises:
        ValueError: Without candidates.
    """
    if not candidates:
        raise ValueError("no molecules to evaluate")
    told = watch or (lambda share: None)
    judged = []
    for place, candidate in enumerate(candidates):
        judged.append(judge(candidate))
        if place % 100 == 0:
            told(0.2 * place / len(candidates))
    description = describe(judged, seed)
    told(0.7)
    good = [one for one in judged if one.good]
    metrics = _counts(judged, good, reference)
    stability = _stability(candidates)
    metrics["atom stability"] = 100 * stability.atom_share if stability else float("nan")
    metrics["molecule stability"] = 100 * stability.molecule_share if stability else float("nan")
    checks, passed = _checks(good)
    told(0.9)
    metrics["geometry checks"] = passed
    metrics["strain"] = float(np.median(description.strains)) if len(description.strains) else float("nan")
    metrics["internal diversity"] = internal_diversity([one.heavy for one in good if one.heavy is not None])
    metrics.update(distances(description, reference, len(good)))
    told(1.0)
    return Evaluation(metrics, judged, stability, description, checks)


def distances(sample: Description, reference: Description | None, count: int) -> dict[str, float]:
    """How far the good molecules lie from a reference, by name; NaN without one, or with fewer than two molecules."""
    names = [
        *(f"{name} distance" for name in NAMES),
        "bond length distance",
        "angle distance",
        "dihedral distance",
    ]
    names += ["strain distance", "fragment similarity", "NSPDK distance"]
    if reference is None or count < _LEAST or not len(reference.properties):
        return dict.fromkeys(names, float("nan"))
    made = {
        f"{name} distance": first_wasserstein(sample.properties[:, k], reference.properties[:, k])
        for k, name in enumerate(NAMES)
    }
    for name, kind in (("bond length", "lengths"), ("angle", "angles"), ("dihedral", "dihedrals")):
        both = sample.geometry is not None and reference.geometry is not None
        made[f"{name} distance"] = (
            distance(getattr(sample.geometry, kind), getattr(reference.geometry, kind))
            if both
            else float("nan")
        )
    made["strain distance"] = first_wasserstein(sample.strains, reference.strains)
    made["fragment similarity"] = fragment_similarity(sample.fragments, reference.fragments)
    made["NSPDK distance"] = pair_distance(sample.pairs, reference.pairs)
    return made


def _counts(
    judged: Sequence[Judged], good: Sequence[Judged], reference: Description | None
) -> dict[str, float]:
    total, valid = len(judged), [one for one in judged if one.molecule is not None]
    distinct = {one.smiles for one in good}
    nan = float("nan")
    return {
        "valid": 100 * len(valid) / total,
        "connected": 100 * sum(one.connected for one in valid) / len(valid) if valid else nan,
        "valid and connected": 100 * len(good) / total,
        "no radicals": 100 * sum(not one.radicals for one in valid) / len(valid) if valid else nan,
        "unique": 100 * len(distinct) / len(good) if good else nan,
        "novel": 100 * len(distinct - reference.names) / len(distinct) if reference and distinct else nan,
    }


def _stability(candidates: Sequence[Chem.Mol | None]) -> Stability | None:
    """EDM's rule looks at atoms and positions alone, so it takes candidates that RDKit refuses as well."""
    spatial = [one for one in candidates if one is not None and one.GetNumAtoms() and has_space(one)]
    if not spatial:
        return None
    numbers = [np.array([atom.GetAtomicNum() for atom in one.GetAtoms()]) for one in spatial]
    return edm_stability(numbers, [np.array(one.GetConformer().GetPositions()) for one in spatial])


def _checks(good: Sequence[Judged]) -> tuple[dict[str, float], float]:
    """Percent of the good molecules in space that pass each check, and that pass all."""
    spatial = [one.molecule for one in good if one.molecule is not None and has_space(one.molecule)]
    found = [check for check in map(check_geometry, spatial) if check is not None]
    if not found:
        return {}, float("nan")
    each = {name: 100 * float(np.mean([check[name] for check in found])) for name in found[0]}
    return each, 100 * float(np.mean([all(check.values()) for check in found]))
