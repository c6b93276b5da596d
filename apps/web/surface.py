"""Which addresses exist.  Gradio brings many more than the app uses; those that are not named here are not there.

Among what is left out: fetching a URL on the server (`proxy=`, `file=http…`), run history and deep links (which know
no owners), monitoring, code editing in the page, screen recordings, and scaling the icon to any size.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from apps.web.answers import refusal

_JOB = r"/api/jobs/[0-9a-f]{1,64}"
OWN = (r"/healthz", r"/metrics", r"/login", r"/logout", r"/results/[0-9a-f]{1,64}/.+")
_PAGES = (
    r"/pages/(gallery|queue|settings|zip|compare)",
    r"/pages/(thumbnail|replay)/[0-9a-f]{1,64}",
    r"/pages/compare/[0-9a-f]{1,64}/[0-9a-f]{1,64}/plot\.json",
    r"/viewers/frame/[a-z]+",
)
_CHANGES = (r"/pages/clear", r"/pages/jobs/[0-9a-f]{1,64}/[a-z]+", r"/viewers/sketch")
_READ = (
    r"/",
    r"/config/?",
    r"/theme\.css",
    r"/favicon\.ico",
    r"/robots\.txt",
    r"/manifest\.json",
    r"/(assets|static|svelte)/.+",
    r"/gradio_api/(info|openapi\.json|app_id|user|login_check|theme\.css|queue/status)/?",
    r"/gradio_api/file=(?!https?:).+",
    r"/gradio_api/(heartbeat/[^/]+|queue/data|upload_progress)",
    r"/gradio_api/call/[^/]+/[^/]+",
    r"/openapi\.json",
    r"/api/(tasks|jobs)",
    rf"{_JOB}(/events|/artifacts(/.+)?)?",
)
_WRITE = (
    r"/api/jobs",
    rf"{_JOB}/(cancel|pause|resume|retry)",
    r"/login",
    r"/logout",
    r"/gradio_api/(queue/join|upload|cancel|reset)/?",
    r"/gradio_api/(run|api|call|call/v2)/[^/]+/?",
)
_TOOLS = r"/gradio_api/mcp/?"


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.DOTALL)


_ADDRESSES = {
    "GET": _any(*OWN, *_READ, *_PAGES, _TOOLS),
    "HEAD": _any(*OWN, *_READ, *_PAGES),
    "POST": _any(*_WRITE, *_CHANGES, _TOOLS),
    "DELETE": _any(_JOB, _TOOLS),
    "OPTIONS": _any(".*"),
}


class Surface:
    """Answers 404 for every address that the app does not use; opens no web sockets.

    Args:
        app: What answers the rest.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http":
            known = _ADDRESSES.get(scope["method"])
            path = scope["path"]
            if known is None or "\x00" in path or not known.fullmatch(path):
                await refusal(404, "there is nothing at this address")(scope, receive, send)
                return
        await self.app(scope, receive, send)
