"""A page with viewers and nothing else, under the app's own policy, for tests and for looking at them.

`python -m tests.browser.viewer_page FOLDER` shows every file of a folder.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from apps.studio.viewers import page_script, page_style, viewer_for
from apps.studio.viewers.routes import viewer_routes
from apps.web.headers import SecurityHeaders, page_policy

NONCE = "a-page-of-tests"
# The colours of the studio, from its own style sheet.
STUDIO = Path(__file__).resolve().parents[2] / "apps" / "studio" / "static" / "studio.css"


@dataclass(frozen=True)
class Shown:
    """A file with what its task says it is."""

    path: Path
    kind: str = "file"


def page_application(folder: Path) -> FastAPI:
    """`/?show=NAME` (or several), `/?show=A&beside=B`, `/files/NAME`, and the routes of the viewers."""
    app = FastAPI()
    app.include_router(viewer_routes())
    colours = STUDIO.read_text("utf-8").split("/* ---- the page")[0]

    @app.get("/")
    def page(request: Request) -> Response:
        names = request.query_params.getlist("show") or sorted(path.name for path in folder.iterdir())
        beside = request.query_params.get("beside")
        space = int(request.query_params.get("space", "0"))
        elements = [_element(folder / name, folder / beside if beside else None) for name in names]
        html = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Viewers</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>{colours}{page_style()} body {{ margin: 16px; background: var(--page); color: var(--ink); "
            "font: 15px/1.5 system-ui; }</style></head>"
            f'<body class="{"dark" if "dark" in request.query_params else ""}"><div style="height: {space}px"></div>'
            + "".join(elements)
            + f'<script nonce="{NONCE}">{page_script()}</script></body></html>'
        )
        return HTMLResponse(html, headers={"Content-Security-Policy": page_policy([f"'nonce-{NONCE}'"])})

    @app.get("/files/{name}")
    def file(name: str) -> Response:
        known = {path.name: path for path in folder.iterdir()}
        return FileResponse(known[name]) if name in known else Response(status_code=404)

    app.add_middleware(SecurityHeaders)
    return app


def _element(path: Path, beside: Path | None) -> str:
    viewer = viewer_for(Shown(path, "plot" if path.suffix == ".json" else "file"))
    if viewer is None:
        return f"<p>no viewer for {quote(path.name)}</p>"
    other = (f"files/{quote(beside.name)}", beside.stem) if beside is not None else None
    return viewer.html(f"files/{quote(path.name)}", path.stem, other)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The page on a free port of this machine; its address, with a slash at the end."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = int(opened.getsockname()[1])
        server = uvicorn.Server(uvicorn.Config(page_application(folder), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/"
        server.should_exit = True
        thread.join(10)


if __name__ == "__main__":
    with served(Path(sys.argv[1])) as address:
        print(address, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
