"""Sweep: one task over a grid of values.  The page is a view of a sweep, as a task's panel is a view of a job."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import gradio as gr

from apps.engine.environment import missing_libraries
from apps.engine.jobs import Engine
from apps.engine.sweep import Sweep, Sweeps
from apps.engine.sweep_cells import Cell, lowest_is_best, metric_names
from apps.studio import answer
from apps.studio.estimate import Costs
from apps.studio.pages import sweep_grid
from apps.studio.pages.sweep_form import PLAIN, QUIET, SweepForm, Updates, fault
from apps.web.owners import LOCAL, owner_of
from domains.common.errors import BadInput
from domains.common.task import Task

_LOOK = 0.7  # seconds between looks at a sweep
_REMEMBERED = 1000  # choices of metric
# The address names the sweep while its page is seen, so that a refresh, a bookmark or a second window shows the same.
_ADDRESS = """
const name = () => {
  const id = element.querySelector("[data-sweep]")?.dataset.sweep;
  const url = new URL(location.href);
  if (!element.checkVisibility() || url.searchParams.get("sweep") === (id ?? null)) return;
  if (id) url.searchParams.set("sweep", id);
  else if (element.querySelector("[data-state=empty]")) url.searchParams.delete("sweep");
  url.searchParams.set("tab", "sweep");
  for (const other of ["task", "job"]) url.searchParams.delete(other);
  history.replaceState(history.state, "", url);
};
watch("value", name);
if (element.querySelector("[data-sweep]")) name();
"""
_EMPTY = (
    '<div class="status" data-state="empty"><p><b>Nothing yet</b> Choose what to vary; each cell of the grid is a run '
    "of its own.</p></div>"
)
_GONE = (
    '<div class="status" data-state="gone"><p><b>No longer kept</b> The sweep that this address names has been '
    "cleared away.</p></div>"
)


class SweepPage:
    """The page's components and their behaviour.

    Args:
        engine: Runs the cells.
        tasks: What may be swept.
        costs: Tells what runs cost.
    """

    name, title = "sweep", "Sweep"

    def __init__(self, engine: Engine, tasks: Iterable[Task], costs: Costs) -> None:
        self.engine, self.costs, self.sweeps = engine, costs, Sweeps(engine)
        self.tasks = {task.name: task for task in tasks}
        self._shown: OrderedDict[tuple[str, str], tuple[str, bool]] = OrderedDict()

    # -- the components -----------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Adds the page; made inside the current Blocks."""
        self.sweep = gr.State(None)  # id of the sweep that is shown
        gr.HTML(
            '<div class="page-head"><h1>Sweep</h1><p>Run one task over a grid of values and see at a glance which '
            "settings matter.</p></div>",
            elem_classes=["lone-head"],
        )
        with gr.Row(elem_id="sweep_page", elem_classes=["task-body"], equal_height=False):
            with gr.Column(elem_classes=["ask"], scale=1, min_width=0):
                self.form = SweepForm(self.engine, self.tasks, self.costs, lambda: self.sweeps.most_cells)
                self.recent = gr.HTML(elem_id="sweep_recent")
            with gr.Column(elem_classes=["answer", "sweep-answer"], scale=2, min_width=0):
                self._build_answer()
        self._wire()

    def _build_answer(self) -> None:
        self.status = gr.HTML(_EMPTY, elem_id="sweep_status", js_on_load=_ADDRESS)
        with gr.Row(visible=False, elem_classes=["sweep-tools"]) as self.tools:
            self.metric = gr.Dropdown([], label="Show", elem_id="sweep_metric", filterable=False, min_width=0)
            self.best = gr.Radio(
                [("Lowest", "lowest"), ("Highest", "highest")],
                value="lowest",
                label="Best is",
                elem_id="sweep_best",
                min_width=0,
            )
        self.grid = gr.HTML(elem_id="sweep_grid")
        self.details = gr.HTML(elem_id="sweep_details")
        with gr.Row(elem_classes=["sweep-actions"]):
            small: dict[str, Any] = {"size": "sm", "min_width": 0, "visible": False}
            self.cancel = gr.Button("Cancel all", variant="stop", elem_id="sweep_cancel", **small)
            self.again = gr.Button("Try failed ones again", elem_id="sweep_again", **small)
            self.remove = gr.Button("Remove this sweep", elem_id="sweep_remove", **small)

    def _wire(self) -> None:
        self.form.run.click(self.submit, self.form.inputs, self.asked, concurrency_limit=None, **PLAIN)
        watched = {"concurrency_limit": None, **QUIET}
        self.sweep.change(self.watch, self.sweep, self.shown, **watched)
        for part in (self.metric, self.best):
            changed = self.choose_metric if part is self.metric else self.choose_best
            part.input(changed, [self.sweep, part], [self.grid, self.best], queue=False, **PLAIN)
        self.cancel.click(self.stop, self.sweep, [self.status, self.cancel], queue=False, **QUIET)
        retried = self.again.click(
            self.retry, self.sweep, [self.again, self.form.fault], queue=False, **QUIET
        )
        retried.then(self.watch, self.sweep, self.shown, **watched)
        self.remove.click(
            self.forget, self.sweep, [self.sweep, *self.shown, self.form.fault], queue=False, **QUIET
        )

    @property
    def filled(self) -> list[gr.blocks.Block]:
        """What `open_with` may change."""
        return self.form.filled

    @property
    def opened(self) -> list[gr.blocks.Block]:
        """What `arrive` may change."""
        return [*self.filled, self.sweep, self.status, self.recent]

    @property
    def asked(self) -> list[gr.blocks.Block]:
        """What `submit` may change."""
        return [self.sweep, self.status, self.recent, *self.form.faults]

    @property
    def shown(self) -> list[gr.blocks.Block]:
        """What `watch` may change."""
        buttons = [self.cancel, self.again, self.remove]
        return [self.status, self.tools, self.metric, self.best, self.grid, self.details, *buttons]

    def open_with(
        self, task: str, fields: Mapping[str, Any], owner: str = LOCAL, label: str = "the form"
    ) -> Updates:
        """As `SweepForm.open_with`; for "Vary" under an answer, whose outputs are then `filled`."""
        return self.form.open_with(task, fields, owner, label)

    def vary(self, job_id: str, owner: str = LOCAL) -> Updates:
        """Opens the page with the settings of one of the owner's jobs; outputs are `filled`."""
        job = self.engine.get(job_id, owner)
        if job is None:
            return {self.form.fault: fault("That run is no longer kept.")}
        return self.form.open_with(job.task_name, job.fields, owner, "the run you came from")

    # -- running ------------------------------------------------------------------------------------------------------

    def submit(self, request: gr.Request, base: Any, *form: Any) -> Updates:
        """Queues the sweep, or says at which parameter it cannot."""
        owner = owner_of(request)
        try:
            task, fields, axes = self.form.read(base, form)
            if missing := missing_libraries(task):
                install = f"pip install 'langevin[{task.extra}]'"
                raise BadInput("", f"needs {', '.join(missing)}; install with: {install}")
            sweep = self.sweeps.create(task, fields, axes, owner)
        except BadInput as error:
            return self.form.show_fault(error, form)
        return {
            self.sweep: sweep.id,
            self.status: sweep_grid.status(self.sweeps.cells(sweep), sweep.id),
            self.recent: self._recent(owner),
            **self.form.no_faults(),
        }

    # -- watching -----------------------------------------------------------------------------------------------------

    def arrive(self, request: gr.Request) -> Updates:
        """What the page shows when it opens: the sweep that the address names, else an empty grid."""
        owner = owner_of(request)
        named = str(request.query_params.get("sweep") or "") if request is not None else ""
        updates: Updates = {self.recent: self._recent(owner)}
        sweep = self.sweeps.get(named, owner) if named else None
        if named and sweep is None:
            updates[self.status] = _GONE
        if sweep is not None and sweep.task_name in self.tasks:
            updates |= self.form.open_with(sweep.task_name, sweep.fields, owner, "this sweep")
            updates |= self.form.as_swept(sweep)
            updates[self.sweep] = sweep.id
            return updates
        first = next(iter(self.tasks), None)
        return {**updates, **(self.form.choose_task(first, request) if first is not None else {})}

    async def watch(self, sweep_id: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        """Shows a sweep until all its cells have ended."""
        owner = owner_of(request)
        sweep = self.sweeps.get(sweep_id or "", owner)
        if sweep is None:
            yield {self.status: _GONE if sweep_id else _EMPTY}
            return
        last: Updates = {}
        while True:
            cells = await asyncio.to_thread(self.sweeps.cells, sweep)
            now = self._view(sweep, cells, owner)
            if changed := {part: value for part, value in now.items() if last.get(part) != value}:
                yield changed
            last = now
            if sweep_grid.ended(cells):
                self._learn(cells, owner)
                return
            await asyncio.sleep(_LOOK)
            if self.sweeps.get(sweep.id, owner) is None:
                yield {self.status: _GONE, self.cancel: gr.update(visible=False)}
                return

    def _learn(self, cells: list[Cell], owner: str) -> None:
        for cell in cells:
            if cell.state == "done" and (job := self.engine.get(cell.job, owner)) is not None:
                self.costs.record(job)

    def _view(self, sweep: Sweep, cells: list[Cell], owner: str) -> Updates:
        names = metric_names(cells)
        metric, lowest = self._shown.get((owner, sweep.id), ("", True))
        if metric not in names:
            metric = names[0] if names else ""
            lowest = lowest_is_best(metric)
        ended = sweep_grid.ended(cells)
        failed = any(cell.state in ("failed", "cancelled") for cell in cells)
        task = self.tasks.get(sweep.task_name)
        inside = sweep_grid.faults(sweep, cells) + sweep_grid.downloads(sweep, cells, task)
        return {
            self.status: sweep_grid.status(cells, sweep.id),
            self.tools: gr.update(visible=bool(names)),
            self.metric: gr.update(
                choices=[(answer.field_words(name), name) for name in names], value=metric
            ),
            self.best: gr.update(value="lowest" if lowest else "highest"),
            self.grid: sweep_grid.grid(sweep, cells, metric, lowest),
            self.details: f'<div class="details">{inside}</div>' if inside else "",
            self.cancel: gr.update(visible=not ended, interactive=True),
            self.again: gr.update(visible=ended and failed),
            self.remove: gr.update(visible=ended),
        }

    def choose_metric(self, sweep_id: str | None, metric: Any, request: gr.Request) -> Updates:
        """Shows another metric."""
        return self._choose(sweep_id, str(metric), lowest_is_best(str(metric)), request)

    def choose_best(self, sweep_id: str | None, best: Any, request: gr.Request) -> Updates:
        """Shows which is best the other way round."""
        owner = owner_of(request)
        metric = self._shown.get((owner, str(sweep_id)), ("", True))[0]
        return self._choose(sweep_id, metric, best != "highest", request)

    def _choose(self, sweep_id: str | None, metric: str, lowest: bool, request: gr.Request) -> Updates:
        owner = owner_of(request)
        sweep = self.sweeps.get(sweep_id or "", owner)
        if sweep is None:
            return {self.grid: gr.skip()}
        cells = self.sweeps.cells(sweep)
        names = metric_names(cells)
        if metric not in names:
            metric = names[0] if names else ""
        self._shown[owner, sweep.id] = (metric, lowest)
        while len(self._shown) > _REMEMBERED:
            self._shown.popitem(last=False)
        return {
            self.grid: sweep_grid.grid(sweep, cells, metric, lowest),
            self.best: gr.update(value="lowest" if lowest else "highest"),
        }

    # -- steering -----------------------------------------------------------------------------------------------------

    def stop(self, sweep_id: str | None, request: gr.Request) -> Updates:
        """Cancels all cells that have not ended."""
        owner = owner_of(request)
        try:
            self.sweeps.cancel(sweep_id or "", owner)
        except BadInput:
            return {self.status: _GONE}
        return {self.cancel: gr.update(interactive=False)}

    def retry(self, sweep_id: str | None, request: gr.Request) -> Updates:
        """Lets failed and cancelled cells wait again."""
        try:
            self.sweeps.retry(sweep_id or "", owner_of(request))
        except BadInput as error:
            return {self.form.fault: fault(answer.sentence("", error.message))}
        return {self.again: gr.update(visible=False), self.form.fault: gr.update(value="", visible=False)}

    def forget(self, sweep_id: str | None, request: gr.Request) -> Updates:
        """Removes the sweep with its results."""
        try:
            self.sweeps.forget(sweep_id or "", owner_of(request))
        except BadInput as error:
            return {self.form.fault: fault(answer.sentence("", error.message))}
        hidden = [self.tools, self.cancel, self.again, self.remove]
        return {
            self.sweep: None,
            self.status: _EMPTY,
            self.grid: "",
            self.details: "",
            **{part: gr.update(visible=False) for part in hidden},
        }

    def _recent(self, owner: str) -> str:
        found = self.sweeps.of(owner, most=8)
        titles = (
            (s, self.tasks[s.task_name].title if s.task_name in self.tasks else s.task_name) for s in found
        )
        return sweep_grid.recent(list(titles))
