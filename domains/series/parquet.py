"""Parquet tables: bounded by their footer before a page is decoded, and kept as they are but for what is filled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from domains.common.errors import BadInput
from domains.common.files import human_size
from domains.common.limits import TableLimits

_FOOTER_STRING_BYTES = 16 * 2**20
_FOOTER_ITEMS = 1_000_000
_BATCH_ROWS = 16_384


@dataclass(frozen=True)
class ParquetData:
    """A Parquet table in memory.

    Attributes:
        table: Its columns; texts are coded by dictionary, so that repeated long texts take no room.
        schema: The schema that the file states, to be written again.
    """

    table: Any
    schema: Any


def read_parquet(path: Path, limits: TableLimits) -> ParquetData:
    """Reads a flat Parquet table.

    Rows, columns and decompressed bytes are first bounded by the footer, and then again while it is decoded, since a
    footer may lie.

    Raises:
        BadInput: For `table`: a bound is passed, a column is nested, names repeat, or the file is damaged.
    """
    try:
        # Text columns are read by their dictionary; which these are is known after a first look at the footer.
        with _open(path) as first:
            schema = first.schema_arrow
            _check_footer(first.metadata, schema, limits)
            texts = [name for name, kind in zip(schema.names, schema.types, strict=True) if _is_text(kind)]
        batches, size = [], 0
        with _open(path, texts) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                size += batch.nbytes
                if size > limits.decoded_bytes:
                    raise _too_large(limits)
                batches.append(batch)
            table = pa.Table.from_batches(batches, schema=file.schema_arrow)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput("table", "the Parquet file is damaged and cannot be read; write it again") from None
    if table.num_rows > limits.rows:
        raise BadInput(
            "table", f"has {table.num_rows} rows; at most {limits.rows} are read, so split it into parts"
        )
    return ParquetData(table, schema)


def is_number(kind: Any) -> bool:
    """Whether a column of this Arrow type is worked on: integers, floats and decimals."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_time(kind: Any) -> bool:
    """Whether a column of this Arrow type may be the time column without being parsed."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def numbers(column: Any) -> NDArray[np.float64]:
    """A numeric column as float64 with NaN where it is null, [T]."""
    return np.array(
        pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64
    )


def times(column: Any) -> pd.DatetimeIndex:
    """A date or timestamp column as times, NaT where it is null."""
    return pd.DatetimeIndex(column.to_pandas(date_as_object=False))


def texts(column: Any, rows: int | None = None) -> list[str]:
    """Any flat column as texts, or its first `rows`; null is an empty text."""
    plain = column.slice(0, rows).combine_chunks()
    if pa.types.is_dictionary(plain.type):
        words = [("" if word is None else str(word)) for word in plain.dictionary.to_pylist()]
        return ["" if code is None else words[code] for code in plain.indices.to_pylist()]
    return ["" if value is None else str(value) for value in plain.to_pylist()]


def with_filled(
    data: ParquetData, filled: dict[str, NDArray[np.float64]], missing: dict[str, NDArray[np.bool_]]
) -> Any:
    """The table with its missing cells filled and every other cell, type and the schema as they were.

    Args:
        data: The table.
        filled: Name -> numbers, [T]; those of integer columns are rounded.
        missing: Name -> which cells take them, [T].

    Raises:
        BadInput: For `table`, if its texts are too long to be written out in full.
    """
    columns = []
    for position, field in enumerate(data.schema):
        column = data.table.column(position)
        if field.name in filled and missing[field.name].any():
            column = _fill(column, filled[field.name], missing[field.name])
        elif pa.types.is_dictionary(column.type) and not pa.types.is_dictionary(field.type):
            limit = TableLimits().decoded_bytes
            if sum(_text_bytes(chunk) for chunk in column.chunks) > limit:
                raise BadInput(
                    "table", f"its texts fill more than {human_size(limit)}; drop the text columns"
                )
            column = pc.cast(column, field.type)
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=data.schema)


def _open(path: Path, read_dictionary: list[str] | None = None) -> Any:
    return pq.ParquetFile(
        path,
        read_dictionary=read_dictionary,
        thrift_string_size_limit=_FOOTER_STRING_BYTES,
        thrift_container_size_limit=_FOOTER_ITEMS,
    )


def _is_text(kind: Any) -> bool:
    # Columns that were dictionary-coded when written come back so by themselves.
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_string(kind))


def _check_footer(metadata: Any, schema: Any, limits: TableLimits) -> None:
    columns = metadata.num_columns
    if columns > limits.file_columns:
        most = f"at most {limits.columns} numeric columns can be worked on at once"
        raise BadInput("table", f"has {columns} columns; {most}, so split it or drop columns")
    for field in schema:
        if pa.types.is_nested(field.type):
            raise BadInput(
                "table", f"column {field.name!r:.80} is nested ({field.type!s:.60}); flatten or drop it"
            )
    if columns == 0:
        raise BadInput("table", "has no columns; give a table with a numeric column")
    if metadata.num_rows == 0:
        raise BadInput("table", "has columns but no rows; add rows of data")
    if metadata.num_rows > limits.rows:
        raise BadInput("table", f"has {metadata.num_rows} rows; at most {limits.rows} are read, so split it")
    if metadata.num_rows * columns > limits.cells:
        cells = metadata.num_rows * columns
        raise BadInput("table", f"has {cells} cells; at most {limits.cells} are read, so split it into parts")
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    sizes = [group.total_byte_size for group in groups]
    sizes += [group.column(i).total_uncompressed_size for group in groups for i in range(group.num_columns)]
    if min(sizes, default=0) < 0 or sum(sizes) // 2 > limits.decoded_bytes:
        raise _too_large(limits)


def _too_large(limits: TableLimits) -> BadInput:
    return BadInput("table", f"unpacks to more than {human_size(limits.decoded_bytes)}; split it into parts")


def _text_bytes(chunk: Any) -> int:
    """Bytes of a dictionary-coded chunk when every text is written out."""
    lengths = pc.binary_length(chunk.dictionary)
    return int(pc.sum(lengths.take(chunk.indices)).as_py() or 0)


def _fill(column: Any, filled: NDArray[np.float64], missing: NDArray[np.bool_]) -> Any:
    kind = column.type
    if pa.types.is_integer(kind):
        low, high = np.iinfo(kind.to_pandas_dtype()).min, np.iinfo(kind.to_pandas_dtype()).max
        # Rounded one by one as Python integers: float64 cannot hold the ends of int64.
        whole = [
            min(max(round(value), low), high) if gap else None
            for value, gap in zip(filled.tolist(), missing, strict=True)
        ]
        estimates = pa.array(whole, type=kind)
    elif pa.types.is_decimal(kind):
        from decimal import Decimal

        quantum = Decimal(1).scaleb(-kind.scale)
        values = zip(filled.tolist(), missing, strict=True)
        estimates = pa.array(
            [Decimal(value).quantize(quantum) if gap else None for value, gap in values], type=kind
        )
    else:
        estimates = pc.cast(pa.array(np.where(missing, filled, 0.0)), kind, safe=False)
    return pc.if_else(pa.array(missing), estimates, column)
