"""`launch.py fit-grid`: what it refuses, and that what it writes is what `--solver fitted` walks along."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from apps.cli.main import main
from core.spaces.gaussian import Gaussian
from domains.common.models import builtin_models
from domains.common.sampling import walk_of
from domains.common.task import Sampling

needs_model = pytest.mark.skipif("series-base" not in builtin_models(), reason="series-base is not there")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the built-in model, whose card may be written to."""
    return Path(shutil.copytree(builtin_models()["series-base"].folder, tmp_path / "mine"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-model"], "model: "),
        (["series-base", "--steps", "1"], "steps: must be 2 to 50"),
        (["series-base", "--steps", "4", "51"], "steps: must be 2 to 50"),
        (["series-base", "--samples", "3"], "samples: must be 16 to 4096"),
        (["series-base", "--seed", "-1"], "seed: "),
    ],
)
@needs_model
def test_what_cannot_be_fitted_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit-grid", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


@needs_model
def test_a_model_of_another_kind_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = json.loads((model / "card.json").read_text())
    (model / "card.json").write_text(json.dumps({**card, "name": "other"}))
    assert main(["fit-grid", str(model)]) == 2
    assert "other offers no problem to fit on" in capsys.readouterr().err


@pytest.mark.slow
@needs_model
def test_a_fitted_grid_lands_on_the_card(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads((model / "card.json").read_text())
    assert main(["fit-grid", str(model), "--steps", "4", "--samples", "16"]) == 0
    card = json.loads((model / "card.json").read_text())
    own = ("grids", "calibration")  # bands are calibrated where the tables for it are there
    assert {k: v for k, v in card.items() if k not in own} == {
        k: v for k, v in before.items() if k not in own
    }
    grid = card["grids"]["4"]
    assert grid["error"] < grid["unfitted"]
    _, times = walk_of(Sampling(solver="fitted", steps=4), Gaussian(), card)
    assert torch.equal(times, torch.tensor(grid["times"], dtype=torch.float64))
    assert "4 steps: error" in capsys.readouterr().out
