"""`python -m domains.image.scenes`: draw a prompt and read it back, make a contact sheet, or measure the speed."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from domains.common.errors import BadInput, MissingLibrary
from domains.image.scenes.arrange import scene_for
from domains.image.scenes.assertions import Found
from domains.image.scenes.captions import write_captions
from domains.image.scenes.prompts import read_prompt
from domains.image.scenes.render import render
from domains.image.scenes.sampler import draw_scenes
from domains.image.scenes.scene import stack
from domains.image.scenes.scorer import load_scorer
from domains.image.scenes.sheets import every_value, random_scenes, tiled, truth_rows

_SHEETS = {"values": every_value, "scenes": random_scenes, "truth": truth_rows}


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws, reads, or makes a sheet."""
    parser = argparse.ArgumentParser(prog="python -m domains.image.scenes", description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    drawing = what.add_parser(
        "draw", help="a scene of which the prompt is true, and what the scorer reads in it"
    )
    drawing.add_argument("prompt", help="such as: a red cube left of a blue ball")
    drawing.add_argument("--seed", type=int, default=0)
    drawing.add_argument("--out", type=Path, required=True, help="the PNG file to write")
    sheet = what.add_parser("sheet", help="a contact sheet")
    sheet.add_argument("name", choices=sorted(_SHEETS))
    sheet.add_argument("--out", type=Path, required=True, help="the PNG file to write")
    sheet.add_argument("--scale", type=int, default=2, choices=range(1, 9), help="pixels a pixel")
    what.add_parser("speed", help="pictures that one core draws and renders in a second")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.what == "speed":
            _speed()
        elif chosen.what == "sheet":
            _write_png(_SHEETS[chosen.name](), chosen.out, chosen.scale)
        else:
            _draw(chosen.prompt, chosen.seed, chosen.out)
    except (BadInput, MissingLibrary) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _draw(prompt: str, seed: int, out: Path) -> None:
    asserted = read_prompt(prompt)
    images = render(stack([scene_for(asserted, seed)])).images
    _write_png(tiled(images, 1), out, 1)
    scorer = load_scorer()
    pixels = torch.from_numpy(images)
    print("\n".join(_described(scorer.read(pixels)[0])))
    score = scorer.score(pixels, [asserted])[0]
    print(f"{sum(score.hits)} of {len(score.hits)} assertions of the prompt are seen in the picture")


def _speed(count: int = 4096) -> None:
    """Prints pictures a second of processor time: drawn as scenes, rendered, and captioned."""
    render(draw_scenes(0, 64))  # what is done once is not counted
    begun = time.process_time()
    scenes = draw_scenes(0, count)
    drawn = time.process_time()
    rendered = render(scenes)
    pictured = time.process_time()
    write_captions(scenes, rendered, 0)
    ended = time.process_time()
    print(f"scenes drawn {count / (drawn - begun):.0f} a second")
    print(f"pictures rendered, with masks and depth, {count / (pictured - drawn):.0f} a second")
    print(f"captions written {count / (ended - pictured):.0f} a second")


def _described(found: Found) -> list[str]:
    """What is in a picture, a line an object."""
    lines = [
        f"{k + 1}: {item.size} {item.texture} {item.colour} {item.shape} at x {item.x:.0f}, y {item.y:.0f}"
        for k, item in enumerate(found.items)
    ]
    lines += [f"{a + 1} is in front of {b + 1}" for a, b in sorted(found.front)]
    ground = found.background if found.tone is None else f"{found.tone} {found.background}"
    return [*lines, f"background: {ground}; style: {found.style}"]


def _write_png(picture: NDArray[np.uint8], path: Path, scale: int) -> None:
    try:
        from PIL import Image
    except ImportError:
        raise MissingLibrary("pillow", "app") from None
    large = picture.repeat(scale, 0).repeat(scale, 1)
    try:
        Image.fromarray(large).save(path, format="PNG", optimize=True)
    except OSError as error:
        raise BadInput("out", f"cannot be written: {error.strerror}; choose another place") from None


if __name__ == "__main__":
    raise SystemExit(main())
