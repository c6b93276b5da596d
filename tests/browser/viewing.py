"""What the tests of viewers share: a Chromium that draws in space, a page with one viewer, eyes for it."""

from __future__ import annotations

import contextlib
import io
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Frame, Page

from tests.browser import viewer_files as files
from tests.browser.driver import FLAGS, PATIENCE
from tests.browser.viewer_page import served

# WebGL without a graphics card.
DRAWING = [flag for flag in FLAGS if flag != "--disable-gpu"] + [
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
# What Chromium asks for by itself, whatever page is open.
BROWSERS_OWN = re.compile(
    rb"\b(update\.googleapis|accounts\.google|clients\d?\.google|optimizationguide-pa\.googleapis)\.com\b"
)
MAKERS: dict[str, Callable[[Path], Path]] = {
    "still.png": files.png,
    "other.png": lambda path: files.png(path, hue=1.0),
    "disc.gif": files.gif,
    "film.mp4": files.mp4,
    "tone.wav": files.wav,
    "molecules.sdf": files.sdf,
    "helix.pdb": files.pdb,
    "brain.nii.gz": files.nifti,
    "torus.glb": files.glb,
    "torus.obj": files.obj,
    "torus.ply": files.ply,
    "spiral.ply": files.points_ply,
    "splats.ply": files.splat_ply,
    "wave.json": files.plot,
    "bomb.png": files.png_that_unfolds,
}
# Share of the drawing that differs from its ground, at least, for one file a viewer.
DRAWN = {
    "still.png": 0.2,
    "disc.gif": 0.01,
    "film.mp4": 0.2,
    "tone.wav": 0.1,
    "molecules.sdf": 0.02,
    "helix.pdb": 0.02,
    "brain.nii.gz": 0.05,
    "torus.glb": 0.04,
    "spiral.ply": 0.001,
    "splats.ply": 0.04,
    "wave.json": 0.005,
}


@dataclass
class Outside:
    """What the browser would ask for outside this machine comes here instead."""

    port: int
    asked: list[bytes] = field(default_factory=list)


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    """A proxy for all that is not this machine; it notes what it is asked and answers nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        found = Outside(listening.getsockname()[1])

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    caller, _ = listening.accept()
                    with caller:
                        caller.settimeout(2)
                        with contextlib.suppress(OSError):
                            line = caller.recv(4096).split(b"\r\n")[0]
                            if not BROWSERS_OWN.search(line):
                                found.asked.append(line)

        threading.Thread(target=answer, daemon=True).start()
        yield found
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def drawing(browser: Browser, chromium: str, outside: Outside) -> Iterator[Browser]:
    """A Chromium that draws in space, and asks a proxy of ours for everything outside."""
    args = [*DRAWING, f"--proxy-server=127.0.0.1:{outside.port}"]
    opened = browser.browser_type.launch(executable_path=chromium, args=args)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def page_of_viewers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("files")
    for name, maker in MAKERS.items():
        with contextlib.suppress(ImportError):
            maker(folder / name)
    with served(folder) as address:
        yield address


@pytest.fixture(scope="module")
def pictures(root: Path) -> Path:
    folder = root / "build" / "screenshots" / "viewers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass
class Open:
    """A page with one viewer, shown."""

    page: Page
    errors: list[str]

    @property
    def frame(self) -> Frame:
        inner = self.page.query_selector("langevin-viewer iframe")
        assert inner is not None
        frame = inner.content_frame()
        assert frame is not None
        return frame

    def picture(self, selector: str = "langevin-viewer .viewer-place") -> np.ndarray:
        """Pixels of what is seen there, height by width by three."""
        shot = self.page.locator(selector).screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)

    def stage(self) -> np.ndarray:
        """Pixels of the drawing alone, without the buttons under it."""
        shot = self.page.frame_locator("langevin-viewer iframe").locator(".stage, .plot").first.screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)

    def until(self, test: Callable[[np.ndarray], bool]) -> np.ndarray:
        """The drawing, once `test` holds for it."""
        for _ in range(60):
            seen = self.stage()
            if test(seen):
                return seen
            self.page.wait_for_timeout(500)
        raise AssertionError("what should be drawn is not")

    def wait(self, script: str) -> None:
        """Returns once an expression holds in the frame; asked from outside, since the frame allows no `eval`."""
        for _ in range(600):
            if self.frame.evaluate(script):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never holds: {script}")

    def key(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def focus(self, selector: str) -> None:
        self.frame.focus(selector)


Show = Callable[..., Open]


@pytest.fixture
def show(drawing: Browser, page_of_viewers: str) -> Iterator[Show]:
    contexts = []

    def opened(
        name: str,
        query: str = "",
        width: int = 1200,
        height: int = 800,
        state: str = "shown",
        **options: object,
    ) -> Open:
        context = drawing.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        one = Open(page, [])
        page.on("pageerror", lambda error: one.errors.append(str(error)))
        answer = page.request.get(f"{page_of_viewers}files/{name}")
        if answer.status == 404:
            pytest.skip(f"the library that writes {name} is not installed")
        page.goto(f"{page_of_viewers}?show={name}{query}")
        page.wait_for_selector(
            "langevin-viewer[data-state=shown], langevin-viewer[data-state=failed], .viewer-absent"
        )
        if page.query_selector(".viewer-absent"):
            pytest.skip(page.inner_text(".viewer-absent"))
        assert page.get_attribute("langevin-viewer", "data-state") == state, page.inner_text(
            "langevin-viewer .viewer-note"
        )
        return one

    yield opened
    for context in contexts:
        context.close()


def inked(seen: np.ndarray, ground: np.ndarray | None = None) -> float:
    """Share of pixels that differ from the ground, which is the colour of a corner where none is given."""
    ground = seen[2, 2] if ground is None else ground
    return float((np.abs(seen - ground).max(-1) > 24).mean())


def differ(a: np.ndarray, b: np.ndarray) -> float:
    """Share of pixels in which two pictures of one size differ."""
    return float((np.abs(a - b).max(-1) > 24).mean())
