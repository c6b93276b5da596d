"""A sample is the same made alone, in a batch, or beside so many that they are walked in several batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from apps.engine.run import run_task
from apps.engine.validation import make_request
from domains.common.models import builtin_models
from domains.common.task import Sampling
from domains.registry import find_task
from domains.series import posterior
from domains.series.forecasting import Future, forecast_values
from domains.series.imputation import impute_values
from domains.series.model import SeriesModel
from domains.series.posterior import Posterior

pytestmark = pytest.mark.skipif(
    "series-base" not in builtin_models(), reason="the built-in series-base is not there"
)
CLOSE = 1e-4  # standard deviations of a column
SHORT: dict[str, dict[str, Any]] = {"series.impute": {}, "series.forecast": {"horizon": 80}}
Run = Callable[..., tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """Two hundred hours of two quantities, with gaps."""
    rng = np.random.default_rng(3)
    base = np.sin(2 * np.pi * np.arange(200) / 24)
    table = np.stack([50 + 5 * base, 3 - 2 * base + 0.1 * rng.normal(size=200)], 1)
    table[rng.random(table.shape) < 0.2] = np.nan
    table[90:120, 0] = np.nan
    return table


@pytest.fixture
def run(values: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a task as the engine does: the samples that it drew, and the quantiles that it wrote."""
    table = tmp_path / "table.csv"
    lines = [",".join("" if np.isnan(v) else repr(float(v)) for v in row) for row in values]
    table.write_text("a,b\n" + "\n".join(lines) + "\n", "utf-8")
    drawn: list[np.ndarray] = []
    for kind in (Posterior, Future):

        def draw(self: Any, *given: Any, original: Any = kind.draw) -> np.ndarray:
            drawn.append(original(self, *given))
            return drawn[-1]

        monkeypatch.setattr(kind, "draw", draw)

    def done(name: str, samples: int) -> tuple[np.ndarray, np.ndarray]:
        task = find_task(name)
        asked = {"table": str(table), "samples": samples, "steps": 3, "seed": 11, **SHORT[name]}
        finished = run_task(task, make_request(task, asked), out=tmp_path / f"{name}-{samples}", threads=1)
        written = pq.read_table(finished.directory / "quantiles.parquet").to_pandas()
        return drawn.pop(), written.select_dtypes("number").to_numpy()

    return done


@pytest.mark.parametrize("name", SHORT)
def test_a_task_draws_sample_i_however_many_it_draws(run: Run, values: np.ndarray, name: str) -> None:
    scale = np.nanstd(values, axis=0)
    many, _ = run(name, 9)
    two, quantiles = run(name, 2)
    np.testing.assert_allclose(two / scale, many[:2] / scale, atol=CLOSE, rtol=0)
    assert not np.allclose(
        many[0] / scale, many[1] / scale, atol=100 * CLOSE
    )  # samples differ among themselves
    again, same = run(name, 2)
    assert np.array_equal(two, again) and np.array_equal(quantiles, same)


@pytest.mark.parametrize("most", [2, 3, 4])
def test_a_sample_alone_is_that_of_any_batch(
    values: np.ndarray, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    scale, sampling = np.nanstd(values, axis=0), Sampling(steps=3, seed=11)

    read = SeriesModel.read
    tokens = 0

    def measured(self: SeriesModel, *given: Any) -> torch.Tensor:
        nonlocal tokens
        memory = read(self, *given)
        tokens = memory.shape[2]
        return memory

    monkeypatch.setattr(SeriesModel, "read", measured)

    def drawn(samples: int) -> list[np.ndarray]:
        return [
            impute_values(values, samples=samples, sampling=sampling) / scale,
            forecast_values(values, 80, samples=samples, sampling=sampling) / scale,
        ]

    together = drawn(9)
    # Batches of `most` at once: the last would otherwise hold one sample, which is rounded otherwise on some machines.
    batches = set()
    denoised = SeriesModel.denoiser

    def noted(self: SeriesModel, where: torch.Tensor) -> Any:
        batches.add(len(where))
        return denoised(self, where)

    monkeypatch.setattr(SeriesModel, "denoiser", noted)
    monkeypatch.setattr(posterior, "TOKENS_AT_ONCE", most * values.shape[1] * tokens)
    for one, all_nine, parts in zip(drawn(1), together, drawn(9), strict=True):
        np.testing.assert_allclose(one[0], all_nine[0], atol=CLOSE, rtol=0)
        np.testing.assert_allclose(parts, all_nine, atol=CLOSE, rtol=0)
    assert batches == {2: {2, 3}, 3: {2, 3}, 4: {2, 4, 5}}[most]
