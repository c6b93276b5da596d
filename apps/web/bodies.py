"""What a request may weigh and how long it may take: counted as it streams, whatever its headers claim."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apps.web.answers import refusal
from domains.common.files import human_size

UPLOAD, SUBMISSION = "/gradio_api/upload", "/api/jobs"
_ENVELOPE = 64 * 1024  # bytes of multipart headers around a file
_DRAINED, _PATIENCE = 256 * 1024, 1.0  # bytes and seconds of a refused body that are still read


@dataclass(frozen=True)
class BodyLimits:
    """Bounds on a request's body.

    Attributes:
        plain: Bytes of any request but an upload.
        upload: Bytes of an upload.
        idle: Seconds without a byte after which the sender is given up.
        grace: Seconds after which `slowest` is asked for.
        slowest: Bytes a second that a sender must make on average.
        longest: Seconds that a body may take in all.
    """

    plain: int = 4 * 2**20
    upload: int = 64 * 2**20
    idle: float = 20.0
    grace: float = 10.0
    slowest: float = 2048.0
    longest: float = 900.0


def is_upload(scope: Scope, headers: Headers) -> bool:
    """Whether a request brings files: one to where the page sends them, or a job submitted as a form."""
    path = scope["path"].rstrip("/")
    form = headers.get("content-type", "").lower().startswith("multipart/form-data")
    return scope["method"] == "POST" and (path == UPLOAD or (path == SUBMISSION and form))


class _Refused(Exception):
    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


class BoundedBodies:
    """Ends a request whose body is too large or comes too slowly.

    Args:
        app: What answers.
        limits: The bounds.
    """

    def __init__(self, app: ASGIApp, limits: BodyLimits | None = None) -> None:
        self.app, self.limits = app, limits or BodyLimits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        upload = is_upload(scope, headers)
        most = self.limits.upload + _ENVELOPE if upload else self.limits.plain
        body = _Counted(receive, most, self.limits)
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            # Frameworks turn what `body` raises into an answer of their own; ours takes its place.
            if body.fault is None or begun:
                begun = begun or message["type"] == "http.response.start"
                await send(message)

        try:
            _check_declared(headers, most)
            _check_charset(headers)
            await self.app(scope, body, answer)
        except Exception as error:
            fault = error if isinstance(error, _Refused) else body.fault
            if fault is None:
                raise
            body.fault = fault
        if body.fault is not None and not begun:
            # A connection that ends with bytes unread is reset, and the sender may never see why: a little more is
            # read.  What comes after that is not.
            await body.drain()
            closing = refusal(body.fault.status, body.fault.words, connection="close")
            await closing(scope, receive, send)


class _Counted:
    """A `receive` that keeps to the limits; `fault` says which of them was overstepped."""

    def __init__(self, receive: Receive, most: int, limits: BodyLimits) -> None:
        self._receive, self._most, self._limits = receive, most, limits
        self._began, self._total, self._over = time.monotonic(), 0, False
        self.fault: _Refused | None = None

    async def __call__(self) -> Message:
        if self._over:  # the body has ended; waiting for the disconnection may take as long as it takes
            return await self._receive()
        try:
            return await self._next()
        except _Refused as fault:
            self.fault = fault
            raise

    async def drain(self) -> None:
        """Reads on and forgets, until the body ends, `_DRAINED` bytes have come, or `_PATIENCE` seconds are over."""
        left = _DRAINED
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                while left > 0 and not self._over:
                    message = await self._receive()
                    left -= len(message.get("body", b""))
                    ended = message["type"] != "http.request" or not message.get("more_body", False)
                    self._over = self._over or ended

    async def _next(self) -> Message:
        limits = self._limits
        try:
            async with asyncio.timeout(limits.idle):
                message = await self._receive()
        except TimeoutError:
            raise _Refused(408, "the request's body stopped coming") from None
        if message["type"] != "http.request":
            return message
        self._total += len(message.get("body", b""))
        self._over = not message.get("more_body", False)
        if self._total > self._most:
            raise _Refused(413, f"at most {human_size(self._most)} are taken in one request")
        took = time.monotonic() - self._began
        slow = took > limits.grace and self._total < limits.slowest * took
        if not self._over and (took > limits.longest or slow):
            raise _Refused(408, "the request's body came too slowly")
        return message


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already, and afterwards what `receive` gives."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _check_declared(headers: Headers, most: int) -> None:
    declared = headers.get("content-length")
    if declared is None:
        return
    if not (declared.isascii() and declared.isdigit() and len(declared) < 20):
        raise _Refused(400, "Content-Length must be a whole number")
    if int(declared) > most:
        raise _Refused(413, f"at most {human_size(most)} are taken in one request")


def _check_charset(headers: Headers) -> None:
    """Forms are UTF-8.  Their parser would take any codec of Python's, some of which fail or make what is no text."""
    kind, options = parse_options_header(headers.get("content-type"))
    if kind == b"multipart/form-data" and options.get(b"charset", b"utf-8").lower() not in (
        b"utf-8",
        b"utf8",
    ):
        raise _Refused(415, "a form must be in UTF-8")
