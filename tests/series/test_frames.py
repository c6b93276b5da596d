"""The tasks for programs: frames and arrays in, the same numbers as on the command line out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from domains.common.errors import BadInput, Cancelled
from domains.series import forecast, impute
from domains.series.imputation import impute_values


@pytest.fixture
def values() -> np.ndarray:
    wave = np.sin(np.arange(120) / 6.0)[:, None] + np.array([[0.0, 2.0]])
    wave[40:60, 0] = np.nan
    return wave


def test_the_import_loads_nothing_heavy() -> None:
    code = "import sys, domains.series; print([n for n in ('torch', 'pandas', 'numpy') if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert done.stdout.strip() == "[]"
    with pytest.raises(ImportError):
        from domains.series import nothing  # noqa: F401


def test_arrays_give_arrays_and_the_numbers_of_the_task(values: np.ndarray) -> None:
    filled = impute(values, samples=8, seed=3, steps=4)
    assert isinstance(filled.table, np.ndarray) and filled.folder is None
    known = np.isfinite(values)
    assert np.array_equal(filled.table[known], values[known]) and np.isfinite(filled.table).all()
    assert len(filled.quantiles) == 20 and set(filled.quantiles["column"]) == {"column 0"}
    assert filled.result.metrics["filled cells"] == 20 and filled.result.nfe == 4
    from domains.common.task import Sampling

    drawn = impute_values(values, samples=8, sampling=Sampling(seed=3, steps=4))
    middle = np.quantile(drawn, 0.5, axis=0, method="weibull")
    assert np.array_equal(filled.table[~known], middle[~known])


def test_frames_keep_their_index_and_columns(values: np.ndarray, tmp_path: Path) -> None:
    index = pd.date_range("2024-03-01", periods=120, freq="h", name="hour")
    frame = pd.DataFrame(values, index=index, columns=["a", "b"])
    before = frame.copy()
    filled = impute(frame, samples=4, steps=2, out=tmp_path / "out")
    assert isinstance(filled.table, pd.DataFrame)
    assert list(filled.table.index) == list(index) and filled.table.index.name == "hour"
    assert list(filled.table.columns) == ["a", "b"] and filled.table["b"].equals(frame["b"])
    assert filled.folder is not None and (filled.folder / "plot.png").is_file()
    pd.testing.assert_frame_equal(frame, before)
    ahead = forecast(frame, 12, samples=4, steps=2)
    assert ahead.table.shape == (12, 2) and ahead.table.index[0] == index[-1] + pd.Timedelta("1h")
    assert ahead.quantiles["row"].min() == 120
    plain = impute(frame.reset_index(drop=True), samples=4, steps=2)
    assert list(plain.table.index) == list(range(120))


def test_a_file_gives_a_frame(values: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    pd.DataFrame(values, columns=["a", "b"]).to_csv(path, index=False)
    filled = impute(path, samples=4, steps=2)
    assert isinstance(filled.table, pd.DataFrame) and not filled.table.isna().any().any()


def test_what_cannot_be_served_names_the_field(values: np.ndarray) -> None:
    for field, call in {
        "samples": lambda: impute(values, samples=1),
        "steps": lambda: impute(values, steps=0),
        "solver": lambda: impute(values, solver="none"),
        "table": lambda: impute("/no/such.csv"),
        "horizon": lambda: forecast(values, 0),
    }.items():
        with pytest.raises(BadInput) as refused:
            call()
        assert refused.value.field == field
    with pytest.raises(BadInput, match=r"\[rows, columns\]"):
        impute(values[:, 0])


def test_a_program_sees_progress_and_may_stop(values: np.ndarray) -> None:
    seen: list[float] = []

    def told(done: float, total: float) -> None:
        seen.append(done)
        if len(seen) > 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        impute(values, samples=4, progress=told)
    assert len(seen) == 4
