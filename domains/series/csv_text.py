"""Text tables as bytes: where each record lies, so that what is not changed is written back byte for byte.

The grammar is RFC 4180 with the liberties that files take in practice: comma, semicolon, tab or bar between cells, any
line end (also mixed), a byte-order mark, spaces before an opening quote, blank lines, no line end after the last line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from domains.common.errors import BadInput
from domains.common.files import human_size
from domains.common.intake.text import harmless_cell
from domains.common.limits import TableLimits

BOM = b"\xef\xbb\xbf"
# Where several fit equally well, the rarer character in text and numbers is the likelier delimiter.
DELIMITERS = (b"\t", b";", b"|", b",")
_SNIFFED_BYTES = 64 * 2**10
_SNIFFED_LINES = 100
_LINE = re.compile(rb"[^\r\n]*")
_LINE_END = re.compile(rb"\r\n|\n|\r|\Z")
_LONE_NUMBER = re.compile(rb"\s*[+-]?\d*,\d*(?:[eE][+-]?\d+)?\s*")
_QUOTED = re.compile(rb'"[^"]*+(?:""[^"]*+)*+"')


def _cell_pattern(delimiter: bytes) -> bytes:
    """A raw cell: quoted, or without a quote at its beginning.  Possessive, so that matching takes linear time."""
    rest = rb"[^\r\n%b]*+" % re.escape(delimiter)
    return rb'(?: *+"[^"]*+(?:""[^"]*+)*+"%b| *+(?!")%b)' % (rest, rest)


_CELLS = {d: re.compile(rb"(?:\A|%b)(%b)" % (re.escape(d), _cell_pattern(d))) for d in DELIMITERS}
_RECORD = {
    d: re.compile(rb"%b(?:%b%b)*+" % (_cell_pattern(d), re.escape(d), _cell_pattern(d))) for d in DELIMITERS
}


@dataclass(frozen=True)
class CsvText:
    """A text table: its bytes and the place of every record.

    Attributes:
        data: The file as it came, byte-order mark and all.
        delimiter: One byte.
        encoding: `utf-8` or `latin-1`.
        starts: Offset of the first byte of each record, [T + 1]; record 0 is the header.
        ends: Offset past the last byte of each record, its line end not included, [T + 1].
    """

    data: bytes
    delimiter: bytes
    encoding: str
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Data rows."""
        return len(self.starts) - 1

    def record(self, index: int) -> bytes:
        """The bytes of a record without its line end; 0 is the header, data row r is r + 1."""
        return self.data[self.starts[index] : self.ends[index]]

    def cells(self, index: int) -> list[bytes]:
        """The raw cells of a record, quotes and spaces included."""
        return split_record(self.record(index), self.delimiter)

    def column(self, position: int, rows: int | None = None) -> list[str]:
        """The texts of one column's data cells, unquoted and stripped; of the first `rows` alone where given."""
        return [self.text(cells[position]) for cells in islice(self.data_rows(), rows)]

    def data_rows(self) -> Iterator[list[bytes]]:
        """The raw cells of every data row."""
        delimiter, data = self.delimiter, self.data
        for start, end in zip(self.starts[1:].tolist(), self.ends[1:].tolist(), strict=True):
            yield split_record(data[start:end], delimiter)

    def text(self, cell: bytes) -> str:
        """A raw cell as text: unquoted, stripped of surrounding white space, decoded."""
        return unquoted(cell).strip().decode(self.encoding)

    def line(self, index: int) -> int:
        """Number of the line, counted from 1, on which a record begins, as an editor shows it."""
        return _lines_before(self.data, int(self.starts[index])) + 1

    @property
    def line_end(self) -> bytes:
        """The line end after the header; a line feed where there is none."""
        found = _LINE_END.match(self.data, int(self.ends[0]))
        return (found.group() if found else b"") or b"\n"


def scan(data: bytes, limits: TableLimits) -> CsvText:
    """Finds the records of a text table without decoding its cells.

    Args:
        data: The whole file.
        limits: Bounds on rows, columns, cells and lengths; checked as soon as each can be known.

    Raises:
        BadInput: For `table`: a bound is passed, rows differ in their number of cells, a quote is never closed, or
            there is no data row.
    """
    encoding = _encoding(data)
    begin = len(BOM) if data.startswith(BOM) else 0
    if max(data.count(b"\n"), data.count(b"\r")) > 2 * limits.rows + 2:
        raise BadInput("table", f"has more than {limits.rows} rows; split it into parts")
    delimiter = sniff_delimiter(data[begin : begin + _SNIFFED_BYTES])
    spans = (
        _quoted_spans(data, begin, delimiter, limits) if b'"' in data else _plain_spans(data, begin, limits)
    )
    spans = _without_blank_lines(data, spans, delimiter)
    if not len(spans):
        raise BadInput("table", "the file holds only blank lines; give a header line and rows of data")
    starts, ends = np.ascontiguousarray(spans.T)
    table = CsvText(data, delimiter, encoding, starts, ends)
    _check_shape(table, limits)
    return table


def split_record(record: bytes, delimiter: bytes) -> list[bytes]:
    """The raw cells of a record; `delimiter.join` of them is the record again."""
    if b'"' not in record:
        return record.split(delimiter)
    return _CELLS[delimiter].findall(record)


def unquoted(cell: bytes) -> bytes:
    """The content of a raw cell: outer quotes removed, doubled quotes single."""
    stripped = cell.lstrip(b" ")
    if not stripped.startswith(b'"'):
        return cell
    closing = _QUOTED.match(stripped)
    if closing is None:
        return cell
    return closing.group()[1:-1].replace(b'""', b'"') + stripped[closing.end() :]


def quoted_cell(text: str, delimiter: str = ",") -> str:
    """A text as a cell that we write: quoted where it must be, harmless to spreadsheets.

    A text that a spreadsheet would run as a formula (it begins with `=`, `+`, `-`, `@`, a tab or a carriage return and
    is no number) is given a leading apostrophe.
    """
    return cell_of(harmless_cell(text), delimiter)


def cell_of(text: str, delimiter: str = ",") -> str:
    """A text as a cell, quoted where it must be and not otherwise changed."""
    if any(character in text for character in (delimiter, '"', "\n", "\r")) or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text


def sniff_delimiter(head: bytes) -> bytes:
    """The delimiter of a text table, from its first lines.

    That one of `DELIMITERS` which stands in the header and as often in most lines below. Where none does, a semicolon
    if commas stand only in numbers, else a comma.
    """
    text = _QUOTED.sub(b"", head)
    lines = [line for line in text.splitlines() if line.strip(b" ")]
    if len(lines) > 2 and len(head) >= _SNIFFED_BYTES:
        lines.pop()  # it may be cut
    lines = lines[:_SNIFFED_LINES]
    best, best_score = b",", 0.0
    for delimiter in DELIMITERS:
        expected = lines[0].count(delimiter) if lines else 0
        if expected:
            score = sum(line.count(delimiter) == expected for line in lines[1:]) + 0.5
            if score > best_score:
                best, best_score = delimiter, score
    if not best_score and all(_LONE_NUMBER.fullmatch(line) or b"," not in line for line in lines):
        return b";"  # a single column, whose commas are decimal
    return best


def _encoding(data: bytes) -> str:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _lines_before(data: bytes, offset: int) -> int:
    head = data[:offset]
    return head.count(b"\n") + head.count(b"\r") - head.count(b"\r\n")


def _plain_spans(data: bytes, begin: int, limits: TableLimits) -> NDArray[np.int64]:
    """Start and end of every line of a text without quotes, [lines, 2]."""
    returns = data.count(b"\r")
    if returns and not data.count(b"\r\n") == returns == data.count(b"\n"):
        pairs = []
        position = begin
        for line in data[begin:].splitlines(keepends=True):  # old or mixed line ends
            pairs.append((position, position + len(line.rstrip(b"\r\n"))))
            position += len(line)
        spans = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    else:
        feeds = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n")).astype(np.int64)
        starts = np.concatenate([[begin], feeds + 1])
        ends = np.concatenate([feeds - (1 if returns else 0), [len(data)]])
        spans = np.stack([starts, ends], axis=1)
    long = np.flatnonzero(spans[:, 1] - spans[:, 0] > limits.line_bytes)
    if len(long):
        raise _too_long_line(data, int(spans[long[0], 0]), limits)
    return spans


def _quoted_spans(data: bytes, begin: int, delimiter: bytes, limits: TableLimits) -> NDArray[np.int64]:
    """Start and end of every record where quotes may hold delimiters and line ends, [records, 2]."""
    spans = []
    position, size = begin, len(data)
    while position < size:
        line = _LINE.match(data, position)
        end = line.end() if line else size
        if data.find(b'"', position, end) >= 0:
            end = _record_end(data, position, delimiter)
        if end - position > limits.line_bytes:
            raise _too_long_line(data, position, limits)
        spans.append((position, end))
        line_end = _LINE_END.match(data, end)
        position = line_end.end() if line_end else size
    return np.array(spans, dtype=np.int64).reshape(-1, 2)


def _record_end(data: bytes, position: int, delimiter: bytes) -> int:
    """Offset of the line end that closes the record which begins at `position`."""
    record = _RECORD[delimiter].match(data, position)
    end = record.end() if record else position
    if data[end : end + 1] not in (b"\r", b"\n", b""):
        number = _lines_before(data, end) + 1
        raise BadInput("table", f"line {number} opens a quote that is never closed; close or remove it")
    return end


def _too_long_line(data: bytes, position: int, limits: TableLimits) -> BadInput:
    number = _lines_before(data, position) + 1
    most = human_size(limits.line_bytes)
    return BadInput("table", f"line {number} is longer than {most}; a row of a table is one line of cells")


def _without_blank_lines(data: bytes, spans: NDArray[np.int64], delimiter: bytes) -> NDArray[np.int64]:
    """Drops blank lines, save those inside a table of one column, where a blank line is a missing cell."""
    blanks = b" " if delimiter == b"\t" else b" \t"  # a line of tabs may be a row of empty cells
    full = spans[:, 0] < spans[:, 1]
    first = np.frombuffer(data, dtype=np.uint8)[np.where(full, spans[:, 0], 0)]
    for index in np.flatnonzero(full & np.isin(first, np.frombuffer(blanks, dtype=np.uint8))):
        full[index] = bool(data[spans[index, 0] : spans[index, 1]].strip(blanks))
    kept = np.flatnonzero(full)
    if len(kept):
        start, end = spans[kept[0]]
        if len(split_record(data[start:end], delimiter)) == 1:
            return spans[kept[0] : kept[-1] + 1]
    return spans[kept]


def _check_shape(table: CsvText, limits: TableLimits) -> None:
    columns = len(table.cells(0))
    if columns > limits.file_columns:
        most = f"at most {limits.columns} numeric columns can be worked on at once"
        raise BadInput("table", f"has {columns} columns; {most}, so split it or drop columns")
    if table.rows == 0:
        raise BadInput("table", "has a header line but no rows below it; add rows of data")
    if table.rows > limits.rows:
        raise BadInput(
            "table", f"has {table.rows} rows; at most {limits.rows} are read, so split it into parts"
        )
    if table.rows * columns > limits.cells:
        raise BadInput(
            "table",
            f"has {table.rows * columns} cells; at most {limits.cells} are read, so split it into parts",
        )
    delimiter, data = table.delimiter, table.data
    for row, (start, end) in enumerate(zip(table.starts.tolist(), table.ends.tolist(), strict=True)):
        record = data[start:end]
        width = record.count(delimiter) + 1 if b'"' not in record else len(split_record(record, delimiter))
        if width != columns:
            raise BadInput(
                "table",
                f"line {table.line(row)} has {width} cell{'s' * (width != 1)} where the header has {columns}; "
                "give every row the same number",
            )
        if (
            len(record) > limits.cell_bytes
            and max(map(len, split_record(record, delimiter))) > limits.cell_bytes
        ):
            most = human_size(limits.cell_bytes)
            raise BadInput(
                "table", f"line {table.line(row)} has a cell longer than {most}; shorten or drop it"
            )
