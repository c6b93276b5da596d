"""`image.generate` from request to files, with a model that knows nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.checkpoint import save_model
from domains.common.errors import BadInput
from domains.common.running import PlainRun
from domains.image.generate import generate
from domains.image.model import ImageModel
from domains.image.preview import picture_figure, tiled
from domains.image.requests import GenerateRequest, ImageSampling
from domains.image.styles import STYLES, styled


@pytest.fixture(scope="module")
def folder(tiny: ImageModel, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("model")
    card = {"name": "tiny", "model": tiny.config}
    save_model(out, tiny.network.state_dict(), card, torch.float32)
    return str(out)


def asked(folder: str, **fields: object) -> GenerateRequest:
    sampling = ImageSampling(steps=3, model=folder, seed=int(str(fields.pop("seed", 0))))
    return GenerateRequest(**{"prompt": "a red cube", "count": 2, **fields}, sampling=sampling)  # type: ignore[arg-type]


def drawn(folder: str, tmp_path: Path, **fields: object) -> np.ndarray:
    tmp_path.mkdir(exist_ok=True)
    result = generate(asked(folder, **fields), PlainRun(tmp_path))
    names = [a.path for a in result.artifacts if a.kind == "image"]
    return np.stack([np.asarray(Image.open(tmp_path / name)) for name in names])


def test_pictures_are_written_and_told(folder: str, tmp_path: Path) -> None:
    told: list[float] = []
    run = PlainRun(tmp_path, told=lambda done, total: told.append(done / total))
    result = generate(asked(folder), run)
    assert [a.path for a in result.artifacts] == ["image_001.png", "image_002.png", "sheet.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["image_001.png", "image_002.png", "sheet.png"]
    assert np.asarray(Image.open(tmp_path / "image_001.png")).shape == (64, 64, 3)
    assert result.nfe == 6 and result.metrics["pictures"] == 2
    assert told == sorted(told) and told[-1] == 1


def test_the_same_seed_draws_the_same_and_picture_two_does_not_need_picture_one(
    folder: str, tmp_path: Path
) -> None:
    two, again = drawn(folder, tmp_path / "a"), drawn(folder, tmp_path / "b")
    np.testing.assert_array_equal(two, again)
    four = drawn(folder, tmp_path / "c", count=4)
    assert np.abs(four[:2].astype(int) - two).max() <= 1, "a rounding at most"
    assert np.abs(drawn(folder, tmp_path / "d", seed=1).astype(int) - two).max() > 20


def test_fields_count(folder: str, tmp_path: Path) -> None:
    plain = drawn(folder, tmp_path / "plain").astype(int)
    other: list[dict[str, object]] = [
        {"negative_prompt": "a ball"},
        {"style": "flat"},
        {"variation_seed": 5, "variation_strength": 0.5},
    ]
    for k, fields in enumerate(other):
        assert np.abs(drawn(folder, tmp_path / str(k), **fields) - plain).max() > 2, fields
    assert drawn(folder, tmp_path / "wide", width=96, height=32).shape == (2, 32, 96, 3)
    assert drawn(folder, tmp_path / "large", enlarge=1.5, count=1).shape == (1, 96, 96, 3)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt": "a (red cube"}, "prompt"),
        ({"negative_prompt": "red)"}, "negative_prompt"),
        ({"variation_strength": 0.5}, "variation_seed"),
    ],
)
def test_what_cannot_be_drawn_is_said_at_its_field(
    folder: str, tmp_path: Path, fields: dict[str, object], field: str
) -> None:
    with pytest.raises(BadInput) as refused:
        generate(asked(folder, **fields), PlainRun(tmp_path))
    assert refused.value.field == field
    assert list(tmp_path.iterdir()) == []


def test_styles_lie_around_the_prompt() -> None:
    assert styled("a red cube", "", None) == ("a red cube", "")
    around = styled("a red cube", "a ball", "flat")
    assert around == ("a flat illustration of a red cube", "a ball, 3d style")
    names = set(GenerateRequest.model_json_schema()["properties"]["style"]["anyOf"][0]["enum"])
    assert names == set(STYLES)


def test_a_preview_is_one_picture_of_all() -> None:
    pixels = np.zeros((5, 8, 8, 3), np.uint8)
    assert tiled(pixels).shape == (20, 32, 3)
    figure = picture_figure(tiled(pixels))
    assert figure["layout"]["images"][0]["source"].startswith("data:image/png;base64,")
