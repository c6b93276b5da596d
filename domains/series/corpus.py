"""The licensed real tables behind the built-in model: how they are read, split and cropped.

What is kept out of training, so that the model can be judged on it:

- Beijing air quality: the stations `TEST_STATIONS` altogether, `VALIDATION_STATIONS` for validation, and of
  the other stations the last fifth of the hours, since stations of one city share their weather.
- Exchange rates: the last 30 % of the days.
- PhysioNet 2012: every tenth stay, for validation.
- ETTh1 (CC BY-ND) and statsmodels' data sets: never in training; the latter are part of the validation split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from domains.common.errors import BadInput

Array = NDArray[np.float32]
Split = Literal["train", "validation"]

TEST_STATIONS = ("Wanliu", "Wanshouxigong")
"""Beijing stations that neither training nor validation may see."""
VALIDATION_STATIONS = ("Shunyi",)
"""Beijing stations that training may not see."""
BEIJING_TRAIN_SHARE = 0.8
"""Share of the hours, from the start, that training may see."""
EXCHANGE_TRAIN_SHARE = 0.7
"""Share of the days of the exchange rates, from the start, that training may see."""
VITALS = (
    *("HR", "SysABP", "DiasABP", "MAP", "NISysABP", "NIDiasABP", "NIMAP"),
    *("RespRate", "Temp", "SaO2", "Urine", "GCS"),
)
"""PhysioNet parameters that are measured often enough to be a series."""
STAY_HOURS = 48

GROUP_WEIGHTS = {
    "beijing-hourly": 0.54,
    "beijing-means": 0.16,
    "beijing-stations": 0.15,
    "exchange": 0.12,
    "physionet": 0.03,
}
"""How often each group of sources is drawn; groups that are not named here count 0.1."""


@dataclass(frozen=True)
class Source:
    """One real table.

    Attributes:
        name: What it is, unique among the sources.
        values: float32 [rows, columns], NaN where the value is truly missing.
        licence: Licence of the data as far as known.
        sha256: Hash of the file that it was read from.
        group: Sources of one group share their share of the draws.
    """

    name: str
    values: Array
    licence: str
    sha256: str
    group: str


def real_sources(folder: str | Path, split: Split = "train") -> list[Source]:
    """Reads the real tables of one split.

    Args:
        folder: Folder with `beijing_air_quality.npz`, `physionet2012.npz` and `exchange_rate.npz`; those that
            are absent are left out.
        split: "train" or "validation".

    Returns:
        The tables, in a fixed order.

    Raises:
        BadInput: If the folder holds none of the files.
    """
    folder = Path(folder)
    readers = (
        ("beijing_air_quality.npz", _beijing),
        ("physionet2012.npz", _physionet),
        ("exchange_rate.npz", _exchange),
    )
    sources: list[Source] = []
    for name, reader in readers:
        path = folder / name
        if path.is_file():
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            with np.load(path, allow_pickle=False) as archive:
                sources += reader({key: archive[key] for key in archive.files}, split, sha256)
    if not sources:
        names = ", ".join(name for name, _ in readers)
        raise BadInput("data", f"the folder holds none of the data files; put at least one of {names} there")
    return sources + (list(_statsmodels()) if split == "validation" else [])


def _beijing(data: dict[str, NDArray], split: Split, sha256: str) -> list[Source]:
    """Stations hour by hour, as means over 3, 6 and 24 hours, and one pollutant across stations."""
    names = [str(name) for name in data["stations"]]
    columns = [str(name) for name in data["columns"]]
    rows = int(len(data["unix_time"]) * BEIJING_TRAIN_SHARE)
    part = slice(None, rows) if split == "train" else slice(rows, None)
    held_out = set(TEST_STATIONS) | set(VALIDATION_STATIONS)
    kept = [n for n in names if n not in held_out] if split == "train" else list(VALIDATION_STATIONS)

    def source(name: str, values: Array, group: str) -> Source:
        return Source(f"beijing/{name}", np.ascontiguousarray(values, np.float32), "CC BY 4.0", sha256, group)

    stations = {name: np.asarray(data["values"][names.index(name), part], np.float32) for name in kept}
    sources = [source(name, values, "beijing-hourly") for name, values in stations.items()]
    for hours in (3, 6, 24):
        for name, values in stations.items():
            sources.append(source(f"{name}/{hours}h", block_means(values, hours), "beijing-means"))
    if len(kept) > 1:
        for index, column in enumerate(columns):
            across = np.stack([values[:, index] for values in stations.values()], 1)
            sources.append(source(f"stations/{column}", across, "beijing-stations"))
    return sources


def _physionet(data: dict[str, NDArray], split: Split, sha256: str) -> list[Source]:
    """Hourly means of vital signs, of each stay that has three or more columns of 12 or more known hours."""
    names = [str(name) for name in data["a_names"]]
    column_of = np.full(len(names), -1)
    for column, name in enumerate(VITALS):
        column_of[names.index(name)] = column
    column = column_of[data["a_param"]]
    hour = np.asarray(data["a_minute"], np.int64) // 60
    value = np.asarray(data["a_value"], np.float64)
    stays, stay = np.unique(data["a_id"], return_inverse=True)
    use = (column >= 0) & (value >= 0) & (hour >= 0) & (hour < STAY_HOURS)
    cell = (stay[use] * STAY_HOURS + hour[use]) * len(VITALS) + column[use]
    size = len(stays) * STAY_HOURS * len(VITALS)
    count = np.bincount(cell, minlength=size)
    total = np.bincount(cell, value[use], minlength=size)
    grid = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    grid = grid.reshape(len(stays), STAY_HOURS, len(VITALS))
    full = np.isfinite(grid).sum(1) >= 12
    sources = []
    for index, identity in enumerate(stays):
        if (index % 10 == 0) == (split == "validation") and full[index].sum() >= 3:
            table = np.ascontiguousarray(grid[index][:, full[index]])
            sources.append(Source(f"physionet/{identity}", table, "ODC-By 1.0", sha256, "physionet"))
    return sources


def _exchange(data: dict[str, NDArray], split: Split, sha256: str) -> list[Source]:
    """Daily rates of eight currencies: the first days for training, the next tenth for validation."""
    values = np.asarray(data["values"], np.float32)
    first, second = int(len(values) * EXCHANGE_TRAIN_SHARE), int(len(values) * (EXCHANGE_TRAIN_SHARE + 0.1))
    part = values[:first] if split == "train" else values[first:second]
    return [Source("exchange", np.ascontiguousarray(part), "none stated", sha256, "exchange")]


def _statsmodels() -> Iterator[Source]:
    """Small classics that statsmodels carries, where it is installed; for validation only."""
    try:
        from statsmodels import datasets
    except ImportError:
        return
    for name, columns in (
        ("co2", ["co2"]),
        ("sunspots", ["SUNACTIVITY"]),
        ("macrodata", ["realgdp", "realcons", "realinv", "cpi", "m1", "tbilrate", "unemp", "infl"]),
        ("elnino", None),
    ):
        frame = getattr(datasets, name).load_pandas().data
        table = frame[columns].to_numpy() if columns else frame.drop(columns="YEAR").to_numpy().reshape(-1, 1)
        values = np.ascontiguousarray(table, np.float32)
        sha256 = hashlib.sha256(values.tobytes()).hexdigest()
        yield Source(
            f"statsmodels/{name}", values, "as stated in statsmodels' data sets", sha256, "statsmodels"
        )


def block_means(values: Array, size: int) -> Array:
    """Means over `size` rows at a time of the known entries of `values` [rows, columns]; NaN where none is.

    Rows left over at the end are dropped.
    """
    rows = len(values) // size * size
    blocks = values[:rows].reshape(-1, size, values.shape[1])
    known = np.isfinite(blocks)
    total = np.where(known, blocks, 0).sum(1, dtype=np.float64)
    count = known.sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def real_batch(
    rng: np.random.Generator, sources: list[Source], batch: int, columns: int, length: int
) -> tuple[Array, NDArray[np.bool_]]:
    """Draws `batch` random crops of real tables, varied so that a small corpus goes a long way.

    Each crop takes a random stretch, every row, every second or third, or means over a few, a random choice
    and order of columns, sometimes reversed in time, with signs flipped, mixed with another crop, or beside a
    foreign column.

    Args:
        rng: Source of randomness; the same state gives the same crops.
        sources: Tables to draw from, at least one.
        batch: Number of crops.
        columns: Columns of the result; crops with fewer leave the last ones empty.
        length: Rows of the result; shorter tables are placed at the start, the end or anywhere between.

    Returns:
        values: float32 [batch, columns, length], NaN where unknown.
        valid: bool [batch, columns], true for columns that come from a table.
    """
    groups: dict[str, list[Source]] = {}
    for source in sources:
        groups.setdefault(source.group, []).append(source)
    names = list(groups)
    weights = np.array([GROUP_WEIGHTS.get(name, 0.1) for name in names])
    out = np.full((batch, columns, length), np.nan, np.float32)
    valid = np.zeros((batch, columns), bool)

    def draw() -> Source:
        """A source, preferably one that has as many columns as asked for."""
        for _ in range(4):
            group = groups[names[rng.choice(len(names), p=weights / weights.sum())]]
            source = group[rng.integers(len(group))]
            if source.values.shape[1] >= columns:
                break
        return source

    for item in range(batch):
        source = draw()
        crop = _crop(rng, source.values, columns, length)
        if rng.random() < 0.12:
            crop = _blend(rng, crop, _crop(rng, draw().values, columns, length))
        if rng.random() < (0.7 if len(crop) < columns else 0.1 if columns > 2 else 0.0):
            crop = _distract(rng, crop, _crop(rng, draw().values, 1, length), columns)
        crop = crop[rng.permutation(len(crop))]
        crop *= np.where(rng.random((len(crop), 1)) < 0.15, -1, 1).astype(np.float32)
        out[item, : len(crop)] = crop[:, ::-1] if rng.random() < 0.15 else crop
        valid[item, : len(crop)] = True
    return out, valid


def _crop(rng: np.random.Generator, table: Array, columns: int, length: int) -> Array:
    """A random stretch of a table [rows, all columns] as [at most `columns`, length], unknown rows NaN."""
    kind = rng.choice(3, p=[0.6, 0.25, 0.15])
    step = 1 if kind == 0 else int(rng.integers(2, 4)) if kind == 1 else int(rng.integers(2, 7))
    if len(table) < 2 * step * length:
        kind, step = 0, 1
    chosen = rng.permutation(table.shape[1])[:columns]
    rows = min(len(table), step * length)
    first = int(rng.integers(0, len(table) - rows + 1))
    part = table[first : first + rows, chosen]
    if kind == 1:
        part = part[::step]
    elif kind == 2:
        part = block_means(part, step)
    free = length - len(part)
    place = (0, free, int(rng.integers(0, free + 1)))[rng.integers(3)]
    out = np.full((part.shape[1], length), np.nan, np.float32)
    out[:, place : place + len(part)] = part.T
    return out


def _blend(rng: np.random.Generator, crop: Array, other: Array) -> Array:
    """A weighted sum of two crops, each column in units of its spread; `crop` itself where they do not fit.

    Chronos, Ansari and others, 2024, arXiv:2403.07815, section 4.1 (TSMixup).
    """
    if len(other) < len(crop):
        return crop
    other = other[: len(crop)]
    weight = rng.uniform(0.1, 0.6)
    mixed = (1 - weight) * _standard(crop) + weight * _standard(other)
    known = np.isfinite(mixed).sum(-1) >= 0.5 * np.isfinite(crop).sum(-1)
    return np.where(known[:, None], mixed, crop).astype(np.float32)


def _distract(rng: np.random.Generator, crop: Array, foreign: Array, columns: int) -> Array:
    """`crop` with one column that has nothing to do with it, in a free place or instead of one of its own."""
    if not np.isfinite(foreign[:, np.isfinite(crop).any(0)]).any():
        return crop
    if len(crop) == columns:
        crop = crop[:-1]
    return np.concatenate([crop, foreign])


def _standard(crop: Array) -> Array:
    """Columns [columns, length] in units of their spread around their mean, over the known entries."""
    known = np.isfinite(crop)
    count = np.maximum(known.sum(-1, keepdims=True), 1)
    mean = np.where(known, crop, 0).sum(-1, keepdims=True) / count
    spread = np.sqrt(np.where(known, (crop - mean) ** 2, 0).sum(-1, keepdims=True) / count)
    return (crop - mean) / np.maximum(spread, 1e-6)
