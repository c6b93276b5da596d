"""Models: what each is, what it was made of, whether it is whole; and others from a hub, when a person asks."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import gradio as gr

from apps.engine.downloads import Downloads
from apps.engine.settings import Settings
from apps.studio import answer
from apps.studio.pages import model_cards
from domains.common.errors import BadInput, MissingLibrary
from domains.common.files import human_size
from domains.common.hub import Plan, make_plan
from domains.common.installed_models import (
    discard_unfinished,
    folder_bytes,
    installed_models,
    models_folder,
    remove_installed,
    unfinished,
)
from domains.common.models import builtin_models, usable_models
from domains.common.task import Task

_LOOK = 0.4  # seconds between looks at a download
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
_PRESSED = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-act]");
  if (button) trigger("submit", { act: button.dataset.act, model: button.dataset.model });
});
"""
_REFUSED = (
    "Downloads are turned off here; who runs this app can install models with: python launch.py models get"
)
Updates = dict[gr.blocks.Block, Any]


class ModelsPage:
    """The page's components and their behaviour.

    Args:
        settings: Whether and how much may be downloaded.
        tasks: All tasks.
        root: Folder of installed models; None takes the usual one.
    """

    name, title = "models", "Models"

    def __init__(self, settings: Settings, tasks: Iterable[Task], root: Path | None = None) -> None:
        self.settings, self.tasks, self._root = settings, list(tasks), root
        self.downloads = Downloads(root, anonymous=settings.profile == "hosted")

    @property
    def root(self) -> Path:
        """Where installed models lie."""
        return self._root or models_folder()

    def build(self) -> None:
        """Adds the page; made inside the current Blocks."""
        self.plan = gr.State(None)
        self.watched = gr.State(None)  # changes when there is a download to watch
        gr.HTML(
            '<div class="page-head"><h1>Models</h1><p>What each model was made of, how well it does, and what it is '
            "not for.</p></div>",
            elem_classes=["lone-head"],
        )
        self.cards = gr.HTML(elem_id="models_cards", js_on_load=_PRESSED)
        with gr.Column(elem_classes=["ask", "hub"], min_width=0):
            gr.HTML(
                "<h2>Get another from the hub</h2><p>Weights as safetensors, JSON and text come, nothing else; no code "
                "of a repository is ever run. You see size and licence before anything is downloaded.</p>"
            )
            if self.settings.hub_downloads:
                self._build_hub()
            else:
                gr.HTML(f'<p class="quiet">{_REFUSED} OWNER/NAME</p>')
                self.status = gr.HTML(visible=False)
        self._wire()

    def _build_hub(self) -> None:
        with gr.Row(elem_classes=["hub-fields"]):
            with gr.Column(elem_classes=["field"], min_width=0, scale=3):
                self.repo = gr.Textbox(
                    label="Repository",
                    placeholder="OWNER/NAME",
                    max_lines=1,
                    elem_id="hub_repo",
                    max_length=200,
                )
            with gr.Column(elem_classes=["field"], min_width=0, scale=2):
                self.revision = gr.Textbox(
                    label="Revision", placeholder="main", max_lines=1, elem_id="hub_revision", max_length=200
                )
            with gr.Column(elem_classes=["field"], min_width=0, scale=2):
                self.only = gr.Textbox(
                    label="Only",
                    placeholder="unet/*, *.json",
                    max_lines=1,
                    elem_id="hub_only",
                    max_length=500,
                )
        self.look = gr.Button("See what it holds", elem_id="hub_look", min_width=0)
        self.fault = gr.HTML(visible=False, elem_classes=["field-fault"])
        self.announced = gr.HTML(elem_id="hub_plan")
        with gr.Row(elem_classes=["sweep-actions"]):
            self.get = gr.Button("Download", variant="primary", visible=False, elem_id="hub_get", min_width=0)
            self.cancel = gr.Button(
                "Cancel", variant="stop", visible=False, elem_id="hub_cancel", min_width=0
            )
        self.status = gr.HTML(elem_id="hub_status")

    def _wire(self) -> None:
        self.cards.submit(self.pressed, None, self.cards, concurrency_limit=4, **_QUIET)
        if not self.settings.hub_downloads:
            return
        asked = [self.repo, self.revision, self.only]
        gr.on(
            [self.look.click, self.repo.submit, self.revision.submit, self.only.submit],
            self.announce,
            asked,
            [self.plan, self.announced, self.get, self.fault],
            concurrency_limit=4,
            show_progress="minimal",
            api_visibility="private",
        )
        self.get.click(self.start, self.plan, [self.watched, self.get, self.fault], **_QUIET)
        self.watched.change(
            self.watch, None, [self.status, self.cancel, self.cards], concurrency_limit=None, **_QUIET
        )
        self.cancel.click(self.stop, None, self.cancel, queue=False, **_QUIET)

    @property
    def opened(self) -> list[gr.blocks.Block]:
        """What `arrive` may change."""
        return [self.cards, self.status, self.watched]

    def arrive(self, request: gr.Request) -> Updates:
        """The cards as the disk has them now, and the download that is under way."""
        latest = self.downloads.latest
        updates: Updates = {self.cards: self.cards_html()}
        if latest is not None and self.settings.hub_downloads:
            updates[self.status] = model_cards.download_line(latest)
            if latest.state == "running":
                updates[self.watched] = time.time()
        return updates

    def cards_html(self, checked: dict[str, str] | None = None) -> str:
        """All cards, and what they take on the disk."""
        checked = checked or {}
        usable, installed = usable_models(installed=self.root), installed_models(self.root)
        cards = [
            model_cards.builtin_card(model, self.tasks, checked.get(model.name, ""))
            for model in builtin_models().values()
        ]
        cards += [
            model_cards.installed_card(
                model, usable.get(name), self.tasks, self.settings.hub_downloads, checked.get(name, "")
            )
            for name, model in installed.items()
        ]
        place = next(parent for parent in (self.root, *self.root.absolute().parents) if parent.is_dir())
        disk = model_cards.disk_line(
            sum(folder_bytes(model.folder) for model in builtin_models().values()),
            sum(model.bytes for model in installed.values()),
            unfinished(self.root),
            shutil.disk_usage(place).free,
            self.settings.hub_downloads,
        )
        return f'<div class="model-cards">{"".join(cards)}</div>{disk}'

    def pressed(self, event: gr.EventData) -> str:
        """Checks a model's files, or removes a model."""
        wish = event._data if isinstance(event._data, dict) else {}
        return self.do(str(wish.get("act")), str(wish.get("model")))

    def do(self, act: str, name: str) -> str:
        """The cards after what was asked for."""
        try:
            if act == "verify":
                return self.cards_html({name: self._check(name)})
            if act in ("remove", "discard"):
                if not self.settings.hub_downloads:
                    raise BadInput("", "only who runs this app can remove models")
                latest = self.downloads.latest
                if latest is not None and latest.state == "running" and name.startswith(latest.plan.name):
                    raise BadInput("", "it is being downloaded; cancel that first")
                (remove_installed if act == "remove" else discard_unfinished)(name, self.root)
        except BadInput as error:
            return answer.fault(answer.sentence("", error.message)) + self.cards_html()
        return self.cards_html()

    def _check(self, name: str) -> str:
        builtin, installed = builtin_models().get(name), installed_models(self.root).get(name)
        if builtin is None and installed is None:
            raise BadInput("", "there is no such model")
        problem = builtin.problem() if builtin is not None else installed.problem() if installed else None
        return problem or "ok"

    # -- the hub ------------------------------------------------------------------------------------------------------

    def announce(self, repo: str, revision: str, only: str) -> Updates:
        """Asks the hub what a repository holds."""
        hidden = gr.update(visible=False)
        try:
            self._allowed()
            patterns = [part.strip() for part in (only or "").split(",") if part.strip()]
            plan = make_plan(
                (repo or "").strip(),
                (revision or "").strip() or None,
                patterns,
                self.settings.hub_bytes,
                False if self.settings.profile == "hosted" else None,
            )
        except (BadInput, MissingLibrary) as error:
            words = answer.sentence(error.field, error.message) if isinstance(error, BadInput) else str(error)
            fault = gr.update(value=answer.fault(words), visible=True)
            return {self.plan: None, self.announced: "", self.get: hidden, self.fault: fault}
        return {
            self.plan: plan,
            self.announced: model_cards.plan_words(plan),
            self.get: gr.update(value=f"Download {human_size(plan.bytes)}", visible=True),
            self.fault: gr.update(value="", visible=False),
        }

    def start(self, plan: Plan | None) -> Updates:
        """Begins the download that was announced."""
        try:
            self._allowed()
            if plan is None:
                raise BadInput("repo", "ask what it holds first")
            self.downloads.start(plan)
        except BadInput as error:
            words = answer.fault(answer.sentence(error.field, error.message))
            return {self.fault: gr.update(value=words, visible=True)}
        return {
            self.watched: time.time(),
            self.get: gr.update(visible=False),
            self.fault: gr.update(visible=False),
        }

    def stop(self) -> Any:
        """Stops the download under way."""
        self.downloads.cancel()
        return gr.update(interactive=False)

    async def watch(self) -> AsyncIterator[Updates]:
        """Shows the download until it ends."""
        while (latest := self.downloads.latest) is not None and latest.state == "running":
            yield {
                self.status: model_cards.download_line(latest),
                self.cancel: gr.update(visible=True, interactive=True),
            }
            await asyncio.sleep(_LOOK)
        line = model_cards.download_line(latest) if latest is not None else ""
        yield {self.status: line, self.cancel: gr.update(visible=False), self.cards: self.cards_html()}

    def _allowed(self) -> None:
        if not self.settings.hub_downloads:
            raise BadInput("", _REFUSED)
