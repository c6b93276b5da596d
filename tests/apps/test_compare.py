"""How far apart artifacts are, in each form that replay can read, and what the tolerance admits."""

from __future__ import annotations

import re
import struct
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apps.engine.compare import NUMBERS_TOLERANCE, SIGNALS_TOLERANCE, difference
from domains.common.recipes import embed_recipe

Write = Callable[[Path, np.ndarray], None]
VALUES = np.random.default_rng(0).normal(size=(40, 3))
ROOT = Path(__file__).resolve().parents[2]


def write_csv(path: Path, values: np.ndarray) -> None:
    rows = [f"{i},{a:.9g},{b:.9g},x{c:.9g}" for i, (a, b, c) in enumerate(values)]
    path.write_text("hour,a,b,c\n" + "\n".join(rows) + "\n")


def write_json(path: Path, values: np.ndarray) -> None:
    path.write_text('{"rows": [\n' + ",\n".join(str(row.tolist()) for row in values) + "\n]}")


def write_parquet(path: Path, values: np.ndarray) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"i": np.arange(len(values)), "v": values[:, 0], "s": ["x", None] * 20}), path)


def write_npz(path: Path, values: np.ndarray) -> None:
    np.savez(path, values=values, names=np.arange(3))


def write_nifti(path: Path, values: np.ndarray) -> None:
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<hh", head, 70, 64, 64)
    struct.pack_into("<f", head, 108, 352)
    head[344:348] = b"n+1\0"
    path.write_bytes(bytes(head) + values.astype("<f8").tobytes())


def write_pdb(path: Path, values: np.ndarray) -> None:
    rows = [
        f"ATOM  {i:5d}  CA  GLY A{i:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
        for i, (x, y, z) in enumerate(100 * values)
    ]
    path.write_text("\n".join(rows) + "\nEND\n")


NUMBERS: dict[str, Write] = {
    "a.csv": write_csv,
    "a.json": write_json,
    "a.parquet": write_parquet,
    "a.npz": write_npz,
    "a.nii": write_nifti,
    "a.pdb": write_pdb,
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_compared_with_their_column(name: str, tmp_path: Path) -> None:
    one, other = tmp_path / name, tmp_path / f"other_{name}"
    for shift, allowed in ((0.0, True), (0.5, True), (2.0, False)):
        changed = VALUES.copy()
        changed[7, 0] += shift * NUMBERS_TOLERANCE * np.abs(VALUES[:, 0]).max()
        NUMBERS[name](one, VALUES)
        NUMBERS[name](other, changed)
        embed_recipe(other, {"recipe": "is no difference"})
        found = difference(one, other)
        assert found is not None
        # A whole array has one scale; a column of a table its own; PDB keeps three decimals.
        assert found.size <= shift * NUMBERS_TOLERANCE + 1e-5
        assert found.size >= 0.5 * shift * NUMBERS_TOLERANCE - 1e-5
        if name not in ("a.npz", "a.nii"):
            assert found.allowed == allowed


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_has_to_be_equal(name: str, tmp_path: Path) -> None:
    one, other = tmp_path / name, tmp_path / f"other_{name}"
    NUMBERS[name](one, VALUES)
    NUMBERS[name](other, VALUES[:-1] if name != "a.parquet" else VALUES[[*range(39), 0]])
    found = difference(one, other)
    assert found is None or not found.allowed


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,0.5\n", "2,0.5\n"),  # whole numbers name things
        ("100000\n", "100001\n"),
        ("a,0.5\n", "b,0.5\n"),
        ("0.5,nan\n", "0.5,0.5\n"),
        ("ACGT\n", "ACGA\n"),
    ],
)
def test_names_and_gaps_have_to_be_equal(one: str, other: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(one)
    (tmp_path / "b.txt").write_text(other)
    assert difference(tmp_path / "a.txt", tmp_path / "b.txt") is None
    assert difference(tmp_path / "a.txt", tmp_path / "a.txt") is not None


def test_a_whole_number_may_be_near_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("3\n")
    (tmp_path / "b.txt").write_text("2.9999999\n")
    found = difference(tmp_path / "a.txt", tmp_path / "b.txt")
    assert found is not None
    assert 0 < found.size < 1e-6


@pytest.mark.parametrize("suffix", ["png", "webp", "gif"])
def test_pictures_by_their_pixels(suffix: str, tmp_path: Path) -> None:
    pixels = np.full((16, 16), 100, np.uint8)
    options = {"lossless": True} if suffix == "webp" else {}
    for level, allowed in ((1, True), (9, False)):
        Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", **options)
        Image.fromarray(pixels + np.uint8(level)).save(tmp_path / f"b.{suffix}", **options)
        found = difference(tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}")
        assert found is not None
        assert found.allowed == allowed
        assert found.size == pytest.approx(level / 255 * 0.75**0.5, rel=0.01)  # three channels of four
    Image.fromarray(pixels[:8]).save(tmp_path / f"b.{suffix}", **options)
    assert difference(tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}") is None


def test_sound_by_its_samples(tmp_path: Path) -> None:
    for name, level in (("a.wav", 0), ("b.wav", 100), ("c.wav", 1000)):
        with wave.open(str(tmp_path / name), "wb") as out:
            out.setparams((1, 2, 8000, 0, "NONE", ""))
            out.writeframes(np.full(400, level, "<i2").tobytes())
    near, far = (difference(tmp_path / "a.wav", tmp_path / name) for name in ("b.wav", "c.wav"))
    assert near is not None and near.allowed
    assert far is not None and not far.allowed


def test_files_of_other_kinds_are_not_compared(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1.5\n")
    Image.new("L", (2, 2)).save(tmp_path / "b.png")
    assert difference(tmp_path / "a.csv", tmp_path / "b.png") is None
    (tmp_path / "c.npz").write_bytes((b"PK\x03\x04" + bytes(22) + b"\5\0\0\0a.npy").ljust(80, b"\0"))
    assert difference(tmp_path / "c.npz", tmp_path / "c.npz") is None


def test_the_page_states_the_tolerance() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    assert re.search(rf"\b{NUMBERS_TOLERANCE:g}\b", page)
    assert f"{round(SIGNALS_TOLERANCE * 255)}/255" in page
