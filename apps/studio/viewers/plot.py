"""Interactive plots in plotly's JSON.

In a task's own answer the page draws them itself, with live previews; this viewer shows them everywhere else.
"""

from apps.studio.viewers.libraries import PLOTLY
from apps.studio.viewers.viewer import MEGABYTE, Viewer

PLOT = Viewer(
    "plot",
    "plot",
    frozenset({"json"}),
    max_bytes=32 * MEGABYTE,
    height=448,
    libraries=(PLOTLY,),
    policy=(("script-src", "'unsafe-eval'"),),  # plotly's WebGL traces compile their shaders' callers
)
