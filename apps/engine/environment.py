"""What this machine offers: versions of libraries, device, threads, memory; loads nothing heavy by itself."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from domains.common.errors import BadInput, MissingLibrary
from domains.common.task import Task

ROOT = Path(__file__).resolve().parents[2]
_DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn"}  # import name -> name on the package index
_IN_EVERY_RECIPE = ("torch", "numpy", "pydantic")


def langevin_version() -> str:
    """The project's version: of the checkout that runs, else of the installed package."""
    pyproject = ROOT / "pyproject.toml"
    if pyproject.is_file():
        import tomllib

        return str(tomllib.loads(pyproject.read_text("utf-8"))["project"]["version"])
    return metadata.version("langevin")


def library_version(library: str) -> str | None:
    """Version of the library imported as `library`, without importing it; None where it is absent."""
    try:
        return metadata.version(_DISTRIBUTIONS.get(library, library))
    except metadata.PackageNotFoundError:
        return None


def library_versions(libraries: Iterable[str] = ()) -> dict[str, str]:
    """Versions for a recipe: langevin, Python, torch, numpy, pydantic and what the task needs."""
    found = {"langevin": langevin_version(), "python": platform.python_version()}
    for library in dict.fromkeys((*_IN_EVERY_RECIPE, *libraries)):
        version = library_version(library)
        if version is not None:
            found[library] = version
    return found


def missing_libraries(task: Task) -> list[str]:
    """Import names of `task.libraries` that are not installed."""
    return [library for library in task.libraries if importlib.util.find_spec(library) is None]


def install_command(extra: str = "") -> str:
    """The command that installs the project with `extra`, from the checkout where there is one."""
    group = f"[{extra}]" if extra else ""
    if (ROOT / "pyproject.toml").is_file():
        pins = "-c constraints.txt " if (ROOT / "constraints.txt").is_file() else ""
        return f"pip install {pins}-e '.{group}'"
    return f"pip install 'langevin{group}'"


def require_libraries(task: Task) -> None:
    """Checks that the task's libraries are installed.

    Raises:
        MissingLibrary: Naming the first that is absent and the extra that installs it.
    """
    for library in missing_libraries(task):
        raise MissingLibrary(library, task.extra)


def choose_device(task: Task, wanted: str | None = None) -> str:
    """The device a task runs on: `wanted`, else "cuda" where the task can use one, else "cpu".

    Raises:
        BadInput: If `wanted` is not to be had.
    """
    if wanted not in (None, "cpu", "cuda"):
        raise BadInput("device", f"must be cpu or cuda, not {wanted!r}")
    if wanted == "cpu" or "torch" not in task.libraries:
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise BadInput("device", "this machine has no CUDA device that torch can use; use --device cpu")
    return "cpu"


def thread_count() -> int:
    """Threads of numerical kernels in this process: they set the order of sums, hence the last digits."""
    if "torch" in sys.modules:
        import torch

        return torch.get_num_threads()
    # What torch would say once loaded: the answer must not depend on what ran in this process before.
    named = os.environ.get("OMP_NUM_THREADS", "")
    return int(named) if named.isdigit() and int(named) > 0 else cpu_count()


def use_threads(task: Task, threads: int) -> None:
    """Makes numerical kernels use `threads` threads, as a recipe recorded."""
    if "torch" in task.libraries:
        import torch

        torch.set_num_threads(max(1, min(threads, 1024)))


def cpu_count() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Physical memory of the machine, bytes; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def import_task_modules(modules: Iterable[str]) -> None:
    """Imports the modules that the setting `task_modules` names; they declare further tasks."""
    for module in modules:
        importlib.import_module(module)
