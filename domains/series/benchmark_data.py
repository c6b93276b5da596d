"""The public tables that the series models are judged on, and the parts of them that no training may see.

| table | test part | why |
|---|---|---|
| ETTh1, 7 hourly columns of a power transformer | the last fifth of the rows | never trained on at all |
| Beijing air quality, two stations, 11 hourly columns | the last fifth of the hours | stations left out of training, and hours that training sees at no station, since stations of one city share their weather |
| exchange rates, 8 currencies a day | the last fifth of the days | training ends at 70 %, validation at 80 % |
"""  # noqa: E501  (a row of a table is a line)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from domains.common.errors import BadInput
from domains.series.masks import Mask, missing_at_random, missing_blocks
from domains.series.residual_bands import Array

TEST_SHARE = 0.2


@dataclass(frozen=True)
class Benchmark:
    """One table to be judged on.

    Attributes:
        name: As tables print it.
        values: `[T, C]` of the whole table, NaN where truly missing.
        columns: Names of the columns.
        test_start: First row of the test part.
        period: Rows in a season, known from what the rows are (24 hours, 5 days on which markets are open).
    """

    name: str
    values: Array
    columns: tuple[str, ...]
    test_start: int
    period: int

    @property
    def test(self) -> Array:
        """Rows of the test part `[T, C]`."""
        return self.values[self.test_start :]

    def first_of_test(self, rows: int) -> Benchmark:
        """The same table cut off after the first `rows` rows of its test part."""
        return replace(self, values=self.values[: self.test_start + rows])


def data_folder(data: Path | None = None) -> Path:
    """The folder with `ETTh1.csv.gz` and the others: `data` itself or its `timeseries`.

    Args:
        data: What the person named; `../shared/data` beside the project where None.

    Raises:
        BadInput: If the files are not there.
    """
    root = Path(__file__).resolve().parents[2].parent / "shared" / "data" if data is None else Path(data)
    for folder in (root / "timeseries", root):
        if (folder / "ETTh1.csv.gz").is_file():
            return folder
    raise BadInput(
        "data", "no ETTh1.csv.gz there; name the folder that holds the benchmark tables by --data PATH"
    )


def _file(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise BadInput("data", f"{name} is missing beside ETTh1.csv.gz; put it there or name another folder")
    return path


def etth1(folder: Path) -> Benchmark:
    """The electricity transformer table of Zhou et al. 2021 ("Informer"), hourly, 17,420 rows.

    Raises:
        BadInput: If the file is missing or is not this table.
    """
    import pandas as pd

    frame = pd.read_csv(_file(folder, "ETTh1.csv.gz"), compression="gzip", nrows=100_000)
    names = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
    if not set(names) <= set(frame.columns):
        raise BadInput("data", f"ETTh1.csv.gz lacks the columns {', '.join(names)}; take the original file")
    values = frame[list(names)].to_numpy(dtype=np.float64)
    return Benchmark("ETTh1", values, names, _test_start(len(values)), 24)


def beijing_stations(folder: Path) -> list[Benchmark]:
    """The stations of Beijing's air quality that are left out of training, hourly, 35,064 rows each.

    Raises:
        BadInput: If the file is missing or lacks a station.
    """
    from domains.series.corpus import TEST_STATIONS

    with np.load(_file(folder, "beijing_air_quality.npz"), allow_pickle=False) as archive:
        names = [str(station) for station in archive["stations"]]
        columns = tuple(str(column) for column in archive["columns"])
        absent = set(TEST_STATIONS) - set(names)
        if absent:
            raise BadInput("data", f"beijing_air_quality.npz lacks the stations {', '.join(sorted(absent))}")
        tables = [archive["values"][names.index(station)].astype(np.float64) for station in TEST_STATIONS]
    return [
        Benchmark(f"Beijing {station}", table, columns, _test_start(len(table)), 24)
        for station, table in zip(TEST_STATIONS, tables, strict=True)
    ]


def exchange_rates(folder: Path) -> Benchmark:
    """Daily rates of eight currencies to the dollar, 1990 to 2010 (Lai et al. 2018, "LSTNet"), 7,588 rows.

    Raises:
        BadInput: If the file is missing.
    """
    with np.load(_file(folder, "exchange_rate.npz"), allow_pickle=False) as archive:
        values = archive["values"].astype(np.float64)
    columns = tuple(f"rate {c + 1}" for c in range(values.shape[1]))
    return Benchmark("exchange rates", values, columns, _test_start(len(values)), 5)


def _test_start(rows: int) -> int:
    return rows - int(rows * TEST_SHARE)


MASKS: dict[str, Callable[[np.random.Generator, tuple[int, int]], Mask]] = {
    "10 % at random": lambda rng, shape: missing_at_random(rng, shape, 0.1),
    "50 % at random": lambda rng, shape: missing_at_random(rng, shape, 0.5),
    "90 % at random": lambda rng, shape: missing_at_random(rng, shape, 0.9),
    "24-row blocks": lambda rng, shape: missing_blocks(rng, shape, 24, 0.2),
}
"""Name -> what is taken away of a table of that shape, true where missing; a row is an hour in all these tables."""
