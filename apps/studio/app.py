"""The app: builds the pages, opens them on this machine, and warms up the libraries once the first page is there."""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Callable, Iterable

import gradio as gr

from apps.cli.stopping import stop_on_terminate
from apps.engine.jobs import Engine
from apps.studio import theme
from apps.studio.api import add_endpoint
from apps.studio.estimate import Costs
from apps.studio.home import Home, domain_title
from apps.studio.panel import QUIET, Panel, Updates
from apps.studio.uploads import LARGEST_UPLOAD, private_upload_folder
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
_BREATH = 1.0  # seconds that the first page has for itself before the warming-up


class Studio:
    """All pages around one engine.

    Args:
        engine: Runs the jobs.
        tasks: What the pages offer; all registered tasks where None.
    """

    def __init__(self, engine: Engine, tasks: Iterable[Task] | None = None) -> None:
        self.engine = engine
        self.tasks = list(all_tasks().values() if tasks is None else tasks)
        self.costs = Costs()
        self.panels: dict[str, Panel] = {}
        self._warm = threading.Lock()
        with gr.Blocks(title="Langevin", analytics_enabled=False, delete_cache=(3600, _DAY)) as self.blocks:
            gr.HTML(_BRAND, elem_id="brand")
            gr.HTML(_TOOLS, elem_id="tools")
            with gr.Tabs(elem_id="tabs", overflow_behavior="wrap") as self.tabs:
                with gr.Tab("Home", id="home") as home_tab:
                    self.home = Home(self.tasks)
                home_tab.select(None, js=_ADDRESS)
                domains = dict.fromkeys(task.domain for task in self.tasks)
                self.task_tabs = {domain: self._domain(domain) for domain in domains}
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

    def _wire_home(self) -> None:
        for (name, label), button in self.home.examples.items():
            panel = self.panels[name]
            opened = button.click(
                self._opener(panel, label),
                None,
                [self.tabs, self.task_tabs[panel.task.domain], *panel.filled],
                **QUIET,
            )
            opened.success(
                panel.submit_new,
                [panel.job, *panel.inputs],
                panel.asked,
                concurrency_limit=None,
                preprocess=False,
                **QUIET,
            )

    def _opener(self, panel: Panel, label: str) -> Callable[[], Updates]:
        fill = panel.filler(label)

        def opened() -> Updates:
            tabs = {
                self.tabs: gr.Tabs(selected=panel.task.domain),
                self.task_tabs[panel.task.domain]: gr.Tabs(selected=panel.task.name),
            }
            return {**tabs, **fill()}

        return opened

    def restore(self, request: gr.Request) -> Updates:
        """Opens the tab and the task that the address names, and starts the warming-up."""
        threading.Timer(_BREATH, self.warm_up).start()
        domain, task = str(request.query_params.get("tab")), str(request.query_params.get("task"))
        if domain not in self.task_tabs:
            return {self.tabs: gr.skip()}
        updates: Updates = {self.tabs: gr.Tabs(selected=domain)}
        if f"{domain}.{task}" in self.panels:
            updates[self.task_tabs[domain]] = gr.Tabs(selected=f"{domain}.{task}")
        return updates

    def warm_up(self) -> None:
        """Imports what the tasks will need, so that the first run does not wait for it; once, in the background."""
        if not self._warm.acquire(blocking=False):
            return
        for library in dict.fromkeys(library for task in self.tasks for library in task.libraries):
            if importlib.util.find_spec(library) is not None:
                importlib.import_module(library)


def launch(host: str = "127.0.0.1", port: int = 7860, root_path: str | None = None) -> None:
    """Serves the app until interrupted.

    Args:
        host: Address to listen on; the default is this machine alone.
        port: Port to listen on.
        root_path: Path under which a proxy serves the app.

    Raises:
        BadInput: If the port is taken.
    """
    private_upload_folder()
    engine = Engine()
    with stop_on_terminate():
        try:
            studio = Studio(engine)
            serve(studio, host, port, root_path)
            print(f"Langevin is on http://{host}:{port}  (Ctrl+C ends it)", flush=True)
            threading.Event().wait()
        finally:
            engine.close()


def serve(studio: Studio, host: str, port: int, root_path: str | None = None) -> None:
    """Opens the pages on `host:port` and returns at once.

    Raises:
        BadInput: If the port is taken.
    """
    try:
        studio.blocks.launch(
            server_name=host,
            server_port=port,
            root_path=root_path,
            allowed_paths=[str(studio.engine.root)],
            max_file_size=LARGEST_UPLOAD,
            mcp_server=importlib.util.find_spec("mcp") is not None,
            theme=theme.theme(),
            css=theme.css(),
            head=theme.head(),
            favicon_path=theme.STATIC / "favicon.svg",
            footer_links=[],
            show_error=True,
            share=False,
            ssr_mode=False,
            pwa=False,
            enable_monitoring=False,
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError:  # gradio's words for it name its own settings
        mend = "it is in use or not allowed; choose another with --port"
        raise BadInput("port", f"{port} cannot be opened on {host}: {mend}") from None
