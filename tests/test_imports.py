"""Who may import what: checked on the source, and on what a fresh interpreter has really loaded."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from domains.registry import DOMAINS

ROOT = Path(__file__).resolve().parents[1]
CORE_MAY_IMPORT = {"core", "torch", "numpy", "einops", "safetensors", "tqdm"}
CORE_MUST_NOT_LOAD = {"gradio", "diffusers", "transformers", "rdkit", "open3d"}
# Libraries that belong to one field: only the domains named may load them.
LIBRARIES_OF_DOMAINS = {
    "Bio": {"protein"},
    "biotite": {"protein"},
    "diffusers": {"image", "video"},
    "librosa": {"audio"},
    "nibabel": {"medical"},
    "open3d": {"shape"},
    "pandas": {"series"},
    "posebusters": {"molecule"},
    "pydicom": {"medical"},
    "rdkit": {"molecule"},
    "skimage": {"image", "medical"},
    "soundfile": {"audio"},
    "statsmodels": {"series"},
    "transformers": {"image", "text", "video"},
    "trimesh": {"shape"},
}
# Libraries that another one always brings along, in the very version that it needs.
COMES_WITH = {"pydantic-core": "pydantic"}
# What a declaration of tasks must not cost: `launch.py tasks` lists all of them at once.
HEAVY = {"torch", "pandas", "pyarrow", "scipy", "sklearn", "statsmodels", "plotly", "matplotlib", "gradio"}


def modules_of(package: str) -> list[str]:
    """Dotted names of all modules of a package, from its files."""
    files = sorted((ROOT / package.replace(".", "/")).rglob("*.py"))
    names = (".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files)
    return [name.removesuffix(".__init__") for name in names]


def loaded_after(*modules: str) -> set[str]:
    """Top-level names that a fresh interpreter has loaded after importing `modules`."""
    code = (
        "import importlib, json, sys\n"
        "for name in json.loads(sys.argv[1]): importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    command = [sys.executable, "-c", code, json.dumps(modules)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def imports_in(file: Path) -> Iterator[str]:
    """The top-level name of each absolute import in a file, also of those inside functions."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        else:
            names = []
        yield from (name.partition(".")[0] for name in names)


@cache
def source_files(*folders: str) -> tuple[Path, ...]:
    return tuple(sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py")))


def test_core_loads_no_interface_and_no_domain_library() -> None:
    loaded = loaded_after(*modules_of("core"))
    assert "torch" in loaded  # the check below would be empty if nothing had been imported
    assert not loaded & CORE_MUST_NOT_LOAD
    assert not loaded & {
        "apps",
        "domains",
        "pydantic",
        "pandas",
        "plotly",
        "matplotlib",
        "statsmodels",
        "sklearn",
    }


def test_core_names_only_its_own_libraries() -> None:
    allowed = CORE_MAY_IMPORT | sys.stdlib_module_names
    for file in source_files("core"):
        for name in imports_in(file):
            assert name in allowed, f"{file.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_loads_no_other_domains_libraries(domain: str) -> None:
    loaded = loaded_after(*modules_of(f"domains.{domain}"))
    assert "domains" in loaded
    assert not {name for name, owners in LIBRARIES_OF_DOMAINS.items() if domain not in owners} & loaded
    assert not loaded & {"gradio", "apps"}


@pytest.mark.parametrize("domain", DOMAINS)
def test_declaring_the_tasks_of_a_domain_loads_nothing_heavy(domain: str) -> None:
    loaded = loaded_after(f"domains.{domain}", f"domains.{domain}.tasks", "domains.registry")
    assert "pydantic" in loaded
    assert not loaded & HEAVY


def test_every_folder_of_modules_is_a_package() -> None:
    for file in source_files("core", "domains", "apps"):
        assert (file.parent / "__init__.py").is_file(), f"{file.parent.relative_to(ROOT)} has no __init__.py"


def test_every_library_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = {
        name: lines for name, lines in project["optional-dependencies"].items() if name not in ("all", "test")
    }
    product = [*project["dependencies"], *(line for lines in extras.values() for line in lines)]
    declared = {canonicalize_name(Requirement(line).name) for line in product}
    declared |= {part for part, whole in COMES_WITH.items() if whole in declared}
    ours = {"core", "domains", "apps", "launch", "benchmarks"}
    distributions = metadata.packages_distributions()
    for file in (*source_files("core", "domains", "apps"), ROOT / "launch.py"):
        for name in imports_in(file):
            if name in ours or name in sys.stdlib_module_names:
                continue
            providers = {canonicalize_name(found) for found in distributions.get(name, [name])}
            assert providers & declared, f"{file.relative_to(ROOT)} imports {name}: name it in pyproject.toml"


def test_the_import_contracts_hold() -> None:
    """The contracts of pyproject.toml, as CI runs them."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    done = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"Contracts: \d+ kept, 0 broken", done.stdout)
