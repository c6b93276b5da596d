"""`launch.py doctor`: what is installed, which tasks can run, what is missing."""

from __future__ import annotations

import platform
import re
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from apps.cli.parser import Parser
from apps.engine.environment import (
    ROOT,
    cpu_count,
    install_command,
    langevin_version,
    memory_bytes,
    missing_libraries,
)
from apps.engine.publish import staging_folder
from domains.common.errors import BadInput
from domains.common.files import human_size
from domains.common.models import builtin_models
from domains.registry import all_tasks

_PYTHON = (3, 11)


def main(arguments: Sequence[str]) -> int:
    """Prints the state of this installation; exit status 1 where something always needed is missing."""
    parser = Parser("doctor", "Says what is installed, which tasks can run and what is missing.")
    parser.add_argument(
        "--out", type=Path, default=Path("."), help="folder to try writing in (default: here)"
    )
    chosen = parser.read(arguments)
    faults = 0
    print(
        f"langevin {langevin_version()}, Python {platform.python_version()}, {platform.platform(terse=True)}"
    )
    if sys.version_info < _PYTHON:
        faults += 1
        print("  needs Python 3.11 or later")
    for extra, wanted in requirements().items():
        wrong = [(name, fault) for name, bound in wanted for fault in [_fault(name, bound)] if fault]
        versions = ", ".join(f"{name} {_version(name) or 'absent'}" for name, _ in wanted)
        print(f"{extra or 'always needed'}: {versions}")
        for name, fault in wrong:
            print(f"  {name} {fault}; install with: {install_command(extra)}")
        faults += len(wrong) if not extra else 0
    for task in all_tasks().values():
        missing = missing_libraries(task)
        mend = f"no: {', '.join(missing)} missing; install with: {install_command(task.extra)}"
        print(f"task {task.name}: {mend if missing else 'can run'}")
    faults += _models()
    print(f"device: {_device()}, {cpu_count()} cores, {_memory()}")
    for name, folder in (("output folder", chosen.out), ("temporary folder", Path(tempfile.gettempdir()))):
        try:
            with staging_folder(folder):
                print(f"{name}: can be written")
        except BadInput as error:
            faults += 1
            print(f"{name}: {error.message}")
    print("all is well" if not faults else f"{faults} thing{'s' if faults > 1 else ''} to mend")
    return 1 if faults else 0


def requirements() -> dict[str, list[tuple[str, str]]]:
    """Extra -> (distribution, version bound) as the project declares them; "" holds what is always needed."""
    pyproject = ROOT / "pyproject.toml"
    groups: dict[str, list[str]] = {}
    if pyproject.is_file():
        import tomllib

        project = tomllib.loads(pyproject.read_text("utf-8"))["project"]
        groups = {"": project.get("dependencies", []), **project.get("optional-dependencies", {})}
    else:
        for line in metadata.requires("langevin") or []:
            found = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
            groups.setdefault(found[1] if found else "", []).append(line)
    split = {extra: [part for line in lines if (part := _split(line))] for extra, lines in groups.items()}
    return {extra: parts for extra, parts in split.items() if parts and extra not in ("test", "dev")}


def _split(line: str) -> tuple[str, str] | None:
    found = re.match(r"\s*([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*([^;]*)", line)
    if found is None or found[1].lower() == "langevin":
        return None
    return found[1], found[2].strip(" ()")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _fault(name: str, bound: str) -> str | None:
    version = _version(name)
    if version is None:
        return "is missing"
    least = re.match(r">=\s*([\d.]+)", bound)
    if least and _numbers(version) < _numbers(least[1]):
        return f"{version} is too old, needs {bound}"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """Leading numbers of a version: `2.13.0+cpu` is (2, 13, 0)."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _models() -> int:
    faults = 0
    models = builtin_models()
    for model in models.values():
        problem = model.problem()
        faults += problem is not None
        print(f"model {model.name}: {problem or 'verified'}")
    if not models:
        print("models: none is installed")
    return faults


def _device() -> str:
    try:
        import torch
    except ImportError:
        return "cpu (torch is missing)"
    if torch.cuda.is_available():
        return f"cuda ({torch.cuda.get_device_name(0)})"
    return "cpu"


def _memory() -> str:
    total = memory_bytes()
    return f"{human_size(total)} of memory" if total else "memory unknown"
