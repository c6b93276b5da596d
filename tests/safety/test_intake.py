"""What people upload: bombs, lies, links and pickles end in one sentence; good files are read."""

from __future__ import annotations

import gzip
import io
import json
import math
import resource
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from domains.common.errors import BadInput
from domains.common.intake.archives import (
    ArchiveLimits,
    opened_gzip,
    opened_zip,
    read_member,
    safe_member,
    unpack_zip,
)
from domains.common.intake.images import ImageLimits, image_facts, read_frames, read_image
from domains.common.intake.json_text import parse_json
from domains.common.intake.safetensors_header import WeightLimits, is_safetensors, safetensors_header
from domains.common.intake.text import harmless_cell, page_text, plain_text, write_csv
from domains.common.intake.volumes import VolumeLimits, dicom_facts, nifti_facts, read_nifti
from tests.safety import bombs

ROOT = Path(__file__).resolve().parents[2]


def put(folder: Path, data: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def refused(error: BadInput, words: str = "") -> None:
    assert words in str(error) and "\n" not in str(error) and len(str(error)) < 300


# ---------------------------------------------------------------- images

BAD_IMAGES = {
    "144 megapixels in 17 KB": (bombs.png(12_000, 12_000), "pixels"),
    "a side of a million": (bombs.png(1_000_000, 1), "a side"),
    "two billion squared": (bombs.png(2**31 - 1, 2**31 - 1), "pixels"),
    "no size at all": (bombs.png(0, 0), "damaged"),
    "compressed text of 256 MB": (bombs.png_text_bomb(), "damaged"),
    "thousands of frames": (bombs.gif(600), "frames"),
    "a zip": (bombs.zipped({"a.png": bombs.png(2, 2)}), "zip"),
    "text": (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "text"),
    "half a header": (bombs.png(2, 2)[:20], "damaged"),
    "nothing but a signature": (b"\x89PNG\r\n\x1a\n", "damaged"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_images_end_before_they_are_decoded(tmp_path: Path, name: str) -> None:
    data, words = BAD_IMAGES[name]
    path = put(tmp_path, data, "picture.png")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (image_facts, read_image):
        with pytest.raises(BadInput) as error:
            read(path, "image")
        refused(error.value, words)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 120_000  # KB


def test_a_truncated_picture_is_damaged(tmp_path: Path) -> None:
    from PIL import Image

    stream = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(stream, "PNG")
    path = put(tmp_path, stream.getvalue()[:-1500])
    assert image_facts(path).width == 64
    with pytest.raises(BadInput, match="damaged"):
        read_image(path)


def test_a_picture_is_turned_as_its_camera_says_and_keeps_its_transparency(tmp_path: Path) -> None:
    from PIL import Image

    turned = Image.new("RGB", (30, 20), (255, 0, 0))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "a.jpg", exif=exif)
    facts = image_facts(tmp_path / "a.jpg")
    assert (facts.kind, facts.width, facts.height, facts.frames) == ("jpeg", 30, 20, 1)
    assert read_image(tmp_path / "a.jpg").size == (20, 30)
    Image.new("RGBA", (3, 3), (1, 2, 3, 4)).save(tmp_path / "b.webp", lossless=True)
    clear = read_image(tmp_path / "b.webp")
    assert clear.mode == "RGBA" and clear.getpixel((1, 1)) == (1, 2, 3, 4)
    frames = read_frames(put(tmp_path, bombs.gif(3)))
    assert len(frames) == 3 and {frame.size for frame in frames} == {(8, 8)}


def test_bounds_of_images_are_met_exactly(tmp_path: Path) -> None:
    path = put(tmp_path, bombs.png(20, 10))
    assert image_facts(path, limits=ImageLimits(pixels=200, side=20, decoded_bytes=200)).decoded_bytes == 200
    for tight in (
        ImageLimits(pixels=199),
        ImageLimits(side=19),
        ImageLimits(decoded_bytes=199),
        ImageLimits(bytes=10),
    ):
        with pytest.raises(BadInput):
            image_facts(path, limits=tight)


# ---------------------------------------------------------------- archives

HOSTILE_NAMES = [
    "../a",
    "/etc/passwd",
    "a/../../b",
    "..",
    "C:\\a",
    "C:a",
    "a\\..\\b",
    "\\\\host\\a",
    "a\0b",
    "a\nb",
    "",
    " ",
    "x" * 600,
    "a/" + "b" * 300,
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_that_lead_out_of_an_archive(name: str) -> None:
    with pytest.raises(BadInput) as error:
        safe_member(name, "archive")
    refused(error.value, "leads out")


BAD_ZIPS = {
    "one that climbs": (bombs.zipped({"../../evil": b"x"}), "leads out"),
    "an absolute one": (bombs.zipped({"/tmp/evil": b"x"}), "leads out"),
    "a link": (bombs.zip_link(), "link"),
    "a bomb by ratio": (bombs.zipped({"a": bytes(8 << 20)}), "times smaller"),
    "a bomb by size": (bombs.zipped({str(i): bytes(300 << 10) for i in range(20)}), "unpacks to"),
    "too many files": (bombs.zip_of_many(1200), "more than"),
    "100k files under a false count": (bombs.zip_of_many(60_000, claimed=1), "more than"),
    "twice one name": (bombs.zipped({"a": b"1", "A": b"2"}), "two files"),
    "cut off": (bombs.zipped({"a": b"x" * 1000})[:-30], "cut off"),
    "damaged inside": (b"PK\x03\x04" + b"\0" * 100 + bombs.zipped({"a": b"x"})[-22:], "damaged"),
    "a gzip": (gzip.compress(b"a"), "gzip"),
}
TIGHT = ArchiveLimits(total_bytes=4 << 20)


@pytest.mark.parametrize("name", BAD_ZIPS)
def test_bad_archives_unpack_nothing(tmp_path: Path, name: str) -> None:
    data, words = BAD_ZIPS[name]
    path, into = put(tmp_path, data, "a.zip"), tmp_path / "into"
    into.mkdir()
    with pytest.raises(BadInput) as error:
        unpack_zip(path, into, limits=TIGHT)
    refused(error.value, words)
    assert not [item for item in into.rglob("*") if item.is_file()]
    assert not (tmp_path / "evil").exists() and not Path("/tmp/evil").exists()


def test_an_archive_that_lies_about_its_sizes_is_stopped_while_it_unpacks(tmp_path: Path) -> None:
    path, into = put(tmp_path, bombs.zip_that_lies()), tmp_path / "into"
    into.mkdir()
    with pytest.raises(BadInput):
        unpack_zip(path, into)
    assert sum(item.stat().st_size for item in into.rglob("*")) <= 1 << 20
    with pytest.raises(BadInput):
        read_all(path)


def read_all(path: Path) -> list[bytes]:
    with opened_zip(path) as (archive, members):
        return [read_member(archive, member) for member in members]


def drained(path: Path) -> int:
    """The bytes that a gzip file unpacks to, read in pieces."""
    with opened_gzip(path) as stream:
        return sum(len(part) for part in iter(lambda: stream.read(1 << 20), b""))


def test_a_good_archive_is_unpacked(tmp_path: Path) -> None:
    path, into = put(tmp_path, bombs.zipped({"a/b.txt": b"1", "c.txt": b"22"})), tmp_path / "into"
    into.mkdir()
    assert [item.read_bytes() for item in unpack_zip(path, into)] == [b"1", b"22"]
    assert read_all(path) == [b"1", b"22"]


def test_a_gzip_bomb_ends_at_its_limit_and_a_good_one_does_not(tmp_path: Path) -> None:
    path = put(tmp_path, bombs.gzip_bomb(256 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadInput, match="more than is read"):
        drained(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB
    with opened_gzip(put(tmp_path, gzip.compress(b"hello"))) as stream:
        assert stream.read() == b"hello"
    for damaged in (gzip.compress(b"x" * 1000)[:-10], gzip.compress(b"x" * 1000)[:12] + b"\xff" * 30):
        with pytest.raises(BadInput), opened_gzip(put(tmp_path, damaged)) as stream:
            stream.read()


# ---------------------------------------------------------------- weights

ONE = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def entry(**changed: Any) -> bytes:
    return bombs.safetensors({"a": {**ONE["a"], **changed}}, bytes(8))


BAD_WEIGHTS = {
    **{f"a pickle of protocol {n}": (bombs.pickled(n), "pickle") for n in range(6)},
    "a zip of a pickle": (bombs.torch_zip(), "pickle"),
    "100k tensors": (bombs.tensors(100_000), "more than"),
    "a length beyond the file": (bombs.safetensors(ONE, bytes(8), length=2**63), "cut off"),
    "a length of all ones": (b"\xff" * 8 + b"{}" * 20, "cut off"),
    "a truncated header": (bombs.safetensors(ONE, bytes(8))[:30], "cut off"),
    "too few bytes": (bombs.safetensors(ONE, bytes(7)), "cut off"),
    "bytes of nobody": (bombs.safetensors(ONE, bytes(9)), "no tensor"),
    "a hole": (entry(data_offsets=[4, 12]), "hole"),
    "an overlap": (bombs.safetensors({**ONE, "b": ONE["a"]}, bytes(8)), "overlaps"),
    "a shape that does not fit": (entry(shape=[3]), "fit"),
    "a negative size": (entry(shape=[-2]), "shape"),
    "a true size": (entry(shape=[True]), "shape"),
    "a float size": (entry(shape=[2.0]), "shape"),
    "sizes that overflow": (entry(shape=[2**40, 2**40, 2**40]), "larger"),
    "many sizes": (entry(shape=[1] * 40), "shape"),
    "offsets in no order": (entry(data_offsets=[8, 0]), "offsets"),
    "an unknown dtype": (entry(dtype="object"), "dtype"),
    "a further field": (entry(code="print(1)"), "fields"),
    "a name with a line end": (bombs.safetensors({"a\nb": ONE["a"]}, bytes(8)), "oddly"),
    "a very long name": (bombs.safetensors({"a" * 5000: ONE["a"]}, bytes(8)), "oddly"),
    "a name twice": (bombs.safetensors(b'{"a":1,"a":2}'), "twice"),
    "metadata of numbers": (bombs.safetensors({"__metadata__": {"a": 1}}), "metadata"),
    "NaN": (bombs.safetensors(b'{"a": NaN}'), "NaN"),
    "nesting": (bombs.safetensors(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"), "deep"),
    "a list": (bombs.safetensors([]), "no JSON object"),
    "no UTF-8": (bombs.safetensors(b'{"\xff": 1}'), "JSON"),
    "text": (b"hello, this is no model at all, really", "cut off"),
    "nothing": (b"", "empty"),
}


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_bad_weights_are_refused_by_their_header(tmp_path: Path, name: str) -> None:
    data, words = BAD_WEIGHTS[name]
    path = put(tmp_path, data, "model.safetensors")
    with pytest.raises(BadInput) as error:
        safetensors_header(path)
    refused(error.value, words)
    assert not Path("/tmp/langevin-was-here").exists()


def test_a_huge_header_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", 1 << 30) + b"{")
        stream.truncate(2 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadInput, match="header of 1 GB"):
        safetensors_header(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KB


def test_what_the_library_itself_writes_is_read(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    arrays = {
        "b": np.zeros((2, 3), np.float16),
        "a": np.zeros((), np.int64),
        "empty": np.zeros((0, 4), np.float32),
    }
    save_file(arrays, tmp_path / "model.safetensors", metadata={"made": "here"})
    header = safetensors_header(tmp_path / "model.safetensors")
    assert {name: entry.shape for name, entry in header.items()} == {
        name: value.shape for name, value in arrays.items()
    }
    assert header["b"].dtype == "F16" and is_safetensors(tmp_path / "model.safetensors")
    for model in sorted((ROOT / "assets" / "models").glob("*/model.safetensors")):
        assert safetensors_header(model)
    with pytest.raises(BadInput, match="more than 2 tensors"):
        safetensors_header(tmp_path / "model.safetensors", limits=WeightLimits(tensors=2))


# ---------------------------------------------------------------- volumes

nibabel = pytest.importorskip("nibabel", reason="the medical extra is not installed")
pydicom = pytest.importorskip("pydicom", reason="the medical extra is not installed")

BAD_NIFTI = {
    "voxels beyond the limit": (bombs.nifti((2000, 2000, 2000), data=b""), "voxels"),
    "a side beyond the limit": (bombs.nifti((30_000, 1, 1), data=b""), "at most"),
    "a bomb in gzip": (gzip.compress(bombs.nifti((500, 500, 700), data=b"")), "could hold"),
    "too few voxels": (bombs.nifti(data=bytes(10)), "cut off"),
    "negative sizes": (bombs.nifti(dim=[3, -4, 5, 6, 1, 1, 1, 1]), ""),
    "nine dimensions": (bombs.nifti(dim=[9, 4, 5, 6, 1, 1, 1, 1]), ""),
    "voxels at infinity": (bombs.nifti(vox_offset=float("inf")), "impossible"),
    "voxels a gigabyte away": (bombs.nifti(vox_offset=1e9), "impossible"),
    "a voxel of an unknown kind": (bombs.nifti(datatype=9999), ""),
    "complex voxels": (bombs.nifti(datatype=32), "plain numbers"),
    "voxels in another file": (bombs.nifti(magic=b"ni1"), "another file"),
    "an empty affine": (bombs.nifti(srow_x=[0] * 4, srow_y=[0] * 4), "affine"),
    "an affine of NaN": (bombs.nifti(srow_x=[math.nan] * 4), "affine"),
    "a cut header": (bombs.nifti()[:300], ""),
    "text": (b"hello " * 200, "no NIfTI"),
}


@pytest.mark.parametrize("name", BAD_NIFTI)
def test_bad_volumes_are_refused(tmp_path: Path, name: str) -> None:
    data, words = BAD_NIFTI[name]
    path = put(tmp_path, data, "brain.nii")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadInput) as error:
        read_nifti(path)
    refused(error.value, words)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_good_volume_is_read(tmp_path: Path, pack: Any) -> None:
    import numpy as np

    voxels = np.arange(4 * 5 * 6, dtype=np.int16)
    path = put(tmp_path, pack(bombs.nifti(data=voxels.tobytes())))
    facts = nifti_facts(path)
    assert (facts.shape, facts.dtype, facts.decoded_bytes) == ((4, 5, 6), "int16", 240)
    read, affine, _ = read_nifti(path)
    assert np.array_equal(read, voxels.reshape((4, 5, 6), order="F").astype(np.float32))
    assert np.array_equal(affine, np.eye(4))
    with pytest.raises(BadInput, match="voxels"):
        nifti_facts(path, limits=VolumeLimits(voxels=119))


def test_what_nibabel_itself_writes_is_read(tmp_path: Path) -> None:
    import numpy as np

    for kind, name in (
        (nibabel.Nifti1Image, "a.nii.gz"),
        (nibabel.Nifti2Image, "b.nii"),
        (nibabel.Nifti2Image, "c.nii.gz"),
    ):
        made = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32)
        nibabel.save(kind(made, np.diag([2, 2, 3, 1])), tmp_path / name)
        read, affine, facts = read_nifti(tmp_path / name)
        assert np.array_equal(read, made) and affine[2, 2] == 3 and facts.spacing == (2, 2, 3)


BAD_DICOM: dict[str, tuple[dict[str, Any], str]] = {
    "pixels beyond the limit": ({"Rows": 60_000, "Columns": 60_000}, "at most"),
    "frames beyond the limit": ({"NumberOfFrames": 2_000_000_000}, "at most"),
    "too few pixels": ({"Rows": 1000, "Columns": 1000}, "cut off"),
    "no rows": ({"Rows": None}, "Rows"),
    "zero rows": ({"Rows": 0}, "Rows"),
    "rare bits": ({"BitsAllocated": 64}, "bits"),
    "deflate": ({"syntax": "1.2.840.10008.1.2.1.99"}, "deflate"),
    "JPEG": ({"syntax": "1.2.840.10008.1.2.4.50"}, "JPEG"),
}


@pytest.mark.parametrize("name", BAD_DICOM)
def test_bad_slices_are_refused(tmp_path: Path, name: str) -> None:
    fields, words = BAD_DICOM[name]
    path = bombs.dicom(tmp_path / "a.dcm", **fields)
    with pytest.raises(BadInput) as error:
        dicom_facts(path)
    refused(error.value, words)


def test_dicom_that_is_none_or_cut_off(tmp_path: Path) -> None:
    good = bombs.dicom(tmp_path / "a.dcm")
    facts = dicom_facts(good)
    assert (facts.shape, facts.dtype, facts.spacing) == ((1, 16, 12), "int16", (2.0, 0.5, 0.5))
    for data in (
        b"x" * 200,
        b"\0" * 128 + b"DICM",
        good.read_bytes()[:200],
        b"\0" * 128 + b"DICM" + b"\xff" * 500,
    ):
        with pytest.raises(BadInput) as error:
            dicom_facts(put(tmp_path, data))
        refused(error.value)


# ---------------------------------------------------------------- JSON, text, tables

BAD_JSON = [
    b"NaN",
    b"[1, Infinity]",
    b"[-Infinity]",
    b"[1e400]",
    b"[-1e999]",
    b'{"a": 1, "a": 2}',
    b"[" * 65 + b"]" * 65,
    b"[" * 10**6,
    b"9" * 5000,
    b"\xff",
    b"",
    b"{",
    b'"' + b"\\" * 3,
    b"x" * (9 << 20),
]


@pytest.mark.parametrize("data", BAD_JSON, ids=range(len(BAD_JSON)))
def test_bad_json(data: bytes) -> None:
    with pytest.raises(BadInput) as error:
        parse_json(data, "request")
    refused(error.value)


def test_good_json() -> None:
    value = {"a": [1, 2.5, -3e-7, None, True, '[[[{{{ " \\', {"b": {}}], "ä": "\u2028"}
    assert parse_json(json.dumps(value).encode(), "request") == value
    assert parse_json(b"[" * 64 + b"]" * 64, "request")


def test_text_of_files_is_one_plain_line() -> None:
    assert plain_text("a\nb\tc\x1b[31m\u202eevil\u200b") == "a b c [31m evil"
    assert plain_text(b"HEADER \xff\0") == "HEADER \ufffd"
    assert plain_text("x" * 10**6, 10) == "x" * 9 + "…"
    assert (
        page_text("<img src=x onerror=\"alert('1')\">&")
        == "&lt;img src=x onerror=&quot;alert(&#x27;1&#x27;)&quot;&gt;&amp;"
    )


@pytest.mark.parametrize(
    "cell", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\tx", "\rx", "=", "-", "--1", "-1e5x"]
)
def test_formulas_become_text(cell: str) -> None:
    assert harmless_cell(cell) == "'" + cell


@pytest.mark.parametrize(
    "cell", ["-1.5", "+3", "-1e-300", "-inf", "", "a=b", "2024-01-01", "'=1", " =1", "name@host"]
)
def test_numbers_and_plain_text_stay(cell: str) -> None:
    assert harmless_cell(cell) == cell


def test_a_table_of_ours_round_trips_its_numbers() -> None:
    import csv

    numbers = [-1.0, 0.1 + 0.2, -1e-300, 123456789, float("-inf"), -5]
    stream = io.StringIO()
    write_csv(stream, ["=name", "value"], [["=HYPERLINK(1)", number] for number in numbers])
    rows = list(csv.reader(io.StringIO(stream.getvalue())))
    assert rows[0] == ["'=name", "value"]
    assert [float(row[1]) for row in rows[1:]] == numbers
    assert {row[0] for row in rows[1:]} == {"'=HYPERLINK(1)"}


def test_volumes_and_images_load_no_library_before_they_are_needed() -> None:
    code = (
        "import sys; import domains.common.intake.volumes, domains.common.intake.images;"
        "sys.exit(any(name in sys.modules for name in ('nibabel', 'pydicom', 'PIL', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
