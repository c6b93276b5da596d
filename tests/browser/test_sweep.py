"""The Sweep and Models pages in a real browser."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.driver import Tab, free_port, open_page
from tests.common.hub_server import Hub, Repo, running_hub

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
Open = Callable[..., Tab]
STATUS = "#sweep_status .status"
WIDE = """[...document.querySelectorAll('main *')]
    .filter(e => e.checkVisibility() && !e.closest('pre, svg, .sweep-panel, dd, [aria-hidden=true]')
            && e.getBoundingClientRect().right > innerWidth + 1)
    .map(e => e.tagName + '.' + e.className)"""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """A hub of this machine."""
    with running_hub() as made:
        yield made


@pytest.fixture(scope="module")
def pages(root: Path, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses of the two pages, each served by itself."""
    place = tmp_path_factory.mktemp("pages")
    started: dict[str, tuple[str, subprocess.Popen[bytes]]] = {}
    environ = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "LANGEVIN_MODELS": str(place / "models"),
    }
    for name in ("sweep", "models"):
        port = free_port()
        command = [sys.executable, "-m", "tests.browser.lone_pages", name, str(port), str(place / name)]
        process = subprocess.Popen(command, cwd=root, env=environ, stderr=subprocess.DEVNULL)
        started[name] = (f"http://127.0.0.1:{port}/", process)
    try:
        for address, process in started.values():
            for _ in range(1200):
                assert process.poll() is None, "the page has ended"
                try:
                    urllib.request.urlopen(address, timeout=30).close()
                    break
                except OSError:
                    time.sleep(0.1)
        yield {name: address for name, (address, _) in started.items()}
    finally:
        for _, process in started.values():
            process.kill()
            process.wait()


@pytest.fixture
def opened(pages: dict[str, str], browser: Browser) -> Iterator[Open]:
    """Opens one of the pages."""
    tabs: list[Tab] = []

    def open_it(name: str, query: str = "", **options: object) -> Tab:
        tabs.append(open_page(browser, pages[name] + query, **options))
        ready = "#sweep_values_0" if name == "sweep" else ".model-card"
        tabs[-1].page.wait_for_selector(ready)
        return tabs[-1]

    yield open_it
    for tab in tabs:
        tab.page.context.close()


def choose(tab: Tab, box: str, words: str) -> None:
    tab.page.click(f"{box} input")
    tab.page.click(f"[role=option]:has-text('{words}')")


def values(tab: Tab, place: int, text: str) -> None:
    tab.page.locator(f"#sweep_values_{place} :is(input, textarea)").fill(text)


def finish(tab: Tab, state: str = "done") -> None:
    tab.page.wait_for_selector(f"{STATUS}[data-state={state}]")


def test_a_sweep_from_the_first_click_to_the_table(opened: Open, tmp_path: Path) -> None:
    tab = opened("sweep")
    values(tab, 0, "2, 3")
    values(tab, 1, "0..2")
    tab.page.wait_for_selector("#sweep_run:has-text('Run 6')")
    tab.page.click("#sweep_run")
    finish(tab)
    cells = tab.page.locator("#sweep_grid td.done")
    assert cells.count() == 6 and tab.page.locator("#sweep_grid td.best").count() == 1
    tab.page.wait_for_function(
        "[...document.querySelectorAll('#sweep_grid img')].filter(i => i.complete && i.naturalWidth > 0).length === 6"
    )
    with tab.page.expect_download() as arriving:
        tab.page.click("#sweep_details a[download]")
    arriving.value.save_as(tmp_path / "sweep.csv")
    rows = list(csv.DictReader((tmp_path / "sweep.csv").open(encoding="utf-8")))
    assert [(row["steps"], row["seed"]) for row in rows] == [(a, b) for a in "23" for b in "012"]
    shown = [float(text) for text in tab.page.locator("#sweep_grid td.done b").all_inner_texts()]
    assert shown == pytest.approx([float(row["end"]) for row in rows], rel=1e-3)
    best = float(tab.page.inner_text("#sweep_grid td.best b"))
    assert best == min(shown)
    # The other end, and another metric.
    tab.page.click("#sweep_best label:has-text('Highest')")
    tab.page.wait_for_function(
        f"Number(document.querySelector('#sweep_grid td.best b').innerText) === {max(shown)}"
    )
    choose(tab, "#sweep_metric", "Nfe")
    tab.page.wait_for_selector("#sweep_grid .sweep-key:has-text('nfe')")
    assert tab.page.locator("#sweep_grid td b").all_inner_texts() == ["2"] * 3 + ["3"] * 3
    # A cell is a link to its job in its tab.
    address = tab.page.get_attribute("#sweep_grid td.done a", "href")
    assert re.fullmatch(r"\?tab=demo&task=walk&job=[0-9a-f]{32}", address or "")
    assert not tab.errors


def test_a_refresh_in_the_middle_shows_the_same_sweep_and_cancel_ends_all_of_it(opened: Open) -> None:
    tab = opened("sweep")
    values(tab, 0, "400, 500")
    choose(tab, "#sweep_axis_1", "Pace")
    tab.page.wait_for_selector("#sweep_values_1 [placeholder*='by']")  # the seeds' values have made room
    values(tab, 1, "0.1, 0.2")
    tab.page.click("#sweep_run")
    finish(tab, "running")
    tab.page.wait_for_function("location.search.includes('sweep=')")
    tab.page.wait_for_selector("#sweep_grid td.running b:has-text('%')")
    tab.page.reload()
    tab.page.wait_for_selector("#sweep_grid td.running")
    assert tab.page.locator("#sweep_values_1 :is(input, textarea)").input_value() == "0.1, 0.2"
    assert tab.page.locator("#sweep_grid td").filter(has_text="waiting").count() == 3
    tab.page.click("#sweep_cancel")
    finish(tab, "failed")
    assert tab.page.locator("#sweep_grid td.cancelled").count() == 4
    assert "4 cancelled" in tab.page.inner_text(STATUS)
    tab.page.wait_for_selector("#sweep_remove:visible")
    tab.page.click("#sweep_remove")
    finish(tab, "empty")
    assert not tab.errors


def test_choices_are_picked_and_a_third_parameter_makes_small_multiples(opened: Open) -> None:
    tab = opened("sweep")
    values(tab, 0, "1, 2")
    choose(tab, "#sweep_axis_1", "Solver")
    tab.page.wait_for_selector("#sweep_picks_1 input:checked")
    tab.page.click("button:has-text('A third parameter')")
    choose(tab, "#sweep_axis_2", "Drift")
    values(tab, 2, "0..1 in 2")
    tab.page.wait_for_selector("#sweep_run:has-text('Run 12')")
    tab.page.click("#sweep_run")
    finish(tab)
    captions = tab.page.locator("#sweep_grid caption").all_inner_texts()
    assert captions == ["Drift 0", "Drift 1"]
    assert tab.page.locator("#sweep_grid table").first.locator("td.done").count() == 6


def test_a_fault_is_said_at_the_parameter(opened: Open) -> None:
    tab = opened("sweep")
    values(tab, 0, "5, 2000")
    tab.page.click("#sweep_run")
    fault = tab.page.locator(".sweep-axis:has(#sweep_axis_0) .fault")
    fault.wait_for()
    assert "1000" in fault.inner_text() and tab.page.locator(f"{STATUS}[data-sweep]").count() == 0
    values(tab, 0, "1..20")
    values(tab, 1, "1..20")
    tab.page.click("#sweep_run")
    tab.page.wait_for_selector(".ask .fault:has-text('400 runs')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_the_grid_alone(opened: Open, scheme: str) -> None:
    tab = opened("sweep", viewport={"width": 390, "height": 844}, color_scheme=scheme)
    values(tab, 0, "1")
    tab.page.click("#sweep_run")
    finish(tab)
    assert not tab.page.evaluate(WIDE)
    assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    panel = tab.page.locator(".sweep-panel")
    assert panel.evaluate("e => e.scrollWidth > e.clientWidth && e.tabIndex === 0")


def test_a_model_is_looked_at_downloaded_checked_and_removed(opened: Open, hub: Hub) -> None:
    import numpy as np
    from safetensors.numpy import save

    weights = save({"w": np.arange(400_000, dtype=np.float32)})
    hub.repos["ann/small"] = Repo({"unet/model.safetensors": weights, "config.json": b"{}", "run.py": b""})
    tab = opened("models")
    tab.page.fill("#hub_repo :is(input, textarea)", "ann/small")
    tab.page.click("#hub_look")
    tab.page.wait_for_selector("#hub_plan:has-text('1.53 MB'):has-text('apache-2.0')")
    hub.slow.clear()
    tab.page.click("#hub_get")
    tab.page.wait_for_selector("#hub_status .bar")
    tab.page.reload()
    tab.page.wait_for_selector("#hub_status [data-state=running]")
    hub.slow.set()
    tab.page.wait_for_selector("#hub_status [data-state=done]")
    card = tab.page.locator(".model-card[data-name='ann--small']")
    card.wait_for()
    card.locator("[data-act=verify]").click()
    card.locator(".checked[data-good=yes]").wait_for()
    assert not tab.page.evaluate(WIDE)
    card.locator("summary").click()
    card.locator("[data-act=remove]").click()
    card.wait_for(state="detached")
    assert not tab.errors
