"""Models from a hub: what comes and what does not, interruptions, wrong hashes, gates, and what is told about us."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from safetensors.numpy import save

from domains.common.errors import BadInput, Cancelled
from domains.common.hub import CHUNK, is_data, make_plan
from domains.common.hub_download import fetch
from domains.common.installed_models import (
    discard_unfinished,
    find_installed,
    installed_models,
    models_folder,
    remove_installed,
    safe_path,
    unfinished,
)
from domains.common.models import find_model, usable_models
from tests.common.hub_server import COMMIT, Hub, Repo, running_hub

pytest.importorskip("huggingface_hub")
WEIGHTS = save({"w": np.arange(500_000, dtype=np.float32), "b": np.zeros(7, np.float32)})
CONFIG = b'{"_class_name": "UNet2DModel", "sample_size": 32}'


class _Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, ("harm",))


def repo(**given: object) -> Repo:
    return Repo(
        {
            "unet/diffusion_pytorch_model.safetensors": WEIGHTS,
            "unet/config.json": CONFIG,
            "tokenizer/vocab.txt": "a\nb\nü\n".encode(),
            "tokenizer/tokenizer.model": b"\x0a\x0b\x0c\xff" * 9,
            "unet/diffusion_pytorch_model.bin": pickle.dumps(_Harm()),
            "modeling.py": b"import os; os.abort()",
            ".gitattributes": b"*.bin filter=lfs",
            "README.md": b"# a model",
        },
        **given,  # type: ignore[arg-type]
    )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub of this machine, which stands for the public one; no token of this machine's user is used."""
    from huggingface_hub import constants

    with running_hub() as made:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nonexistent/token")
        made.repos["ann/small"] = repo()
        yield made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where models are installed."""
    return tmp_path / "models"


def test_data_comes_and_code_and_pickles_do_not(hub: Hub, root: Path) -> None:
    plan = make_plan("ann/small")
    assert plan.commit == COMMIT and plan.licence == "apache-2.0" and plan.brings_code and not plan.gated
    assert plan.bytes == len(WEIGHTS) + len(CONFIG) + 7 + 36
    assert not hub.files_asked(), "a plan downloads nothing"
    seen: list[tuple[int, int, str]] = []
    model = fetch(plan, root, lambda *moment: seen.append(moment))
    came = {path.relative_to(model.folder).as_posix() for path in model.folder.rglob("*") if path.is_file()}
    assert came == {*(file.path for file in plan.files), ".langevin.json"}
    assert not any(path.endswith((".bin", ".py", ".md")) for path in [*came, *hub.files_asked()])
    assert (model.folder / "unet/diffusion_pytorch_model.safetensors").read_bytes() == WEIGHTS
    assert model.files["unet/config.json"].sha256 == hashlib.sha256(CONFIG).hexdigest()
    assert all(COMMIT in path for path in hub.files_asked()), "the commit is asked for, not the branch"
    done = [moment[0] for moment in seen]
    assert done == sorted(done) and done[-1] == plan.bytes == seen[0][1]
    assert installed_models(root) == {"ann--small": model} and model.problem() is None
    assert not unfinished(root)


def test_an_interrupted_download_goes_on_where_it_stopped(hub: Hub, root: Path) -> None:
    plan, cancel = make_plan("ann/small"), Event()
    large = "unet/diffusion_pytorch_model.safetensors"
    hub.slow.clear()  # half of each file comes, then nothing

    def stop(done: int, total: int, file: str) -> None:
        if file == large and done >= len(WEIGHTS) // 4:
            cancel.set()
            hub.slow.set()

    with pytest.raises(Cancelled):
        fetch(plan, root, stop, cancel)
    assert not installed_models(root), "nothing half is to be seen"
    (name,) = unfinished(root)
    part = root / ".incoming" / name / "unet" / ".diffusion_pytorch_model.safetensors.part"
    came = part.stat().st_size
    assert CHUNK <= came < len(WEIGHTS)
    hub.asked.clear()
    model = fetch(make_plan("ann/small"), root)
    assert model.problem() is None
    (again,) = [item for item in hub.asked if item.path.endswith(large) and item.method == "GET"]
    assert again.headers["range"] == f"bytes={came}-"


def test_a_dropped_connection_is_taken_up_in_the_same_run(hub: Hub, root: Path) -> None:
    hub.repos["ann/small"].cut["unet/diffusion_pytorch_model.safetensors"] = 2 * CHUNK + 50_000
    model = fetch(make_plan("ann/small"), root)
    assert model.problem() is None
    ranges = [item.headers.get("range") for item in hub.asked if item.path.endswith("model.safetensors")]
    assert ranges == [None, f"bytes={2 * CHUNK}-"]


def test_what_came_already_is_not_asked_for_again(hub: Hub, root: Path) -> None:
    hub.repos["ann/small"].lies["unet/config.json"] = CONFIG[::-1]
    with pytest.raises(BadInput):
        fetch(make_plan("ann/small"), root)
    hub.repos["ann/small"].lies.clear()
    hub.asked.clear()
    assert fetch(make_plan("ann/small"), root).problem() is None
    assert not any(path.endswith(".safetensors") for path in hub.files_asked())


@pytest.mark.parametrize(
    "path", ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "tokenizer/tokenizer.model"]
)
def test_a_wrong_hash_is_refused_and_nothing_is_installed(hub: Hub, root: Path, path: str) -> None:
    true = hub.repos["ann/small"].files[path]
    hub.repos["ann/small"].lies[path] = true[:-1] + bytes([true[-1] ^ 1])
    with pytest.raises(BadInput, match=f"{path} does not have the hash that the hub states"):
        fetch(make_plan("ann/small"), root)
    assert not installed_models(root)
    assert not list(root.rglob("*.part")), "what is wrong is not gone on with"


def test_a_file_longer_than_stated_ends_the_download(hub: Hub, root: Path) -> None:
    hub.repos["ann/small"].sizes["unet/diffusion_pytorch_model.safetensors"] = 1000
    with pytest.raises(BadInput):
        fetch(make_plan("ann/small"), root)
    assert not installed_models(root)
    assert not [path for path in root.rglob("*") if path.is_file() and path.stat().st_size > CHUNK]


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("data.pkl", pickle.dumps(_Harm()))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("model.safetensors", pickle.dumps(_Harm())),
        ("model.safetensors", zipped()),
        ("config.json", pickle.dumps(_Harm())),
        ("vocab.txt", zipped()),
        ("tokenizer.model", pickle.dumps(_Harm())),
        ("tokenizer.model", zipped()),
        ("config.json", b"\x7fELF" + bytes(80)),
    ],
)
def test_a_pickle_by_another_name_is_refused(hub: Hub, root: Path, path: str, data: bytes) -> None:
    hub.repos["eve/bad"] = Repo({path: data})
    with pytest.raises(BadInput, match=path):
        fetch(make_plan("eve/bad"), root)
    assert not installed_models(root) and not Path("harm").exists()


@pytest.mark.parametrize(
    "path",
    ["../out.json", "/etc/x.json", "a/../../x.json", "C:/x.json", "a\\x.json", "a//x.json", ".hidden/x.json",
     "x\u202e.json", "con:.json", "a/" * 9 + "x.json", "x" * 201 + ".json"],
)  # fmt: skip
def test_a_path_that_leaves_its_folder_is_refused(hub: Hub, path: str) -> None:
    assert is_data(path) and not safe_path(path)
    hub.repos["eve/bad"] = Repo({path: b"{}"})
    with pytest.raises(BadInput, match="names a file oddly"):
        make_plan("eve/bad")


def test_names_that_some_file_systems_take_for_one_are_refused(hub: Hub) -> None:
    hub.repos["eve/bad"] = Repo({"a.json": b"{}", "A.json": b"[]"})
    with pytest.raises(BadInput, match="two files alike"):
        make_plan("eve/bad")


def test_the_size_is_bounded_before_anything_comes(hub: Hub) -> None:
    with pytest.raises(BadInput, match="at most 100 KB are downloaded"):
        make_plan("ann/small", limit=100 << 10)
    plan = make_plan("ann/small", only=["tokenizer/*"], limit=100 << 10)
    assert [file.path for file in plan.files] == ["tokenizer/vocab.txt", "tokenizer/tokenizer.model"]
    hub.repos["eve/bad"] = Repo({"config.json": b"{}"}, sizes={"config.json": 1 << 40})
    with pytest.raises(BadInput, match="too much for what it is"):
        make_plan("eve/bad", limit=1 << 60)
    assert not hub.files_asked()


def test_gated_absent_and_unknown_are_said_in_words(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos["ann/gated"] = repo(gated=True)
    with pytest.raises(BadInput, match=r"ann/gated is gated: .* HF_TOKEN"):
        make_plan("ann/gated")
    with pytest.raises(BadInput, match="is not on the hub, or it is private"):
        make_plan("ann/none")
    with pytest.raises(BadInput, match="no such branch, tag or commit"):
        make_plan("ann/small", "v9")
    for name in ("small", "ann/small/x", "../../etc", "ann/..", "http://x/y", "ann/sm all", "a--b/c", ""):
        with pytest.raises(BadInput, match="OWNER/NAME"):
            make_plan(name)
    monkeypatch.setenv("HF_ENDPOINT", "http://example.org")
    with pytest.raises(BadInput, match="https"):
        make_plan("ann/small")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BadInput, match="did not answer"):
        make_plan("ann/small")


def test_a_token_opens_a_gate_and_stays_with_the_hub(
    hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos["ann/gated"] = repo(gated=True)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(BadInput, match="gated"):
        make_plan("ann/gated", token=False)  # as the hosted profile asks
    with running_hub() as store:
        store.repos["ann/gated"] = repo()
        hub.elsewhere = store.url.replace("127.0.0.1", "localhost")
        model = fetch(make_plan("ann/gated"), root)
        assert model.problem() is None
        assert store.files_asked() and not any("authorization" in item.headers for item in store.asked)
    assert all(item.headers["authorization"] == "Bearer hf_secret" for item in hub.asked[1:])


def test_nothing_is_told_about_this_machine(hub: Hub, root: Path) -> None:
    fetch(make_plan("ann/small"), root)
    for item in hub.asked:
        agent = item.headers["user-agent"]
        assert "torch" not in agent and "langevin" not in agent.lower() and "agent/" not in agent
        assert "cookie" not in item.headers


def test_a_model_that_was_changed_is_found_out(hub: Hub, root: Path) -> None:
    model = fetch(make_plan("ann/small"), root)
    path = model.folder / "unet" / "config.json"
    path.write_bytes(CONFIG[:-1] + b" ")
    assert "its sha256 differs" in str(find_installed("ann/small", root).problem())
    path.unlink()
    assert "is missing" in str(find_installed("ann--small", root).problem())


def test_removing_takes_installed_models_alone(hub: Hub, root: Path, tmp_path: Path) -> None:
    model = fetch(make_plan("ann/small"), root)
    (tmp_path / "precious").mkdir()
    for name in ("../precious", "series-base", "", ".", ".incoming"):
        with pytest.raises(BadInput, match="was installed from a hub"):
            remove_installed(name, root)
    remove_installed("ann/small", root)
    assert not model.folder.exists() and not installed_models(root) and (tmp_path / "precious").is_dir()
    with pytest.raises(BadInput, match="no such unfinished"):
        discard_unfinished("../precious", root)


def test_a_newer_revision_takes_the_place_of_the_older(hub: Hub, root: Path) -> None:
    fetch(make_plan("ann/small"), root)
    hub.repos["ann/small"].files["unet/config.json"] = b'{"newer": true}'
    (root / "ann--small" / "stale.txt").write_text("of old", "utf-8")
    model = fetch(make_plan("ann/small"), root)
    assert json.loads((model.folder / "unet/config.json").read_bytes()) == {"newer": True}
    assert not (model.folder / "stale.txt").exists()
    assert [path.name for path in root.iterdir() if path.name != ".incoming"] == ["ann--small"]


def test_a_manifest_of_a_strangers_making_is_no_model(root: Path) -> None:
    folder = root / "eve--bad"
    folder.mkdir(parents=True)
    stated = {"repo": "eve/bad", "commit": COMMIT, "endpoint": "", "licence": "", "fetched": ""}
    for files in ({"../x": {"size": 1, "sha256": "0" * 64}}, {"x": {"size": 1, "sha256": "zz"}}, [], None):
        (folder / ".langevin.json").write_text(json.dumps({**stated, "files": files}), "utf-8")
        assert not installed_models(root)


def test_a_model_of_our_make_can_be_named_by_tasks(
    hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGEVIN_MODELS", str(root))
    assert models_folder() == root
    card = {"name": "small", "sha256": hashlib.sha256(WEIGHTS).hexdigest(), "summary": "Ours."}
    hub.repos["ann/ours"] = Repo({"model.safetensors": WEIGHTS, "card.json": json.dumps(card).encode()})
    hub.repos["eve/bad"] = Repo({"model.safetensors": WEIGHTS, "card.json": b"[" * 9})
    fetch(make_plan("ann/ours"))
    fetch(make_plan("eve/bad"))
    assert "ann--ours" in usable_models() and "eve--bad" not in usable_models()
    model = find_model("ann--ours")
    assert model.problem() is None and not model.builtin
