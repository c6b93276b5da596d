"""Serving: one uvicorn in this process, that ends in order when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from types import FrameType

import uvicorn

from apps.web.application import Served
from domains.common.errors import BadInput

_GRACE = 5  # seconds that requests under way have once the server ends
_HEADERS = 64 * 1024  # bytes of request line and headers
_log = logging.getLogger("langevin.server")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on `host:port`, so that a port in use is said before anything else is built.

    Raises:
        BadInput: If it cannot be opened.
    """
    name = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    opened = socket.socket(family)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((name, port))
        opened.listen(2048)
    except OSError:
        opened.close()
        mend = "it is in use or not allowed; choose another with --port"
        raise BadInput("port", f"{port} cannot be opened on {host}: {mend}") from None
    opened.set_inheritable(False)
    return opened


class Server(uvicorn.Server):
    """uvicorn, that says so at `/healthz` and closes event streams before it waits for the rest.

    Args:
        served: What is served.
        connections: Requests under way at once; more are answered with 503.
        quiet: Leaves signals to whoever runs the server.
    """

    def __init__(self, served: Served, connections: int = 1000, quiet: bool = False) -> None:
        config = uvicorn.Config(
            served.app,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # apps.web.origins does, for trusted proxies only
            limit_concurrency=connections,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_GRACE,
            h11_max_incomplete_event_size=_HEADERS,
            ws="none",
        )
        super().__init__(config)
        self.served, self._quiet = served, quiet
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if self._quiet:
            yield
        else:
            with super().capture_signals():
                yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.end()
        super().handle_exit(sig, frame)

    def end(self) -> None:
        """Begins the end: no new work, event streams close, requests under way are finished."""
        if self.served.health.ready:
            _log.info("ending")
        self.served.health.ready = False
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.served.close_streams)


@contextlib.contextmanager
def in_background(server: Server, opened: socket.socket) -> Iterator[None]:
    """Serves in a thread for the time of the block; for tests and for programs with a main loop of their own."""
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [opened]}, name="langevin-server", daemon=True
    )
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the server did not start")
            thread.join(0.01)
        yield
    finally:
        server.end()
        thread.join(_GRACE + 5)
