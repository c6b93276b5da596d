"""A frame of XYZ as a molecule: elements and positions as stated, bonds and charges perceived."""

from __future__ import annotations

import math
import re

import numpy as np
from rdkit import Chem

from domains.common.intake.text import plain_text
from domains.molecule.bond_perception import perceive
from domains.molecule.chemistry import to_molecule
from domains.molecule.elements import BY_NUMBER, BY_SYMBOL
from domains.molecule.file_texts import FormatFault

_CHARGE = re.compile(r"\bcharge\s*=\s*([+-]?\d{1,2})\b", re.IGNORECASE)


def molecule_of_xyz(text: str) -> Chem.Mol:
    """The molecule of a comment line and lines of an element (symbol or number) and x, y, z in Å.

    Raises:
        FormatFault: Where a line is not of that form, an element has no rule for its bonds, or the rule has no answer.
    """
    comment, *rows = text.split("\n")
    numbers, positions = [], []
    for row in rows:
        cells = row.split()
        if len(cells) < 4:
            raise FormatFault(f"has a line that is no element and three numbers: {plain_text(row, 40)!r}")
        numbers.append(_number(cells[0]))
        try:
            place = [float(cell) for cell in cells[1:4]]
        except ValueError:
            raise FormatFault(
                f"has a line that is no element and three numbers: {plain_text(row, 40)!r}"
            ) from None
        if not all(math.isfinite(value) and abs(value) < 1e4 for value in place):
            raise FormatFault("has positions that are no numbers, or beyond 10,000 Å")
        positions.append(place)
    z, x = np.array(numbers), np.array(positions)
    stated = _CHARGE.search(comment)
    bonds = perceive(z, x, int(stated[1]) if stated else 0)
    if bonds is None:
        raise FormatFault("has atoms whose bonds cannot be told from their distances; give an SDF file")
    return to_molecule(z, bonds.pairs, bonds.orders, bonds.charges, np.zeros(len(z), dtype=np.int64), x)


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text[:4]) in BY_NUMBER:
        return int(text)
    symbol = text[:1].upper() + text[1:].lower()
    if symbol not in BY_SYMBOL:
        known = ", ".join(BY_SYMBOL)
        raise FormatFault(f"has an unknown element {plain_text(text, 12)!r}; bonds are told for {known}")
    return BY_SYMBOL[symbol].number
