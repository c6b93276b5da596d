"""Writing results: the person's table with its gaps filled, forecasts that continue it, and their quantiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from domains.common.files import atomic_path
from domains.series import parquet
from domains.series.csv_text import BOM, CsvText, cell_of, quoted_cell
from domains.series.numeric import NumberFormat, number_format
from domains.series.table import SeriesTable
from domains.series.times import future_times, time_text

LEVELS = tuple(round(0.05 * k, 2) for k in range(1, 20))
LEVEL_NAMES = tuple(f"q{round(100 * level):02d}" for level in LEVELS)
_FORMAT_SAMPLE = 2000
_CHUNK_ROWS = 8192


def write_completed(table: SeriesTable, filled: NDArray[np.float64], path: Path) -> list[Path]:
    """Writes the table with every missing cell filled and every other byte as it came.

    A Parquet table is written twice: as CSV to `path`, and with its own schema to the same name ending in `.parquet`,
    where estimates in integer columns are rounded.

    Args:
        table: The table as read.
        filled: Estimates, [T, C]; only those of missing cells are used, and these must be finite.
        path: The CSV file to write.

    Returns:
        The files written.

    Raises:
        ValueError: If the shape is not that of the table, or the estimate of a missing cell is not finite.
    """
    if filled.shape != table.values.shape:
        raise ValueError(f"filled has the shape {filled.shape}; the table has {table.values.shape}")
    if not np.isfinite(filled[table.missing]).all():
        raise ValueError("the estimate of a missing cell is not finite")
    if isinstance(table.raw, CsvText):
        with atomic_path(path) as temporary, open(temporary, "wb") as stream:
            stream.writelines(_completed_pieces(table, table.raw, filled))
        return [path]
    missing = dict(zip(table.columns, table.missing.T, strict=True))
    complete = parquet.with_filled(table.raw, dict(zip(table.columns, filled.T, strict=True)), missing)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as text:
        _write_arrow_csv(table, complete, filled, text)
    twin = path.with_suffix(".parquet")
    with atomic_path(twin) as temporary:
        pq.write_table(complete, temporary)
    return [path, twin]


def write_quantiles(table: SeriesTable, quantiles: NDArray[np.float64], path: Path) -> None:
    """Writes the quantiles of every filled cell: `row,column,q05,q10,…,q95`, one line a cell.

    `row` counts data rows from zero. A column name that a spreadsheet would run as a formula gets a leading apostrophe.

    Args:
        table: The table as read.
        quantiles: At the levels 0.05, 0.10, …, 0.95, [19, T, C].
        path: The CSV file to write.
    """
    _check_quantiles(quantiles, table.values.shape)
    cells = np.argwhere(table.missing)
    _write_long(table, cells, cells[:, 0], quantiles, path)


def write_quantiles_parquet(table: SeriesTable, quantiles: NDArray[np.float64], path: Path) -> None:
    """As `write_quantiles`, as Parquet: full precision, names as they are, and room for the recipe."""
    _check_quantiles(quantiles, table.values.shape)
    cells = np.argwhere(table.missing)
    _write_long_parquet(table, cells, cells[:, 0], quantiles, path)


def write_forecast(table: SeriesTable, median: NDArray[np.float64], path: Path) -> None:
    """Writes the rows that follow the table: same columns and order, the time column continued, text columns empty.

    A text table is continued in its own delimiter, decimal mark and line ends, so that the rows can be appended to it.

    Args:
        table: The table as read.
        median: Estimates, [H, C], finite.
        path: The CSV file to write.

    Raises:
        BadInput: For `horizon`, where the times run out of the calendar.
        ValueError: If the shape is not [H, C] or an estimate is not finite.
    """
    if median.ndim != 2 or median.shape[1] != len(table.columns) or not np.isfinite(median).all():
        raise ValueError(f"median must be finite and [H, {len(table.columns)}], not {median.shape}")
    times = future_time_texts(table, len(median))
    formats = number_formats(table)
    if isinstance(table.raw, CsvText):
        raw = table.raw
        head = (BOM if raw.data.startswith(BOM) else b"") + raw.record(0)
        first, delimiter, end = raw.cells(1), raw.delimiter, raw.line_end
        quoted = _quoted_columns(table)
    else:
        head = ",".join(cell_of(name) for name in table.names).encode()
        first, delimiter, end = [b""] * len(table.names), b",", b"\n"
        quoted = [False] * len(table.columns)
    place = table.names.index(table.time_column) if table.time_column is not None else None
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        stream.write(head + end)
        for row in range(len(median)):
            cells = [b""] * len(table.names)
            if place is not None:
                cells[place] = _as_quoted(times[row].encode(), first[place].lstrip(b" ").startswith(b'"'))
            for column, position in enumerate(table.positions):
                written = formats[column].text(float(median[row, column])).encode()
                cells[position] = _as_quoted(written, quoted[column])
            stream.write(delimiter.join(cells) + end)


def write_forecast_quantiles(table: SeriesTable, quantiles: NDArray[np.float64], path: Path) -> None:
    """As `write_quantiles`, for the rows that follow: `row` goes on from the table's last, T, T + 1, …

    Args:
        table: The table as read.
        quantiles: At the levels 0.05, 0.10, …, 0.95, [19, H, C].
        path: The CSV file to write.
    """
    cells = _forecast_cells(table, quantiles)
    _write_long(table, cells, cells[:, 0] + table.rows, quantiles, path)


def write_forecast_quantiles_parquet(table: SeriesTable, quantiles: NDArray[np.float64], path: Path) -> None:
    """As `write_forecast_quantiles`, as Parquet."""
    cells = _forecast_cells(table, quantiles)
    _write_long_parquet(table, cells, cells[:, 0] + table.rows, quantiles, path)


def future_time_texts(table: SeriesTable, rows: int) -> list[str]:
    """The times of the next rows as the time column writes them; row numbers (from zero) where there is none.

    Raises:
        BadInput: For `horizon`, where they run out of the calendar.
    """
    if table.time is None or table.time_format is None:
        return [str(table.rows + row) for row in range(rows)]
    return [time_text(time, table.time_format) for time in future_times(table.time, rows)]


def number_formats(table: SeriesTable) -> list[NumberFormat]:
    """How estimates are written in each column: with the digits of its observed cells and of its spread."""
    formats = []
    for column in range(len(table.columns)):
        values = table.values[:, column]
        rows = np.flatnonzero(~np.isnan(values))
        shown = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _FORMAT_SAMPLE)).astype(int))]
        position = table.positions[column]
        if isinstance(table.raw, CsvText):
            raw = table.raw
            texts = [raw.text(raw.cells(int(row) + 1)[position]) for row in shown]
        else:
            taken = table.raw.table.column(position).take(pa.array(shown))
            texts = _number_texts(taken)
        formats.append(number_format(texts, values[rows], decimal_comma=table.decimal_commas[column]))
    return formats


def _completed_pieces(table: SeriesTable, raw: CsvText, filled: NDArray[np.float64]) -> Iterator[bytes]:
    """The bytes of the file, rows with gaps rewritten and all between them copied as a block."""
    missing = table.missing
    formats, quoted = number_formats(table), _quoted_columns(table)
    done = 0
    for row in np.flatnonzero(missing.any(axis=1)):
        start, end = int(raw.starts[row + 1]), int(raw.ends[row + 1])
        cells = raw.cells(int(row) + 1)
        for column in np.flatnonzero(missing[row]):
            position = table.positions[column]
            written = formats[column].text(float(filled[row, column])).encode()
            cell = cells[position]
            indent = cell[: len(cell) - len(cell.lstrip(b" "))]
            cells[position] = indent + _as_quoted(written, quoted[column])
        yield raw.data[done:start]
        yield raw.delimiter.join(cells)
        done = end
    yield raw.data[done:]


def _quoted_columns(table: SeriesTable) -> list[bool]:
    """Whether the first observed cell of each numeric column stands in quotes."""
    if not isinstance(table.raw, CsvText):
        return [False] * len(table.columns)
    rows = np.argmin(table.missing, axis=0)
    cells = [
        table.raw.cells(int(row) + 1)[position] for row, position in zip(rows, table.positions, strict=True)
    ]
    return [cell.lstrip(b" ").startswith(b'"') for cell in cells]


def _as_quoted(written: bytes, quoted: bool) -> bytes:
    return b'"' + written + b'"' if quoted else written


def _number_texts(column: pa.ChunkedArray) -> list[str]:
    """The numbers of an Arrow column in their shortest form; null and NaN are empty."""
    kind = column.type
    if pa.types.is_floating(kind):
        values = column.to_numpy()
        return ["" if value is None or np.isnan(value) else str(value).removesuffix(".0") for value in values]
    return ["" if value is None else str(value) for value in column.to_pylist()]


def _write_arrow_csv(
    table: SeriesTable, complete: pa.Table, filled: NDArray[np.float64], stream: IO[str]
) -> None:
    formats = dict(zip(table.positions, number_formats(table), strict=True))
    columns = []
    for position, kind in enumerate(complete.schema.types):
        column = complete.column(position)
        if position in formats:
            texts = _number_texts(column)
            if not pa.types.is_integer(kind):
                place = table.positions.index(position)
                for row in np.flatnonzero(table.missing[:, place]):
                    texts[row] = formats[position].text(float(filled[row, place]))
        elif parquet.is_number(kind):
            texts = _number_texts(column)
        elif (
            table.names[position] == table.time_column
            and table.time is not None
            and table.time_format is not None
        ):
            texts = [cell_of(time_text(time, table.time_format)) for time in table.time]
        else:
            texts = [quoted_cell(text) for text in parquet.texts(column)]
        columns.append(texts)
    stream.write(",".join(cell_of(name) for name in table.names) + "\n")
    for start in range(0, table.rows, _CHUNK_ROWS):
        rows = zip(*(texts[start : start + _CHUNK_ROWS] for texts in columns), strict=True)
        stream.write("".join(",".join(row) + "\n" for row in rows))


def _check_quantiles(quantiles: NDArray[np.float64], shape: tuple[int, ...]) -> None:
    if quantiles.shape != (len(LEVELS), *shape):
        raise ValueError(f"quantiles have the shape {quantiles.shape}, not {(len(LEVELS), *shape)}")


def _forecast_cells(table: SeriesTable, quantiles: NDArray[np.float64]) -> NDArray[np.int64]:
    columns = len(table.columns)
    if quantiles.ndim != 3:
        raise ValueError(f"quantiles must be [{len(LEVELS)}, H, {columns}]")
    horizon = quantiles.shape[1]
    _check_quantiles(quantiles, (horizon, columns))
    return np.argwhere(np.ones((horizon, columns), dtype=bool))


def _write_long(
    table: SeriesTable,
    cells: NDArray[np.int64],
    rows: NDArray[np.int64],
    quantiles: NDArray[np.float64],
    path: Path,
) -> None:
    """One line for each of `cells` (row and column into `quantiles`), called `rows` in the file."""
    patterns: list[tuple[str, int | None]] = []
    for name, format in zip(table.columns, number_formats(table), strict=True):
        finer = format.finer(1)
        written = f"%.{finer.decimals}{'e' if finer.scientific else 'f'}"
        line = f"%d,{quoted_cell(name).replace('%', '%%')}," + ",".join([written] * len(LEVELS)) + "\n"
        patterns.append((line, None if finer.scientific else finer.decimals))
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        stream.write(",".join(("row", "column", *LEVEL_NAMES)) + "\n")
        for start in range(0, len(cells), _CHUNK_ROWS):
            some = cells[start : start + _CHUNK_ROWS]
            bands = _finite(quantiles[:, some[:, 0], some[:, 1]].T)
            named = rows[start : start + _CHUNK_ROWS].tolist()
            stream.writelines(_lines(patterns, named, some[:, 1].tolist(), bands))


def _lines(
    patterns: Sequence[tuple[str, int | None]],
    rows: Sequence[int],
    columns: Sequence[int],
    bands: NDArray[np.float64],
) -> Iterator[str]:
    for row, column, band in zip(rows, columns, bands, strict=True):
        pattern, decimals = patterns[column]
        if decimals is not None:
            band = np.round(band, decimals) + 0.0  # no negative zeros
        yield pattern % (row, *band.tolist())


def _finite(bands: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(bands).all():
        raise ValueError("a quantile is not finite")
    return bands


def _write_long_parquet(
    table: SeriesTable,
    cells: NDArray[np.int64],
    rows: NDArray[np.int64],
    quantiles: NDArray[np.float64],
    path: Path,
) -> None:
    bands = _finite(quantiles[:, cells[:, 0], cells[:, 1]])
    names = pa.DictionaryArray.from_arrays(
        pa.array(cells[:, 1].astype(np.int32)), pa.array(list(table.columns))
    )
    arrays = [pa.array(rows), names.cast(pa.string()), *(pa.array(band) for band in bands)]
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(arrays, names=["row", "column", *LEVEL_NAMES]), temporary)
