"""Viewers without a browser: which one shows what, what its frame may do, and what hostile names become."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import time
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from apps.studio.viewers import VIEWERS, page_script, viewer_for
from apps.studio.viewers import sketch as sketch_module
from apps.studio.viewers.contents import format_of
from apps.studio.viewers.libraries import (
    MOLSTAR,
    NIIVUE,
    THREE,
    Library,
    Unknown,
    inline,
    molstar,
    three,
    widget,
)
from apps.studio.viewers.page import FOLDER
from apps.studio.viewers.routes import viewer_routes
from apps.studio.viewers.sketch import MAX_SKETCH_BYTES
from apps.studio.viewers.viewer import Viewer
from tests.browser import viewer_files as files
from tests.browser.viewer_page import Shown

ABSENT = Library("a_package_that_is_not_there", "x.js", False, str)
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)> '&lt; {{x}}"
SCRIPT = re.compile(rb"<script[^>]*>(.*?)</script>", re.DOTALL)
MAKERS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "a.png": ("image", files.png),
    "a.gif": ("film", files.gif),
    "a.webp": ("film", files.webp),
    "a.mp4": ("film", files.mp4),
    "a.wav": ("audio", files.wav),
    "a.sdf": ("molecule", files.sdf),
    "a.pdb": ("molecule", files.pdb),
    "a.nii": ("volume", files.nifti),
    "a.nii.gz": ("volume", files.nifti),
    "a.glb": ("mesh", files.glb),
    "a.obj": ("mesh", files.obj),
    "a.ply": ("mesh", files.ply),
    "text.ply": ("mesh", files.points_ply),
    "splats.ply": ("mesh", files.splat_ply),
}


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    app.include_router(viewer_routes())
    return TestClient(app)


def made(maker: Callable[[Path], Path], path: Path) -> Path:
    try:
        return maker(path)
    except ImportError as missing:
        pytest.skip(f"needs {missing.name} to write this file")


# ---- which viewer ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_the_viewer_is_told_by_content_whatever_the_name_says(tmp_path: Path, name: str) -> None:
    viewer, maker = MAKERS[name]
    path = made(maker, tmp_path / name)
    disguised = path.rename(tmp_path / "table.csv")
    found = viewer_for(Shown(disguised))
    assert found is not None and found.name == viewer
    assert format_of(disguised) in found.formats


def test_other_still_formats_and_the_rest(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("still.jpg", "still.webp"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / name)
        assert viewer_for(Shown(tmp_path / name)) is VIEWERS["image"]
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moves.png", save_all=True, append_images=frames[1:], duration=90)
    assert viewer_for(Shown(tmp_path / "moves.png")) is VIEWERS["film"]
    texts = {
        "molecule.xyz": ("3\nwater\nO 0.0 0.0 0.1\nH 0.0 0.76 -0.5\nH 0.0 -0.76 -0.5\n", "molecule"),
        "model.cif": ("data_x\nloop_\n_atom_site.group_PDB\n_atom_site.id\nATOM 1\n", "molecule"),
        "table.csv": ("time,v\n1,2\n", None),
        "readme.txt": ("v is the speed\nATOM by atom\ndata_ of\n", None),
        "page.html": ("<script>alert(1)</script>", None),
        "empty": ("", None),
    }
    for name, (text, viewer) in texts.items():
        (tmp_path / name).write_text(text, "utf-8")
        found = viewer_for(Shown(tmp_path / name))
        assert (found.name if found else None) == viewer, name


def test_json_is_a_plot_only_where_its_task_says_so(tmp_path: Path) -> None:
    path = files.plot(tmp_path / "figure.json")
    assert viewer_for(Shown(path, "plot")) is VIEWERS["plot"]
    assert viewer_for(Shown(path, "table")) is None


def test_no_file_no_viewer(tmp_path: Path) -> None:
    assert viewer_for(Shown(tmp_path / "gone.png", "image")) is None
    assert viewer_for(Shown(tmp_path, "image")) is None


@pytest.mark.parametrize(
    "line", [b"v 1 1 " + b"1" * 200, b"data_", b"ATOM  ", b"1\n" * 3, b"v" + b" 1" * 900, b"\n"]
)
def test_hostile_text_is_told_apart_in_no_time(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "text"
    path.write_bytes(line * (70_000 // len(line)))
    began = time.process_time()
    format_of(path)
    assert time.process_time() - began < 0.5


# ---- the element -------------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """All tags with their attributes, as a browser would read them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("name", VIEWERS)
def test_hostile_names_stay_text(name: str) -> None:
    address = f"results/1/{HOSTILE}"
    beside = (address, HOSTILE) if VIEWERS[name].compares else None
    for viewer in (VIEWERS[name], replace(VIEWERS[name], libraries=(ABSENT,))):
        tags = Tags(viewer.html(address, HOSTILE, beside)).found
        assert {tag for tag, _ in tags} <= {"langevin-viewer", "div", "p", "a", "code"}
        assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
        link = next(attributes for tag, attributes in tags if tag == "a")
        assert link["href"] == address and "download" in link
        if tags[0][0] == "langevin-viewer":
            assert tags[0][1]["data-title"] == HOSTILE and tags[0][1]["data-src"] == address


def test_only_pictures_are_compared() -> None:
    with pytest.raises(ValueError, match="one file at a time"):
        VIEWERS["mesh"].html("a", "a", ("b", "b"))


def test_a_missing_package_is_named_and_the_file_still_offered() -> None:
    text = replace(VIEWERS["volume"], libraries=(ABSENT,)).html("results/1/brain.nii", "Brain")
    words = html.unescape(re.sub("<[^>]+>", "", text))
    assert "pip install 'langevin[viewers]'" in words and ABSENT.package in words
    assert 'href="results/1/brain.nii"' in text and "<langevin-viewer" not in text


# ---- the frame ---------------------------------------------------------------------------------------------------


def rules_of(policy: str) -> dict[str, list[str]]:
    return {rule.split(" ")[0]: rule.split(" ")[1:] for rule in policy.split("; ")}


@pytest.mark.parametrize("name", VIEWERS)
def test_a_frame_may_ask_no_host_and_run_no_script_but_its_own(client: TestClient, name: str) -> None:
    if VIEWERS[name].missing():
        pytest.skip(f"needs {VIEWERS[name].missing()}")
    answer = client.get(f"/viewers/frame/{name}")
    rules = rules_of(answer.headers["content-security-policy"])
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == ["'none'"]
    assert rules["sandbox"] == ["allow-scripts"]
    assert rules["frame-ancestors"] == ["'self'"]
    sources = [
        source
        for rule, found in rules.items()
        for source in found
        if rule not in ("sandbox", "frame-ancestors")
    ]
    allowed = {"'none'", "'unsafe-inline'", "'unsafe-eval'", "blob:", "data:"}
    assert {source for source in sources if not source.startswith("'sha256-")} <= allowed
    assert "'unsafe-inline'" not in rules["script-src"] and "blob:" not in rules["script-src"]
    # The hashes are those of the scripts in the document, as a browser computes them, and of no other.
    scripts = SCRIPT.findall(answer.content)
    digests = {base64.b64encode(hashlib.sha256(script).digest()).decode() for script in scripts}
    assert {f"'sha256-{digest}'" for digest in digests} == {
        s for s in rules["script-src"] if s.startswith("'sha256")
    }
    viewer = VIEWERS[name]
    assert len(scripts) == 2 + len(viewer.libraries) + len(viewer.scripts) and b"\r" not in answer.content
    assert not re.search(
        rb"<(script|link|img|iframe)[^>]*(src|href)=", answer.content.partition(b"<script")[0]
    )


def test_a_frame_lies_in_the_pages_that_may_show_the_app() -> None:
    app = FastAPI()
    app.include_router(viewer_routes(("https://lab.example.org",)))
    policy = TestClient(app).get("/viewers/frame/image").headers["content-security-policy"]
    assert rules_of(policy)["frame-ancestors"] == ["'self'", "https://lab.example.org"]


def test_a_frame_is_sent_once_and_packed(client: TestClient) -> None:
    first = client.get("/viewers/frame/image", headers={"accept-encoding": "gzip"})
    assert first.headers["content-encoding"] == "gzip"
    plain = client.get("/viewers/frame/image", headers={"accept-encoding": "identity"})
    assert plain.content == first.content and "content-encoding" not in plain.headers
    again = client.get("/viewers/frame/image", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304 and not again.content
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]


def test_frames_that_are_not_there(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get("/viewers/frame/none").status_code == 404
    assert client.get("/viewers/frame/..%2f..%2fpage").status_code == 404
    monkeypatch.setitem(VIEWERS, "lost", Viewer("lost", "thing", frozenset(), 1, libraries=(ABSENT,)))
    answer = client.get("/viewers/frame/lost")
    assert answer.status_code == 503 and ABSENT.package in answer.json()["error"]


def test_our_scripts_name_no_host_and_give_frames_no_origin() -> None:
    for script in FOLDER.glob("*.js"):
        text = script.read_text("utf-8")
        assert not re.search(r"(https?|wss?):\\?/\\?/|['\"]//", text), script.name
        assert "innerHTML" not in text and "document.write" not in text, script.name
    assert 'sandbox: "allow-scripts"' in page_script() and "allow-same-origin" not in page_script()


# ---- scripts of others -------------------------------------------------------------------------------------------


def test_scripts_of_others_are_taken_only_as_we_know_them() -> None:
    assert molstar("var q=1;q9$.Viewer.create(e,o);var r={};export{r as default};").endswith(
        "globalThis.molstar=q9$;"
    )
    assert widget("var w={};export{w as default};") == "var w={};globalThis.widget=w;"
    page = "<script>var THREE={};THREE.GLTFLoader=GLTFLoader;var camera,controls;init();</script>"
    assert three(page) == "var THREE={};THREE.GLTFLoader=GLTFLoader;"
    for adapt in (molstar, widget, three):
        with pytest.raises(Unknown):
            adapt("<script>alert(1)</script>; export const x = 1;")


def test_a_script_cannot_end_the_element_that_holds_it() -> None:
    assert inline('x = "</SCRIPT><!--";\r\ny') == 'x = "<\\/SCRIPT><\\!--";\ny'


@pytest.mark.parametrize("library", [MOLSTAR, NIIVUE, THREE], ids=lambda library: library.package)
def test_the_installed_scripts_are_as_we_know_them(library: Library) -> None:
    try:
        code = library.code()
    except FileNotFoundError:
        pytest.skip(f"{library.package} is not installed")
    assert len(code) > 500_000 and "</script" not in code.lower()
    assert not re.search(r"export\s*\{[^}]* as default", code)


# ---- flat drawings -----------------------------------------------------------------------------------------------


def test_molecules_are_drawn_flat_in_their_order(client: TestClient, tmp_path: Path) -> None:
    data = made(files.sdf, tmp_path / "two.sdf").read_bytes()
    drawn = client.post("/viewers/sketch", content=data.replace(b"caffeine", b"<script>")).json()["sketches"]
    assert len(drawn) == 2 and all("<svg" in picture and "<script" not in picture for picture in drawn)
    # Caffeine has four nitrogens, aspirin none; RDKit writes the atoms' colours into the drawing.
    assert "#0000FF" in drawn[0] and "#0000FF" not in drawn[1]


def test_what_cannot_be_drawn_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rdkit")
    assert client.post("/viewers/sketch", content=b"no\nmolecule\nat\nall\n$$$$\n").json() == {
        "sketches": [""]
    }
    assert client.post("/viewers/sketch", content=bytes(MAX_SKETCH_BYTES + 1)).status_code == 413
    monkeypatch.setattr(sketch_module, "_SECONDS", 0.001)
    assert client.post("/viewers/sketch", content=b"slow").status_code == 422
    monkeypatch.setattr(sketch_module.importlib.util, "find_spec", lambda name: None)
    assert "pip install rdkit" in client.post("/viewers/sketch", content=b"another").json()["error"]
