"""Control branches of the image model: a training that leaves one, and that it belongs to its base alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from core.checkpoint import save_model
from core.noise import Noise
from core.sampling import Counted
from domains.common.errors import BadInput
from domains.common.task import Sampling
from domains.image.control import controlled, load_branch
from domains.image.hints import make_hint
from domains.image.model import ImageModel, image_model
from domains.image.prompting import prompted
from domains.image.sampling import walk
from domains.image.scenes import draw_scenes, render_truth
from domains.image.train_control import HintStream, train


@pytest.fixture(scope="module")
def base(tiny: ImageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("base")
    save_model(out, tiny.network.state_dict(), {"name": "tiny", "model": tiny.config}, torch.float32)
    return out


@pytest.fixture(scope="module", params=["controlnet", "t2i-adapter"])
def branch(base: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("control") / "tiny-edges"
    few = {"base": str(base), "steps": "2", "batch": "4", "hint": "edges", "kind": request.param}
    train(None, few, False, "cpu", out, lambda *_: None)
    return out


def drawn(model: ImageModel, hint: torch.Tensor | None) -> torch.Tensor:
    also = None if hint is None else {"hint0": hint}

    def bound(counter: Counted, index: range, times: torch.Tensor):  # type: ignore[no-untyped-def]
        return prompted(model, "a red cube", "", 2.0, len(index), times, counter, also)

    return walk(model, bound, Sampling(steps=3), Noise.of(0, 1))[0]


def test_training_leaves_a_branch_of_its_base(base: Path, branch: Path) -> None:
    card = json.loads((branch / "card.json").read_text())
    assert card["model"]["hint"] == "edges" and card["model"]["base_sha256"]
    assert card["training"]["command"].startswith("launch.py train scenes-control --set")
    assert (branch / "samples.png").is_file()
    model = image_model(str(base))
    loaded = load_branch(model, str(branch))
    hint = make_hint("edges", render_truth(draw_scenes(0, 1)), np.random.default_rng(0))
    plain = drawn(model, None)
    assert torch.equal(drawn(controlled(model, [loaded.network], [0.0]), hint), plain), "to the bit"
    assert not torch.equal(drawn(controlled(model, [loaded.network], [1.0]), hint), plain)


def test_a_branch_of_another_base_is_refused(tiny: ImageModel, branch: Path, tmp_path: Path) -> None:
    other = {k: v + 0.01 for k, v in tiny.network.state_dict().items()}
    save_model(tmp_path, other, {"name": "other", "model": tiny.config}, torch.float32)
    with pytest.raises(BadInput, match="other weights"):
        load_branch(image_model(str(tmp_path)), str(branch))
    with pytest.raises(BadInput, match="no control branch"):
        load_branch(image_model(str(tmp_path)), str(tmp_path))


def test_settings_that_do_not_fit(base: Path, tmp_path: Path) -> None:
    for setting in ({"hint": "smell"}, {"kind": "lora"}):
        with pytest.raises(BadInput, match="must be one of"):
            train(None, {"base": str(base), **setting}, False, "cpu", tmp_path / "out", print)


def test_batches_are_made_by_address() -> None:
    stream = HintStream("scribble", 0, 6, 0.5)
    first, again = stream.batch_at(2), stream.batch_at(2)
    assert torch.equal(first[0], again[0]) and first[1] == again[1] and torch.equal(first[2], again[2])
    assert first[2].shape == (6, 1, 64, 64)
