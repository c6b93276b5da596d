"""Where a request may come from: the Host it names, and the page that sent it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any, cast

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from apps.web.answers import refusal
from apps.web.exposure import host_name, is_loopback

_READING = ("GET", "HEAD", "OPTIONS")
_FORWARDED = (b"x-forwarded-for", b"x-forwarded-proto")
# Nobody is believed on the name under which the app is reached but the Host header, which is checked.
_NEVER = (b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-prefix", b"forwarded")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class KnownHosts:
    """Refuses requests for another name than the app's: a foreign page's own name may be pointed at this machine.

    Accepted are addresses (no name can be pointed at one behind the browser's back), `localhost`, this machine's
    name, and the names that the settings list.  On a loopback address only loopback addresses are.

    Args:
        app: What answers.
        listening: The address that the app listens on.
        names: Further names.
    """

    def __init__(self, app: ASGIApp, listening: str, names: Iterable[str] = ()) -> None:
        self.app = app
        self._local = is_loopback(listening)
        own = () if self._local else (socket.gethostname(), listening)
        self._names = {"localhost", *(host_name(name) for name in (*own, *names))} - {""}

    def knows(self, host: str) -> bool:
        """Whether a Host header names this app."""
        name = host_name(host)
        if name in self._names:
            return True
        return _is_address(name) and (not self._local or is_loopback(name))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self.knows(Headers(scope=scope).get("host", "")):
            words = "this name is not one of the app's; its operator can add it with --allow-host"
            await refusal(421, words)(scope, receive, send)
            return
        await self.app(scope, receive, send)


class SameSite:
    """Refuses what other sites' pages send: every change, and every reading but a visit to the page itself.

    Browsers say where a request comes from in `Sec-Fetch-Site` and `Origin`; scripts and clients outside browsers
    send neither, and bring no cookies of anybody.

    Args:
        app: What answers.
        origins: Other sites that may call the app, for example `https://lab.example.org`.
        framed: Whether another site may show the page in a frame.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str] = (), framed: bool = False) -> None:
        self.app, self._framed = app, framed
        self._origins = {origin.rstrip("/").lower() for origin in origins}

    def allows(self, scope: Scope) -> bool:
        """Whether a request may come in."""
        headers = Headers(scope=scope)
        origin = headers.get("origin", "").lower()
        if origin in self._origins:
            return True
        site = headers.get("sec-fetch-site", "").lower()
        if site in ("cross-site", "same-site"):
            frames = ("iframe", "frame") if self._framed else ()
            visit = headers.get("sec-fetch-mode") == "navigate" and scope["method"] in ("GET", "HEAD")
            # An address typed into another page's link is a visit; its cookies stay at home (SameSite=Strict).
            return visit and headers.get("sec-fetch-dest", "document") in ("document", *frames)
        if scope["method"] in _READING or not origin:
            return True
        _, _, sender = origin.partition("://")
        return sender == headers.get("host", "").lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self.allows(scope):
            await refusal(403, "requests from other sites are refused")(scope, receive, send)
            return
        await self.app(scope, receive, send)


class TrustedProxies:
    """Drops `X-Forwarded-*` unless a proxy of ours sent them: anybody can claim to be forwarded.

    Args:
        app: What answers; it may believe what is left.
        proxies: Addresses and networks (`10.0.0.0/8`) of the proxies in front of the app.

    Raises:
        ValueError: If one of `proxies` is no address or network.
    """

    def __init__(self, app: ASGIApp, proxies: Iterable[str] = ()) -> None:
        named = list(proxies)
        self._networks = [ipaddress.ip_network(proxy) for proxy in named]
        self._believe = cast(ASGIApp, ProxyHeadersMiddleware(cast(Any, app), named))

    def trusts(self, client: str) -> bool:
        """Whether `client` is one of the proxies."""
        try:
            address = ipaddress.ip_address(client)
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            client = scope["client"][0] if scope.get("client") else ""
            dropped = _NEVER if self.trusts(client) else (*_NEVER, *_FORWARDED)
            scope = dict(scope, headers=[pair for pair in scope["headers"] if pair[0] not in dropped])
        await self._believe(scope, receive, send)
