"""Films and animated pictures: frame by frame, with a strip of what is to come."""

from apps.studio.viewers.viewer import MEGABYTE, Viewer

FILM = Viewer(
    "film",
    "film",
    frozenset({"mp4", "webm", "gif", "apng", "animated-webp"}),
    max_bytes=256 * MEGABYTE,
    height=520,
    scripts=("pictures", "moments"),
)
