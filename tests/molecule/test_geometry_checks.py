"""The checks of single geometries, beside the PoseBusters package itself."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from domains.molecule.geometry_checks import CHECKS, check_geometry, off_plane
from domains.molecule.strain import strain_energy
from tests.molecule.conftest import embedded

SMILES = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "C1CCCCC1CO",
    "CC(C)=C(C)CO",
    "O=C([O-])CC[NH3+]",
]


def shaken(molecule: Chem.Mol, spread: float, seed: int) -> Chem.Mol:
    moved = Chem.Mol(molecule)
    held = moved.GetConformer()
    held.SetPositions(
        held.GetPositions() + np.random.default_rng(seed).normal(0, spread, (moved.GetNumAtoms(), 3))
    )
    return moved


def test_relaxed_molecules_pass_and_crushed_ones_do_not() -> None:
    for smiles in SMILES:
        molecule = embedded(smiles)
        assert check_geometry(molecule) == dict.fromkeys(CHECKS, True)
        crushed = Chem.Mol(molecule)
        crushed.GetConformer().SetPositions(molecule.GetConformer().GetPositions() * 0.6)
        found = check_geometry(crushed)
        assert found is not None and not found["bond lengths"]


def test_a_flattened_ring_and_a_folded_benzene_are_seen() -> None:
    ring = embedded("C1CCCCC1")
    flat = ring.GetConformer().GetPositions()
    flat[:, 2] = 0
    ring.GetConformer().SetPositions(flat)
    found = check_geometry(ring)
    assert found is not None and not found["saturated rings not flat"]
    benzene = embedded("c1ccccc1")
    folded = benzene.GetConformer().GetPositions()
    folded[0] += 1.0 * np.linalg.svd(folded - folded.mean(0))[2][-1]
    benzene.GetConformer().SetPositions(folded)
    found = check_geometry(benzene)
    assert found is not None and not found["aromatic rings flat"]


def test_points_on_a_plane_are_on_it() -> None:
    x = np.random.default_rng(0).normal(size=(6, 3))
    x[:, 2] = 3 + x[:, 0]
    assert off_plane(x) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("smiles", SMILES)
@pytest.mark.parametrize("spread", [0.0, 0.1, 0.25, 0.5])
def test_the_package_says_the_same(smiles: str, spread: float) -> None:
    geometry = pytest.importorskip("posebusters.modules.distance_geometry")
    molecule = shaken(embedded(smiles), spread, 3)
    theirs = geometry.check_geometry(
        molecule, threshold_bad_bond_length=0.25, threshold_bad_angle=0.25, threshold_clash=0.3
    )["results"]
    ours = check_geometry(molecule)
    assert ours is not None
    assert ours["bond lengths"] == theirs["bond_lengths_within_bounds"]
    assert ours["bond angles"] == theirs["bond_angles_within_bounds"]
    assert ours["no clash"] == theirs["no_internal_clash"]


def test_the_packages_rings_say_the_same() -> None:
    flatness = pytest.importorskip("posebusters.modules.flatness")
    seen = set()
    for smiles in SMILES:
        for spread in (0.0, 0.05, 0.1, 0.2, 0.3):
            molecule = shaken(embedded(smiles), spread, 5)
            held = flatness.check_flatness(molecule, threshold_flatness=0.25)["details"]
            # The package looks at one side of the plane only; ours at both.
            theirs = all(
                off_plane(molecule.GetConformer().GetPositions()[list(g)]) <= 0.25
                for g in held["planar_group"]
            )
            ours = check_geometry(molecule)
            assert ours is not None
            assert (ours["aromatic rings flat"] and ours["double bonds flat"]) == theirs
            seen.add(theirs)
    assert seen == {True, False}


def test_strain_is_zero_at_a_minimum_and_grows() -> None:
    molecule = embedded("CC(=O)NCCO")
    rest = strain_energy(molecule)
    assert rest is not None and rest < 0.05
    before = molecule.GetConformer().GetPositions().copy()
    moved = [strain_energy(shaken(molecule, spread, 1)) for spread in (0.03, 0.1, 0.2)]
    assert all(a is not None and b is not None and a < b for a, b in zip([rest, *moved], moved, strict=False))
    assert np.array_equal(molecule.GetConformer().GetPositions(), before)  # looked at, not moved


def test_strain_of_what_the_force_field_does_not_know_is_none() -> None:
    xenon = Chem.AddHs(Chem.MolFromSmiles("F[Xe]F"))
    xenon.AddConformer(Chem.Conformer(3))
    assert strain_energy(xenon) is None
