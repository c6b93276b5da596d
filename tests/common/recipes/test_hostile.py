"""Files made to do harm, or broken by chance, end in a recipe, in none, or in one `BadInput`; soon, in little room."""

from __future__ import annotations

import gzip
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domains.common.errors import BadInput
from domains.common.recipes import content_sha256, embed_recipe, read_recipe, recipe_sidecar, strip_recipe
from domains.common.recipes.formats.flac import FLAC
from domains.common.recipes.registry import FORMATS
from tests.common.recipes.samples import SAMPLES, payload, png

RECIPE: dict[str, Any] = {"task": "series.impute", "request": {"seed": 1, "name": "CO₂ " * 30}, "nfe": 10}
BY_FORMAT = {sample.format: sample for sample in reversed(SAMPLES)}


class Carrying(dict[str, tuple[str, bytes]]):
    """Format -> ending of the name, and the bytes of a file that carries a recipe (unzipped)."""

    def __repr__(self) -> str:
        return f"<{len(self)} files>"


@pytest.fixture(scope="module")
def carrying(tmp_path_factory: pytest.TempPathFactory) -> Carrying:
    """A file of each format, made once."""
    folder = tmp_path_factory.mktemp("carrying")
    made = Carrying()
    for title, sample in BY_FORMAT.items():
        path = folder / sample.name
        sample.make(path)
        embed_recipe(path, RECIPE)
        made[title] = ("".join(path.suffixes), payload(path))
    return made


def outcome(path: Path) -> dict[str, Any] | BadInput | None:
    """What reading gives; anything but a recipe, None and one line that names `artifact` fails the test."""
    try:
        found = read_recipe(path)
    except BadInput as error:
        refused = error
    else:
        assert found is None or isinstance(found, dict)
        return found
    assert refused.field == "artifact"
    assert "\n" not in str(refused)
    assert len(str(refused)) < 200
    return refused


@pytest.mark.parametrize("title", [format.title for format in FORMATS])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_never_surprise(
    carrying: Carrying, tmp_path: Path, title: str, data: st.DataObject
) -> None:
    suffix, whole = carrying[title]
    content = bytearray(whole)
    # Where formats keep lengths and places: the ends, and the recipe's surroundings.
    marks = [0, len(content) - 1, max(0, content.find(b"series.impute") - 60)]
    for _ in range(data.draw(st.integers(1, 6), label="changes")):
        at = data.draw(st.sampled_from(marks), label="near") + data.draw(st.integers(-100, 100), label="by")
        at = min(max(at, 0), len(content) - 1)
        new = data.draw(
            st.sampled_from(
                [
                    b"\x00",
                    b"\xff",
                    b"\x7f",
                    b"\xff\xff\xff\xff",
                    b"\x00\x00\x00\x00",
                    b"\n",
                    b'"',
                    b"{",
                    b"\x80\x80\x80",
                ]
            )
            | st.binary(min_size=1, max_size=4),
            label="new",
        )
        content[at : at + (len(new) if data.draw(st.booleans(), label="in place") else 0)] = new
    if data.draw(st.booleans(), label="cut"):
        content = content[: data.draw(st.integers(1, len(content)), label="to")]
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(gzip.compress(bytes(content), 1) if suffix.endswith(".gz") else bytes(content))
    recipe_sidecar(path).unlink(missing_ok=True)
    outcome(path)
    # Writing never surprises either; and what holds the new recipe gives it back.
    before = payload(path)
    stated = content_sha256(path)
    embed_recipe(path, RECIPE)
    inside = payload(path) != before
    if inside:
        recipe_sidecar(path).unlink()
        assert outcome(path) == RECIPE
        assert content_sha256(path) == stated
        strip_recipe(path)


@pytest.mark.parametrize("title", [format.title for format in FORMATS])
def test_files_that_end_early_never_surprise(carrying: Carrying, tmp_path: Path, title: str) -> None:
    suffix, whole = carrying[title]
    path = tmp_path / f"cut{suffix}"
    step = max(1, len(whole) // 150)
    for end in [*range(0, len(whole), step), *range(max(0, len(whole) - 30), len(whole))]:
        path.write_bytes(gzip.compress(whole[:end], 1) if suffix.endswith(".gz") else whole[:end])
        outcome(path)


HOSTILE_TEXTS = [
    b"{",
    b"[]",
    b"3",
    b'{"a": NaN}',
    b'{"a": -Infinity}',
    b'{"a": 1e999}',
    b'{"a": "\xff\xfe"}',
    b'{"a":' * 100_000,
    b"[" * 120_000,
    b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"a": ' + b"9" * 10_000 + b"}",
]


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=range(len(HOSTILE_TEXTS)))
@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.title)
def test_hostile_recipes_are_refused(
    format: Any, text: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The format's own writer puts in what no recipe is."""
    monkeypatch.setattr("domains.common.recipes.files.encode", lambda recipe: text)
    path = tmp_path / BY_FORMAT[format.title].name
    BY_FORMAT[format.title].make(path)
    embed_recipe(path, {})
    recipe_sidecar(path).unlink()
    got = outcome(path)
    # A JSON text that is not whole makes the JSON around it another one: broken, or of another recipe.
    assert isinstance(got, BadInput) or (format.title in ("JSON", "GLB") and text == b"{" and got == {})


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.title)
def test_a_recipe_that_is_too_large_is_refused_before_it_is_read(
    format: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b'{"a":"' + b"x" * (3 * 2**20) + b'"}'
    monkeypatch.setattr("domains.common.recipes.files.encode", lambda recipe: text)
    path = tmp_path / BY_FORMAT[format.title].name
    BY_FORMAT[format.title].make(path)
    embed_recipe(path, {})
    recipe_sidecar(path).unlink()
    monkeypatch.setattr("domains.common.recipes.files.decode", lambda data: pytest.fail("it was read"))
    assert "larger" in str(outcome(path))


def _png_of_chunks(count: int) -> bytes:
    chunk = struct.pack(">I4sI", 0, b"teXt", zlib.crc32(b"teXt"))
    return b"\x89PNG\r\n\x1a\n" + chunk * count


HOSTILE_FILES: dict[str, Callable[[], bytes]] = {
    "chunks.png": lambda: _png_of_chunks(120_000),
    "chunks.wav": lambda: b"RIFF" + struct.pack("<I", 4 + 8 * 120_000) + b"WAVE" + b"junk\0\0\0\0" * 120_000,
    "size.webp": lambda: b"RIFF" + struct.pack("<I", 100) + b"WEBP" + b"LNGV\xff\xff\xff\xff" + bytes(92),
    "boxes.mp4": lambda: b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x08free" * 120_000,
    "loop.mp4": lambda: b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x01free" + bytes(16),
    "back.mp4": lambda: b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x01free" + b"\xff" * 16,
    "blocks.flac": lambda: b"fLaC\0\0\0\x22" + bytes(34) + b"\x01\0\0\0" * 120_000,
    "blocks.gif": lambda: b"GIF89a\x01\0\x01\0\0\0\0!\xfe" + b"\x01a" * 9_000_000,
    "fill.jpg": lambda: b"\xff\xd8" + b"\xff" * 2_000_000,
    "segments.jpg": lambda: b"\xff\xd8" + b"\xff\xfe\0\x02" * 120_000,
    "pieces.jpg": lambda: (
        b"\xff\xd8"
        + b"".join(
            b"\xff\xea\0\x17langevin-recipe\0" + struct.pack(">HH", i, 65_535) + b"x"
            for i in range(1, 60_000)
        )
    ),
    "twice.jpg": lambda: b"\xff\xd8" + 2 * (b"\xff\xea\0\x17langevin-recipe\0\0\x01\0\x02x") + b"\xff\xd9",
    "header.ply": lambda: b"ply\nformat ascii 1.0\n" + b"comment a\n" * 300_000,
    "line.ply": lambda: b"ply\n" + b"x" * 5_000_000,
    "comments.obj": lambda: b"# a\n" * 300_000,
    "line.pdb": lambda: b"REMARK 999 " + b"x" * 5_000_000,
    "open.cif": lambda: b"data_a\n_langevin_recipe.json\n;" + b"x\n" * 3_000_000,
    "no.cif": lambda: b"data_a\n_langevin_recipe.json\n'{}'\n",
    "open.sdf": lambda: b"\n\n\nM  END\n>  <langevin-recipe>\n" + b"xxxx\n" * 1_000_000,
    "deep.json": lambda: b'{"langevin_recipe":' + b"[" * 1_500_000,
    "deep.glb": lambda: (
        b"glTF"
        + struct.pack("<III4s", 2, 20 + 2**20, 2**20, b"JSON")
        + b'{"asset":{"extras":'
        + b"{" * (2**20 - 19)
    ),
    "quotes.json": lambda: b'{"a":"' + b'\\"' * 900_000 + b',"langevin_recipe":1}',
    "members.json": lambda: b"{" + b'"a":1,' * 300_000 + b'"langevin_recipe":}',
    "wide.json": lambda: b'{"langevin_recipe":[' + b"[]," * 4_000_000 + b"[]]}",
    "extensions.nii": lambda: _nifti(struct.pack("<ii", 16, 4) + bytes(8), 120_000),
    "negative.nii": lambda: _nifti(struct.pack("<ii", -16, 6) + bytes(8), 4),
    "nan.nii": lambda: _nifti(b"", 0, struct.pack("<f", float("nan"))),
    "bomb.nii.gz": lambda: gzip.compress(_nifti(struct.pack("<ii", 16, 4) + bytes(8), 400_000), 9),
    "wrong.nii.gz": lambda: gzip.compress(_nifti(bytes(16), 9), 9)[:-8] + bytes(8),
    "deep.parquet": lambda: _parquet(b"\x1c" * 1_000_000),
    "lists.parquet": lambda: _parquet(b"\x19\xf5\xff\xff\xff\xff\x0f" + bytes(100)),
    "pairs.parquet": lambda: _parquet(b"\x59\xfc\xa0\x8d\x06" + b"\0" * 100_000 + b"\0"),
    "varint.parquet": lambda: _parquet(b"\x15" + b"\x80" * 100_000),
    "length.parquet": lambda: b"PAR1\x00" + b"\xff\xff\xff\x7fPAR1",
    "self.npz": lambda: _npz(30),
    "far.npz": lambda: _npz(2**31),
    "tail.npz": lambda: _npz(0, b"langevin-recipe\0"),
}


def _nifti(extension: bytes, count: int, place: bytes | None = None) -> bytes:
    head = bytearray(352)
    head[:4], head[344:348], head[348] = struct.pack("<i", 348), b"n+1\0", 1
    head[108:112] = place or struct.pack("<f", 352 + len(extension) * count)
    return bytes(head) + extension * count


def _parquet(footer: bytes) -> bytes:
    return b"PAR1\x00" + footer + struct.pack("<I", len(footer)) + b"PAR1"


def _npz(directory: int, tail: bytes = b"") -> bytes:
    name = b"a.npy"
    local = b"PK\x03\x04" + bytes(22) + struct.pack("<HH", len(name), 0) + name
    record = b"\xff\xff\xff\x00" + tail if tail else b""
    place = directory or len(local + record)
    end = b"PK\x05\x06" + bytes(12) + struct.pack("<IH", place, 0)
    return local + record + b"PK\x01\x02" + bytes(42) + end


WATCHED = {
    "deep.json",
    "deep.glb",
    "wide.json",
    "pairs.parquet",
    "pieces.jpg",
    "line.ply",
    "line.pdb",
    "bomb.nii.gz",
}


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_hostile_files_cost_little(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(HOSTILE_FILES[name]())
    size = path.stat().st_size
    started = time.process_time()
    got = outcome(path)
    assert time.process_time() - started < 5
    assert not isinstance(got, dict)
    if name in WATCHED:  # watching memory takes ten times as long
        tracemalloc.start()
        try:
            outcome(path)
            assert tracemalloc.get_traced_memory()[1] < 2 * size + 16 * 2**20
        finally:
            tracemalloc.stop()


def test_fewer_bits_of_a_gzip_file_are_unzipped_than_it_holds(tmp_path: Path) -> None:
    """Reading stops at the header; a volume of many megabytes is never laid out."""
    path = tmp_path / "bomb.nii.gz"
    with gzip.open(path, "wb", 9) as out:
        out.write(_nifti(b"", 0))
        for _ in range(64):
            out.write(bytes(2**20))
    started = time.process_time()
    assert read_recipe(path) is None
    assert time.process_time() - started < 0.5


def test_a_wrong_checksum_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    png(path)
    embed_recipe(path, RECIPE)
    recipe_sidecar(path).unlink()
    path.write_bytes(path.read_bytes().replace(b"series.impute", b"series.empute"))
    assert "damaged" in str(outcome(path))


def test_a_sidecar_larger_than_any_recipe_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a\n")
    with open(recipe_sidecar(path), "wb") as out:
        out.truncate(10 * 2**30)
    assert "10 GB" in str(outcome(path))


def test_a_flac_of_other_order_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(b"fLaC\x81\0\0\x04" + bytes(4))
    assert FLAC.title in str(outcome(path))
