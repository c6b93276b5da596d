"""`launch.py bench [NAME [arguments]]`: lists benchmarks, or runs one with the remaining arguments."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from apps.engine.environment import ROOT
from domains.common.errors import BadInput

FOLDER = ROOT / "benchmarks"


def main(arguments: Sequence[str]) -> int:
    """Lists the benchmarks, or runs one in a process of its own and returns its exit status."""
    known = benchmarks()
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python launch.py bench [NAME [arguments of the benchmark ...]]\n")
        width = max(map(len, known), default=0)
        for name, path in known.items():
            print(f"  {name:<{width}}  {_first_line(path)}")
        if not known:
            print("  no benchmark is installed")
        return 0
    name, *rest = arguments
    name = name.replace("-", "_").removesuffix(".py")
    if name not in known:
        raise BadInput("name", f"no benchmark {name[:60]!r}; choose one of {', '.join(known) or 'none'}")
    # The benchmark imports the project whether or not it is installed.
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run([sys.executable, str(known[name]), *rest], env=environment, check=False).returncode


def benchmarks() -> dict[str, Path]:
    """Name -> script, for every benchmark."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.py")) if not path.name.startswith("_")}


def _first_line(path: Path) -> str:
    try:
        return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n", 1)[0]
    except (OSError, SyntaxError):
        return "(cannot be read)"
