"""Written molecules come back as they were, and what a file said does no harm in them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rdkit import Chem

from domains.common.errors import BadInput
from domains.molecule.chemistry import canonical_smiles, sanitised
from domains.molecule.files import read_molecules
from domains.molecule.writing import write_sdf, write_sheet, write_table
from tests.molecule.conftest import embedded

EVIL = "<script>alert(1)</script>\n$$$$\n> <x>\x1b\u202e"


def test_an_sdf_comes_back_with_positions_hydrogens_charges_and_items(tmp_path: Path) -> None:
    molecules = [embedded("CCO"), embedded("[NH3+]CC(=O)[O-]"), embedded("c1cc[nH]c1")]
    path = tmp_path / "a.sdf"
    items = {"QED": 0.123456789, "rings": 1, "good": True, "none": None}
    assert write_sdf(path, [(f"m{k}", molecule, items) for k, molecule in enumerate(molecules)]) == 3
    back = read_molecules(path)
    for one, other in zip(molecules, back, strict=True):
        again = sanitised(other.molecule)
        assert again is not None and canonical_smiles(again) == canonical_smiles(one)
        assert again.GetNumAtoms() == one.GetNumAtoms()
        gap = again.GetConformer().GetPositions() - one.GetConformer().GetPositions()
        assert np.abs(gap).max() < 1e-4 and again.GetConformer().Is3D()
        assert other.properties == {"QED": "0.123457", "rings": "1", "good": "True"}
    supplier = Chem.SDMolSupplier(str(path))  # another reader sees the same
    assert [one.GetProp("_Name") for one in supplier] == ["m0", "m1", "m2"]


def test_hostile_names_and_items_stay_inside_their_record(tmp_path: Path) -> None:
    path = tmp_path / "a.sdf"
    molecule = Chem.MolFromSmiles("CCO")
    write_sdf(
        path, [(EVIL, molecule, {EVIL: EVIL, "$$$$": "$$$$", ">  <y>": "> <z>", "": ""}), ("b", molecule, {})]
    )
    text = path.read_text("utf-8")
    assert text.count("\n$$$$\n") == 2 and "\x1b" not in text and "\u202e" not in text
    assert len(read_molecules(path)) == 2 == len(Chem.SDMolSupplier(str(path)))


def test_a_table_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_table(
        path, [{"name": "=cmd|' /C calc'!A0", "x": 1.5}, {"name": EVIL, "x": float("nan"), "y": -2.0}]
    )
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
    assert rows[0]["name"] == "'=cmd|' /C calc'!A0" and rows[0]["x"] == "1.5"
    assert rows[1]["x"] == "" and rows[1]["y"] == "-2" and rows[1]["name"].isprintable()
    with pytest.raises(ValueError, match="no rows"):
        write_table(path, [])


def test_a_sheet_is_a_picture_of_all_and_carries_nothing_else(tmp_path: Path) -> None:
    drawn = [
        (EVIL, Chem.MolFromSmiles("CCO")),
        *((f"m{k}", Chem.MolFromSmiles("c1ccccc1")) for k in range(6)),
    ]
    drawn[0][1].SetProp("secret", "<script>x</script>")
    png, svg = write_sheet(tmp_path, "sheet", drawn)
    with Image.open(png) as picture:
        assert picture.size == (5 * 240, 2 * 200) and not picture.info.get("rdkitPKL rdkit 2026.09.1")
        assert not [key for key in picture.info if "rdkit" in key.lower() or "smiles" in key.lower()]
        assert np.asarray(picture.convert("L")).min() < 100
    text = svg.read_text("utf-8")
    assert "<script" not in text and "secret" not in text and text.lstrip().startswith("<?xml")
    with pytest.raises(BadInput, match="can be drawn"):
        write_sheet(tmp_path, "none", [])
