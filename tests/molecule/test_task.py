"""`molecule.evaluate` end to end: files in, tables, drawings and notes out; bad input is one line and status 2."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from apps.cli.main import main
from domains.common.recipes import content_sha256
from domains.molecule import evaluation
from domains.molecule.examples import EVERYDAY, everyday_molecules
from domains.molecule.files import read_molecules
from domains.molecule.prepare import prepare_smiles
from tests.molecule.conftest import embedded

Capture = pytest.CaptureFixture[str]


def run(tmp_path: Path, *arguments: str) -> tuple[dict, dict[str, Path]]:
    out = tmp_path / "out"
    assert main(["run", "molecule.evaluate", *arguments, "--out", str(out)]) == 0
    made = json.loads((out / "result.json").read_text("utf-8"))
    return made, {item["path"]: out / item["path"] for item in made["artifacts"]}


@pytest.fixture
def sdf(tmp_path: Path) -> Path:
    path = tmp_path / "mine.sdf"
    smiles = ["CCO", "CC(=O)O", "CC#N", "CCO", "C1CC1O"]
    path.write_text("".join(Chem.MolToMolBlock(embedded(one)) + "$$$$\n" for one in smiles), "utf-8")
    return path


def test_an_sdf_in_space_is_scored_in_full(sdf: Path, tmp_path: Path) -> None:
    made, files = run(tmp_path, "--file", str(sdf), "--reference", str(sdf), "--contains", "[OX2H]")
    metrics = made["metrics"]
    assert metrics["valid and connected"] == metrics["atom stability"] == metrics["geometry checks"] == 100
    assert metrics["unique"] == 80 and metrics["novel"] == 0
    assert metrics["contain the pattern"] == 80
    assert metrics["logP distance"] == metrics["bond length distance"] == 0
    drawings = {"molecules.png", "molecules.svg"}
    assert (
        set(files)
        == {"metrics.csv", "metrics.md", "molecules.csv", "molecules.sdf", "properties.json"} | drawings
    )
    rows = list(csv.DictReader(files["molecules.csv"].open(encoding="utf-8")))
    assert [row["smiles"] for row in rows] == ["CCO", "CC(=O)O", "CC#N", "CCO", "OC1CC1"]
    assert [row["contains the pattern"] for row in rows] == ["True", "True", "False", "True", "True"]
    assert all(row["stable"] == "True" for row in rows)
    again = read_molecules(files["molecules.sdf"])
    assert [record.properties["smiles"] for record in again] == [row["smiles"] for row in rows]
    figure = json.loads(files["properties.json"].read_text("utf-8"))
    assert len(figure["data"]) == 12
    for trace in figure["data"]:
        assert sum(trace["y"]) == pytest.approx(1, abs=1e-3)


def test_the_same_request_gives_the_same_bytes(sdf: Path, tmp_path: Path) -> None:
    made = [run(tmp_path / name, "--file", str(sdf))[1] for name in ("a", "b")]
    for name, path in made[0].items():  # recipes state how long it took
        assert content_sha256(path) == content_sha256(made[1][name]), name
    again = ["--input", str(sdf), "--out", str(tmp_path / "again")]
    assert main(["replay", str(made[0]["molecules.sdf"]), *again]) == 0


def test_the_example_says_what_it_refused(tmp_path: Path, capsys: Capture) -> None:
    made, files = run(tmp_path, "--file", str(everyday_molecules()))
    assert made["metrics"]["molecules"] == len(EVERYDAY)
    assert made["metrics"]["valid"] == pytest.approx(100 * 24 / 27, abs=0.06)
    said = capsys.readouterr().out
    for words in (
        "(sodium benzoate) consists of 2 pieces",
        "(a ring left open) is no SMILES",
        "carry formal charges",
    ):
        assert words in said
    reasons = [
        row["refused because it"] for row in csv.DictReader(files["molecules.csv"].open(encoding="utf-8"))
    ]
    assert sum(map(bool, reasons)) == 4


def test_zero_valid_molecules_are_still_a_result(tmp_path: Path) -> None:
    path = tmp_path / "a.smi"
    path.write_text("c1cccc1\nCC(C)(C)(C)C\n")
    made, files = run(tmp_path, "--file", str(path))
    assert made["metrics"]["valid"] == 0 and "molecules.sdf" not in files and "metrics.csv" in files


@pytest.mark.parametrize(
    ("name", "text", "arguments", "line"),
    [
        ("a.sdf", "not an sdf\n", [], "file: holds no molecule that can be read; the molecule is cut off"),
        ("a.smi", "C" * 5000, [], "file: holds no molecule that can be read; the molecule has 5,000 atoms"),
        (
            "a.xyz",
            "1\n\nXx 0 0 0\n",
            [],
            "file: holds no molecule that can be read; the molecule has an unknown element",
        ),
        ("a.smi", "<script>\x1b[31m\n", [], "file: "),
        ("a.smi", "CCO\n", ["--contains", "[#6&#7]"], "contains: never matches"),
        ("a.smi", "CCO\n", ["--contains", "[["], "contains: '[[' is no SMARTS"),
        ("a.smi", "CCO\n", ["--reference", "absent.smi"], "reference: no such file"),
        ("a.smi", "CCO\n", ["--steps", "20"], "steps: "),
        ("a.smi", "CCO\n", ["--model", "series-base"], "model: "),
        ("a.png", "CCO\n", [], "file: is of no known format"),
    ],
)
def test_bad_input_is_one_line(
    name: str, text: str, arguments: list[str], line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    out = tmp_path / "out"
    assert main(["run", "molecule.evaluate", "--file", str(path), *arguments, "--out", str(out)]) == 2
    printed = capfd.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert printed.err.startswith(f"error: {line}") and printed.err.rstrip("\n").isprintable()
    assert not out.exists()


def test_a_reference_of_one_molecule_is_refused(sdf: Path, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "one.smi"
    path.write_text("CCO\n")
    arguments = ["--file", str(sdf), "--reference", str(path), "--out", str(tmp_path / "out")]
    assert main(["run", "molecule.evaluate", *arguments]) == 2
    assert "reference: holds fewer than two" in capsys.readouterr().err


def test_hostile_names_reach_no_artifact(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('name,smiles\n"=1+1",CCO\n"<script>alert(1)</script>",CCN\n', "utf-8")
    _, files = run(tmp_path, "--file", str(path))
    assert "'=1+1" in files["molecules.csv"].read_text("utf-8")
    for name in ("molecules.svg", "properties.json", "metrics.md"):
        assert "<script" not in files[name].read_text("utf-8")


@pytest.mark.slow
def test_the_table_of_references_puts_real_molecules_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_folder: Path
) -> None:
    """On a few molecules: the row of real ones, noise on top of them, and both baselines of SMILES."""
    from domains.molecule import prepare as module

    spatial = tmp_path / "qm9_3d.npz"
    with np.load(evaluation.data_file(data_folder, "qm9_3d.npz")) as held:
        sizes = held["n_atoms"][:1500]
        atoms = int(sizes.sum())
        np.savez(spatial, n_atoms=sizes, z=held["z"][:atoms], xyz_mA=held["xyz_mA"][:atoms])
    lines = module.read_smiles(evaluation.data_file(data_folder, "zinc_druglike.csv.gz"))[:1500]
    (tmp_path / "zinc_druglike.csv.gz").write_text("smiles\n" + "\n".join(lines) + "\n")
    monkeypatch.setattr(module, "cache_folder", lambda name: tmp_path)
    monkeypatch.setattr(evaluation, "QUICK_MINUTES", 0.05)
    table = evaluation.evaluate_references(tmp_path, quick=True)
    assert table.methods[:2] == [evaluation.REAL, evaluation.SHAKEN]
    assert [name.split(",")[0] for name in table.methods[2:]] == ["SMILES 10-gram", "SMILES LSTM"]
    space, flat = table.settings
    assert table.mean(evaluation.REAL, "molecule stability", space) > 85
    assert table.mean(evaluation.SHAKEN, "molecule stability", space) < 5
    assert table.mean(evaluation.REAL, "valid and connected", flat) == 100
    assert table.mean(table.methods[2], "valid", flat) < 60
    assert "| real molecules of the test part |" in table.to_markdown()
    with pytest.raises(ValueError, match="model: "):
        evaluation.evaluate_references(tmp_path, model="x")


def test_a_set_of_smiles_is_prepared_for_the_judge() -> None:
    arrays, _ = prepare_smiles(list(EVERYDAY.values()))
    held = evaluation.benchmark("everyday", arrays, size=30)
    assert held.reference.names == frozenset(held.smiles)
