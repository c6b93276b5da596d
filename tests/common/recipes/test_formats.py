"""Every format carries its recipe, and what a reader of the field sees stays the same to the bit."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

from core.files import file_sha256
from domains.common.recipes import (
    MAX_RECIPE_BYTES,
    content_sha256,
    embed_recipe,
    read_recipe,
    recipe_sidecar,
    strip_recipe,
)
from domains.common.recipes.formats import mp4
from domains.common.recipes.registry import FORMATS, format_of
from tests.common.recipes.samples import SAMPLES, Sample, payload, see_plot

ROOT = Path(__file__).resolve().parents[3]
RECIPE: dict[str, Any] = {
    "task": "series.impute",
    "request": {"seed": 2**63 - 1, "name": "CO₂ \n\x00 é \x7f \\ \" '" + "  ;;>>$$$$ ## {}[]" * 40},
    "nfe": 10,
}
LONGEST: dict[str, Any] = {"a": " ;" * (MAX_RECIPE_BYTES // 2 - 4)}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name -> a file as other programs wrote it, made once."""
    folder = tmp_path_factory.mktemp("samples")

    class Lazy(dict[str, Path]):
        def __missing__(self, name: str) -> Path:
            path = folder / name
            next(sample for sample in SAMPLES if sample.name == name).make(path)
            self[name] = path
            return path

    return Lazy()


@pytest.fixture
def path(sample: Sample, originals: dict[str, Path], tmp_path: Path) -> Path:
    """A file of the sample to work on."""
    return Path(shutil.copy(originals[sample.name], tmp_path / sample.name))


each = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.format}:{sample.name}")
one_a_format = pytest.mark.parametrize(
    "sample",
    list({sample.format: sample for sample in reversed(SAMPLES)}.values()),
    ids=lambda sample: sample.format,
)


def test_every_format_has_a_sample() -> None:
    assert {sample.format for sample in SAMPLES} == {format.title for format in FORMATS}


@each
def test_a_recipe_goes_in_and_comes_out(sample: Sample, path: Path) -> None:
    found = format_of(path)
    assert found is not None
    assert found.title == sample.format
    before, raw, content = sample.read(path), payload(path), content_sha256(path)
    assert read_recipe(path) is None, "another program's file holds no recipe"

    embed_recipe(path, RECIPE)
    recipe_sidecar(path).unlink()
    assert read_recipe(path) == RECIPE
    assert sample.read(path) == before, "a reader of the field sees what it saw"
    assert content_sha256(path) == content
    assert payload(path) != raw

    strip_recipe(path)
    assert payload(path) == raw, "taking it out leaves the file as it was"
    assert read_recipe(path) is None


@each
def test_a_new_recipe_takes_the_place_of_the_old(sample: Sample, path: Path) -> None:
    embed_recipe(path, RECIPE)
    once = path.read_bytes()
    for other in ({"old": "x" * 70_000}, {"old": 1}, RECIPE):
        embed_recipe(path, other)
        assert read_recipe(path) == other
    assert path.read_bytes() == once, "nothing of the others is left"


@one_a_format
def test_the_longest_recipe_fits(sample: Sample, path: Path) -> None:
    before = sample.read(path)
    embed_recipe(path, LONGEST)
    recipe_sidecar(path).unlink()
    assert read_recipe(path) == LONGEST
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert sample.read(path) == before


def test_without_a_recipe_the_content_is_the_file(originals: dict[str, Path]) -> None:
    for sample in SAMPLES:
        if not sample.format.endswith("gzipped"):
            assert content_sha256(originals[sample.name]) == file_sha256(originals[sample.name])


def test_the_name_decides_only_among_texts(originals: dict[str, Path], tmp_path: Path) -> None:
    for name in ("a.png", "a.webp", "a.jpg", "a.gif", "a.mp4", "a.wav", "a.flac", "a.glb", "a.ply", "a.nii"):
        source = originals.get(name) or originals["binary.ply" if name == "a.ply" else name]
        disguised = Path(shutil.copy(source, tmp_path / (name.replace(".", "_") + ".json")))
        embed_recipe(disguised, RECIPE)
        recipe_sidecar(disguised).unlink()
        assert read_recipe(disguised) == RECIPE


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"a,b\r\n1,2\r\n"),
        ("a.fasta", b">one\nACGT\n"),
        ("a.txt", b"{}\n"),
        ("list.json", b"[1, 2]\n"),
        ("lines.json", b'{"a": 1}\n{"a": 2}\n'),
        ("number.json", b"3"),
        ("broken.json", b'{"a": '),
        ("wide.json", '{"a": 1}'.encode("utf-16")),
        ("a.zip", b"PK\x05\x06" + bytes(18)),
        ("a.pdb", b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\x00\x00\x00"),
        ("a.obj", b"\x4c\x01\x02\x00" + bytes(60)),
        ("no.sdf", b"text that is no molecule\n"),
        ("no.cif", b"loop_\n_a\n1\n"),
        ("items.cif", b"data_x _entry.id x\n"),
        ("no.ply", b"ply\nformat ascii 1.0\nelement vertex 0\n"),
        ("stream.wav", b"RIFF\xff\xff\xff\xffWAVEfmt " + bytes(20)),
        ("open.mp4", b"\x00\x00\x00\x10ftypisom\x00\x00\x00\x00\x00\x00\x00\x00mdat" + bytes(40)),
        ("a.avif", b"\x00\x00\x00\x10ftypavif\x00\x00\x00\x00"),
        ("a.npy", b"\x93NUMPY\x01\x00"),
        ("empty.png", b""),
        ("cut.png", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"),
        ("cut.gif", b"GIF89a\x01\x00\x01\x00\x00\x00\x00"),
        ("cut.nii.gz", b"\x1f\x8b\x08\x00\x00"),
        ("no.nii", b"\x5c\x01\x00\x00" + bytes(340) + b"n+1\x00" + bytes(4)),
    ],
)
def test_where_there_is_no_place_it_lies_beside_and_nothing_is_touched(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    stated = content_sha256(path)
    embed_recipe(path, RECIPE)
    assert path.read_bytes() == content
    assert json.loads(recipe_sidecar(path).read_text("utf-8")) == RECIPE
    assert content_sha256(path) == stated == file_sha256(path)
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_plotly_reads_a_plot_with_its_recipe(originals: dict[str, Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(originals["plot.json"], tmp_path / "plot.json"))
    before = see_plot(path)
    embed_recipe(path, RECIPE)
    assert see_plot(path) == before


def test_an_index_of_fragments_stays_last(originals: dict[str, Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(originals["fragments.mp4"], tmp_path / "f.mp4"))
    embed_recipe(path, RECIPE)
    with open(path, "rb") as stream:
        kinds = [kind for kind, *_ in mp4.boxes(stream)]
    assert kinds[-2:] == [b"uuid", b"mfra"]


def test_lines_stay_short_where_formats_ask_for_it(originals: dict[str, Path], tmp_path: Path) -> None:
    for name, width in (("a.pdb", 80), ("a.sdf", 200), ("a.cif", 201), ("ascii.ply", 200), ("a.obj", 200)):
        path = Path(shutil.copy(originals[name], tmp_path / name))
        longest = max(map(len, path.read_bytes().splitlines()))
        embed_recipe(path, LONGEST)
        assert max(map(len, path.read_bytes().splitlines())) <= max(width, longest)


def test_the_page_lists_every_format() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", page, re.MULTILINE)
    stated = dict(rows)
    for format in FORMATS:
        assert stated.get(format.title) == format.place, f"{format.title}: {format.place}"
