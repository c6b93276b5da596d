"""The Models page without a browser: cards, checks, downloads, removal, and what the hosted profile refuses."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from safetensors.numpy import save

from apps.cli.main import main
from apps.engine.settings import Settings, load_settings
from apps.studio.pages.models import ModelsPage
from domains.common.hub import make_plan
from domains.common.hub_download import fetch
from domains.common.installed_models import installed_models
from domains.common.models import builtin_models
from domains.registry import all_tasks
from tests.common.hub_server import COMMIT, Hub, Repo, running_hub

pytest.importorskip("huggingface_hub")
WEIGHTS = save({"w": np.arange(300_000, dtype=np.float32)})
NASTY = '</dd><script>alert("x")</script>'


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub of this machine."""
    from huggingface_hub import constants

    with running_hub() as made:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nonexistent/token")
        card = {"name": "small", "summary": f"Ours {NASTY}", "sha256": hashlib.sha256(WEIGHTS).hexdigest()}
        made.repos["ann/small"] = Repo(
            {"model.safetensors": WEIGHTS, "card.json": json.dumps(card).encode(), "run.py": b"0"},
            licence=f"mit {NASTY}",
        )
        yield made


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where models are installed, for the page and for the command line."""
    monkeypatch.setenv("LANGEVIN_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def page_with(settings: Settings) -> ModelsPage:
    page = ModelsPage(settings, all_tasks().values())
    with gr.Blocks():
        page.build()
    return page


@pytest.fixture
def page(root: Path) -> ModelsPage:
    """The page as on one person's machine."""
    return page_with(load_settings(environ={}))


def announced(page: ModelsPage, repo: str, revision: str = "", only: str = "") -> dict[Any, Any]:
    return page.announce(repo, revision, only)


def watched(page: ModelsPage) -> list[dict[Any, Any]]:
    async def collect() -> list[dict[Any, Any]]:
        return [updates async for updates in page.watch()]

    return asyncio.run(collect())


def test_a_card_says_what_a_model_was_made_of_and_how_well_it_does(page: ModelsPage) -> None:
    html = page.cards_html()
    model = builtin_models()["series-base"]
    assert html.count("<article") == len(builtin_models())
    for words in (
        "CC BY 4.0",
        "train series-base",
        "94.3 minutes",
        "x86_64, cpu",
        "Series: Fill gaps",
        "Apache-2.0",
    ):
        assert words in html
    assert model.recorded_sha256 in html and model.card["limits"].split(";")[0] in html
    row = html[html.index(">CRPS<") :][:120]
    assert "0.1943" in row and "0.2509" in row, "the metric stands beside its baseline"
    assert "0.9036</td><td>–" in html, "one without a baseline says so"


def test_files_are_checked_when_asked(page: ModelsPage, hub: Hub, root: Path) -> None:
    assert 'data-good="yes"' in page.do("verify", "series-base")
    fetch(make_plan("ann/small"))
    assert 'data-good="yes"' in page.do("verify", "ann--small")
    (root / "ann--small" / "model.safetensors").write_bytes(WEIGHTS[:-1] + b"!")
    html = page.do("verify", "ann--small")
    assert 'data-good="no"' in html and "its sha256 differs" in html
    assert "there is no such model" in page.do("verify", "../x").lower()


def test_size_and_licence_are_said_before_anything_comes(page: ModelsPage, hub: Hub) -> None:
    told = announced(page, " ann/small ")
    assert "1.14 MB" in told[page.announced] and "mit" in told[page.announced]
    assert "never run" in told[page.announced] and NASTY not in told[page.announced]
    assert told[page.get]["value"] == "Download 1.14 MB" and told[page.get]["visible"]
    assert not hub.files_asked()
    wrong = announced(page, "ann/none")
    assert "not on the hub" in wrong[page.fault]["value"] and not wrong[page.get]["visible"]
    assert wrong[page.plan] is None
    assert "ask what it holds first" in page.start(None)[page.fault]["value"]


def test_a_download_is_watched_by_every_page_and_ends_as_a_card(
    page: ModelsPage, hub: Hub, root: Path
) -> None:
    plan = announced(page, "ann/small")[page.plan]
    hub.slow.clear()
    page.start(plan)
    assert "is being downloaded" in page.start(plan)[page.fault]["value"]
    arrived: Any = page.arrive(None)  # type: ignore[arg-type]
    assert 'data-state="running"' in arrived[page.status] and page.watched in arrived
    assert "being downloaded" in page.do("discard", f"ann--small@{COMMIT}")
    threading.Timer(0.5, hub.slow.set).start()
    seen = watched(page)
    assert 'data-state="running"' in seen[0][page.status] and seen[0][page.cancel]["visible"]
    assert 'data-state="done"' in seen[-1][page.status] and not seen[-1][page.cancel]["visible"]
    html = seen[-1][page.cards]
    assert "ann/small" in html and COMMIT in html and "Yes, remove" in html
    assert "<script>" not in html, "what the hub and the card say is text"


def test_a_cancelled_download_is_kept_and_goes_on(page: ModelsPage, hub: Hub, root: Path) -> None:
    plan = announced(page, "ann/small")[page.plan]
    hub.slow.clear()
    page.start(plan)
    end = time.monotonic() + 30
    while (latest := page.downloads.latest) is None or latest.done < 1 << 18:
        assert time.monotonic() < end
        time.sleep(0.01)
    page.stop()
    hub.slow.set()
    ended = page.downloads.wait(30)
    assert ended is not None and ended.state == "cancelled" and not installed_models()
    assert "unfinished" in page.cards_html()
    page.start(plan)
    ended = page.downloads.wait(30)
    assert ended is not None and ended.state == "done", ended
    assert any("range" in item.headers for item in hub.asked)
    assert "unfinished" not in page.cards_html()


def test_what_fails_is_said_in_a_sentence(page: ModelsPage, hub: Hub) -> None:
    hub.repos["ann/small"].lies["model.safetensors"] = WEIGHTS[::-1]
    page.start(announced(page, "ann/small")[page.plan])
    ended = page.downloads.wait(30)
    assert ended is not None and ended.state == "failed"
    assert "does not have the hash" in watched(page)[-1][page.status]


def test_removing_asks_for_an_installed_one(page: ModelsPage, hub: Hub, root: Path) -> None:
    fetch(make_plan("ann/small"))
    assert "was installed from a hub" in page.do("remove", "series-base")
    assert "ann/small" not in page.do("remove", "ann--small") and not installed_models()
    assert (builtin_models()["series-base"].weights).is_file()


def test_the_hosted_profile_neither_downloads_nor_removes(hub: Hub, root: Path) -> None:
    fetch(make_plan("ann/small"))
    page = page_with(load_settings(environ={}, profile="hosted"))
    assert not hasattr(page, "repo") and "Yes, remove" not in page.cards_html()
    for act in ("remove", "discard"):
        assert "only who runs this app" in page.do(act, "ann--small").lower()
    assert installed_models()
    allowed = page_with(load_settings(environ={}, profile="hosted", hub_downloads=True))
    assert "Yes, remove" in allowed.cards_html()


def test_the_operators_token_stays_out_of_the_hosted_profile(
    hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    page = page_with(load_settings(environ={}, profile="hosted", hub_downloads=True))
    page.start(announced(page, "ann/small")[page.plan])
    ended = page.downloads.wait(30)
    assert ended is not None and ended.state == "done"
    assert hub.asked and not any("authorization" in item.headers for item in hub.asked)


def test_the_command_gets_lists_verifies_and_removes(
    hub: Hub, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "get", "ann/small", "--plan"]) == 0
    said = capsys.readouterr().out
    assert "1.14 MB" in said and "licence mit" in said and "never run" in said and not installed_models()
    assert main(["models", "get", "ann/small", "--revision", COMMIT]) == 0
    assert "every hash checked" in capsys.readouterr().out
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    assert "series-base" in said and f"ann/small at {COMMIT[:12]}" in said
    assert main(["models", "verify"]) == 0
    assert "ann--small  ok" in capsys.readouterr().out
    (root / "ann--small" / "card.json").write_bytes(b"{}")
    assert main(["models", "verify", "ann/small"]) == 1
    assert main(["models", "remove", "ann/small"]) == 0
    assert not installed_models() and "are free again" in capsys.readouterr().out
    for arguments, words in (
        (["get"], "say which"),
        (["get", "ann"], "must be OWNER/NAME"),
        (["remove", "series-base"], "was installed from a hub"),
        (["list", "--plan"], "go with: models get"),
    ):
        assert main(["models", *arguments]) == 2
        assert words in capsys.readouterr().err
