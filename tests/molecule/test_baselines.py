"""The n-gram model and the LSTM learn what they are shown, and draw the same twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from domains.common.errors import BadInput
from domains.molecule.ngram import NGram
from domains.molecule.smiles_lstm import SmilesLSTM, train_lstm
from domains.molecule.smiles_tokens import Vocabulary, tokens

SMILES = ["CCO", "CCN", "CC(=O)O", "c1ccccc1Cl", "C[C@@H](Br)[NH3+]", "C%12CCCCC%12"]


def test_tokens_are_chemical_ones() -> None:
    assert tokens("C[C@@H](Br)[NH3+]Cl%12") == ["C", "[C@@H]", "(", "Br", ")", "[NH3+]", "Cl", "%12"]
    assert all("".join(tokens(smiles)) == smiles for smiles in SMILES)
    words = Vocabulary.of(SMILES)
    rows = words.encode(SMILES)
    assert (rows[:, -1] == 0).all()
    assert [words.decode(row) for row in rows.tolist()] == SMILES
    with pytest.raises(ValueError, match="not in the vocabulary"):
        words.encode(["I"])


def test_an_ngram_of_full_order_repeats_what_it_saw() -> None:
    model = NGram(SMILES, order=20)
    drawn = model.sample(300, seed=3)
    assert set(drawn) == set(SMILES)
    assert drawn == model.sample(300, seed=3) != model.sample(300, seed=4)
    # Of six beginnings five are a C or c: counts are probabilities.
    share = sum(one.startswith("c") for one in drawn) / 300
    assert share == pytest.approx(1 / 6, abs=0.07)


def test_an_ngram_of_low_order_makes_new_ones() -> None:
    assert set(NGram(SMILES, order=2).sample(200, seed=0)) - set(SMILES)
    with pytest.raises(ValueError, match="order"):
        NGram([], order=3)


@pytest.mark.parametrize("parameters", [5_000, 100_000, 1_000_000])
def test_an_lstm_has_at_most_the_parameters_it_is_given(parameters: int) -> None:
    model = SmilesLSTM.of_size(Vocabulary.of(SMILES), parameters)
    size = sum(weight.numel() for weight in model.parameters())
    wider = sum(weight.numel() for weight in SmilesLSTM(model.vocabulary, model.width + 1).parameters())
    assert size <= parameters < wider


def test_an_lstm_learns_and_comes_back_from_its_file(tmp_path: Path) -> None:
    model, told = train_lstm(SMILES * 8, parameters=20_000, minutes=5, steps=90, validation=SMILES)
    assert told.steps == 90 and told.losses[-1] < 0.8 * told.losses[0]
    drawn = model.sample(12, seed=1)
    assert drawn == model.sample(12, seed=1) and len(drawn) == 12
    model.save(tmp_path / "lstm.safetensors")
    again = SmilesLSTM.load(tmp_path / "lstm.safetensors")
    assert again.sample(12, seed=1) == drawn
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    (tmp_path / "bad.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(BadInput, match="model: "):
        SmilesLSTM.load(tmp_path / "bad.safetensors")


def test_too_few_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        SmilesLSTM.of_size(Vocabulary.of(SMILES), 500)
