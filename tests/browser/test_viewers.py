"""Each viewer in a real browser, with a real small file: what is drawn, by pointer and by keys, in every look.

Pictures of all of them are left in `build/screenshots/viewers`.
"""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser import viewer_files as files
from tests.browser.viewing import DRAWN, Show, differ, inked

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

# ---- each viewer draws, in every look --------------------------------------------------------------------------------

# Width, height, and whether it is dark; in the order in which a page goes through them.
LOOKS = {
    "desktop": (1200, 800, False),
    "desktop-dark": (1200, 800, True),
    "phone-dark": (390, 800, True),
    "phone": (390, 800, False),
}


def looks_right(name: str, dark: bool, pixels: np.ndarray) -> bool:
    """Enough is drawn, on paper of the right shade; pictures of patients stand on black in every look."""
    paper = pixels[2, 2]
    shade = name.startswith("brain") or (paper.max() < 100 if dark else paper.min() > 200)
    return bool(shade) and inked(pixels) > DRAWN[name]


@pytest.mark.parametrize("name", DRAWN)
def test_each_viewer_draws_in_every_look(show: Show, pictures: Path, name: str) -> None:
    one = show(name)
    for look, (width, height, dark) in LOOKS.items():
        one.page.set_viewport_size({"width": width, "height": height})
        one.page.evaluate("dark => document.body.classList.toggle('dark', dark)", dark)
        seen = one.until(functools.partial(looks_right, name, dark))
        if name.endswith((".pdb", ".sdf", ".glb")):
            assert len(np.unique(seen.reshape(-1, 3) // 8, axis=0)) > 40  # shaded, not filled
        buttons = one.picture()[-3, -3].mean()
        assert buttons < 60 if dark else buttons > 230
        assert one.frame.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert one.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        one.page.screenshot(path=pictures / f"{name.partition('.')[0]}-{look}.png")
    assert not one.errors


# ---- what each is good for ----------------------------------------------------------------------


def test_the_value_of_a_pixel_is_read_and_the_picture_zoomed_by_keys(show: Show) -> None:
    one = show("still.png")
    before = one.stage()
    box = one.frame.locator(".stage canvas").bounding_box()
    assert box is not None
    seen = before[:, :, :]
    green = np.argwhere(np.abs(seen - (10, 200, 30)).max(-1) <= 2)  # pixel (0, 0)
    y, x = green.mean(0)
    one.page.mouse.move(box["x"] + x, box["y"] + y)
    one.wait("document.querySelector('output.mono').textContent.startsWith('x 0, y 0:')")
    assert one.frame.inner_text("output.mono") == "x 0, y 0: red 10, green 200, blue 30"
    one.focus(".stage canvas")
    one.key("+", "+", "+", "+", "+", "+", "+")
    closer = one.until(lambda pixels: differ(pixels, before) > 0.1)
    assert "6400 %" in one.frame.inner_text(".bar")
    assert len(np.unique(closer.reshape(-1, 3), axis=0)) > 20  # with the values written into the pixels
    one.key("0")
    one.until(lambda pixels: differ(pixels, before) < 0.03)


def test_two_pictures_lie_under_one_slider_which_keys_move(show: Show, pictures: Path) -> None:
    alone = show("other.png").stage()
    one = show("still.png", "&beside=other.png")
    half = one.stage()
    one.page.screenshot(path=pictures / "compare-desktop.png")
    one.focus("#compare")
    one.key("Home")
    # At the left end all that is seen is the second picture.
    second = one.until(lambda pixels: differ(pixels, half) > 0.05)
    one.key("End")
    first = one.until(lambda pixels: differ(pixels, second) > 0.2)
    middle = slice(None), slice(half.shape[1] // 2 + 12, None)
    left = slice(None), slice(0, half.shape[1] // 2 - 12)
    assert differ(half[left], first[left]) < 0.02 and differ(half[middle], second[middle]) < 0.02
    assert alone.shape[1] == half.shape[1]


def test_films_go_frame_by_frame(show: Show) -> None:
    one = show("film.mp4")
    assert (
        one.frame.evaluate("document.querySelector('.slider output').textContent") == "frame 1 of 24 · 0.00 s"
    )
    one.frame.wait_for_selector(".strip[data-done] canvas")
    assert one.frame.locator(".strip canvas").count() == 10
    first = one.stage()
    one.focus("button[aria-label='One frame forward']")
    one.key("Enter", "Enter", "Enter", "Enter", "Enter", "Enter")
    one.wait("document.querySelector('.slider output').textContent === 'frame 7 of 24 · 0.50 s'")
    # Within the seventh frame, which is shown from 6/12 s on.
    one.wait("(t => t >= 0.5 && t < 7 / 12)(document.querySelector('video').currentTime)")
    one.until(lambda pixels: differ(pixels, first) > 0.02)


def test_an_animation_plays_stops_and_steps(show: Show) -> None:
    one = show("disc.gif", reduced_motion="reduce")
    words = "document.querySelector('.slider output').textContent"
    assert one.frame.evaluate(words) == "frame 1 of 12 · 0.00 s"
    # It does not start by itself for those who prefer rest.
    assert one.frame.inner_text(".bar button") == "Play"
    first = one.stage()
    one.focus("input[type=range]")
    one.key("ArrowRight", "ArrowRight", "ArrowRight")
    assert one.frame.evaluate(words) == "frame 4 of 12 · 0.24 s"
    one.until(lambda pixels: differ(pixels, first) > 0.01)
    playing = show("disc.gif")
    playing.wait(f"!{words}.startsWith('frame 1 ')")
    assert playing.frame.inner_text(".bar button") == "Pause"
    # The page has a switch of its own beside the system's.
    playing.page.evaluate("document.documentElement.classList.add('calm')")
    playing.wait("document.querySelector('.bar button').textContent === 'Play'")
    assert playing.frame.evaluate("document.documentElement.classList.contains('calm')")


def test_the_spectrogram_has_its_light_at_the_tone(show: Show) -> None:
    one = show("tone.wav")
    loudest = one.frame.evaluate(
        """async ([tone, rate]) => {
          const samples = Float32Array.from({ length: rate }, (_, i) => Math.sin(2 * Math.PI * tone * i / rate));
          const levels = await fourier.spectrogram(samples, 3, 1024);
          const column = Array.from(levels.slice(512, 1024));
          const at = column.indexOf(Math.max(...column));
          return [at * rate / 1024, column[at], Math.max(...column.filter((_, k) => Math.abs(k - at) > 8))];
        }""",
        [files.TONE, files.RATE],
    )
    assert loudest[0] == pytest.approx(files.TONE, abs=files.RATE / 1024)
    assert loudest[1] == pytest.approx(0, abs=1.5)  # decibels; a sine at full scale is 0
    assert loudest[2] < -60
    spectrum = one.page.frame_locator("langevin-viewer iframe").locator(".spectrum canvas").screenshot()
    pixels = np.asarray(Image.open(io.BytesIO(spectrum)).convert("L")).astype(int)[:-20, 80:]
    row = int(np.abs(pixels - pixels[3, 3]).sum(1).argmax())
    assert 1 - row / len(pixels) == pytest.approx(files.TONE / (files.RATE / 2), abs=0.02)
    one.focus("input[type=range]")
    one.key("End")
    one.wait("document.querySelector('audio').currentTime > 1.4")


def test_a_transform_is_the_transform(show: Show) -> None:
    one = show("tone.wav")
    random = np.random.default_rng(0)
    signal = random.normal(size=64)
    re, im = one.frame.evaluate(
        """(x) => {
          const re = Float64Array.from(x), im = new Float64Array(x.length);
          fourier.transform(re, im);
          return [[...re], [...im]];
        }""",
        signal.tolist(),
    )
    np.testing.assert_allclose(np.array(re) + 1j * np.array(im), np.fft.fft(signal), atol=1e-12)


def test_molecules_are_turned_by_keys_listed_and_drawn_flat(show: Show) -> None:
    one = show("molecules.sdf")
    one.frame.wait_for_selector(".flat img")
    before = one.until(lambda pixels: inked(pixels) > 0.02)
    # Oxygen is red and nitrogen blue, in the colours of Corey, Pauling and Koltun.
    right = before[:, before.shape[1] // 4 :]
    assert ((right[..., 0] > 150) & (right[..., 1] < 80)).any() and (
        (right[..., 2] > 150) & (right[..., 0] < 100)
    ).any()
    one.focus(".molecule")
    one.key("ArrowLeft", "ArrowLeft", "ArrowUp")
    turned = one.until(lambda pixels: differ(pixels, before) > 0.01)
    flat = one.frame.get_attribute(".flat img", "src")
    one.frame.click("button:has-text('Next')")
    one.until(lambda pixels: differ(pixels, turned) > 0.01)
    assert "2 of 2" in one.frame.inner_text(".bar")
    assert one.frame.get_attribute(".flat img", "src") != flat
    one.frame.click("button:has-text('Flat drawing')")
    one.frame.wait_for_selector(".flat", state="hidden")


def test_a_protein_takes_other_colours(show: Show) -> None:
    one = show("helix.pdb")
    before = one.until(lambda pixels: inked(pixels) > 0.02)
    one.frame.select_option("select[aria-label=Colour]", "uncertainty")
    one.until(lambda pixels: differ(pixels, before) > 0.01)
    one.frame.select_option("select[aria-label=Style]", "preset-structure-representation-atomic-detail")
    sticks = one.until(lambda pixels: differ(pixels, before) > 0.01 and inked(pixels) > 0.01)
    # Seen from the same side: as wide, and as far from the left.
    wide = [np.argwhere(np.abs(pixels - 255).max(-1) > 24)[:, 1] for pixels in (before, sticks)]
    assert np.ptp(wide[0]) == pytest.approx(np.ptp(wide[1]), rel=0.2)
    assert not one.frame.inner_text(".bar [role=status]")


def bright(pixels: np.ndarray) -> np.ndarray:
    """Columns of what is nearly white, which in the head of the tests is the ball on its right side."""
    return np.argwhere(pixels.min(-1) > 235)


def test_a_volume_lies_in_radiological_convention(show: Show) -> None:
    one = show("brain.nii.gz")
    one.until(lambda pixels: inked(pixels) > 0.05)
    assert "right (R) is on the left" in one.frame.inner_text(".side")
    one.frame.click("button:has-text('Axial')")
    one.frame.click("button:has-text('Full range')")
    seen = one.until(lambda pixels: len(bright(pixels)) > 500)
    ball = np.median(bright(seen)[:, 1])
    head = np.argwhere(seen.max(-1) > 60)[:, 1]
    # The ball lies at x > 0, the patient's right, which is drawn on the left.
    assert ball < (head.min() + head.max()) / 2 - 20


def test_window_and_level_and_slices_are_moved_by_keys(show: Show) -> None:
    one = show("brain.nii.gz")
    before = one.until(lambda pixels: inked(pixels) > 0.05)
    one.focus("input[aria-label=Level]")
    one.key("End")
    dark = one.until(lambda pixels: differ(pixels, before) > 0.02)
    assert dark.mean() < before.mean()
    one.frame.click("button:has-text('Reset window')")
    one.until(lambda pixels: differ(pixels, before) < 0.02)
    one.focus("input[aria-label=Axial]")
    one.key("Home")
    one.wait("document.querySelector('output.mono').textContent.includes('z 0.0 mm')")
    one.until(lambda pixels: differ(pixels, before) > 0.02)


@pytest.mark.parametrize("name", ["torus.glb", "torus.obj", "torus.ply"])
def test_a_mesh_is_the_same_in_every_format_and_turns(show: Show, name: str) -> None:
    one = show(name)
    before = one.until(lambda pixels: inked(pixels) > 0.04)
    assert "2\u202f304 triangles · 2.7 × 2.7 × 0.7" in one.frame.inner_text(".bar")
    spread = before.reshape(-1, 3)[np.abs(before - before[2, 2]).max(-1).ravel() > 24]
    assert spread.std(0).min() > 10  # the colours of its vertices
    one.focus("canvas")
    one.key("ArrowLeft", "ArrowLeft", "ArrowLeft")
    turned = one.until(lambda pixels: differ(pixels, before) > 0.01)
    one.frame.click("button:has-text('Edges')")
    wires = one.until(lambda pixels: differ(pixels, turned) > 0.01)
    assert inked(wires) < inked(turned)
    one.frame.click("button:has-text('Reset')")
    one.frame.click("button:has-text('Edges')")
    one.until(lambda pixels: differ(pixels, before) < 0.01)


def test_near_splats_hide_far_ones(show: Show) -> None:
    one = show("splats.ply")
    one.until(lambda pixels: inked(pixels) > 0.04)
    assert "600 splats" in one.frame.inner_text(".bar")

    # The shell's colour is that of the side which is seen: turned half way round, it is the other one.
    def middle(pixels: np.ndarray) -> np.ndarray:
        y, x = pixels.shape[0] // 2, pixels.shape[1] // 2
        return pixels[y - 20 : y + 20, x - 20 : x + 20].mean((0, 1))

    before = middle(one.stage())
    one.focus("canvas")
    one.key(*["ArrowLeft"] * 21)  # 21 steps of 0.15 radians
    one.until(lambda pixels: float(np.abs(middle(pixels) - before).max()) > 25)


def test_a_page_that_turns_dark_takes_its_viewers_along(show: Show) -> None:
    one = show("torus.ply")
    light = one.until(lambda pixels: inked(pixels) > 0.04)
    one.page.evaluate("document.body.classList.add('dark')")
    dark = one.until(lambda pixels: pixels[2, 2].mean() < 60)
    assert light[2, 2].mean() > 230 and inked(dark) > 0.04


def test_a_viewer_that_is_taken_away_and_put_back_draws_again(show: Show) -> None:
    one = show("still.png")
    one.page.evaluate("window.kept = document.querySelector('langevin-viewer'); kept.remove()")
    assert one.page.query_selector("iframe") is None
    one.page.evaluate("document.body.append(kept)")
    one.page.wait_for_selector("langevin-viewer[data-state=shown] iframe")
    one.until(lambda pixels: inked(pixels) > 0.2)
