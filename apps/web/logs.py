"""Structured logs: a line of JSON an event, without what people wrote, named or uploaded."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any

_REQUEST = logging.getLogger("langevin.requests")
# What an address may show of itself; ids, names and paths of people are folded into a star.
_ROUTES = (
    (re.compile(r"^/(assets|static|svelte)/.*"), r"/\1/*"),
    (re.compile(r"^/gradio_api/file=.*", re.DOTALL), "/gradio_api/file=*"),
    (re.compile(r"^/results/.*", re.DOTALL), "/results/*"),
    (re.compile(r"^/api/jobs/[^/]+/artifacts/.*", re.DOTALL), "/api/jobs/*/artifacts/*"),
    (re.compile(r"^/api/jobs/[^/]+", re.DOTALL), "/api/jobs/*"),
    (re.compile(r"^/gradio_api/(heartbeat|mcp)/.*", re.DOTALL), r"/gradio_api/\1/*"),
    (re.compile(r"^(/gradio_api/(?:call/v2|call|run|api)/[a-z0-9_]{1,64})(/.*)?$", re.DOTALL), r"\1"),
)
_PLAIN = re.compile(r"/[a-z_./=*0-9]{0,100}")
_OWN = {"asctime", "message", "exc_info", "exc_text", "stack_info", "taskName", "args", "msg"}
_STANDARD = set(vars(logging.makeLogRecord({}))) | _OWN


def route(path: str) -> str:
    """The address without anything that a person chose: `/results/*`; `other` for what the app does not know."""
    for pattern, shown in _ROUTES:
        if pattern.match(path):
            path = pattern.sub(shown, path)
            break
    return path if _PLAIN.fullmatch(path) else "other"


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time, level, logger, event, the record's extra fields, and the kind of an error.

    Of an error only its type and where in the code it happened are written: its words may quote a person's file.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _bounded(
                record.getMessage() if record.name.startswith(("langevin", "apps")) else str(record.msg)
            ),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line["error"] = type(error).__name__
            line["at"] = _places(error)
        return json.dumps(line, default=str, ensure_ascii=True)


def _bounded(text: str) -> str:
    return text if len(text) <= 500 else text[:499] + "…"


def _places(error: BaseException) -> list[str]:
    """The innermost places of a traceback, as `module:line`."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "?")
        places.append(f"{name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return places[-8:]


def log_as_json(requests: bool = True) -> None:
    """Sends the logs of this process to stderr as JSON; libraries speak up from warnings on.

    Args:
        requests: Whether each request has its line, not only those that failed by the server's fault.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("langevin", "apps"):
        logging.getLogger(name).setLevel(logging.INFO)
    _REQUEST.setLevel(logging.INFO if requests else logging.ERROR)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = [], True
        logger.setLevel(logging.WARNING)


def log_request(method: str, path: str, status: int, seconds: float, received: int, sent: int) -> None:
    """One line for a request that has been answered."""
    fields = {
        "method": method,
        "route": route(path),
        "status": status,
        "ms": round(seconds * 1000, 1),
        "bytes_in": received,
        "bytes_out": sent,
    }
    _REQUEST.log(logging.ERROR if status >= 500 and status != 503 else logging.INFO, "request", extra=fields)


class _QuietTraceback:
    """Stands in for the `traceback` module where a library prints errors with whatever they quote."""

    def print_exc(self, *_: object, **__: object) -> None:
        logging.getLogger("langevin.errors").error("unexpected", exc_info=True)


def quiet_gradio() -> None:
    """Makes Gradio log what goes wrong instead of printing it: its own messages list the values of a call."""
    from gradio import queueing, route_utils, routes

    for module in (queueing, route_utils, routes):
        vars(module)["traceback"] = _QuietTraceback()
