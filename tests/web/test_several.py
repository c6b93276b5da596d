"""Many results of one request: seeds by address, each alone reproducible, and nothing made twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apps.cli.main import main
from apps.engine.many import Many, counted, run_here
from apps.engine.run import run_task
from apps.engine.validation import make_request
from domains.common.errors import BadInput
from domains.common.several import result_request, result_seed
from tests.engine.demo_tasks import WALK


def many(out: Path, count: int = 4, **fields: object) -> Many:
    return Many(WALK, make_request(WALK, {"length": 6, "steps": 2, **fields}), count, out)


def contents(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / "result.json").read_text())["recipe"]["content_sha256"]
    return found


def test_seeds_are_addressed() -> None:
    assert result_seed(7, 0) == 7
    seeds = {(seed, index): result_seed(seed, index) for seed in range(40) for index in range(40)}
    assert len(set(seeds.values())) == len(seeds), "requests with neighbouring seeds share no result"
    assert all(0 <= seed < 2**63 for seed in seeds.values())
    assert result_seed(7, 3) == 7503061482513521601, "recipes of earlier versions hold"


def test_a_result_is_the_same_alone_and_among_many(tmp_path: Path) -> None:
    several = many(tmp_path / "out", seed=5)
    assert counted(run_here(several, several.todo()), 0, 4, None) == 4
    run_task(WALK, result_request(several.request, 3), out=tmp_path / "alone")
    assert contents(several.folder(3)) == contents(tmp_path / "alone")
    run_task(WALK, several.request, out=tmp_path / "first")
    assert contents(several.folder(0)) == contents(tmp_path / "first")
    result = several.summary()
    assert len({json.dumps(contents(several.folder(i))) for i in range(4)}) == 4
    assert [a["path"] for a in result["artifacts"]][:2] == ["000000/walk.csv", "000000/walk.png"]
    assert {*json.loads((tmp_path / "out" / "result.json").read_text())} >= {
        "task", "artifacts", "metrics", "recipe", "nfe", "seconds",
    }  # fmt: skip


def test_what_is_there_stays_and_what_is_another_requests_does_not(tmp_path: Path) -> None:
    numbers = tmp_path / "a.csv"
    numbers.write_text("1\n2\n")
    first = many(tmp_path / "out", table=str(numbers))
    run = run_here(first, first.todo())
    next(run), next(run)
    run.close()
    assert first.todo() == [2, 3]
    stamp = (first.folder(0) / "result.json").stat().st_mtime_ns
    again = many(tmp_path / "out", count=5, table=str(numbers))
    assert again.todo() == [2, 3, 4]
    list(run_here(again, again.todo()))
    assert again.todo() == [] and (again.folder(0) / "result.json").stat().st_mtime_ns == stamp
    assert many(tmp_path / "out", seed=1, table=str(numbers)).todo() == [0, 1, 2, 3]
    (again.folder(1) / "walk.csv").unlink()
    assert again.todo() == [1]
    with pytest.raises(BadInput, match="1 results are missing"):
        again.summary()
    numbers.write_text("1\n3\n")
    assert many(tmp_path / "out", table=str(numbers)).todo() == [0, 1, 2, 3], "the file is another"


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "lab.theory", "--samples", "50", "--steps", "2", "--out", str(tmp_path / "out")]
    assert main([*words, "--count", "2"]) == 0
    assert "2 results; 2 made" in capsys.readouterr().out
    assert main([*words, "--count", "3"]) == 0
    assert "3 results, 2 of them were there already; 1 made" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "000000",
        "000001",
        "000002",
        "result.json",
    ]
    assert main(["replay", str(tmp_path / "out" / "000002" / "plot.json")]) == 0


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["--count", "0"], "count"),
        (["--count", "x"], "count"),
        (["--count", "99999999"], "count"),
        (["--engine", "slurm"], "engine"),
        (["--gpus", "1"], "gpus"),
        (["--count", "2", "--gpus", "1"], "gpus"),
        (["--threads", "0"], "threads"),
    ],
)
def test_bad_options_are_one_line(
    words: list[str], field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["run", "lab.theory", "--out", str(out), *words]) == 2
    assert capsys.readouterr().err.startswith(f"error: {field}: ") and not out.exists()
