"""Logging in and out: one plain form, no script; counted by name and by address."""

from __future__ import annotations

from html import escape

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from apps.web.answers import refusal
from apps.web.door import SESSION, Cookies, address_of
from apps.web.rates import Rates
from apps.web.sessions import Sessions
from apps.web.users import LONGEST, Users

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Log in · Langevin</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<style>
body {{ font: 16px/1.5 ui-sans-serif, system-ui, sans-serif; margin: 0 }}
main {{ display: grid; place-items: center; min-height: 100vh }}
form {{ display: grid; gap: 8px; width: min(320px, 90vw) }}
h1 {{ font-size: 20px; margin: 0 0 8px }}
input, button {{ font: inherit; padding: 8px 12px }}
.fault {{ color: #b3261e; margin: 0 }}
@media (prefers-color-scheme: dark) {{ .fault {{ color: #f2b8b5 }} }}
</style></head><body><main><form method="post" action="login{query}">
<h1>Langevin</h1>{fault}
<label for="username">Name</label>
<input id="username" name="username" autocomplete="username" autocapitalize="none" maxlength="32" required autofocus>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="1024" required>
<button>Log in</button></form></main></body></html>
"""
_AT_ONCE = 2  # argon2 takes 64 MB each time
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors {framed}"


def login_routes(users: Users, sessions: Sessions, rates: Rates, cookies: Cookies, framed: str) -> APIRouter:
    """`GET /login`, `POST /login` (a form; `gradio_client` speaks it too) and `POST /logout`.

    Args:
        users: Who may log in.
        sessions: Where logins are kept.
        rates: How often one may try.
        cookies: How the cookie is set.
        framed: Who may show the page in a frame, as the policy says it.
    """
    router = APIRouter(include_in_schema=False)
    hashing = CapacityLimiter(_AT_ONCE)

    def page(to: str, fault: str = "", status: int = 200) -> Response:
        query = f"?to={_quoted(to)}" if to else ""
        words = f'<p class="fault" role="alert">{escape(fault)}</p>' if fault else ""
        policy = _POLICY.format(framed=framed)
        text = _PAGE.format(query=escape(query), fault=words)
        return HTMLResponse(text, status, headers={"Content-Security-Policy": policy})

    @router.get("/login")
    def form(to: str = "") -> Response:
        return page(_inside(to)) if users else RedirectResponse("./", 303)

    @router.post("/login")
    async def log_in(
        request: Request,
        username: str = Form("", max_length=64),
        password: str = Form("", max_length=LONGEST),
        to: str = "",
    ) -> Response:
        if not users:
            return refusal(404, "this app asks for no login")
        person = "text/html" in request.headers.get("accept", "")
        name = username.strip().lower()
        address = address_of(request.scope)
        wait = max(rates.exhausted("login", name), rates.exhausted("login from", address))
        if wait:
            words = f"too many attempts; try again in {max(1, round(wait / 60))} min"
            return page(_inside(to), words, 429) if person else refusal(429, words, retry_after=f"{wait:.0f}")
        # Counted before it is checked: attempts made side by side count too.
        rates.hit("login", name)
        rates.hit("login from", address)
        if not await to_thread.run_sync(users.verify, name, password, limiter=hashing):
            words = "name or password is wrong"
            return page(_inside(to), words, 401) if person else refusal(401, words)
        rates.forget("login", name)
        token = sessions.begin(name, users.hashes[name])
        answer: Response = (
            RedirectResponse("./" + _inside(to), 303)
            if person
            else JSONResponse({"success": True, "token": token})
        )
        answer.headers["Set-Cookie"] = cookies.header(SESSION, token, request.url.scheme)
        return answer

    @router.post("/logout")
    def log_out(request: Request) -> Response:
        token = request.cookies.get(SESSION, "")
        bearer = request.headers.get("authorization", "").partition(" ")[2].strip()
        for known in (token, bearer):
            if known:
                sessions.end(known)
        answer = RedirectResponse("login", 303)
        answer.headers["Set-Cookie"] = cookies.header(SESSION, "", request.url.scheme)
        return answer

    return router


def _inside(to: str) -> str:
    """A query of the page itself; empty for anything that would lead elsewhere."""
    return to if to.startswith("?") and len(to) < 512 and to.isprintable() else ""


def _quoted(to: str) -> str:
    from urllib.parse import quote

    return quote(to, safe="")
