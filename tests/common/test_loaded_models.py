"""Models in memory: loaded once, again when their files change, few at a time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from core.checkpoint import load_model, save_model
from domains.common.errors import BadInput
from domains.common.loaded_models import LoadedModels


def make(folder: Path, value: float) -> Path:
    save_model(folder, {"w": torch.tensor([value])}, {"name": folder.name}, torch.float32)
    return folder


def test_each_is_loaded_once_and_again_when_it_changes(tmp_path: Path) -> None:
    loads: list[tuple[str, str]] = []

    def load(folder: Path, device: str) -> float:
        loads.append((folder.name, device))
        return float(load_model(folder)[0]["w"][0])

    models = LoadedModels(load, "none")
    folder = make(tmp_path / "a", 1.0)
    assert models(str(folder)) == models(str(folder)) == 1.0 and len(loads) == 1
    make(folder, 2.0)
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert models(str(folder)) == 2.0 and len(loads) == 2
    card = folder / "card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "grids": {}}))
    os.utime(card, ns=(1, 1))
    models(str(folder))
    assert len(loads) == 3, "a changed card is read again"
    for k in range(5):
        models(str(make(tmp_path / f"m{k}", k)))
    models(str(folder))
    assert loads[-1][0] == "a", "the oldest has gone"


def test_what_cannot_be_used_is_said_of_the_model(tmp_path: Path) -> None:
    def refuse(folder: Path, device: str) -> None:
        raise ValueError("the card describes another kind of model")

    folder = make(tmp_path / "a", 1.0)
    with pytest.raises(BadInput, match="a cannot be used: the card describes") as refused:
        LoadedModels(refuse, "none")(str(folder))
    assert refused.value.field == "model"
    with pytest.raises(BadInput, match="no model"):
        LoadedModels(refuse, "no-such-model")(None)
