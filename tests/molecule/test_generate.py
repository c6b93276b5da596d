"""`molecule.generate` from request to files, with a model that says whatever it likes."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from rdkit import Chem

from core.checkpoint import save_model
from domains.common.errors import BadInput
from domains.common.running import PlainRun
from domains.molecule import generate as module
from domains.molecule.generate import generate
from domains.molecule.joint_model import new_model
from domains.molecule.joint_training import DEFAULTS, model_config
from domains.molecule.requests import GenerateRequest, JointSampling
from tests.molecule.test_joint import SMALL, water_and_methane


@pytest.fixture(scope="module", params=["qm9", "zinc"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    config = model_config(water_and_methane(request.param), {**DEFAULTS, **SMALL})
    out = tmp_path_factory.mktemp("model")
    save_model(out, new_model(config).network.state_dict(), {"name": "tiny", "model": config}, torch.float32)
    return str(out)


def asked(folder: str, **fields: object) -> GenerateRequest:
    sampling = JointSampling(steps=3, model=folder)
    return GenerateRequest(**{"count": 6, **fields}, sampling=sampling)  # type: ignore[arg-type]


def test_every_molecule_has_its_row(folder: str, tmp_path: Path) -> None:
    told: list[float] = []
    result = generate(asked(folder), PlainRun(tmp_path, told=lambda done, total: told.append(done / total)))
    with (tmp_path / "molecules.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 and result.metrics["molecules"] == 6 and result.nfe == 3
    good = [row for row in rows if row["connected"] in ("True", "true", "yes", "1")]
    assert result.metrics["valid and connected %"] == pytest.approx(100 * len(good) / 6, abs=0.01)
    if good:
        read = [
            m for m in Chem.SDMolSupplier(str(tmp_path / "molecules.sdf"), removeHs=False) if m is not None
        ]
        assert len(read) == len(good) and read[0].HasProp("logP")
    assert told == sorted(told)


def test_the_same_seed_makes_the_same(folder: str, tmp_path: Path) -> None:
    texts = []
    for k in range(2):
        (tmp_path / str(k)).mkdir()
        generate(asked(folder), PlainRun(tmp_path / str(k)))
        texts.append((tmp_path / str(k) / "molecules.csv").read_text())
    assert texts[0] == texts[1]


def test_strict_draws_again_until_all_hold_or_says_so(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROUNDS", 3)
    result = generate(asked(folder, valence="strict", count=4), PlainRun(tmp_path))
    share = result.metrics["valid and connected %"]
    assert share == 100 or any("did not hold together" in note for note in result.notes)


def test_a_size_that_the_model_does_not_know(folder: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="3 to 5 atoms"):
        generate(asked(folder, atoms=7), PlainRun(tmp_path))
    assert list(tmp_path.iterdir()) == []
