"""`image.explain`: words as tokens, maps at their place, a film of all steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.checkpoint import save_model
from core.networks.text_encoder import text_tokens
from domains.common.errors import BadInput
from domains.common.running import PlainRun
from domains.image.explain import explain, word_maps, word_spans
from domains.image.model import ImageModel
from domains.image.requests import ExplainRequest, ImageSampling


@pytest.fixture(scope="module")
def folder(tiny: ImageModel, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("model")
    save_model(out, tiny.network.state_dict(), {"name": "tiny", "model": tiny.config}, torch.float32)
    return str(out)


@pytest.mark.parametrize("text", ["a red cube, left of it a ball", "红色的球 and 蓝色", "", "?!"])
def test_words_are_the_tokens_that_spell_them(text: str) -> None:
    tokens, _ = text_tokens([text], 80)
    for word, span in word_spans(text):
        assert bytes(tokens[0, span].tolist()).decode() == word
    spelled = "".join(word for word, _ in word_spans(text))
    assert spelled == "".join(c for c in text if c.isalnum())


def test_a_map_lies_where_its_word_was_looked_up() -> None:
    weights = torch.full((16, 6), 0.1)
    weights[5, 1:4] = 1.0  # second row, second column
    first, second, cut = word_maps(
        weights, [("red", slice(1, 4)), ("x", slice(5, 6)), ("far", slice(90, 93))], 64
    )
    assert first.shape == (64, 64) and float(first.max()) == 1 and float(first.min()) == 0
    row, column = divmod(int(first.argmax()), 64)
    assert 16 <= row < 32 and 16 <= column < 32
    assert not second.any() and not cut.any(), "what is even has no place"


def test_the_film_has_every_step(folder: str, tmp_path: Path) -> None:
    request = ExplainRequest(prompt="a red cube", sampling=ImageSampling(steps=4, model=folder))
    result = explain(request, PlainRun(tmp_path))
    assert [a.path for a in result.artifacts] == ["image_001.png", "film.gif", "words.png"]
    assert result.metrics == {"words": 3, "frames": 4} and result.nfe == 8
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames >= 4 and film.size == (256, 256)
        film.seek(film.n_frames - 1)
        last = np.asarray(film.convert("RGB"))[::4, ::4].astype(int)
    final = np.asarray(Image.open(tmp_path / "image_001.png")).astype(int)
    assert np.abs(last - final).mean() < 12, "the last frame is the picture, in 256 colours"


def test_a_prompt_that_changes_has_no_one_map(folder: str, tmp_path: Path) -> None:
    request = ExplainRequest(prompt="a [red:blue:0.5] cube", sampling=ImageSampling(steps=2, model=folder))
    with pytest.raises(BadInput, match="changes on the way"):
        explain(request, PlainRun(tmp_path))
