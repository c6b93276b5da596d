"""Files of molecules: SDF, MOL, MOL2, XYZ, SMILES, CSV.  Sizes are bounded before anything is decoded, records before
RDKit sees them; nothing is sanitised or repaired here, so that a molecule can be judged as it was stated.

A record that cannot be read keeps its place, with the reason: it counts as an invalid molecule.  What is read of each
format: the first structure's atoms, bonds, charges, isotopes, radicals, stereo and data items of SDF and MOL (V2000 and
V3000); TRIPOS records of MOL2; frames of XYZ, whose bonds follow `bond_perception` (`charge=N` in the comment line);
the first word of each line of SMILES; the column `smiles` of CSV and TSV.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rdkit import Chem

from domains.common.errors import BadInput
from domains.common.files import read_bounded, sniff_bytes
from domains.common.intake.text import plain_text
from domains.common.limits import MoleculeLimits
from domains.molecule.chemistry import has_space, silenced
from domains.molecule.file_texts import (
    FormatFault,
    Piece,
    csv_pieces,
    mol2_pieces,
    sdf_pieces,
    smiles_pieces,
    xyz_pieces,
)
from domains.molecule.xyz import molecule_of_xyz

LIMITS = MoleculeLimits()
NAME_LENGTH = 80
_SUFFIXES = {
    ".sdf": "SDF",
    ".sd": "SDF",
    ".mol": "MOL",
    ".mol2": "MOL2",
    ".xyz": "XYZ",
    ".smi": "SMILES",
    ".smiles": "SMILES",
    ".txt": "SMILES",
    ".csv": "CSV",
    ".tsv": "CSV",
}
_QUERY_ATOMS = "a query or a placeholder, no element"


@dataclass(frozen=True)
class Record:
    """One molecule of a file.

    Attributes:
        place: 1, 2, … in the file.
        name: As the file calls it, made harmless for a page; may be empty.
        molecule: As stated, not sanitised; None where it could not be read.
        reason: Why it could not be read; empty where it could.
        properties: Data items of the file, made harmless.
    """

    place: int
    name: str
    molecule: Chem.Mol | None
    reason: str = ""
    properties: dict[str, str] = field(default_factory=dict)


def read_molecules(path: Path, field: str = "file", limits: MoleculeLimits = LIMITS) -> list[Record]:
    """The molecules of a file, in order.

    Args:
        path: The file; its ending says the format.
        field: Name of the request field, for errors.
        limits: What is refused unread.

    Raises:
        BadInput: For `field`: where the file is absent, empty, too large, no text, of an unknown format, holds too many
            molecules, or not one that can be read; the message gives the first reason.
    """
    kind = _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise BadInput(field, f"is of no known format; give one of {', '.join(_SUFFIXES)}")
    text = _text(path, kind, field, limits)
    records: list[Record] = []
    try:
        for piece in _pieces(kind, text, limits):
            if len(records) >= limits.molecules:
                raise BadInput(field, f"holds more than {limits.molecules:,} molecules; split it into parts")
            records.append(_record(len(records) + 1, kind, piece, limits))
    except FormatFault as fault:
        raise BadInput(field, str(fault)) from None
    if not records:
        raise BadInput(field, f"holds no molecule; a {kind} file with at least one is needed")
    if all(record.molecule is None for record in records):
        first = records[0]
        where = f"molecule {first.place}" if len(records) > 1 else "the molecule"
        raise BadInput(field, f"holds no molecule that can be read; {where} {first.reason}")
    return records


def read_smiles(text: str, field: str = "smiles", limits: MoleculeLimits = LIMITS) -> Chem.Mol:
    """The molecule of a SMILES that a person wrote, sanitised.

    Raises:
        BadInput: For `field`, where it is empty, too long, no SMILES, or not accepted by RDKit.
    """
    record = _record(1, "SMILES", Piece(text=text.strip()), limits)
    if record.molecule is None:
        raise BadInput(field, f"{record.reason}; write a SMILES such as c1ccccc1O")
    with silenced():
        try:
            Chem.SanitizeMol(record.molecule)
        except (ValueError, RuntimeError) as error:
            raise BadInput(field, f"is no possible molecule: {fault_words(error)}") from None
    return record.molecule


def molecule_of_smiles(text: str, limits: MoleculeLimits = LIMITS) -> Chem.Mol | None:
    """The molecule of a SMILES as stated, not sanitised; None where it is none, or past the limits."""
    return _record(1, "SMILES", Piece(text=text), limits).molecule


def fault_words(error: Exception) -> str:
    """RDKit's complaint as one short line without its preamble."""
    return plain_text(str(error).replace("Sanitization error:", ""), 120).rstrip(".")


def _text(path: Path, kind: str, field: str, limits: MoleculeLimits) -> str:
    data = read_bounded(path, limits.bytes, field)
    found = sniff_bytes(data[:4096])
    if found == "gzip":
        raise BadInput(field, "is compressed; unpack it first")
    if found != "text" or b"\0" in data:
        raise BadInput(field, f"is no text, so no {kind} file; give the molecules as text")
    longest = max(map(len, data.splitlines()), default=0)
    if longest > limits.line_bytes:
        raise BadInput(field, f"has a line of {longest:,} bytes and at most {limits.line_bytes:,} are read")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _pieces(kind: str, text: str, limits: MoleculeLimits) -> Iterator[Piece]:
    match kind:
        case "SDF" | "MOL":
            return sdf_pieces(text, limits)
        case "MOL2":
            return mol2_pieces(text, limits)
        case "XYZ":
            return xyz_pieces(text, limits)
        case "CSV":
            return csv_pieces(text, limits)
    return smiles_pieces(text)


def _record(place: int, kind: str, piece: Piece, limits: MoleculeLimits) -> Record:
    name = plain_text(piece.name, NAME_LENGTH)
    items = {
        plain_text(key, NAME_LENGTH): plain_text(value, 200)
        for key, value in piece.properties.items()
        if key != "langevin-recipe"
    }
    reason, molecule = piece.fault, None
    if not reason:
        with silenced():
            molecule, reason = _molecule(kind, piece.text, limits)
    return Record(place, name, molecule, reason, items)


def _molecule(kind: str, text: str, limits: MoleculeLimits) -> tuple[Chem.Mol | None, str]:
    """The molecule as stated, or None and why."""
    readers: dict[str, Callable[[str], Chem.Mol | None]] = {
        "SDF": _of_block,
        "MOL": _of_block,
        "MOL2": lambda block: Chem.MolFromMol2Block(
            block, sanitize=False, removeHs=False, cleanupSubstructures=False
        ),
        "XYZ": molecule_of_xyz,
    }
    read = readers.get(kind, _of_smiles)
    try:
        molecule = read(text)
    except FormatFault as fault:
        return None, str(fault)
    except (ValueError, RuntimeError, OverflowError) as error:
        return None, f"is no {_words(kind)}: {fault_words(error)}"
    if molecule is None:
        return None, f"is no {_words(kind)} that RDKit can read"
    reason = _refused(molecule, limits)
    return (None, reason) if reason else (molecule, "")


def _words(kind: str) -> str:
    return "SMILES" if kind in ("SMILES", "CSV") else f"{kind} record"


def _of_block(text: str) -> Chem.Mol | None:
    return Chem.MolFromMolBlock(text, sanitize=False, removeHs=False, strictParsing=True)


def _of_smiles(text: str) -> Chem.Mol | None:
    if not text:
        raise FormatFault("is empty")
    settings: Any = Chem.SmilesParserParams()  # its stubs know no settings
    settings.sanitize = settings.removeHs = settings.allowCXSMILES = settings.parseName = False
    molecule = Chem.MolFromSmiles(text, settings)
    if molecule is None:
        raise FormatFault(f"is no SMILES: {plain_text(text, 60)!r}")
    return molecule


def _refused(molecule: Chem.Mol, limits: MoleculeLimits) -> str:
    """Why a molecule is not taken, in words that follow its name; empty where it is."""
    count = molecule.GetNumAtoms()
    if not count:
        return "has no atoms"
    if count > limits.atoms:
        return f"has {count:,} atoms and at most {limits.atoms:,} are taken"
    for atom in molecule.GetAtoms():
        if atom.GetAtomicNum() == 0 or atom.HasQuery():
            return f"has an atom ({plain_text(atom.GetSymbol(), 8)}) that is {_QUERY_ATOMS}"
    if any(bond.HasQuery() for bond in molecule.GetBonds()):
        return "has a bond that is a query"
    if has_space(molecule):
        positions = molecule.GetConformer().GetPositions()
        if not (abs(positions) < 1e4).all():
            return "has positions that are no numbers, or beyond 10,000 Å"
    return ""


# A contradiction within one atom: two elements, or an element and its absence.
_ELEMENT = re.compile(r"Atom(?:AtomicNum|Type) (\d+) (=|!=) val")


def read_smarts(text: str, field: str = "smarts", limits: MoleculeLimits = LIMITS) -> Chem.Mol:
    """A query that a person wrote as SMARTS.

    Raises:
        BadInput: For `field`, where it is empty, too long, no SMARTS, or asks one atom to be two elements at once, so
            that it can never match.
    """
    text = text.strip()
    if not text:
        raise BadInput(field, "is empty; write a SMARTS such as [OX2H]")
    if len(text) > limits.smarts:
        raise BadInput(field, f"has {len(text):,} characters and at most {limits.smarts:,} are read")
    if text.count("$(") > 20:
        raise BadInput(field, "nests more than 20 queries; write a simpler one")
    with silenced():
        query = Chem.MolFromSmarts(text)
    if query is None or not query.GetNumAtoms():
        raise BadInput(field, f"{plain_text(text, 60)!r} is no SMARTS; write one such as [OX2H]")
    if query.GetNumAtoms() > limits.atoms:
        raise BadInput(field, f"has {query.GetNumAtoms():,} atoms and at most {limits.atoms:,} are taken")
    for atom in query.GetAtoms():
        if _impossible(atom):
            words = plain_text(atom.GetSmarts(), 40)
            raise BadInput(field, f"never matches: no atom is {words!r}; ask for one element an atom")
    return query


def _impossible(atom: Chem.Atom) -> bool:
    """Whether the conditions that all hold for this atom name two elements, or one and its absence."""
    lines = atom.DescribeQuery().splitlines()
    wanted: set[int] = set()
    unwanted: set[int] = set()
    open_and = -1
    for line in lines:
        depth = len(line) - len(line.lstrip())
        text = line.strip()
        if open_and < 0 or depth == open_and + 2:
            match = _ELEMENT.match(text)
            if match:
                number = int(match[1]) % 1000  # aromatic atoms have 1000 added to their type
                (wanted if match[2] == "=" else unwanted).add(number)
            if open_and < 0:
                if text.startswith("AtomAnd"):
                    open_and = depth
                else:
                    break
            elif text.startswith("AtomAnd"):
                open_and = depth  # an `and` within an `and`
    return len(wanted) > 1 or bool(wanted & unwanted)
