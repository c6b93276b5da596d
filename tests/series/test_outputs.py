"""What comes back: observed cells byte for byte, gaps filled with sensible digits, quantiles, forecasts."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from domains.common.errors import BadInput  # noqa: E402
from domains.series import examples  # noqa: E402
from domains.series.csv_text import quoted_cell, split_record, unquoted  # noqa: E402
from domains.series.numeric import number_format  # noqa: E402
from domains.series.outputs import (  # noqa: E402
    LEVEL_NAMES,
    LEVELS,
    future_time_texts,
    write_completed,
    write_forecast,
    write_forecast_quantiles,
    write_forecast_quantiles_parquet,
    write_quantiles,
    write_quantiles_parquet,
)
from domains.series.table import SeriesTable, read_table  # noqa: E402

NAN = float("nan")
HEADER = "row,column,q05,q10,q15,q20,q25,q30,q35,q40,q45,q50,q55,q60,q65,q70,q75,q80,q85,q90,q95"


def _table(folder: Path, content: str | bytes, name: str = "t.csv") -> SeriesTable:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path)


def _completed(table: SeriesTable, fill: float | np.ndarray, folder: Path) -> bytes:
    path = folder / "completed.csv"
    assert write_completed(table, np.where(table.missing, fill, table.values), path)[0] == path
    return path.read_bytes()


# ---------------------------------------------------------------- any dialect we accept

_NUMBERS = st.sampled_from(
    ["0", "1", "-3", "+2.50", "1e5", "1.5E-3", "0007", ".5", "3.", " 4.25", "5.827000141143799", "-0"]
)
_MISSING = st.sampled_from(["", " ", "NA", "NaN", "null", "None", "-", "?", "n/a"])
_LABELS = st.text(alphabet="abc xyzé'=+@€", min_size=1, max_size=6).map(lambda text: f"x{text.rstrip()}")


@st.composite
def _tables(draw: st.DrawFn, gaps: bool) -> tuple[bytes, bytes, int]:
    """A text table in some dialect, its delimiter, and its number of columns."""
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    comma = delimiter != "," and draw(st.booleans())
    columns = draw(st.integers(1, 3))
    rows = draw(st.integers(2, 6))
    timed, labelled = draw(st.booleans()), draw(st.booleans())
    quote = draw(st.sampled_from(["none", "all", "some"]))
    body: list[list[str]] = [[f"s{i} (°C)" for i in range(columns)]]
    for row in range(rows):
        cells = []
        for _ in range(columns):
            missing = gaps and row > 0 and draw(st.booleans())  # the first row keeps every column alive
            cell = draw(_MISSING if missing else _NUMBERS)
            cells.append(cell.replace(".", ",") if comma and not missing else cell)
        body.append(cells)
    if timed:
        for row, cells in enumerate(body):
            cells.insert(0, "date" if not row else f"2020-01-{row:02d}")
    if labelled:
        for row, cells in enumerate(body):
            cells.append("label" if not row else draw(_LABELS))
    lines = []
    for cells in body:
        texts = []
        for cell in cells:
            quoted = quote == "all" or (quote == "some" and draw(st.booleans()))
            texts.append(f'"{cell}"' if quoted else cell)
        lines.append(delimiter.join(texts))
        if draw(st.integers(0, 9)) == 0 and len(cells) > 1:
            lines.append("")  # a blank line between
    text = end.join(lines) + (end if draw(st.booleans()) else "")
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "latin-1"])) if "€" not in text else "utf-8"
    return text.encode(encoding), delimiter.encode(), len(body[0])


@settings(max_examples=100, deadline=None)
@given(made=_tables(gaps=False))
def test_a_table_without_gaps_comes_back_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, made: tuple[bytes, bytes, int]
) -> None:
    folder = tmp_path_factory.mktemp("t")
    assert _completed(_table(folder, made[0]), NAN, folder) == made[0]


@settings(max_examples=100, deadline=None)
@given(made=_tables(gaps=True))
def test_only_missing_cells_change(
    tmp_path_factory: pytest.TempPathFactory, made: tuple[bytes, bytes, int]
) -> None:
    content, delimiter, width = made
    folder = tmp_path_factory.mktemp("t")
    table = _table(folder, content)
    after = _completed(table, 12.375, folder)
    before_lines, after_lines = content.splitlines(keepends=True), after.splitlines(keepends=True)
    assert len(before_lines) == len(after_lines)
    row = -1
    for before, now in zip(before_lines, after_lines, strict=True):
        assert before[len(before.rstrip(b"\r\n")) :] == now[len(now.rstrip(b"\r\n")) :]
        cells = split_record(before.rstrip(b"\r\n"), delimiter)
        filled = split_record(now.rstrip(b"\r\n"), delimiter)
        assert len(cells) == len(filled)
        if len(cells) < width or row >= table.rows:  # a blank line between, or at the end of a single column
            assert before == now
            continue
        for position, (old, new) in enumerate(zip(cells, filled, strict=True)):
            known = position in table.positions and row >= 0
            if known and table.missing[row, table.positions.index(position)]:
                value = float(unquoted(new).strip().replace(b",", b"."))
                assert value == pytest.approx(12.375, abs=0.5)
            else:
                assert old == new
        row += 1
    again = _table(folder, after, "again.csv")
    assert again.columns == table.columns
    assert not again.missing.any()
    np.testing.assert_array_equal(again.values[~table.missing], table.values[~table.missing])


def test_the_style_of_a_column_is_kept(tmp_path: Path) -> None:
    table = _table(
        tmp_path, 'date;a;"b"\r\n2020-01-01;1,25;"3,5"\r\n2020-01-02; NA;""\r\n2020-01-03;9,75;"7,5"\r\n'
    )
    after = _completed(table, 2.5, tmp_path)
    assert (
        after
        == b'date;a;"b"\r\n2020-01-01;1,25;"3,5"\r\n2020-01-02; 2,500;"2,500"\r\n2020-01-03;9,75;"7,5"\r\n'
    )


def test_filled_must_fit_and_be_finite(tmp_path: Path) -> None:
    table = _table(tmp_path, "a\n1\n\n3\n")
    with pytest.raises(ValueError, match="shape"):
        write_completed(table, np.zeros((2, 1)), tmp_path / "c.csv")
    with pytest.raises(ValueError, match="finite"):
        write_completed(table, table.values, tmp_path / "c.csv")
    assert not (tmp_path / "c.csv").exists()


@pytest.mark.parametrize(
    ("texts", "value", "expected"),
    [
        (["316.1", "317.3", "340.2"], 316.12345, "316.12"),
        (["5.827000141143799", "5.692999839782715", "9.1"], 5.827000141143799, "5.82700"),
        (["1", "2", "900"], 3.14159, "3.1"),
        (["3", "4", "5"], 3.14159, "3.14"),
        (["1000000", "2000000", "1500000"], 1234567.8, "1234568"),
        (["0.001", "0.002", "0.004"], 0.0031415, "0.00314"),
        (["1.5e-7", "2.5e-7", "9e-7"], 3.14159265e-7, "3.14159e-07"),
        (["7", "7", "7"], 7.0, "7.00"),
        (["0", "0"], -0.0001, "0"),
        (["-0.5", "0.5"], -0.0000001, "0.000"),
    ],
)
def test_estimates_have_the_digits_of_their_column(texts: list[str], value: float, expected: str) -> None:
    assert number_format(texts, np.array([float(text) for text in texts])).text(value) == expected


@given(st.lists(st.floats(-1e100, 1e100, allow_subnormal=False), min_size=1, max_size=5))
def test_any_number_can_be_written_and_rounding_is_small(values: list[float]) -> None:
    numbers = np.array(values)
    form = number_format([repr(value) for value in values], numbers)
    scale = max(float(np.max(np.abs(numbers))), 1e-300)
    spread = float(np.std(numbers / scale)) * scale
    assume(spread == 0 or spread > 1e-9 * scale)
    for value in values:
        assert abs(float(form.text(value)) - value) <= 2e-3 * (spread or scale) + 1e-12 * scale


# ---------------------------------------------------------------- quantiles


def _quantiles(table: SeriesTable, rows: int) -> np.ndarray:
    middle = np.arange(rows * len(table.columns), dtype=float).reshape(rows, -1)
    return middle + (np.array(LEVELS) - 0.5)[:, None, None] * 10


def test_quantiles_are_one_line_for_each_filled_cell(tmp_path: Path) -> None:
    table = _table(tmp_path, "date,a,b\n2020-01-01,1.0,\n2020-01-02,,2.0\n2020-01-03,3.5,4.5\n")
    quantiles = _quantiles(table, 3)
    write_quantiles(table, quantiles, tmp_path / "q.csv")
    lines = (tmp_path / "q.csv").read_text().splitlines()
    assert lines[0] == HEADER
    assert [line.split(",")[:2] for line in lines[1:]] == [["0", "b"], ["1", "a"]]
    frame = pd.read_csv(tmp_path / "q.csv")
    np.testing.assert_allclose(frame.iloc[0, 2:].astype(float), quantiles[:, 0, 1], atol=1e-4)
    np.testing.assert_allclose(frame.iloc[1, 2:].astype(float), quantiles[:, 1, 0], atol=1e-4)
    write_quantiles_parquet(table, quantiles, tmp_path / "q.parquet")
    exact = pq.read_table(tmp_path / "q.parquet")
    assert exact.column_names == HEADER.split(",")
    assert exact["row"].to_pylist() == [0, 1]
    assert exact["column"].to_pylist() == ["b", "a"]
    assert exact["q50"].to_pylist() == [quantiles[9, 0, 1], quantiles[9, 1, 0]]


def test_quantiles_of_a_full_table_are_a_header_alone(tmp_path: Path) -> None:
    table = _table(tmp_path, "a\n1\n2\n")
    write_quantiles(table, _quantiles(table, 2), tmp_path / "q.csv")
    assert (tmp_path / "q.csv").read_text() == HEADER + "\n"
    with pytest.raises(ValueError, match="shape"):
        write_quantiles(table, np.zeros((19, 3, 1)), tmp_path / "q.csv")


def test_names_that_are_formulas_or_need_quotes(tmp_path: Path) -> None:
    name = '=HYPERLINK(""http://x"",""y"")'
    table = _table(tmp_path, f'"{name}","a,b","50%"\n1,2,3\n,,\n3,4,5\n')
    write_quantiles(table, _quantiles(table, 3), tmp_path / "q.csv")
    rows = list(csv.reader(io.StringIO((tmp_path / "q.csv").read_text())))
    assert [row[1] for row in rows[1:]] == ['\'=HYPERLINK("http://x","y")', "a,b", "50%"]
    assert all(len(row) == 21 for row in rows)
    after = _completed(table, 2.0, tmp_path).decode()
    assert after.startswith(f'"{name}","a,b","50%"\n')  # the header is the person's own


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "\tx", "\rx"])
def test_formulas_are_neutralised_and_numbers_are_not(text: str) -> None:
    assert next(csv.reader(io.StringIO(quoted_cell(text), newline=""))) == ["'" + text]
    assert quoted_cell("-1.5") == "-1.5"
    assert quoted_cell("a-b") == "a-b"


# ---------------------------------------------------------------- forecasts


def test_a_forecast_continues_the_table(tmp_path: Path) -> None:
    content = "date;name;a\r\n01.01.2020;x;1,5\r\n01.02.2020;y;\r\n01.03.2020;z;2,5\r\n"
    table = _table(tmp_path, content)
    write_forecast(table, np.array([[3.0], [4.25]]), tmp_path / "f.csv")
    after = (tmp_path / "f.csv").read_bytes()
    assert after == b"date;name;a\r\n01.04.2020;;3,000\r\n01.05.2020;;4,250\r\n"
    joined = _table(tmp_path, content.encode() + after.split(b"\r\n", 1)[1], "joined.csv")
    assert joined.rows == 5
    assert joined.columns == ("a",)


def test_a_forecast_without_times_and_its_quantiles(tmp_path: Path) -> None:
    table = _table(tmp_path, "a,b\n1,2\n3,4\n")
    write_forecast(table, np.array([[5.0, 6.0]]), tmp_path / "f.csv")
    assert (tmp_path / "f.csv").read_text() == "a,b\n5.00,6.00\n"
    assert future_time_texts(table, 2) == ["2", "3"]
    quantiles = _quantiles(table, 2)
    write_forecast_quantiles(table, quantiles, tmp_path / "q.csv")
    frame = pd.read_csv(tmp_path / "q.csv")
    assert list(frame.columns) == HEADER.split(",")
    assert frame["row"].tolist() == [2, 2, 3, 3]
    assert frame["column"].tolist() == ["a", "b", "a", "b"]
    np.testing.assert_allclose(frame[list(LEVEL_NAMES)].to_numpy(), quantiles.reshape(19, 4).T, atol=1e-3)
    write_forecast_quantiles_parquet(table, quantiles, tmp_path / "q.parquet")
    assert pq.read_table(tmp_path / "q.parquet")["row"].to_pylist() == [2, 2, 3, 3]


def test_quoted_times_and_a_byte_order_mark_are_continued(tmp_path: Path) -> None:
    table = _table(tmp_path, '\ufeff"time","a"\n"0.5","1"\n"1.0","2"\n"1.5","4"\n')
    write_forecast(table, np.array([[3.0]]), tmp_path / "f.csv")
    assert (tmp_path / "f.csv").read_bytes() == '\ufeff"time","a"\n"2.0","3.00"\n'.encode()


def test_forecasts_must_fit(tmp_path: Path) -> None:
    table = _table(tmp_path, "date,a\n2000-01-01,1\n2010-01-01,2\n")
    for bad in (np.zeros((2, 2)), np.full((2, 1), NAN), np.zeros(2)):
        with pytest.raises(ValueError, match="median"):
            write_forecast(table, bad, tmp_path / "f.csv")
    with pytest.raises(BadInput, match="horizon"):
        write_forecast(table, np.zeros((10_000, 1)), tmp_path / "f.csv")
    assert not (tmp_path / "f.csv").exists()


# ---------------------------------------------------------------- Parquet


def _parquet_table(folder: Path) -> tuple[SeriesTable, Any]:
    from decimal import Decimal

    made = pa.table(
        {
            "when": pd.date_range("2020-01-01", periods=4, freq="D", tz="UTC"),
            "whole": pa.array([1, None, 3, 2**53 + 1], pa.int64()),
            "small": pa.array([1, 2, None, 4], pa.uint8()),
            "single": pa.array([0.1, NAN, None, 0.4], pa.float32()),
            "money": pa.array([Decimal("1.25"), None, Decimal("3.50"), Decimal("4.00")], pa.decimal128(9, 2)),
            "text": ["=1+1", None, 'say "x"', "plain"],
            "coded": pa.array(["x", "y", "x", None]).dictionary_encode(),
            "flag": [True, False, None, True],
        }
    ).replace_schema_metadata({"mine": "kept"})
    pq.write_table(made, folder / "t.parquet")
    return read_table(folder / "t.parquet"), made


def test_parquet_comes_back_with_its_schema(tmp_path: Path) -> None:
    table, made = _parquet_table(tmp_path)
    assert table.columns == ("whole", "small", "single", "money")
    fill = np.full(table.values.shape, 2.6)
    written = write_completed(table, np.where(table.missing, fill, table.values), tmp_path / "completed.csv")
    assert written == [tmp_path / "completed.csv", tmp_path / "completed.parquet"]
    after = pq.read_table(written[1])
    assert after.schema.equals(made.schema, check_metadata=True)
    for name in ("when", "text", "coded", "flag"):
        assert after[name].to_pylist() == made[name].to_pylist()
    assert after["whole"].to_pylist() == [1, 3, 3, 2**53 + 1]
    assert after["small"].to_pylist() == [1, 2, 3, 4]
    np.testing.assert_allclose(after["single"].to_pylist(), np.float32([0.1, 2.6, 2.6, 0.4]))
    assert [str(value) for value in after["money"].to_pylist()] == ["1.25", "2.60", "3.50", "4.00"]
    lines = list(csv.reader(io.StringIO(written[0].read_text())))
    assert lines[0] == made.column_names
    assert lines[1] == ["2020-01-01T00:00:00+00:00", "1", "1", "0.1", "1.25", "'=1+1", "x", "True"]
    assert lines[2][1:5] == ["3", "2", "2.600", "2.600"]
    assert lines[4][1] == str(2**53 + 1)
    assert read_table(written[0]).rows == 4


def test_parquet_forecast(tmp_path: Path) -> None:
    table, made = _parquet_table(tmp_path)
    write_forecast(table, np.full((1, 4), 2.0), tmp_path / "f.csv")
    lines = list(csv.reader(io.StringIO((tmp_path / "f.csv").read_text())))
    assert lines[0] == made.column_names
    assert lines[1][0] == "2020-01-05T00:00:00+00:00"
    assert float(lines[1][1]) == 2.0
    assert lines[1][5:] == ["", "", ""]


# ---------------------------------------------------------------- the example


def test_the_example_is_the_real_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("statsmodels")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    examples._folder.cache_clear()
    try:
        path = examples.co2_table()
        assert path.is_relative_to(tmp_path)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == examples.CO2_SHA256
        table = read_table(path)
        assert (table.rows, int(table.missing.sum())) == (2284, 59)
        assert table.time_column == "date"
        path.write_text("damaged")
        assert examples.co2_table().stat().st_size > 30_000
        monkeypatch.setattr(examples, "_co2_bytes", lambda: pytest.fail("an intact copy is used as it is"))
        examples.co2_table()
    finally:
        examples._folder.cache_clear()
