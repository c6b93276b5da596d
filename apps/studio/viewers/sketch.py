"""Flat drawings of small molecules by RDKit, in a process of its own: a file that wedges or crashes it harms nobody.

As a program, this file reads MOL or SDF on its standard input and writes a JSON list of SVG.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import subprocess
import sys
from typing import Any

MAX_SKETCH_BYTES = 2**19
MAX_MOLECULES, MAX_ATOMS = 24, 200
_SECONDS, _MEMORY = 20, 2 * 2**30
_SIDE = 320  # pixels


class NoSketch(Exception):
    """There is no drawing; says why."""


@functools.lru_cache(maxsize=16)
def sketches(data: bytes) -> list[str]:
    """SVG of the molecules of a MOL or SDF file, in its order; empty text for one that cannot be drawn.

    Args:
        data: The file, at most `MAX_SKETCH_BYTES`; molecules past `MAX_MOLECULES` are left out.

    Raises:
        NoSketch: If RDKit is not installed, or the file cannot be read within a time and memory that suffice.
    """
    if importlib.util.find_spec("rdkit") is None:
        raise NoSketch("flat drawings need: pip install rdkit")
    try:
        done = subprocess.run(
            [sys.executable, "-I", __file__],
            input=data,
            capture_output=True,
            timeout=_SECONDS,
            check=True,
        )
        drawn: list[str] = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError, OSError):
        raise NoSketch("RDKit cannot read this file") from None
    return drawn


def _bound_memory() -> None:
    """Gives this process an end before the machine's; not every system knows how."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    except (ImportError, ValueError, OSError):
        return


def _draw(data: bytes) -> list[str]:
    from io import BytesIO

    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    drawn = []
    with Chem.ForwardSDMolSupplier(BytesIO(data), removeHs=True) as molecules:
        for molecule in molecules:
            drawn.append("" if molecule is None or molecule.GetNumAtoms() > MAX_ATOMS else _svg(molecule))
            if len(drawn) == MAX_MOLECULES:
                break
    return drawn


def _svg(molecule: Any) -> str:
    from rdkit.Chem import rdDepictor
    from rdkit.Chem.Draw import rdMolDraw2D

    rdDepictor.SetPreferCoordGen(True)
    rdDepictor.Compute2DCoords(molecule)
    drawing = rdMolDraw2D.MolDraw2DSVG(_SIDE, _SIDE)
    options: Any = drawing.drawOptions()  # its stubs take fields for plain attributes
    options.clearBackground = False
    options.padding = 0.08
    rdMolDraw2D.PrepareAndDrawMolecule(drawing, molecule)
    drawing.FinishDrawing()
    return str(drawing.GetDrawingText())


if __name__ == "__main__":
    _bound_memory()
    json.dump(_draw(sys.stdin.buffer.read(MAX_SKETCH_BYTES)), sys.stdout)
