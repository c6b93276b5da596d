"""The real sources and the training stream: what is held out, and what a batch promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from domains.common.errors import BadInput
from domains.series import corpus, masks
from domains.series.corpus import Source, block_means, real_batch, real_sources
from domains.series.stream import TrainingStream

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "timeseries"
HOURS, DAYS, STAYS = 1000, 400, 30
STATIONS = ["A", "B", "Shunyi", "Wanliu", "Wanshouxigong"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files in the layout of the real ones, whose values say where they come from: 10^4 station + hour."""
    values = np.zeros((len(STATIONS), HOURS, 3), np.float32)
    values += 10_000 * np.arange(len(STATIONS))[:, None, None] + np.arange(HOURS)[None, :, None]
    values[0, 5, 1] = np.nan
    np.savez(
        tmp_path / "beijing_air_quality.npz",
        values=values,
        stations=np.array(STATIONS),
        columns=np.array(["PM2.5", "TEMP", "RAIN"]),
        unix_time=np.arange(HOURS) * 3600,
    )
    names = ["Age", *corpus.VITALS]
    stay, hour = np.meshgrid(np.arange(STAYS), np.arange(48), indexing="ij")
    identity, minute, parameter, value = [], [], [], []
    for vital in ("HR", "Temp", "MAP"):
        for half in (0, 30):
            identity.append(stay.ravel() + 900)
            minute.append(hour.ravel() * 60 + half)
            parameter.append(np.full(stay.size, names.index(vital)))
            value.append(stay.ravel() * 100.0 + half)
    value[0][0] = -1  # heart rate of stay 0 in the first half hour: unknown
    np.savez(
        tmp_path / "physionet2012.npz",
        a_id=np.concatenate(identity).astype(np.int32),
        a_minute=np.concatenate(minute).astype(np.int16),
        a_param=np.concatenate(parameter).astype(np.uint8),
        a_value=np.concatenate(value).astype(np.float32),
        a_names=np.array(names),
    )
    days = np.arange(DAYS, dtype=np.float32)[:, None] + np.zeros((1, 8), np.float32)
    np.savez(tmp_path / "exchange_rate.npz", values=days)
    return tmp_path


def test_training_never_sees_what_is_held_out(folder: Path) -> None:
    sources = real_sources(folder)
    assert not any(
        name in s.name for s in sources for name in ("Wanliu", "Wanshouxigong", "Shunyi", "statsmodels")
    )
    for source in sources:
        assert source.values.dtype == np.float32
        assert len(source.sha256) == 64
        assert source.licence
        known = source.values[np.isfinite(source.values)]
        if source.group.startswith("beijing"):
            assert set(np.unique(known // 10_000)) <= {0, 1}
            assert (known % 10_000).max() < 0.8 * HOURS
        if source.group == "exchange":
            assert known.max() < 0.7 * DAYS
    assert len({s.name for s in sources}) == len(sources)


def test_validation_is_apart_from_training_and_testing(folder: Path) -> None:
    sources = real_sources(folder, "validation")
    hourly = [s for s in sources if s.group == "beijing-hourly"]
    assert [s.name for s in hourly] == ["beijing/Shunyi"]
    assert hourly[0].values.min() == 20_000 + 0.8 * HOURS
    stays = {s.name for s in sources if s.group == "physionet"}
    assert stays
    assert stays.isdisjoint(s.name for s in real_sources(folder))
    exchange = next(s for s in sources if s.group == "exchange")
    assert exchange.values.min() == 0.7 * DAYS
    assert exchange.values.max() < 0.81 * DAYS


def test_physionet_is_averaged_by_the_hour_and_negative_is_unknown(folder: Path) -> None:
    sources = {s.name: s.values for s in real_sources(folder) + real_sources(folder, "validation")}
    assert sources["physionet/901"].shape == (48, 3)
    np.testing.assert_allclose(sources["physionet/901"], 115)
    first = sources["physionet/900"]
    assert first[0, 0] == 30, "only the second half hour is known"
    np.testing.assert_allclose(first[1:], 15)


def test_tables_of_one_pollutant_across_stations(folder: Path) -> None:
    rain = next(s for s in real_sources(folder) if s.name == "beijing/stations/RAIN")
    assert rain.values.shape == (800, 2)
    np.testing.assert_array_equal(rain.values[3], [3, 10_003])


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="data"):
        real_sources(tmp_path)


def test_block_means_skip_unknown_entries() -> None:
    table = np.array([[1, np.nan], [3, np.nan], [5, 2], [np.nan, 4], [9, 9]], np.float32)
    np.testing.assert_array_equal(block_means(table, 2), [[2, np.nan], [5, 3]])


def ramp(rows: int, columns: int, group: str = "ramp") -> Source:
    """A table whose entry is row + 10^4 column."""
    values = np.arange(rows)[:, None] + 10_000.0 * np.arange(columns)
    return Source(f"{group}/{rows}", values.astype(np.float32), "none", "0" * 64, group)


def test_real_batch_takes_crops_of_the_tables() -> None:
    values, valid = real_batch(np.random.default_rng(0), [ramp(3000, 6)], 200, 4, 100)
    assert values.shape == (200, 4, 100)
    assert values.dtype == np.float32
    assert valid.all()
    slope = np.abs(np.diff(values, axis=-1))
    plain = np.isin(slope.max((1, 2)), [1, 2, 3, 4, 5, 6]) & (slope.max((1, 2)) == slope.min((1, 2)))
    assert plain.mean() > 0.7, "crops that are not blended keep the table's steps"
    assert (slope[plain] > 1).any(), "some skip rows"
    assert (np.diff(values, axis=-1) < 0).any()
    chosen = np.abs(values[plain][:, :, 0]) // 10_000
    assert set(np.unique(chosen)) == set(range(6))


def test_real_batch_pads_narrow_and_short_tables() -> None:
    values, valid = real_batch(np.random.default_rng(1), [ramp(40, 2)], 300, 5, 64)
    assert np.isnan(values[~valid]).all()
    assert set(np.unique(valid.sum(-1))) == {2, 3}, "two columns, or two and a foreign one"
    rows = np.isfinite(values[valid]).sum(-1)
    assert rows.max() == 40
    assert (rows == 40).mean() > 0.9, "only a blend of two crops may be shorter"
    first = np.isfinite(values[:, 0]).argmax(-1)
    assert first.min() == 0
    assert first.max() == 24


def test_real_batch_is_reproducible() -> None:
    sources = [ramp(500, 3), ramp(90, 8, "other")]
    first, again = (real_batch(np.random.default_rng(2), sources, 16, 3, 64) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


def stream(**changes: object) -> TrainingStream:
    settings: dict[str, object] = {
        "seed": 3,
        "budget": 48,
        "context": 128,
        "window": 32,
        "sources": [ramp(500, 3), ramp(40, 8, "short")],
    }
    return TrainingStream(**(settings | changes))  # type: ignore[arg-type]


def test_stream_keeps_its_promises() -> None:
    made = stream()
    bare, columns, without_target, items = 0, 0, 0, 0
    counts, starts = set(), set()
    for step in range(60):
        batch = made.batch_at(step)
        shape = batch["values"].shape
        assert batch["values"].dtype == np.float32
        assert shape[2] == 128
        assert shape[0] == max(4, 48 // shape[1])
        assert np.isfinite(batch["values"]).all()
        assert (batch["values"][~batch["known"]] == 0).all()
        assert batch["known"].shape == batch["observed"].shape == shape
        assert not (batch["observed"] & ~batch["known"]).any()
        assert not batch["known"][~batch["columns"]].any()
        assert batch["start"].shape == shape[:1]
        assert ((batch["start"] >= 0) & (batch["start"] <= 96)).all()
        for item, start in enumerate(batch["start"]):
            window = slice(start, start + 32)
            asked = (batch["known"] & ~batch["observed"])[item, :, window]
            without_target += not asked.any()
        items += shape[0]
        bare += (batch["columns"] & ~batch["observed"].any(-1)).sum()
        columns += batch["columns"].sum()
        counts.add(shape[1])
        starts |= set(batch["start"].tolist())
    assert without_target < 0.02 * items
    assert bare < 0.02 * columns
    assert {1, 7}.issubset(counts)
    assert max(counts) <= 12
    assert {0, 48, 96}.issubset(starts)


def test_stream_is_addressed_by_seed_and_step() -> None:
    forward = [stream().batch_at(step) for step in (0, 1, 2)]
    alone = stream().batch_at(2)
    for key, value in forward[2].items():
        np.testing.assert_array_equal(value, alone[key])
    other = stream(seed=4).batch_at(2)
    assert other["values"].shape != alone["values"].shape or not np.array_equal(
        other["values"], alone["values"]
    )


def test_stream_hides_the_end_within_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "gap_mask", lambda rng, columns, length: np.ones((columns, length), bool))
    made = stream(forecast_share=1.0, short_share=0.0, sources=[])
    long = 0
    for step in range(20):
        batch = made.batch_at(step)
        for observed, start in zip(batch["observed"], batch["start"], strict=True):
            whole = observed.all(0)
            first = int(whole.argmin())
            assert whole[:first].all()
            assert not whole[first:].any()
            assert start <= first < start + 32, "the first unknown row is inside the window"
            long += start + 32 < 128
    assert long > 0, "at times the unknown end goes on behind the window"


def test_real_share() -> None:
    everything = stream(real_share=1.0, sources=[ramp(4000, 12)], short_share=0.0)
    assert all(np.abs(everything.batch_at(step)["values"]).max() < 130_000 for step in range(5))
    assert stream(real_share=1.0, sources=[]).batch_at(0)["columns"].all()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data (shared/data/timeseries) is absent")
def test_the_real_files_are_read() -> None:
    sources = real_sources(SHARED)
    groups = {s.group for s in sources}
    assert groups == set(corpus.GROUP_WEIGHTS)
    hourly = [s for s in sources if s.group == "beijing-hourly"]
    assert len(hourly) == 7
    assert all(s.values.shape == (28_051, 11) for s in hourly)
    batch = TrainingStream(0, budget=32, sources=sources, real_share=1.0).batch_at(0)
    assert np.isfinite(batch["values"]).all()
    assert 0.5 < batch["known"].mean() < 1


def test_windows_lie_within_long_tables_and_around_short_ones() -> None:
    made = stream(forecast_share=0.0, short_share=0.6, sources=[])
    short = 0
    for step in range(20):
        batch = made.batch_at(step)
        for known, start in zip(batch["known"].any(1), batch["start"], strict=True):
            rows = int(known.sum())
            assert known[start : start + 32].sum() == min(rows, 32)
            short += rows < 64
    assert short > 20
