"""Which column of a table holds its times, and whether it can."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from domains.common.errors import BadInput
from domains.series.numeric import NumberFormat
from domains.series.times import TimeFormat, Times, parse_times

# Numbers under these names are times, and an error where they are not in order.
_SURE = frozenset(
    ("time", "date", "datetime", "date time", "timestamp", "ds", "epoch", "unix time", "unixtime")
)
# Numbers under these names are times only where they rise from row to row.
_LIKELY = frozenset(
    ("", "unnamed: 0", "index", "idx", "t", "step", "row", "no", "elapsed", "period", "utc", "local time")
) | frozenset(
    (
        "year",
        "decimal year",
        "yr",
        "quarter",
        "month",
        "week",
        "day",
        "hour",
        "minute",
        "second",
        "yyyymm",
        "yyyymmdd",
    )
)
_FIRST_ROWS = 200
_UNIT = re.compile(r"\s*[\[(][^\])]*[\])]\s*$")


@dataclass(frozen=True)
class Candidate:
    """A column that may hold the times.

    Attributes:
        name: Its name.
        numbers: Its cells as numbers, float64 [T] with NaN where one is missing; None where one is neither.
        texts: Gives its cells as texts, [T], or with a number of rows the first of them.
        times: Its cells as times where the file states that they are; else None.
    """

    name: str
    numbers: NDArray[np.float64] | None
    texts: Callable[..., list[str]]
    times: pd.DatetimeIndex | None = None

    @property
    def numeric(self) -> bool:
        """Whether all its cells that are not missing are numbers."""
        return self.numbers is not None


@dataclass(frozen=True)
class TimeAxis:
    """The time column.

    Attributes:
        position: Its place among the columns of the file.
        name: Its name.
        values: The times, strictly increasing, [T].
        format: How they are written.
        note: What was assumed about them; empty where nothing was.
    """

    position: int
    name: str
    values: Times
    format: TimeFormat | NumberFormat
    note: str = ""


def find_time(
    candidates: Sequence[Candidate],
    wanted: str | None,
    line: Callable[[int], int],
    listed: str,
    *,
    unit: str = "line",
) -> TimeAxis | None:
    """Finds the time column, or takes the one that is named.

    Without a name: a column that is called like a time, else the first text column whose cells are times.

    Args:
        candidates: All columns of the file.
        wanted: The name that the person gave, or None.
        line: Record -> the line of the file on which it begins; data row r is record r + 1.
        listed: The names of the columns, for the error.
        unit: What `line` counts.

    Raises:
        BadInput: For `time_column` where the named one is absent or holds no times; for `table` where times are
            missing, repeated or out of order.
    """
    if wanted is not None:
        position = _named(candidates, wanted, listed)
        axis = _read(candidates[position], position, wanted=True)
        if axis is None:
            raise BadInput(
                "time_column", f"column {wanted!r:.80} holds neither times nor numbers; name another"
            )
        _check_order(axis, candidates[position], line, unit)
        return axis
    names = [_plain(candidate.name) for candidate in candidates]
    ranked = sorted(range(len(names)), key=lambda i: (names[i] not in _SURE, names[i] not in _LIKELY, i))
    for position in ranked:
        candidate = candidates[position]
        if candidate.numeric and names[position] not in _SURE | _LIKELY:
            continue
        axis = _read(candidate, position, wanted=False)
        if axis is None:
            continue
        if not _must_be_times(candidate, names[position], position) and not _rising(axis.values):
            continue
        if (
            candidate.numeric
            and sum(other.numeric for other in candidates) == 1
            and names[position] in _LIKELY
        ):
            continue  # the only numbers there are
        _check_order(axis, candidate, line, unit)
        return axis
    return None


def _named(candidates: Sequence[Candidate], wanted: str, listed: str) -> int:
    names = [candidate.name for candidate in candidates]
    if wanted in names:
        return names.index(wanted)
    folded = [name.strip().casefold() for name in names]
    if folded.count(wanted.strip().casefold()) == 1:
        return folded.index(wanted.strip().casefold())
    raise BadInput("time_column", f"no column is called {wanted!r:.80}; the columns are: {listed}")


def _must_be_times(candidate: Candidate, name: str, position: int) -> bool:
    """Whether a column that reads as times is the time column even if its times are out of order: an error then.

    Birthdays further right in a table are just texts.
    """
    if candidate.numeric:
        return name in _SURE
    return position == 0 or name in _SURE | _LIKELY or not _SURE.isdisjoint(name.split())


def _plain(name: str) -> str:
    """A name in lower case without its unit: `Time [s]` and `time` are the same."""
    return re.sub(r"[\s_-]+", " ", _UNIT.sub("", name).strip().lower())


def _read(candidate: Candidate, position: int, *, wanted: bool) -> TimeAxis | None:
    """The column as times, NaT or NaN where a cell is none; None where it does not hold times."""
    if candidate.times is not None:
        return TimeAxis(position, candidate.name, candidate.times, _plain_format(candidate.times))
    if candidate.numbers is None:
        if parse_times(candidate.texts(_FIRST_ROWS)) is None:
            return None
        parsed = parse_times(candidate.texts())
        # A few bad cells are an error that is worth telling; more, and the column is text.
        if parsed is None or parsed.unreadable > (0.5 if wanted else 0.1):
            return None
        return TimeAxis(position, candidate.name, parsed.values, parsed.format, parsed.note)
    texts = candidate.texts()
    if texts and texts[0].isdigit() and len(texts[0]) >= 6:
        parsed = parse_times(texts)  # 20240131 is a day, where every cell is one
        if parsed is not None and not parsed.values.hasnans and _rising(parsed.values):
            return TimeAxis(position, candidate.name, parsed.values, parsed.format, parsed.note)
    comma = any("," in text for text in texts[:100])
    decimals = max(
        (len(re.split("[.,]", text)[1]) if re.search("[.,]", text) else 0 for text in texts), default=0
    )
    return TimeAxis(
        position, candidate.name, candidate.numbers, NumberFormat(min(decimals, 15), decimal_comma=comma)
    )


def _plain_format(times: pd.DatetimeIndex) -> TimeFormat:
    zone = "+00:00" if times.tz is not None else ""
    known = times.dropna()
    if zone:
        return TimeFormat("%Y-%m-%dT%H:%M:%S", zone=zone)
    if len(known) and bool((known == known.normalize()).all()):
        return TimeFormat("%Y-%m-%d")
    whole = bool((known.microsecond == 0).all()) and bool((known.nanosecond == 0).all())
    return TimeFormat("%Y-%m-%d %H:%M:%S") if whole else TimeFormat("%Y-%m-%d %H:%M:%S.%f")


def _keys(times: Times) -> NDArray[np.float64] | NDArray[np.int64]:
    return times.asi8 if isinstance(times, pd.DatetimeIndex) else times


def _rising(times: Times) -> bool:
    return not bool(pd.isna(times).any()) and bool(np.all(np.diff(_keys(times)) > 0))


def _check_order(axis: TimeAxis, candidate: Candidate, line: Callable[[int], int], unit: str) -> None:
    """Refuses times that are missing, repeated or out of order.

    Raises:
        BadInput: For `table`, naming the first such row.
    """
    name = f"the time column {axis.name!r:.80}"
    bad = np.flatnonzero(np.asarray(pd.isna(axis.values)))
    if len(bad):
        row = int(bad[0])
        shown = (candidate.texts() or [""] * (row + 1))[row]
        what = f"holds {shown[:40]!r}, which is no time," if shown else "is empty"
        raise BadInput("table", f"{name} {what} on {unit} {line(row + 1)}; give every row its time")
    if not np.isfinite(_keys(axis.values)).all():
        raise BadInput("table", f"{name} holds an infinite value; give every row its time")
    gaps = np.diff(_keys(axis.values))
    wrong = np.flatnonzero(gaps <= 0)
    if not len(wrong):
        return
    row = int(wrong[0]) + 1
    if gaps[row - 1] == 0:
        raise BadInput(
            "table", f"{name} repeats a time on {unit} {line(row + 1)}; keep one row for each time"
        )
    raise BadInput("table", f"{name} goes back on {unit} {line(row + 1)}; sort the rows by time")
