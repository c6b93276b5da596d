"""Prometheus metrics: what the server answers, how long that takes, and how the engine is doing."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apps.web.answers import refusal
from apps.web.logs import log_request, route

_BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
_STREAMS = (
    "/gradio_api/heartbeat/*",
    "/gradio_api/queue/data",
    "/gradio_api/upload_progress",
    "/api/jobs/*/events",
)
Jobs = Callable[[], Mapping[str, int]]


class Metrics:
    """The app's metrics, in a registry of their own.

    Args:
        jobs: Gives the number of jobs that the engine keeps, by state.
    """

    def __init__(self, jobs: Jobs) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_JobsByState(jobs))
        self.requests = Counter(
            "langevin_requests", "Answered requests.", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "langevin_request_seconds",
            "Seconds from a request to the end of its answer; event streams do not count.",
            ("route",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.received = Counter("langevin_received_bytes", "Bytes of request bodies.", registry=self.registry)
        self.sent = Counter("langevin_sent_bytes", "Bytes of answers.", registry=self.registry)
        self.open = Gauge("langevin_open_requests", "Requests under way.", registry=self.registry)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)


class _JobsByState(Collector):
    """Reads the engine when it is asked."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily("langevin_jobs", "Jobs that the engine keeps, by state.", labels=["state"])
        for state, count in sorted(self._jobs().items()):
            family.add_metric([state], count)
        yield family

    def describe(self) -> Iterable[Metric]:
        return [GaugeMetricFamily("langevin_jobs", "Jobs that the engine keeps, by state.", labels=["state"])]


class Observed:
    """Counts and logs every request.

    Args:
        app: What answers.
        metrics: Where it is counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status, received, sent = time.monotonic(), 500, 0, 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def answer(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            sent += len(message.get("body", b""))
            await send(message)

        metrics = self.metrics
        metrics.open.inc()
        try:
            await self.app(scope, counted, answer)
        finally:
            metrics.open.dec()
            took = time.monotonic() - began
            method = (
                scope["method"]
                if scope["method"] in ("GET", "HEAD", "POST", "DELETE", "OPTIONS")
                else "other"
            )
            where = "other" if status in (404, 421) else route(scope["path"])
            metrics.requests.labels(method, where, str(status)).inc()
            if where not in _STREAMS:
                metrics.seconds.labels(where).observe(took)
            metrics.received.inc(received)
            metrics.sent.inc(sent)
            log_request(method, scope["path"], status, took, received, sent)


def metrics_routes(metrics: Metrics, token: str, open_here: bool) -> APIRouter:
    """`GET /metrics`.

    Args:
        metrics: What is shown.
        token: A bearer token that opens it; empty where there is none.
        open_here: Whether it is open without a token: on this machine's own app.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/metrics")
    def show(request: Request) -> Response:
        given = request.headers.get("authorization", "").partition(" ")[2].strip()
        if token:
            if not secrets.compare_digest(given.encode(), token.encode()):
                return refusal(401, "metrics need their token", www_authenticate="Bearer")
        elif not open_here:
            return refusal(404, "there is nothing at this address")
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router
