"""The table of `image.generate`: true pictures score high, pictures of a model that knows nothing do not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.checkpoint import save_model
from domains.common.errors import BadInput
from domains.common.models import builtin_models
from domains.image import evaluation
from domains.image.evaluation import KINDS, LANGUAGES, NEAREST, OURS, REAL, SHUFFLED, evaluate_generate
from domains.image.model import ImageModel
from domains.image.requests import ImageSampling

needs_scorer = pytest.mark.skipif(
    "scenes-scorer" not in builtin_models(), reason="scenes-scorer is not there"
)


@needs_scorer
def test_every_row_is_there_and_real_pictures_lead(
    tiny: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path, tiny.network.state_dict(), {"name": "tiny", "model": tiny.config}, torch.float32)
    monkeypatch.setattr(evaluation, "_QUICK", 6)
    monkeypatch.setattr(evaluation, "_KEPT", 20)
    monkeypatch.setattr(evaluation, "ImageSampling", lambda: ImageSampling(steps=2))
    told: list[float] = []
    table = evaluate_generate(
        None, model=str(tmp_path), quick=True, progress=lambda done, total, *_: told.append(done / total)
    )
    assert table.methods == [OURS, SHUFFLED, REAL, NEAREST]
    assert len(table.settings) == len(KINDS) * len(LANGUAGES)
    assert table.mean(REAL, "attributes") > 0.95 and table.mean(OURS, "attributes") < 0.6
    assert table.mean(OURS, "attributes") < table.mean(NEAREST, "attributes") < table.mean(REAL, "attributes")
    assert told == sorted(told) and told[-1] == 1
    assert "launch.py eval image.generate --quick" in table.to_markdown()


def test_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="leave --data out"):
        evaluate_generate(tmp_path)
