"""Makes a peer's own virtual environment from its pinned requirements, for the benchmarks that need one.

Peers pin old versions of what we use, or would pull CUDA builds of it, so none of them is installed beside us:
`benchmarks/peers/NAME.txt` becomes `benchmarks/peers/.venvs/NAME`.  Lines under a line `# no-deps` are installed
afterwards and without their dependencies, for peers whose stated requirements are wrong for a CPU.

    python launch.py bench peers              which there are, and which are made
    python launch.py bench peers pypots       makes one
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "peers"
ENVIRONMENTS = FOLDER / ".venvs"
SCRIPTS = Path(__file__).resolve().parent / "peer_scripts"
NO_DEPS = "# no-deps"
STAMP = "requirements.sha256"


class PeerMissing(RuntimeError):
    """A peer's environment cannot be made or was not; the message says what to do."""


def peers() -> dict[str, Path]:
    """Name -> requirements file."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.txt"))}


def stages(text: str) -> tuple[list[str], list[str]]:
    """Requirements to install with their dependencies, and those to install after them without."""
    first: list[str] = []
    second: list[str] = []
    chosen = first
    for line in map(str.strip, text.splitlines()):
        if line == NO_DEPS:
            chosen = second
        elif line and not line.startswith("#"):
            chosen.append(line)
    return first, second


def cuda_packages(report: str) -> list[str]:
    """Names of the CUDA packages in a `pip install --report` in JSON."""
    names = [str(item["metadata"]["name"]).lower() for item in json.loads(report)["install"]]
    return [name for name in names if name.startswith(("nvidia-", "cuda-", "triton"))]


def _digest(requirements: Path) -> str:
    return hashlib.sha256(requirements.read_bytes()).hexdigest()


def _interpreter(name: str) -> Path:
    windows = os.name == "nt"
    return ENVIRONMENTS / name / ("Scripts" if windows else "bin") / ("python.exe" if windows else "python")


def is_made(name: str) -> bool:
    """Whether the environment of a known peer stands and is that of its present requirements."""
    stamp = ENVIRONMENTS / name / STAMP
    return stamp.is_file() and stamp.read_text().strip() == _digest(peers()[name])


def python_of(name: str) -> Path:
    """The interpreter of a peer's environment.

    Raises:
        PeerMissing: If there is no such peer, or it is not made.
    """
    if name not in peers():
        raise PeerMissing(f"no peer {name!r}; choose one of {', '.join(peers())}")
    if not is_made(name):
        raise PeerMissing(
            f"{name} is not installed; make its environment by: python launch.py bench peers {name}"
        )
    return _interpreter(name)


def _pip(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, check=False).returncode != 0:
        raise PeerMissing("pip failed; its last lines say why")


def _refuse_cuda(python: Path, requirements: Sequence[str]) -> None:
    """Raises where pip would fetch a CUDA build of torch, before a byte of it is fetched."""
    torch = [line for line in requirements if line.startswith("torch==")]
    if not torch:
        return
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        _pip(python, "--quiet", "--dry-run", "--report", str(report), *torch)
        found = cuda_packages(report.read_text())
    if found:
        raise PeerMissing(
            f"pip would install a CUDA build of torch ({len(found)} packages such as {found[0]}); give it the address "
            "of PyTorch's CPU wheels in PIP_EXTRA_INDEX_URL (pytorch.org, Get Started, has it), or pass --cuda"
        )


def make(name: str, *, cuda: bool = False) -> Path:
    """Makes the environment anew and returns its interpreter; what stood there before is deleted.

    Raises:
        PeerMissing: If there is no such peer, or pip fails.
    """
    if name not in peers():
        raise PeerMissing(f"no peer {name!r}; choose one of {', '.join(peers())}")
    requirements = peers()[name]
    first, second = stages(requirements.read_text())
    target = ENVIRONMENTS / name
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(target)], check=True)
    python = _interpreter(name)
    if not cuda:
        _refuse_cuda(python, first)
    with tempfile.TemporaryDirectory() as folder:
        for number, (lines, options) in enumerate(((first, []), (second, ["--no-deps"]))):
            if lines:
                listed = Path(folder) / f"{number}.txt"
                listed.write_text("\n".join(lines) + "\n")
                _pip(python, "--quiet", *options, "-r", str(listed))
    (target / STAMP).write_text(_digest(requirements) + "\n")
    return python


def run(name: str, script: str, arguments: Sequence[str], *, threads: int, log: Path) -> None:
    """Runs a script of `benchmarks/peer_scripts` inside a peer's environment, with a home folder of its own.

    Lines that begin with "progress:" are shown; everything goes to `log`.

    Raises:
        PeerMissing: If the environment is not made.
        RuntimeError: If the script fails, with its last lines.
    """
    python = python_of(name)
    home = ENVIRONMENTS / name / "home"  # some peers write settings into the home folder when imported
    home.mkdir(exist_ok=True)
    environment = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    environment |= {
        "HOME": str(home),
        "USERPROFILE": str(home),
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    environment |= {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")}
    command = [str(python), str(SCRIPTS / script), *arguments]
    last: list[str] = []
    with (
        log.open("w") as file,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            last = [*last[-14:], line]
            if line.startswith("progress:"):
                print(f"  {line.removeprefix('progress:').strip()}", flush=True)
    if process.returncode != 0:
        raise RuntimeError(f"{script} failed in the environment {name} (log: {log}):\n{''.join(last)}")


def main(arguments: list[str] | None = None) -> int:
    """Lists the peers, or makes the environments that are named."""
    parser = argparse.ArgumentParser(
        prog="launch.py bench peers",
        description="Makes virtual environments of peers from pinned requirements.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="peers to install; none lists them")
    parser.add_argument("--again", action="store_true", help="make it anew though it stands")
    parser.add_argument("--cuda", action="store_true", help="take a CUDA build of torch if pip offers one")
    options = parser.parse_args(arguments)
    if not options.names:
        for name in peers():
            print(f"{name:<12} {'made' if is_made(name) else 'not made'}")
    try:
        for name in options.names:
            if name in peers() and is_made(name) and not options.again:
                print(f"{name} stands already: {_interpreter(name)}")
            else:
                print(f"{name} is made: {make(name, cuda=options.cuda)}")
    except PeerMissing as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
