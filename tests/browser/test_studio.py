"""The app in a real browser: what a person does on the Series tab, from the upload to the download."""

from __future__ import annotations

import csv
import json
import math
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from domains.registry import all_tasks
from tests.browser.driver import App, Tab

Open = Callable[..., Tab]
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

IMPUTE = "?tab=series&task=impute"
RUN, CANCEL = "#series_impute_run", "#series_impute_cancel"
STATUS = "#series_impute_status .status"
GAP = range(40, 52)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Ninety-six hours of two waves, with a gap of half a day in one of them."""
    path = tmp_path / "waves.csv"
    lines = ["hour,low,high"]
    for hour in range(96):
        low = "" if hour in GAP else f"{10 + 3 * math.sin(hour / 4):.3f}"
        lines.append(f"2024-03-{1 + hour // 24:02d} {hour % 24:02d}:00,{low},{math.cos(hour / 7):.4f}")
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def upload(tab: Tab, path: Path) -> None:
    tab.page.set_input_files("#series_impute_table input[type=file]", path)
    tab.page.wait_for_selector(f"#series_impute_table :text('{path.stem}')")


def set_field(tab: Tab, field: str, value: int) -> None:
    box = tab.page.locator(f"#series_impute_{field} input[type=number]")
    box.fill(str(value))
    box.press("Tab")


def duration(words: str) -> float:
    """Seconds of the first duration in a text, in whichever unit it is said."""
    found = re.search(r"([\d.]+)\s(s|min|h)\b", words)
    assert found is not None, words
    return float(found[1]) * {"s": 1, "min": 60, "h": 3600}[found[2]]


def finish(tab: Tab) -> None:
    tab.page.click(RUN)
    tab.page.wait_for_selector(f"{STATUS}[data-state=done]")


def test_the_page_is_answered_within_six_seconds_of_processor_time(app: App) -> None:
    assert not app.cpu_seconds > 6.0


def test_upload_see_the_band_download_the_result(open_tab: Open, table: Path, tmp_path: Path) -> None:
    tab = open_tab(IMPUTE)
    upload(tab, table)
    set_field(tab, "samples", 8)
    finish(tab)
    # The band around the gap is drawn, over the hours of the gap alone.
    traces = tab.page.evaluate(
        "document.querySelector('#series_impute_plot .js-plotly-plot').data.map(t => [t.name, t.x, t.y, t.fill])"
    )
    band = next(trace for trace in traces if trace[0] == "90 % band")
    assert band[3] == "toself"
    hours = {x[:13] for x in band[1] if x}
    assert "2024-03-02T18" in {hour.replace(" ", "T") for hour in hours} and len(hours) <= len(GAP) + 2
    assert max(y for y in band[2] if y is not None) > min(y for y in band[2] if y is not None)
    assert tab.page.locator("#series_impute_plot .scatterlayer .trace path").count() > 2
    # The download is the table with its gap filled, observed cells byte for byte as they came.
    with tab.page.expect_download() as arriving:
        tab.page.click("#series_impute_details .files a:has-text('completed.csv')")
    saved = tmp_path / "saved.csv"
    arriving.value.save_as(saved)
    assert arriving.value.suggested_filename == "completed.csv"
    before, after = (list(csv.reader(path.open(encoding="utf-8"))) for path in (table, saved))
    assert [len(row) for row in after] == [3] * 97
    for row, (old, new) in enumerate(zip(before, after, strict=True)):
        if row - 1 in GAP:
            assert old[1] == "" and math.isfinite(float(new[1])) and (old[0], old[2]) == (new[0], new[2])
        else:
            assert old == new
    with tab.page.expect_download() as arriving:
        tab.page.click("#series_impute_details .files a:has-text('result.json')")
    result = json.loads(Path(arriving.value.path()).read_text("utf-8"))
    assert result["recipe"]["request"]["samples"] == 8
    assert result["recipe"]["inputs"]["table"]["name"] == table.name
    assert "filled cells" in tab.page.inner_text("#series_impute_details .metrics").lower()
    assert not tab.errors


def test_nothing_is_asked_for_outside_this_machine(app: App, open_tab: Open) -> None:
    tab = open_tab()
    tab.page.wait_for_selector(".film path.made", state="attached")
    tab.page.click("[role=tab][data-tab-id=series]")
    tab.page.wait_for_selector("#series_impute_plot .js-plotly-plot .scatterlayer path")
    tab.page.wait_for_timeout(2000)
    assert len(tab.requests) > 20
    assert not [url for url in tab.requests if not url.startswith((app.url, "data:", "blob:"))]


def test_a_long_run_is_cancelled_within_one_step(open_tab: Open, table: Path) -> None:
    tab = open_tab(IMPUTE)
    upload(tab, table)
    tab.page.click("button:has-text('Sampling')")
    set_field(tab, "sampling_steps", 1000)
    set_field(tab, "samples", 256)
    tab.page.click(RUN)
    tab.page.wait_for_function(
        "line => /step \\d+ of 1000 .* left/.test(document.querySelector(line)?.innerText ?? '')", arg=STATUS
    )
    words = tab.page.inner_text(STATUS)
    began = time.monotonic()
    tab.page.click(CANCEL)
    tab.page.wait_for_selector(f"{STATUS}[data-state=cancelled]")
    waited = time.monotonic() - began
    step = int(re.search(r"step (\d+) of", words)[1])  # type: ignore[index]
    ended = tab.page.inner_text(STATUS)
    last = int(re.search(r"at step (\d+) of 1000", ended)[1])  # type: ignore[index]
    assert step <= last < 1000, (words, ended)
    left = duration(words.partition("about ")[2])
    one_step = left / (1000 - step)
    assert waited < one_step + 5, f"{waited:.1f} s; a step takes {one_step:.2f} s"
    assert left > 2 * waited, "the run was too short to tell"
    assert tab.page.locator(RUN).is_visible()
    assert tab.page.locator("#series_impute_details .files").count() == 0


def test_a_closed_page_does_not_end_the_run(open_tab: Open, table: Path) -> None:
    first = open_tab(IMPUTE)
    upload(first, table)
    set_field(first, "samples", 3)
    first.page.click(RUN)
    first.page.wait_for_selector(f"{STATUS}[data-job]")
    address = first.page.evaluate("location.search")
    assert re.fullmatch(r"\?tab=series&task=impute&job=[0-9a-f]{32}", address)
    first.page.close()
    second = open_tab(address)
    second.page.wait_for_selector(f"{STATUS}[data-state=done]")
    assert second.page.input_value("#series_impute_samples input[type=number]") == "3"
    assert table.stem in second.page.inner_text("#series_impute_table")
    assert second.page.locator("#series_impute_details .files a").count() >= 3


def test_a_bad_file_is_answered_with_a_sentence_at_the_field(open_tab: Open, tmp_path: Path) -> None:
    words = tmp_path / "words.csv"
    words.write_text("name,town\nAnn,Bern\nBob,<b>Rome</b>\n", "utf-8")
    tab = open_tab(IMPUTE)
    tab.page.click(RUN)  # nothing chosen yet
    fault = tab.page.locator(".field:has(#series_impute_table) .fault")
    fault.wait_for()
    assert "choose a file" in fault.inner_text()
    upload(tab, words)
    tab.page.click(RUN)
    tab.page.wait_for_selector(f"{STATUS}[data-state=failed]")
    assert "no numeric column" in fault.inner_text()
    assert "no numeric column" in tab.page.inner_text(STATUS)
    assert "Traceback" not in tab.page.inner_text("body")
    assert words.stem in tab.page.inner_text("#series_impute_table")  # nothing that was filled in is lost
    assert tab.page.locator(RUN).is_enabled()


def test_the_browser_is_no_way_past_the_bounds(open_tab: Open, table: Path) -> None:
    tab = open_tab(IMPUTE)
    upload(tab, table)
    tab.page.click("button:has-text('Sampling')")
    tab.page.wait_for_selector("#series_impute_sampling_steps input", state="attached")
    tab.page.evaluate("document.querySelector('#series_impute_sampling_steps input').removeAttribute('max')")
    set_field(tab, "sampling_steps", 100_000)
    tab.page.click(RUN)
    tab.page.wait_for_selector("#series_impute_panel .fault")
    assert "1000" in tab.page.inner_text("#series_impute_panel .fault")
    assert tab.page.locator(f"{STATUS}[data-job]").count() == 0


def test_an_example_on_home_opens_the_tab_filled_and_running(open_tab: Open) -> None:
    tab = open_tab()
    assert tab.page.locator(".task-card").count() == len(all_tasks())
    tab.page.click("#try_series_impute")
    tab.page.wait_for_selector(f"{STATUS}[data-state=done]")
    assert "mauna_loa_co2" in tab.page.inner_text("#series_impute_table").replace("\n", "")
    took, foretold = duration(tab.page.inner_text(STATUS)), duration(tab.page.inner_text(RUN))
    assert tab.page.inner_text(RUN).startswith("Fill gaps · about ")
    # The form asks for the same again.  Of like runs the shorter ones count, so less may be foretold than took place.
    assert took / 10 - 1 < foretold < 4 * took + 1
    assert "tab=series&task=impute&job=" in tab.page.url


def test_the_empty_state_is_a_finished_example(open_tab: Open) -> None:
    tab = open_tab("?tab=series&task=forecast")
    tab.page.wait_for_selector("#series_forecast_plot .js-plotly-plot .scatterlayer path")
    assert "Example" in tab.page.inner_text("#series_forecast_status")
    assert tab.page.locator("#series_forecast_details .metrics").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("address", ["", IMPUTE])
def test_a_phone_shows_one_column_without_scrolling_sideways(
    open_tab: Open, table: Path, address: str, scheme: str
) -> None:
    tab = open_tab(address, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    if address:
        upload(tab, table)
        set_field(tab, "samples", 3)
        finish(tab)
        ask, answer = (
            tab.page.locator(f"#series_impute_panel {name}").bounding_box() for name in (".ask", ".answer")
        )
        assert ask and answer and answer["y"] >= ask["y"] + ask["height"]
    wide = tab.page.evaluate(
        """[...document.querySelectorAll('main *')]
            .filter(e => e.checkVisibility() && !e.closest('pre, svg, .card, [role=tablist], [aria-hidden=true]')
                    && e.getBoundingClientRect().right > innerWidth + 1)
            .map(e => e.tagName + '.' + e.className)"""
    )
    assert not wide
    assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


# Text whose contrast with the surface under it is below 4.5, as [text, contrast, colour].
FAINT = """() => {
  const paint = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (colour) => {
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = colour;
    paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data];
  };
  const linear = (v) => v / 255 <= .04045 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
  const under = (element) => {
    for (; element; element = element.parentElement) {
      const colour = rgba(getComputedStyle(element).backgroundColor);
      if (colour[3] > 252) return colour;
    }
    return [255, 255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll('main *')) {
    const words = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    const seen = element.checkVisibility({opacityProperty: true, visibilityProperty: true});
    if (!words || !seen || element.closest('[disabled]')) continue;
    const style = getComputedStyle(element);
    const ink = rgba(element.closest('svg') ? style.fill : style.color);
    if (ink[3] < 252) continue;
    const [dark, bright] = [light(ink), light(under(element))].sort((a, b) => a - b);
    const contrast = (bright + .05) / (dark + .05);
    if (contrast < 4.5) faint.push([element.textContent.trim().slice(0, 40), contrast.toFixed(2), style.color]);
  }
  return faint;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_that_wcag_aa_asks_for(open_tab: Open, scheme: str) -> None:
    tab = open_tab("", color_scheme=scheme)
    tab.page.wait_for_selector(".hero")
    assert tab.page.evaluate("document.body.classList.contains('dark')") is (scheme == "dark")
    assert tab.page.evaluate(FAINT) == []
    tab.page.click("[role=tab][data-tab-id=series]")
    tab.page.wait_for_selector("#series_impute_plot .js-plotly-plot .scatterlayer path")
    tab.page.click(RUN)
    tab.page.wait_for_selector("#series_impute_panel .fault")
    tab.page.mouse.move(0, 0)
    tab.page.wait_for_timeout(600)
    assert tab.page.evaluate(FAINT) == []


def test_light_and_dark_are_a_click_apart_and_remembered(open_tab: Open) -> None:
    tab = open_tab("", color_scheme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    before = tab.page.evaluate(paper)
    tab.page.click("[data-theme-switch]")
    dark = tab.page.evaluate(paper)
    assert dark != before
    tab.page.reload()
    tab.page.wait_for_selector(".hero")
    tab.page.wait_for_function(f"want => {paper} === want", arg=dark)


def test_the_film_stands_still_for_those_who_prefer_it(open_tab: Open) -> None:
    def drawn(tab: Tab) -> list[str]:
        tab.page.wait_for_selector(".film path.made", state="attached")
        path = "document.querySelector('.film path.made').getAttribute('d')"
        first = tab.page.evaluate(path)
        tab.page.wait_for_timeout(1500)
        return [first, tab.page.evaluate(path)]

    still = drawn(open_tab("", reduced_motion="reduce"))
    assert still[0] == still[1]
    moving = drawn(open_tab("", reduced_motion="no-preference"))
    assert moving[0] != moving[1]


def test_the_server_hands_out_results_and_nothing_else(app: App, root: Path) -> None:
    for path in ("/etc/passwd", str(root / "pyproject.toml"), str(root / "launch.py"), "pyproject.toml"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{app.url}gradio_api/file={path}", timeout=60)
        assert refused.value.code in (403, 404)


def test_the_endpoints_answer_gradios_client(app: App, table: Path) -> None:
    from gradio_client import Client, handle_file

    client = Client(app.url, verbose=False)
    files, result = client.predict(table=handle_file(table), samples=4, steps=3, api_name="/series_impute")
    assert {"completed.csv", "quantiles.csv"} <= {Path(file).name for file in files}
    assert result["task"] == "series.impute" and result["nfe"] == 3
    assert len(Path(files[0]).read_text("utf-8").splitlines()) == 97
    with pytest.raises(Exception, match="samples: must be a whole number from 2 to 256"):
        client.predict(table=handle_file(table), samples=1, api_name="/series_impute")
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == {f"/{name.replace('.', '_')}" for name in all_tasks()}
