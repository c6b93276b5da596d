"""The last net: an error that nobody foresaw ends one request in one line, and is logged without the person's words."""

from __future__ import annotations

import logging

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apps.web.answers import refusal

_log = logging.getLogger("langevin.errors")
# Gradio itself answers what its functions raise: what comes through here, it could not make a call of.
_CALLS = (
    "/gradio_api/run/",
    "/gradio_api/api/",
    "/gradio_api/call/",
    "/gradio_api/queue/",
    "/gradio_api/cancel",
)


class Unbroken:
    """Turns exceptions, and the bare 500 that frameworks make of them, into a sentence.

    A call that Gradio could make nothing of ends in a 400, anything else in a 500.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = broken = False

        async def answer(message: Message) -> None:
            nonlocal begun, broken
            if message["type"] == "http.response.start" and message["status"] == 500:
                broken = Headers(raw=message["headers"]).get("content-type", "").startswith("text/plain")
            if not broken:
                begun = True
                await send(message)

        try:
            await self.app(scope, receive, answer)
        except Exception as error:
            if not broken:  # raised outside whatever makes a 500 of it
                broken = not begun
            _log.error("unexpected", exc_info=error)
        if broken:
            call = scope["path"].startswith(_CALLS)
            words = (
                "this is no call that the app understands" if call else "something went wrong here; try again"
            )
            await refusal(400 if call else 500, words)(scope, receive, send)
