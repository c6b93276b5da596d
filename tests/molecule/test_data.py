"""Prepared arrays: chemistry in, tensors out, and back again."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem

from domains.common.errors import BadInput
from domains.molecule.chemistry import canonical_smiles, sanitised
from domains.molecule.conversion import molecules_of_arrays, molecules_of_tensors
from domains.molecule.data import SPLITS, load_arrays, padded_tensors, split_of
from domains.molecule.prepare import prepare, prepared
from tests.molecule.conftest import arrays_of, embedded

SMILES = [
    "CCO",
    "c1ccccc1O",
    "CC(=O)[O-]",
    "C[NH3+]",
    "C[C@H](O)F",
    "c1cc[nH]c1",
    "O=S(=O)(N)c1ccc(Br)cc1",
    "CC#N",
]
LEFT_OUT = ["CCO", "OCC", "[Na+].[Cl-]", "C" * 39, "[CH3]", "[2H]C", "[Fe]", "c1cccc1", "not a molecule"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv.gz"
    path.write_bytes(
        gzip.compress(("smiles,source\n" + "".join(f"{s},x\n" for s in SMILES + LEFT_OUT)).encode())
    )
    return path


@pytest.fixture
def geometries(tmp_path: Path) -> Path:
    molecules = [arrays_of(embedded(smiles)) for smiles in ("O", "CCO", "c1cc[nH]c1", "[NH3+]CC(=O)[O-]")]
    path = tmp_path / "geometries.npz"
    np.savez(
        path,
        n_atoms=np.array([len(z) for z, _ in molecules], dtype=np.uint8),
        z=np.concatenate([z for z, _ in molecules]).astype(np.uint8),
        xyz_mA=np.round(np.concatenate([x for _, x in molecules]) * 1000).astype(np.int16),
    )
    return path


def test_smiles_come_back_as_the_same_molecules(table: Path) -> None:
    arrays, report = prepare(table)
    assert arrays.name == "zinc" and len(arrays) == len(SMILES) == report.kept
    assert arrays.smiles == [canonical_smiles(Chem.MolFromSmiles(smiles)) for smiles in SMILES]
    assert sum(report.left_out.values()) == len(LEFT_OUT)
    assert report.left_out["seen before"] == 2 and report.left_out["above 38 heavy atoms"] == 1
    back = [sanitised(molecule) for molecule in molecules_of_arrays(arrays, range(len(arrays)))]
    assert [canonical_smiles(molecule) for molecule in back if molecule is not None] == arrays.smiles


def test_valences_add_up(table: Path) -> None:
    """Kekulé orders, hydrogens and charges tell the whole molecule, so that validity is a count at each atom."""
    tensors = padded_tensors(prepare(table)[0])
    assert torch.equal(tensors.bonds, tensors.bonds.transpose(1, 2))
    total = tensors.bonds.sum(-1) + tensors.hydrogens
    carbon, oxygen = tensors.numbers == 6, tensors.numbers == 8
    assert (total[carbon] == 4).all()
    assert (total[oxygen] == (2 + tensors.charges[oxygen].long())).all()
    phenol = prepare(table)[0].smiles.index("Oc1ccccc1")
    assert tensors.aromatic[phenol].sum() == 12 and (tensors.bonds[phenol] == 2).sum() == 6


def test_geometries_are_centred_and_come_back(geometries: Path, tmp_path: Path) -> None:
    arrays, report = prepare(geometries)
    assert report.kept == 4 and arrays.smiles == ["O", "CCO", "c1cc[nH]c1", "[NH3+]CC(=O)[O-]"]
    arrays.save(tmp_path / "kept.npz")
    again = load_arrays(tmp_path / "kept.npz")
    assert again.smiles == arrays.smiles and again.made_with == arrays.made_with
    assert again.positions is not None and arrays.positions is not None
    assert np.abs(again.positions - arrays.positions).max() < 6e-4
    tensors = padded_tensors(again)
    assert tensors.positions is not None
    assert tensors.positions.sum(1).abs().max() < 1e-4
    assert (tensors.positions[~tensors.mask] == 0).all() and (tensors.numbers[~tensors.mask] == 0).all()
    batch = tensors.collate(torch.tensor([1, 0]))
    assert batch.numbers.shape == (2, 9) and batch.bonds.shape == (2, 9, 9) and batch.sizes.tolist() == [9, 3]
    names = [sanitised(molecule) for molecule in molecules_of_tensors(batch)]
    assert [canonical_smiles(molecule) for molecule in names if molecule is not None] == ["CCO", "O"]


def test_free_valences_are_filled_only_where_asked(table: Path) -> None:
    tensors = padded_tensors(prepare(table)[0])
    stripped = tensors.collate(torch.arange(len(tensors)))
    stripped.hydrogens.zero_()
    filled = [sanitised(molecule) for molecule in molecules_of_tensors(stripped, free_valence=True)]
    assert [canonical_smiles(m) for m in filled if m is not None] == prepare(table)[0].smiles
    bare = [sanitised(molecule) for molecule in molecules_of_tensors(stripped)]
    assert all(any(atom.GetNumRadicalElectrons() for atom in m.GetAtoms()) for m in bare if m is not None)


def test_a_molecule_stays_in_its_part_for_ever(table: Path) -> None:
    # Written down when the seed was published: a change would leak test molecules into training.
    assert [split_of(smiles) for smiles in ("CCO", "c1ccccc1", "CC(=O)O")] == [0, 0, 2]
    shares = np.bincount([split_of(f"C{k}") for k in range(20_000)], minlength=3) / 20_000
    assert shares == pytest.approx([0.9, 0.05, 0.05], abs=0.007)
    arrays = prepare(table)[0]
    assert sum(len(arrays.members(name)) for name in SPLITS) == len(arrays)
    assert arrays.size_histogram("train").sum() == len(arrays.members("train"))


def test_a_second_reading_comes_from_the_cache(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domains.molecule import prepare as module

    monkeypatch.setattr(module, "cache_folder", lambda name: tmp_path)
    first = prepared(table)
    monkeypatch.setattr(module, "prepare", lambda *_: pytest.fail("prepared twice"))
    assert prepared(table).smiles == first.smiles
    (kept,) = tmp_path.glob("molecules-*.npz")
    assert prepared(kept).smiles == first.smiles


def test_broken_files_are_named_in_one_line(tmp_path: Path, geometries: Path) -> None:
    arrays, _ = prepare(geometries)
    arrays.save(tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz") as held:
        fields = dict(held)
    for change in (
        {"sizes": fields["sizes"][:-1]},
        {"pairs": fields["pairs"] + 200},
        {"smiles_ends": fields["smiles_ends"][::-1]},
        {"version": np.array(99)},
    ):
        np.savez(tmp_path / "bad.npz", **{**fields, **change})
        with pytest.raises(BadInput, match=r"data: .*prepare it again"):
            load_arrays(tmp_path / "bad.npz")
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "pickled.npz", version=np.array([{}], dtype=object))
    for name in ("text.npz", "pickled.npz", "absent.npz"):
        with pytest.raises(BadInput):
            load_arrays(tmp_path / name)
    empty = tmp_path / "none.smi"
    empty.write_text("C1CC\n")
    with pytest.raises(BadInput, match="no molecule that can be used"):
        prepare(empty)


def test_training_needs_no_chemistry_library() -> None:
    code = (
        "import sys\n"
        "sys.modules['rdkit'] = None\n"
        "import domains.molecule.data, domains.molecule.stability, domains.molecule.bond_perception\n"
        "import domains.molecule.smiles_lstm, domains.molecule.ngram, domains.molecule.metric_list\n"
        "print(sorted({'pandas', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
