"""Model folders: `model.safetensors` and `card.json`; written atomically, read without ever unpickling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from core.files import atomic_write_bytes, atomic_write_text, file_sha256


class BadModel(ValueError):
    """A model folder is incomplete, damaged, or does not fit its card."""


def atomic_safetensors(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Writes tensors as safetensors, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata))


def save_model(folder: Path, tensors: dict[str, Tensor], card: dict[str, Any], dtype: torch.dtype) -> None:
    """Writes a model folder; floating tensors are stored as `dtype`, and the card gets the weights' hash."""
    stored = {k: v.to(dtype) if v.is_floating_point() else v for k, v in tensors.items()}
    atomic_safetensors(folder / "model.safetensors", stored)
    full = {**card, "sha256": file_sha256(folder / "model.safetensors")}
    atomic_write_text(folder / "card.json", json.dumps(full, indent=2, ensure_ascii=False) + "\n")


def load_card(folder: Path) -> dict[str, Any]:
    """The card of a model folder.

    Raises:
        BadModel: If there is none or it is not a JSON object.
    """
    path = folder / "card.json"
    try:
        if path.stat().st_size > 1 << 20:
            raise BadModel(f"{path.name} is larger than 1 MiB")
        card = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadModel(f"{folder.name} has no readable card.json: {error}") from None
    if not isinstance(card, dict):
        raise BadModel(f"the card of {folder.name} is not a JSON object")
    return card


def load_model(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Float32 tensors and card of a model folder.

    Raises:
        BadModel: If a file is missing or the weights' hash is not the card's.
    """
    card = load_card(folder)
    path = folder / "model.safetensors"
    if not path.is_file():
        raise BadModel(f"{folder.name} has no model.safetensors")
    if file_sha256(path) != card.get("sha256"):
        raise BadModel(
            f"the weights of {folder.name} do not have the hash on the card; fetch or train them again"
        )
    try:
        tensors = load_file(path)
    except Exception as error:
        raise BadModel(f"the weights of {folder.name} cannot be read: {error}") from None
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, card
