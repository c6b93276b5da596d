"""Which viewer shows which file."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from apps.studio.viewers.audio import AUDIO
from apps.studio.viewers.contents import format_of
from apps.studio.viewers.film import FILM
from apps.studio.viewers.image import IMAGE
from apps.studio.viewers.mesh import MESH
from apps.studio.viewers.molecule import MOLECULE
from apps.studio.viewers.plot import PLOT
from apps.studio.viewers.viewer import Viewer
from apps.studio.viewers.volume import VOLUME

VIEWERS: dict[str, Viewer] = {
    viewer.name: viewer for viewer in (IMAGE, FILM, AUDIO, PLOT, MOLECULE, VOLUME, MESH)
}
_BY_FORMAT = {name: viewer for viewer in VIEWERS.values() for name in viewer.formats}
# JSON says nothing of what it means, so there the task does.
_PLOT_KIND = "plot"


class HasFile(Protocol):
    """A file with what its task says it is: an artifact of a finished run."""

    @property
    def path(self) -> Path:
        """Where it lies."""

    @property
    def kind(self) -> str:
        """`image`, `plot`, `molecule`, ..."""


def viewer_for(artifact: HasFile) -> Viewer | None:
    """The viewer of an artifact, by what its file holds; None where there is none, or no such file."""
    try:
        found = format_of(artifact.path)
    except OSError:
        return None
    if found == "json" and artifact.kind != _PLOT_KIND:
        return None
    return _BY_FORMAT.get(found) if found is not None else None
