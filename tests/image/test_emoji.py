"""Emoji: colours that follow their words, batches by address, and a training that leaves a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from domains.common.errors import BadInput
from domains.image.emoji import HUES, EmojiSet, EmojiStream, colourful, read_emoji, tinted
from domains.image.model import image_model
from domains.image.train import train_emoji


def disc(rgb: tuple[int, int, int]) -> np.ndarray:
    y, x = np.mgrid[:64, :64]
    inside = (x - 32) ** 2 + (y - 32) ** 2 < 400
    return np.where(inside[..., None], np.array([*rgb, 255], np.uint8), 0).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("emoji")
    rng = np.random.default_rng(0)
    pixels = np.stack([disc(tuple(rng.integers(30, 226, 3).tolist())) for _ in range(40)])
    np.savez(out / "noto_emoji64.npz", rgba=pixels, captions=np.array([f"disc {k}" for k in range(40)]))
    return out


@pytest.mark.parametrize("word", HUES)
def test_a_colour_word_becomes_the_strongest_hue(word: str) -> None:
    wanted = {
        "red": (1, 0, 0), "orange": (1, 0.45, 0), "yellow": (1, 0.84, 0), "green": (0, 1, 0),
        "blue": (0, 0.4, 1), "purple": (0.62, 0, 1), "pink": (1, 0, 0.54),
    }[word]  # fmt: skip
    out = tinted(disc((40, 200, 60)), word)
    centre = out[32, 32, :3].astype(float)
    assert (out[..., 3] == disc((0, 0, 0))[..., 3]).all()
    stretched = (centre - centre.min()) / (centre.max() - centre.min())
    np.testing.assert_allclose(stretched, wanted, atol=0.06)
    # Lightness and colourfulness stay.
    assert centre.max() == pytest.approx(200, abs=2) and centre.min() == pytest.approx(40, abs=2)


def test_grey_takes_colour_away_and_parts_keep_their_differences() -> None:
    grey = tinted(disc((40, 200, 60)), "grey")[32, 32, :3]
    assert grey.max() - grey.min() <= 1
    two = disc((220, 40, 40))
    two[28:36, 28:36, :3] = (40, 220, 40)
    turned = tinted(two, "blue").astype(int)
    assert turned[10 + 6, 32, 2] == turned[16, 32].max(initial=0, where=np.array([True, True, True, False]))
    assert np.abs(turned[32, 32, :3] - turned[16, 32, :3]).max() > 100
    assert not colourful(disc((128, 128, 128))) and colourful(two)


def test_batches_are_made_by_address(folder: Path) -> None:
    stream = EmojiStream(read_emoji(folder).part("train"), 3, 16)
    first, again, other = stream.batch_at(5), stream.batch_at(5), stream.batch_at(6)
    assert first.captions == again.captions != other.captions
    assert bool((first.images == again.images).all())
    assert first.images.shape == (16, 4, 64, 64) and float(first.images.abs().max()) <= 1
    assert any(c.split()[0] in (*HUES, "grey") for c in first.captions)


def test_a_part_is_kept_aside(folder: Path) -> None:
    emoji = read_emoji(folder)
    train, aside = emoji.part("train"), emoji.part("val")
    assert len(aside.names) == 2 and not set(train.names) & set(aside.names)


def test_data_that_is_not_there_or_not_emoji(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not there"):
        read_emoji(tmp_path)
    np.savez(
        tmp_path / "noto_emoji64.npz", rgba=np.zeros((2, 8, 8, 4), np.uint8), captions=np.array(["a", "b"])
    )
    with pytest.raises(BadInput, match="64 x 64"):
        read_emoji(tmp_path)
    (tmp_path / "noto_emoji64.npz").write_bytes(b"PK not a zip")
    with pytest.raises(BadInput, match="cannot be read"):
        read_emoji(tmp_path)


def test_training_leaves_a_model_that_loads(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    few = {"steps": "2", "batch": "4", "width": "16", "text_width": "16", "text_depth": "1", "heads": "2"}
    said: list[str] = []
    train_emoji(folder, few, False, "cpu", out, lambda done, total, words: said.append(words))
    card = json.loads((out / "card.json").read_text())
    assert card["name"] == "emoji" and card["training"]["steps"] == 2
    assert card["training"]["command"].startswith("launch.py train emoji --set batch=4")
    assert card["validation"]["loss_aside"] > 0 and (out / "samples.png").is_file()
    assert any("kept aside" in words for words in said) or "loss" in said[0]
    model = image_model(str(out))
    assert (model.channels, model.side) == (4, 64)
    with pytest.raises(BadInput, match="resume"):
        train_emoji(folder, few, False, "cpu", out, print)
    with pytest.raises(BadInput, match="backbone"):
        train_emoji(folder, {"backbone": "none"}, False, "cpu", tmp_path / "other", print)


def test_a_set_keeps_pictures_and_names_together() -> None:
    emoji = EmojiSet(np.zeros((3, 64, 64, 4), np.uint8), ["a", "b", "c"], "")
    assert emoji.part("train").names == ["a", "b", "c"]
