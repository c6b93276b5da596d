"""What a scene may hold: the values of every attribute in a fixed order, their measures, and their colours.

The order is part of the format: scenes and the scorer's heads hold attributes as indices into these tuples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE = 64  # pixels, of a picture
OBJECTS = 3  # at most, in a scene

SHAPES = ("cube", "ball", "cone", "cylinder", "star", "ring", "heart", "cross")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "white", "black")
SIZES = ("small", "medium", "large")
TEXTURES = ("plain", "striped", "dotted", "checked")
STYLES = ("flat", "shaded")
BACKGROUNDS = ("plain", "gradient", "grid", "meadow", "beach")
TONES = ("grey", "beige", "light blue", "light green", "light pink", "light purple")
TONED = 3  # the first three backgrounds have a tone; landscapes have none
RELATIONS = ("left of", "right of", "above", "below", "in front of", "behind")
PLACES = (
    "left",
    "right",
    "top",
    "bottom",
    "middle",
    "top left",
    "top right",
    "bottom left",
    "bottom right",
)

# What each attribute of an object may be.
ATTRIBUTES = {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "texture": TEXTURES}

# Radius of an object in pixels: least and largest of each size.  Silhouettes reach about one radius from their centre.
RADII = np.array([(6.3, 7.2), (9.0, 10.2), (12.6, 14.2)], np.float32)
# Half the width of the patch that holds an object with its shadow.
HALVES = (11, 14, 19)
TILT = 0.09  # largest tangent of half the angle by which an object is turned

# Pairs of colour and shape that no training scene shows: each colour once, each shape at least once.
HELD_OUT = (
    ("red", "star"),
    ("orange", "ring"),
    ("yellow", "cube"),
    ("green", "heart"),
    ("cyan", "cone"),
    ("blue", "cross"),
    ("purple", "ball"),
    ("pink", "cylinder"),
    ("white", "star"),
    ("black", "cube"),
)


def _rgb(*codes: str) -> NDArray[np.float32]:
    return np.array([[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in codes], np.float32)


# One row a colour, sRGB in [0, 1]; the second tone is what stripes, dots and checks are drawn in.
PALETTE = _rgb(
    "d81e26", "f58210", "f7d716", "1f9a3c", "12c4c8", "1f4fd6", "7a2bb5", "f47fb8", "f6f6f4", "1c1c20"
)
SECOND = _rgb(
    "ffc9c4", "7a3600", "8a6a00", "c2f2b8", "04565e", "bcd4ff", "e3c2fa", "8c1a57", "7c8492", "b4b4bc"
)
OUTLINE = _rgb(
    "4a060a", "5a2a00", "5c4a00", "063512", "033d42", "071a52", "280840", "5c0f38", "3c4048", "000000"
)
# Two rows a tone: as it is named, and the other end of a gradient or the lines of a grid.
TONE_COLOURS = _rgb("b4b6ba", "e6d8b8", "b3d4ec", "bfe0bd", "edc6cb", "cdc4e8")
TONE_OTHERS = _rgb("878b92", "c2ab7e", "7fb0d8", "8cc08c", "d597a2", "a294cf")
# Sky above, sky at the horizon, ground at the horizon, ground below.
LANDSCAPES = np.stack(
    [_rgb("7fb8ea", "cfe7f5", "9ccf6e", "6aa84a"), _rgb("8fd0e8", "dff2f2", "efdcab", "d9bc7c")]
)
