"""Model folders: `model.safetensors` and `card.json`; written atomically, read without ever unpickling."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor


class BadModel(ValueError):
    """A model folder is incomplete, damaged, or does not fit its card."""


def _atomic_bytes(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_text(path: Path, text: str) -> None:
    """Writes a text file so that a reader sees the old one or the new one, never a half."""
    _atomic_bytes(path, text.encode())


def atomic_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Writes tensors as safetensors, atomically."""
    _atomic_bytes(path, save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata))


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_model(folder: Path, tensors: dict[str, Tensor], card: dict[str, Any], dtype: torch.dtype) -> None:
    """Writes a model folder; floating tensors are stored as `dtype`, and the card gets the weights' hash."""
    stored = {k: v.to(dtype) if v.is_floating_point() else v for k, v in tensors.items()}
    atomic_safetensors(folder / "model.safetensors", stored)
    full = {**card, "sha256": file_sha256(folder / "model.safetensors")}
    atomic_text(folder / "card.json", json.dumps(full, indent=2, ensure_ascii=False) + "\n")


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
        raise BadModel(f"the weights of {folder.name} do not have the hash on the card; fetch or train them again")
    try:
        tensors = load_file(path)
    except Exception as error:
        raise BadModel(f"the weights of {folder.name} cannot be read: {error}") from None
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, card
