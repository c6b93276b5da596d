"""Who comes in: logins, sessions, guests, rates; and whose files and sessions are whose."""

from __future__ import annotations

import os
import time
from pathlib import Path

import httpx
import pytest

from apps.web.calls import is_own_file, owner_folder
from apps.web.door import SESSION, VISITOR, Cookies, address_of
from apps.web.owners import guest, owner_of
from apps.web.sessions import Sessions
from tests.safety.conftest import PASSWORD, Running, Start

CALL, UPLOAD = "/gradio_api/queue/join", "/gradio_api/upload"
PAGE = {"Accept": "text/html"}


def log_in(
    client: httpx.Client, name: str = "ada", password: str = PASSWORD, **headers: str
) -> httpx.Response:
    return client.post("/login", data={"username": name, "password": password}, headers=headers)


# ---------------------------------------------------------------- login


def test_without_users_everybody_is_local(start: Start) -> None:
    app = start()
    with app.client() as client:
        assert client.get("/").json() == {"owner": "local"}
        assert client.get("/login").status_code == 303
        assert not client.cookies


def test_nobody_comes_in_without_login(start: Start, hashes: dict[str, str]) -> None:
    app = start(users=hashes)
    with app.client() as client:
        visit = client.get("/?tab=lab", headers=PAGE)
        assert (visit.status_code, visit.headers["location"]) == (303, "login?to=%3Ftab%3Dlab")
        for path in (
            "/",
            "/config",
            "/gradio_api/info",
            "/gradio_api/heartbeat/abc",
            "/gradio_api/queue/data",
            "/results/a/b",
            "/gradio_api/mcp/",
        ):
            assert client.get(path).status_code == 401, path
        for path in (CALL, UPLOAD, "/gradio_api/cancel", "/logout", "/gradio_api/mcp/"):
            assert client.post(path, json={}).status_code == 401, path
        assert client.get("/healthz").status_code == 200
    assert app.pages.calls == []


def test_a_person_logs_in_and_out(start: Start, hashes: dict[str, str]) -> None:
    app = start(users=hashes)
    with app.client() as client:
        form = client.get("/login?to=%3Ftab%3Dlab", headers=PAGE)
        assert 'action="login?to=%3Ftab%3Dlab"' in form.text
        assert "script" not in form.headers["content-security-policy"]
        answer = client.post(
            "/login?to=%3Ftab%3Dlab", data={"username": " Ada ", "password": PASSWORD}, headers=PAGE
        )
        assert (answer.status_code, answer.headers["location"]) == (303, "./?tab=lab")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie
        assert client.get("/").json() == {"owner": "ada"}
        token = client.cookies[SESSION]
        assert client.post("/logout").status_code == 303
        assert client.get("/", headers={"Cookie": f"{SESSION}={token}"}).status_code == 401


def test_a_script_logs_in_as_gradios_client_does(start: Start, hashes: dict[str, str]) -> None:
    app = start(users=hashes)
    with app.client() as client:
        answer = log_in(client)
        assert answer.status_code == 200 and answer.json()["success"] is True
    with app.client(headers={"Authorization": f"Bearer {answer.json()['token']}"}) as client:
        assert client.get("/").json() == {"owner": "ada"}


@pytest.mark.parametrize(
    "to",
    ["https://evil.example", "//evil.example", "/\\evil", "javascript:alert(1)", "?a\nb", "?" + "a" * 600],
)
def test_a_login_leads_nowhere_else(start: Start, hashes: dict[str, str], to: str) -> None:
    app = start(users=hashes)
    with app.client() as client:
        answer = client.post(
            "/login", params={"to": to}, data={"username": "ada", "password": PASSWORD}, headers=PAGE
        )
        assert answer.headers["location"] == "./"


def test_markup_in_the_address_is_text_on_the_login_page(start: Start, hashes: dict[str, str]) -> None:
    app = start(users=hashes)
    with app.client() as client:
        page = client.get("/login", params={"to": '?"><script>alert(1)</script>'}, headers=PAGE).text
    assert "<script" not in page


@pytest.mark.parametrize(
    ("name", "password"), [("ada", "wrong"), ("eve", PASSWORD), ("", ""), ("ada", ""), ("a\0da", "x")]
)
def test_wrong_logins_are_told_the_same(
    start: Start, hashes: dict[str, str], name: str, password: str
) -> None:
    app = start(users=hashes)
    with app.client() as client:
        answer = log_in(client, name, password)
        assert (answer.status_code, answer.json()["error"]) == (401, "name or password is wrong")
        assert not client.cookies


def test_an_unknown_name_takes_as_long_as_a_known_one(start: Start, hashes: dict[str, str]) -> None:
    app = start(users=hashes, logins_per_quarter_hour=1000)
    took = {}
    with app.client() as client:
        for name in ("ada", "eve"):
            times = []
            for _ in range(5):
                began = time.perf_counter()
                log_in(client, name, "wrong")
                times.append(time.perf_counter() - began)
            took[name] = min(times)
    assert 0.4 < took["ada"] / took["eve"] < 2.5


def test_guessing_is_stopped_by_name_and_by_address(start: Start, hashes: dict[str, str]) -> None:
    app = start(users=hashes, logins_per_quarter_hour=3)
    with app.client() as client:
        assert [log_in(client, "ada", "wrong").status_code for _ in range(3)] == [401, 401, 401]
        late = log_in(client, "ada", PASSWORD)
        assert late.status_code == 429 and int(late.headers["retry-after"]) > 60
        assert log_in(client, "bob", PASSWORD).status_code == 200  # the same office
        guesses = [log_in(client, f"user{i}", "wrong").status_code for i in range(15)]
        assert guesses == [401] * 11 + [429] * 4  # one password, many names
        form = client.post("/login", data={"username": "bob", "password": PASSWORD}, headers=PAGE)
        assert form.status_code == 429 and "too many attempts" in form.text


def test_who_logs_in_often_is_not_locked_out(start: Start, hashes: dict[str, str]) -> None:
    app = start(users=hashes, logins_per_quarter_hour=2)
    with app.client() as client:
        for _ in range(2):
            assert log_in(client, "ada", "wrong").status_code == 401
            assert [log_in(client).status_code for _ in range(2)] == [200, 200]


def test_a_session_is_kept_as_a_hash_survives_a_restart_and_ends_with_its_password(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    first = Sessions(file)
    token = first.begin("ada", "hash")
    first.close()
    assert token.encode() not in file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0
    second = Sessions(file)
    assert second.user(token, {"ada": "hash"}) == "ada"
    assert second.user(token, {"ada": "another hash"}) is None
    assert second.user(token, {}) is None
    assert second.user("", {"ada": "hash"}) is None
    second.end(token)
    assert second.user(token, {"ada": "hash"}) is None
    short = Sessions(None, days=-1)
    assert short.user(short.begin("ada", "hash"), {"ada": "hash"}) is None


# ---------------------------------------------------------------- guests


def test_each_visitor_of_an_open_app_is_somebody_else(start: Start) -> None:
    app = start(profile="hosted", open_to_all=True)
    owners = []
    for _ in range(2):
        with app.client() as client:
            owner = client.get("/").json()["owner"]
            assert owner.startswith("guest-") and owner == guest(client.cookies[VISITOR])
            assert client.get("/").json()["owner"] == owner
            assert client.cookies[VISITOR] not in owner
            owners.append(owner)
    assert len(set(owners)) == 2


@pytest.mark.parametrize("forged", ["", "short", "a" * 44, "../../../etc/passwd", "x" * 4000])
def test_a_visitor_does_not_choose_their_secret_badly(start: Start, forged: str) -> None:
    app = start(profile="hosted", open_to_all=True)
    with app.client() as client:
        answer = client.get("/", headers={"Cookie": f"{VISITOR}={forged}"})
        assert VISITOR in answer.headers["set-cookie"]
        assert answer.json()["owner"] != guest(forged)


def test_new_visitors_from_one_address_are_counted(start: Start) -> None:
    app = start(profile="hosted", open_to_all=True, guests_per_hour=3)
    seen = []
    for _ in range(5):
        with app.client() as client:
            seen.append(client.get("/").status_code)
    assert seen == [200, 200, 200, 429, 429]


@pytest.mark.parametrize(
    ("framed", "scheme", "want"),
    [(False, "http", "Strict"), (False, "https", "Strict; Secure"), (True, "https", "None; Secure")],
)
def test_cookies(framed: bool, scheme: str, want: str) -> None:
    header = Cookies(1.0, framed).header("name", "value", scheme)
    parts = {part.strip() for part in header.split(";")}
    assert {"HttpOnly", "Path=/", "Max-Age=86400", f"SameSite={want.split(';')[0]}"} <= parts
    assert ("Secure" in parts) == ("Secure" in want) and ("Partitioned" in parts) == framed


# ---------------------------------------------------------------- rates


def test_requests_and_uploads_are_counted(start: Start) -> None:
    app = start(requests_per_minute=5)
    with app.client() as client:
        statuses = [client.get("/").status_code for _ in range(7)]
        assert statuses == [200] * 5 + [429] * 2
        assert client.get("/healthz").status_code == 200


def test_uploads_are_counted_by_number_and_by_size(start: Start) -> None:
    app = start(uploads_per_hour=3)
    with app.client() as client:
        sent = [client.post(UPLOAD, files={"files": ("a.csv", b"a")}).status_code for _ in range(4)]
    assert sent == [200, 200, 200, 429]


def test_uploads_are_counted_by_size(start: Start) -> None:
    app = start(upload_megabytes_per_hour=5)
    with app.client() as client:
        sent = [
            client.post(UPLOAD, files={"files": ("a.csv", b"a" * (2 << 20))}).status_code for _ in range(2)
        ]
    assert sent == [200, 429]


def test_neighbours_of_an_ipv6_address_count_as_one() -> None:
    first, second, other = (
        address_of({"client": (a, 1)}) for a in ("2001:db8::1", "2001:db8::ffff", "2001:db8:1::1")
    )
    assert first == second != other
    assert address_of({"client": ("203.0.113.9", 1)}) == "203.0.113.9"
    assert address_of({"client": None}) == "unknown"


# ---------------------------------------------------------------- files and sessions


def uploaded(client: httpx.Client, name: str, data: bytes) -> str:
    answer = client.post(UPLOAD, files={"files": (name, data)})
    assert answer.status_code == 200
    return str(answer.json()[0])


def two(app: Running) -> tuple[httpx.Client, httpx.Client]:
    clients = app.client(), app.client()
    for client, name in zip(clients, ("ada", "bob"), strict=True):
        assert log_in(client, name).status_code == 200
    return clients


def test_the_files_of_another_are_out_of_reach_by_any_path(
    start: Start, hashes: dict[str, str], tmp_path: Path
) -> None:
    app = start(users=hashes)
    ada, bob = two(app)
    path = uploaded(ada, "secret.csv", b"1,2")
    same = uploaded(bob, "secret.csv", b"1,2")
    assert Path(path).read_bytes() == b"1,2" and path != same
    assert ada.get(f"/gradio_api/file={path}").status_code == 200
    link = Path(same).with_name("link.csv")
    link.symlink_to(path)
    folder = owner_folder(app.uploads, "bob")
    for hidden in (
        path,
        f"{folder}/../{Path(path).parent.parent.name}/{Path(path).parent.name}/secret.csv",
        str(link),
        "/etc/passwd",
        "etc/passwd",
        "C:\\Windows\\win.ini",
        "..\\..\\secret.csv",
        str(folder),
        str(app.uploads),
        "https://example.org/x",
        "file:///etc/passwd",
        str(tmp_path / "home" / "jobs.db"),
    ):
        assert bob.get(f"/gradio_api/file={hidden}").status_code in (403, 404), hidden
        call = {"data": [{"path": hidden, "meta": {"_type": "gradio.FileData"}}]}
        assert bob.post(CALL, json=call).status_code == 403, hidden
        assert bob.post(CALL, json={"data": [[{"path": hidden, "url": None}]]}).status_code == 403, hidden
    assert app.pages.calls == [path.lstrip("/")] or app.pages.calls == [path]


@pytest.mark.parametrize("path", [None, 3, "", "\0", "a\0b", "x" * 5000, "~", [], {}])
def test_what_is_no_path_is_nobodys_file(path: object, tmp_path: Path) -> None:
    assert not is_own_file(path, tmp_path, "ada")


def test_a_folder_beside_with_the_same_beginning_is_not_ones_own(tmp_path: Path) -> None:
    folder = owner_folder(tmp_path, "ada")
    beside = Path(f"{folder}x")
    beside.mkdir()
    (beside / "a").write_text("a")
    assert not is_own_file(str(beside / "a"), tmp_path, "ada")


def test_a_session_belongs_to_who_used_it_first(start: Start, hashes: dict[str, str]) -> None:
    app = start(users=hashes)
    ada, bob = two(app)
    assert ada.post(CALL, json={"data": [], "session_hash": "abc123"}).status_code == 200
    assert bob.post(CALL, json={"data": [], "session_hash": "abc123"}).status_code == 403
    assert (
        bob.post(
            "/gradio_api/cancel", json={"session_hash": "abc123", "fn_index": 0, "event_id": "x"}
        ).status_code
        == 403
    )
    assert bob.get("/gradio_api/queue/data", params={"session_hash": "abc123"}).status_code == 403
    assert bob.get("/gradio_api/heartbeat/abc123").status_code == 403
    assert ada.get("/gradio_api/heartbeat/abc123").status_code == 200
    assert bob.post(CALL, json={"data": [], "session_hash": "bobs"}).status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "../../evil.csv",
        "/etc/evil.csv",
        "..\\evil.csv",
        "C:\\evil.csv",
        "a\0b.csv",
        "x" * 300 + ".csv",
        ".",
        "..",
        "CON",
        "<img src=x onerror=alert(1)>.csv",
    ],
)
def test_the_name_of_an_upload_makes_no_path(start: Start, name: str) -> None:
    app = start()
    body = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n1\r\n--x--\r\n'
        % name.encode()
    )
    before = set(app.uploads.parent.rglob("*"))
    with app.client() as client:
        answer = client.post(
            UPLOAD, content=body, headers={"Content-Type": "multipart/form-data; boundary=x"}
        )
    assert answer.status_code in (200, 400)
    made = {
        path
        for path in set(app.uploads.parent.rglob("*")) - before
        if path.is_file() and "home" not in path.parts
    }
    folder = os.path.realpath(owner_folder(app.uploads, "local"))
    assert all(os.path.realpath(path).startswith(folder + os.sep) for path in made)
    assert not any(set("<>\\\0") & set(path.name) for path in made)


def test_a_request_without_an_owner_is_a_fault_of_ours() -> None:
    class Bare:
        scope: dict[str, object] = {"type": "http"}  # noqa: RUF012

    assert owner_of(None) == "local"
    with pytest.raises(PermissionError):
        owner_of(Bare())
