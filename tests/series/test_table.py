"""Tables as people have them: dialects, time columns, missing cells, and all that is refused in one line."""

from __future__ import annotations

import csv
import gzip
import io
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from domains.common.errors import BadInput  # noqa: E402
from domains.common.limits import TableLimits  # noqa: E402
from domains.series.csv_text import DELIMITERS, split_record, unquoted  # noqa: E402
from domains.series.table import SeriesTable, read_table  # noqa: E402
from domains.series.times import future_times, infer_step, parse_times, time_text  # noqa: E402

NAN = float("nan")


def _read(
    folder: Path, content: str | bytes, time_column: str | None = None, name: str = "t.csv"
) -> SeriesTable:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, time_column)


def _refused(
    folder: Path, content: str | bytes, words: str, field: str = "table", column: str | None = None
) -> str:
    with pytest.raises(BadInput, match=words) as caught:
        _read(folder, content, column)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return str(caught.value)


def test_a_plain_table(tmp_path: Path) -> None:
    table = _read(tmp_path, "date,a,b\n2020-01-01,1,\n2020-01-02,NaN,2.5\n2020-01-03,3,-4e1\n")
    assert table.columns == ("a", "b")
    np.testing.assert_array_equal(table.values, [[1, NAN], [NAN, 2.5], [3, -40]])
    assert table.time_column == "date"
    assert list(table.time) == list(pd.date_range("2020-01-01", periods=3))
    assert table.notes == ("Time column: date, one row every 1 day.",)


@pytest.mark.parametrize(
    "cell", ["", " ", "NaN", "nan", "NA", "N/A", "n/a", "null", "NULL", "None", "-", "?", '""', '"NA"']
)
def test_missing_cells(tmp_path: Path, cell: str) -> None:
    table = _read(tmp_path, f"a,b\n1,2\n{cell},3\n4,{cell}\n")
    np.testing.assert_array_equal(table.missing, [[False, False], [True, False], [False, True]])


@pytest.mark.parametrize(
    "content",
    [
        "date;a;b\n2020-01-01;1,5;2\n2020-01-02;;3,25\n",
        "date\ta\tb\n2020-01-01\t1.5\t2\n2020-01-02\t\t3.25\n",
        "date|a|b\r\n2020-01-01|1.5|2\r\n2020-01-02||3.25",
        '"date","a","b"\n"2020-01-01","1.5","2"\n"2020-01-02","","3.25"\n',
        "\ufeffdate,a,b\r2020-01-01,1.5,2\r2020-01-02,NA,3.25\r",
        "date, a, b\n\n2020-01-01, 1.5, 2\n   \n2020-01-02, ,3.25\n\n",
    ],
)
def test_dialects_give_the_same_numbers(tmp_path: Path, content: str) -> None:
    table = _read(tmp_path, content)
    assert table.columns == ("a", "b")
    np.testing.assert_array_equal(table.values, [[1.5, 2], [NAN, 3.25]])
    assert list(table.time) == list(pd.date_range("2020-01-01", periods=2))


def test_delimiters_and_line_ends_inside_quotes(tmp_path: Path) -> None:
    table = _read(tmp_path, 'label,"a, ""x""",b\n"one,\ntwo",1,2\n"three",3,\n')
    assert table.columns == ('a, "x"', "b")
    np.testing.assert_array_equal(table.values, [[1, 2], [3, NAN]])
    assert "label" in " ".join(table.notes)


def test_a_blank_line_of_a_single_column_is_a_missing_cell(tmp_path: Path) -> None:
    table = _read(tmp_path, "a\n1\n\n3\n\n\n")
    np.testing.assert_array_equal(table.values[:, 0], [1, NAN, 3])


def test_latin_1_is_read_with_a_note(tmp_path: Path) -> None:
    table = _read(tmp_path, "größe,a\n1,2\n3,\n".encode("latin-1"))
    assert table.columns == ("größe", "a")
    assert any("Latin-1" in note for note in table.notes)


def test_text_columns_are_passed_over_and_a_bad_number_is_not(tmp_path: Path) -> None:
    table = _read(tmp_path, "station,a\nA,1\nB,\nA,3\n")
    assert table.columns == ("a",)
    assert any("station" in note for note in table.notes)
    text = _refused(
        tmp_path, "date,a\n2020-01-01,1\n2020-01-02,1_000\n2020-01-03,3\n", "mixes numbers and text"
    )
    assert "'a'" in text
    assert "line 3" in text


def test_a_sentinel_is_pointed_out(tmp_path: Path) -> None:
    table = _read(tmp_path, "a\n" + "\n".join(["20.5", "21.5", "-999", "20.9", "-999"]))
    assert table.values[2, 0] == -999
    assert any("-999 in 2 cells" in note for note in table.notes)


# ---------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("Date", ["2020-01-01", "2020-01-02", "2020-01-03"]),
        ("whatever", ["2020-01-01T00:00:00", "2020-01-01T01:00:00", "2020-01-01T02:00:00"]),
        ("time", ["0", "0.5", "1.0"]),
        ("Time [s]", ["0", "2", "4"]),
        ("year", ["1990", "1991", "1992"]),
        ("", ["0", "1", "2"]),
        ("ds", ["20200130", "20200131", "20200201"]),
        ("quarter", ["2020Q1", "2020Q2", "2020Q3"]),
        ("month", ["Jan 2020", "Feb 2020", "Mar 2020"]),
        ("t", ["2020-01-01 00:00:00+01:00", "2020-01-01 01:00:00+01:00", "2020-01-01 02:00:00+01:00"]),
    ],
)
def test_time_columns_are_found(tmp_path: Path, header: str, cells: list[str]) -> None:
    table = _read(tmp_path, f"a,{header},b\n" + "".join(f"{i},{c},{i % 2}\n" for i, c in enumerate(cells)))
    if header:
        assert table.time_column == header
        assert table.columns == ("a", "b")
    else:  # an unnamed first column is an index, an unnamed later one is called by its place
        table = _read(tmp_path, f"{header},b\n" + "".join(f"{c},{i % 2}\n" for i, c in enumerate(cells)))
        assert table.time_column == ""
        assert table.columns == ("b",)
    assert len(table.time) == 3


def test_a_named_time_column_is_taken(tmp_path: Path) -> None:
    content = "date,depth,a\n2020-01-01,1,5\n2020-01-02,2,\n2020-01-03,4,6\n"
    table = _read(tmp_path, content, "depth")
    assert table.time_column == "depth"
    np.testing.assert_array_equal(table.time, [1, 2, 4])
    assert table.columns == ("a",)
    assert _read(tmp_path, content, "").time_column == "date"
    text = _refused(tmp_path, content, "no column is called", "time_column", "when")
    assert "date, depth, a" in text
    _refused(tmp_path, "name,a\nx,1\ny,2\n", "neither times nor numbers", "time_column", "name")


def test_calendar_columns_with_repeats_are_no_times(tmp_path: Path) -> None:
    table = _read(tmp_path, "year,month,a\n2020,11,1\n2020,12,2\n2021,1,3\n")
    assert table.time_column is None
    assert table.columns == ("year", "month", "a")


def test_day_and_month_are_told_apart_by_order(tmp_path: Path) -> None:
    days = pd.date_range("2020-01-01", periods=12)
    for pattern in ("%d/%m/%Y", "%m/%d/%Y"):
        table = _read(tmp_path, "date,a\n" + "".join(f"{day.strftime(pattern)},1\n" for day in days))
        assert list(table.time) == list(days)
        assert any("were read" in note for note in table.notes)


def test_uneven_times_are_noted(tmp_path: Path) -> None:
    table = _read(tmp_path, "date,a\n2020-01-01,1\n2020-01-02,1\n2020-01-03,1\n2020-01-09,2\n")
    assert any("uneven" in note and "6 times" in note for note in table.notes)


@pytest.mark.parametrize(
    ("cells", "future"),
    [
        (["2020-01-01", "2020-01-08"], ["2020-01-15", "2020-01-22"]),
        (["2020-01-01T22:00", "2020-01-01T23:00"], ["2020-01-02T00:00", "2020-01-02T01:00"]),
        (["2019-11-01", "2019-12-01", "2020-01-01"], ["2020-02-01", "2020-03-01"]),
        (["2019-12-31", "2020-01-31", "2020-02-29"], ["2020-03-31", "2020-04-30"]),
        (["2019-12", "2020-01", "2020-02"], ["2020-03", "2020-04"]),
        (["2018Q4", "2019Q1", "2019Q2"], ["2019Q3", "2019Q4"]),
        (["2018-01-01", "2019-01-01", "2020-01-01", "2021-01-01"], ["2022-01-01", "2023-01-01"]),
        (["1/30/2020 0:00", "1/31/2020 0:00", "2/1/2020 0:00"], ["2/2/2020 0:00", "2/3/2020 0:00"]),
        (
            ["01.12.2020 08:30", "02.12.2020 08:30", "03.12.2020 08:30"],
            ["04.12.2020 08:30", "05.12.2020 08:30"],
        ),
        (["2020-01-01T00:00:00Z", "2020-01-01T06:00:00Z"], ["2020-01-01T12:00:00Z", "2020-01-01T18:00:00Z"]),
        (["2020-01-01 00:00:00+01:00", "2020-01-01 12:00:00+01:00"], ["2020-01-02 00:00:00+01:00"]),
        (["2020-01-01 00:00:00.250", "2020-01-01 00:00:00.500"], ["2020-01-01 00:00:00.750"]),
        (["20191230", "20191231", "20200101"], ["20200102"]),
        (["Nov 2019", "Dec 2019", "Jan 2020"], ["Feb 2020"]),
    ],
)
def test_times_go_on_as_they_are_written(cells: list[str], future: list[str]) -> None:
    parsed = parse_times(cells)
    assert parsed is not None
    assert not parsed.values.hasnans
    assert [time_text(t, parsed.format) for t in parsed.values] == cells
    assert [time_text(t, parsed.format) for t in future_times(parsed.values, len(future))] == future


def test_working_days_skip_the_weekend() -> None:
    days = pd.bdate_range("2020-01-01", periods=12)
    assert infer_step(days).description == "1 working day"
    assert future_times(days[:-1], 2)[-1] == pd.Timestamp("2020-01-17")


def test_numbers_go_on_by_their_step() -> None:
    np.testing.assert_allclose(future_times(np.array([1990.0, 1991.0, 1992.0]), 2), [1993, 1994])
    np.testing.assert_allclose(future_times(np.array([0.0, 0.1, 0.2, 0.5]), 2), [0.6, 0.7])


def test_times_past_the_calendar_are_refused() -> None:
    with pytest.raises(BadInput, match="9999") as caught:
        future_times(pd.DatetimeIndex(["2000-01-01", "2010-01-01"]), 10_000)
    assert caught.value.field == "horizon"


# ---------------------------------------------------------------- refusals


def _days(number: int) -> str:
    return "".join(f"2020-01-{day:02d},{day}\n" for day in range(1, number + 1))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty"),
        ("\n \n\n", "blank lines"),
        ("date,a\n", "no rows"),
        ("date,name\n2020-01-01,x\n2020-01-02,y\n", "no numeric column"),
        ("name,other\nu,x\nv,y\n", "no numeric column"),
        ("date,a\n2020-01-01,\n2020-01-02,NA\n", "every value is missing"),
        ("date,a,b\n2020-01-01,,1\n2020-01-02,NA,2\n", "'a' has no value at all; drop it"),
        ("date,a\n2020-01-01,1\n2020-01-01,2\n2020-01-02,3\n", "repeats a time on line 3"),
        ("date,a\n2020-01-01,1\n2020-01-03,2\n2020-01-02,3\n", "goes back on line 4; sort"),
        ("time,a\n1,1\n3,2\n2,3\n", "goes back on line 4"),
        ("timestamp,a\n1,1\n1,2\n2,3\n", "repeats a time on line 3"),
        ("date,a\n" + _days(30) + "2020-02-30,1\n", "'2020-02-30', which is no time, on line 32"),
        ("date,a\n" + _days(30) + ",1\n", "is empty on line 32"),
        ("a,b\n1,2\nx,3\n2,4\n", "'a' mixes numbers and text: 'x' on line 3"),
        ("a,b\n1,2\nx,3\ny,4\nz,5\n", "'a' mixes numbers and text: 'x' on line 3"),
        ("a\n1\ninf\n", "'a' holds an infinite value on line 3"),
        ("a\n1\n-Infinity\n", "infinite"),
        ("a\n1\n1e999\n", "infinite"),
        ("a\n1\n1e200\n", "beyond 1e.100"),
        ("a,b\n1,2\n1\n", "line 3 has 1 cell where the header has 2"),
        ("a,b\n1,2\n1,2,3\n", "line 3 has 3 cells where the header has 2"),
        ("a,b,a\n1,2,3\n", "more than one column is called 'a'"),
        ("a,b\n1," + "9" * 40_000 + "\n", "line 2 has a cell longer than 32 KB"),
        ("a,b\n1," + "9" * 1_100_000 + "\n", "line 2 is longer than 1 MB"),
        ('a,b\n1,"' + "\n" * 1_100_000 + '",2\n', "more than 200000 rows"),
        ('a,b\n1,"2\n3,4\n', "opens a quote that is never closed"),
        ("a;b\n1,5;1\n1.5;2\n", "mixes decimal commas with the point on line 3"),
        ("1.5,2.5\n3,4\n5,6\n", "first line holds numbers"),
        ("<!DOCTYPE html><html>\n", "web page"),
        ('{"a": [1, 2]}\n', "JSON"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"a,b\n1,2\n" * 2000 + b"\x00", "binary"),
        (gzip.compress(b"a,b\n1,2\n"), "gzip"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "png"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(50), "Excel"),
        (",".join(f"c{i}" for i in range(2000)) + "\n" + ",".join("1" * 2000) + "\n", "2000 columns"),
        (",".join(f"c{i}" for i in range(65)) + "\n" + ",".join("1" * 65) + "\n", "65 numeric columns"),
        ("a\n" + "1\n" * 200_001, "200001 rows"),
        ("a\n" + "\n" * 3_000_000, "more than 200000 rows"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 60 else "",
)
def test_bad_tables_are_refused_in_one_line(tmp_path: Path, content: str | bytes, words: str) -> None:
    begin = time.process_time()
    _refused(tmp_path, content, words)
    assert time.process_time() - begin < 2.0


def test_a_zip_renamed_csv_and_a_sparse_file(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("a.csv", "a,b\n1,2\n")
    _refused(tmp_path, archive.getvalue(), "zip archive")
    path = tmp_path / "sparse.csv"
    with open(path, "wb") as stream:
        stream.truncate(10 * 2**30)
    begin = time.perf_counter()
    with pytest.raises(BadInput, match="10 GB"):
        read_table(path)
    assert time.perf_counter() - begin < 0.2


def test_limits_are_the_callers(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "1,2\n" * 10)
    assert read_table(path, limits=TableLimits(rows=10, columns=2, cells=20)).rows == 10
    for limits in (TableLimits(rows=9), TableLimits(columns=1), TableLimits(cells=19), TableLimits(bytes=10)):
        with pytest.raises(BadInput):
            read_table(path, limits=limits)


# ---------------------------------------------------------------- Parquet


def _parquet(folder: Path, **columns: object) -> Path:
    path = folder / "t.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet(tmp_path: Path) -> None:
    times = pd.date_range("2020-01-01", periods=3, freq="h")
    path = _parquet(
        tmp_path,
        when=pa.array(times),
        a=pa.array([1, None, 3], pa.int32()),
        b=pa.array([0.5, NAN, None], pa.float32()),
        name=["x", None, "y"],
    )
    table = read_table(path)
    assert table.columns == ("a", "b")
    np.testing.assert_array_equal(table.values, [[1, 0.5], [NAN, NAN], [3, NAN]])
    assert table.time_column == "when"
    assert list(table.time) == list(times)
    assert any("name" in note for note in table.notes)
    assert read_table(path.rename(tmp_path / "renamed.csv")).columns == ("a", "b")


def test_a_parquet_index_and_dates_as_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0, None, 3.0]}, index=pd.date_range("2020-01-01", periods=3, name="when"))
    frame.to_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").time_column == "when"
    path = _parquet(tmp_path, day=["2020-01-01", "2020-01-02"], a=[1.0, 2.0])
    assert list(read_table(path).time) == list(pd.date_range("2020-01-01", periods=2))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"a": [1.0, float("inf")]}, "'a' holds an infinite value on row 2"),
        ({"a": [[1.0], [2.0]]}, "'a' is nested"),
        ({"a": [{"x": 1}]}, "'a' is nested"),
        ({"a": ["x", "y"]}, "no numeric column"),
        ({"a": pa.array([None, None], pa.float64())}, "every value is missing"),
        ({"date": pd.to_datetime(["2020-01-02", "2020-01-01"]), "a": [1, 2]}, "goes back on row 2"),
        ({f"c{i}": [1] for i in range(2000)}, "2000 columns"),
        ({f"c{i}": [1] for i in range(65)}, "65 numeric columns"),
        ({"a": pa.nulls(200_001, pa.float64())}, "200001 rows"),
        ({"a": pa.array([], pa.float64())}, "no rows"),
    ],
)
def test_bad_parquet_is_refused(tmp_path: Path, columns: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        read_table(_parquet(tmp_path, **columns))


def test_a_parquet_bomb_is_refused_by_its_footer(tmp_path: Path) -> None:
    long_text = "x" * 2**20
    path = tmp_path / "bomb.parquet"
    table = pa.table({"a": list(range(20)), "t": [f"{i}{long_text}" for i in range(20)]})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 2**20
    begin = time.process_time()
    with pytest.raises(BadInput, match="unpacks to more than 8 MB"):
        read_table(path, limits=TableLimits(decoded_bytes=8 * 2**20))
    assert time.process_time() - begin < 0.5


def test_a_long_text_repeated_takes_no_room(tmp_path: Path) -> None:
    """A dictionary-coded column of 100,000 texts of 1 MB: 100 GB if it were written out."""
    codes = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, dtype=np.int8)), ["x" * 2**20])
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": np.arange(100_000.0), "t": codes}), path, store_schema=False)
    table = read_table(path)
    assert table.columns == ("a",)
    assert table.rows == 100_000


# ---------------------------------------------------------------- properties


@settings(max_examples=300, deadline=None)
@given(
    cells=st.lists(st.text(alphabet='ab1 ,;"\n\r\t|', max_size=6), min_size=1, max_size=5),
    delimiter=st.sampled_from(DELIMITERS),
    always=st.booleans(),
)
def test_cells_are_split_as_the_csv_module_does(cells: list[str], delimiter: bytes, always: bool) -> None:
    stream = io.StringIO()
    quoting = csv.QUOTE_ALL if always else csv.QUOTE_MINIMAL
    csv.writer(stream, delimiter=delimiter.decode(), quoting=quoting, lineterminator="\r\n").writerow(cells)
    record = stream.getvalue()[:-2].encode()
    split = split_record(record, delimiter)
    assert delimiter.join(split) == record
    if not any(cell.startswith(" ") for cell in cells):  # a space before a quote is taken leniently
        assert [unquoted(cell).decode() for cell in split] == cells


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.text(alphabet='ab01259.,;|\t"\n\r -:TZeE+nN', max_size=300).map(str.encode),
        st.lists(
            st.lists(
                st.sampled_from(["1", "2.5", "", "x", "2020-01-01", "1e5", '"q', "inf", "NA", "-"]),
                max_size=4,
            ),
            max_size=8,
        ).map(lambda rows: "\n".join(",".join(row) for row in rows).encode()),
    ),
    time_column=st.one_of(st.none(), st.text(max_size=3)),
)
@example(content=b"\xef\xbb\xbf", time_column=None)
@example(content=b"\xef\xbb\xbf\n\n1", time_column="")
@example(content=b'"a"\n"', time_column=None)
@example(content=b"date,a\n9999-12-31,1\n10000-01-01,2\n", time_column="date")
def test_whatever_comes_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, time_column: str | None
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "t.csv"
    path.write_bytes(content)
    refusal = table = None
    try:
        table = read_table(path, time_column)
    except BadInput as error:
        refusal = error
    if table is None:
        assert refusal is not None
        assert refusal.field in ("table", "time_column")
        assert "\n" not in str(refusal)
    else:
        assert table.values.shape == (table.rows, len(table.columns))
        assert not np.isinf(table.values).any()
        assert not table.missing.all(axis=0).any()
        assert table.time is None or len(table.time) == table.rows


def test_a_year_of_hours_is_read_quickly(tmp_path: Path) -> None:
    rows = 17_420
    values = np.random.default_rng(0).normal(size=(rows, 7))
    frame = pd.DataFrame(values, columns=list("abcdefg"))
    frame.insert(0, "date", pd.date_range("2016-07-01", periods=rows, freq="h"))
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False)
    read_table(path)
    begin = time.process_time()
    table = read_table(path)
    assert time.process_time() - begin < 1.0
    np.testing.assert_array_equal(table.values, values)
