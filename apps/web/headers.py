"""What every answer tells the browser: what the page may load, who may frame it, what must not be guessed."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_A_YEAR = 365 * 24 * 3600
_FEATURES = (
    "camera",
    "display-capture",
    "geolocation",
    "microphone",
    "midi",
    "payment",
    "serial",
    "usb",
)
# A person's file may be looked at and downloaded, and can do nothing, whatever its bytes pretend to be.
FILE_POLICY = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"


def page_policy(scripts: Iterable[str] = (), embed_in: Iterable[str] = ()) -> str:
    """The Content-Security-Policy of the pages.  No directive names another host.

    Two things are wider than one would wish, because Gradio's page does not work without them:

    - `script-src 'unsafe-eval'`: Gradio compiles the handlers that an app gives as text (`js=`, `js_on_load=`).
      Inline scripts are not allowed but for those with the nonce of this answer or a known hash, so markup that
      reaches the page by mistake runs nothing.
    - `style-src 'unsafe-inline'`: Svelte and plotly write `style` elements and attributes.

    Args:
        scripts: Sources of inline scripts: `'nonce-…'`, `'sha256-…'`.
        embed_in: Origins whose pages may show this one in a frame.
    """
    rules = {
        "default-src": "'none'",
        "script-src": " ".join(("'self'", *scripts, "'unsafe-eval'")),
        "script-src-attr": "'none'",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "media-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self'",
        "worker-src": "'self' blob:",
        "frame-src": "'self' blob:",
        "manifest-src": "'self'",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": " ".join(embed_in) or "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


class SecurityHeaders:
    """Adds the headers to every answer, also to refusals by what lies inside.

    An answer that brings a Content-Security-Policy of its own keeps it.

    Args:
        app: What answers.
        embed_in: Origins whose pages may show this one in a frame.
    """

    def __init__(self, app: ASGIApp, embed_in: Iterable[str] = ()) -> None:
        self.app = app
        framed = tuple(embed_in)
        self._always = {
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Origin-Agent-Cluster": "?1",
            "Permissions-Policy": ", ".join(f"{feature}=()" for feature in _FEATURES),
        }
        if not framed:
            self._always["X-Frame-Options"] = "DENY"
        self._policy = page_policy(embed_in=framed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._always.items():
                    headers[name] = value
                headers.setdefault("Content-Security-Policy", self._policy)
                if scope.get("scheme") == "https":
                    headers["Strict-Transport-Security"] = f"max-age={_A_YEAR}"
                kind = headers.get("content-type", "")
                if "text/html" in kind or "json" in kind:
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, answer)
