"""What calls of Gradio's functions may say: JSON as its standard has it, the caller's own files, their own session."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from apps.web.answers import refusal
from apps.web.bodies import replayed
from apps.web.owners import folder_name, owner_in

_API = "/gradio_api/"
_FILE = f"{_API}file="
_DEEPEST = 64  # nesting of JSON; a figure has about ten levels
_SESSIONS = 100_000  # remembered at once; the oldest are forgotten first
_CALL = re.compile(r"/gradio_api/(?:(run|api|call|call/v2)/([^/]+)|queue/join)/?")
_SESSION_IN_PATH = re.compile(r"/gradio_api/heartbeat/([^/]+)")
_LONGEST_SESSION = 100


# For the name or the number of a function: how many values it may be given; None where there is no such function.
Takes = Callable[[str | int], frozenset[int] | None]


class NotAllowed(ValueError):
    """A call that is refused, with its status and one sentence."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def owner_folder(uploads: Path, owner: str) -> Path:
    """Where the uploads of `owner` lie."""
    return uploads / folder_name(owner)


def is_own_file(path: object, uploads: Path, owner: str) -> bool:
    """Whether `path` is a file that `owner` may read: one in their folder once links are followed."""
    if not isinstance(path, str) or not path or "\x00" in path:
        return False
    folder = os.path.realpath(owner_folder(uploads, owner))
    try:
        return os.path.realpath(path).startswith(folder + os.sep)
    except (OSError, ValueError):
        return False


class OwnCalls:
    """Lets through calls that concern the caller alone.

    Refused with a 400 are bodies that are not JSON (NaN, infinities, numbers beyond a double, deep nesting) or no call
    of a function with as many values as it takes; with a 404 functions that are not there; with a 403 files that are
    not the caller's, by whatever path or URL they are named, and sessions of somebody else: whoever uses a session
    first owns it, since its name is made by the browser and is no secret that one could rely on.

    Args:
        app: What answers.
        uploads: Folder of all uploads, with one folder an owner.
        takes: What functions there are.
    """

    def __init__(self, app: ASGIApp, uploads: Path, takes: Takes) -> None:
        self.app, self.uploads, self._takes = app, uploads, takes
        self._sessions: OrderedDict[str, str] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_API):
            await self.app(scope, receive, send)
            return
        try:
            self._check_address(scope)
            if scope["method"] == "POST" and _is_json(Headers(scope=scope)):
                receive = await self._checked_body(scope, receive)
        except NotAllowed as fault:
            await refusal(fault.status, str(fault))(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _check_address(self, scope: Scope) -> None:
        path, owner = scope["path"], owner_in(scope)
        if path.startswith(_FILE) and not is_own_file(path.removeprefix(_FILE), self.uploads, owner):
            raise NotAllowed(403, "this is no file of yours")
        named = _SESSION_IN_PATH.fullmatch(path)
        if named:
            self._claim(named[1], owner)
        for session in parse_qs(scope.get("query_string", b"").decode("latin-1")).get("session_hash", ()):
            self._claim(session, owner)

    async def _checked_body(self, scope: Scope, receive: Receive) -> Receive:
        body = await _read(receive)
        owner = owner_in(scope)
        called = _CALL.fullmatch(scope["path"])
        if body or called:
            call = strict_json(body)
            if called:
                self._check_call(called[1], called[2], call)
            if isinstance(call, dict) and call.get("session_hash") is not None:
                self._claim(call["session_hash"], owner)
            for path in _files(call):
                if not is_own_file(path, self.uploads, owner):
                    raise NotAllowed(403, "a file must be uploaded through this app first")
        return replayed(body, receive)

    def _check_call(self, verb: str | None, name: str | None, call: Any) -> None:
        if not isinstance(call, dict):
            raise NotAllowed(400, "a call is a JSON object")
        index = None if verb == "call/v2" else call.get("fn_index")
        if index is not None and type(index) is not int:
            raise NotAllowed(400, "fn_index must be a whole number")
        lengths = self._takes(name or "" if index is None else index)
        if lengths is None:
            raise NotAllowed(404, "there is no such function")
        if verb == "call/v2":  # names its values; gradio knows which there are
            return
        data = call.get("data")
        if not isinstance(data, list) or len(data) not in lengths:
            raise NotAllowed(400, f"data must be a list of {' or '.join(map(str, sorted(lengths)))} values")

    def _claim(self, session: object, owner: str) -> None:
        if not isinstance(session, str) or len(session) > _LONGEST_SESSION:
            raise NotAllowed(400, "session_hash must be a short text")
        if self._sessions.setdefault(session, owner) != owner:
            raise NotAllowed(403, "this session is somebody else's")
        self._sessions.move_to_end(session)
        while len(self._sessions) > _SESSIONS:
            self._sessions.popitem(last=False)


def strict_json(data: bytes) -> Any:
    """Parses JSON as its standard has it.

    Raises:
        NotAllowed: With status 400 on NaN, infinities, overflowing numbers, invalid UTF-8 or deep nesting.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise NotAllowed(
            400, "the body is not JSON; NaN, infinities and numbers beyond a double are not part of it"
        ) from None
    if _deeper_than(value, _DEEPEST):
        raise NotAllowed(400, f"the JSON is nested more than {_DEEPEST} levels deep")
    return value


def _is_json(headers: Headers) -> bool:
    """Whether the body will be parsed as JSON: all but forms, since FastAPI guesses where nothing is said."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind not in ("multipart/form-data", "application/x-www-form-urlencoded")


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _deeper_than(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested more than `levels` deep; without recursion."""
    layer = [value]
    for _ in range(levels):
        layer = [item for part in layer for item in _parts(part) if isinstance(item, list | dict)]
        if not layer:
            return False
    return True


def _files(value: Any) -> Iterator[object]:
    """The paths and URLs that Gradio would take for files in a call."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict) and ("meta" in part or "url" in part) and part.get("path") is not None:
            yield part["path"]
        waiting += [item for item in _parts(part) if isinstance(item, list | dict)]


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise NotAllowed(400, "the request ended before its body")
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)
