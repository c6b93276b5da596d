"""Figures: valid plotly, observed and estimated cells where they belong, bounded in size, drawn as PNG."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")
Image = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")

from domains.common.plot_style import DOUBT, OBSERVED, PLOT_TEMPLATE  # noqa: E402
from domains.series.drawn_points import drawn_rows  # noqa: E402
from domains.series.figure import MAX_POINTS, forecast_figure, gap_figure, write_png  # noqa: E402
from domains.series.outputs import LEVELS  # noqa: E402
from domains.series.table import SeriesTable, read_table  # noqa: E402


def _table(folder: Path, rows: int, columns: int, *, missing: float = 0.1, dated: bool = True) -> SeriesTable:
    noise = np.random.default_rng(0)
    values = noise.normal(size=(rows, columns)).cumsum(axis=0)
    values[noise.random(values.shape) < missing] = np.nan
    values[0] = 1.0
    frame = pd.DataFrame(values, columns=[f"c{i}" for i in range(columns)])
    if dated:
        frame.insert(0, "date", pd.date_range("2020-01-01", periods=rows, freq="h"))
    frame.to_csv(folder / "t.csv", index=False)
    return read_table(folder / "t.csv")


def _quantiles(middle: np.ndarray) -> np.ndarray:
    return middle + (np.array(LEVELS) - 0.5)[:, None, None] * 4


def _traces(figure: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [trace for trace in figure["data"] if trace["name"] == name]


def _valid(figure: dict[str, Any]) -> None:
    go = pytest.importorskip("plotly.graph_objects")
    go.Figure(figure)  # raises on anything that plotly's schema does not know
    assert json.loads(json.dumps(figure, allow_nan=False)) == figure


def test_observed_and_filled_cells_are_where_they_belong(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "date,a\n2020-01-01,1\n2020-01-02,\n2020-01-03,3\n2020-01-04,4\n2020-01-05,NA\n"
    )
    table = read_table(tmp_path / "t.csv")
    figure = gap_figure(table, _quantiles(np.full((5, 1), 10.0)))
    _valid(figure)
    [observed] = _traces(figure, "observed")
    assert list(zip(observed["x"], observed["y"], strict=True)) == [
        ("2020-01-01", 1.0),
        (None, None),
        ("2020-01-03", 3.0),
        ("2020-01-04", 4.0),
    ]
    assert observed["line"]["color"] == OBSERVED
    [filled] = _traces(figure, "filled")
    assert filled["x"] == ["2020-01-02", "2020-01-05"]
    assert filled["y"] == [10.0, 10.0]
    assert filled["marker"]["symbol"] == "circle-open"
    assert filled["marker"]["color"] == DOUBT
    assert "90 %: 8.20 to 11.80" in filled["text"][0]
    [outer], [inner] = _traces(figure, "90 % band"), _traces(figure, "50 % band")
    # The first gap closes upon the observed cells at both sides; the last has none after it.
    assert outer["x"] == [
        "2020-01-01",
        "2020-01-02",
        "2020-01-03",
        "2020-01-02",
        None,
        "2020-01-04",
        "2020-01-05",
        "2020-01-05",
    ]
    assert outer["y"] == pytest.approx([1, 11.8, 3, 8.2, None, 4, 11.8, 8.2])
    assert inner["y"] == pytest.approx([1, 11, 3, 9, None, 4, 11, 9])
    assert figure["layout"]["xaxis"]["title"]["text"] == "date"
    assert figure["layout"]["template"] is PLOT_TEMPLATE


def test_a_table_without_gaps_or_times(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n2\n3\n")
    table = read_table(tmp_path / "t.csv")
    figure = gap_figure(table, _quantiles(table.values))
    _valid(figure)
    assert [trace["name"] for trace in figure["data"]] == ["observed"]
    assert figure["data"][0]["x"] == [0, 1, 2]
    assert not any("90" in note["text"] for note in figure["layout"]["annotations"])


@pytest.mark.parametrize(
    ("rows", "columns", "missing"), [(17_000, 7, 0.1), (17_000, 1, 0.5), (3000, 64, 0.5)]
)
def test_long_tables_are_thinned(tmp_path: Path, rows: int, columns: int, missing: float) -> None:
    table = _table(tmp_path, rows, columns, missing=missing)
    figure = gap_figure(table, _quantiles(np.nan_to_num(table.values)))
    points = sum(len(trace["x"]) for trace in figure["data"])
    assert points <= 1.25 * MAX_POINTS
    assert len(json.dumps(figure)) < 3_000_000
    [note] = [note for note in figure["layout"]["annotations"] if "not all drawn" in note["text"]]
    assert note
    # The extremes of what was observed are never lost.
    highest = max(
        y
        for trace in _traces(figure, "observed")[:2]
        if trace["yaxis"] == "y"
        for y in trace["y"]
        if y is not None
    )
    assert highest == np.nanmax(table.values[:, 0])


def test_every_gap_and_its_neighbours_are_drawn_where_there_is_room() -> None:
    values = np.sin(np.arange(10_000) / 50)
    filled = np.zeros(10_000, dtype=bool)
    filled[[500, 501, 502, 7000]] = True
    values[filled] = np.nan
    drawn = drawn_rows(values, filled, 500)
    assert [gap.rows.tolist() for gap in drawn.gaps] == [[500, 501, 502], [7000]]
    assert not drawn.thinned
    assert {499, 503, 6999, 7001} <= set(drawn.observed.tolist())
    assert len(drawn.observed) <= 500
    line = drawn.observed.tolist()
    assert line[line.index(499) + 1] == -1
    assert line[line.index(503) - 1] == -1


def test_more_than_eight_columns_are_paged(tmp_path: Path) -> None:
    table = _table(tmp_path, 60, 20)
    figure = gap_figure(table, _quantiles(np.nan_to_num(table.values)))
    _valid(figure)
    buttons = figure["layout"]["updatemenus"][0]["buttons"]
    assert [button["label"] for button in buttons] == [
        "Columns 1 to 8",
        "Columns 9 to 16",
        "Columns 17 to 20",
    ]
    assert [trace["visible"] for trace in figure["data"]] == buttons[0]["args"][0]["visible"]
    shown = np.array([button["args"][0]["visible"] for button in buttons]).sum(axis=0)
    assert (shown == 1).all()  # each trace on one page
    titles = [note["text"] for note in buttons[2]["args"][1]["annotations"]]
    assert titles[:4] == ["<b>c16</b>", "<b>c17</b>", "<b>c18</b>", "<b>c19</b>"]


def test_a_preview_leaves_out_what_is_not_known_yet(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n\n3\n\n5\n6\n")
    table = read_table(tmp_path / "t.csv")
    known = table.missing.copy()
    known[3] = False
    figure = gap_figure(table, _quantiles(np.full((6, 1), 2.0)), known)
    _valid(figure)
    assert _traces(figure, "filled")[0]["x"] == [1]
    assert _traces(figure, "observed")[0]["x"] == [0, None, 2, None, 4, 5]
    quantiles = _quantiles(np.full((3, 1), 2.0))
    quantiles[:, 1:] = np.nan
    figure = forecast_figure(table, quantiles)
    _valid(figure)
    assert _traces(figure, "forecast")[0]["x"] == [6]
    quantiles[:] = np.nan
    _valid(forecast_figure(table, quantiles))


def test_names_are_shown_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('"<a href=""http://x"">$\\frac</a>",' + "n" * 500 + "\n1,2\n,\n3,4\n")
    table = read_table(tmp_path / "t.csv")
    figure = gap_figure(table, _quantiles(np.full((3, 2), 2.0)))
    titles = [note["text"] for note in figure["layout"]["annotations"][:2]]
    assert titles[0] == '<b>&lt;a href="http://x"&gt;$\\frac&lt;/a&gt;</b>'
    assert len(titles[1]) < 80
    write_png(figure, tmp_path / "f.png")
    assert Image.open(tmp_path / "f.png").size[0] == 1920


def test_a_forecast_follows_the_end_of_the_table(tmp_path: Path) -> None:
    table = _table(tmp_path, 1000, 2, missing=0.05)
    quantiles = _quantiles(np.full((24, 2), 5.0))
    figure = forecast_figure(table, quantiles)
    _valid(figure)
    forecast = _traces(figure, "forecast")[1]
    assert len(forecast["x"]) == 24
    assert forecast["x"][0] == str(np.datetime64(table.time[-1] + pd.Timedelta(hours=1), "ms"))
    observed = _traces(figure, "observed")[0]
    assert len(set(observed["x"]) - {None}) == 100 - int(table.missing[-100:, 0].sum())
    assert (None in observed["x"]) == bool(table.missing[-100:-1, 0].any())
    [line] = figure["layout"]["shapes"]
    assert line["x0"] == str(np.datetime64(table.time[-1], "ms"))
    write_png(figure, tmp_path / "f.png")


def test_a_forecast_of_rows_that_end_in_a_gap(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("t,a\n0.5,1\n1.0,2\n1.5,\n")
    table = read_table(tmp_path / "t.csv")
    figure = forecast_figure(table, _quantiles(np.full((2, 1), 5.0)))
    _valid(figure)
    assert _traces(figure, "forecast")[0]["x"] == [2.0, 2.5]
    assert _traces(figure, "median")[0]["x"] == [1.0, 2.0, 2.5]


def test_png_is_drawn_in_our_colours_and_the_same_each_time(tmp_path: Path) -> None:
    table = _table(tmp_path, 300, 3)
    figure = gap_figure(table, _quantiles(np.nan_to_num(table.values)))
    write_png(figure, tmp_path / "a.png")
    write_png(figure, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).reshape(-1, 3).astype(int)
    for colour in (OBSERVED, DOUBT):
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(pixels - wanted).max(axis=1) < 12).sum() > 100
    assert (pixels == 255).all(axis=1).mean() > 0.5


def test_shapes_must_fit(tmp_path: Path) -> None:
    table = _table(tmp_path, 10, 2)
    with pytest.raises(ValueError, match="do not fit"):
        gap_figure(table, np.zeros((19, 9, 2)))
    with pytest.raises(ValueError, match="shape"):
        forecast_figure(table, np.zeros((19, 9, 3)))
