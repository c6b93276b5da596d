"""Gradio's page under a strict policy: each inline script gets the nonce of its answer, and no other script runs."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apps.web.headers import page_policy

_SCRIPT = re.compile(rb"<script\b")
_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def inline_hashes(markup: str) -> list[str]:
    """Policy sources for the inline scripts of `markup`, which Gradio adds to the page's head after it was answered."""
    digests = (hashlib.sha256(script.encode()).digest() for script in _INLINE.findall(markup))
    return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]


class NoncePages:
    """Gives the inline scripts of HTML answers a nonce, and these answers a policy that asks for it.

    The template's own scripts are the only `<script` in the answer: Gradio writes `<` in the page's configuration as
    an escape.

    Args:
        app: What answers.
        head: What is added to the page's head later.
        embed_in: Origins whose pages may show this one in a frame.
    """

    def __init__(self, app: ASGIApp, head: str = "", embed_in: Iterable[str] = ()) -> None:
        self.app, self._hashes, self._embed_in = app, inline_hashes(head), tuple(embed_in)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/":
            await self.app(scope, receive, send)
            return
        # The body is read here, so it must come as it is; what lies outside compresses it again.
        plain = dict(scope, headers=[pair for pair in scope["headers"] if pair[0] != b"accept-encoding"])
        begun: Message | None = None
        body = bytearray()

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                kind = Headers(raw=message["headers"]).get("content-type", "")
                if not kind.startswith("text/html"):
                    await send(message)
                else:
                    begun = message
                return
            if begun is None:
                await send(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            nonce = secrets.token_urlsafe(18)
            page = _SCRIPT.sub(f'<script nonce="{nonce}"'.encode(), bytes(body))
            headers = MutableHeaders(raw=begun["headers"])
            headers["Content-Length"] = str(len(page))
            headers["Content-Security-Policy"] = page_policy(
                [f"'nonce-{nonce}'", *self._hashes], self._embed_in
            )
            start, begun = begun, None
            await send({**start, "headers": headers.raw})
            await send({"type": "http.response.body", "body": page})

        await self.app(plain, receive, answer)
