"""Every public name of the core is documented, and who takes a tensor says of what shape, law or unit it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "core").rglob("*.py"))
Documented = ast.Module | ast.ClassDef | ast.FunctionDef
# "[batch, ...]", "0-dimensional", "of the shape of `like`", "scalar", "per sample" …
SHAPE = re.compile(r"\[[^\]]*\]|dimensional|shape|scalar|elementwise|per sample")
# The words of the core: states, times, predictions and clocks are described once, in process.py and schedules.py.
WORDS = {"x", "x0", "t", "s", "p", "q", "log_snr"}


def public(node: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, Documented]]:
    """(dotted name, definition) of what does not start with an underscore; of methods also `__call__`."""
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.ClassDef) and (
            not child.name.startswith("_") or child.name == "__call__"
        ):
            yield f"{prefix}{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{prefix}{child.name}.")


def takes_tensors(function: ast.FunctionDef) -> bool:
    """Whether any argument is a tensor that the core has no word for."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    tensors = {a.arg for a in arguments if a.annotation is not None and ast.unparse(a.annotation) == "Tensor"}
    return bool(tensors - WORDS)


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_public_name_has_a_docstring(file: Path) -> None:
    module = parse(file)
    assert ast.get_docstring(module), "the module says nothing of itself"
    bare = [name for name, node in public(module) if not ast.get_docstring(node)]
    assert bare == [], f"without a docstring: {', '.join(bare)}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_who_takes_a_tensor_says_of_what_shape(file: Path) -> None:
    """A function's own docstring does; a method's does, or its class's, where the attributes are described."""
    module = parse(file)
    silent = []
    documents = {name: ast.get_docstring(node) or "" for name, node in public(module)}
    for name, node in public(module):
        if isinstance(node, ast.FunctionDef) and takes_tensors(node):
            owner = documents.get(name.rpartition(".")[0], "")
            if not SHAPE.search(documents[name] + owner):
                silent.append(name)
    assert silent == [], f"no shape in the docstring of: {', '.join(silent)}"


def raised(function: ast.FunctionDef) -> set[str]:
    """Names of the exceptions that a function raises itself, not in functions within it."""
    found: set[str] = set()
    stack: list[ast.AST] = list(function.body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            continue
        if (
            isinstance(node, ast.Raise)
            and isinstance(node.exc, ast.Call)
            and isinstance(node.exc.func, ast.Name)
        ):
            found.add(node.exc.func.id)
        stack.extend(ast.iter_child_nodes(node))
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_who_raises_says_so(file: Path) -> None:
    """The error stands in the docstring of the function, or of its class (for constructors, always there)."""
    module = parse(file)
    documents = {name: ast.get_docstring(node) or "" for name, node in public(module)}
    silent = []
    for name, node in public(module):
        functions = [(node, documents[name])] if isinstance(node, ast.FunctionDef) else []
        if isinstance(node, ast.ClassDef):
            made = [
                f
                for f in node.body
                if isinstance(f, ast.FunctionDef) and f.name in ("__init__", "__post_init__")
            ]
            functions = [(f, documents[name]) for f in made]
        for function, text in functions:
            owner = documents.get(name.rpartition(".")[0], "")
            silent += [f"{name}: {error}" for error in raised(function) if error not in text + owner]
    assert silent == [], f"errors that no docstring names: {', '.join(silent)}"


# What is the project's own plumbing and stands in no paper.
PLUMBING = {
    "core/__init__.py",
    "core/checkpoint.py",
    "core/denoiser.py",
    "core/exact/joint.py",  # closed forms, by Bayes' rule
    "core/exact/langevin.py",
    "core/exact/normal.py",
    "core/exact/points.py",
    "core/exact/tokens.py",
    "core/files.py",
    "core/fitting/fit.py",  # the source stands with `FittedGrid`
    "core/fitting/problem.py",
    "core/guidance/guide.py",
    "core/guidance/operators.py",
    "core/guidance/recurrent.py",
    "core/networks/foreign/settings.py",
    "core/process.py",
    "core/requirements.py",
    "core/sampling.py",
    "core/state.py",
    "core/spaces/manifold.py",
    "core/spaces/product.py",
    "core/training/trainer.py",
    "core/training/average.py",
    "core/networks/conditions.py",
    "core/gradients.py",
}
SOURCE = re.compile(r"\b(19|20)\d\d[a-z]?\b|\bown\b")


@pytest.mark.parametrize(
    "file", [f for f in FILES if f.name != "__init__.py"], ids=lambda file: str(file.relative_to(ROOT))
)
def test_a_method_names_its_source(file: Path) -> None:
    """A paper with its year, or the word that it is the project's own."""
    module = parse(file)
    texts = [ast.get_docstring(module) or ""] + [ast.get_docstring(node) or "" for _, node in public(module)]
    if file.relative_to(ROOT).as_posix() in PLUMBING:
        return
    assert any(SOURCE.search(text) for text in texts), "no docstring of this file names a source"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_files_are_small(file: Path) -> None:
    assert len(file.read_text("utf-8").splitlines()) < 400


def test_the_check_sees_what_is_missing() -> None:
    module = ast.parse(
        'def f(image: Tensor) -> Tensor:\n    return image\nclass A:\n    """Of shape [n]."""\n    def g(self): ...\n'
    )
    found = dict(public(module))
    assert set(found) == {"f", "A", "A.g"}
    assert [name for name, node in found.items() if not ast.get_docstring(node)] == ["f", "A.g"]
    function = found["f"]
    assert isinstance(function, ast.FunctionDef)
    assert takes_tensors(function)
    assert not SHAPE.search("Scales what it is given.")
