"""What the pages' script asks the server for: lists as HTML, small pictures, zips, and what is to be done with a job.

Every route asks whose request it is; a job of somebody else is no job.  Changes are POST requests, which the guards
before the application take from the app's own pages alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from apps.engine.jobs import Engine, Job
from apps.engine.replay import compare_runs
from apps.studio.answer import sentence
from apps.studio.pages.comparison import comparison, joint_plot
from apps.studio.pages.gallery import Sought, card, find, picture_of
from apps.studio.pages.queue import queue_state
from apps.studio.pages.settings import clear_out, settings_html
from apps.studio.pages.thumbnails import thumbnail
from apps.studio.pages.zipped import folder_of, zipped
from apps.web.answers import refusal
from apps.web.headers import FILE_POLICY
from apps.web.owners import owner_of
from domains.common.errors import BadInput
from domains.common.files import human_size
from domains.common.task import Task

MOST_ZIPPED = 100  # jobs in one zip
_PRIVATE = {"Cache-Control": "private, no-store"}


def page_routes(engine: Engine, tasks: Sequence[Task]) -> APIRouter:
    """`/pages/...`, for the gallery, the queue, the settings and the actions under an answer."""
    router = APIRouter(prefix="/pages", include_in_schema=False)

    def own(job_id: str, request: Request) -> Job:
        job = engine.get(job_id, owner_of(request))
        if job is None:
            raise BadInput("", "there is no such job of yours any more")
        return job

    @router.get("/gallery")
    def gallery(
        request: Request,
        domain: Annotated[str, Query(max_length=100)] = "",
        task: Annotated[str, Query(max_length=100)] = "",
        model: Annotated[str, Query(max_length=200)] = "",
        text: Annotated[str, Query(max_length=100)] = "",
        pinned: bool = False,
        before: Annotated[str, Query(max_length=64)] = "",
    ) -> Response:
        sought = Sought(domain, task, model, text, pinned)
        found = find(engine, owner_of(request), tasks, sought, before)
        cards = "".join(card(job) for job in found.jobs)
        return JSONResponse({"html": cards, "before": found.before}, headers=_PRIVATE)

    @router.get("/thumbnail/{job_id}")
    def small_picture(job_id: str, request: Request) -> Response:
        job = engine.get(job_id, owner_of(request))
        shown = picture_of(job) if job is not None else None
        drawn = thumbnail(shown.path) if shown is not None and shown.kind == "plot" else None
        if drawn is None:
            return refusal(404, "there is no such picture")
        headers = {"Content-Security-Policy": FILE_POLICY, "Cache-Control": "private, max-age=3600"}
        return Response(drawn, media_type="image/svg+xml", headers=headers)

    @router.get("/compare")
    def compare(request: Request, a: str, b: str) -> Response:
        return _said(lambda: {"html": comparison(own(a, request), own(b, request))})

    @router.get("/compare/{a}/{b}/plot.json")
    def compare_plots(a: str, b: str, request: Request) -> Response:
        return _said(lambda: joint_plot(own(a, request), own(b, request)))

    @router.get("/zip")
    def zip_of(request: Request, job: Annotated[list[str], Query(max_length=MOST_ZIPPED)]) -> Response:
        try:
            jobs = [own(job_id, request) for job_id in dict.fromkeys(job)]
            if any(item.result is None for item in jobs):
                raise BadInput("", "one of these jobs has no result")
        except BadInput as error:
            return refusal(404, error.message)
        name = folder_of(jobs[0]) if len(jobs) == 1 else f"langevin-{len(jobs)}-results"
        headers = {"Content-Disposition": f'attachment; filename="{name}.zip"', **_PRIVATE}
        return StreamingResponse(zipped(jobs), media_type="application/zip", headers=headers)

    @router.get("/queue")
    def queue(request: Request) -> Response:
        return JSONResponse(queue_state(engine, owner_of(request)), headers=_PRIVATE)

    @router.get("/settings")
    def settings(request: Request) -> Response:
        return JSONResponse({"html": settings_html(engine, owner_of(request))}, headers=_PRIVATE)

    @router.get("/replay/{job_id}")
    def replayed(job_id: str, request: Request, of: str) -> Response:
        return _said(lambda: verdict(own(of, request), own(job_id, request)))

    @router.post("/clear")
    def clear(request: Request) -> Response:
        def cleared() -> dict[str, Any]:
            count, size = clear_out(engine, owner_of(request))
            return {"words": f"Removed {count} job{'s' if count != 1 else ''}, {human_size(size)}"}

        return _said(cleared)

    @router.post("/jobs/{job_id}/{verb}")
    def do(
        job_id: str, verb: str, request: Request, body: Annotated[dict[str, Any] | None, Body()] = None
    ) -> Response:
        owner, given = owner_of(request), body or {}
        steps: dict[str, Callable[[], Any]] = {
            "cancel": lambda: engine.cancel(job_id, owner),
            "pause": lambda: engine.pause(job_id, owner),
            "resume": lambda: engine.resume(job_id, owner),
            "retry": lambda: engine.retry(job_id, owner),
            "pin": lambda: engine.pin(job_id, owner),
            "unpin": lambda: engine.pin(job_id, owner, pinned=False),
            "delete": lambda: engine.forget(job_id, owner),
            "move": lambda: engine.move(job_id, owner, str(given["before"]) if given.get("before") else None),
            "priority": lambda: engine.prioritise(job_id, owner, _whole(given.get("priority"))),
            "replay": lambda: again(engine, own(job_id, request)),
        }
        step = steps.get(verb)
        if step is None:
            return refusal(404, "there is nothing at this address")

        def done() -> dict[str, Any]:
            job = step()
            return {"id": job.id, "state": str(job.state), "pinned": job.pinned} if job is not None else {}

        return _said(done)

    return router


def again(engine: Engine, job: Job) -> Job:
    """Queues the request of a finished job once more.

    Raises:
        BadInput: If it has no result to compare with, its input is gone, or the queue is full.
    """
    if job.result is None:
        raise BadInput("", "there is no result to compare with any more")
    return engine.submit(job.task, job.request, job.owner)


def verdict(recorded: Job, made: Job) -> dict[str, Any]:
    """How far a replay is, and once it has ended whether everything came out the same; a sentence each."""
    if not made.state.final:
        share = made.progress.fraction if made.progress is not None else 0.0
        return {"state": "running", "words": f"Running again, {100 * share:.0f}\u202f%"}
    if made.result is None or recorded.result is None:
        why = f": {made.error.message}" if made.error is not None else ""
        return {"state": "failed", "words": f"The replay did not finish{why}"}
    verdicts = compare_runs(recorded.result, made.result)
    faults = [item for item in verdicts if not item.matches]
    if faults:
        said = "; ".join(f"{item.name} {item.reason}" for item in faults)
        return {"state": "differs", "words": f"Not the same: {said}"}
    exact = not any(item.reason for item in verdicts)
    files = "The file" if len(verdicts) == 1 else f"All {len(verdicts)} files"
    how = "to the bit" if exact else "within the published tolerance"
    return {"state": "same", "words": f"{files} came out the same, {how}"}


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadInput("priority", "must be a whole number")
    return value


def _said(step: Callable[[], dict[str, Any]]) -> Response:
    """What a step gives, or what is wrong in one sentence."""
    try:
        return JSONResponse(step(), headers=_PRIVATE)
    except BadInput as error:
        gone = "no such job" in error.message
        return refusal(404 if gone else 409, sentence(error.field, error.message))
    except FileNotFoundError:
        return refusal(404, "a file that this needs has been cleared away")
