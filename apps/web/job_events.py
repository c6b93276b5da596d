"""The course of a job as server-sent events: one for each change, the last with its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from apps.engine.jobs import Engine
from apps.web.job_models import job_summary, job_view

_LOOK = 0.1  # seconds between looks at a job
_BEAT = 15.0  # seconds of silence after which a comment keeps the connection open


async def job_events(
    engine: Engine,
    job_id: str,
    owner: str,
    last_seen: int | None,
    ending: Callable[[], bool],
    gone: Callable[[], Awaitable[bool]],
) -> AsyncIterator[str]:
    """Server-sent events on a job.

    An event `job` says how it stands, the event `end` how it ended (with its result), `forgotten` that it was deleted.
    The id of an event is the job's revision; a reader that comes back with the last one it saw (`Last-Event-ID`)
    misses nothing that still holds, and sees nothing twice.

    Args:
        engine: The engine.
        job_id: The job.
        owner: Who reads.
        last_seen: The revision that the reader knows already.
        ending: Whether the app is ending; the reader then comes back to the next one.
        gone: Whether the reader has gone.
    """
    seen, spoke = last_seen, time.monotonic()
    while not ending():
        job = engine.get(job_id, owner)
        if job is None:
            yield "event: forgotten\ndata: {}\n\n"
            return
        if job.revision != seen:
            seen, spoke = job.revision, time.monotonic()
            kind = "end" if job.state.final else "job"
            shown = job_view(job, 0) if job.state.final else job_summary(job, engine.ahead(job))
            yield f"id: {job.revision}\nevent: {kind}\ndata: {shown.model_dump_json()}\n\n"
        if job.state.final:
            return
        if time.monotonic() - spoke > _BEAT:
            spoke = time.monotonic()
            yield ": still there\n\n"
        await asyncio.sleep(_LOOK)
        if await gone():
            return
