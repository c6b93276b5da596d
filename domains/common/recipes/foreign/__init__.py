"""Settings that other programs of image generation left in their pictures, as far as they mean something here.

    settings = read_foreign(Path("00042-1234.png"))     # None where there are none

AUTOMATIC1111 and its kin write a text `parameters` (PNG) or an Exif `UserComment` (JPEG, WebP); ComfyUI writes the
graph that ran as JSON (`prompt`).  Both are read as data: nothing in them is run, and no file that they name is opened.
"""

from __future__ import annotations

from domains.common.recipes.foreign.comfyui import parse_comfyui
from domains.common.recipes.foreign.pictures import read_foreign
from domains.common.recipes.foreign.settings import ForeignSettings
from domains.common.recipes.foreign.webui import parse_parameters

__all__ = ["ForeignSettings", "parse_comfyui", "parse_parameters", "read_foreign"]
