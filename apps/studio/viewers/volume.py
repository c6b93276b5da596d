"""Volumes in three planes with window and level, in radiological convention, drawn by NiiVue."""

from apps.studio.viewers.libraries import NIIVUE
from apps.studio.viewers.viewer import MEGABYTE, Viewer

VOLUME = Viewer(
    "volume",
    "volume",
    frozenset({"nifti"}),
    max_bytes=256 * MEGABYTE,
    height=640,
    scripts=("nifti",),
    libraries=(NIIVUE,),
)
