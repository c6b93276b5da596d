"""The texts of molecule files taken apart into records, each checked for size before RDKit decodes it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from domains.common.limits import MoleculeLimits

_ITEM = re.compile(r"^>.*?<([^>\n]*)>")
_V3000_COUNTS = re.compile(r"^M {2}V30 COUNTS\s+(\d+)\s+(\d+)")
_NAMES = ("name", "id", "title", "molecule", "compound", "zinc_id", "chembl_id", "compound_id", "compound id")


class FormatFault(ValueError):
    """A text is not what its format says; the words go on from the name of the file or of the molecule."""


@dataclass(frozen=True)
class Piece:
    """The text of one record.

    Attributes:
        text: What RDKit decodes. name: As stated. properties: Data items. fault: Why it is not decoded; else empty.
    """

    text: str = ""
    name: str = ""
    properties: dict[str, str] = field(default_factory=dict)
    fault: str = ""


def smiles_pieces(text: str) -> Iterator[Piece]:
    """Lines of a SMILES and, after a space or tab, a name; comments begin with `#`, a head line names the columns."""
    first = True
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        smiles, _, name = line.strip().replace("\t", " ").partition(" ")
        if first and smiles.lower() in ("smiles", "canonical_smiles"):
            first = False
            continue
        first = False
        yield Piece(smiles, name.strip())


def csv_pieces(text: str, limits: MoleculeLimits) -> Iterator[Piece]:
    """Rows of a table with a column called `smiles` (any case, also as part of the name); tab, comma or semicolon.

    Raises:
        FormatFault: Where there is no such column.
    """
    head = text.split("\n", 1)[0]
    delimiter = max(",\t;", key=head.count)
    csv.field_size_limit(limits.line_bytes)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = [name.strip() for name in next(rows, [])]
        lowered = [name.lower() for name in names]
        exact = [place for place, name in enumerate(lowered) if name == "smiles"]
        near = [place for place, name in enumerate(lowered) if "smiles" in name]
        if not exact and not near:
            raise FormatFault("has no column of SMILES; call it smiles in the first line")
        column = (exact or near)[0]
        title = next((lowered.index(name) for name in _NAMES if name in lowered), None)
        others = [k for k in range(len(names)) if k not in (column, title)][: limits.properties]
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            cells = [*row, *[""] * (len(names) - len(row))]
            named = cells[title].strip() if title is not None else ""
            items = {names[k]: cells[k][: limits.property_bytes] for k in others if names[k] and cells[k]}
            yield Piece(cells[column].strip(), named, items)
    except csv.Error as error:
        raise FormatFault(f"is no table: {error}") from None


def sdf_pieces(text: str, limits: MoleculeLimits) -> Iterator[Piece]:
    """Records between `$$$$` lines; atoms and bonds are counted before anything is decoded."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("$$$$"):
            yield _sdf_piece(lines, limits)
            lines = []
        else:
            lines.append(line)
    if any(line.strip() for line in lines):
        yield _sdf_piece(lines, limits)


def _sdf_piece(lines: list[str], limits: MoleculeLimits) -> Piece:
    name = lines[0].strip() if lines else ""
    end = next((k for k, line in enumerate(lines) if line.startswith("M  END")), None)
    if len(lines) < 4 or end is None:
        return Piece(name=name, fault="is cut off: a record needs a counts line and a line `M  END`")
    fault = _block_fault(lines[: end + 1], limits)
    if fault:
        return Piece(name=name, fault=fault)
    properties, fault = _data_items(lines[end + 1 :], limits)
    if fault:
        return Piece(name=name, fault=fault)
    # RDKit gets a head of our own: a title may hold anything.
    head = ["molecule", "  langevin          3D" if "3D" in lines[1][20:22] else "", ""]
    return Piece("\n".join([*head, *lines[3 : end + 1]]) + "\n", name, properties)


def _block_fault(lines: list[str], limits: MoleculeLimits) -> str:
    """What is wrong with the sizes of a MOL block; empty where nothing is."""
    counts = lines[3]
    if "V3000" in counts:
        stated = next((match for line in lines if (match := _V3000_COUNTS.match(line))), None)
        if stated is None:
            return "has no line of counts (M  V30 COUNTS)"
        atoms, bonds = int(stated[1]), int(stated[2])
    else:
        try:
            atoms, bonds = int(counts[0:3]), int(counts[3:6])
        except ValueError:
            return "has a counts line without two numbers"
        if atoms < 0 or bonds < 0 or len(lines) < 4 + atoms + bonds + 1:
            return f"states {atoms} atoms and {bonds} bonds, but is shorter"
    if atoms > limits.atoms or bonds > 4 * limits.atoms:
        return f"has {atoms:,} atoms and at most {limits.atoms:,} are taken"
    if len(lines) > 8 + 4 * (atoms + bonds) + limits.atoms:
        return "has far more lines than its counts say"
    return ""


def _data_items(lines: list[str], limits: MoleculeLimits) -> tuple[dict[str, str], str]:
    found: dict[str, str] = {}
    name: str | None = None
    for line in lines:
        item = _ITEM.match(line)
        if item and name is None:
            name = item[1]
            found[name] = ""
            if len(found) > limits.properties:
                return {}, f"has more than {limits.properties} data items"
        elif name is not None and line.strip():
            joined = f"{found[name]}\n{line}" if found[name] else line
            if len(joined) > limits.property_bytes and name != "langevin-recipe":
                return {}, f"has a data item of more than {limits.property_bytes:,} characters"
            found[name] = joined
        else:
            name = None
    return found, ""


def mol2_pieces(text: str, limits: MoleculeLimits) -> Iterator[Piece]:
    """Records that begin with `@<TRIPOS>MOLECULE`."""
    mark = "@<TRIPOS>MOLECULE"
    for part in text.split(mark)[1:]:
        lines = part.strip("\r\n").splitlines()
        name = lines[0].strip() if lines else ""
        try:
            atoms = int(lines[1].split()[0])
        except (IndexError, ValueError):
            yield Piece(name=name, fault="has no line of counts after its name")
            continue
        if atoms > limits.atoms or len(lines) > 20 + 10 * limits.atoms:
            yield Piece(name=name, fault=f"has {atoms:,} atoms and at most {limits.atoms:,} are taken")
        else:
            body = "\n".join([mark, "molecule", *lines[1:]])
            yield Piece(body + "\n", name)


def xyz_pieces(text: str, limits: MoleculeLimits) -> Iterator[Piece]:
    """Frames: a number of atoms, a comment, and as many lines of an element and three coordinates in Å.

    Raises:
        FormatFault: Where a frame does not begin with a number, since what follows cannot be told then.
    """
    lines = text.splitlines()
    place = 0
    while place < len(lines):
        if not lines[place].strip():
            place += 1
            continue
        try:
            atoms = int(lines[place].strip())
        except ValueError:
            raise FormatFault(f"line {place + 1} must be a number of atoms, as XYZ frames begin") from None
        if atoms < 1:
            raise FormatFault(f"line {place + 1} states {atoms} atoms; an XYZ frame has at least one")
        comment = lines[place + 1].strip() if place + 1 < len(lines) else ""
        rows = lines[place + 2 : place + 2 + atoms]
        if atoms > limits.atoms:
            yield Piece(name=comment, fault=f"has {atoms:,} atoms and at most {limits.atoms:,} are taken")
        elif len(rows) < atoms:
            yield Piece(name=comment, fault=f"states {atoms} atoms, but has {len(rows)} lines of them")
        else:
            yield Piece("\n".join([comment, *rows]), comment)
        place += 2 + atoms
