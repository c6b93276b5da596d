"""The ASGI application: Gradio's pages and our own routes, behind everything that guards them.

From the outside in: forwarded addresses are believed or dropped, the request is counted and logged, headers are added,
the name and the sending page are checked, unknown addresses end, the door asks who it is, bodies are bounded, and calls
are kept to the caller's own files and sessions.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp

from apps.engine.jobs import Engine
from apps.engine.settings import Settings
from apps.web.api_faults import malformed, refused
from apps.web.bodies import BodyLimits, BoundedBodies
from apps.web.calls import OwnCalls, Takes
from apps.web.door import Cookies, Door
from apps.web.exposure import is_loopback
from apps.web.files import result_routes, upload_routes
from apps.web.headers import SecurityHeaders
from apps.web.incoming import KEPT_TIMES, kept_tidy
from apps.web.jobs_api import jobs_routes
from apps.web.login import login_routes
from apps.web.logs import quiet_gradio
from apps.web.metrics import Metrics, Observed, metrics_routes
from apps.web.origins import KnownHosts, SameSite, TrustedProxies
from apps.web.page import NoncePages
from apps.web.rates import Rates
from apps.web.sessions import Sessions
from apps.web.surface import Surface
from apps.web.tools import tool_routes
from apps.web.unbroken import Unbroken
from apps.web.users import Users


class Pages(Protocol):
    """What is served: `apps.studio.app.Studio`."""

    engine: Engine
    head: str

    def takes(self, function: str | int) -> frozenset[int] | None:
        """How many values a function of the pages may be given; None where there is none of that name or number."""

    def mount(self, inner: FastAPI, root_path: str | None = None) -> Callable[[], None]:
        """Adds the pages to an application; returns what ends their event streams."""


@dataclass
class Health:
    """Whether the app is ready for work.

    Attributes:
        ready: False while it starts and while it ends.
    """

    ready: bool = True


@dataclass(frozen=True)
class Served:
    """An application with what its server needs to know.

    Attributes:
        app: The ASGI application.
        inner: The FastAPI application inside, to which pages are mounted.
        health: Whether it is ready; set by the server.
        metrics: What it counts.
        sessions: Who is logged in.
        close_streams: Ends Gradio's event streams, which would otherwise stay open; called in the server's loop.
    """

    app: ASGIApp
    inner: FastAPI
    health: Health
    metrics: Metrics
    sessions: Sessions
    close_streams: Callable[[], None]


def base_application(
    engine: Engine,
    settings: Settings,
    users: Users,
    sessions: Sessions,
    rates: Rates,
    uploads: Path,
    host: str,
) -> tuple[FastAPI, Metrics, Health]:
    """Our own routes, to which the pages are mounted."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with kept_tidy(uploads, KEPT_TIMES * settings.upload_bytes):
            yield

    inner = FastAPI(title="Langevin", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    inner.add_exception_handler(RequestValidationError, malformed)
    inner.add_exception_handler(HTTPException, refused)
    # Gradio leaves other origins to its parent where the parent says what holds for them.
    inner.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.origins),
        allow_credentials=bool(settings.origins),
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["authorization", "content-type"],
    )
    metrics, health = Metrics(engine.counts), Health()
    cookies = Cookies(settings.session_days, framed=bool(settings.embed_in))
    framed = " ".join(settings.embed_in) or "'none'"

    @inner.get("/healthz", include_in_schema=False)
    def healthz() -> JSONResponse:
        return JSONResponse({"status": "ok" if health.ready else "ending"}, 200 if health.ready else 503)

    open_metrics = is_loopback(host) and settings.profile == "local" and not users
    inner.include_router(metrics_routes(metrics, settings.metrics_token, open_metrics))
    inner.include_router(login_routes(users, sessions, rates, cookies, framed))
    inner.include_router(result_routes(engine))
    inner.include_router(upload_routes(uploads, settings.upload_bytes))
    inner.include_router(jobs_routes(engine, uploads, settings.input_bytes, lambda: not health.ready))
    inner.include_router(tool_routes(engine, uploads, settings.input_bytes))
    return inner, metrics, health


def guarded(
    inner: ASGIApp,
    settings: Settings,
    users: Users,
    sessions: Sessions,
    rates: Rates,
    metrics: Metrics,
    uploads: Path,
    host: str,
    takes: Takes,
    head: str = "",
) -> ASGIApp:
    """Everything that stands before `inner`."""
    cookies = Cookies(settings.session_days, framed=bool(settings.embed_in))
    limits = BodyLimits(
        plain=settings.request_bytes,
        upload=settings.upload_bytes,
        idle=settings.upload_idle_seconds,
        slowest=settings.upload_rate,
        longest=settings.upload_seconds,
    )
    app: Any = Unbroken(inner)
    app = OwnCalls(app, uploads, takes)
    app = BoundedBodies(app, limits)
    app = Door(app, users, sessions, rates, cookies, settings.open_to_all)
    app = Surface(app)
    app = SameSite(app, settings.origins, framed=bool(settings.embed_in))
    app = KnownHosts(app, host, settings.hosts)
    app = NoncePages(app, head, settings.embed_in)
    app = GZipMiddleware(app, minimum_size=1024)
    app = SecurityHeaders(app, settings.embed_in)
    app = Observed(app, metrics)
    return TrustedProxies(app, settings.proxies)


def application(
    studio: Pages, settings: Settings, users: Users, uploads: Path, host: str, root_path: str | None = None
) -> Served:
    """The whole app around a `Studio`.

    Args:
        studio: The pages.
        settings: Limits and choices.
        users: Who may log in; empty where nobody has to.
        uploads: Folder of all uploads.
        host: The address that the server listens on.
        root_path: Path under which a proxy serves the app.
    """
    quiet_gradio()
    sessions = Sessions(studio.engine.home / "sessions.db" if users else None, settings.session_days)
    rates = Rates(settings)
    inner, metrics, health = base_application(studio.engine, settings, users, sessions, rates, uploads, host)
    close_streams = studio.mount(inner, root_path)
    app = guarded(inner, settings, users, sessions, rates, metrics, uploads, host, studio.takes, studio.head)
    return Served(app, inner, health, metrics, sessions, close_streams)
