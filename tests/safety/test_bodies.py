"""Bodies: counted as they stream, given up when they stall, and no JSON but JSON."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.safety.conftest import Running, Start

CALL, UPLOAD = "/gradio_api/queue/join", "/gradio_api/upload"


def head(app: Running, path: str, *lines: str) -> bytes:
    text = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{app.port}", *lines, "", ""]
    return "\r\n".join(text).encode()


def status_of(connection: socket.socket) -> int:
    """The status of the answer, which may come before the request has ended."""
    answer = b""
    while b"\r\n" not in answer:
        part = connection.recv(4096)
        if not part:
            raise AssertionError(f"closed without an answer: {answer!r}")
        answer += part
    return int(answer.split()[1])


def send_until_answered(connection: socket.socket, parts: Iterator[bytes]) -> int:
    """Sends parts until the server has had enough; the bytes sent."""
    sent = 0
    connection.settimeout(30)
    for part in parts:
        try:
            connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            break
        sent += len(part)
        connection.setblocking(False)
        try:
            if connection.recv(1, socket.MSG_PEEK):
                break
        except BlockingIOError:
            pass
        finally:
            connection.settimeout(30)
    return sent


def test_a_declared_body_beyond_the_cap_is_refused_unread(start: Start) -> None:
    app = start(request_bytes=8192)
    with socket.create_connection(("127.0.0.1", app.port), timeout=10) as connection:
        connection.sendall(head(app, CALL, "Content-Type: application/json", "Content-Length: 99999999999"))
        assert status_of(connection) == 413
    assert app.pages.calls == []


@pytest.mark.parametrize("length", ["-1", "1e9", "0x10", "٣"])
def test_a_length_that_is_no_number_is_refused(start: Start, length: str) -> None:
    app = start()
    with socket.create_connection(("127.0.0.1", app.port), timeout=10) as connection:
        connection.sendall(head(app, CALL, f"Content-Length: {length}"))
        assert status_of(connection) == 400
    assert app.pages.calls == []


@pytest.mark.parametrize("path", [CALL, UPLOAD])
def test_a_chunked_body_beyond_the_cap_ends_while_it_streams(start: Start, path: str) -> None:
    app = start(request_bytes=1 << 20, upload_bytes=2 << 20)
    before = psutil.Process().memory_info().rss
    kind = "multipart/form-data; boundary=x" if path == UPLOAD else "application/json"
    opening = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.csv"\r\n\r\n'
        if path == UPLOAD
        else b'{"data":["'
    )
    chunk = b"%x\r\n%s\r\n" % (1 << 16, b"a" * (1 << 16))
    with socket.create_connection(("127.0.0.1", app.port), timeout=30) as connection:
        connection.sendall(head(app, path, f"Content-Type: {kind}", "Transfer-Encoding: chunked"))
        connection.sendall(b"%x\r\n%s\r\n" % (len(opening), opening))
        sent = send_until_answered(connection, (chunk for _ in range(4096)))  # 256 MB, if it were let in
        assert status_of(connection) == 413
    assert sent < 32 << 20
    assert psutil.Process().memory_info().rss - before < 64 << 20
    assert not [path for path in app.uploads.rglob("*") if path.is_file()]
    assert app.pages.calls == []


def test_nothing_of_a_refused_upload_stays(start: Start) -> None:
    app = start(upload_bytes=1 << 20)
    with app.client() as client:
        big = client.post(UPLOAD, files={"files": ("a.csv", b"a" * (3 << 20))})
        assert big.status_code == 413
        assert not [path for path in app.uploads.rglob("*") if path.is_file()]
        assert client.post(UPLOAD, files={"files": ("a.csv", b"a" * 1000)}).status_code == 200


def test_an_upload_that_stalls_is_given_up(start: Start) -> None:
    app = start(upload_idle_seconds=0.5)
    with socket.create_connection(("127.0.0.1", app.port), timeout=10) as connection:
        connection.sendall(
            head(app, UPLOAD, "Content-Type: multipart/form-data; boundary=x", "Content-Length: 1000")
        )
        connection.sendall(b"--x\r\n")
        began = time.monotonic()
        assert status_of(connection) == 408
        assert 0.3 < time.monotonic() - began < 5


def test_a_body_that_takes_too_long_is_given_up(start: Start) -> None:
    app = start(upload_idle_seconds=5, upload_seconds=1.0)
    with socket.create_connection(("127.0.0.1", app.port), timeout=10) as connection:
        connection.sendall(head(app, CALL, "Content-Type: application/json", "Content-Length: 1000"))
        began = time.monotonic()

        def drip() -> Iterator[bytes]:
            while time.monotonic() - began < 20:
                time.sleep(0.1)
                yield b" "

        send_until_answered(connection, drip())
        assert status_of(connection) == 408
        assert time.monotonic() - began < 6


NO_JSON = [
    b'{"data": [NaN]}',
    b'{"data": [1e400]}',
    b'{"data": [-Infinity]}',
    b'{"data": ' + b"9" * 5000 + b"}",
    b'{"data": ["\xff"]}',
    b'{"data": ["\\ud800"]}',
    b'{"data": ' + b"[" * 100_000,
    b'{"data": ' + b"[" * 200 + b"]" * 200 + b"}",
    b"{",
]


@pytest.mark.parametrize("body", NO_JSON, ids=range(len(NO_JSON)))
@pytest.mark.parametrize("kind", ["application/json", "text/plain", ""])
def test_what_is_no_json_ends_at_the_door(start: Start, body: bytes, kind: str) -> None:
    app = start()
    headers = {"Content-Type": kind} if kind else {}
    with app.client() as client:
        answer = client.post(CALL, content=body, headers=headers)
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"] and len(answer.text) < 400
    assert app.pages.calls == []


def test_json_comes_in_as_it_was_sent(start: Start) -> None:
    app = start()
    sent = json.dumps({"data": [1, None, "ä", {"a": [1.5]}], "session_hash": "s"}).encode()
    with app.client() as client:
        assert client.post(CALL, content=sent, headers={"Content-Type": "application/json"}).json()[
            "bytes"
        ] == len(sent)
    assert app.pages.calls == [sent]
