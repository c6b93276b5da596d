"""The tasks of the series domain for programs: tables in, tables and the task's `Result` out.

    from domains.series import impute
    filled = impute(frame, samples=32, seed=0)
    filled.table, filled.quantiles, filled.result.metrics

They are the very tasks of the page and the command line, so the numbers are the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError

from domains.common.errors import BadInput
from domains.common.running import PlainRun
from domains.common.task import Request, Result, Run, Sampling
from domains.series.forecasting import forecast_table
from domains.series.imputation import impute_table
from domains.series.tasks import ForecastRequest, ImputeRequest

Table = pd.DataFrame | NDArray[np.floating] | str | PathLike[str]
Told = Callable[[float, float], None]
_INDEX = "time"


@dataclass(frozen=True)
class Estimated:
    """What came out.

    Attributes:
        table: The completed table, or the rows that follow it: of the kind that was given, a frame for a file.
        quantiles: One row an estimated cell: `row` (from zero; of a forecast it goes on from the table's last),
            `column`, and `q05` to `q95`.
        result: Metrics, notes, denoiser evaluations, and the names of the files in `folder`.
        folder: Where the files lie; None where no folder was named.
    """

    table: pd.DataFrame | NDArray[np.float64]
    quantiles: pd.DataFrame
    result: Result
    folder: Path | None


def impute(
    table: Table,
    *,
    samples: int = 32,
    time_column: str | None = None,
    device: str = "cpu",
    out: str | PathLike[str] | None = None,
    progress: Told | None = None,
    **sampling: Any,
) -> Estimated:
    """Fills the missing cells of a table with the median of posterior samples; observed cells stay as they are.

    Args:
        table: A frame, whose index is its time column where that holds times; an array `[rows, columns]`, evenly spaced
            in time; or the path of a CSV or Parquet file.  NaN is missing.
        samples: Posterior samples behind median and quantiles.
        time_column: Name of the time column; None looks for it.
        device: "cpu" or "cuda".
        out: Folder for the task's files; None keeps none.
        progress: Called with (done, total).
        sampling: Fields of `Sampling`: solver, steps, seed, model.

    Raises:
        BadInput: Naming what is at fault.
    """

    def request(path: Path, column: str | None) -> Request:
        return ImputeRequest(table=path, time_column=column, samples=samples, sampling=Sampling(**sampling))

    return _run(table, time_column, request, impute_table, "completed", device, out, progress)


def forecast(
    table: Table,
    horizon: int,
    *,
    samples: int = 64,
    time_column: str | None = None,
    device: str = "cpu",
    out: str | PathLike[str] | None = None,
    progress: Told | None = None,
    **sampling: Any,
) -> Estimated:
    """Continues a table for `horizon` rows past its end: the median of joint sample paths, and their quantiles.

    Args:
        table: As for `impute`.
        horizon: Rows to forecast.
        samples: Sample paths.
        time_column: As for `impute`.
        device: "cpu" or "cuda".
        out: Folder for the task's files; None keeps none.
        progress: Called with (done, total).
        sampling: Fields of `Sampling`.

    Raises:
        BadInput: Naming what is at fault.
    """

    def request(path: Path, column: str | None) -> Request:
        return ForecastRequest(
            table=path, time_column=column, horizon=horizon, samples=samples, sampling=Sampling(**sampling)
        )

    return _run(table, time_column, request, forecast_table, "forecast", device, out, progress)


def _run(
    table: Table,
    time_column: str | None,
    make: Callable[[Path, str | None], Request],
    function: Callable[[Any, Run], Result],
    name: str,
    device: str,
    out: str | PathLike[str] | None,
    progress: Told | None,
) -> Estimated:
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="langevin-")))
        path, time_column = _file(table, time_column, place)
        try:
            request = make(path, time_column)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            cause = fault.get("ctx", {}).get("error")
            if isinstance(cause, BadInput):
                raise cause from None
            words = fault["msg"].removeprefix("Value error, ")
            raise BadInput(str(fault["loc"][-1]), words[:1].lower() + words[1:]) from None
        folder = place / "out" if out is None else Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        result = function(request, PlainRun(folder, device, progress))
        found = _read(folder, name)
        quantiles = pd.read_parquet(folder / _quantiles(result))
        return Estimated(_like(table, found), quantiles, result, None if out is None else folder)


def _file(table: Table, time_column: str | None, place: Path) -> tuple[Path, str | None]:
    """The table as a file, and the name of its time column where that is known."""
    if isinstance(table, str | PathLike):
        return Path(table), time_column
    if isinstance(table, np.ndarray):
        values = np.asarray(table, np.float64)
        if values.ndim != 2:
            raise BadInput("table", f"must be [rows, columns], not of {values.ndim} dimensions")
        frame = pd.DataFrame(values, columns=[f"column {i}" for i in range(values.shape[1])])
    else:
        frame = table
        if isinstance(frame.index, pd.DatetimeIndex | pd.PeriodIndex) and time_column is None:
            index = frame.index.to_timestamp() if isinstance(frame.index, pd.PeriodIndex) else frame.index
            time_column = str(index.name or _INDEX)
            if time_column in frame.columns:
                raise BadInput("table", f"has an index and a column called {time_column!r}; rename one")
            frame = frame.set_axis(index.rename(time_column), axis=0).reset_index()
        else:
            frame = frame.reset_index(drop=True)
    path = place / "table.parquet"
    frame.to_parquet(path, index=False)
    return path, time_column


def _read(folder: Path, name: str) -> pd.DataFrame:
    exact = folder / f"{name}.parquet"
    return pd.read_parquet(exact) if exact.is_file() else pd.read_csv(folder / f"{name}.csv")


def _quantiles(result: Result) -> str:
    return next(a.path for a in result.artifacts if "quantiles" in a.path and a.path.endswith(".parquet"))


def _like(given: Table, found: pd.DataFrame) -> pd.DataFrame | NDArray[np.float64]:
    """`found` as what was given: an array for an array, with the index of a frame."""
    if isinstance(given, np.ndarray):
        return found.to_numpy(np.float64)
    if not isinstance(given, pd.DataFrame):
        return found
    if isinstance(given.index, pd.DatetimeIndex | pd.PeriodIndex) and len(found.columns) > len(given.columns):
        times = found.columns[0]
        found = found.assign(**{times: pd.to_datetime(found[times])}).set_index(times)
        found.index.name = given.index.name
        return found
    return found.set_axis(given.index, axis=0) if len(found) == len(given) else found
