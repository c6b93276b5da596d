"""The benchmarks' own parts, without any peer installed: they must measure what they say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import _series_report, peers, series_imputation
from domains.common.evaluation_table import EvaluationTable
from domains.series.benchmark_data import Benchmark
from domains.series.residual_bands import Bands


@pytest.fixture(scope="module")
def peer_script(root: Path) -> ModuleType:
    """The script that runs inside PyPOTS' environment; it imports PyPOTS only when it builds a model."""
    path = root / "benchmarks" / "peer_scripts" / "pypots_impute.py"
    spec = importlib.util.spec_from_file_location("pypots_impute", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def waves() -> Benchmark:
    """A table of seven daily waves with noise."""
    rng = np.random.default_rng(0)
    hours = np.arange(1000)[:, None]
    values = (
        5 + np.arange(1, 8) * np.sin(2 * np.pi * hours / 24 + np.arange(7)) + 0.1 * rng.normal(size=(1000, 7))
    )
    return Benchmark("ETTh1", values, tuple("abcdefg"), 800, 24)


def test_requirements_fall_into_two_stages() -> None:
    first, second = peers.stages("# why\nnumpy==2.4.6\n\ntorch==2.13.0\n# no-deps\nazula==0.7.0\n")
    assert first == ["numpy==2.4.6", "torch==2.13.0"]
    assert second == ["azula==0.7.0"]


def test_every_peer_is_pinned_exactly() -> None:
    assert "pypots" in peers.peers()
    for path in peers.peers().values():
        lines = [line for stage in peers.stages(path.read_text()) for line in stage]
        assert lines and all(line.count("==") == 1 and "+" not in line for line in lines)


def test_cuda_packages_are_noticed() -> None:
    def report(*names: str) -> str:
        return json.dumps({"install": [{"metadata": {"name": name}} for name in names]})

    assert peers.cuda_packages(report("torch", "numpy")) == []
    found = peers.cuda_packages(report("torch", "nvidia-cublas-cu12", "triton"))
    assert found == ["nvidia-cublas-cu12", "triton"]


def test_an_unknown_or_missing_peer_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "ENVIRONMENTS", tmp_path)
    with pytest.raises(peers.PeerMissing, match="bench peers pypots"):
        peers.python_of("pypots")
    assert peers.main(["../elsewhere"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_windows_are_joined_again_in_order(peer_script: ModuleType) -> None:
    table = np.arange(115 * 2, dtype=np.float32).reshape(115, 2)
    cut = peer_script.windows(table, 48)
    assert cut.shape == (3, 48, 2)
    np.testing.assert_array_equal(peer_script.joined(cut, 115), table)
    drawn = np.stack([cut, cut + 1000], axis=1)  # [windows, samples, steps, columns]
    np.testing.assert_array_equal(peer_script.joined(drawn, 115), np.stack([table, table + 1000]))
    np.testing.assert_array_equal(peer_script.joined(peer_script.windows(table[:96], 48), 96), table[:96])


def test_gaps_count_steps_since_the_last_observation(peer_script: ModuleType) -> None:
    mask = torch.tensor([1.0, 0, 0, 1, 1])[None, :, None]
    assert peer_script.gaps(mask)[0, :, 0].tolist() == [0, 1, 2, 3, 1]


def test_training_masks_are_of_both_kinds(peer_script: ModuleType) -> None:
    observed = peer_script.draw_masks(np.random.default_rng(0), 4000, 48, 7)
    missing = 1 - observed.mean(axis=(1, 2))
    changes = (observed[:, 1:] != observed[:, :-1]).sum(axis=1).max(axis=1)  # a block makes two at most
    blocks = changes <= 2
    assert 0.2 < blocks.mean() < 0.4  # a quarter, and the windows that lose next to nothing at random
    assert 0.45 < missing[~blocks].mean() < 0.55
    assert 0.1 < missing[blocks].mean() < 0.3


@pytest.mark.parametrize(
    ("name", "training", "validating"), [("CSDI", 5, 5), ("SAITS", 5, 5), ("BRITS", 7, 9)]
)
def test_batches_hide_what_is_missing(
    peer_script: ModuleType, name: str, training: int, validating: int
) -> None:
    truth = np.full((3, 48, 7), 2.0, dtype=np.float32)
    observed = peer_script.draw_masks(np.random.default_rng(1), 3, 48, 7)
    assert len(peer_script.as_batch(name, truth, observed, False)) == training
    batch = peer_script.as_batch(name, truth, observed, True)
    assert len(batch) == validating
    if name != "CSDI":  # CSDI masks inside its network
        np.testing.assert_array_equal(batch[1].numpy(), np.where(observed, 2.0, 0.0))


def test_residual_bands_have_the_spread_of_the_errors() -> None:
    rng = np.random.default_rng(0)
    errors = rng.normal(size=(2000, 2)) * np.array([1.0, 3.0])
    before = rng.random((2000, 2)) < 0.5
    missing = rng.random((500, 2)) < 0.5
    bands = series_imputation.residual_bands(np.zeros((500, 2)), missing, errors, before)
    assert (bands.std[~missing] == 0).all()
    for column, spread in enumerate((1.0, 3.0)):
        assert bands.std[missing[:, column], column].mean() == pytest.approx(spread, rel=0.1)


def _pretend(run: list[dict[str, Any]], offset: float) -> Any:
    """A peer that fills with the truth plus `offset` standard deviations, through the same files."""

    def pretend(name: str, script: str, arguments: list[str], **_: Any) -> None:
        folder = Path(arguments[0]).parent
        job = json.loads(Path(arguments[0]).read_text())
        run.append(job)
        tables = np.load(folder / job["input"], allow_pickle=False)
        filled = {}
        for key in job["fill"]:
            points = np.where(np.isnan(tables[key]), offset, tables[key])
            filled[key] = np.stack([points - 1, points, points + 1]) if job["model"] == "CSDI" else points
        np.savez(folder / job["output"], **filled)
        report = {
            "model": job["model"],
            "settings": job["settings"],
            "parameters": 1,
            "training_seconds": 60.0,
            "training_steps": 2,
            "validation": [{"share": 1.0, "steps": 2, "loss": 0.5}],
            "seconds": dict.fromkeys(job["fill"], 3.0),
            "evaluations": 50 if job["model"] == "CSDI" else 1,
            "versions": {"pypots": "0", "torch": "0"},
        }
        (folder / job["report"]).write_text(json.dumps(report))

    return pretend


def test_peers_are_handed_gaps_and_judged_in_the_tables_own_units(
    waves: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[dict[str, Any]] = []
    monkeypatch.setattr(peers, "run", _pretend(jobs, 0.0))
    parts = series_imputation.Parts.of(waves)
    masks = ("10 % at random", "24-row blocks")
    options = series_imputation.Options(
        minutes=1, samples=3, seeds=(0, 1), csdi_seeds=(0,), masks=masks, threads=1
    )
    table = series_imputation.run(parts, options, ["CSDI", "SAITS", "linear"], tmp_path)
    assert [job["model"] for job in jobs] == ["CSDI", "SAITS"]
    assert [len(job["fill"]) for job in jobs] == [2, 6]  # CSDI fills one mask each and needs no bands
    assert table.methods == ["CSDI", "SAITS", "linear"]
    # Filling with the train mean (zero, standardised) errs by about the mean absolute value of a sine in its own std.
    assert table.mean("SAITS", "MAE") == pytest.approx(0.9, abs=0.05)
    assert table.mean("linear", "MAE", masks[0]) < 0.2
    assert 0.5 < table.mean("SAITS", "coverage of 90 %") <= 1
    truth = parts.test[parts.missing(masks[0], 0)]
    archive = np.load(tmp_path / "CSDI" / jobs[0]["input"], allow_pickle=False)
    seen = archive[jobs[0]["fill"][0]]
    assert int(np.isnan(seen).sum()) == len(truth)  # what is judged is not handed over
    # What is finished is used again, and only for the same job.
    series_imputation.run(parts, options, ["SAITS"], tmp_path, reuse=True)
    assert len(jobs) == 2
    series_imputation.run(parts, series_imputation.Options(**{**vars(options), "minutes": 2}), ["SAITS"], tmp_path,
                          reuse=True)  # fmt: skip
    assert len(jobs) == 3


def _scores(**crps: dict[int, float]) -> EvaluationTable:
    table = EvaluationTable("t", "t", series_imputation.TABLE_METRICS)
    names = {"tuned": _series_report.TUNED}
    for method, by_seed in crps.items():
        for seed, value in by_seed.items():
            values = {metric.name: value for metric in table.metrics}
            table.add(names.get(method, method), "50 % at random", seed, values)
    return table


def test_bars_compare_on_the_seeds_that_both_sides_have() -> None:
    table = _scores(tuned={0: 1.0, 1: 9.0}, CSDI={0: 2.0}, SAITS={0: 4.9, 1: 4.9})
    crps, mae, seconds, *lost = _series_report.bars(table)
    assert "met" in crps and "NOT" not in crps and "ratio 0.5" in crps
    assert "NOT met" not in mae  # 5.0 against 4.9 is within 5 %
    assert "NOT met" in seconds  # twice as fast is not ten times
    assert lost[0] == "Where CSDI does better than ours: nowhere."
    assert "MAE on 50 % at random (5 against 4.9)" in lost[1]


def test_a_page_does_not_say_where_files_lie() -> None:
    given = ["--threads", "1", "--work", "/somewhere", "--out=/else", "--reuse", "--data", "/there"]
    assert series_imputation.without_places(given) == ["--threads", "1", "--reuse"]


def test_a_partial_run_prints_and_leaves_the_results_page_alone(
    data_folder: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = root / "docs" / "results" / "series_imputation_peers.md"
    before = page.read_bytes() if page.is_file() else None
    arguments = ["--data", str(data_folder), "--methods", "LOCF", "linear", "Langevin, zero-shot"]
    arguments += ["--rows", "200", "--seeds", "1", "--samples", "4"]
    assert series_imputation.main([*arguments, "--threads", "1", "--work", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "## CRPS" in printed and "| linear |" in printed and "24-row blocks" in printed
    assert (tmp_path / "series_imputation_peers.md").is_file()
    assert (page.read_bytes() if page.is_file() else None) == before


@pytest.mark.parametrize(
    ("arguments", "field"),
    [(["--samples", "1"], "samples"), (["--peer-set", "SAITS"], "peer-set"), (["--rows", "3"], "rows")],
)
def test_bad_options_are_named(arguments: list[str], field: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert series_imputation.main([*arguments, "--methods", "linear"]) == 2
    assert field in capsys.readouterr().err


def test_sampling_loop_compares_equal_work() -> None:
    pytest.importorskip("diffusers")
    from benchmarks import sampling_loop

    rows = sampling_loop.run(steps=4, batch=2, size=8, channels=(32, 32), layers=1, repetitions=2)
    assert [row["method"] for row in rows] == ["DDIM", "DPM-Solver++(2M)"]
    for row in rows:
        assert row["difference"] < 1e-4  # the same method on the same grid: otherwise the times mean nothing
        assert min(row["ours_seconds"], row["diffusers_seconds"], row["bare_seconds"]) > 0
    assert "bar ours/bare at most 1.03" in sampling_loop.report(rows)


def test_sampling_loop_refuses_unequal_work() -> None:
    from benchmarks import sampling_loop

    network = sampling_loop.Watched(lambda x, t: x)
    x = torch.zeros(1)
    loops = {"one": lambda: network(x, x), "two": lambda: network(network(x, x), x)}
    with pytest.raises(ValueError, match="equally often"):
        sampling_loop.interleaved(loops, network, 1)


def test_bands_are_what_score_expects() -> None:
    assert isinstance(
        series_imputation.simple_fill("linear", np.array([[0.0], [np.nan], [2.0]])).values, Bands
    )
