"""Cells of a text table as numbers, and numbers as cells with the digits that they deserve."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from domains.series.csv_text import unquoted

# In lower case; the usual spellings in capitals stand beside them so that most cells are found at once.
MISSING = frozenset(b" nan na n/a #n/a <na> nat null none - ? NaN NA N/A #N/A NULL None".split(b" "))
# Larger numbers are finite, but their squares are not, so nothing can be computed with them.
LARGEST = 1e100
_COMMA_NUMBER = re.compile(rb"[+-]?(?:\d+,\d*|,\d+)(?:[eE][+-]?\d+)?")
_SETTLED_TEXTS = 1000
_NAN = math.nan


@dataclass
class NumberColumn:
    """Parses one column of raw cells, fed in order; afterwards says what kind of column it is.

    Attributes:
        decimal_comma_allowed: Whether `1,5` is a number (where the comma is not the delimiter).
        careful: Whether some cell of the file holds an underscore, which `float` would take for a digit separator.
        numbers: Finite and infinite numbers seen.
        texts: Cells seen that are neither numbers nor missing.
        first_text: Row and content of the first of these.
        first_infinite: Row of the first number that cannot be computed with.
        decimal_comma: Whether a number with a decimal comma was seen.
    """

    decimal_comma_allowed: bool
    careful: bool
    numbers: int = 0
    texts: int = 0
    first_text: tuple[int, bytes] | None = None
    first_infinite: int | None = None
    decimal_comma: bool = False
    _rows: int = 0
    _parts: list[NDArray[np.float64]] = field(default_factory=list)

    def feed(self, cells: Sequence[bytes]) -> None:
        """Parses the next cells; a column that has long shown hardly anything but text is taken for text."""
        if self.texts >= _SETTLED_TEXTS and self.texts > 20 * self.numbers:
            self.texts += len(cells)
            self._rows += len(cells)
            return
        parsed: list[float] | None = None
        if not self.careful:
            try:
                if self.decimal_comma:
                    parsed = [float(cell.replace(b",", b".")) for cell in cells]
                else:
                    parsed = list(map(float, cells))
            except ValueError:
                parsed = None
        if parsed is None:
            number, missing = self._number, MISSING
            parsed = [
                _NAN if cell in missing else number(cell, row) for row, cell in enumerate(cells, self._rows)
            ]
        values = np.array(parsed, dtype=np.float64)
        self.numbers += int(np.count_nonzero(~np.isnan(values)))
        with np.errstate(invalid="ignore"):
            beyond = np.flatnonzero(np.abs(values) > LARGEST)
        if len(beyond) and self.first_infinite is None:
            self.first_infinite = self._rows + int(beyond[0])
        self._parts.append(values)
        self._rows += len(cells)

    @property
    def values(self) -> NDArray[np.float64]:
        """The numbers, [T], with NaN where a cell is missing or text; meant for columns without texts."""
        return np.concatenate(self._parts) if self._parts else np.empty(0)

    def _number(self, cell: bytes, row: int) -> float:
        if b"_" not in cell:
            try:
                return float(cell)
            except ValueError:
                pass
        content = unquoted(cell).strip()
        if content.lower() in MISSING:
            return _NAN
        if b"_" not in content:
            try:
                return float(content)
            except ValueError:
                pass
        if b"," in content and self.decimal_comma_allowed and _COMMA_NUMBER.fullmatch(content):
            self.decimal_comma = True
            return float(content.replace(b",", b"."))
        self.texts += 1
        if self.first_text is None:
            self.first_text = (row, content)
        return _NAN


@dataclass(frozen=True)
class NumberFormat:
    """How numbers of one column are written.

    Attributes:
        decimals: Digits after the point (of the mantissa, where scientific).
        scientific: Whether an exponent is written.
        decimal_comma: Whether the decimal mark is a comma.
    """

    decimals: int
    scientific: bool = False
    decimal_comma: bool = False

    def text(self, value: float) -> str:
        """A finite number as text; negative zero is written as zero."""
        if self.scientific:
            written = f"{value:.{self.decimals}e}"
        else:
            written = f"{round(value, self.decimals) + 0.0:.{self.decimals}f}"
        return written.replace(".", ",") if self.decimal_comma else written

    def finer(self, digits: int) -> NumberFormat:
        """The same with more digits and, since it is for our own tables, a decimal point."""
        return NumberFormat(self.decimals + digits, self.scientific)


_NUMBER_PARTS = re.compile(r"[+-]?\d*(?:[.,](\d*))?(?:[eE]([+-]?\d+))?")


def number_format(
    texts: Sequence[str], values: NDArray[np.float64], *, decimal_comma: bool = False
) -> NumberFormat:
    """The format for estimated numbers in a column, from its observed cells.

    As many decimals as the cells show; up to two more where the column's spread asks for them (a thousandth of its
    standard deviation is kept); and no more than a hundred-thousandth of it needs, since cells such as
    `5.827000141143799` show the machine's digits and not the measurement's.

    Args:
        texts: Some observed cells as they stand.
        values: The observed numbers of the column, finite, at least one.
        decimal_comma: Whether the column writes a decimal comma.
    """
    decimals, exponents = 0, 0
    for text in texts:
        parts = _NUMBER_PARTS.fullmatch(text)
        if parts is not None:
            exponents += parts[2] is not None
            decimals = max(decimals, len(parts[1] or "") - int(parts[2] or 0))
    # Scaled before it is squared, so that no number that the reader lets through overflows.
    largest = float(np.max(np.abs(values)))
    spread = float(np.std(values / largest)) * largest if largest > 0 else 0.0
    if spread <= 1e-12 * largest:
        spread = largest
    if spread == 0.0:
        return NumberFormat(decimals=min(decimals, 12), decimal_comma=decimal_comma)
    magnitude = math.floor(math.log10(spread))
    wanted = max(3 - magnitude, 0)
    enough = max(5 - magnitude, 0)
    decimals = min(max(decimals, min(wanted, decimals + 2)), enough)
    if exponents * 2 > len(texts) or decimals > 12 or largest >= 1e15:
        # Significant digits: those above the spread's own, and six below.
        above = max(math.floor(math.log10(largest)) - magnitude, 0)
        return NumberFormat(decimals=min(above + 5, 16), scientific=True, decimal_comma=decimal_comma)
    return NumberFormat(decimals=decimals, decimal_comma=decimal_comma)
