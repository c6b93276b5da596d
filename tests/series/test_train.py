"""Training of series models: settings, the loss, judging, and whole runs (marked `train`)."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.checkpoint import load_card
from domains.common.errors import BadInput
from domains.common.models import builtin_models
from domains.common.training_settings import parse_settings, trainer_settings
from domains.series.judge import calibrate, judge, make_cases
from domains.series.model import load_series_model, new_model
from domains.series.stream import TrainingStream
from domains.series.train import TableStream, train
from domains.series.training import DEFAULTS, batch_loss, model_config

SMALL = {**DEFAULTS, "width": 32, "encoder_layers": 1, "decoder_layers": 1, "window": 64, "context": 128}


def small_stream() -> TrainingStream:
    return TrainingStream(seed=3, budget=8, context=128, window=64, min_items=2, max_columns=4)


def told(*_: object) -> None:
    """Nobody watches."""


def test_settings_are_parsed_as_their_defaults_are() -> None:
    settings = parse_settings({"minutes": "1.5", "steps": "7", "bfloat16": "false"}, DEFAULTS)
    assert (settings["minutes"], settings["steps"], settings["bfloat16"]) == (1.5, 7, False)
    assert trainer_settings(settings).steps == 7


@pytest.mark.parametrize(
    ("key", "value"),
    [("minutez", "1"), ("steps", "1.5"), ("minutes", "nan"), ("minutes", "-1"), ("bfloat16", "maybe")],
)
def test_settings_that_do_not_fit_name_the_setting(key: str, value: str) -> None:
    with pytest.raises(BadInput, match=f"^set: .*{key}"):
        parse_settings({key: value}, DEFAULTS)


def test_the_loss_repeats_and_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    model = new_model(model_config(SMALL))
    for parameter in model.network.parameters():  # what begins at zero would hide what lies before it
        if float(parameter.detach().abs().max()) == 0:
            torch.nn.init.normal_(parameter, std=0.05)
    batch = next(b for k in range(50) if (b := small_stream().batch_at(k))["values"].shape[1] > 1)
    loss = batch_loss(model, batch, 5, 2, "cpu")
    assert torch.equal(loss, batch_loss(model, batch, 5, 2, "cpu"))
    loss.backward()
    silent = [
        n for n, p in model.network.named_parameters() if p.grad is None or float(p.grad.abs().max()) == 0
    ]
    assert not silent


def test_hidden_values_only_enter_the_target() -> None:
    """Two batches that differ in values nobody may see have the same encoder memory."""
    model = new_model(model_config(SMALL))
    batch = small_stream().batch_at(1)
    from domains.series.anchors import anchors

    def memory(values: np.ndarray) -> torch.Tensor:
        start = torch.from_numpy(batch["start"])
        a = anchors(torch.from_numpy(values), torch.from_numpy(batch["observed"]), start, model.window)
        return model.read(a, torch.from_numpy(batch["columns"])).detach()

    changed = np.where(batch["observed"], batch["values"], np.float32(77))
    assert torch.equal(memory(batch["values"]), memory(changed))


def test_a_short_training_lowers_the_loss() -> None:
    torch.manual_seed(0)
    model = new_model(model_config(SMALL))
    stream = small_stream()
    optimiser = torch.optim.Adam(model.network.parameters(), 3e-3)
    losses = []
    for step in range(60):
        loss = batch_loss(model, stream.batch_at(step % 3), step, 4, "cpu")
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert np.mean(losses[-12:]) < 0.9 * np.mean(losses[:6])


def test_a_tables_batches_are_pieces_of_it() -> None:
    table = np.arange(400, dtype=np.float32)[None].repeat(3, 0) + np.array([[0], [1000], [2000]], np.float32)
    stream = TableStream(
        seed=0, budget=8, context=128, window=64, table=table, max_columns=2, short_share=0.0
    )
    batch = stream.batch_at(4)
    assert batch["values"].shape[1] == 2
    steps = np.diff(batch["values"], axis=2)
    assert (steps[batch["known"][..., 1:]] == 1).all()


def test_judging_scores_the_model_beside_its_anchors() -> None:
    torch.manual_seed(0)
    config = {**SMALL}
    model = new_model(model_config(config))
    rng = np.random.default_rng(0)
    tables = [(f"t{k}", np.cumsum(rng.normal(size=(100, 2)), axis=0)) for k in range(5)]
    cases = make_cases(tables)
    assert [c.name.split(", ")[1] for c in cases] == ["50 %", "blocks", "10 %", "90 %", "end"]
    scores, drawn = judge(model, cases, "cpu")
    assert 0 < scores["anchor_crps"] < 1
    assert 0 < scores["crps"] < 2
    assert drawn[0].shape == (24, 100, 2)


def test_a_wider_prior_widens_the_bands() -> None:
    torch.manual_seed(0)
    model = new_model(model_config(SMALL))
    cases = make_cases([("walk", np.cumsum(np.random.default_rng(1).normal(size=(100, 2)), axis=0))])
    _, narrow = judge(model, cases, "cpu")
    _, wide = judge(replace(model, prior_std=1.5), cases, "cpu")
    hidden = cases[0].hidden
    assert wide[0].std(axis=0)[hidden].mean() > 1.2 * narrow[0].std(axis=0)[hidden].mean()
    best, tried = calibrate(model, cases, "cpu")
    assert best == min(tried, key=lambda row: row["crps"])["prior_std"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    t = np.arange(500)
    rng = np.random.default_rng(0)
    a = np.sin(2 * np.pi * t / 24) + 0.1 * rng.normal(size=500)
    path = tmp_path / "mine.csv"
    path.write_text("a,b\n" + "\n".join(f"{x:.4f},{-2 * x:.4f}" for x in a) + "\n")
    return path


@pytest.mark.train
@pytest.mark.skipif("series-base" not in builtin_models(), reason="the built-in series-base is not there")
def test_fine_tuning_makes_a_model_folder_and_resumes(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    quick = {
        "minutes": "0",
        "steps": "4",
        "budget": "8",
        "log_every": "2",
        "judge_minutes": "1000",
        "threads": "1",
    }
    train(table, quick, False, "cpu", out, told)
    card = load_card(out)
    assert card["fine_tuned_from"] == "series-base"
    assert card["training"]["steps"] == 4
    assert {"model.safetensors", "loss.png", "samples.png", "metrics.csv", "state.safetensors"} <= {
        p.name for p in out.iterdir()
    }
    load_series_model(out)
    with pytest.raises(BadInput, match="--resume"):
        train(table, quick, False, "cpu", out, told)
    train(table, {**quick, "steps": "6"}, True, "cpu", out, told)
    with (out / "loss.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [2, 4, 6]


@pytest.mark.train
def test_two_processes_train_one_model_together(table: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    import subprocess
    import sys

    out = tmp_path / "two"
    script = (
        "import sys; from pathlib import Path; from domains.series.train import train\n"
        "if __name__ == '__main__':\n"
        "    train(Path(sys.argv[1]), {'minutes': '0', 'steps': '2', 'budget': '8', 'processes': '2',"
        " 'threads': '1', 'log_every': '1'}, False, 'cpu', Path(sys.argv[2]), lambda *a: None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(table), str(out)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((out / "card.json").read_text())["training"]["processes"] == 2


@pytest.mark.train
@pytest.mark.skipif("series-base" not in builtin_models(), reason="the built-in series-base is not there")
def test_too_short_a_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    path.write_text("a\n" + "\n".join(str(k) for k in range(20)))
    with pytest.raises(BadInput, match="too few"):
        train(path, {}, False, "cpu", tmp_path / "out", told)
    assert not (tmp_path / "out").exists()
