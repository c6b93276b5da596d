"""What the page's script asks of the panels: to open a job, to restore an artifact, to hand a result on.

The script calls `langevin.ask({...})`; the answer changes tabs and forms, or is one sentence in the notice line.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.utils import get_upload_folder

from apps.engine.job import INPUTS
from apps.engine.jobs import Engine
from apps.engine.restore import restore
from apps.studio import answer
from apps.studio.ask import QUIET, Updates
from apps.studio.panel import Panel
from apps.web.calls import is_own_file, owner_folder
from apps.web.owners import owner_of
from domains.common.errors import BadInput

if TYPE_CHECKING:
    from apps.studio.app import Studio

_log = logging.getLogger(__name__)
_LOOKED_AT = 200  # jobs whose inputs may serve again
_LISTEN = "langevin.listen((what) => trigger('submit', what)); watch('value', () => langevin.told(element));"


class Bridge:
    """The hidden component through which the page's script reaches the panels; made inside the current Blocks.

    Args:
        studio: Whose panels and tabs they are.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.engine: Engine = studio.engine
        self.notice = gr.HTML(elem_id="bridge", js_on_load=_LISTEN)

    def wire(self) -> None:
        """Connects the script's wishes; called once all panels are there."""
        studio = self.studio
        outputs: list[Any] = [self.notice, studio.tabs, *studio.task_tabs.values()]
        for panel in studio.panels.values():
            outputs += panel.replaced
        self.notice.submit(self.asked, None, [*outputs, *studio.sweep.filled], concurrency_limit=8, **QUIET)

    def asked(self, event: gr.EventData, request: gr.Request) -> Updates:
        """Does what the script asks for; what cannot be done ends in one sentence."""
        wish: Mapping[str, Any] = event._data if isinstance(event._data, dict) else {}
        owner = owner_of(request)
        try:
            if "open" in wish:
                return self.open(str(wish["open"]), owner)
            if "restore" in wish:
                return self.restore(str(wish["restore"]), str(wish.get("name", "")), owner)
            if "send" in wish:
                send = [str(wish.get(name, "")) for name in ("send", "artifact", "task", "field")]
                return self.send(send[0], send[1], send[2], send[3], owner)
            if wish.get("page") in self.studio.pages:
                return {self.notice: "", self.studio.tabs: gr.Tabs(selected=wish["page"])}
            if "vary" in wish:
                return {self.notice: "", **self.studio.vary(str(wish["vary"]), owner)}
        except BadInput as error:
            return {self.notice: _fault(answer.sentence(error.field, error.message))}
        except FileNotFoundError:
            return {self.notice: _fault("a file that this needs has been cleared away")}
        return {self.notice: _fault("the page asked for something that is not there; load it again")}

    def open(self, job_id: str, owner: str) -> Updates:
        """Shows a job in its tab.

        Raises:
            BadInput: If it is not a job of `owner`, or its task is not there any more.
        """
        job = self.engine.get(job_id, owner)
        if job is None:
            raise BadInput("", "there is no such job of yours any more")
        panel = self._panel(job.task_name)
        return {self.notice: "", **self._show(panel), **panel.open(job)}

    def restore(self, uploaded: str, name: str, owner: str) -> Updates:
        """Fills the form of whatever task made an uploaded file.

        Raises:
            BadInput: If the file is not one that `owner` uploaded, or carries no recipe that holds.
        """
        uploads = Path(get_upload_folder())
        if not is_own_file(uploaded, uploads, owner):
            raise BadInput("", "drop the file again; the app does not have it")
        path = Path(uploaded)
        try:
            found = restore(path, self._input_folders(owner_folder(uploads, owner), owner))
        except BadInput as error:
            # The person knows the file by its own name, and has no field `artifact` in front of them.
            words = error.message.replace(path.name, name or path.name)
            raise BadInput("" if error.field == "artifact" else error.field, words) from None
        except Exception:
            _log.debug("cannot restore a %s file", path.suffix, exc_info=True)
            raise BadInput("", f"{name or path.name} is damaged or not a file of this program") from None
        panel = self._panel(found.task)
        return {self.notice: "", **self._show(panel), **panel.restored(found, name or path.name, owner)}

    def send(self, job_id: str, artifact: str, task: str, field: str, owner: str) -> Updates:
        """Puts an artifact of a job into the form of another task.

        Raises:
            BadInput: If there is no such artifact of `owner`, or no such field.
        """
        job = self.engine.get(job_id, owner)
        finished = job.result if job is not None else None
        item = (
            next((item for item in finished.artifacts if item.name == artifact), None) if finished else None
        )
        panel = self._panel(task)
        takes = [known.name for known in panel.ask.fields if known.kind in ("file", "files")]
        if item is None or field not in takes:
            raise BadInput("", "there is no such result any more")
        return {self.notice: "", **self._show(panel), **panel.given(field, item.path, item.name, owner)}

    def _panel(self, task: str) -> Panel:
        panel = self.studio.panels.get(task)
        if panel is None:
            raise BadInput("", f"this installation has no task {task!r}")
        return panel

    def _show(self, panel: Panel) -> Updates:
        studio, domain = self.studio, panel.task.domain
        return {
            studio.tabs: gr.Tabs(selected=domain),
            studio.task_tabs[domain]: gr.Tabs(selected=panel.task.name),
        }

    def _input_folders(self, uploads: Path, owner: str) -> Iterator[Path]:
        """Where the owner's input files may still lie: in what was uploaded of late, and with jobs."""
        yield from (
            (folder for folder in sorted(uploads.iterdir()) if folder.is_dir()) if uploads.is_dir() else ()
        )
        for job in self.engine.history(owner, limit=_LOOKED_AT):
            inputs = job.directory / INPUTS
            yield from sorted(inputs.iterdir()) if inputs.is_dir() else ()


def _fault(words: str) -> str:
    """The notice line; its moment makes the same words twice in a row two notices."""
    said = words[:1].upper() + words[1:]
    return f'<p data-at="{time.time()}" data-fault>{escape(said)}</p>'
