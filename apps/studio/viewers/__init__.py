"""Viewers that all domains share: pictures, films, sound, plots, molecules, volumes and meshes, each in a closed frame.

`viewer_for(artifact)` finds the viewer of a file, `Viewer.html(address, title)` is what the answer holds in its place,
and `routes.viewer_routes()` serves the frames.  `docs/viewers.md` says how a domain gets another one.
"""

from apps.studio.viewers.page import page_script, page_style
from apps.studio.viewers.registry import VIEWERS, viewer_for
from apps.studio.viewers.viewer import Viewer

__all__ = ["VIEWERS", "Viewer", "page_script", "page_style", "viewer_for"]
