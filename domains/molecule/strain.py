"""Strain: how much energy a molecule loses when its geometry is relaxed in a force field."""

from __future__ import annotations

import math

from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers

from domains.molecule.chemistry import silenced

FORCE_FIELD = "MMFF94s"
STEPS = 500


def strain_energy(molecule: Chem.Mol) -> float | None:
    """Energy above the nearest minimum of MMFF94s (Halgren 1999), in kcal/mol a heavy atom.

    Positions of the molecule stay as they are.  The nearest minimum, not the lowest one: a folded conformer is not
    strained by being folded.

    Args:
        molecule: Sanitised, with positions, every hydrogen an atom.

    Returns:
        Zero or more; None where the force field lacks parameters or fails.
    """
    moved = Chem.Mol(molecule)
    heavy = max(1, moved.GetNumHeavyAtoms())
    with silenced():
        try:
            parameters = rdForceFieldHelpers.MMFFGetMoleculeProperties(moved, mmffVariant=FORCE_FIELD)
            if parameters is None:
                return None
            field = rdForceFieldHelpers.MMFFGetMoleculeForceField(moved, parameters)
            if field is None:
                return None
            field.Initialize()
            before = field.CalcEnergy()
            field.Minimize(maxIts=STEPS)
            after = field.CalcEnergy()
        except (RuntimeError, ValueError):
            return None
    strain = (before - after) / heavy
    return max(0.0, float(strain)) if math.isfinite(strain) else None
