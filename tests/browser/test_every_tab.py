"""Every tab in light, in dark and on a phone: axe finds nothing serious, nothing is too wide, and a picture is kept.

The pictures of the last run lie in `build/screenshots`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from domains.registry import all_tasks
from tests.browser.driver import PATIENCE, Tab
from tests.browser.visiting import go, submit

Open = Callable[..., Tab]
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
expect.set_options(timeout=PATIENCE)
DOMAINS = list(dict.fromkeys(task.domain for task in all_tasks().values()))
TABS = ["home", *DOMAINS, "gallery", "sweep", "queue", "models", "settings"]
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
LOOKS = {
    "light": ("light", WIDE),
    "dark": ("dark", WIDE),
    "phone": ("dark", PHONE),
    "phone_light": ("light", PHONE),
}
TOO_WIDE = """[...document.querySelectorAll('main *')]
  .filter(e => e.checkVisibility() && !e.closest('pre, svg, .card, .scrolls, [role=tablist], [aria-hidden=true]')
          && e.getBoundingClientRect().right > innerWidth + 1)
  .map(e => e.tagName + '.' + e.className)"""


# Two of the four show light and dark, wide and narrow; the others are in the slow suite.
SEEN = [look if look in ("light", "phone") else pytest.param(look, marks=pytest.mark.slow) for look in LOOKS]


@pytest.mark.parametrize("look", SEEN)
def test_every_tab_is_accessible_fits_and_is_pictured(
    clean: Tab, open_tab: Open, look: str, root: Path
) -> None:
    submit(clean, seed=1)
    submit(clean, table={"name": "words.csv", "text": "a,b\nx,y\nz,w\n"})
    go(clean, "queue")
    expect(clean.page.locator("[data-section=ended] li")).to_have_count(1)
    expect(clean.page.locator("[data-summary]")).to_have_text("Nothing waits and nothing runs.")
    scheme, size = LOOKS[look]
    tab = open_tab("", viewport=size, color_scheme=scheme, reduced_motion="reduce")
    pictures = root / "build" / "screenshots"
    pictures.mkdir(parents=True, exist_ok=True)
    faults = []
    for name in TABS:
        go(tab, name)
        tab.page.wait_for_selector(f"[data-tab-id={name}][aria-selected=true] >> visible=true")
        if name in DOMAINS:
            tab.page.wait_for_selector(".answer .status >> visible=true")
        tab.page.wait_for_timeout(2000)
        tab.page.evaluate("scrollTo(0, 0)")
        tab.page.screenshot(path=pictures / f"{name}_{look}.png", full_page=True)
        if wide := tab.page.evaluate(TOO_WIDE):
            faults.append((name, "too wide", wide[:3]))
        for item in Axe().run(tab.page).response["violations"]:
            if item["impact"] in ("serious", "critical"):
                faults.append((name, item["id"], [node["html"][:160] for node in item["nodes"]][:3]))
    assert not faults, faults
    assert not tab.errors


@pytest.mark.parametrize("name", ["settings", "home", "queue"])
def test_a_phone_shows_the_chosen_tab_in_its_bar(open_tab: Open, name: str) -> None:
    tab = open_tab(f"?tab={name}", viewport=PHONE)
    chosen = f"#tabs > .tab-wrapper [data-tab-id={name}][aria-selected=true] >> visible=true"
    tab.page.wait_for_selector(chosen)
    expect(tab.page.locator(chosen)).to_be_in_viewport(ratio=0.95)


def test_the_address_names_a_sweep_on_its_own_page_alone(clean: Tab) -> None:
    page = clean.page
    go(clean, "sweep")
    for place, text in enumerate(("1", "0")):
        box = page.locator(f"#sweep_values_{place} :is(input, textarea)")
        box.fill(text)
        box.press("Tab")
    page.click("#sweep_run")
    page.wait_for_function("location.search.includes('sweep=')")
    named = page.evaluate("new URL(location.href).searchParams.get('sweep')")
    for name in ("gallery", "home"):
        go(clean, name)
        page.wait_for_function("!location.search.includes('sweep')")
    page.wait_for_timeout(1500)  # the sweep goes on meanwhile, and says so on its own page
    assert "sweep" not in page.evaluate("location.search")
    go(clean, "sweep")
    page.wait_for_function("id => new URL(location.href).searchParams.get('sweep') === id", arg=named)
    page.reload()
    expect(page.locator(f"#sweep_status [data-sweep='{named}']")).to_be_visible()
    assert not clean.errors
