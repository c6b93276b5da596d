"""Errors of the HTTP interface: `{"field": ..., "message": ...}` with a status that says whose turn it is."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from apps.engine.validation import printable
from apps.web.answers import refusal
from apps.web.calls import NotAllowed
from domains.common.errors import BadInput, MissingLibrary

# The field of an error that the engine raises -> status.
_STATUS = {"queue": 429, "disk": 503, "job": 409}


class Missing(Exception):
    """What was asked for is not there, or is somebody else's; nobody is told which."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field, self.message = field, message


def fault(status: int, field: str, message: str) -> Response:
    """One line that names the field."""
    headers = {"Retry-After": "30"} if status in (429, 503) else {}
    return JSONResponse({"field": field, "message": " ".join(message.split())}, status, headers=headers)


def first_fault(error: RequestValidationError) -> tuple[str, str]:
    """The field at fault and what is wrong with it.  FastAPI's own answer would repeat what was sent, which JSON cannot
    always hold (NaN, lone surrogates)."""
    first = error.errors()[0]
    named = [part for part in first["loc"] if isinstance(part, str)]
    return printable(named[-1] if named else "request"), f"{first['msg'][:1].lower()}{first['msg'][1:]}"


async def malformed(_: Request, error: Exception) -> Response:
    """The answer to what is no request of a route, for those that answer in `refusal`s."""
    assert isinstance(error, RequestValidationError)
    field, words = first_fault(error)
    return refusal(400, f"{field}: {words}")


async def refused(_: Request, error: Exception) -> Response:
    """The answer where a framework raises a status and words of its own."""
    assert isinstance(error, HTTPException)
    return refusal(error.status_code, str(error.detail), **(error.headers or {}))


class OneLine(APIRoute):
    """A route whose errors are one line each."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await inner(request)
            except Missing as error:
                return fault(404, error.field, error.message)
            except BadInput as error:
                return fault(_STATUS.get(error.field, 400), error.field, error.message)
            except MissingLibrary as error:
                return fault(501, "task", str(error))
            except NotAllowed as error:
                return fault(error.status, "request", str(error))
            except RequestValidationError as error:
                return fault(400, *first_fault(error))

        return handler
