"""Whole-molecule properties by RDKit, by which generated molecules are compared with real ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import QED, rdMolDescriptors

from domains.molecule.chemistry import silenced


@dataclass(frozen=True)
class Property:
    """A property.

    Attributes:
        name: As printed. unit: Empty where it has none. digits: Decimals in print.
        of: A sanitised molecule with implied hydrogens -> its value.
    """

    name: str
    unit: str
    digits: int
    of: Callable[[Chem.Mol], float]


PROPERTIES: tuple[Property, ...] = (
    Property("logP", "", 3, lambda m: float(rdMolDescriptors.CalcCrippenDescriptors(m)[0])),
    Property("QED", "", 3, lambda m: float(QED.default(m))),
    Property("weight", "Da", 1, lambda m: float(rdMolDescriptors._CalcMolWt(m))),
    Property("TPSA", "Å²", 1, lambda m: float(rdMolDescriptors.CalcTPSA(m))),
    Property("rings", "", 2, lambda m: float(rdMolDescriptors.CalcNumRings(m))),
    Property("H-bond donors", "", 2, lambda m: float(rdMolDescriptors.CalcNumHBD(m))),
)
NAMES = tuple(one.name for one in PROPERTIES)


def properties_of(molecule: Chem.Mol) -> dict[str, float]:
    """Name -> value for one molecule.

    logP: Wildman & Crippen 1999. QED: Bickerton et al. 2012, mean weights. TPSA: Ertl et al. 2000, N and O only. Rings:
    the smallest set of smallest rings. Donors: N and O with hydrogens (Lipinski's rule as RDKit defines it).

    Args:
        molecule: Sanitised, hydrogens implied.
    """
    with silenced():
        return {one.name: one.of(molecule) for one in PROPERTIES}


def property_table(molecules: Sequence[Chem.Mol]) -> NDArray[np.float64]:
    """Values `[molecules, properties]` in the order of `PROPERTIES`; molecules sanitised, hydrogens implied."""
    rows = [list(properties_of(molecule).values()) for molecule in molecules]
    return np.array(rows, dtype=np.float64).reshape(len(molecules), len(PROPERTIES))
