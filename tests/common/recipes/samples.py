"""One or more real files a format, written by the field's own libraries, and how those libraries read them."""

from __future__ import annotations

import gzip
import io
import json
import struct
import wave
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

RNG = np.random.default_rng(7)
PIXELS = RNG.integers(0, 256, (17, 23, 3), dtype=np.uint8)
FRAMES = [Image.fromarray(np.roll(PIXELS, 3 * i, axis=1)) for i in range(4)]


@dataclass(frozen=True)
class Sample:
    """A file to make, and what a reader of its field sees in it.

    Attributes:
        format: Title of its format.
        name: What the file is called.
        make: Writes it.
        read: What a reader sees; compared before and after.
    """

    format: str
    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]


# ---------------------------------------------------------------- pictures


def see_picture(path: Path) -> Any:
    """Every frame's pixels and everything that Pillow says of the file."""
    with Image.open(path) as picture:
        frames = []
        for index in range(getattr(picture, "n_frames", 1)):
            picture.seek(index)
            frames.append((picture.mode, np.asarray(picture.convert("RGBA")).tobytes()))
        picture.seek(0)
        info = {key: value for key, value in picture.info.items() if key != "langevin"}
        exif = dict(picture.getexif())
    info.pop("extension", None)  # where in the file Pillow found a GIF's last extension
    return frames, info, exif


def _exif() -> Any:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    return exif


def png(path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Title", "noise")
    info.add_itxt("langevin-like", "not ours")
    Image.fromarray(PIXELS).save(path, pnginfo=info, dpi=(300, 300))


def apng(path: Path) -> None:
    FRAMES[0].save(path, save_all=True, append_images=FRAMES[1:], duration=40)


def jpeg(path: Path) -> None:
    FRAMES[0].save(
        path, quality=90, comment=b"langevin-recipe of soup", exif=_exif(), icc_profile=b"I" * 70_000
    )


def jpeg_progressive(path: Path) -> None:
    Image.fromarray(PIXELS[..., 0]).save(path, progressive=True)


def webp(path: Path) -> None:
    FRAMES[0].save(path, quality=80)


def webp_lossless(path: Path) -> None:
    Image.fromarray(np.dstack([PIXELS, PIXELS[..., :1]])).save(path, lossless=True, exif=_exif(), xmp=b"<x/>")


def webp_film(path: Path) -> None:
    FRAMES[0].save(path, save_all=True, append_images=FRAMES[1:], duration=40)


def gif(path: Path) -> None:
    FRAMES[0].save(path)


def gif_film(path: Path) -> None:
    FRAMES[0].save(path, save_all=True, append_images=FRAMES[1:], duration=40, loop=0, comment=b"mine")


# ---------------------------------------------------------------- films and sound


def film(path: Path, **options: str) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w", format="mp4", options=options) as out:
        out.metadata["comment"] = "a comment of its own"
        stream = out.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(12):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 12)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def film_in_fragments(path: Path) -> None:
    film(path, movflags="frag_keyframe+empty_moov")


def film_starting_fast(path: Path) -> None:
    film(path, movflags="faststart")


def see_film(path: Path) -> Any:
    av = pytest.importorskip("av")
    with av.open(str(path)) as source:
        frames = [frame.to_ndarray(format="rgb24").tobytes() for frame in source.decode(video=0)]
        assert len(frames) == 12
        return frames, source.duration, dict(source.metadata)


TONE = (8000 * np.sin(np.arange(801) / 7)).astype(np.int16)


def wav(path: Path) -> None:
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(TONE.tobytes())


def wav_of_bytes(path: Path) -> None:
    with wave.open(str(path), "wb") as out:  # an odd number of bytes: RIFF pads them
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(8000)
        out.writeframes(bytes(range(201)))


def sound(path: Path, subtype: str, kind: str) -> None:
    soundfile = pytest.importorskip("soundfile")
    with soundfile.SoundFile(path, "w", samplerate=16000, channels=2, subtype=subtype, format=kind) as out:
        out.title, out.comment = "a tone", "a comment of its own"
        out.write(np.stack([TONE, TONE[::-1]], axis=1))


def see_sound(path: Path) -> Any:
    soundfile = pytest.importorskip("soundfile")
    with soundfile.SoundFile(path) as source:
        return source.read(dtype="float64").tobytes(), source.samplerate, source.title, source.comment


# ---------------------------------------------------------------- shapes


def mesh() -> Any:
    trimesh = pytest.importorskip("trimesh")
    made = trimesh.creation.icosphere(subdivisions=1)
    made.visual.vertex_colors = RNG.integers(0, 256, (len(made.vertices), 4), dtype=np.uint8)
    return made


def shape(path: Path, **options: Any) -> None:
    made = mesh()
    path.write_bytes(
        data
        if isinstance(data := made.export(file_type=path.suffix[1:], **options), bytes)
        else data.encode()
    )


def crlf_ply(path: Path) -> None:
    rows = ["ply", "format ascii 1.0", "comment langevin dynamics", "element vertex 2", "property float x"]
    rows += ["property float y", "property float z", "end_header", "0 0.1 2", "-1e-3 4 5"]
    path.write_bytes("".join(row + "\r\n" for row in rows).encode())


def _glb(path: Path, asset: str) -> None:
    """The mesh, with another text of `asset` in its JSON."""
    data = mesh().export(file_type="glb")
    (length,) = struct.unpack("<I", data[12:16])
    tree = json.loads(data[20 : 20 + length])
    tree["asset"] = "PLACEHOLDER"
    text = json.dumps(tree, indent=1).replace('"PLACEHOLDER"', asset).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    path.write_bytes(
        struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON") + text + rest
    )


def glb_with_extras(path: Path) -> None:
    _glb(path, '{ "version" : "2.0", "extras": {"author": "\\"}me", "scale": 1.50e-1} }')


def glb_with_empty_extras(path: Path) -> None:
    _glb(path, '{"extras":{},"version":"2.0"}')


def see_glb(path: Path) -> Any:
    data = path.read_bytes()
    (length,) = struct.unpack("<I", data[12:16])
    assert struct.unpack("<I", data[8:12]) == (len(data),)
    assert length % 4 == 0
    tree = json.loads(data[20 : 20 + length])
    extras = tree["asset"].get("extras", {})
    extras.pop("langevin", None)
    if not extras:
        tree["asset"].pop("extras", None)
    return see_shape(path), tree, data[20 + length :]


def see_shape(path: Path) -> Any:
    trimesh = pytest.importorskip("trimesh")
    seen = trimesh.load(path, process=False, force="mesh" if path.suffix != ".ply" else None)
    faces = np.asarray(seen.faces).tobytes() if hasattr(seen, "faces") else b""
    colors = np.asarray(getattr(seen.visual, "vertex_colors", [])).tobytes()
    return np.asarray(seen.vertices).tobytes(), faces, colors


# ---------------------------------------------------------------- molecules


def _molecules() -> list[Any]:
    chem = pytest.importorskip("rdkit.Chem")
    from rdkit.Chem import AllChem

    made = []
    for smiles in ("CCO", "c1ccccc1C(=O)N"):
        molecule = chem.AddHs(chem.MolFromSmiles(smiles))
        AllChem.EmbedMolecule(molecule, randomSeed=3)
        molecule.SetProp("_Name", smiles)
        molecule.SetProp("energy", "-1.5")
        molecule.SetProp("note", "first\nsecond > third")
        made.append(molecule)
    return made


def sdf(path: Path, force_v3000: bool = False) -> None:
    chem = pytest.importorskip("rdkit.Chem")
    with chem.SDWriter(str(path)) as out:
        out.SetForceV3000(force_v3000)
        for molecule in _molecules():
            out.write(molecule)


def molfile(path: Path) -> None:
    chem = pytest.importorskip("rdkit.Chem")
    path.write_text(chem.MolToMolBlock(_molecules()[0]))  # no data, no end of record


def see_sdf(path: Path) -> Any:
    chem = pytest.importorskip("rdkit.Chem")
    seen = []
    for molecule in chem.SDMolSupplier(str(path), removeHs=False):
        props = {key: value for key, value in molecule.GetPropsAsDict().items() if key != "langevin-recipe"}
        seen.append((chem.MolToMolBlock(molecule), molecule.GetProp("_Name"), props))
    assert seen
    return seen


def pdb(path: Path) -> None:
    chem = pytest.importorskip("rdkit.Chem")
    path.write_text(chem.MolToPDBBlock(_molecules()[0]))


def pdb_with_remarks(path: Path) -> None:
    chem = pytest.importorskip("rdkit.Chem")
    head = [
        "HEADER    HYDROLASE",
        "TITLE     LANGEVIN-RECIPE",
        "REMARK   2",
        "REMARK   2 RESOLUTION. NOT APPLICABLE.",
    ]
    head += [
        "REMARK 999",
        "REMARK 999 SEQUENCE",
        "REMARK 999 LANGEVIN DYNAMICS AT 300 K",
        "CRYST1   10.000   10.000   10.000  90.00  90.00  90.00 P 1           1",
    ]
    text = "\n".join(head) + "\n" + chem.MolToPDBBlock(_molecules()[1])
    path.write_bytes(text.replace("\n", "\r\n").encode())


def _see_atoms(atoms: Any) -> Any:
    return [
        atoms.coord.tobytes(),
        *(getattr(atoms, name).tolist() for name in ("atom_name", "res_name", "element")),
    ]


def see_pdb(path: Path) -> Any:
    biotite = pytest.importorskip("biotite.structure.io.pdb")
    chem = pytest.importorskip("rdkit.Chem")
    seen = biotite.PDBFile.read(str(path))
    remarks = [row for row in seen.get_remark(999) or [] if "langevin-recipe" not in row]
    assert all(len(row) <= 80 for row in path.read_text().splitlines())
    block = chem.MolToPDBBlock(chem.MolFromPDBFile(str(path), removeHs=False))
    return _see_atoms(seen.get_structure(model=1)), [row for row in remarks if row.strip()], block


def mmcif(path: Path) -> None:
    pdbx = pytest.importorskip("biotite.structure.io.pdbx")
    pdb_io = pytest.importorskip("biotite.structure.io.pdb")
    pdb(path.with_suffix(".pdb"))
    file = pdbx.CIFFile()
    pdbx.set_structure(
        file, pdb_io.PDBFile.read(str(path.with_suffix(".pdb"))).get_structure(model=1), data_block="XYZ"
    )
    file.block["struct"] = pdbx.CIFCategory({"title": "two\nlines; of ' text"})
    file.write(str(path))


def commented_mmcif(path: Path) -> None:
    mmcif(path)
    path.write_bytes(b"# made by hand\r\n\r\n" + path.read_bytes().replace(b"\n", b"\r\n"))


def see_mmcif(path: Path) -> Any:
    pdbx = pytest.importorskip("biotite.structure.io.pdbx")
    file = pdbx.CIFFile.read(str(path))
    block = file.block
    names = [name for name in block if name != "langevin_recipe"]
    tables = {name: {key: block[name][key].as_array().tolist() for key in block[name]} for name in names}
    return list(file), tables, _see_atoms(pdbx.get_structure(file, model=1))


# ---------------------------------------------------------------- volumes


def volume(path: Path, kind: str = "Nifti1Image", order: str = "<", extension: bytes | None = None) -> None:
    nibabel = pytest.importorskip("nibabel")
    data = RNG.normal(size=(5, 6, 7)).astype(order + "f4")
    header = getattr(nibabel, kind).header_class(endianness=order)
    header.set_data_dtype(np.dtype(order + "f4"))
    image = getattr(nibabel, kind)(data, np.diag([1, 2, 3, 1.0]), header)
    if extension is not None:
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, extension))
    nibabel.save(image, path)


def see_volume(path: Path) -> Any:
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.load(path)
    others = [
        (
            extension.get_code(),
            bytes(
                extension.get_content()
                if isinstance(extension.get_content(), bytes)
                else extension.get_content().encode()
            ),
        )
        for extension in image.header.extensions
    ]
    others = [(code, text) for code, text in others if not text.startswith(b"langevin-recipe")]
    return np.asarray(image.dataobj).tobytes(), image.affine.tobytes(), image.get_data_dtype(), others


# ---------------------------------------------------------------- tables, arrays, JSON


def table() -> Any:
    columns = {
        "a": pa.array([1, None, 3] * 400, pa.int16()),
        "b": ["x", "y", None] * 400,
        "c": RNG.normal(size=1200),
    }
    return pa.table(columns).replace_schema_metadata({"mine": "kept", "pandas": "{}"})


def parquet(path: Path) -> None:
    pq.write_table(table(), path)


def parquet_of_many_parts(path: Path) -> None:
    more = {f"key {index}": "value" * index for index in range(20)}
    pq.write_table(
        table().replace_schema_metadata(more),
        path,
        row_group_size=100,
        compression="zstd",
        use_dictionary=["b"],
        write_page_index=True,
        store_schema=False,
        sorting_columns=[pq.SortingColumn(0)],
    )


def plain_parquet(path: Path) -> None:
    pq.write_table(pa.table({"a": [1.5]}), path, store_schema=False)


def see_parquet(path: Path) -> Any:
    file = pq.ParquetFile(path)
    seen = file.read()
    stated = file.metadata.to_dict()
    stated.pop("serialized_size")
    metadata = {key: value for key, value in (seen.schema.metadata or {}).items() if key != b"langevin"}
    own = {key: value for key, value in (file.metadata.metadata or {}).items() if key != b"langevin"}
    return seen.replace_schema_metadata(None), metadata, own, stated


def npz(path: Path) -> None:
    np.savez(path, x=np.arange(12.0).reshape(3, 4), name=np.array("é"), empty=np.zeros(0, np.int8))


def npz_compressed(path: Path) -> None:
    np.savez_compressed(path, x=RNG.normal(size=200))
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"a comment of its own PK\x05\x06"[:20]


def npz_of_64_bits(path: Path) -> None:
    with patch.object(zipfile, "ZIP_FILECOUNT_LIMIT", 0):
        np.savez(path, x=np.arange(3))
    assert b"PK\x06\x07" in path.read_bytes()


def see_npz(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        comment = archive.comment
    with np.load(path, allow_pickle=False) as arrays:
        return comment, {name: (arrays[name].dtype, arrays[name].tobytes()) for name in arrays.files}


def object_json(path: Path) -> None:
    path.write_text('\n{\r\n  "a" : [1.50, {"}": "\\"]"}], "langevin": {"dt": 2e-15},\t"b":null }\n', "utf-8")


def empty_json(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf{ }")


def plot_json(path: Path) -> None:
    graph = pytest.importorskip("plotly.graph_objects")
    path.write_text(graph.Figure(graph.Scatter(x=np.arange(5.0), y=RNG.normal(size=5))).to_json())


def see_json(path: Path) -> Any:
    tree = json.loads(path.read_text("utf-8-sig"))
    tree.pop("langevin_recipe", None)
    return tree


def see_plot(path: Path) -> Any:
    """What plotly makes of the file as it lies there."""
    io_ = pytest.importorskip("plotly.io")
    return io_.from_json(path.read_text("utf-8")).to_json()


SAMPLES = [
    Sample("PNG", "a.png", png, see_picture),
    Sample("PNG", "film.png", apng, see_picture),
    Sample("JPEG", "a.jpg", jpeg, see_picture),
    Sample("JPEG", "progressive.jpeg", jpeg_progressive, see_picture),
    Sample("WebP", "a.webp", webp, see_picture),
    Sample("WebP", "lossless.webp", webp_lossless, see_picture),
    Sample("WebP", "film.webp", webp_film, see_picture),
    Sample("GIF", "a.gif", gif, see_picture),
    Sample("GIF", "film.gif", gif_film, see_picture),
    Sample("MP4", "a.mp4", film, see_film),
    Sample("MP4", "fragments.mp4", film_in_fragments, see_film),
    Sample("MP4", "fast.m4v", film_starting_fast, see_film),
    Sample("WAV", "a.wav", wav, see_sound),
    Sample("WAV", "bytes.wav", wav_of_bytes, see_sound),
    Sample("WAV", "float.wav", lambda path: sound(path, "FLOAT", "WAV"), see_sound),
    Sample("FLAC", "a.flac", lambda path: sound(path, "PCM_16", "FLAC"), see_sound),
    Sample("GLB", "a.glb", shape, see_glb),
    Sample("GLB", "extras.glb", glb_with_extras, see_glb),
    Sample("GLB", "empty.glb", glb_with_empty_extras, see_glb),
    Sample("PLY", "binary.ply", shape, see_shape),
    Sample("PLY", "ascii.ply", lambda path: shape(path, encoding="ascii"), see_shape),
    Sample("PLY", "crlf.ply", crlf_ply, see_shape),
    Sample("OBJ", "a.obj", shape, see_shape),
    Sample("SDF", "a.sdf", sdf, see_sdf),
    Sample("SDF", "v3000.sd", lambda path: sdf(path, force_v3000=True), see_sdf),
    Sample("SDF", "mol.sdf", molfile, see_sdf),
    Sample("PDB", "a.pdb", pdb, see_pdb),
    Sample("PDB", "remarks.ent", pdb_with_remarks, see_pdb),
    Sample("mmCIF", "a.cif", mmcif, see_mmcif),
    Sample("mmCIF", "crlf.mmcif", commented_mmcif, see_mmcif),
    Sample("NIfTI", "a.nii", volume, see_volume),
    Sample("NIfTI", "big.nii", lambda path: volume(path, order=">"), see_volume),
    Sample("NIfTI", "two.nii", lambda path: volume(path, "Nifti2Image"), see_volume),
    Sample("NIfTI", "more.nii", lambda path: volume(path, extension=b"a comment of its own"), see_volume),
    Sample("NIfTI, gzipped", "a.nii.gz", volume, see_volume),
    Sample("Parquet", "a.parquet", parquet, see_parquet),
    Sample("Parquet", "parts.parquet", parquet_of_many_parts, see_parquet),
    Sample("Parquet", "plain.parquet", plain_parquet, see_parquet),
    Sample("npz", "a.npz", npz, see_npz),
    Sample("npz", "compressed.npz", npz_compressed, see_npz),
    Sample("npz", "wide.npz", npz_of_64_bits, see_npz),
    Sample("JSON", "a.json", object_json, see_json),
    Sample("JSON", "empty.json", empty_json, see_json),
    Sample("JSON", "plot.json", plot_json, see_plot),
]


def payload(path: Path) -> bytes:
    """The bytes of a file, unzipped where it is zipped as a whole."""
    data = path.read_bytes()
    try:
        return gzip.GzipFile(fileobj=io.BytesIO(data)).read() if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error):  # damaged, or only looks like it
        return data
