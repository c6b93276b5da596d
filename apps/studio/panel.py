"""One task on its tab: the ask on the left, the answer on the right, and what happens between them.

The panel is a view of a job.  Pressing the button makes a job and puts its id in `Panel.job`; a change of that id
starts `watch`, which shows the job until it ends.  Closing the page ends the watching, never the job: coming back to
an address that names the job watches it again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from apps.engine.jobs import Engine, Job, JobState
from apps.engine.restore import Restored
from apps.engine.validation import printable
from apps.studio import answer, gallery
from apps.studio.ask import QUIET, Ask, Updates
from apps.studio.cards import model_chip
from apps.studio.estimate import Costs
from apps.studio.figures import PLAYER, plot_data
from apps.studio.uploads import received
from apps.web.owners import LOCAL, owner_of
from domains.common.errors import BadInput
from domains.common.files import human_size
from domains.common.task import Task

_LOOK = 0.25  # seconds between looks at a job
_PREVIEW = 1.5  # seconds between previews at least: a page must have time for anything else
# Tells the page's script which job is shown, so that the address names it and a refresh finds it again.
_ADDRESS = "watch('value', () => langevin.job(element)); langevin.job(element);"


class Panel:
    """The components of one task and their behaviour; made inside the current Blocks.

    Args:
        task: Whose panel it is.
        engine: Runs its jobs.
        costs: Learns and tells what runs cost.
    """

    def __init__(self, task: Task, engine: Engine, costs: Costs) -> None:
        self.task, self.engine, self.costs = task, engine, costs
        slug = task.name.replace(".", "_")
        self.others: Sequence[Task] = ()  # tasks to which a result may be handed on
        self._watched: dict[str, str] = {}  # session of a page -> the job that it shows here
        stored = gallery.stored_example(task)
        if stored is not None:
            costs.suppose(task.name, stored.seconds, stored.size)
        self.job = gr.State(None)  # id of the job that the panel shows
        gr.HTML(
            f'<div class="task-head"><p>{escape(task.summary)}</p>{model_chip(task)}</div>',
            elem_id=f"{slug}_head",
        )
        with gr.Row(elem_id=f"{slug}_panel", elem_classes=["task-body"], equal_height=False):
            with gr.Column(elem_classes=["ask"], scale=1, min_width=0):
                self.ask = Ask(task, costs)
            with gr.Column(elem_classes=["answer"], scale=2, min_width=0):
                self.status = gr.HTML(elem_id=f"{slug}_status", js_on_load=_ADDRESS)
                self.plot = gr.Plot(
                    show_label=False, container=False, elem_id=f"{slug}_plot", elem_classes=["viewer"]
                )
                gr.HTML(PLAYER, elem_id=f"{slug}_player", js_on_load="langevin.player(element)")
                self.details = gr.HTML(elem_id=f"{slug}_details")
        self._wire()

    # -- what happens -----------------------------------------------------------------------------------------------

    def _wire(self) -> None:
        # `preprocess=False`: the components' own checks would end in messages that belong to no field.
        self.ask.run.click(
            self.submit, self.ask.inputs, self.asked, concurrency_limit=None, preprocess=False, **QUIET
        )
        self.job.change(self.watch, self.job, self.shown, concurrency_limit=None, **QUIET)
        self.ask.cancel.click(self.stop, self.job, [self.status, self.ask.cancel], queue=False, **QUIET)

    @property
    def opened(self) -> list[gr.blocks.Block]:
        """What `arrive` may change."""
        return [self.job, self.status, self.plot, self.details, *self.ask.filled]

    @property
    def replaced(self) -> list[gr.blocks.Block]:
        """What `open`, `restored` and `given` may change."""
        return [*self.opened, self.ask.run, self.ask.cancel]

    @property
    def asked(self) -> list[gr.blocks.Block]:
        """What `submit` may change."""
        return [self.job, self.ask.run, self.ask.cancel, self.status, *self.ask.slots]

    @property
    def shown(self) -> list[gr.blocks.Block]:
        """What `watch` may change."""
        return [self.status, self.plot, self.details, self.ask.run, self.ask.cancel, *self.ask.slots]

    def arrive(self, job_id: str | None, request: gr.Request) -> Updates:
        """What the panel shows when it opens: its own job, else the one that the address names, else an example."""
        if job_id is not None:
            return {self.job: gr.skip()}
        asked = request.query_params
        named = (
            str(asked.get("job") or "") if f"{asked.get('tab')}.{asked.get('task')}" == self.task.name else ""
        )
        owner = owner_of(request)
        job = self.engine.get(named, owner)
        if job is not None and job.task_name == self.task.name:
            return {self.job: job.id, **self.ask.fill(dict(job.fields), owner)}
        stored = gallery.stored_example(self.task)
        if stored is None:
            return {self.status: answer.gone() if named else answer.nothing_yet(self.task)}
        return {
            self.status: answer.gone() if named else answer.example_status(stored.label),
            self.plot: plot_data(stored.figure),
            self.details: answer.example_details(stored.metrics, stored.notes),
        }

    def open(self, job: Job) -> Updates:
        """Shows a job, with its request in the form."""
        return {self.job: job.id, **self.ask.fill(dict(job.fields), job.owner)}

    def restored(self, found: Restored, name: str, owner: str = LOCAL) -> Updates:
        """Fills the form as an artifact called `name` tells, and says what has to be given again."""
        updates = {**self.ask.fill(found.fields, owner), **self._without_answer()}
        for field, wanted in found.missing.items():
            words = f"Choose {printable(wanted.name)} again ({human_size(wanted.bytes)})"
            updates[self.ask.slot(field)] = gr.update(value=answer.fault(words), visible=True)
        return updates | {self.status: answer.restored(name, found.notes)}

    def given(self, field: str, path: Path, name: str, owner: str = LOCAL) -> Updates:
        """Puts a result of another task into a field that takes files; the other fields stay as they are."""
        return {
            **self.ask.give(field, path, owner),
            **self._without_answer(),
            self.status: answer.received(name, self.ask.action),
        }

    def _without_answer(self) -> Updates:
        return {
            self.job: "",  # no job, and not the one that the address names either
            self.plot: None,
            self.details: "",
            self.ask.run: gr.update(visible=True, value=self.ask.action),
            self.ask.cancel: gr.update(visible=False),
        }

    # -- running ------------------------------------------------------------------------------------------------------

    def submit_new(self, job_id: str | None, request: gr.Request, *values: Any) -> Updates:
        """As `submit`, unless the panel's job has not ended: then that one stays."""
        job = self.engine.get(job_id or "", owner_of(request))
        stays = job is not None and not job.state.final
        return {self.job: gr.skip()} if stays else self.submit(request, *values)

    def submit(self, request: gr.Request, *values: Any) -> Updates:
        """Makes a job of the form, or says at which field it cannot."""
        try:
            owner = owner_of(request)
            job = self.engine.submit(
                self.task, self.ask.request(received(self.ask.fields, values, owner)), owner
            )
        except BadInput as error:
            return self.ask.show_fault(error)
        except FileNotFoundError:
            return self.ask.show_fault(
                BadInput("", "the uploaded file has been cleared away; choose it again")
            )
        return {
            self.job: job.id,
            self.ask.run: gr.update(visible=False),
            self.ask.cancel: gr.update(visible=True, interactive=True),
            self.status: answer.status(job, self.engine.ahead(job)),
            **self.ask.no_faults(),
        }

    def stop(self, job_id: str | None, request: gr.Request) -> Updates:
        """Asks the job to end at its next step."""
        owner = owner_of(request)
        job = self.engine.get(job_id or "", owner)
        if job is None or job.state.final:
            return {self.ask.cancel: gr.update(interactive=False)}
        stopping = self.engine.cancel(job.id, owner)
        return {self.status: answer.status(stopping), self.ask.cancel: gr.update(interactive=False)}

    async def watch(self, job_id: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        """Shows a job until it ends."""
        owner, session = owner_of(request), getattr(request, "session_hash", None) or ""
        self._watched[session] = job_id or ""
        try:
            async for updates in self._watch(job_id or "", owner):
                if session and self._watched.get(session) != (job_id or ""):
                    yield {self.status: gr.skip()}
                    return  # the same page shows another job here now
                yield updates
        finally:
            if self._watched.get(session) == (job_id or ""):
                del self._watched[session]

    async def _watch(self, job_id: str, owner: str) -> AsyncIterator[Updates]:
        job = self.engine.get(job_id, owner)
        if job is None:
            # A generator that yielded nothing would empty its outputs.
            yield {self.status: answer.gone() if job_id else gr.skip()}
            return
        line, previews, due = "", 0, 0.0
        updates: Updates = {
            self.ask.run: gr.update(visible=False),
            self.ask.cancel: gr.update(visible=True),
            self.details: "",
        }
        while not job.state.final:
            if (now := answer.status(job, self.engine.ahead(job))) != line:
                updates[self.status] = line = now
            if job.previews != previews and time.monotonic() > due and job.preview is not None:
                previews, due = job.previews, time.monotonic() + _PREVIEW
                updates[self.plot] = plot_data(job.preview)
            if updates:
                yield updates
            updates = {}
            await asyncio.sleep(_LOOK)
            job = self.engine.get(job.id, owner)
            if job is None:
                yield {**updates, **self._at_rest(), self.status: answer.gone()}
                return
        yield self._ended(job)

    def _at_rest(self) -> Updates:
        return {
            self.ask.run: gr.update(visible=True),
            self.ask.cancel: gr.update(visible=False),
            self.details: "",
            **self.ask.no_faults(),
        }

    def _ended(self, job: Job) -> Updates:
        updates: Updates = {**self._at_rest(), self.status: answer.status(job)}
        if job.state is JobState.DONE and job.result is not None:
            self.costs.record(job)
            plot = next((item.path for item in job.result.artifacts if item.kind == "plot"), None)
            updates[self.ask.run] = gr.update(visible=True, value=self.ask.words(job.request))
            updates[self.details] = answer.details(job, job.result, self.task, self.others)
            updates[self.plot] = plot_data(plot) if plot is not None else None
        else:  # as far as it came
            updates[self.plot] = plot_data(job.preview) if job.preview is not None else None
            if job.error is not None and job.error.field:
                updates |= self.ask.show_fault(BadInput(job.error.field, job.error.message))
        return updates
