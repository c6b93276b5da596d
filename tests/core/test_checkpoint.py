"""Model folders: written whole, hashed, and never unpickled."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from core.checkpoint import BadModel, load_card, load_model, save_model
from core.networks import build_network

TENSORS = {"a": torch.randn(3, 4), "n": torch.arange(5)}


def test_a_model_comes_back_as_it_went_to_bfloat16(tmp_path: Path) -> None:
    save_model(tmp_path / "m", TENSORS, {"name": "m"}, torch.bfloat16)
    tensors, card = load_model(tmp_path / "m")
    assert torch.equal(tensors["a"], TENSORS["a"].bfloat16().float())
    assert torch.equal(tensors["n"], TENSORS["n"])
    assert card["name"] == "m"


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    save_model(tmp_path, TENSORS, {}, torch.float32)
    path = tmp_path / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(BadModel, match="hash"):
        load_model(tmp_path)


def test_a_pickle_under_the_name_of_weights_is_not_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, ("raise SystemExit('unpickled')",))

    data = pickle.dumps(Trap())
    (tmp_path / "model.safetensors").write_bytes(data)
    import hashlib

    (tmp_path / "card.json").write_text(json.dumps({"sha256": hashlib.sha256(data).hexdigest()}))
    with pytest.raises(BadModel, match="cannot be read"):
        load_model(tmp_path)


@pytest.mark.parametrize("text", ["", "[1]", "{", "null"])
def test_a_broken_card_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(BadModel):
        load_card(tmp_path)


def test_cards_name_networks_by_registry_only() -> None:
    with pytest.raises(ValueError, match="unknown network"):
        build_network("os.system", {})
    with pytest.raises(ValueError, match="does not fit"):
        build_network("grid-transformer", {"surprise": 1})
