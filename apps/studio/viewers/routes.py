"""`GET /viewers/frame/NAME`: the document of a viewer's frame; `POST /viewers/sketch`: a flat drawing of molecules."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from apps.studio.viewers.frames import frame_document
from apps.studio.viewers.libraries import Unknown
from apps.studio.viewers.registry import VIEWERS
from apps.studio.viewers.sketch import MAX_SKETCH_BYTES, NoSketch, sketches

_MOST_WAITING = 8  # drawings


def viewer_routes(embed_in: Iterable[str] = ()) -> APIRouter:
    """Routes to include in the application.  They serve no user's file: the page hands files to the frames itself.

    Args:
        embed_in: Origins whose pages may show the app in a frame; the frames of viewers then lie inside these, too.
    """
    router = APIRouter(prefix="/viewers", include_in_schema=False)
    one_at_a_time = asyncio.Lock()  # a process each; drawing is never urgent
    waiting: set[object] = set()
    ancestors = " ".join(("'self'", *embed_in))

    @router.get("/frame/{name}")
    @router.head("/frame/{name}")
    async def frame(name: str, request: Request) -> Response:
        viewer = VIEWERS.get(name)
        if viewer is None:
            return JSONResponse({"error": "there is no such viewer"}, 404)
        try:
            document = await run_in_threadpool(frame_document, viewer)
        except (OSError, Unknown):
            packages = " ".join(viewer.missing())
            return JSONResponse({"error": f"this viewer needs: pip install {packages}"}, 503)
        headers = {
            "Content-Security-Policy": f"{document.policy}; frame-ancestors {ancestors}",
            "Cache-Control": "private, no-cache",
            "ETag": document.tag,
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        if document.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        zipped = "gzip" in request.headers.get("accept-encoding", "")
        if zipped:
            headers["Content-Encoding"] = "gzip"
        body = document.gzipped if zipped else document.html
        return Response(body, media_type="text/html; charset=utf-8", headers=headers)

    @router.post("/sketch")
    async def sketch(request: Request) -> Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MAX_SKETCH_BYTES:
                return JSONResponse({"error": "too large for flat drawings"}, 413)
        if len(waiting) >= _MOST_WAITING:
            return JSONResponse({"error": "many others are drawing; try again in a moment"}, 503)
        turn = object()
        waiting.add(turn)
        try:
            async with one_at_a_time:
                drawings = await run_in_threadpool(sketches, bytes(body))
        except NoSketch as reason:
            return JSONResponse({"error": str(reason)}, 422)
        finally:
            waiting.discard(turn)
        return JSONResponse({"sketches": drawings}, headers={"Cache-Control": "no-store"})

    return router
