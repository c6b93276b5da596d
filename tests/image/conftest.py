"""A text-to-image model small enough to test, trained on nothing."""

from __future__ import annotations

import pytest
import torch

from domains.image.model import ImageModel, new_model
from domains.image.training import DEFAULTS, model_config


@pytest.fixture(scope="session")
def tiny() -> ImageModel:
    settings = {**DEFAULTS, "width": 16, "text_width": 16, "text_depth": 1, "heads": 2, "blocks": "1,1"}
    torch.manual_seed(0)
    model = new_model(model_config(settings))
    with torch.no_grad():  # what starts at zero would hide what it multiplies
        for parameter in model.network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.network.eval().requires_grad_(False)
    return model
