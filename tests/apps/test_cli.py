"""The command line: commands, flags, output, exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import domains.registry
from apps.cli import bench, doctor
from apps.cli.flags import read_flags, task_flags
from apps.cli.main import COMMANDS, main
from apps.cli.run import build_request
from core.files import file_sha256
from domains.common import models
from domains.common.errors import Cancelled, MissingLibrary
from domains.common.task import TASKS, Sampling, Task
from domains.registry import all_tasks

ROOT = Path(__file__).resolve().parents[2]
Capture = pytest.CaptureFixture[str]


def launch(*arguments: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        **kwargs,
    )


def test_listing_tasks_loads_nothing_heavy() -> None:
    code = (
        "import sys; from apps.cli.main import main; status = main(['tasks', '--json']);"
        "heavy = {'torch', 'numpy', 'pandas', 'plotly', 'matplotlib', 'gradio', 'statsmodels', 'tqdm', 'PIL'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"
    listed = {item["name"]: item for item in json.loads(done.stdout)}
    assert set(listed) == set(all_tasks())
    assert listed["series.impute"]["request"]["properties"]["table"]["format"] == "file"


def test_launch_from_another_folder(tmp_path: Path) -> None:
    done = launch("tasks", cwd=tmp_path)
    assert done.returncode == 0
    assert "series.impute" in done.stdout
    assert "--time-column" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: Capture) -> None:
    try:
        status = main([command, "--help"])
    except SystemExit as end:  # argparse's own way
        status = int(end.code or 0)
    assert status == 0
    assert "usage: python launch.py" in capsys.readouterr().out


def test_help_and_version(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    assert set(COMMANDS) <= set(capsys.readouterr().out.split())
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == "0.1.0"


def test_no_field_of_a_task_hides_a_shared_flag_or_an_option() -> None:
    for task in all_tasks().values():
        own = set(task.request.model_fields) - {"sampling"}
        assert not own & set(Sampling.model_fields)
        assert not own & {"request", "out", "device", "progress", "no_progress", "help", "debug"}


def test_run_writes_and_lists(walk_task: Task, numbers: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    arguments = [
        "--table",
        str(numbers),
        "--seed",
        "3",
        "--steps=4",
        "--gaps",
        "--marks",
        "1,2.5",
        "--marks=-3",
    ]
    assert main(["run", "demo.walk", *arguments, "--drift", "-1.5", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert f"{out}/walk.csv" in printed.out
    assert "4 denoiser evaluations" in printed.out
    assert printed.err == "", "no bar where stderr is no terminal"
    request = json.loads((out / "result.json").read_text("utf-8"))["recipe"]["request"]
    assert request["sampling"] == Sampling(seed=3, steps=4).model_dump()
    assert (request["gaps"], request["marks"], request["drift"]) == (True, [1.0, 2.5, -3.0], -1.5)


def test_a_bar_shows_where_it_is_asked_for(walk_task: Task, tmp_path: Path, capsys: Capture) -> None:
    assert main(["run", "demo.walk", "--progress", "--out", str(tmp_path / "out")]) == 0
    assert "%" in capsys.readouterr().err


def test_requests_nested_flat_and_overridden(walk_task: Task, tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    for stored in ({"length": 9, "sampling": {"seed": 5, "steps": 2}}, {"length": 9, "seed": 5, "steps": 2}):
        file.write_text(json.dumps(stored), "utf-8")
        request = build_request(walk_task, {"seed": "6", "length": "12"}, str(file))
        assert request.model_dump()["length"] == 12
        assert (request.sampling.seed, request.sampling.steps) == (6, 2)


def test_dashes_underscores_and_switches(walk_task: Task) -> None:
    flags = task_flags(all_tasks()["series.impute"])
    for spelled in ("--time-column", "--time_column"):
        assert read_flags([spelled, "when"], flags, {})[0] == {"time_column": "when"}
        assert read_flags([f"{spelled}="], flags, {})[0] == {"time_column": None}, "left empty"
    flags = task_flags(walk_task)
    for words, gaps in (
        (["--gaps"], True),
        (["--no-gaps"], False),
        (["--gaps", "false"], False),
        (["--gaps=yes"], True),
    ):
        assert read_flags([*words, "--length", "5"], flags, {}) == ({"gaps": gaps, "length": "5"}, {})
    assert read_flags(["--marks", "[1, 2]"], flags, {})[0] == {"marks": [1, 2]}
    assert read_flags(["--out", "x", "--quiet"], flags, {"out": "value", "quiet": "switch"})[1] == {
        "out": "x",
        "quiet": "true",
    }


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nope"], "error: command: no command 'nope'; the commands are app, tasks, "),
        (["tusks"], "error: command: no command 'tusks'; did you mean tasks?"),
        (["run"], "error: task: name one after run: series.impute, "),
        (["run", "--out", "x"], "error: task: name one after run: "),
        (["run", "demo.wolk", "--out", "x"], "error: task: no task 'demo.wolk'; choose one of "),
        (
            ["run", "demo.walk", "--lenght", "3", "--out", "x"],
            "error: lenght: unknown field; did you mean length?",
        ),
        (["run", "demo.walk", "--length", "--out", "x"], "error: length: needs a value: --length VALUE"),
        (
            ["run", "demo.walk", "stray", "--out", "x"],
            "error: arguments: unexpected 'stray'; fields are given as",
        ),
        (["run", "demo.walk", "--length", "2", "--length", "3"], "error: length: is given twice; keep one"),
        (["run", "demo.walk", "--length", "3"], "error: out: say where the results go: --out DIR"),
        (
            ["run", "demo.walk", "--device", "tpu", "--out", "x"],
            "error: device: must be cpu or cuda, not 'tpu'",
        ),
        (["run", "series.impute", "--out", "x"], "error: table: is required: CSV or Parquet"),
        (["replay"], "error: artifact: is required; see "),
        (["replay", "absent.csv"], "error: artifact: no file 'absent.csv'"),
        (["train", "nope"], "error: model: no training for 'nope'; choose one of series-base"),
        (["train", "series-base", "--data", "absent.csv"], "error: data: no such file"),
        (["train", "series-base", "--set", "steps"], "error: set: write key=value, not 'steps'"),
        (["train", "series-base", "--device", "tpu"], "error: device: invalid choice"),
        (["eval", "demo.walk"], "error: task: demo.walk has no evaluation"),
        (["eval", "series.impute", "--dta", "x"], "error: dta: unknown flag; did you mean --data?"),
        (["models", "card"], "error: name: say which"),
        (["models", "card", "no-such-model"], "error: model: no model 'no-such-model'"),
        (["models", "liste"], "error: action: invalid choice"),
        (["bench", "no-such"], "error: name: no benchmark 'no_such'"),
        (["--port", "70000"], "error: port: must be a whole number from 1 to 65535, not '70000'"),
        (["--prot", "7"], "error: prot: unknown flag; did you mean --port?"),
    ],
)
def test_usage_errors_are_one_line(
    walk_task: Task,
    arguments: list[str],
    line: str,
    capsys: Capture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(line)
    assert printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_other_ends(walk_task: Task, tmp_path: Path, hooks: list[Any], capsys: Capture) -> None:
    ends = [
        (KeyboardInterrupt(), 130, "cancelled"),
        (Cancelled(), 130, "cancelled"),
        (MissingLibrary("rdkit", "molecule"), 3, "error: rdkit is not installed"),
        (ZeroDivisionError("by\nzero"), 1, "error: unexpected ZeroDivisionError: by zero (add --debug"),
    ]
    for error, status, line in ends:

        def fail(run: object, step: int, error: BaseException = error) -> None:
            raise error

        hooks[:] = [fail]
        assert main(["run", "demo.walk", "--out", str(tmp_path / "out")]) == status
        printed = capsys.readouterr().err
        assert printed.startswith(line)
        assert printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    main(["run", "demo.walk", "--debug", "--out", str(tmp_path / "out")])
    assert "Traceback" in capsys.readouterr().err


def test_terminating_a_run_leaves_nothing(walk_task: Task, tmp_path: Path, hooks: list[Any]) -> None:
    begun = threading.Event()

    def linger(run: object, step: int) -> None:
        begun.set()
        time.sleep(0.01)

    def terminate() -> None:
        begun.wait(10)
        os.kill(os.getpid(), signal.SIGTERM)

    hooks.append(linger)
    killer = threading.Thread(target=terminate)
    killer.start()
    assert main(["run", "demo.walk", "--steps", "1000", "--out", str(tmp_path / "out")]) == 130
    killer.join()
    assert list(tmp_path.iterdir()) == []


def test_train_hands_over_what_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    said: list[Any] = []
    module = ModuleType("training_for_a_test")
    module.train = lambda *given: said.append(given[:-1]) or given[-1](1, 2, "learning")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "training_for_a_test", module)
    monkeypatch.setitem(domains.registry.TRAINABLE, "tiny", "training_for_a_test:train")
    data = tmp_path / "data.csv"
    data.write_text("1\n", "utf-8")
    words = [
        "--data",
        str(data),
        "--set",
        "steps=5",
        "rate=1e-3",
        "--set",
        "name=a=b",
        "--resume",
        "--device",
        "cpu",
    ]
    assert main(["train", "tiny", *words, "--out", str(tmp_path / "model")]) == 0
    assert said == [(data, {"steps": "5", "rate": "1e-3", "name": "a=b"}, True, "cpu", tmp_path / "model")]
    assert str(tmp_path / "model") in capsys.readouterr().out

    def interrupted(*given: Any) -> None:
        raise KeyboardInterrupt

    module.train = interrupted  # type: ignore[attr-defined]
    assert main(["train", "tiny", "--device", "cpu", "--out", str(tmp_path / "model")]) == 130
    assert capsys.readouterr().err == "cancelled: go on from the last checkpoint with --resume\n"


def test_eval_prints_and_writes_the_table(
    walk_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    class Table:
        def to_markdown(self) -> str:
            return "| method | CRPS |"

        def to_json(self) -> str:
            return '{"rows": []}'

        def write(self, folder: Path) -> None:
            folder.mkdir(parents=True)
            (folder / "table.md").write_text(self.to_markdown(), "utf-8")

    said: list[Any] = []
    module = ModuleType("evaluation_for_a_test")
    module.evaluate = lambda data, **given: said.append((data, given)) or Table()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "evaluation_for_a_test", module)
    TASKS["demo.walk"] = replace(walk_task, evaluate="evaluation_for_a_test:evaluate")
    assert main(["eval", "demo.walk", "--out", str(tmp_path / "tables")]) == 0
    assert capsys.readouterr().out.strip() == "| method | CRPS |"
    assert (tmp_path / "tables" / "table.md").is_file()
    assert main(["eval", "demo.walk", "--json", "--quick", "--model", "mine", "--data", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == {"rows": []}
    assert [given.pop("progress") is not None for _, given in said] == [True, True]
    assert said == [(None, {"model": None, "quick": False}), (tmp_path, {"model": "mine", "quick": True})]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of built-in models with one model."""
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    card = {"sha256": file_sha256(folder / "model.safetensors"), "summary": "a tiny model"}
    (folder / "card.json").write_text(json.dumps(card), "utf-8")
    for function in (models.builtin_models, models.find_model):
        monkeypatch.setattr(function, "__defaults__", (tmp_path / "models",))
    return folder


def test_models_are_listed_shown_and_verified(shelf: Path, capsys: Capture) -> None:
    assert main(["models"]) == 0
    assert capsys.readouterr().out == "tiny  7 bytes  a tiny model\n"
    assert main(["models", "card", "tiny"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"] == "a tiny model"
    assert main(["models", "verify"]) == 0
    assert capsys.readouterr().out == "tiny  ok\n"
    (shelf / "model.safetensors").write_bytes(b"Weights")
    assert main(["models", "verify"]) == 1
    assert "differs" in capsys.readouterr().out
    (shelf / "model.safetensors").unlink()
    assert main(["models", "verify", "tiny"]) == 1
    assert "missing" in capsys.readouterr().out
    (shelf / "card.json").write_text("{", "utf-8")
    assert main(["models"]) == 2
    assert "not valid JSON" in capsys.readouterr().err


def test_finding_models(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builtin = models.find_model("tiny")
    assert (builtin.folder, builtin.builtin, builtin.problem()) == (shelf, True, None)
    own = models.find_model(str(shelf))
    assert (own.name, own.builtin, own.problem()) == ("tiny", False, None)
    for name in ("", "..", "tiny/../tiny/..", "x" * 5000, "a\0b", "~nobody/x"):
        with pytest.raises(models.BadInput, match="no model"):
            models.find_model(name)


def test_doctor_says_what_can_run(capsys: Capture) -> None:
    status = main(["doctor"])
    printed = capsys.readouterr().out
    assert "always needed: torch " in printed
    assert "task series.impute: " in printed
    assert ("all is well" in printed) == (status == 0)


def test_doctor_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, walk_task: Task, tmp_path: Path
) -> None:
    TASKS["demo.walk"] = replace(walk_task, libraries=("no_such_library",))
    wanted = {"": [("numpy", ">=99"), ("no-such-library", "")], "image": [("another-library", ">=1")]}
    monkeypatch.setattr(doctor, "requirements", lambda: wanted)
    (tmp_path / "file").write_text("", "utf-8")
    assert main(["doctor", "--out", str(tmp_path / "file")]) == 1
    printed = capsys.readouterr().out
    assert "is too old, needs >=99" in printed
    assert "no-such-library is missing; install with: pip install" in printed
    assert "another-library is missing" in printed
    assert "task demo.walk: no: no_such_library missing" in printed
    assert "name a folder" in printed
    assert "3 things to mend" in printed


def test_bench_lists_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    (tmp_path / "sum_up.py").write_text(
        '"""Adds its arguments.\n\nMore."""\nimport sys\nimport core\nsys.exit(int(sys.argv[1]))\n'
    )
    (tmp_path / "_shared.py").write_text("")
    monkeypatch.setattr(bench, "FOLDER", tmp_path)
    assert main(["bench"]) == 0
    assert capsys.readouterr().out.endswith("  sum_up  Adds its arguments.\n")
    assert main(["bench", "sum-up", "7", "--debug"]) == 7


def test_the_app_is_opened_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[dict[str, Any]] = []
    module = ModuleType("apps.studio.app")
    module.launch = lambda **given: said.append(given)  # type: ignore[attr-defined]
    monkeypatch.setenv("LANGEVIN_HOME", str(tmp_path))
    monkeypatch.setenv("LANGEVIN_USER", "ada")  # without a login, only this machine may be let in
    monkeypatch.setenv("LANGEVIN_PASSWORD", "correct horse battery")
    monkeypatch.setitem(sys.modules, "apps.studio.app", module)
    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    monkeypatch.delenv("GRADIO_SERVER_PORT", raising=False)
    assert main([]) == 0
    assert main(["--host", "0.0.0.0", "--port", "8000", "--root_path", "/x_y"]) == 0
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    monkeypatch.setenv("GRADIO_SERVER_PORT", "80")
    assert main(["app"]) == 0
    for given in said:
        assert given.pop("settings").profile == "local"
        assert list(given.pop("users").hashes) == ["ada"]
    assert said == [
        {"host": "127.0.0.1", "port": 7860, "root_path": None},
        {"host": "0.0.0.0", "port": 8000, "root_path": "/x_y"},
        {"host": "0.0.0.0", "port": 80, "root_path": None},
    ]


def test_a_closed_pipe_is_no_crash() -> None:
    command = f"{sys.executable} {ROOT / 'launch.py'} tasks --json | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[\n"
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
