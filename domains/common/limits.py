"""Bounds on what a person's file may hold; checked before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TableLimits:
    """Largest table that is read.

    Attributes:
        bytes: Size of the file, as the file system states it.
        rows: Data rows.
        columns: Numeric columns; at most four times as many columns may stand in the file in all.
        cells: Rows times columns of the file.
        line_bytes: Longest record of a text table, quoted line breaks included.
        cell_bytes: Longest cell of a text table.
        decoded_bytes: Largest Parquet table after decompression.
    """

    bytes: int = 64 * 2**20
    rows: int = 200_000
    columns: int = 64
    cells: int = 4_000_000
    line_bytes: int = 2**20
    cell_bytes: int = 2**15
    decoded_bytes: int = 256 * 2**20

    @property
    def file_columns(self) -> int:
        """Columns of any kind that the file may hold."""
        return 4 * self.columns


@dataclass(frozen=True)
class MoleculeLimits:
    """Largest file of molecules that is read.

    Attributes:
        bytes: Size of the file.
        molecules: Records of the file.
        atoms: Atoms of one molecule, hydrogens that are atoms included.
        line_bytes: Longest line.
        properties: Data items of one record.
        property_bytes: Longest value of a data item.
        smarts: Longest SMARTS, in characters.
    """

    bytes: int = 64 * 2**20
    molecules: int = 20_000
    atoms: int = 500
    line_bytes: int = 2**16
    properties: int = 200
    property_bytes: int = 2**14
    smarts: int = 1000
