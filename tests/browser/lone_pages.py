"""A page of the studio by itself, for tests: `python -m tests.browser.lone_pages PAGE PORT HOME`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from apps.engine.jobs import Engine
from apps.studio import theme
from apps.studio.estimate import Costs
from apps.studio.pages.models import ModelsPage
from apps.studio.pages.sweep import SweepPage
from apps.web.files import result_routes
from apps.web.owners import LOCAL, set_owner
from domains.common.task import TASKS
from domains.registry import all_tasks, find_task
from tests.engine import demo_tasks
from tests.engine.conftest import settings


class Owned:
    """Says that every request is of this machine's own user, as the door does where nobody has to log in."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            set_owner(scope, LOCAL)
        await self.app(scope, receive, send)


def page_of(name: str, engine: Engine) -> Any:
    if name == "models":
        return ModelsPage(engine.settings, all_tasks().values())
    TASKS["demo.walk"] = demo_tasks.WALK  # its worker takes it from the settings
    return SweepPage(
        engine, [find_task(task) for task in ("demo.walk", "lab.theory", "series.impute")], Costs()
    )


def application(name: str, engine: Engine) -> FastAPI:
    """The page, with the studio's look, and the results of its jobs."""
    page = page_of(name, engine)
    with gr.Blocks(title=name, analytics_enabled=False) as blocks:
        with gr.Tabs(elem_id="tabs"), gr.Tab(page.title, id=name):
            page.build()
        blocks.load(page.arrive, None, page.opened, show_progress="hidden")
    inner = FastAPI()
    inner.include_router(result_routes(engine))
    gr.mount_gradio_app(
        inner,
        blocks,
        path="/",
        theme=theme.theme(),
        css=theme.css(),
        head=theme.head(),
        footer_links=[],
        ssr_mode=False,
    )
    return inner


def main(name: str, port: int, home: Path) -> None:
    engine = Engine(home, settings(workers=1))
    try:
        uvicorn.run(Owned(application(name, engine)), host="127.0.0.1", port=port, log_level="warning")
    finally:
        engine.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
