"""Still pictures: zoom, pan, the values of pixels, and two of them under one slider."""

from apps.studio.viewers.viewer import MEGABYTE, Viewer

IMAGE = Viewer(
    "image",
    "image",
    frozenset({"png", "jpeg", "webp"}),
    max_bytes=64 * MEGABYTE,
    height=520,
    scripts=("pictures",),
    compares=True,
)
