"""What all tests share: thread limits, where the data and Chromium are, and what to skip without them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# Before torch and numpy are loaded: small tensors are fastest on one thread, and timings are steady.
os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
os.environ["OPENBLAS_NUM_THREADS"] = os.environ.get("OPENBLAS_NUM_THREADS", "1")
# Tests ask for nothing from outside.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
NO_CHROMIUM = "no Chromium found: install it, or name it in LANGEVIN_CHROMIUM"

# Reproducible runs on slow machines; a red example is red again.
settings.register_profile("langevin", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("langevin")


def find_chromium() -> str | None:
    """Path of a Chromium: LANGEVIN_CHROMIUM, or the first of the usual names on PATH."""
    names = (os.environ.get("LANGEVIN_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips tests marked `browser` where there is no Chromium."""
    if find_chromium() is None:
        skip = pytest.mark.skip(reason=NO_CHROMIUM)
        for item in items:
            if "browser" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the Chromium that tests marked `browser` drive."""
    path = find_chromium()
    if path is None:
        pytest.skip(NO_CHROMIUM)
    return path


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The data sets that are not part of the project; LANGEVIN_DATA says where else they are."""
    folder = Path(os.environ.get("LANGEVIN_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(
            "the data sets are absent: put them in ../shared/data or name their folder in LANGEVIN_DATA"
        )
    return folder
