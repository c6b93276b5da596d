"""One app and one Chromium for all tests of the browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.driver import App, Tab, open_page, running_app, running_browser
from tests.browser.viewing import drawing, outside, page_of_viewers, pictures, show
from tests.browser.visiting import clear_out

__all__ = ["drawing", "outside", "page_of_viewers", "pictures", "show"]


@pytest.fixture(scope="package")
def app(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app, answering."""
    with running_app(root, tmp_path_factory.mktemp("app") / "log.txt") as started:
        yield started


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    """A Chromium."""
    with running_browser(chromium) as opened:
        yield opened


@pytest.fixture
def open_tab(app: App, browser: Browser) -> Iterator[Callable[..., Tab]]:
    """Opens a tab on an address of the app; options are those of a browser context."""
    tabs: list[Tab] = []

    def opened(address: str = "", **options: object) -> Tab:
        tabs.append(open_page(browser, app.url + address, **options))
        return tabs[-1]

    yield opened
    for tab in tabs:
        tab.page.context.close()


@pytest.fixture
def clean(open_tab: Callable[..., Tab]) -> Iterator[Tab]:
    """A tab of an app without jobs, before and after."""
    tab = open_tab("?tab=settings")
    tab.page.wait_for_selector("[data-clear-out]")
    clear_out(tab)
    yield tab
    clear_out(tab)
