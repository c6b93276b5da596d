"""`image.edit`: windows on pictures, known pixels that stay, masks that fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.checkpoint import save_model
from domains.common.errors import BadInput
from domains.common.running import PlainRun
from domains.image.edit import edit
from domains.image.framing import Window, around, whole
from domains.image.model import ImageModel
from domains.image.requests import EditRequest, ImageSampling


@pytest.fixture(scope="module")
def folder(tiny: ImageModel, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("model")
    save_model(out, tiny.network.state_dict(), {"name": "tiny", "model": tiny.config}, torch.float32)
    return str(out)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 255, (8, 12, 3), dtype=np.uint8)).resize((120, 80))
    smooth.save(tmp_path / "in.png")
    return tmp_path / "in.png"


def mask_of(
    tmp_path: Path, size: tuple[int, int] = (120, 80), box: tuple[int, int, int, int] = (30, 20, 60, 50)
) -> Path:
    mask = Image.new("L", size)
    mask.paste(255, box)
    mask.save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def edited(folder: str, picture: Path, out: Path, **fields: object) -> tuple[list[np.ndarray], object]:
    out.mkdir(exist_ok=True)
    sampling = ImageSampling(steps=3, model=folder, seed=int(str(fields.pop("seed", 0))))
    request = EditRequest(image=picture, sampling=sampling, **{"prompt": "a red cube", **fields})  # type: ignore[arg-type]
    result = edit(request, PlainRun(out))
    return [np.asarray(Image.open(out / a.path)) for a in result.artifacts if a.kind == "image"], result


def test_known_pixels_stay_to_the_bit(folder: str, picture: Path, tmp_path: Path) -> None:
    before = np.asarray(Image.open(picture))
    pictures, _ = edited(folder, picture, tmp_path / "out", way="redraw", mask=mask_of(tmp_path))
    inside = np.zeros((80, 120), bool)
    inside[20:50, 30:60] = True
    for after in pictures:
        np.testing.assert_array_equal(after[~inside], before[~inside])
        assert (after[inside] != before[inside]).any(-1).mean() > 0.5
    assert (pictures[0] != pictures[1]).any()


def test_a_picture_is_extended_past_its_edges(folder: str, picture: Path, tmp_path: Path) -> None:
    before = np.asarray(Image.open(picture))
    (after, _), _ = edited(
        folder, picture, tmp_path / "out", way="extend", towards=["left", "top"], extend_by=0.5
    )
    assert after.shape == (120, 180, 3)
    np.testing.assert_array_equal(after[40:, 60:], before)


@pytest.mark.parametrize("way", ["change", "vary"])
def test_words_and_the_picture_count(folder: str, picture: Path, tmp_path: Path, way: str) -> None:
    (first, _), result = edited(folder, picture, tmp_path / "a", way=way)
    assert first.shape == (80, 120, 3) and result.nfe >= 2  # type: ignore[attr-defined]
    (other, _), _ = edited(folder, picture, tmp_path / "b", way=way, prompt="a blue ball")
    assert (first != other).any()
    flipped = tmp_path / "flipped.png"
    Image.open(picture).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(flipped)
    (mirrored, _), _ = edited(folder, flipped, tmp_path / "c", way=way)
    assert np.abs(mirrored.astype(int) - first).max() > 2


def test_the_same_seed_edits_the_same(folder: str, picture: Path, tmp_path: Path) -> None:
    (a, _), _ = edited(folder, picture, tmp_path / "a")
    (b, _), _ = edited(folder, picture, tmp_path / "b")
    np.testing.assert_array_equal(a, b)


def test_masks_that_do_not_fit(folder: str, picture: Path, tmp_path: Path) -> None:
    cases = [
        (None, "is needed"),
        (mask_of(tmp_path, (64, 64)), "make them alike"),
    ]
    for mask, says in cases:
        with pytest.raises(BadInput, match=says) as refused:
            edited(folder, picture, tmp_path / "out", way="redraw", mask=mask)
        assert refused.value.field == "mask"
    with pytest.raises(BadInput, match="black everywhere"):
        edited(folder, picture, tmp_path / "out", way="redraw", mask=mask_of(tmp_path, box=(0, 0, 0, 0)))
    (tmp_path / "no.png").write_bytes(b"PK not a picture")
    with pytest.raises(BadInput, match="must be an image"):
        edited(folder, tmp_path / "no.png", tmp_path / "out")


def test_windows_lie_where_they_should() -> None:
    mask = np.zeros((100, 200), bool)
    mask[40:60, 150:180] = True
    window = around(mask, 32)
    assert window.side == 60 and 0 <= window.left <= 150 and window.left + 60 >= 180
    assert 0 <= window.top <= 40 and window.top + 60 >= 60
    assert around(mask, 64).side == 64, "no smaller than the model works at"
    mask[:, :] = True
    assert around(mask, 32) == whole(100, 200, 32) == Window(0, -50, 200, 32)
    with pytest.raises(ValueError, match="empty"):
        around(np.zeros((4, 4), bool), 32)


def test_cutting_and_putting_back_are_inverse() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    window = Window(10, 5, 32, 32)
    piece = window.cut(pixels)
    np.testing.assert_array_equal(piece, pixels[5:37, 10:42])
    everywhere = np.ones((50, 70), bool)
    np.testing.assert_array_equal(window.put_back(pixels, piece, everywhere), pixels)
    over = Window(-8, -8, 64, 64)
    assert over.cut(pixels).shape == (64, 64, 3)
    np.testing.assert_array_equal(over.put_back(pixels, over.cut(pixels), everywhere), pixels)
    mask = np.zeros((50, 70), bool)
    mask[0, 0] = True
    assert over.cut_mask(mask)[8, 8] and over.cut_mask(mask).sum() == 1
    assert Window(0, 0, 64, 16).cut_mask(mask)[0, 0], "a pixel of a region is not lost in scaling"
