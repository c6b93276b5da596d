"""The door: who is asking, whether they may come in, and whether they come too often."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from http.cookies import SimpleCookie
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apps.web.answers import refusal
from apps.web.bodies import is_upload
from apps.web.owners import LOCAL, guest, set_owner
from apps.web.rates import Rates
from apps.web.sessions import DAY, Sessions
from apps.web.users import Users

SESSION, VISITOR = "langevin_session", "langevin_visitor"
_FOR_ALL = ("/healthz", "/metrics", "/login", "/favicon.ico", "/robots.txt")
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")  # what secrets.token_urlsafe(32) makes
_MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Cookies:
    """How the app's cookies are set.

    Attributes:
        days: How long they are kept.
        framed: Whether other sites show the page in a frame, which a strict cookie would not reach.
    """

    days: float = 14.0
    framed: bool = False

    def header(self, name: str, value: str, scheme: str) -> str:
        """A Set-Cookie header: not for scripts, not for other sites, and over https only where the page came so."""
        cookie: SimpleCookie = SimpleCookie()
        cookie[name] = value
        cookie[name]["path"] = "/"
        cookie[name]["httponly"] = True
        cookie[name]["max-age"] = int(self.days * DAY) if value else 0
        cookie[name]["samesite"] = "None" if self.framed else "Strict"
        if self.framed or scheme == "https":
            cookie[name]["secure"] = True
        return cookie.output(header="").strip() + ("; Partitioned" if self.framed else "")


def address_of(scope: Scope) -> str:
    """The address that a request comes from, for counting: an IPv6 client owns a whole /64."""
    address = str(scope["client"][0]) if scope.get("client") else "unknown"
    if ":" in address:
        import ipaddress

        try:
            network = ipaddress.ip_network(f"{address.partition('%')[0]}/64", strict=False)
        except ValueError:
            return address
        return str(network)
    return address


class Door:
    """Writes the owner beside each request; turns away who is not logged in, and who comes too often.

    With users, a login is asked for. Without, everybody is `local`, or, where the app is open to all, a guest whom
    a random cookie names.

    Args:
        app: What answers those who may come in.
        users: Who may log in; empty where nobody has to.
        sessions: Who is logged in.
        rates: How often one may come.
        cookies: How cookies are set.
        open_to_all: Whether visitors without login come in, each as a guest.
    """

    def __init__(
        self,
        app: ASGIApp,
        users: Users,
        sessions: Sessions,
        rates: Rates,
        cookies: Cookies,
        open_to_all: bool = False,
    ) -> None:
        self.app, self.users, self.sessions, self.rates = app, users, sessions, rates
        self._cookies, self._open_to_all = cookies, open_to_all

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["path"] in _FOR_ALL:
            set_owner(scope, LOCAL if not (self.users or self._open_to_all) else "nobody")
            await self.app(scope, receive, send)
            return
        owner, new = self._owner(scope, headers)
        if owner is None:
            await self._turn_away(scope, headers)(scope, receive, send)
            return
        address = address_of(scope)
        wait = self._wait(scope, headers, owner, address, new is not None)
        if wait:
            words = f"too many requests; try again in {wait:.0f} s"
            await refusal(429, words, retry_after=f"{wait:.0f}")(scope, receive, send)
            return
        set_owner(scope, owner)
        await self.app(scope, receive, send if new is None else self._with_cookie(scope, send, new))

    def _owner(self, scope: Scope, headers: Headers) -> tuple[str | None, str | None]:
        """The owner, None where a login is needed; and the secret of a visitor who is new."""
        cookies = cookie_parser(headers.get("cookie", ""))
        if self.users:
            scheme, _, bearer = headers.get("authorization", "").partition(" ")
            token = bearer.strip() if scheme.lower() == "bearer" else cookies.get(SESSION, "")
            return (self.sessions.user(token, self.users.hashes) if token else None), None
        if not self._open_to_all:
            return LOCAL, None
        secret = cookies.get(VISITOR, "")
        if _SECRET.fullmatch(secret):
            return guest(secret), None
        secret = secrets.token_urlsafe(32)
        # Only a visit to the page makes a guest: what is called without a cookie is forgotten at once.
        return guest(secret), secret if scope["path"] == "/" else None

    def _wait(self, scope: Scope, headers: Headers, owner: str, address: str, new: bool) -> float:
        # Without login a new owner costs nothing, so the address counts as well; several people may share one.
        whose = (f"owner {owner}", f"address {address}")
        wait = self.rates.hit("request", *whose)
        if new:
            wait = max(wait, self.rates.hit("guest", whose[1]))
        if is_upload(scope, headers):
            size = headers.get("content-length", "")
            megabytes = 1 + (
                int(size) // _MEGABYTE if size.isascii() and size.isdigit() and len(size) < 16 else 0
            )
            wait = max(
                wait, self.rates.hit("upload", *whose), self.rates.hit("megabytes", *whose, cost=megabytes)
            )
        return wait

    def _turn_away(self, scope: Scope, headers: Headers) -> Response:
        visit = scope["method"] in ("GET", "HEAD") and "text/html" in headers.get("accept", "")
        if visit and scope["path"] == "/":
            query = scope.get("query_string", b"").decode("latin-1")
            return RedirectResponse("login" + (f"?to={quote('?' + query, safe='')}" if query else ""), 303)
        return refusal(401, "log in first", www_authenticate="Bearer")

    def _with_cookie(self, scope: Scope, send: Send, secret: str) -> Send:
        cookie = self._cookies.header(VISITOR, secret, scope.get("scheme", "http"))

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("Set-Cookie", cookie)
            await send(message)

        return answer
