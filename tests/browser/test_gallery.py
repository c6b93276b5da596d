"""Restoring by drop, the Gallery, the Queue, Settings and the actions under an answer, in a real browser."""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from apps.engine.run import run_task
from apps.engine.validation import make_request
from domains.common.recipes import embed_recipe, recipe_sidecar
from domains.registry import find_task
from tests.browser import viewer_files
from tests.browser.driver import PATIENCE, App, Tab
from tests.browser.visiting import TABLE, go, submit

Open = Callable[..., Tab]
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a real run of `series.impute`, on a table that the app has never seen."""
    folder = tmp_path_factory.mktemp("made")
    table = folder / "tides.csv"
    table.write_text(TABLE, "utf-8")
    task = find_task("series.impute")
    fields = {"table": str(table), "samples": 3, "sampling": {"steps": 2, "seed": 41}}
    finished = run_task(task, make_request(task, fields), out=folder / "out")
    recipe = finished.recipe.as_json()
    for name, make in (("helix.pdb", viewer_files.pdb), ("film.mp4", viewer_files.mp4)):
        embed_recipe(make(folder / "out" / name), recipe)
    return folder / "out"


def drop(tab: Tab, path: Path, on: str = "body") -> None:
    """Drops a file on an element, as a hand would."""
    data = base64.b64encode(path.read_bytes()).decode()
    carried = tab.page.evaluate_handle(
        """([data, name]) => {
            const carried = new DataTransfer();
            carried.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name));
            return carried;
        }""",
        [data, path.name],
    )
    tab.page.dispatch_event(on, "drop", {"dataTransfer": carried})


# ---------------------------------------------------------------- restoring


@pytest.mark.parametrize("name", ["plot.png", "quantiles.parquet", "sidecar", "helix.pdb", "film.mp4"])
def test_a_dropped_result_opens_its_tab_with_all_settings(open_tab: Open, made: Path, name: str) -> None:
    path = recipe_sidecar(made / "completed.csv") if name == "sidecar" else made / name
    tab = open_tab()
    drop(tab, path)
    expect(tab.page.locator("#series_impute_status")).to_contain_text(f"Restored from {path.name}")
    expect(tab.page.locator("#series_impute_samples input[type=number]")).to_have_value("3")
    expect(tab.page.locator("[data-tab-id='series.impute'] >> visible=true")).to_have_attribute(
        "aria-selected", "true"
    )
    tab.page.click("button:has-text('Sampling') >> visible=true")
    expect(tab.page.locator("#series_impute_sampling_steps input[type=number]")).to_have_value("2")
    expect(tab.page.locator("#series_impute_sampling_seed input")).to_have_value("41")
    expect(tab.page.locator(".field:has(#series_impute_table) .fault")).to_contain_text(
        "Choose tides.csv again"
    )
    assert not tab.errors


def test_a_file_chosen_on_home_restores_too_and_what_is_none_is_said_in_one_line(
    open_tab: Open, made: Path, tmp_path: Path
) -> None:
    tab = open_tab()
    hostile = tmp_path / "evil<b>.png"
    hostile.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\xff" * 64)
    drop(tab, hostile)
    notice = tab.page.locator(".notice[role=alert] p")
    expect(notice).to_be_visible()
    assert "\n" not in notice.inner_text() and notice.locator("b").count() == 0
    assert tab.page.locator("#tabs > .tab-wrapper [data-tab-id=home][aria-selected=true]").count() >= 1
    tab.page.set_input_files("[data-restore-file]", made / "plot.png")
    expect(tab.page.locator("#series_impute_status")).to_contain_text("Restored from plot.png")
    assert tab.page.locator(".notice").count() == 0
    assert not tab.errors


def test_a_file_dropped_on_its_field_is_an_input(open_tab: Open, made: Path) -> None:
    tab = open_tab("?tab=series&task=impute")
    tab.page.wait_for_selector("#series_impute_table")
    drop(tab, made.parent / "tides.csv", "#series_impute_table [data-testid=upload-text]")
    expect(tab.page.locator("#series_impute_table")).to_contain_text("tides")
    assert "restored" not in tab.page.inner_html("#series_impute_status")


# ---------------------------------------------------------------- the gallery


def test_results_are_found_pinned_compared_taken_along_and_deleted(clean: Tab, open_tab: Open) -> None:
    jobs = [submit(clean, seed=seed, samples=2 + seed) for seed in (1, 2, 3)]
    tab = clean
    go(tab, "queue")
    expect(tab.page.locator("[data-summary]")).to_have_text("Nothing waits and nothing runs.")
    go(tab, "gallery")
    cards = tab.page.locator(".result")
    expect(cards).to_have_count(3)
    assert [card.get_attribute("data-id") for card in cards.all()] == jobs[::-1]
    expect(tab.page.locator(f"[data-id='{jobs[0]}'] img")).to_have_js_property("naturalWidth", 320)
    # Found by a setting; pinned.
    tab.page.fill("[name=text]", "tides samples 4")
    expect(cards).to_have_count(1)
    tab.page.click(f"[data-id='{jobs[1]}'] [data-do=pin]")
    expect(tab.page.locator(f"[data-id='{jobs[1]}'] [data-do=unpin]")).to_have_text("Pinned")
    tab.page.fill("[name=text]", "")
    expect(cards).to_have_count(3)
    tab.page.check("[name=pinned]")
    expect(cards).to_have_count(1)
    tab.page.uncheck("[name=pinned]")
    expect(cards).to_have_count(3)
    # Two beside each other.
    for job in jobs[:2]:
        tab.page.check(f"[data-id='{job}'] [data-pick]")
    tab.page.click("[data-compare-chosen]")
    table = tab.page.locator(".comparison table.metrics").last
    expect(table).to_contain_text("Samples")
    expect(tab.page.locator(".comparison langevin-viewer").first).to_have_attribute("data-state", "shown")
    frame = tab.page.frame_locator(".comparison langevin-viewer iframe").first
    expect(frame.locator(".xy, .xy2").first).to_be_attached()
    # As a zip.
    with tab.page.expect_download() as arriving:
        tab.page.click("[data-zip-chosen]")
    with zipfile.ZipFile(io.BytesIO(Path(arriving.value.path()).read_bytes())) as archive:
        results = [name for name in archive.namelist() if name.endswith("result.json")]
        seeds = {json.loads(archive.read(name))["recipe"]["request"]["sampling"]["seed"] for name in results}
    assert seeds == {1, 2}
    # Deleted with a way back, then for good.
    tab.page.click("[data-clear-chosen]")
    tab.page.click(f"[data-id='{jobs[2]}'] [data-remove]")
    expect(cards).to_have_count(2)
    tab.page.click(".notice button:has-text('Undo')")
    expect(cards).to_have_count(3)
    tab.page.click(f"[data-id='{jobs[2]}'] [data-remove]")
    expect(tab.page.locator(".notice")).to_have_count(0)
    second = open_tab("?tab=gallery")
    expect(second.page.locator(".result")).to_have_count(2)
    # Opened in its tab.
    second.page.click(f"[data-id='{jobs[0]}'] [data-open]")
    expect(second.page.locator("#series_impute_status")).to_contain_text("seed 1")
    second.page.wait_for_url(re.compile(f"job={jobs[0]}"))
    assert not tab.errors and not second.errors


# ---------------------------------------------------------------- the queue


def test_jobs_are_ordered_paused_cancelled_and_tried_again(clean: Tab) -> None:
    tab = clean
    long = submit(tab, steps=1000, samples=256)
    waiting = [submit(tab, seed=seed) for seed in (1, 2, 3)]
    go(tab, "queue")
    expect(tab.page.locator(f"[data-section=running] [data-id='{long}']")).to_be_visible()
    rows = tab.page.locator("[data-section=waiting] li")
    expect(rows).to_have_count(3)
    expect(tab.page.locator("[data-summary]")).to_have_text(
        "1 running, 3 waiting. 0 jobs of others ahead of your next one."
    )

    def order() -> list[str | None]:
        return [row.get_attribute("data-id") for row in rows.all()]

    # By keyboard: the focus stays with the job that moves.
    last = tab.page.locator(f"[data-id='{waiting[2]}'] [data-move]").first
    last.focus()
    tab.page.keyboard.press("Enter")
    expect(rows.nth(1)).to_have_attribute("data-id", waiting[2])
    assert tab.page.evaluate("document.activeElement.closest('li').dataset.id") == waiting[2]
    tab.page.select_option(f"[data-id='{waiting[1]}'] [data-priority]", label="High")
    expect(rows.nth(0)).to_have_attribute("data-id", waiting[1])
    assert order() == [waiting[1], waiting[0], waiting[2]]
    # A row that has not changed is not drawn anew.
    tab.page.evaluate(f"document.querySelector(\"[data-id='{waiting[0]}'] b\").marked = true")
    tab.page.wait_for_timeout(2500)
    assert tab.page.evaluate(f"document.querySelector(\"[data-id='{waiting[0]}'] b\").marked")
    tab.page.click(f"[data-id='{waiting[0]}'] [data-do=pause]")
    expect(tab.page.locator(f"[data-id='{waiting[0]}'] [data-words]")).to_have_text("Paused")
    tab.page.click(f"[data-id='{waiting[2]}'] [data-do=cancel]")
    expect(tab.page.locator(f"[data-section=ended] [data-id='{waiting[2]}']")).to_be_visible()
    tab.page.click(f"[data-id='{long}'] [data-do=cancel]")
    expect(tab.page.locator(f"[data-section=ended] [data-id='{long}']")).to_be_visible()
    tab.page.click(f"[data-id='{waiting[0]}'] [data-do=resume]")
    tab.page.click(f"[data-id='{waiting[2]}'] [data-do=retry]")
    expect(tab.page.locator("[data-summary]")).to_have_text("Nothing waits and nothing runs.")
    go(tab, "gallery")
    expect(tab.page.locator(".result")).to_have_count(3)
    assert not tab.errors


# ---------------------------------------------------------------- under an answer


def test_an_answer_is_replayed_varied_compared_and_sent_on(clean: Tab, open_tab: Open) -> None:
    job = submit(clean, seed=5)
    tab = open_tab(f"?tab=series&task=impute&job={job}")
    expect(tab.page.locator("#series_impute_status .status")).to_have_attribute("data-state", "done")
    tab.page.click("#series_impute_details [data-replay]")
    expect(tab.page.locator("#series_impute_details .verdict")).to_contain_text(
        "came out the same, to the bit"
    )
    tab.page.click("#series_impute_details [data-compare]")
    expect(tab.page.locator("#series_impute_details [data-compare]")).to_have_attribute(
        "aria-pressed", "true"
    )
    tab.page.click("#series_impute_details .menu summary")
    tab.page.click("#series_impute_details [data-artifact='completed.csv'][data-task='series.forecast']")
    expect(tab.page.locator("#series_forecast_table")).to_contain_text("completed")
    expect(tab.page.locator("#series_forecast_status")).to_contain_text("Received completed.csv")
    go(tab, "gallery")
    expect(tab.page.locator("[data-count]")).to_have_text("1 chosen")
    tab.page.click(f"[data-id='{job}'] [data-open]")
    tab.page.click("#series_impute_details [data-vary] >> visible=true")
    expect(tab.page.locator("#sweep_page")).to_be_visible()
    form = tab.page.locator("#sweep_page")
    expect(form.get_by_role("combobox", name="Task")).to_have_value("Series · Fill gaps")
    expect(form.get_by_role("combobox", name="Settings from")).to_have_value("Fill gaps, as it ran")
    assert not tab.errors


# ---------------------------------------------------------------- settings


def test_the_look_is_kept_and_clearing_out_asks_first(clean: Tab) -> None:
    tab = clean
    kept = submit(tab, seed=1)
    submit(tab, seed=2)
    go(tab, "queue")
    expect(tab.page.locator("[data-summary]")).to_have_text("Nothing waits and nothing runs.")
    tab.page.evaluate(f"fetch('pages/jobs/{kept}/pin', {{ method: 'POST' }})")
    go(tab, "settings")
    tab.page.check("[name=theme][value=dark]")
    tab.page.check("[name=motion][value=reduced]")
    assert tab.page.evaluate("document.body.classList.contains('dark') && langevin.calm()")
    tab.page.reload()
    tab.page.wait_for_selector("[data-clear-out]")
    assert tab.page.evaluate("document.body.classList.contains('dark') && langevin.calm()")
    assert tab.page.is_checked("[name=theme][value=dark]")
    tab.page.check("[name=theme][value='']")
    expect(tab.page.locator("body")).not_to_have_class(re.compile(r"\bdark\b"))
    expect(tab.page.locator("[data-clear-out]")).to_contain_text("Clear out 1 job")
    tab.page.click("[data-clear-out]")
    expect(tab.page.locator("[data-clear-out]")).to_contain_text("Press again")
    tab.page.click("[data-clear-out]")
    expect(tab.page.locator(".notice")).to_contain_text("Removed 1 job")
    expect(tab.page.locator("[data-clear-out]")).to_be_disabled()
    assert not tab.errors


# ---------------------------------------------------------------- for everybody


def test_the_page_is_painted_soon(app: App, open_tab: Open) -> None:
    tab = open_tab()
    paint = tab.page.evaluate(
        "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
        " - performance.getEntriesByType('navigation')[0].responseStart"
    )
    assert paint < 2000, f"{paint:.0f} ms"
