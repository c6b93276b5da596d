"""Small molecules and proteins in space, drawn by Mol*; small molecules also flat, drawn by RDKit on the server."""

from apps.studio.viewers.libraries import MOLSTAR
from apps.studio.viewers.viewer import MEGABYTE, Viewer

MOLECULE = Viewer(
    "molecule",
    "molecule",
    frozenset({"pdb", "mmcif", "sdf", "xyz"}),
    max_bytes=32 * MEGABYTE,
    height=560,
    libraries=(MOLSTAR,),
    policy=(("script-src", "'unsafe-eval'"),),  # Mol* builds the texts of its key bindings so
    sketches=True,
)
