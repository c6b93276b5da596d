"""Small real files for the viewers, made by the libraries of their fields."""

from __future__ import annotations

import json
import math
import struct
import wave
from pathlib import Path

import numpy as np
from PIL import Image

# A tone that stands out in a spectrogram, and the rate at which it is written.
TONE, RATE = 1000.0, 16_000


def png(path: Path, hue: float = 0.0, size: tuple[int, int] = (96, 64)) -> Path:
    """A smooth picture; pixel (0, 0) is red 10, green 200, blue 30."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    waves = [127 + 120 * np.sin(x / 9 + hue + k) * np.cos(y / 7 + k) for k in (0, 2, 4)]
    pixels = np.stack(waves, -1).astype(np.uint8)
    pixels[0, 0] = (10, 200, 30)
    Image.fromarray(pixels).save(path)
    return path


def gif(path: Path, frames: int = 12) -> Path:
    """A disc that moves from left to right."""
    y, x = np.mgrid[0:48, 0:96]
    pictures = [
        Image.fromarray((255 * ((x - 8 * i - 4) ** 2 + (y - 24) ** 2 < 100)).astype(np.uint8))
        for i in range(frames)
    ]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=80, loop=0)
    return path


def webp(path: Path) -> Path:
    """The same, as an animated WebP."""
    pictures = [Image.new("RGB", (64, 48), (20 * i, 90, 255 - 20 * i)) for i in range(8)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100, loop=0, lossless=True)
    return path


def mp4(path: Path, frames: int = 24) -> Path:
    """A disc that moves; 12 frames a second, in H.264."""
    import av

    y, x = np.mgrid[0:96, 0:160]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for i in range(frames):
            pixels = np.stack([255 * ((x - 6 * i) ** 2 + (y - 48) ** 2 < 400), 60 + 0 * x, 5 * i + 0 * x], -1)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    return path


def wav(path: Path, seconds: float = 1.5) -> Path:
    """A tone of `TONE` hertz that swells and fades, in 16 bits."""
    t = np.arange(int(seconds * RATE)) / RATE
    samples = 0.8 * np.sin(2 * math.pi * TONE * t) * np.sin(math.pi * t / seconds)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def _embedded(smiles: str, seed: int = 7):  # type: ignore[no-untyped-def]
    from rdkit import Chem
    from rdkit.Chem import AllChem

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(molecule, randomSeed=seed)
    return molecule


def sdf(path: Path) -> Path:
    """Caffeine and aspirin."""
    from rdkit import Chem

    with Chem.SDWriter(str(path)) as out:
        for name, smiles in (
            ("caffeine", "Cn1cnc2c1c(=O)n(C)c(=O)n2C"),
            ("aspirin", "CC(=O)Oc1ccccc1C(=O)O"),
        ):
            molecule = _embedded(smiles)
            molecule.SetProp("_Name", name)
            out.write(molecule)
    return path


def pdb(path: Path, residues: int = 18) -> Path:
    """A poly-alanine helix, backbone and CB, with B-factors that grow along it."""
    # Radius, angle and rise of each atom of an ideal alpha helix: 100 degrees and 1.5 angstrom a residue.
    atoms = [
        ("N", 1.55, 0, 0.0),
        ("CA", 2.28, 28, 0.9),
        ("C", 1.66, 54, 1.96),
        ("O", 2.0, 60, 3.2),
        ("CB", 3.3, 18, 0.1),
    ]
    lines, serial = ["HEADER    HELIX"], 0
    for i in range(residues):
        for name, radius, angle, rise in atoms:
            serial += 1
            turn = math.radians(100 * i + angle)
            x, y, z = radius * math.cos(turn), radius * math.sin(turn), 1.5 * i + rise
            lines.append(
                f"ATOM  {serial:5d}  {name:<3s} ALA A{i + 1:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
                f"  1.00{5 + 3 * i:6.2f}          {name[0]:>2s}"
            )
    path.write_text("\n".join([*lines, "TER", "END", ""]), "ascii")
    return path


def nifti(path: Path, shape: tuple[int, int, int] = (40, 48, 36)) -> Path:
    """A bright ellipsoid with a brighter ball on the patient's right side; gzipped where the name ends so."""
    import nibabel

    x, y, z = np.mgrid[tuple(slice(-1, 1, n * 1j) for n in shape)]
    values = 300.0 * (x**2 / 0.6 + y**2 / 0.8 + z**2 / 0.7 < 1)
    # With this affine the first index grows towards the patient's right end of the axis: RAS, so +x is right.
    values += 600.0 * ((x - 0.4) ** 2 + y**2 + z**2 < 0.09)
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0])), path)
    return path


def _torus():  # type: ignore[no-untyped-def]
    import trimesh

    mesh = trimesh.creation.torus(1.0, 0.35, major_sections=48, minor_sections=24)
    shades = 127 + 120 * mesh.vertices / np.abs(mesh.vertices).max(0)
    mesh.visual.vertex_colors = np.c_[shades, np.full(len(shades), 255)].astype(np.uint8)
    return mesh


def glb(path: Path) -> Path:
    _torus().export(path)
    return path


def obj(path: Path) -> Path:
    _torus().export(path)
    return path


def ply(path: Path) -> Path:
    _torus().export(path)
    return path


def points_ply(path: Path, count: int = 4000) -> Path:
    """A spiral of coloured points, as text."""
    t = np.linspace(0, 8 * math.pi, count)
    rows = zip(
        np.cos(t) * t / 25,
        t / 12,
        np.sin(t) * t / 25,
        (t * 10).astype(int),
        255 - (t * 10).astype(int),
        strict=True,
    )
    head = f"ply\nformat ascii 1.0\nelement vertex {count}\n"
    head += "".join(f"property float {axis}\n" for axis in "xyz") + "".join(
        f"property uchar {c}\n" for c in ("red", "green", "blue")
    )
    path.write_text(
        head + "end_header\n" + "".join(f"{x:.4f} {y:.4f} {z:.4f} {r} {g} 120\n" for x, y, z, r, g in rows),
        "ascii",
    )
    return path


def splat_ply(path: Path, count: int = 600) -> Path:
    """A shell of flat Gaussians in the layout of 3D Gaussian splatting."""
    random = np.random.default_rng(3)
    place = random.normal(size=(count, 3))
    place /= np.linalg.norm(place, axis=1, keepdims=True)
    names = [
        "x",
        "y",
        "z",
        "f_dc_0",
        "f_dc_1",
        "f_dc_2",
        "opacity",
        "scale_0",
        "scale_1",
        "scale_2",
        "rot_0",
        "rot_1",
        "rot_2",
        "rot_3",
    ]
    turn = random.normal(size=(count, 4))
    columns = np.c_[
        place, 1.5 * place, np.full(count, 3.0), np.tile(np.log([0.12, 0.12, 0.02]), (count, 1)), turn
    ]
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {count}\n"
    head += "".join(f"property float {name}\n" for name in names) + "end_header\n"
    path.write_bytes(head.encode() + columns.astype("<f4").tobytes())
    return path


def plot(path: Path) -> Path:
    x = [i / 10 for i in range(100)]
    figure = {
        "data": [{"type": "scatter", "x": x, "y": [math.sin(v) for v in x]}],
        "layout": {"xaxis": {"title": {"text": "time, s"}}},
    }
    path.write_text(json.dumps(figure), "utf-8")
    return path


def png_that_unfolds(path: Path) -> Path:
    """A header that states 40 000 by 40 000 pixels."""
    body = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 6, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + body + b"\0\0\0\0")
    return path
