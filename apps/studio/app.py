"""The app: builds the pages, opens them on this machine, and warms up the libraries once the first page is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import gradio as gr
from fastapi import FastAPI
from gradio.routes import App
from starlette.routing import Mount

from apps.cli.stopping import stop_on_terminate
from apps.engine.jobs import Engine
from apps.engine.settings import Settings, load_settings
from apps.studio import theme
from apps.studio.api import add_endpoint
from apps.studio.ask import QUIET, Updates
from apps.studio.bridge import Bridge
from apps.studio.estimate import Costs
from apps.studio.home import Home, domain_title
from apps.studio.pages.gallery import GalleryPage
from apps.studio.pages.models import ModelsPage
from apps.studio.pages.queue import QueuePage
from apps.studio.pages.routes import page_routes
from apps.studio.pages.settings import SettingsPage
from apps.studio.pages.sweep import SweepPage
from apps.studio.panel import Panel
from apps.studio.uploads import private_upload_folder
from apps.studio.viewers.routes import viewer_routes
from apps.web.application import application
from apps.web.exposure import check_exposure, shown_host, users_file
from apps.web.logs import log_as_json
from apps.web.server import Server, listen
from apps.web.users import Users, load_users
from domains.common.errors import BadInput
from domains.common.task import Task
from domains.registry import all_tasks

_BRAND = '<a class="brand" href="./" aria-label="Langevin, home">Langevin</a>'
_TOOLS = (
    '<button type="button" class="plain" data-theme-switch aria-label="Switch between light and dark">'
    '<span class="when-light">Dark</span><span class="when-dark">Light</span></button>'
)
_ADDRESS = "() => langevin.address()"
_DAY = 24 * 3600


class Studio:
    """All pages around one engine.

    Args:
        engine: Runs the jobs.
        tasks: What the pages offer; all registered tasks where None.
    """

    def __init__(self, engine: Engine, tasks: Iterable[Task] | None = None) -> None:
        self.engine = engine
        self.head = theme.head()
        self.tasks = list(all_tasks().values() if tasks is None else tasks)
        self.costs = Costs()
        self.panels: dict[str, Panel] = {}
        with gr.Blocks(title="Langevin", analytics_enabled=False, delete_cache=(3600, _DAY)) as self.blocks:
            gr.HTML(_BRAND, elem_id="brand")
            gr.HTML(_TOOLS, elem_id="tools")
            with gr.Tabs(elem_id="tabs", overflow_behavior="wrap") as self.tabs:
                with gr.Tab("Home", id="home") as home_tab:
                    self.home = Home(self.tasks)
                home_tab.select(None, js=_ADDRESS)
                domains = dict.fromkeys(task.domain for task in self.tasks)
                self.task_tabs = {domain: self._domain(domain) for domain in domains}
                self.pages = self._pages()
            for panel in self.panels.values():
                panel.others = self.tasks
            self.bridge = Bridge(self)
            self.bridge.wire()
            for task in self.tasks:
                add_endpoint(task, engine)
            self._wire_home()
            restored = self.blocks.load(self.restore, None, [self.tabs, *self.task_tabs.values()], **QUIET)
            restored.then(None, js="() => langevin.ready()")

    def _domain(self, domain: str) -> gr.Tabs:
        with (
            gr.Tab(domain_title(domain), id=domain) as tab,
            gr.Tabs(elem_classes=["tasks"], overflow_behavior="wrap") as task_tabs,
        ):
            for task in self.tasks:
                if task.domain == domain:
                    with gr.Tab(task.title, id=task.name) as task_tab:
                        panel = self.panels[task.name] = Panel(task, self.engine, self.costs)
                    task_tab.select(panel.arrive, panel.job, panel.opened, **QUIET)
                    task_tab.select(None, js=_ADDRESS)
        tab.select(None, js=_ADDRESS)
        return task_tabs

    def _pages(self) -> dict[str, Any]:
        """The tabs that belong to no domain; each asks for what it shows when it is seen."""
        self.sweep = SweepPage(self.engine, self.tasks, self.costs)
        models = ModelsPage(self.engine.settings, self.tasks)
        pages: dict[str, Any] = {
            "gallery": GalleryPage(self.tasks),
            "sweep": self.sweep,
            "queue": QueuePage(),
            "models": models,
            "settings": SettingsPage(),
        }
        for name, page in pages.items():
            with gr.Tab(domain_title(name), id=name) as tab:
                page.build()
            tab.select(None, js=_ADDRESS)
            if page is self.sweep:
                tab.select(self._arrive_at_sweep, self.sweep.form.base, self.sweep.opened, **QUIET)
            elif page is models:
                tab.select(models.arrive, None, models.opened, **QUIET)
        return pages

    def _arrive_at_sweep(self, base: Any, request: gr.Request) -> Updates:
        """As the page itself arrives, unless its form has been filled already: then that stays."""
        updates: Updates = self.sweep.arrive(request)
        return {self.sweep.recent: updates[self.sweep.recent]} if base is not None else updates

    def vary(self, job_id: str, owner: str) -> Updates:
        """Opens Sweep with the settings of a job.

        Raises:
            BadInput: If it is not a job of `owner`, or its task is not there any more.
        """
        job = self.engine.get(job_id, owner)
        if job is None or job.task_name not in self.panels:
            raise BadInput("", "there is no such job of yours any more")
        filled = self.sweep.open_with(job.task_name, job.fields, owner, f"{job.task.title}, as it ran")
        return {self.tabs: gr.Tabs(selected="sweep"), **filled}

    def _wire_home(self) -> None:
        for (name, label), button in self.home.examples.items():
            panel = self.panels[name]
            opened = button.click(
                self._opener(panel, label),
                None,
                [self.tabs, self.task_tabs[panel.task.domain], *panel.ask.filled],
                **QUIET,
            )
            opened.success(
                panel.submit_new,
                [panel.job, *panel.ask.inputs],
                panel.asked,
                concurrency_limit=None,
                preprocess=False,
                **QUIET,
            )

    def _opener(self, panel: Panel, label: str) -> Callable[[gr.Request], Updates]:
        fill = panel.ask.filler(label)

        def opened(request: gr.Request) -> Updates:
            tabs = {
                self.tabs: gr.Tabs(selected=panel.task.domain),
                self.task_tabs[panel.task.domain]: gr.Tabs(selected=panel.task.name),
            }
            return {**tabs, **fill(request)}

        return opened

    def restore(self, request: gr.Request) -> Updates:
        """Opens the tab and the task that the address names."""
        domain, task = str(request.query_params.get("tab")), str(request.query_params.get("task"))
        if domain in self.pages:
            return {self.tabs: gr.Tabs(selected=domain)}
        if domain not in self.task_tabs:
            return {self.tabs: gr.skip()}
        updates: Updates = {self.tabs: gr.Tabs(selected=domain)}
        if f"{domain}.{task}" in self.panels:
            updates[self.task_tabs[domain]] = gr.Tabs(selected=f"{domain}.{task}")
        return updates

    def takes(self, function: str | int) -> frozenset[int] | None:
        """How many values a function of the pages may be given; None where there is none of that name or number."""
        known = self.blocks.fns
        found = known.get(function) if isinstance(function, int) else None
        if isinstance(function, str):
            found = next((item for item in known.values() if item.api_name == function), None)
        if found is None:
            return None
        # A client may leave out what it cannot know: the page's own state.
        return frozenset((len(found.inputs), sum(not block.skip_api for block in found.inputs)))

    def mount(self, inner: FastAPI, root_path: str | None = None) -> Callable[[], None]:
        """Adds the pages to an application, at its root; returns what ends their event streams."""
        inner.include_router(page_routes(self.engine, self.tasks))
        inner.include_router(viewer_routes(self.engine.settings.embed_in))
        gr.mount_gradio_app(
            inner,
            self.blocks,
            path="/",
            root_path=root_path,
            max_file_size=self.engine.settings.upload_bytes,
            mcp_server=False,  # apps.web.tools is ours
            theme=theme.theme(),
            css=theme.css(),
            head=self.head,
            favicon_path=str(theme.STATIC / "favicon.svg"),
            footer_links=[],
            run_history=False,
            show_error=False,  # what we mean to say is raised as gr.Error; other words may quote a file
            ssr_mode=False,
            pwa=False,
            enable_monitoring=False,
        )
        # As `launch` of Blocks has it: from now on files of a request must lie among the uploads.
        self.blocks.has_launched = self.blocks.is_running = True
        pages = next(
            route.app for route in inner.routes if isinstance(route, Mount) and isinstance(route.app, App)
        )

        def close_streams() -> None:
            self.blocks.is_running = False
            pages.stop_event.set()

        return close_streams


def launch(
    host: str = "127.0.0.1",
    port: int = 7860,
    root_path: str | None = None,
    settings: Settings | None = None,
    users: Users | None = None,
) -> None:
    """Serves the app until interrupted.

    Args:
        host: Address to listen on; the default is this machine alone.
        port: Port to listen on.
        root_path: Path under which a proxy serves the app.
        settings: Limits and choices; None reads them from the environment.
        users: Who may log in; None reads them from where the settings say.

    Raises:
        BadInput: If the port is taken, or others could reach the app without login.
    """
    settings = load_settings() if settings is None else settings
    users = load_users(users_file(settings)) if users is None else users
    check_exposure(host, settings, users)
    opened = listen(host, port)
    log_as_json(settings.log_requests)
    uploads = private_upload_folder()  # before the pages: each of their components asks for it once
    with stop_on_terminate():
        engine = Engine(settings=settings)
        try:
            served = application(Studio(engine), settings, users, uploads, host, root_path)
            print(f"Langevin is on http://{shown_host(host)}:{port}  (Ctrl+C ends it)", flush=True)
            Server(served, settings.connections).run(sockets=[opened])
        finally:
            engine.close()
