"""Control branches of a text-to-image model: their folders, and the model with branches bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from core.adapters.controlled import Controlled, build_branch
from core.checkpoint import load_model
from core.networks.unet import UNet
from domains.common.errors import BadInput
from domains.common.models import find_model
from domains.image.hints import channels
from domains.image.model import ImageModel
from domains.image.requests import HintKind


@dataclass(frozen=True)
class Branch:
    """A control branch in a folder.

    Attributes:
        network: On its device.
        hint: What it reads.
        base_sha256: Of the weights that it was trained with.
        card: Of the folder.
    """

    network: nn.Module
    hint: HintKind
    base_sha256: str
    card: dict[str, Any]


def backbone(model: ImageModel) -> UNet:
    """The U-Net of a model.

    Raises:
        BadInput: If its backbone is none.
    """
    body = model.network.body
    if not isinstance(body, UNet):
        raise BadInput("model", "has no U-Net, which control branches need; take another one")
    return body


def load_branch(model: ImageModel, name: str, device: str = "cpu") -> Branch:
    """The branch in a folder or of a built-in name, ready to take part.

    Raises:
        BadInput: If there is none, or it belongs to another model.
    """
    found = find_model(name)
    try:
        tensors, card = load_model(found.folder)
        config = card["model"]
        if config.get("network") != "control":
            raise ValueError("it is no control branch")
        branch = build_branch(config["kind"], backbone(model), channels(config["hint"]), **config["config"])
        branch.load_state_dict(tensors)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput("control", f"{found.name} cannot be used: {error}") from None
    if config["base_sha256"] != model.card.get("sha256"):
        raise BadInput(
            "control",
            f"{found.name} was trained with other weights of the base; take the branch of this model",
        )
    branch.to(device).eval().requires_grad_(False)
    return Branch(branch, config["hint"], config["base_sha256"], card)


def controlled(model: ImageModel, branches: Sequence[nn.Module], scales: Sequence[float]) -> ImageModel:
    """The model with branches bound; hints come with the condition as `hint0`, `hint1`, ..."""
    body = Controlled(backbone(model), branches, scales)
    return replace(model, network=model.network.with_body(body))
