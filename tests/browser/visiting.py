"""What tests of several pages do there: make jobs, clear them away, go from tab to tab."""

from __future__ import annotations

from typing import Any

from tests.browser.driver import Tab

TABLE = "hour,level\n" + "".join(f"{i},{'' if i in (7, 8) else i % 5 + i / 10}\n" for i in range(40))


def submit(tab: Tab, **fields: Any) -> str:
    """A job of `series.impute` of whoever looks at the tab; its id."""
    request = {"table": {"name": "tides.csv", "text": TABLE}, "samples": 2, "steps": 1, **fields}
    url = tab.page.evaluate("document.baseURI").split("?")[0]
    answer = tab.page.request.post(f"{url}api/jobs", data={"task": "series.impute", "request": request})
    assert answer.ok, answer.text()
    return str(answer.json()["id"])


def clear_out(tab: Tab) -> None:
    """Cancels and removes all jobs."""
    tab.page.evaluate(
        """async () => {
            const post = (what) => fetch(what, { method: "POST" });
            for (let i = 0; i < 300; i++) {
                const { sections } = await (await fetch("pages/queue")).json();
                const open = [...sections.running, ...sections.waiting];
                if (!open.length) break;
                for (const { id } of open) await post(`pages/jobs/${id}/cancel`);
                await new Promise((resolve) => setTimeout(resolve, 300));
            }
            const { html } = await (await fetch("pages/gallery?pinned=1")).json();
            for (const [, id] of html.matchAll(/data-id="(\\w+)"/g)) await post(`pages/jobs/${id}/unpin`);
            await post("pages/clear");
            localStorage.clear();
        }"""
    )


def go(tab: Tab, page: str) -> None:
    tab.page.click(f"#tabs > .tab-wrapper [data-tab-id={page}] >> visible=true")
