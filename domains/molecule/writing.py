"""Molecules written: SDF with data items, CSV, and a sheet of drawings as PNG and SVG.

What a file said is made harmless on the way: names and values become one line without control characters, cells that a
spreadsheet would run get an apostrophe, and a data item cannot end its record.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rdkit import Chem
from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D

from domains.common.errors import BadInput
from domains.common.files import atomic_write_bytes, atomic_write_text
from domains.common.intake.text import plain_text, write_csv
from domains.molecule.chemistry import has_space, silenced

_ITEM_NAME = re.compile(r"[^A-Za-z0-9 _.()%²Å-]+")
_LONGEST_LINE = 200  # columns of a data item (CTfile formats)
CELL = (240, 200)  # pixels of one drawing
ACROSS = 5
_LEGEND = 30  # characters

Value = str | float | int | bool | None


def write_sdf(path: Path, molecules: Iterable[tuple[str, Chem.Mol, Mapping[str, Value]]]) -> int:
    """Writes molecules as they are: positions in Å (drawn flat where they have none), hydrogens, charges, data items.

    Args:
        path: The SDF file.
        molecules: Name, sanitised molecule, data items; None items are left out.

    Returns:
        How many were written.
    """
    stream, count = io.StringIO(), 0
    for name, molecule, items in molecules:
        shown = Chem.Mol(molecule)
        with silenced():
            if not shown.GetNumConformers():
                rdDepictor.Compute2DCoords(shown)
            block = Chem.MolToMolBlock(shown, forceV3000=False, kekulize=True)
        lines = block.split("\n")
        lines[0] = plain_text(name, 80)
        lines[1] = f"  Langevin          {'3D' if has_space(shown) else '2D'}"
        stream.write("\n".join(lines))
        for key, value in items.items():
            if value is None:
                continue
            stream.write(f">  <{_item_name(key)}>\n{_item_value(value)}\n\n")
        stream.write("$$$$\n")
        count += 1
    atomic_write_text(path, stream.getvalue())
    return count


def _item_name(key: str) -> str:
    return _ITEM_NAME.sub("_", plain_text(key, 60)).strip() or "item"


def _item_value(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = plain_text(value, _LONGEST_LINE)
    # A line of four dollars would end the record, one of `>` begin another item, an empty one end this.
    return f"'{text}" if text.startswith(("$$$$", ">")) or not text else text


def write_table(path: Path, rows: Sequence[Mapping[str, Value]]) -> None:
    """Writes rows as CSV with the columns of all of them, in the order in which they come up.

    Raises:
        ValueError: Without rows.
    """
    if not rows:
        raise ValueError("no rows to write")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    write_csv(stream, columns, cells)
    atomic_write_text(path, stream.getvalue())


def _cell(value: Value) -> object:
    if isinstance(value, float):
        return "" if value != value else f"{value:.6g}"
    return plain_text(value, 2000) if isinstance(value, str) else value


def write_sheet(folder: Path, stem: str, drawn: Sequence[tuple[str, Chem.Mol]]) -> list[Path]:
    """Draws molecules beside each other, as `stem.png` and `stem.svg`.

    Args:
        folder: Where to. stem: A name of ours.
        drawn: Legend and sanitised molecule, hydrogens implied where they should not be shown.

    Raises:
        BadInput: For `file`, without molecules.
    """
    if not drawn:
        raise BadInput("file", "holds no molecule that can be drawn")
    across = min(ACROSS, len(drawn))
    down = -(-len(drawn) // across)
    size = (across * CELL[0], down * CELL[1])
    flat = [_flat(molecule) for _, molecule in drawn]
    legends = [plain_text(legend, _LEGEND) for legend, _ in drawn]
    made = []
    for canvas, suffix in ((rdMolDraw2D.MolDraw2DCairo, "png"), (rdMolDraw2D.MolDraw2DSVG, "svg")):
        with silenced():
            drawer = canvas(*size, *CELL)
            options: Any = drawer.drawOptions()  # its stubs know no settings
            options.legendFontSize = 14
            options.includeMetadata = False  # else the molecules themselves ride along
            drawer.DrawMolecules(flat, legends=legends)
            drawer.FinishDrawing()
        path = folder / f"{stem}.{suffix}"
        text: Any = drawer.GetDrawingText()
        if suffix == "png":
            atomic_write_bytes(path, text)
        else:
            atomic_write_text(path, text)
        made.append(path)
    return made


def _flat(molecule: Chem.Mol) -> Chem.Mol:
    shown = Chem.Mol(molecule)
    shown.RemoveAllConformers()
    for name in list(shown.GetPropNames(True, True)):
        shown.ClearProp(name)  # the SVG writer would carry a file's own properties along
    with silenced():
        rdDepictor.Compute2DCoords(shown)
        return rdMolDraw2D.PrepareMolForDrawing(shown, kekulize=True)
