"""The form of a sweep: which task, with which settings, and what is varied over which values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import PurePath
from typing import Any

import gradio as gr

from apps.engine.jobs import Engine, JobState
from apps.engine.sweep import Sweep
from apps.engine.sweep_axes import (
    MOST_AXES,
    Axis,
    check_axes,
    combinations,
    example_of,
    parameters,
    read_axis,
    with_values,
)
from apps.engine.sweep_picture import label
from apps.engine.validation import served_request
from apps.studio import answer
from apps.studio.estimate import Costs
from apps.web.owners import LOCAL, owner_of
from domains.common.errors import BadInput, MissingLibrary
from domains.common.task import Task

_MOST_STARTS = 20  # earlier runs whose settings are offered
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
PLAIN: dict[str, Any] = {"preprocess": False, **QUIET}  # checked here, in words that belong to a field
Updates = dict[gr.blocks.Block, Any]


class SweepForm:
    """The ask of the page; made inside the current Blocks.

    Args:
        engine: Whose jobs settings may be taken from.
        tasks: Name -> task, for what may be swept.
        costs: Tells what runs cost.
        most_cells: Of one sweep.
    """

    def __init__(
        self, engine: Engine, tasks: Mapping[str, Task], costs: Costs, most_cells: Callable[[], int]
    ) -> None:
        self.engine, self.tasks, self.costs, self._most_cells = engine, tasks, costs, most_cells
        self.base = gr.State(None)  # {"task", "fields"}: the settings that all cells share
        first = next(iter(self.tasks), None)
        titles = [(f"{_domain(task)} · {task.title}", name) for name, task in self.tasks.items()]
        with gr.Column(elem_classes=["field"], min_width=0):
            self.task = gr.Dropdown(titles, value=first, label="Task", elem_id="sweep_task", filterable=False)
        with gr.Column(elem_classes=["field"], min_width=0):
            self.start = gr.Dropdown(
                [], label="Settings from", info="What is not varied", elem_id="sweep_start", filterable=False
            )
            self.rest = gr.HTML(elem_id="sweep_rest")
        self.names: list[gr.Dropdown] = []
        self.texts: list[gr.Textbox] = []
        self.picks: list[gr.CheckboxGroup] = []
        self.slots: list[gr.HTML] = []
        for place, words in enumerate(("Down", "Across")):
            self._build_axis(place, words)
        with gr.Accordion("A third parameter", open=False, elem_classes=["fold"]) as self.third:
            self._build_axis(2, "Side by side")
        self.run = gr.Button("Run", variant="primary", elem_id="sweep_run", elem_classes=["go"])
        self.fault = gr.HTML(visible=False, elem_classes=["field-fault"])
        self._wire()

    def _build_axis(self, place: int, words: str) -> None:
        with gr.Column(elem_classes=["field", "sweep-axis"], min_width=0):
            self.names.append(
                gr.Dropdown(
                    [("None", "")], value="", label=words, elem_id=f"sweep_axis_{place}", filterable=False
                )
            )
            self.texts.append(
                gr.Textbox(
                    label=f"Values, {words.lower()}",
                    show_label=False,
                    max_lines=1,
                    visible=False,
                    interactive=True,
                    elem_id=f"sweep_values_{place}",
                )
            )
            self.picks.append(
                gr.CheckboxGroup(
                    [],
                    label=f"Values, {words.lower()}",
                    show_label=False,
                    visible=False,
                    interactive=True,
                    elem_classes=["several"],
                    elem_id=f"sweep_picks_{place}",
                )
            )
            self.slots.append(gr.HTML(visible=False, elem_classes=["field-fault"]))

    def _wire(self) -> None:
        self.task.input(self.choose_task, self.task, self.filled, **PLAIN)
        self.start.input(self.choose_start, [self.task, self.start], [self.base, self.rest], **PLAIN)
        for place in range(MOST_AXES):
            self.names[place].input(
                self._chooser(place),
                [self.task, self.names[place]],
                [self.texts[place], self.picks[place]],
                **PLAIN,
            )
        gr.on(
            [self.base.change, *(item.change for item in self._axes)],
            self.label,
            self.inputs,
            self.run,
            trigger_mode="always_last",
            queue=False,
            **PLAIN,
        )

    def _chooser(self, place: int) -> Callable[[Any, Any], tuple[Any, Any]]:
        return lambda task, name: self._axis_updates(str(task), str(name or ""))

    @property
    def _axes(self) -> list[Any]:
        return [*self.names, *self.texts, *self.picks]

    @property
    def inputs(self) -> list[Any]:
        """What a sweep is made of."""
        return [self.base, *self._axes]

    @property
    def filled(self) -> list[gr.blocks.Block]:
        """What `open_with` and choosing a task may change."""
        return [self.task, self.start, self.base, self.rest, self.third, *self._axes, *self.slots, self.fault]

    @property
    def faults(self) -> list[gr.blocks.Block]:
        """What `show_fault` may change."""
        return [*self.slots, self.fault, self.third]

    # -- filling ------------------------------------------------------------------------------------------------------

    def open_with(
        self, task: str, fields: Mapping[str, Any], owner: str = LOCAL, label: str = "the form"
    ) -> Updates:
        """Fills the page with the settings of a request; outputs are `filled`.

        Args:
            task: Its name.
            fields: The request, nested; files are paths that `owner` may read.
            owner: Whose request it is.
            label: Where the settings come from, in a few words.
        """
        known = self.tasks.get(task)
        if known is None:
            return {self.fault: fault("There is no such task.")}
        base = {"task": task, "fields": dict(fields)}
        starts = [(f"{label[:1].upper()}{label[1:]}", "given"), *self._starts(known, owner)]
        return {
            self.task: task,
            self.start: gr.update(choices=starts, value="given"),
            **self._based(base),
            **self._axes_of(known),
        }

    def choose_task(self, task: str, request: gr.Request) -> Updates:
        """Fills the form anew for another task, with the settings of its latest run or of an example."""
        known = self.tasks.get(str(task))
        if known is None:
            return {self.fault: fault("There is no such task.")}
        owner = owner_of(request)
        starts = self._starts(known, owner)
        value = starts[0][1] if starts else None
        filled = self.choose_start(known.name, value, request) if value else self._based(None)
        return {
            self.task: known.name,
            self.start: gr.update(choices=starts, value=value),
            **filled,
            **self._axes_of(known),
        }

    def choose_start(self, task: str, start: str | None, request: gr.Request) -> Updates:
        """Takes the settings of an example or of one of the owner's runs."""
        known = self.tasks.get(str(task))
        kind, _, name = str(start or "").partition(":")
        if known is None or kind == "given":
            return {self.rest: gr.skip()}
        if kind == "job":
            job = self.engine.get(name, owner_of(request))
            if job is None or job.task_name != known.name:
                return self._based(None, "That run is no longer kept; choose other settings.")
            return self._based({"task": known.name, "fields": dict(job.fields)})
        make = known.examples.get(name)
        try:
            fields = dict(make()) if make is not None else {}
        except (BadInput, MissingLibrary) as error:
            return self._based(None, str(error))
        return self._based({"task": known.name, "fields": fields})

    def _starts(self, task: Task, owner: str) -> list[tuple[str, str]]:
        """Words and value of each place to take settings from: the owner's runs, newest first, and the examples."""
        jobs = [job for job in reversed(self.engine.jobs(owner)) if job.task_name == task.name]
        runs: list[tuple[str, str]] = []
        for job in jobs:
            if job.priority >= 0 and job.state is JobState.DONE and len(runs) < _MOST_STARTS:
                seed = job.fields.get("sampling", {}).get("seed", 0)
                runs.append((f"your run {job.id[:6]}, seed {seed}", f"job:{job.id}"))
        examples = [(f"the example {label}", f"example:{label}") for label in task.examples]
        plain = (
            [] if any(field.is_required() for field in task.request.model_fields.values()) else ["defaults"]
        )
        return [*runs, *examples, *((f"the {name}", "plain:") for name in plain)]

    def _based(self, base: dict[str, Any] | None, words: str = "") -> Updates:
        said = f'<p class="fault">{escape(words)}</p>' if words else _rest(base)
        return {self.base: base, self.rest: said}

    def _axes_of(self, task: Task) -> Updates:
        """The axes at their start: steps down, seeds across."""
        known = parameters(task)
        names = _names(known)
        usual: tuple[str, ...] = ("sampling.steps", "sampling.seed")
        wanted = [name for name in usual if name in known]
        wanted += [name for name in known if name not in wanted]
        updates: Updates = {self.third: gr.update(open=False), self.fault: gr.update(value="", visible=False)}
        for place in range(MOST_AXES):
            name = wanted[place] if place < 2 and place < len(wanted) else ""
            updates[self.names[place]] = gr.update(choices=names, value=name)
            text, picks = self._axis_updates(task.name, name)
            updates |= {self.texts[place]: text, self.picks[place]: picks}
            updates[self.slots[place]] = gr.update(value="", visible=False)
        return updates

    def _axis_updates(self, task: str, name: str) -> tuple[Any, Any]:
        """A box for values, or the choices to pick from."""
        known = self.tasks.get(task)
        found = parameters(known).get(name) if known is not None else None
        hidden = gr.update(visible=False, value=None)
        if found is None:
            return hidden, hidden
        if found.choices:
            chosen = list(found.choices[:3])
            choices = [(label(choice), choice) for choice in found.choices]
            return hidden, gr.update(visible=True, choices=choices, value=chosen)
        example = example_of(found)
        text = example if found.short in ("steps", "seed") else ""
        expected = found.expected[:1].upper() + found.expected[1:]
        return gr.update(visible=True, value=text, placeholder=f"{example} · {expected}"), hidden

    def as_swept(self, sweep: Sweep) -> Updates:
        """The axes as a sweep has them."""
        updates: Updates = {self.third: gr.update(open=len(sweep.axes) > 2)}
        known = parameters(self.tasks[sweep.task_name])
        names = _names(known)
        for place in range(MOST_AXES):
            axis = sweep.axes[place] if place < len(sweep.axes) else None
            if axis is None or axis.name not in known:
                updates |= {self.names[place]: gr.update(choices=names, value="")}
                updates |= {
                    part[place]: gr.update(visible=False, value=None) for part in (self.texts, self.picks)
                }
                continue
            updates[self.names[place]] = gr.update(choices=names, value=axis.name)
            text, picks = self._axis_updates(sweep.task_name, axis.name)
            if known[axis.name].choices:
                picks["value"] = list(axis.values)
            else:
                text["value"] = ", ".join(str(value) for value in axis.values)
            updates |= {self.texts[place]: text, self.picks[place]: picks}
        return updates

    # -- reading ------------------------------------------------------------------------------------------------------

    def read(self, base: Any, form: Sequence[Any]) -> tuple[Task, dict[str, Any], list[Axis]]:
        """Task, settings and axes of the filled form.

        Raises:
            BadInput: Naming the parameter at fault.
        """
        task = self.tasks.get(base["task"]) if isinstance(base, dict) else None
        if task is None:
            raise BadInput("", "choose where the settings come from")
        names, texts, picks = (form[i * MOST_AXES : (i + 1) * MOST_AXES] for i in range(3))
        axes = []
        for name, text, pick in zip(names, texts, picks, strict=True):
            if name:
                chosen = parameters(task).get(str(name))
                values = pick if chosen is not None and chosen.choices else text
                given = values if isinstance(values, list) else str(values or "")
                axes.append(read_axis(task, str(name), given))
        check_axes(axes, self._most_cells())
        return task, base["fields"], axes

    def label(self, base: Any, *form: Any) -> Any:
        """The button's words: how many runs, and about how long they take in all."""
        try:
            task, fields, axes = self.read(base, form)
            count, seconds = 0, 0.0
            for values in combinations(axes):
                cost = self.costs.estimate(task.name, served_request(task, with_values(fields, axes, values)))
                count, seconds = count + 1, seconds + (cost if cost is not None else float("nan"))
        except BadInput:
            return gr.update(value="Run")
        words = f"Run {count}"
        if seconds == seconds and seconds > 0:
            words += f" · about {answer.seconds(max(1.0, seconds / self.engine.settings.workers))}"
        return gr.update(value=words)

    def show_fault(self, error: BadInput, names: Sequence[Any]) -> Updates:
        """Says what is wrong where it can be mended."""
        updates = self.no_faults()
        shorts = [str(name or "").rsplit(".", 1)[-1] for name in names[:MOST_AXES]]
        place = shorts.index(error.field) if error.field and error.field in shorts else None
        slot = self.fault if place is None else self.slots[place]
        field = "" if error.field in ("vary", "queue", "disk") else error.field
        updates[slot] = fault(answer.sentence(field, error.message))
        if place == 2:
            updates[self.third] = gr.update(open=True)
        return updates

    def no_faults(self) -> Updates:
        """Takes away what was said."""
        return {slot: gr.update(value="", visible=False) for slot in (*self.slots, self.fault)}


def _names(known: Iterable[str]) -> list[tuple[str, str]]:
    """Words and name of each parameter, for choosing."""
    return [("None", ""), *((answer.field_words(name), name) for name in known)]


def _domain(task: Task) -> str:
    return task.domain.replace("_", " ").capitalize()


def fault(words: str) -> Any:
    """A fault, for a slot of the form."""
    return gr.update(value=answer.fault(words), visible=True)


def _rest(base: Mapping[str, Any] | None) -> str:
    """The settings that all cells share, folded."""
    if base is None:
        return ""
    rows = "".join(
        f"<dt>{escape(answer.field_words(name))}</dt><dd>{escape(value)}</dd>"
        for name, value in _flat(base["fields"])
    )
    if not rows:
        return '<p class="quiet">The defaults of the task.</p>'
    return f'<details class="sweep-rest"><summary>See them</summary><dl>{rows}</dl></details>'


def _flat(fields: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            text = str(value)
            yield (
                f"{prefix}{name}",
                PurePath(text).name if isinstance(value, PurePath) or text.startswith("/") else text,
            )
