"""Time columns: texts as times, the step between rows, and the times that follow the last row."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from domains.common.errors import BadInput
from domains.series.numeric import NumberFormat

Times = pd.DatetimeIndex | NDArray[np.float64]

_HOURS = ("%H:%M:%S", "%H:%M", "%H:%M:%S.%f")
_CLOCKS = ("", *(joint + hours for hours in _HOURS for joint in " T"), " %I:%M %p", " %I:%M:%S %p")
_DATES = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d.%m.%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%Y.%m.%d",
    "%d %b %Y",
    "%d-%b-%Y",
    "%b %d, %Y",
    "%d %B %Y",
    "%B %d, %Y",
)
_MONTHS = ("%Y-%m", "%Y/%m", "%m/%Y", "%b %Y", "%B %Y", "%b-%Y", "%Y-%b")
_PATTERNS = tuple(date + clock for date in _DATES for clock in _CLOCKS) + _MONTHS
_DIGIT_PATTERNS = {6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_ZONE = re.compile(r"\s?(?:Z|UTC|[+-]\d\d:?\d\d)$")
_QUARTER = re.compile(r"(\d{4})([- ]?)[Qq]([1-4])")
_SAMPLE = 64
_LAST_YEAR = 9999


@dataclass(frozen=True)
class TimeFormat:
    """How the cells of a time column are written, so that its continuation looks the same.

    Attributes:
        pattern: A `strftime` pattern, or `quarter`.
        fraction: Digits of a second's fraction.
        bare_date: Whether day and month are written without a leading zero.
        bare_hour: Whether the hour is.
        zone: The text of the zone that follows the time, for example `Z` or `+01:00`.
        separator: What stands before the Q of a quarter.
    """

    pattern: str
    fraction: int = 6
    bare_date: bool = False
    bare_hour: bool = False
    zone: str = ""
    separator: str = ""

    def text(self, time: pd.Timestamp) -> str:
        """A time as the column writes it."""
        if self.pattern == "quarter":
            return f"{time.year}{self.separator}Q{time.quarter}"
        if time.tzinfo is not None:
            time = time.tz_convert("UTC") + _offset(self.zone)
        date, clock = _split_pattern(self.pattern)
        written = time.strftime(date)
        if self.bare_date:
            written = re.sub(r"(?<!\d)0(?=\d)", "", written)
        if clock:
            hours = time.strftime(clock)
            if clock.endswith("%f"):
                hours = hours[: len(hours) - 6 + self.fraction]
            written += re.sub(r"^([ T])0(?=\d)", r"\1", hours) if self.bare_hour else hours
        return written + self.zone


@dataclass(frozen=True)
class ParsedTimes:
    """Texts read as times.

    Attributes:
        values: One time a row, NaT where a text is no time.
        format: How they are written.
        note: What was assumed where the texts allow two readings; else empty.
    """

    values: pd.DatetimeIndex
    format: TimeFormat
    note: str = ""

    @property
    def unreadable(self) -> float:
        """Share of the texts that are no times."""
        return float(np.mean(pd.isna(self.values)))


def parse_times(texts: Sequence[str]) -> ParsedTimes | None:
    """Reads texts as times.

    Args:
        texts: The cells of one column, stripped.

    Returns:
        The times, some perhaps NaT, or None where the first cells do not look like times.
    """
    sample = [text for text in texts if text][:_SAMPLE]
    if (
        not sample
        or max(map(len, sample)) > 40
        or sum(any(c.isdigit() for c in text) for text in sample) < len(sample)
    ):
        return None
    if _QUARTER.fullmatch(sample[0]):
        return _parse_quarters(texts)
    lengths = {len(text) for text in sample}
    if all(text.isdigit() for text in sample):
        pattern = _DIGIT_PATTERNS.get(lengths.pop()) if len(lengths) == 1 else None
        return _choose(texts, sample, [pattern], "") if pattern else None
    zone = _ZONE.search(texts[-1]) if any(c in sample[0] for c in ":T") else None
    if zone is not None:
        return _choose(texts, sample, ["ISO8601"], zone.group())
    return _choose(texts, sample, [*_PATTERNS, "ISO8601"], "")


@dataclass(frozen=True)
class Step:
    """The step between rows.

    Attributes:
        advance: `n -> times of the n rows after the last`.
        description: For people: `7 days`, `1 month`, `0.5`.
        note: What is uneven about the times; empty where they are regular.
    """

    advance: Callable[[int], Times]
    description: str
    note: str = ""


def infer_step(times: Times) -> Step:
    """The step by which strictly increasing times go on: fixed, or by the calendar (months, quarters, working days).

    Where rows are missing or unevenly spaced the commonest step is taken and the note says so. A single row goes on by
    one day, or by 1.
    """
    if isinstance(times, pd.DatetimeIndex):
        return _calendar_step(times)
    gaps = np.diff(times)
    step = _commonest(gaps) if len(gaps) else 1.0
    if len(gaps) and np.allclose(gaps, np.mean(gaps), rtol=1e-6, atol=0):
        step = float(np.mean(gaps))
    last = float(times[-1])

    def advance(rows: int) -> NDArray[np.float64]:
        return np.asarray(last + step * np.arange(1, rows + 1), dtype=np.float64)

    return Step(advance, f"{step:.6g}", _uneven(gaps, f"{step:.6g}"))


def future_times(times: Times, rows: int) -> Times:
    """The times of the `rows` rows that follow.

    Raises:
        BadInput: For `horizon`, where they run out of the calendar.
    """
    try:
        future = infer_step(times).advance(rows)
        if isinstance(future, pd.DatetimeIndex) and (future.hasnans or future[-1].year > _LAST_YEAR):
            raise OverflowError
    except (OverflowError, ValueError, pd.errors.OutOfBoundsDatetime):
        raise BadInput("horizon", f"runs past the year {_LAST_YEAR}; ask for fewer rows") from None
    return future


def time_text(time: object, format: TimeFormat | NumberFormat) -> str:
    """One time as its column writes it."""
    if isinstance(format, NumberFormat):
        return format.text(float(time))  # type: ignore[arg-type]
    return format.text(pd.Timestamp(time))  # type: ignore[arg-type]


def _choose(
    texts: Sequence[str], sample: list[str], patterns: Sequence[str | None], zone: str
) -> ParsedTimes | None:
    """The readings that the sample allows, tried on all texts; the one that is sorted and most even is taken."""
    fitting = [p for p in patterns if p is not None and _fits(sample, p, bool(zone))]
    if len(fitting) > 1 and fitting[-1] == "ISO8601":
        exact, fallback = fitting[:-1], fitting[-1:]
    else:
        exact, fallback = fitting, []
    readings = [(_read(texts, pattern, bool(zone)), pattern) for pattern in exact[:4]]
    if fallback and all(values.hasnans for values, _ in readings):
        readings += [(_read(texts, pattern, bool(zone)), pattern) for pattern in fallback]
    if not readings:
        return None
    readings.sort(key=lambda reading: _disorder(reading[0]))
    values, pattern = readings[0]
    note = ""
    if len(readings) > 1 and not readings[1][0].hasnans and not readings[1][0].equals(values):
        order = "day before month" if pattern.find("%d") < pattern.find("%m") else "month before day"
        note = f"dates such as {texts[0]} were read {order}"
    return ParsedTimes(values, _describe(texts, values, pattern, zone), note)


def _fits(sample: list[str], pattern: str, zoned: bool) -> bool:
    return float(np.mean(pd.isna(_read(sample, pattern, zoned)))) <= 0.1


def _read(texts: Sequence[str], pattern: str, zoned: bool) -> pd.DatetimeIndex:
    return pd.to_datetime(np.array(texts, dtype=object), format=pattern, errors="coerce", utc=zoned)


def _disorder(values: pd.DatetimeIndex) -> tuple[int, int, float]:
    """Sort key of a reading: unreadable cells, steps back, unevenness of the steps."""
    gaps = np.diff(values.dropna().asi8).astype(float)
    uneven = float(np.std(gaps) / max(abs(np.mean(gaps)), 1e-9)) if len(gaps) else 0.0
    return int(np.sum(pd.isna(values))), int((gaps <= 0).sum()), uneven


def _parse_quarters(texts: Sequence[str]) -> ParsedTimes:
    found = [_QUARTER.fullmatch(text) for text in texts]
    months = [f"{m[1]}-{3 * int(m[3]) - 2:02d}" if m else "" for m in found]
    separator = next((m[2] for m in reversed(found) if m), "")
    return ParsedTimes(_read(months, "%Y-%m", False), TimeFormat("quarter", separator=separator))


def _describe(texts: Sequence[str], values: pd.DatetimeIndex, pattern: str, zone: str) -> TimeFormat:
    """The format that reproduces most of the last texts."""
    last_texts, last_values = texts[-_SAMPLE:], values[-_SAMPLE:]
    tail = [(text, value) for text, value in zip(last_texts, last_values, strict=True) if not pd.isna(value)]
    if not tail:
        return TimeFormat(pattern if pattern != "ISO8601" else "%Y-%m-%d %H:%M:%S")
    last = tail[-1][0].removesuffix(zone)
    if pattern == "ISO8601":
        joint = "T" if "T" in last else " "
        clock = last.partition(joint)[2]
        seconds = ":%S" if clock.count(":") == 2 else ""
        pattern = "%Y-%m-%d" + (f"{joint}%H:%M{seconds}" if clock else "") + (".%f" if "." in clock else "")
    fraction = len(last.rpartition(".")[2]) if pattern.endswith("%f") else 6
    candidates = [
        TimeFormat(pattern, min(fraction, 6), bare_date, bare_hour, zone)
        for bare_date in (False, True)
        for bare_hour in (False, True)
    ]
    return max(candidates, key=lambda candidate: sum(candidate.text(value) == text for text, value in tail))


def _split_pattern(pattern: str) -> tuple[str, str]:
    position = max(pattern.find(" %H"), pattern.find("T%H"), pattern.find(" %I"))
    return (pattern, "") if position < 0 else (pattern[:position], pattern[position:])


def _offset(zone: str) -> pd.Timedelta:
    digits = re.search(r"([+-])(\d\d):?(\d\d)", zone)
    if digits is None:
        return pd.Timedelta(0)
    minutes = int(digits[2]) * 60 + int(digits[3])
    return pd.Timedelta(minutes=minutes if digits[1] == "+" else -minutes)


def _commonest(gaps: NDArray[np.float64]) -> float:
    """The commonest gap where it makes up half of them, else the median."""
    distinct, counts = np.unique(gaps, return_counts=True)
    commonest = int(np.argmax(counts))
    return float(distinct[commonest]) if counts[commonest] * 2 >= len(gaps) else float(np.median(gaps))


def _calendar_step(times: pd.DatetimeIndex) -> Step:
    if len(times) < 2:
        return _offset_step(times, pd.offsets.Day(1), "1 day", "")
    gaps = np.diff(times.asi8).astype(np.float64)
    step = pd.Timedelta(int(_commonest(gaps)), unit=times.unit)
    words = _duration(step)
    if np.all(gaps == gaps[0]):
        return _offset_step(times, step, words, "")
    months = np.diff(times.year * 12 + times.month).astype(np.float64)
    if np.all(months >= 1) and len(times) >= 3:
        count = int(_commonest(months))
        same_clock = bool(np.all(times.normalize() - times == times[0].normalize() - times[0]))
        calendar: pd.offsets.BaseOffset | None = None
        if same_clock and np.all(times.day == times[0].day):
            calendar = pd.DateOffset(months=count)
        elif same_clock and bool(times.is_month_end.all()):
            calendar = pd.offsets.MonthEnd(count)
        if calendar is not None:
            words = _months(count)
            note = "" if np.all(months == count) else f"some rows are missing: the step is not always {words}"
            return _offset_step(times, calendar, words, note)
    weekdays = times.day_of_week
    if step == pd.Timedelta(days=1) and len(times) >= 10 and bool((weekdays < 5).all()):
        expected = np.where(weekdays[:-1] == 4, 3, 1) * (
            np.timedelta64(1, "D") // np.timedelta64(1, times.unit)
        )
        note = "" if np.all(gaps == expected) else "some working days are missing"
        return _offset_step(times, pd.offsets.BDay(1), "1 working day", note)
    return _offset_step(times, step, words, _uneven(gaps, words))


def _offset_step(
    times: pd.DatetimeIndex, offset: pd.offsets.BaseOffset | pd.Timedelta, words: str, note: str
) -> Step:
    last = times[-1]

    def advance(rows: int) -> pd.DatetimeIndex:
        # Steps are multiplied, not added up: the 31st of a month comes back after a shorter one.
        return pd.DatetimeIndex([last + offset * n for n in range(1, rows + 1)])

    return Step(advance, words, note)


def _uneven(gaps: NDArray[np.float64], words: str) -> str:
    if not len(gaps):
        return ""
    middle = float(np.median(gaps))
    if float(np.min(gaps)) < 0.5 * middle or float(np.max(gaps)) > 1.5 * middle:
        ratio = float(np.max(gaps)) / middle
        return f"times are uneven (up to {ratio:.3g} times the usual step of {words}); rows are taken in their order"
    return ""


def _duration(step: pd.Timedelta) -> str:
    seconds = step.total_seconds()
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return f"{count} {name}" + ("s" if count > 1 else "")
    return f"{seconds:.6g} seconds"


def _months(count: int) -> str:
    if count % 12 == 0:
        return f"{count // 12} year" + ("s" if count > 12 else "")
    return f"{count} month" + ("s" if count > 1 else "")
