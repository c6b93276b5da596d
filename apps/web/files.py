"""What people may read: the results of their own jobs; and where their uploads go."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import time
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from gradio.route_utils import (
    FileUploadProgress,
    FileUploadProgressNotQueuedError,
    FileUploadProgressNotTrackedError,
    MultiPartException,
    upload_fn,
)

from apps.engine.jobs import Engine
from apps.engine.run import RESULT
from apps.web.answers import refusal
from apps.web.bodies import UPLOAD
from apps.web.calls import owner_folder
from apps.web.headers import FILE_POLICY
from apps.web.incoming import KEPT_TIMES, staging, take, tidy
from apps.web.owners import owner_of

# Shown in the page; everything else is downloaded.
_SHOWN = ("image/png", "image/jpeg", "image/gif", "image/webp", "audio/wav", "audio/flac", "video/mp4")
_LOOK, _BEAT = 0.1, 15.0  # seconds
_FORGOTTEN = 30.0  # seconds after its end at which an upload's progress is forgotten


def result_routes(engine: Engine) -> APIRouter:
    """`GET /results/JOB/NAME`: an artifact of a job, to its owner alone."""
    router = APIRouter(include_in_schema=False)

    @router.get("/results/{job_id}/{name:path}")
    @router.head("/results/{job_id}/{name:path}")
    def result(job_id: str, name: str, request: Request) -> Response:
        job = engine.get(job_id, owner_of(request))
        finished = job.result if job is not None else None
        if finished is None:
            return refusal(404, "there is no such result, or it is not yours")
        known = {item.name: item.path for item in finished.artifacts}
        known[RESULT] = finished.directory / RESULT
        # Only names that the job lists: a path is never made of what was asked for.
        path = known.get(PurePosixPath(name).as_posix())
        if path is None or not path.is_file():
            return refusal(404, "the job has no such file, or it has been cleared away")
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        shown = kind in _SHOWN
        return FileResponse(
            path,
            media_type=kind if shown else "application/octet-stream",
            filename=path.name,
            content_disposition_type="inline" if shown else "attachment",
            headers={"Content-Security-Policy": FILE_POLICY, "Cache-Control": "private, no-store"},
        )

    return router


def upload_routes(uploads: Path, largest: int) -> APIRouter:
    """`POST /gradio_api/upload` and its progress, in Gradio's words, into the folder of whoever uploads.

    Args:
        uploads: Folder of all uploads.
        largest: Bytes of the largest file.
    """
    router = APIRouter(include_in_schema=False)
    under_way = _UnderWay()

    @router.post(UPLOAD)
    async def upload(request: Request, upload_id: str | None = None) -> Response:
        owner = owner_of(request)
        key = _key(owner, upload_id or "")
        folder = owner_folder(uploads, owner)
        progress = under_way if key else None
        try:
            with staging(folder) as place:
                files, _, _ = await upload_fn(
                    request, str(place), largest, key, force_move=True, upload_progress=progress
                )
                taken = [str(take(Path(file), folder)) for file in files]
            await run_in_threadpool(tidy, folder, KEPT_TIMES * largest)
        except MultiPartException as error:
            too_large = "maximum allowed size" in error.message
            return refusal(413 if too_large else 400, error.message)
        except HTTPException as error:
            return refusal(error.status_code, str(error.detail))
        finally:
            if key:
                asyncio.get_running_loop().call_later(_FORGOTTEN, under_way.stop_tracking, key)
        return JSONResponse(taken)

    @router.get("/gradio_api/upload_progress")
    async def tell(request: Request, upload_id: str) -> Response:
        key = _key(owner_of(request), upload_id)
        for _ in range(30):  # the page asks before its upload has arrived
            if key and under_way.knows(key):
                return StreamingResponse(_told(request, under_way, key), media_type="text/event-stream")
            await asyncio.sleep(_LOOK)
        return refusal(404, "there is no such upload")

    return router


class _UnderWay(FileUploadProgress):
    """Gradio's record of uploads under way, which forgets them again."""

    def knows(self, key: str) -> bool:
        return key in self._statuses

    def stop_tracking(self, key: str) -> None:
        super().stop_tracking(key)
        self._signals.pop(key, None)


def _key(owner: str, upload_id: str) -> str | None:
    """The name of an upload, one of its owner's; None where its progress is not asked for."""
    return f"{owner} {upload_id}" if 0 < len(upload_id) <= 100 else None


async def _told(request: Request, under_way: FileUploadProgress, key: str) -> AsyncIterator[str]:
    """Server-sent events on how far an upload is, until it is done or nobody listens."""
    beat = time.monotonic()
    try:
        while not await request.is_disconnected():
            try:
                if under_way.is_done(key):
                    yield 'data: {"msg": "done"}\n\n'
                    return
                step = under_way.pop(key)
            except FileUploadProgressNotTrackedError:
                return
            except FileUploadProgressNotQueuedError:
                await asyncio.sleep(_LOOK)
                if time.monotonic() - beat > _BEAT:
                    beat = time.monotonic()
                    yield 'data: {"msg": "heartbeat"}\n\n'
                continue
            message = {"msg": "update", "orig_name": step.filename, "chunk_size": step.chunk_size}
            yield f"data: {json.dumps(message)}\n\n"
    finally:
        under_way.stop_tracking(key)
