"""The JavaScript of others that viewers draw with: taken from installed Python packages, never from another host.

Each is turned into text that runs inline in a frame: a frame without an origin of its own brings no cookies along, so a
server that asks for a login would refuse it every further request; and what is inline can be named by its hash.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_LARGEST = 16 * 2**20  # bytes; the largest that we know has 5 MB


class Unknown(Exception):
    """An installed package is not built as we know it."""


@dataclass(frozen=True)
class Library:
    """A script in an installed package.

    Attributes:
        package: Name of the package, as pip and Python know it.
        script: Its file below the package.
        module: Whether it runs as a module.
        adapt: Makes it leave what it exports in a global variable, which the viewer's script reads.
        style: Its style sheet below the package; none where empty.
    """

    package: str
    script: str
    module: bool
    adapt: Callable[[str], str]
    style: str = ""

    def installed(self) -> bool:
        """Whether it can be served; found out once."""
        return _installed(self)

    def code(self) -> str:
        """The script, ready to stand inline in a page.

        Raises:
            OSError: If the package is not installed, or lacks the file.
            Unknown: If the file is not built as we know it.
        """
        return inline(self.adapt(_text(self.package, self.script)))

    def css(self) -> str:
        """The style sheet; empty where there is none."""
        return _text(self.package, self.style) if self.style else ""


@functools.cache
def _installed(library: Library) -> bool:
    try:
        library.code()
    except (OSError, Unknown, zipfile.BadZipFile):
        return False
    return True


def _text(package: str, name: str) -> str:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(f"{package} is not installed")
    path = Path(found.submodule_search_locations[0]) / name
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            inside = archive.infolist()[0]
            if inside.file_size > _LARGEST:
                raise Unknown(f"{path.name} is larger than any that we know")
            return archive.read(inside).decode("utf-8")
    if path.stat().st_size > _LARGEST:
        raise Unknown(f"{path.name} is larger than any that we know")
    return path.read_text("utf-8")


def inline(script: str) -> str:
    r"""A script that may stand between `<script>` and `</script>`; these words can only be inside its strings.

    >>> inline("'</script>'")
    "'<\\/script>'"
    """
    script = script.replace("\r\n", "\n").replace(
        "\r", "\n"
    )  # as browsers read it, before they take its hash
    script = re.sub(r"</(?=script)", r"<\\/", script, flags=re.IGNORECASE)
    return script.replace("<!--", r"<\!--")


def molstar(text: str) -> str:
    """Mol*, from the module of `ipymolstar`'s MolViewSpec widget, as `globalThis.molstar`.

    The widget's own `render` shows MolViewSpec scenes only, which in this release know neither SDF nor colours by
    element; the library that the module bundles knows both.
    """
    at = text.find(".Viewer.create(")
    bundle = re.search(r"[A-Za-z_$][\w$]*$", text[max(0, at - 64) : at]) if at >= 0 else None
    if bundle is None:
        raise Unknown("ipymolstar without Mol*'s Viewer")
    return _instead_of_export(text, f"globalThis.molstar={bundle[0]};")


def widget(text: str) -> str:
    """The widget of an anywidget module, as `globalThis.widget`: `initialize({model})` and `render({model, el})`."""
    exported = re.search(r"export\s*\{\s*([\w$]+) as default\s*\}", text[-2000:])
    if exported is None:
        raise Unknown("a module without a widget")
    return _instead_of_export(text, f"globalThis.widget={exported[1]};")


def _instead_of_export(text: str, statement: str) -> str:
    text, count = re.subn(r"export\s*\{\s*[\w$]+ as default\s*\}\s*;?", statement, text)
    if count != 1:
        raise Unknown("a module with other exports than we know")
    return text


def three(text: str) -> str:
    """three.js with its glTF loader, as `globalThis.THREE`, from the page in which `trimesh` shows scenes."""
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)
    parts = re.split(r"var camera\s*,", script[1]) if script else []
    if len(parts) != 2 or "THREE.GLTFLoader=GLTFLoader" not in parts[0]:
        raise Unknown("trimesh's viewer without three.js as we know it")
    return parts[0]


def _as_it_is(text: str) -> str:
    return text


MOLSTAR = Library("ipymolstar", "static/molviewspec.js", True, molstar, "static/molviewspec.css")
NIIVUE = Library("ipyniivue", "static/widget.js", True, widget)
THREE = Library("trimesh", "resources/templates/viewer.zip", False, three)
PLOTLY = Library("plotly", "package_data/plotly.min.js", False, _as_it_is)
