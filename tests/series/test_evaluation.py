"""The evaluation: what is scored, how tables read, and the whole of it on small data."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from domains.common.errors import BadInput
from domains.common.evaluation_table import EvaluationTable, Metric
from domains.series import evaluation, forecast_evaluation
from domains.series.baselines import impute_linear
from domains.series.benchmark_data import (
    MASKS,
    Benchmark,
    beijing_stations,
    data_folder,
    etth1,
    exchange_rates,
)
from domains.series.evaluation import (
    METRICS,
    evaluate_impute,
    fill_and_score,
    score,
    taken_away,
    write_results,
)
from domains.series.forecast_baselines import JointGaussian
from domains.series.forecast_evaluation import Setting, evaluate_forecast, score_forecasts
from domains.series.residual_bands import Bands


@pytest.fixture
def table() -> EvaluationTable:
    made = EvaluationTable(
        "series.impute",
        "A title",
        (Metric("CRPS"), Metric("coverage", 0.9), Metric("seconds", compared=False)),
        ours=("ours",),
        references=("trivial",),
        notes=["A note."],
        command="python launch.py eval series.impute",
    )
    numbers = {  # method -> setting -> CRPS with seeds 0 and 1
        "ours": {"easy": (1.0, 1.2), "hard": (2.5, 2.7)},
        "old": {"easy": (2.0, 2.0), "hard": (2.0, 2.4)},
        "older": {"easy": (1.5, 1.5), "hard": (4.0, 4.0)},
        "trivial": {"easy": (0.1, 0.1), "hard": (0.1, 0.1)},
    }
    for method, settings in numbers.items():
        for setting, values in settings.items():
            for seed, value in enumerate(values):
                made.add(method, setting, seed, {"CRPS": value, "coverage": 0.88, "seconds": 1.0})
    return made


def test_table_means_spreads_and_ratios(table: EvaluationTable) -> None:
    crps = table.metrics[0]
    assert table.baselines == ["old", "older"]
    assert table.mean("ours", "CRPS", "easy") == pytest.approx(1.1)
    assert table.spread("ours", "CRPS", "easy") == pytest.approx(math.sqrt(0.02))
    assert table.mean("ours", "CRPS") == pytest.approx(1.85)
    assert table.spread("ours", "CRPS") == pytest.approx(abs(1.75 - 1.95) / math.sqrt(2))
    assert table.best_baseline(crps) == "old"  # 2.1 on the mean against 2.75, though not in the easy setting
    assert table.best_baseline(crps, "easy") == "older"
    assert table.ratio(crps) == pytest.approx(1.85 / 2.1)
    assert table.ratio(crps, "hard") == pytest.approx(2.6 / 2.2)


def test_table_says_where_we_lose(table: EvaluationTable) -> None:
    lines = table.verdict()
    assert "ours 1.850" in lines[0]
    assert "11.9% better" in lines[0]
    assert lines[1] == "CRPS: we lose on hard (to old, by 18.2%)."
    assert lines[2].startswith("coverage: 0.880")


def test_table_in_its_three_forms(table: EvaluationTable, tmp_path: Path) -> None:
    markdown, sheet, plain = write_results(table, tmp_path)
    assert [p.name for p in (markdown, sheet, plain)] == [f"series_impute.{s}" for s in ("md", "csv", "json")]
    text = markdown.read_text()
    assert "| ours | **1.100 ± 0.141** | 2.600 ± 0.141 | **1.850 ± 0.141** |" in text
    assert "| *ours / best baseline* | 0.73 | 1.18 | 0.88 |" in text
    assert "python launch.py eval series.impute" in text
    rows = list(csv.DictReader(sheet.open()))
    assert len(rows) == 4 * 2 * 3
    assert float(rows[0]["mean"]) == pytest.approx(1.1)
    loaded = json.loads(plain.read_text())
    assert loaded["means"]["old"]["CRPS"] == pytest.approx(2.1)
    assert not list(tmp_path.glob("*.part"))


def test_table_refuses_half_a_score_and_a_double_one(table: EvaluationTable) -> None:
    with pytest.raises(ValueError, match="no value for coverage"):
        table.add("new", "easy", 0, {"CRPS": 1.0, "seconds": 1.0})
    with pytest.raises(ValueError, match="there already"):
        table.add("ours", "easy", 0, {"CRPS": 1.0, "coverage": 1.0, "seconds": 1.0})


def test_a_method_without_a_setting_has_no_mean(table: EvaluationTable) -> None:
    table.add("partial", "easy", 0, {"CRPS": 0.5, "coverage": 0.9, "seconds": 1.0})
    assert math.isnan(table.mean("partial", "CRPS"))
    assert table.best_baseline(table.metrics[0]) == "old"
    assert "| partial | **0.500** | – | – |" in table.to_markdown()
    assert json.loads(table.to_json())["means"]["partial"]["CRPS"] is None


def test_truth_scores_zero_and_unjudged_cells_do_not_count() -> None:
    truth = np.array([[1.0, np.nan], [3.0, 4.0]])
    judged = ~np.isnan(truth)
    filled = np.nan_to_num(truth, nan=1e9)
    found = score(Bands(filled, np.zeros((2, 2))), truth, judged, np.ones(2))
    assert found == {"CRPS": 0, "MAE": 0, "RMSE": 0, "coverage of 90 %": 1}
    found = score(np.repeat(filled[None], 8, axis=0), truth, judged, np.ones(2))
    assert found == {"CRPS": 0, "MAE": 0, "RMSE": 0, "coverage of 90 %": 1}


def test_samples_and_bands_of_one_law_score_the_same() -> None:
    rng = np.random.default_rng(0)
    mean, std = rng.standard_normal((400, 3)), 0.5 + rng.random((400, 3))
    truth = mean + std * rng.standard_normal((400, 3))
    judged, scale = rng.random((400, 3)) < 0.5, np.array([1.0, 2.0, 4.0])
    samples = mean + std * rng.standard_normal((39, 400, 3))
    by_bands, by_samples = score(Bands(mean, std), truth, judged, scale), score(samples, truth, judged, scale)
    assert by_samples["CRPS"] == pytest.approx(by_bands["CRPS"], rel=0.02)  # plain CRPS would be 2.6 % above
    assert by_samples["RMSE"] == pytest.approx(by_bands["RMSE"], rel=0.03)
    assert by_samples["coverage of 90 %"] == pytest.approx(0.9, abs=0.04)
    doubled = score(Bands(2 * mean, 2 * std), 2 * truth, judged, 2 * scale)
    assert doubled["CRPS"] == pytest.approx(by_bands["CRPS"])


def test_unfinished_tables_are_refused() -> None:
    truth, judged = np.zeros((2, 1)), np.array([[True], [False]])
    with pytest.raises(ValueError, match="not a finite number"):
        score(Bands(np.full((2, 1), np.nan), np.ones((2, 1))), truth, judged, np.ones(1))
    with pytest.raises(ValueError, match="no cell"):
        score(Bands(truth, truth), truth, np.zeros((2, 1), bool), np.ones(1))


def test_masks_are_the_same_whatever_else_is_run() -> None:
    for name in MASKS:
        first = taken_away(name, "a table", (240, 4), 1)
        np.testing.assert_array_equal(first, taken_away(name, "a table", (240, 4), 1))
        assert (first != taken_away(name, "a table", (240, 4), 2)).any()
        assert (first != taken_away(name, "another", (240, 4), 1)).any()
    share = {name: taken_away(name, "t", (2400, 4), 0).mean() for name in MASKS}
    assert list(share.values()) == pytest.approx([0.1, 0.5, 0.9, 0.2], abs=0.01)


def small_benchmark(rows: int = 300, holes: bool = True) -> Benchmark:
    rng = np.random.default_rng(3)
    t = np.arange(rows)
    values = np.sin(2 * np.pi * t / 24)[:, None] * [1.0, 5.0] + 0.1 * rng.standard_normal((rows, 2))
    if holes:
        values[::17, 1] = np.nan
    return Benchmark("waves", values, ("a", "b"), 60, 24)


def test_methods_see_no_answer_and_are_judged_on_cells_that_were_known() -> None:
    benchmark = small_benchmark()
    seen: list[np.ndarray] = []

    def look(values: np.ndarray, seed: int, watch: object) -> Bands:
        seen.append(values)
        return impute_linear(values)

    made = EvaluationTable("series.impute", "t", METRICS)
    told: list[float] = []
    fill_and_score(
        made,
        [benchmark],
        lambda b: {"look": look},
        (0, 1),
        progress=lambda done, total, _: told.append(done / total),
    )
    assert len(seen) == len(MASKS) * 2
    for values, (mask, seed) in zip(seen, [(m, s) for m in MASKS for s in (0, 1)], strict=True):
        away = taken_away(mask, "waves", benchmark.test.shape, seed)
        assert np.isnan(values[away]).all()
        np.testing.assert_array_equal(values[~away], benchmark.test[~away])
    assert made.settings == [f"waves, {mask}" for mask in MASKS]
    assert told == sorted(told)
    assert told[-1] == 1


def test_imputation_is_evaluated_from_end_to_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from domains.series import imputation

    def drawn(values: np.ndarray, *, samples: int, sampling: object, progress: object) -> np.ndarray:
        bands = impute_linear(values)
        rng = np.random.default_rng(0)
        return bands.mean + bands.std * rng.standard_normal((samples, *values.shape))

    def anchor(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        bands = impute_linear(values)
        return bands.mean, bands.std

    monkeypatch.setattr(imputation, "impute_values", drawn)
    monkeypatch.setattr(imputation, "anchor_bands", anchor)
    monkeypatch.setattr(evaluation, "data_folder", lambda data: tmp_path)
    monkeypatch.setattr(evaluation, "etth1", lambda folder: small_benchmark())
    monkeypatch.setattr(evaluation, "beijing_stations", lambda folder: [])
    monkeypatch.setattr(
        evaluation, "imputers", lambda period: {"mean": impute_linear, "linear": impute_linear}
    )
    made = evaluate_impute(quick=True)
    assert made.methods == ["Langevin", "Langevin's anchor alone", "mean", "linear"]
    assert made.baselines == ["linear"]
    for setting in made.settings:
        assert made.mean("Langevin's anchor alone", "CRPS", setting) == made.mean("linear", "CRPS", setting)
        assert made.mean("Langevin", "CRPS", setting) == pytest.approx(
            made.mean("linear", "CRPS", setting), rel=0.15
        )
    assert "truth" in made.to_markdown() or "true values" in made.to_markdown()


def test_forecast_scores_of_samples_and_closed_form_agree() -> None:
    rng = np.random.default_rng(4)
    root = np.array([[1.0, 0.0], [1.5, 0.8]])
    law = JointGaussian(np.full((5, 2), 3.0), np.broadcast_to(root @ root.T, (5, 2, 2)))
    draw = lambda *shape: 3.0 + rng.standard_normal((*shape, 2)) @ root.T  # noqa: E731
    truths = [draw(5) for _ in range(60)]
    exact = score_forecasts([law] * 60, truths, np.array([1.0, 2.0]))
    drawn = score_forecasts([draw(199, 5) for _ in range(60)], truths, np.array([1.0, 2.0]))
    for name in exact:
        assert drawn[name] == pytest.approx(exact[name], rel=0.05), name
    # The sum of both columns over their scales: spread of y1 + y2 / 2, mean 4.5.
    spread = math.sqrt((1 + 0.75) ** 2 + 0.4**2)
    assert exact["CRPS-sum"] * 4.5 == pytest.approx(spread / math.sqrt(math.pi), rel=0.12)
    independent = JointGaussian(law.mean, law.covariance * np.eye(2))
    assert score_forecasts([independent] * 60, truths, np.array([1.0, 2.0]))["CRPS-sum"] > exact["CRPS-sum"]


def test_origins_lie_in_the_test_part_and_leave_room() -> None:
    setting = Setting(small_benchmark(), 24, 7)
    for seed in range(5):
        rows = setting.origin_rows(seed)
        assert rows == sorted(rows)
        assert len(set(rows)) == 7
        assert rows[0] >= 60
        assert rows[-1] + 24 <= 300
    assert setting.origin_rows(0) == setting.origin_rows(0) != setting.origin_rows(1)


def test_forecasts_are_evaluated_from_end_to_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    longer = small_benchmark(400, holes=False)
    monkeypatch.setattr(forecast_evaluation, "data_folder", lambda data: tmp_path)
    monkeypatch.setattr(
        forecast_evaluation, "etth1", lambda folder: Benchmark("waves", longer.values, ("a", "b"), 300, 24)
    )
    monkeypatch.setattr(
        forecast_evaluation,
        "exchange_rates",
        lambda folder: Benchmark("more", longer.values, ("a", "b"), 300, 24),
    )
    naive = forecast_evaluation.forecasters
    monkeypatch.setattr(
        forecast_evaluation,
        "forecasters",
        lambda period, seed=0: {k: v for k, v in naive(period, seed).items() if "naive" in k},
    )
    made = evaluate_forecast(quick=True, baselines_only=True)
    assert made.methods == ["naive", "seasonal naive"]
    for setting in made.settings:
        assert made.mean("seasonal naive", "CRPS", setting) < 0.5 * made.mean("naive", "CRPS", setting)


def test_data_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"data: .*--data"):
        data_folder(tmp_path)
    (tmp_path / "ETTh1.csv.gz").touch()
    with pytest.raises(BadInput, match="beijing_air_quality"):
        beijing_stations(data_folder(tmp_path))


def test_benchmarks_are_the_tables_they_should_be() -> None:
    try:
        folder = data_folder()
    except BadInput:
        pytest.skip("the benchmark tables are not beside the project (../shared/data)")
    electricity = etth1(folder)
    assert electricity.test.shape == (3484, 7)
    assert not np.isnan(electricity.values).any()
    stations = beijing_stations(folder)
    assert [s.test.shape for s in stations] == [(7012, 11)] * 2
    assert all(0 < np.isnan(s.test).mean() < 0.05 for s in stations)
    assert exchange_rates(folder).test.shape == (1517, 8)
    assert electricity.first_of_test(100).test.shape == (100, 7)
