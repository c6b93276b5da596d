"""A small hub on this machine: the endpoints that a download needs, and what can go wrong on the way."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repo:
    """A repository with its faults.

    Attributes:
        files: Path -> bytes.
        licence: Stated on its card.
        gated: Whether a token is asked for.
        lies: Path -> bytes that are sent in place of the file's own.
        cut: Path -> bytes after which the connection is dropped, once.
        sizes: Path -> size that is stated in place of the true one.
    """

    files: dict[str, bytes]
    licence: str = "apache-2.0"
    gated: bool = False
    lies: dict[str, bytes] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)


@dataclass
class Asked:
    """A request that came.

    Attributes:
        method, path: Of it.
        headers: Of it, by small letters.
    """

    method: str
    path: str
    headers: dict[str, str]


class Hub:
    """The server.

    Attributes:
        repos: `owner/name` -> repository.
        asked: Requests so far.
        slow: Set while the bytes of files flow; clear it to hold them back after their first ones.
        elsewhere: Address to which downloads are sent on, as a hub does to its store; empty: none.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.asked: list[Asked] = []
        self.slow = threading.Event()
        self.slow.set()
        self.elsewhere = ""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None: ...

            def do_HEAD(self) -> None:
                hub.answer(self, send=False)

            def do_GET(self) -> None:
                hub.answer(self, send=True)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, call: BaseHTTPRequestHandler, send: bool) -> None:
        headers = {name.lower(): value for name, value in call.headers.items()}
        path = unquote(urlsplit(call.path).path)
        self.asked.append(Asked(call.command, path, headers))
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"] and len(parts) >= 4:
            self._info(call, "/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main", headers)
        elif len(parts) >= 5 and parts[2] == "resolve":
            self._file(call, "/".join(parts[:2]), "/".join(parts[4:]), headers, send)
        else:
            self._refuse(call, 404, "EntryNotFound")

    def _info(self, call: BaseHTTPRequestHandler, name: str, revision: str, headers: dict[str, str]) -> None:
        repo = self.repos.get(name)
        if repo is None:
            return self._refuse(call, 404, "RepoNotFound")
        if revision not in ("main", COMMIT):
            return self._refuse(call, 404, "RevisionNotFound")
        if repo.gated and "authorization" not in headers:
            return self._refuse(call, 403, "GatedRepo")
        siblings = [self._sibling(repo, path, data) for path, data in repo.files.items()]
        self._json(
            call,
            {
                "id": name,
                "sha": COMMIT,
                "gated": "auto" if repo.gated else False,
                "tags": [f"license:{repo.licence}"],
                "cardData": {"license": repo.licence},
                "siblings": siblings,
            },
        )

    @staticmethod
    def _sibling(repo: Repo, path: str, data: bytes) -> dict[str, object]:
        size = repo.sizes.get(path, len(data))
        git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        stated: dict[str, object] = {"rfilename": path, "size": size, "blobId": git}
        if path.endswith((".safetensors", ".bin", ".model")):
            stated["lfs"] = {"size": size, "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 134}
        return stated

    def _file(
        self, call: BaseHTTPRequestHandler, name: str, path: str, headers: dict[str, str], send: bool
    ) -> None:
        repo = self.repos[name]
        if repo.gated and "authorization" not in headers and not self.elsewhere:
            return self._refuse(call, 403, "GatedRepo")
        if self.elsewhere:
            call.send_response(302)
            call.send_header("Location", f"{self.elsewhere}{call.path}")
            call.send_header("Content-Length", "0")
            call.end_headers()
            return
        data = repo.lies.get(path, repo.files[path])
        begin = int(headers["range"].removeprefix("bytes=").partition("-")[0]) if "range" in headers else 0
        rest = data[begin:]
        call.send_response(206 if begin else 200)
        if begin:
            call.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        call.send_header("Content-Length", str(len(rest)))
        call.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        call.end_headers()
        if not send:
            return
        until = repo.cut.pop(path, None)
        if until is not None:
            call.wfile.write(rest[:until])
            call.wfile.flush()
            call.close_connection = True
            call.connection.close()
            return
        half = len(rest) // 2
        call.wfile.write(rest[:half])
        call.wfile.flush()
        self.slow.wait(60)
        call.wfile.write(rest[half:])

    @staticmethod
    def _json(call: BaseHTTPRequestHandler, value: object) -> None:
        body = json.dumps(value).encode()
        call.send_response(200)
        call.send_header("Content-Type", "application/json")
        call.send_header("Content-Length", str(len(body)))
        call.end_headers()
        call.wfile.write(body)

    @staticmethod
    def _refuse(call: BaseHTTPRequestHandler, status: int, code: str) -> None:
        call.send_response(status)
        call.send_header("X-Error-Code", code)
        call.send_header("X-Error-Message", code)
        call.send_header("Content-Length", "0")
        call.end_headers()

    def files_asked(self) -> list[str]:
        """Paths of files that were asked for."""
        return [item.path for item in self.asked if "/resolve/" in item.path and item.method == "GET"]


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub, answering."""
    hub = Hub()
    thread = threading.Thread(target=hub.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.slow.set()
        hub.server.shutdown()
        hub.server.server_close()
