"""Filling gaps in ETTh1: our fine-tuned model beside SAITS, BRITS and CSDI (PyPOTS), trained for the same minutes.

    python launch.py bench peers pypots                      once: PyPOTS in an environment of its own
    python launch.py bench series_imputation                 10 minutes of training each, then hours of CSDI's sampling
    python launch.py bench series_imputation --csdi-seeds 1  CSDI on one of the three masks a setting

The table is split in time: the first 60 % to train on, the next 20 % to choose weights and to fit the bands of methods
that have none, the last fifth to be judged on.  Everybody fills the same test tables.  What is finished is kept under
--work and used again with --reuse, as long as the options that it depends on are the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import numpy as np

from benchmarks import peers
from benchmarks._series_report import MANY, NOTES, PEERS, SIMPLE, TUNED, ZERO, bars, training_notes
from domains.common.errors import BadInput
from domains.common.evaluation_table import EvaluationTable, Metric
from domains.common.task import Sampling
from domains.series.baselines import imputers, nearest_distance
from domains.series.benchmark_data import MASKS, Benchmark, data_folder, etth1
from domains.series.evaluation import METRICS, column_scale, score, taken_away
from domains.series.residual_bands import Array, Bands, Mask, residual_spread

TRAIN_SHARE = 0.6
WINDOW = 48  # rows of the peers' windows: what PyPOTS' benchmark (TSI-Bench) gives them on ETTh1
METHODS = (TUNED, MANY, ZERO, *PEERS, *SIMPLE)
EVALUATIONS = Metric("network evaluations a sample", "lower", 0, compared=False)
TABLE_METRICS = (*METRICS, EVALUATIONS)


@dataclass(frozen=True)
class Parts:
    """ETTh1 in three parts of time, `[T, C]` each, in the table's own units."""

    train: Array
    valid: Array
    test: Array
    columns: tuple[str, ...]

    @classmethod
    def of(cls, benchmark: Benchmark, rows: int | None = None) -> Parts:
        """The parts; with `rows`, only so many of validation and test."""
        end = int(len(benchmark.values) * TRAIN_SHARE)
        valid = benchmark.values[end : benchmark.test_start]
        return cls(benchmark.values[:end], valid[:rows], benchmark.test[:rows], benchmark.columns)

    def missing(self, mask: str, seed: int) -> Mask:
        """Cells taken from the test part; as `launch.py eval series.impute` takes them."""
        return taken_away(mask, "ETTh1", self.test.shape, seed)

    def missing_in_validation(self, mask: str) -> Mask:
        """Cells taken from the validation part."""
        return taken_away(mask, "ETTh1 validation", self.valid.shape, 0)


@dataclass(frozen=True)
class Options:
    """What the results depend on."""

    minutes: float = 10.0
    samples: int = 32
    seeds: tuple[int, ...] = (0, 1, 2)
    csdi_seeds: tuple[int, ...] = (0, 1, 2)
    masks: tuple[str, ...] = tuple(MASKS)
    threads: int = 2
    train_seed: int = 0


@dataclass(frozen=True)
class Filled:
    """A filled test table: bands or samples `[S, T, C]`, and the seconds and evaluations that it took."""

    values: Bands | Array
    seconds: float
    evaluations: int


def residual_bands(filled: Array, missing: Mask, errors: Array, missing_before: Mask) -> Bands:
    """Gaussian bands around points, from errors `[T', C]` made on another part at the cells `missing_before`."""
    known = np.where(missing_before, errors, 0.0)
    spread = residual_spread([(known, nearest_distance(~missing_before), missing_before)])
    return Bands(filled, np.where(missing, spread(nearest_distance(~missing)), 0.0))


def peer_fills(
    name: str, parts: Parts, options: Options, settings: dict[str, Any], work: Path, reuse: bool
) -> dict[tuple[str, int], Filled]:
    """Trains a peer in its own environment and has it fill the test tables: (mask, seed) -> result.

    Raises:
        peers.PeerMissing: If its environment is not made.
        RuntimeError: If it fails.
    """
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    mean, std = parts.train.mean(axis=0), parts.train.std(axis=0)

    def gapped(table: Array, missing: Mask) -> Array:
        return np.asarray((np.where(missing, np.nan, table) - mean) / std, dtype=np.float32)

    arrays = {"train": (parts.train - mean) / std, "valid": (parts.valid - mean) / std}
    arrays = {key: value.astype(np.float32) for key, value in arrays.items()}
    seeds = options.csdi_seeds if name == "CSDI" else options.seeds
    wanted = {f"test/{m}/{s}": (m, s) for m in options.masks for s in seeds}
    checks = {f"valid/{m}": m for m in options.masks}
    arrays |= {key: gapped(parts.test, parts.missing(*which)) for key, which in wanted.items()}
    arrays |= {key: gapped(parts.valid, parts.missing_in_validation(m)) for key, m in checks.items()}
    names = {key: f"t{k}" for k, key in enumerate(arrays)}  # archive members are plain words
    job = {
        "model": name,
        "settings": settings,
        "minutes": options.minutes,
        "samples": options.samples,
        "threads": options.threads,
        "seed": options.train_seed,
        "window": WINDOW,
        "validate": [names[key] for key in checks],
        # A model that gives samples needs no residual bands, so it does not fill validation tables.
        "fill": [names[key] for key in (*wanted, *(() if name == "CSDI" else checks))],
        "digest": hashlib.sha256(b"".join(a.tobytes() for a in arrays.values())).hexdigest(),
        "input": "input.npz",  # files beside the job, so that the folder can be moved
        "output": "output.npz",
        "report": "report.json",
    }
    text, file = json.dumps(job, indent=1), folder / "job.json"
    done = [folder / str(job[key]) for key in ("output", "report")]
    if not (reuse and file.is_file() and file.read_text() == text and all(path.is_file() for path in done)):
        for path in done:
            path.unlink(missing_ok=True)
        np.savez(folder / "input.npz", **{names.get(k, k): v for k, v in arrays.items() if k not in ("train", "valid")},
                 train=arrays["train"], valid=arrays["valid"])  # fmt: skip
        file.write_text(text)
        peers.run("pypots", "pypots_impute.py", [str(file)], threads=options.threads, log=folder / "log.txt")
    report = json.loads(done[1].read_text())
    with np.load(done[0], allow_pickle=False) as archive:
        output = {
            k: archive[n].astype(np.float64) * std + mean for k, n in names.items() if n in archive.files
        }
    results = {}
    for key, (mask, seed) in wanted.items():
        values: Bands | Array = output[key]
        if name != "CSDI":
            hidden = parts.missing_in_validation(mask)
            errors = parts.valid - output[f"valid/{mask}"]
            values = residual_bands(output[key], parts.missing(mask, seed), errors, hidden)
        results[mask, seed] = Filled(values, report["seconds"][names[key]], report["evaluations"])
    return results


def fine_tune(parts: Parts, options: Options, settings: Sequence[str], work: Path, reuse: bool) -> Path:
    """Fine-tunes series-base on the training part by the project's own command; the model's folder.

    Raises:
        RuntimeError: If the command fails.
    """
    import pandas as pd

    work.mkdir(parents=True, exist_ok=True)
    folder, table, stamp = work / "series-etth1", work / "etth1_train.csv", work / "series-etth1.json"
    given = [
        f"minutes={options.minutes:g}",
        f"threads={options.threads}",
        f"seed={options.train_seed}",
        *settings,
    ]
    dates = pd.date_range("2016-07-01", periods=len(parts.train), freq="h", name="date")
    pd.DataFrame(parts.train, index=dates, columns=list(parts.columns)).to_csv(table)
    text = json.dumps({"set": given, "rows": len(parts.train), "base": _digest_of("series-base")})
    if reuse and stamp.is_file() and stamp.read_text() == text and (folder / "card.json").is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, str(ROOT / "launch.py"), "train", "series-base", "--device", "cpu"]
    command += ["--data", str(table), "--out", str(folder), "--set", *given]
    if subprocess.run(command, check=False, cwd=ROOT).returncode != 0:
        raise RuntimeError("fine-tuning failed; its message stands above")
    stamp.write_text(text)
    return folder


def _digest_of(model: str) -> str | None:
    from domains.common.models import find_model

    return find_model(model).recorded_sha256


def own_fill(values: Array, model: str | None, samples: int, seed: int) -> Filled:
    """Fills a table by the function behind `series.impute`, with its default solver and steps."""
    import torch

    from domains.series.posterior import Posterior, series_model

    started = time.process_time()
    posterior = Posterior(values, series_model(model, "cpu"), Sampling(seed=seed), samples, "cpu")
    drawn = posterior.draw(None)
    return Filled(drawn, (time.process_time() - started) / torch.get_num_threads(), posterior.evaluations)


def simple_fill(name: str, values: Array) -> Filled:
    """Fills a table by a classical method."""
    started = time.process_time()
    bands = imputers()[name](values)
    return Filled(bands, time.process_time() - started, 0)


def add(table: EvaluationTable, method: str, parts: Parts, mask: str, seed: int, filled: Filled) -> None:
    """Scores one filled test table."""
    values = score(filled.values, parts.test, parts.missing(mask, seed), column_scale(parts.test))
    numbers = {"seconds": filled.seconds, EVALUATIONS.name: float(filled.evaluations)}
    table.add(method, mask, seed, {**values, **numbers})


def run(
    parts: Parts,
    options: Options,
    methods: Sequence[str],
    work: Path,
    *,
    reuse: bool = False,
    peer_settings: dict[str, dict[str, Any]] | None = None,
    own_settings: Sequence[str] = (),
    command: str = "",
) -> EvaluationTable:
    """Trains and judges the methods; the order is that of `METHODS`, whatever order they are given in."""
    import torch

    torch.set_num_threads(options.threads)
    table = EvaluationTable(
        "series_imputation_peers",
        f"Filling gaps in ETTh1: {options.minutes:g} minutes of training each, {options.threads} threads, "
        f"{options.samples} samples",
        TABLE_METRICS,
        ours=tuple(m for m in (TUNED, MANY, ZERO) if m in methods),
        notes=[*NOTES],
        command=command,
    )
    chosen = [m for m in METHODS if m in methods]
    tuned: str | None = None
    if TUNED in chosen or MANY in chosen:
        print("fine-tuning ours", flush=True)
        tuned = str(fine_tune(parts, options, own_settings, work, reuse))
    for method in chosen:
        print(method, flush=True)
        if method in PEERS:
            settings = (peer_settings or {}).get(method, {})
            for (mask, seed), filled in peer_fills(method, parts, options, settings, work, reuse).items():
                add(table, method, parts, mask, seed, filled)
            continue
        model = None if method == ZERO else tuned
        if method in (TUNED, MANY, ZERO):  # the first call loads the model and warms up; it is not timed
            own_fill(np.where(parts.missing(options.masks[0], 0), np.nan, parts.test)[:WINDOW], model, 2, 0)
        for mask in options.masks:
            for seed in options.seeds:
                values = np.where(parts.missing(mask, seed), np.nan, parts.test)
                count = options.samples * (4 if method == MANY else 1)
                done = (
                    simple_fill(method, values) if method in SIMPLE else own_fill(values, model, count, seed)
                )
                add(table, method, parts, mask, seed, done)
                print(f"  {mask}, seed {seed}: {done.seconds:.1f} s", flush=True)
    table.notes += training_notes(work, chosen)
    return table


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="launch.py bench series_imputation", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("--data", type=Path, help="folder with ETTh1.csv.gz (default ../shared/data)")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="of training, for every method that trains"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, default=32, help="of ours and of CSDI")
    parser.add_argument("--seeds", type=int, default=3, help="masks a setting")
    parser.add_argument("--csdi-seeds", type=int, help="masks a setting that CSDI fills (default: all)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD",
                        help=f"among: {'; '.join(METHODS)}")  # fmt: skip
    parser.add_argument("--masks", nargs="+", choices=list(MASKS), default=list(MASKS), metavar="MASK",
                        help=f"among: {'; '.join(MASKS).replace('%', '%%')}")  # fmt: skip
    parser.add_argument("--rows", type=int, help="judge on the first rows of validation and test only")
    parser.add_argument(
        "--peer-set", nargs="+", default=[], metavar="MODEL.KEY=VALUE", help="a peer's setting"
    )
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="a setting of our fine-tuning"
    )
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "bench" / "series_imputation")
    parser.add_argument(
        "--reuse", action="store_true", help="keep what an earlier run with the same options finished"
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the page (default docs/results; of a partial run: --work)"
    )
    return parser.parse_args(arguments)


def without_places(words: Sequence[str]) -> list[str]:
    """Arguments without those that name folders: where somebody keeps their files is nobody's business."""
    kept, places = [], ("--work", "--out", "--data")
    for before, word in zip(("", *words), words, strict=False):
        if before not in places and word.split("=")[0] not in places:
            kept.append(word)
    return kept


def main(arguments: list[str] | None = None) -> int:
    """Runs, prints the whole table and the comparisons, writes the page."""
    given = parse(arguments)
    peer_settings: dict[str, dict[str, Any]] = {}
    try:
        for pair in given.peer_set:
            name, dot, rest = pair.partition(".")
            key, equals, value = rest.partition("=")
            if name not in PEERS or not dot or not equals:
                raise BadInput(
                    "peer-set", f"write MODEL.KEY=VALUE with one of {', '.join(PEERS)}, not {pair!r}"
                )
            peer_settings.setdefault(name, {})[key] = _value(value)
        if min(given.seeds, given.samples - 1, given.threads) < 1 or given.minutes <= 0:
            raise BadInput("options", "seeds, threads and minutes must be positive, samples at least 2")
        if given.rows is not None and given.rows < 2 * WINDOW:
            raise BadInput("rows", f"must be at least {2 * WINDOW}")
        if any(m in PEERS for m in given.methods):
            peers.python_of("pypots")
        parts = Parts.of(etth1(data_folder(given.data)), given.rows)
        options = Options(
            given.minutes, given.samples, tuple(range(given.seeds)),
            tuple(range(given.seeds if given.csdi_seeds is None else min(given.csdi_seeds, given.seeds))),
            tuple(given.masks), given.threads,
        )  # fmt: skip
        words = without_places(sys.argv[1:] if arguments is None else arguments)
        command = " ".join(
            ["python launch.py bench series_imputation", *(f"'{w}'" if " " in w else w for w in words)]
        )
        table = run(
            parts, options, given.methods, given.work,
            reuse=given.reuse, peer_settings=peer_settings, own_settings=given.set, command=command,
        )  # fmt: skip
    except (BadInput, peers.PeerMissing, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2
    partial = given.rows is not None or len(given.methods) < len(METHODS) or len(given.masks) < len(MASKS)
    page = table.write(given.out or (given.work if partial else ROOT / "docs" / "results"))[0]
    compared = bars(table)
    if compared:
        asked = "\n## The comparisons asked for\n\n" + "\n".join(f"- {line}" for line in compared) + "\n"
        page.write_text(page.read_text(encoding="utf-8") + asked, encoding="utf-8")
    print(page.read_text(encoding="utf-8"))
    print(page)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
