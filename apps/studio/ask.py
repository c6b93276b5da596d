"""The ask: the form of one task with its button, what fills it, and where a fault in it is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from apps.engine.environment import missing_libraries
from apps.engine.validation import served_request
from apps.studio import answer
from apps.studio.estimate import Costs
from apps.studio.forms import (
    FormField,
    component,
    field_help,
    fill_form,
    form_fields,
    open_groups,
    read_form,
    with_files,
)
from apps.studio.uploads import into_cache, received
from apps.web.owners import LOCAL, owner_of
from domains.common.errors import BadInput, MissingLibrary
from domains.common.task import Request, Task

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
Updates = dict[gr.blocks.Block, Any]


class Ask:
    """The components of one task's form; made inside the current Blocks.

    Args:
        task: Whose form it is.
        costs: Tells what runs cost.

    Attributes:
        fields: The fields that are asked for.
        inputs: A component for each of them.
        faults: Field -> where its fault is said.
        groups: Name -> fields that are folded under it.
        examples: Label -> button.
        run, cancel: The buttons.
        fault: Where a fault of no field is said.
        action: What the button does, in words.
    """

    def __init__(self, task: Task, costs: Costs) -> None:
        self.task, self.costs = task, costs
        self.slug = task.name.replace(".", "_")
        self.action = task.action or task.title
        self.fields = form_fields(task.request)
        self.inputs: list[Any] = []
        self.faults: dict[str, gr.HTML] = {}
        self.groups: dict[str, gr.Accordion] = {}
        self.examples: dict[str, gr.Button] = {}
        self._build()
        self._wire()

    def _build(self) -> None:
        if self.task.examples:
            with gr.Row(elem_classes=["examples"]):
                gr.HTML("<span>Try</span>", min_width=0)
                for label in self.task.examples:
                    self.examples[label] = gr.Button(label, size="sm", min_width=0)
        for field in self.fields:
            if not field.group:
                self._build_field(field)
        unfolded = open_groups(self.task.request)
        for group in dict.fromkeys(field.group for field in self.fields if field.group):
            with gr.Accordion(
                answer.field_words(group), open=group in unfolded, elem_classes=["fold"]
            ) as self.groups[group]:
                for field in self.fields:
                    if field.group == group:
                        self._build_field(field)
        missing = missing_libraries(self.task)
        self.run = gr.Button(
            self.action,
            variant="primary",
            elem_id=f"{self.slug}_run",
            elem_classes=["go"],
            interactive=not missing,
        )
        self.cancel = gr.Button(
            "Cancel", variant="stop", visible=False, elem_id=f"{self.slug}_cancel", elem_classes=["go"]
        )
        absent = f"Needs {', '.join(missing)}; install with: pip install 'langevin[{self.task.extra}]'"
        self.fault = gr.HTML(
            answer.fault(absent) if missing else "", visible=bool(missing), elem_classes=["field-fault"]
        )

    def _build_field(self, field: FormField) -> None:
        with gr.Column(elem_classes=["field"], min_width=0):
            if field.kind in ("file", "files"):
                gr.HTML(field_help(field))
            self.inputs.append(component(field, elem_id=f"{self.slug}_{field.name.replace('.', '_')}"))
            self.faults[field.name] = gr.HTML(visible=False, elem_classes=["field-fault"])

    def _wire(self) -> None:
        # `preprocess=False`: the components' own checks would end in messages that belong to no field.
        gr.on(
            [item.change for item in self.inputs],
            self.label,
            self.inputs,
            self.run,
            queue=False,
            trigger_mode="always_last",
            preprocess=False,
            **QUIET,
        )
        for label, button in self.examples.items():
            button.click(self.filler(label), None, self.filled, **QUIET)

    @property
    def filled(self) -> list[gr.blocks.Block]:
        """What filling the form may change."""
        return [*self.inputs, *self.slots]

    @property
    def slots(self) -> list[gr.blocks.Block]:
        """What saying a fault may change."""
        return [*self.faults.values(), *self.groups.values(), self.fault]

    # -- filling the form ---------------------------------------------------------------------------------------------

    def filler(self, label: str) -> Callable[[gr.Request], Updates]:
        """A function that fills the form with the example called `label`."""

        def fill(request: gr.Request) -> Updates:
            try:
                return self.fill(dict(self.task.examples[label]()), owner_of(request))
            except (BadInput, MissingLibrary) as error:
                return self.show_fault(error if isinstance(error, BadInput) else BadInput("", str(error)))

        return fill

    def fill(self, request: dict[str, Any], owner: str = LOCAL) -> Updates:
        """Puts a request into the form; its files are copied to where the page of `owner` may read them."""
        values = with_files(
            self.fields, fill_form(self.fields, request), lambda path: into_cache(path, owner)
        )
        return {**dict(zip(self.inputs, values, strict=True)), **self.no_faults()}

    def give(self, field: str, path: Path, owner: str = LOCAL) -> Updates:
        """Puts a file into a field that takes files; the other fields stay as they are."""
        place = [item.name for item in self.fields].index(field)
        copy = into_cache(path, owner)
        return {
            self.inputs[place]: [copy] if self.fields[place].kind == "files" else copy,
            self.faults[field]: gr.update(value="", visible=False),
        }

    def request(self, values: Sequence[Any]) -> Request:
        """The validated request that the form holds.

        Raises:
            BadInput: Naming the field at fault.
        """
        return served_request(self.task, read_form(self.fields, values))

    def label(self, request: gr.Request, *values: Any) -> Any:
        """The button's words for the form as it stands: what it does, and about how long that takes."""
        try:
            asked = self.request(received(self.fields, values, owner_of(request)))
            return gr.update(value=self.words(asked))
        except BadInput:
            return gr.update(value=self.action)

    def words(self, request: Request) -> str:
        """What the button says for a request."""
        cost = self.costs.estimate(self.task.name, request)
        return self.action if cost is None else f"{self.action} · about {answer.seconds(max(cost, 1.0))}"

    # -- faults -----------------------------------------------------------------------------------------------------

    def show_fault(self, error: BadInput) -> Updates:
        """Says what is wrong at the field that it concerns."""
        updates = self.no_faults()
        place = self._place(error.field)
        updates[self.slot(error.field)] = gr.update(
            value=answer.fault(answer.sentence(error.field, error.message)), visible=True
        )
        if place is not None and place.group:
            updates[self.groups[place.group]] = gr.update(open=True)
        return updates

    def _place(self, field: str) -> FormField | None:
        """The field that is meant: by its whole name, or by its last part; a file of several by its field."""
        names = (field, field.rpartition(".")[0] if field.rpartition(".")[2].isdigit() else field)
        return next((f for f in self.fields if {f.name, f.name.rsplit(".", 1)[-1]} & {*names}), None)

    def slot(self, field: str) -> gr.HTML:
        """Where a fault of a field is shown."""
        place = self._place(field)
        return self.fault if place is None else self.faults[place.name]

    def no_faults(self) -> Updates:
        """Takes back all faults."""
        return {slot: gr.update(value="", visible=False) for slot in (*self.faults.values(), self.fault)}
