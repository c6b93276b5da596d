"""Who can reach the app at all: loopback, or a login, or the open hosted profile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from apps.cli.main import main
from apps.engine.settings import Settings, load_settings
from apps.web.exposure import check_exposure, space_settings
from apps.web.users import Users, load_users, read_users
from domains.common.errors import BadInput
from tests.browser.driver import free_port

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("LANGEVIN_", "GRADIO_S", "SPACE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LANGEVIN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


REFUSED = [
    (["--host", "0.0.0.0"], "host: 0.0.0.0 would let others in without a login"),
    (["--host", "::"], "host: :: would let others in"),
    (["--host", "192.168.1.4"], "host: 192.168.1.4 would let others in"),
    (["--host", "example.org"], "host: example.org would let others in"),
    (["--host", "0.0.0.0", "--profile", "hosted"], "host: 0.0.0.0 would let others in"),
    (["--share"], "share: the app opens no tunnel"),
    (["--share", "--host", "127.0.0.1"], "share: the app opens no tunnel"),
    (["--settings", "absent.toml"], "settings: absent.toml cannot be read"),
    (["--port", "0"], "port: must be a whole number"),
]


@pytest.mark.parametrize(("flags", "line"), REFUSED)
def test_an_app_that_strangers_could_reach_does_not_open(
    flags: list[str], line: str, capsys: Capture, home: Path
) -> None:
    assert main(flags) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {line}") and printed.err.count("\n") == 1
    assert printed.out == "" and not home.exists()


def test_the_environment_opens_no_door_either(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    assert main([]) == 2
    monkeypatch.delenv("GRADIO_SERVER_NAME")
    monkeypatch.setenv("GRADIO_SHARE", "True")
    assert main([]) == 2
    monkeypatch.delenv("GRADIO_SHARE")
    monkeypatch.setenv("LANGEVIN_OPEN_TO_ALL", "true")  # without the hosted profile's limits
    assert main([]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_what_may_be_opened() -> None:
    nobody, ada = Users({}), Users({"ada": "hash"})
    hosted = Settings(profile="hosted", open_to_all=True)
    for host, settings, users in (
        ("127.0.0.1", Settings(), nobody),
        ("::1", Settings(), nobody),
        ("0.0.0.0", Settings(), ada),
        ("0.0.0.0", hosted, nobody),
    ):
        check_exposure(host, settings, users)
    with pytest.raises(BadInput):
        check_exposure("0.0.0.0", Settings(profile="hosted"), nobody)


def test_a_space_is_open_under_the_hosted_limits_unless_it_says_otherwise() -> None:
    assert space_settings({}) == {}
    space = {"SPACE_ID": "a/b", "SPACE_HOST": "a-b.hf.space"}
    settings = load_settings(environ={}, **space_settings(space))
    assert (settings.profile, settings.open_to_all, settings.hosts) == ("hosted", True, ("a-b.hf.space",))
    assert settings.requests_per_minute > 0 and settings.embed_in == ("https://huggingface.co",)
    assert "open_to_all" not in space_settings({**space, "LANGEVIN_OPEN_TO_ALL": "false"})


def add(name: str, password: str, home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "launch.py", "users", "add", name]
    environ = {**os.environ, "LANGEVIN_HOME": str(home)}
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        command, input=password + "\n", text=True, capture_output=True, cwd=root, env=environ, timeout=60
    )


def test_users_are_added_listed_and_removed(home: Path, capsys: Capture) -> None:
    assert add("ada", "correct horse battery", home).returncode == 0
    file = home / "users.toml"
    assert file.stat().st_mode & 0o077 == 0
    stored = tomllib.loads(file.read_text())["users"]["ada"]
    assert stored.startswith("$argon2id$") and "horse" not in file.read_text()
    assert load_users(file, {}).verify("ada", "correct horse battery")
    assert not load_users(file, {}).verify("ada", "correct horse batter")
    assert main(["users"]) == 0 and capsys.readouterr().out == "ada\n"
    assert main(["users", "remove", "bob"]) == 2
    assert main(["users", "remove", "ada"]) == 0
    assert read_users(file) == {}


@pytest.mark.parametrize("name", ["Ada", "a b", "../ada", "local", "guest-1", "", "a" * 33, "ada\n", 'a"b'])
def test_names_that_nobody_has(name: str, capsys: Capture) -> None:
    assert main(["users", "add", name]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_short_password_is_refused(home: Path) -> None:
    done = add("ada", "short", home)
    assert (done.returncode, done.stderr) == (2, "error: password: must have 10 to 1024 characters\n")
    assert not home.exists()


@pytest.mark.parametrize("text", ["[users", "users = 3", "[users]\nada = 3", "[users]\n'../x' = 'h'"])
def test_a_users_file_that_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "users.toml"
    file.write_text(text)
    with pytest.raises(BadInput):
        read_users(file)


def test_one_user_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "users.toml"
    users = load_users(file, {"LANGEVIN_USER": "eve", "LANGEVIN_PASSWORD": "correct horse battery"})
    assert users.verify("eve", "correct horse battery") and not users.verify("eve", "")
    for environ in (
        {"LANGEVIN_USER": "eve"},
        {"LANGEVIN_USER": "eve", "LANGEVIN_PASSWORD": "short"},
        {"LANGEVIN_USER": "../x", "LANGEVIN_PASSWORD": "x" * 20},
    ):
        with pytest.raises(BadInput):
            load_users(file, environ)


def answer(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.mark.timeout(180)
def test_the_app_starts_says_it_is_well_and_ends_in_order(root: Path, home: Path, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "launch.py", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=root,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LANGEVIN_LOG_REQUESTS": "1"},
        )
    try:
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 120
        while answer(f"{url}/healthz") != 200:
            assert process.poll() is None and time.monotonic() < until, (tmp_path / "log").read_text()
            time.sleep(0.1)
        stream = urllib.request.urlopen(f"{url}/gradio_api/heartbeat/abc", timeout=30)  # stays open
        assert stream.read(5) == b"data:"
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(60) == 0
        assert time.monotonic() - began < 30
    finally:
        process.kill()
    said = (tmp_path / "log").read_text()
    assert '"event": "ending"' in said and "Traceback" not in said
    assert answer(f"http://127.0.0.1:{port}/healthz") == 0
