"""What a page needs to show viewers: one small script and one style sheet; the heavy ones come with the frames."""

from __future__ import annotations

import functools
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "static" / "viewers"


@functools.cache
def own(name: str) -> str:
    """A script or a style sheet of ours."""
    return (FOLDER / name).read_text("utf-8")


def page_script() -> str:
    """The script that turns `<langevin-viewer>` elements into viewers, whenever they come into the page."""
    return own("page.js")


def page_style() -> str:
    """The style sheet of `<langevin-viewer>`, in the studio's colours."""
    return own("page.css")
