"""Host, Origin and Sec-Fetch-*: other names and other sites' pages are turned away."""

from __future__ import annotations

import pytest

from apps.web.exposure import host_name, is_loopback
from apps.web.origins import KnownHosts, TrustedProxies
from tests.safety.conftest import Start

CALL = "/gradio_api/queue/join"


async def nothing(*_: object) -> None:
    raise AssertionError("not reached")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("Example.org:80", "example.org"),
        ("127.0.0.1:7860", "127.0.0.1"),
        ("[::1]:7860", "::1"),
        ("localhost.", "localhost"),
        ("a:b", ""),
        ("[::1]x", ""),
        ("", ""),
    ],
)
def test_the_name_in_a_host_header(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize("host", ["127.0.0.1", "127.5.5.5", "localhost", "::1", "[::1]"])
def test_addresses_of_this_machine_alone(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", "", "127.0.0.1.example.org"])
def test_addresses_that_others_reach(host: str) -> None:
    assert not is_loopback(host)


def test_a_foreign_name_that_points_here_is_refused(start: Start) -> None:
    app = start(hosts=("lab.example.org",))
    with app.client() as client:
        for host in ("evil.example", "evil.example:7860", "127.0.0.1.evil.example", "10.0.0.1", ""):
            assert client.get("/", headers={"Host": host}).status_code in (400, 421), host
        for host in ("localhost:1234", "127.0.0.1", "[::1]:7860", "lab.example.org", "LAB.example.org:443"):
            assert client.get("/", headers={"Host": host}).status_code == 200, host
    assert app.pages.calls == []


def test_on_an_open_address_names_must_be_known() -> None:
    hosts = KnownHosts(nothing, "0.0.0.0", ["lab.example.org"])
    assert hosts.knows("lab.example.org") and hosts.knows("192.168.1.4:7860") and hosts.knows("localhost")
    assert not hosts.knows("evil.example")


CROSS = [
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"},  # another program's port on this machine
    {"Origin": "https://evil.example"},  # a browser that sends no Sec-Fetch-*
    {"Origin": "null"},  # a sandboxed frame, a file
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},  # a form
    {"Sec-Fetch-Site": "cross-site"},
]


@pytest.mark.parametrize("headers", CROSS)
def test_changes_from_other_sites_are_refused(start: Start, headers: dict[str, str]) -> None:
    app = start()
    with app.client() as client:
        for path in (CALL, "/gradio_api/upload", "/login", "/logout"):
            answer = client.post(path, json={"data": []}, headers=headers)
            assert answer.status_code == 403, path
            assert "access-control-allow-origin" not in answer.headers
    assert app.pages.calls == []


def test_the_page_itself_may_call(start: Start) -> None:
    app = start()
    for headers in ({"Sec-Fetch-Site": "same-origin", "Origin": app.url}, {"Origin": app.url}, {}):
        with app.client() as client:
            assert client.post(CALL, json={"data": []}, headers=headers).status_code == 200
    assert len(app.pages.calls) == 3


def test_other_sites_may_link_here_and_read_nothing(start: Start) -> None:
    app = start()
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    with app.client() as client:
        assert client.get("/", headers=visit).status_code == 200
        for part in (
            {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
            {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
            {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        ):
            assert client.get("/", headers={**visit, **part}).status_code == 403


def test_a_preflight_of_another_site_is_refused_and_that_of_a_listed_one_is_not(start: Start) -> None:
    app = start(origins=("https://lab.example.org",))
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    with app.client() as client:
        refused = client.options(CALL, headers={"Origin": "https://evil.example", **ask})
        assert "access-control-allow-origin" not in refused.headers
        listed = {"Origin": "https://lab.example.org", "Sec-Fetch-Site": "cross-site"}
        answer = client.options(CALL, headers={**listed, **ask})
        assert answer.headers["access-control-allow-origin"] == "https://lab.example.org"
        assert client.post(CALL, json={"data": []}, headers=listed).status_code == 200


async def seen_by(proxies: list[str], client: str, headers: dict[bytes, bytes]) -> dict[str, object]:
    seen: dict[str, object] = {}

    async def app(scope: dict, receive: object, send: object) -> None:  # type: ignore[type-arg]
        seen.update(scope)

    scope = {"type": "http", "client": (client, 1), "scheme": "http", "headers": list(headers.items())}
    await TrustedProxies(app, proxies)(scope, None, None)  # type: ignore[arg-type]
    return seen


FORWARDED = {
    b"x-forwarded-for": b"6.6.6.6",
    b"x-forwarded-proto": b"https",
    b"x-forwarded-host": b"evil.example",
    b"host": b"h",
}


@pytest.mark.anyio
@pytest.mark.parametrize("client", ["203.0.113.9", "testclient"])
async def test_strangers_are_not_believed_on_who_they_are(client: str) -> None:
    seen = await seen_by(["10.0.0.0/8"], client, FORWARDED)
    assert seen["headers"] == [(b"host", b"h")]
    assert seen["client"] == (client, 1) and seen["scheme"] == "http"


@pytest.mark.anyio
async def test_a_proxy_of_ours_is_believed_on_who_asks_and_not_on_our_name() -> None:
    seen = await seen_by(["10.0.0.0/8"], "10.1.2.3", FORWARDED)
    assert seen["client"] == ("6.6.6.6", 0) and seen["scheme"] == "https"
    assert b"x-forwarded-host" not in dict(seen["headers"])  # type: ignore[call-overload]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
