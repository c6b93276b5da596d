"""`python -m domains.image.scenes`, and the page that shows it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domains.image.scenes import read_prompt
from domains.image.scenes.__main__ import main
from domains.image.scenes.vocabulary import HELD_OUT


def test_a_prompt_is_drawn_and_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cube.png"
    assert main(["draw", "a large red cube left of a large blue ball", "--out", str(out)]) == 0
    with Image.open(out) as picture:
        assert picture.size == (64, 64) and picture.mode == "RGB"
    said = capsys.readouterr().out
    assert "large" in said and re.search(r"red cube at x \d+, y \d+", said) and "blue ball" in said
    assert re.search(r"(\d+) of \1 assertions", said)


def test_a_prompt_outside_the_grammar_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.png"
    assert main(["draw", "a red dragon", "--out", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not out.exists()
    assert main(["sheet", "truth", "--out", str(tmp_path / "no" / "x.png")]) == 2


def test_a_sheet_is_a_picture(tmp_path: Path) -> None:
    out = tmp_path / "truth.png"
    assert main(["sheet", "truth", "--out", str(out), "--scale", "1"]) == 0
    with Image.open(out) as picture:
        assert picture.size == (6 * 64, 5 * 64)
        assert np.asarray(picture).std() > 20


def test_the_page_shows_captions_that_are_read_alike(root: Path) -> None:
    page = (root / "docs" / "scenes.md").read_text("utf-8")
    rows = page[page.index("## Captions") : page.index("## Instructions")].splitlines()
    pairs = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if row.startswith("| ")]
    assert len(pairs) > 4
    for english, chinese in pairs[1:]:
        assert read_prompt(english).same(read_prompt(chinese)), english
    for colour, shape in HELD_OUT:
        assert f"{colour} {shape}" in page.replace("\n", " ")


def test_scenes_need_no_library_beyond_the_core(root: Path) -> None:
    """A bare training machine has torch, numpy, einops and safetensors."""
    code = (
        "import sys\n"
        "for name in ('PIL', 'scipy', 'matplotlib', 'pydantic', 'pandas', 'gradio', 'tqdm'): sys.modules[name] = None\n"
        "from domains.image.scenes import (draw_edits, draw_scenes, edit_pictures, load_scorer, read_prompt,"
        " render_truth, scene_for, unseen_prompts, write_captions)\n"
        "truth = render_truth(draw_scenes(0, 4))\n"
        "print(len(write_captions(truth.scenes, truth.rendered, 0)), len(edit_pictures(draw_edits(0, 2)).mask),"
        " len(load_scorer().read(truth.rendered.images)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["4", "2", "4"], done.stderr
