"""Recipes travel inside PNG and Parquet and beside every artifact, and hostile files are refused in one line."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domains.common.errors import BadInput
from domains.common.recipes import MAX_RECIPE_BYTES, embed_recipe, read_recipe, recipe_sidecar

Image = pytest.importorskip("PIL.Image")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

RECIPE: dict[str, Any] = {
    "task": "series.impute",
    "request": {"seed": 2**63 - 1, "name": "CO₂ \n\x00 é"},
    "nfe": 10,
}


def _png(path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (17, 23, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _with_chunk(path: Path, chunk: bytes) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:33] + chunk + data[33:])  # after the signature and IHDR


def test_png_carries_its_recipe_and_keeps_its_pixels(tmp_path: Path) -> None:
    path = _png(tmp_path / "a.png")
    before = np.asarray(Image.open(path))
    content = path.read_bytes()
    sidecar = embed_recipe(path, RECIPE)
    assert sidecar == tmp_path / "a.png.recipe.json" == recipe_sidecar(path)
    sidecar.unlink()
    assert read_recipe(path) == RECIPE
    opened = Image.open(path)
    assert np.array_equal(np.asarray(opened), before)
    assert json.loads(opened.text["langevin"]) == RECIPE
    # Only a chunk was added: without it the file is as it was.
    start = path.read_bytes().index(b"tEXtlangevin") - 4
    length = struct.unpack(">I", path.read_bytes()[start : start + 4])[0]
    assert path.read_bytes()[:start] + path.read_bytes()[start + 12 + length :] == content


def test_a_new_recipe_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = _png(tmp_path / "a.png")
    embed_recipe(path, {"old": 1})
    embed_recipe(path, RECIPE)
    assert read_recipe(path) == RECIPE
    assert path.read_bytes().count(b"langevin\x00") == 1


def test_parquet_carries_its_recipe_and_keeps_its_table(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"a": pa.array([1, None, 3], pa.int16()), "b": ["x", "y", None]})
    table = table.replace_schema_metadata({"mine": "kept"})
    pq.write_table(table, path)
    embed_recipe(path, {"old": 1})
    recipe_sidecar(path).unlink()
    embed_recipe(path, RECIPE)
    recipe_sidecar(path).unlink()
    assert read_recipe(path) == RECIPE
    again = pq.read_table(path)
    assert again.equals(table)
    assert again.schema.metadata[b"mine"] == b"kept"


def test_other_files_carry_it_beside_them_and_are_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "completed.csv"
    path.write_bytes(b"a,b\r\n1,2\r\n")
    embed_recipe(path, RECIPE)
    assert path.read_bytes() == b"a,b\r\n1,2\r\n"
    assert read_recipe(path) == RECIPE
    assert read_recipe(tmp_path / "completed.csv.recipe.json") == RECIPE


def test_without_a_recipe_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n")
    assert read_recipe(path) is None
    assert read_recipe(_png(tmp_path / "a.png")) is None
    with pytest.raises(BadInput, match="artifact: no such file"):
        read_recipe(tmp_path / "none.csv")


@pytest.mark.parametrize(
    "recipe", [{"a": float("nan")}, {"a": object()}, [1], {"a": "x" * (MAX_RECIPE_BYTES + 1)}]
)
def test_what_is_no_recipe_is_not_written(tmp_path: Path, recipe: Any) -> None:
    path = _png(tmp_path / "a.png")
    content = path.read_bytes()
    with pytest.raises((ValueError, TypeError)):
        embed_recipe(path, recipe)
    assert path.read_bytes() == content
    assert not recipe_sidecar(path).exists()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b"\xff\xfe",
        b'{"a":' * 100_000,
        b"[" * 200_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
    ],
)
def test_hostile_recipes_are_refused(tmp_path: Path, text: bytes) -> None:
    path = _png(tmp_path / "a.png")
    _with_chunk(path, _chunk(b"tEXt", b"langevin\x00" + text))
    beside = tmp_path / "b.csv"
    beside.write_text("a\n1\n")
    recipe_sidecar(beside).write_bytes(text)
    inside = tmp_path / "c.parquet"
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({"langevin": text}), inside)
    for artifact in (path, beside, inside):
        with pytest.raises(BadInput) as caught:
            read_recipe(artifact)
        assert caught.value.field == "artifact"
        assert "\n" not in str(caught.value)


def test_a_recipe_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = _png(tmp_path / "a.png")
    _with_chunk(path, _chunk(b"tEXt", b'langevin\x00{"a":"' + b"x" * (2 * MAX_RECIPE_BYTES) + b'"}'))
    with pytest.raises(BadInput, match="larger"):
        read_recipe(path)
    sidecar = recipe_sidecar(tmp_path / "b.csv")
    with open(sidecar, "wb") as stream:
        stream.truncate(10 * 2**30)
    with pytest.raises(BadInput, match="10 GB"):
        read_recipe(sidecar)


def test_a_long_list_can_be_read_from_beside(tmp_path: Path) -> None:
    """Indented, a list of many short entries would be several times as long."""
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n")
    recipe = {"marks": [0] * (MAX_RECIPE_BYTES // 2 - 10)}
    embed_recipe(path, recipe)
    assert read_recipe(path) == recipe


def test_a_recipe_nested_too_deeply_is_not_written(tmp_path: Path) -> None:
    nested: dict[str, Any] = {}
    for _ in range(100_000):
        nested = {"a": nested}
    path = _png(tmp_path / "a.png")
    with pytest.raises(ValueError, match="deeply"):
        embed_recipe(path, nested)
    while nested:  # taken apart step by step: the interpreter would recurse
        nested = nested.pop("a")


def test_a_wrong_checksum_is_noticed(tmp_path: Path) -> None:
    path = _png(tmp_path / "a.png")
    embed_recipe(path, RECIPE)
    recipe_sidecar(path).unlink()
    path.write_bytes(path.read_bytes().replace(b"series.impute", b"series.empute"))
    with pytest.raises(BadInput, match="damaged"):
        read_recipe(path)


def test_international_text_chunks_are_read_too(tmp_path: Path) -> None:
    path = _png(tmp_path / "a.png")
    _with_chunk(path, _chunk(b"iTXt", b"langevin\x00\x00\x00en\x00\x00" + json.dumps(RECIPE).encode()))
    assert read_recipe(path) == RECIPE


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_never_surprise(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / "a.bin"
    if data.draw(st.booleans()):
        embed_recipe(_png(path.with_suffix(".png")), RECIPE)
        content = bytearray(path.with_suffix(".png").read_bytes())
    else:
        pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({"langevin": json.dumps(RECIPE)}), path)
        content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    refusal: BadInput | None = None
    recipe = None
    try:
        recipe = read_recipe(path)
    except BadInput as error:
        refusal = error
    assert refusal is None or refusal.field == "artifact"
    assert recipe is None or isinstance(recipe, dict)
