"""Reading a person's table: CSV, TSV or Parquet, bounded before it is decoded, with its time column found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domains.common.errors import BadInput
from domains.common.files import bounded_size, read_bounded, sniff_bytes
from domains.common.limits import TableLimits
from domains.series import csv_text, parquet
from domains.series.csv_text import CsvText
from domains.series.numeric import LARGEST, NumberColumn, NumberFormat
from domains.series.parquet import ParquetData
from domains.series.time_column import Candidate, TimeAxis, find_time
from domains.series.times import TimeFormat, Times, infer_step

_CHUNK_ROWS = 4096
_SENTINELS = (-99.0, -99.9, -99.99, -999.0, -999.9, -999.99, -9999.0, -9999.9, -99999.0)
_SHOWN_NAMES = 12
# From this share of numbers on, a column with text in it is a mistake rather than one of labels.
_MIXED_SHARE = 0.2
_FORMATS = {
    "zip": "a zip archive or an Excel workbook; unpack it, or save the sheet as CSV",
    "ole": "an old Excel workbook; save the sheet as CSV",
    "gzip": "compressed by gzip; unpack it first",
    "bzip2": "compressed by bzip2; unpack it first",
    "xz": "compressed by xz; unpack it first",
    "zstandard": "compressed by zstandard; unpack it first",
    "utf-16": "text in UTF-16; save it as CSV in UTF-8",
    "binary": "binary data; give a CSV or Parquet file",
}


@dataclass(frozen=True)
class SeriesTable:
    """A table of series, with what it takes to write it back as it came.

    Attributes:
        columns: Names of the numeric series, in the order of the file; C of them.
        values: Their numbers, float64 [T, C]; NaN where a cell is missing.
        time: Times of the rows, a `DatetimeIndex` or float64 [T], strictly increasing; None where the file has none
            and rows are told apart by their number.
        time_column: Name of the time column, or None.
        time_format: How the time column is written; None without one.
        raw: The file: byte spans of a text table, or the Arrow table of a Parquet file.
        names: Names of all columns of the file.
        positions: Place of each numeric series among `names`.
        decimal_commas: Whether each numeric series is written with a decimal comma.
        notes: What was assumed about the file, one sentence each.
    """

    columns: tuple[str, ...]
    values: NDArray[np.float64]
    time: Times | None
    time_column: str | None
    time_format: TimeFormat | NumberFormat | None
    raw: CsvText | ParquetData
    names: tuple[str, ...]
    positions: tuple[int, ...]
    decimal_commas: tuple[bool, ...]
    notes: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Data rows, T."""
        return len(self.values)

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Which cells have no value, bool [T, C]."""
        return np.isnan(self.values)


def read_table(
    path: Path, time_column: str | None = None, *, limits: TableLimits | None = None
) -> SeriesTable:
    """Reads a CSV, TSV or Parquet file, told apart by content.

    Missing are empty cells and NaN, NA, N/A, #N/A, null, None, - and ?.  Text columns are noted and passed through; a
    time column is looked for unless it is named.  Nothing is inserted where rows are missing.

    Args:
        path: The file.
        time_column: Name of the time column; None or empty looks for it.
        limits: Bounds on size and shape.

    Raises:
        BadInput: For `table` or `time_column`, in one line that says how to mend it.
    """
    limits = limits or TableLimits()
    path = Path(path)
    bounded_size(path, limits.bytes, "table")
    try:
        with open(path, "rb") as stream:
            kind = sniff_bytes(stream.read(4096))
    except OSError as error:
        raise BadInput(
            "table", f"the file cannot be read ({error.strerror}); check its permissions"
        ) from None
    if kind == "parquet":
        return _read_parquet(path, time_column or None, limits)
    if kind != "text":
        what = _FORMATS.get(kind, f"of type {kind}; give a CSV or Parquet file")
        raise BadInput("table", f"the file is {what}")
    return _read_text(read_bounded(path, limits.bytes, "table"), time_column or None, limits)


def _read_text(data: bytes, time_column: str | None, limits: TableLimits) -> SeriesTable:
    if b"\x00" in data:
        raise BadInput("table", "the file is binary data; give a CSV or Parquet file")
    _refuse_markup(data[:64].removeprefix(csv_text.BOM).lstrip().lower())
    raw = csv_text.scan(data, limits)
    notes = []
    if raw.encoding != "utf-8":
        notes.append("The file is not UTF-8 and was read as Latin-1.")
    header = [raw.text(cell) for cell in raw.cells(0)]
    names = _unique_names(header)
    if _looks_like_data(header):
        raise BadInput(
            "table", "the first line holds numbers, not names; add a header line with the names of columns"
        )
    parsers = _parse_numbers(raw, len(names))
    candidates = [
        Candidate(name, parser.values if _is_numeric(parser) else None, partial(raw.column, position))
        for position, (name, parser) in enumerate(zip(names, parsers, strict=True))
    ]
    axis = find_time(candidates, time_column, raw.line, _listed(names))
    positions, texts = [], []
    for position, (name, parser) in enumerate(zip(names, parsers, strict=True)):
        if axis is not None and position == axis.position:
            continue
        if _is_numeric(parser):
            _refuse_infinite(name, parser, raw)
            positions.append(position)
        elif parser.numbers >= _MIXED_SHARE * (parser.numbers + parser.texts) > 0:
            raise _mixed(name, parser, raw)
        elif parser.texts:
            texts.append(name)
        elif header[position]:
            positions.append(position)
        else:
            texts.append(name)  # an unnamed and empty column, as a delimiter at the end of each line leaves
    commas = [parsers[position].decimal_comma for position in positions]
    if any(commas):
        _refuse_mixed_marks(raw, names, [p for p, comma in zip(positions, commas, strict=True) if comma])
        notes.append("Numbers such as 1,5 were read with a decimal comma.")
    values = [
        parsers[position].values if not parsers[position].texts else np.full(raw.rows, np.nan)
        for position in positions
    ]
    return _assemble(names, positions, values, commas, axis, texts, notes, raw, limits)


def _read_parquet(path: Path, time_column: str | None, limits: TableLimits) -> SeriesTable:
    raw = parquet.read_parquet(path, limits)
    names = _unique_names([str(name) for name in raw.schema.names])
    candidates, numeric = [], {}
    for position, kind in enumerate(raw.schema.types):
        column = raw.table.column(position)
        if parquet.is_number(kind):
            numeric[position] = parquet.numbers(column)
        times = parquet.times(column) if parquet.is_time(kind) else None
        texts_of = partial(parquet.texts, column)
        candidates.append(Candidate(names[position], numeric.get(position), texts_of, times))
    axis = find_time(candidates, time_column, lambda record: record, _listed(names), unit="row")
    positions = [position for position in numeric if axis is None or position != axis.position]
    for position in positions:
        with np.errstate(invalid="ignore"):
            beyond = np.flatnonzero(np.abs(numeric[position]) > LARGEST)
        if len(beyond):
            raise _infinite(names[position], numeric[position][beyond[0]], f"row {beyond[0] + 1}")
    taken = {*positions, *([axis.position] if axis else [])}
    texts = [name for position, name in enumerate(names) if position not in taken]
    values = [numeric[position] for position in positions]
    return _assemble(names, positions, values, [False] * len(positions), axis, texts, [], raw, limits)


def _assemble(
    names: Sequence[str],
    positions: Sequence[int],
    values: Sequence[NDArray[np.float64]],
    commas: Sequence[bool],
    axis: TimeAxis | None,
    texts: Sequence[str],
    notes: list[str],
    raw: CsvText | ParquetData,
    limits: TableLimits,
) -> SeriesTable:
    """Checks what all kinds of tables have in common and puts the table together."""
    if not positions:
        found = f"; all its columns are text or times ({_listed(names)})"
        raise BadInput("table", f"has no numeric column{found}; give at least one column of numbers")
    if len(positions) > limits.columns:
        raise BadInput(
            "table",
            f"has {len(positions)} numeric columns; at most {limits.columns} can be worked on at once, "
            "so split it or drop columns",
        )
    matrix = np.column_stack(values)
    empty = np.isnan(matrix).all(axis=0)
    if empty.all():
        raise BadInput(
            "table", "every value is missing; give a table in which some cells of each column hold numbers"
        )
    if empty.any():
        name = names[positions[int(np.argmax(empty))]]
        raise BadInput("table", f"column {name!r:.80} has no value at all; drop it")
    columns = tuple(names[position] for position in positions)
    if axis is not None:
        step = infer_step(axis.values)
        notes.append(
            f"Time column: {axis.name or 'the unnamed first column'}, one row every {step.description}."
        )
        notes += [f"{sentence[0].upper()}{sentence[1:]}." for sentence in (axis.note, step.note) if sentence]
    else:
        notes.append("No time column was found; rows are taken as evenly spaced.")
    if texts:
        named = [name for name in texts if name]
        if named:
            notes.append(f"Passed through untouched, not being numbers: {_listed(named)}.")
    notes += _sentinel_notes(columns, matrix)
    return SeriesTable(
        columns=columns,
        values=matrix,
        time=axis.values if axis else None,
        time_column=axis.name if axis else None,
        time_format=axis.format if axis else None,
        raw=raw,
        names=tuple(names),
        positions=tuple(positions),
        decimal_commas=tuple(commas),
        notes=tuple(notes),
    )


def _parse_numbers(raw: CsvText, columns: int) -> list[NumberColumn]:
    careful = raw.data.find(b"_", int(raw.ends[0])) >= 0
    parsers = [
        NumberColumn(decimal_comma_allowed=raw.delimiter != b",", careful=careful) for _ in range(columns)
    ]
    rows = raw.data_rows()
    while chunk := list(islice(rows, _CHUNK_ROWS)):
        for parser, cells in zip(parsers, zip(*chunk, strict=True), strict=True):
            parser.feed(cells)
    return parsers


def _is_numeric(parser: NumberColumn) -> bool:
    return parser.numbers > 0 and parser.texts == 0


def _unique_names(header: Sequence[str]) -> list[str]:
    """The names of columns; unnamed ones are called by their place, save the first, which is often an index."""
    names = [
        name if name or not position else f"column {position + 1}" for position, name in enumerate(header)
    ]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise BadInput(
            "table", f"more than one column is called {repeated[0]!r:.80}; give every column its own name"
        )
    return names


def _looks_like_data(header: Sequence[str]) -> bool:
    """Whether the first line is a row of numbers and not one of names such as 0, 1, 2 or 1990, 1991, 1992."""
    try:
        numbers = [float(name) for name in header if name]
    except ValueError:
        return False
    whole = all(name.isdigit() for name in header if name)
    rising = all(a < b for a, b in pairwise(numbers))
    return bool(numbers) and not (whole and rising)


def _refuse_markup(head: bytes) -> None:
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise BadInput("table", "the file is a web page or XML; give a CSV or Parquet file")
    if head.startswith((b"{", b"[{", b"[[")):
        raise BadInput("table", "the file is JSON; give a CSV or Parquet file")


def _mixed(name: str, parser: NumberColumn, raw: CsvText) -> BadInput:
    row, content = parser.first_text or (0, b"")
    shown = content.decode(raw.encoding)
    shown = shown if len(shown) <= 40 else shown[:39] + "…"
    return BadInput(
        "table",
        f"column {name!r:.80} mixes numbers and text: {shown!r} on line {raw.line(row + 1)} is not a number; "
        "correct it or leave the cell empty",
    )


def _refuse_infinite(name: str, parser: NumberColumn, raw: CsvText) -> None:
    if parser.first_infinite is not None:
        row = parser.first_infinite
        raise _infinite(name, parser.values[row], f"line {raw.line(row + 1)}")


def _refuse_mixed_marks(raw: CsvText, names: Sequence[str], positions: Sequence[int]) -> None:
    for row, cells in enumerate(raw.data_rows()):
        for position in positions:
            if b"." in cells[position]:
                raise BadInput(
                    "table",
                    f"column {names[position]!r:.80} mixes decimal commas with the point on line {raw.line(row + 1)}; "
                    "use one of them",
                )


def _infinite(name: str, value: float, place: str) -> BadInput:
    what = "an infinite value" if np.isinf(value) else f"a number beyond {LARGEST:.0e}"
    return BadInput(
        "table", f"column {name!r:.80} holds {what} on {place}; correct it or leave the cell empty"
    )


def _sentinel_notes(columns: Sequence[str], values: NDArray[np.float64]) -> list[str]:
    """A note for columns in which a number such as -999 stands far below all others: it may mean missing."""
    notes = []
    for position, name in enumerate(columns):
        column = values[:, position]
        observed = column[~np.isnan(column)]
        least = float(observed.min())
        others = observed[observed > least]
        if least in _SENTINELS and len(others) and others.min() - least > 2 * (others.max() - others.min()):
            count = len(observed) - len(others)
            notes.append(
                f"Column {name} holds {least:g} in {count} cells; if that means missing, leave these cells empty."
            )
    return notes


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name if len(name) <= 40 else name[:39] + "…" for name in names[:_SHOWN_NAMES])
    rest = len(names) - _SHOWN_NAMES
    return f"{shown} and {rest} more" if rest > 0 else shown
