"""Meshes, point clouds and Gaussian splats in space, drawn by three.js."""

from apps.studio.viewers.libraries import THREE
from apps.studio.viewers.viewer import MEGABYTE, Viewer

MESH = Viewer(
    "mesh",
    "shape",
    frozenset({"glb", "obj", "ply"}),
    max_bytes=128 * MEGABYTE,
    height=520,
    scripts=("shapes", "splats"),
    libraries=(THREE,),
)
