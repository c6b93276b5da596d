"""Built-in models and their cards: finding, listing, verifying.  Loading weights is the domains' work.

A model is a folder with `model.safetensors` and `card.json`; the built-in ones lie under `assets/models/NAME`,
and `launch.py train` makes folders of the same shape.  This module imports no torch.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.files import file_sha256
from domains.common.errors import BadInput
from domains.common.installed_models import installed_models

BUILTIN = Path(__file__).resolve().parents[2] / "assets" / "models"
WEIGHTS = "model.safetensors"
CARD = "card.json"
_CARD_LIMIT = 1 << 20  # bytes


@dataclass(frozen=True)
class ModelFolder:
    """A model on disk.

    Attributes:
        name: Name of the folder.
        folder: Where it lies.
        card: What `card.json` says.
        builtin: Whether the project ships it.
    """

    name: str
    folder: Path
    card: dict[str, Any] = field(repr=False)
    builtin: bool

    @property
    def weights(self) -> Path:
        """The safetensors file."""
        return self.folder / WEIGHTS

    @property
    def recorded_sha256(self) -> str | None:
        """SHA-256 of the weights as the card states it."""
        value = self.card.get("sha256")
        return value if isinstance(value, str) else None

    def sha256(self) -> str:
        """SHA-256 of the weights as they lie on disk."""
        return file_sha256(self.weights)

    def problem(self) -> str | None:
        """What is wrong with the folder, in one sentence; None where weights and card agree."""
        if not self.weights.is_file():
            return f"{WEIGHTS} is missing"
        if self.recorded_sha256 is None:
            return f"{CARD} states no sha256"
        if self.sha256() != self.recorded_sha256:
            return f"{WEIGHTS} is not the file that {CARD} describes (its sha256 differs)"
        return None


def builtin_models(root: Path = BUILTIN) -> dict[str, ModelFolder]:
    """Name -> model, for every folder under `root` that holds a card, by name.

    Raises:
        BadInput: If a card cannot be read.
    """
    if not root.is_dir():
        return {}
    folders = sorted(path for path in root.iterdir() if (path / CARD).is_file())
    return {path.name: _read(path, builtin=True) for path in folders}


def usable_models(root: Path = BUILTIN, installed: Path | None = None) -> dict[str, ModelFolder]:
    """Name -> model: the built-in ones, and those from a hub that are of our own make (weights with a card).

    Args:
        root: Folder of the built-in models.
        installed: Folder of the others; None takes the usual one.

    Raises:
        BadInput: If the card of a built-in model cannot be read.
    """
    others: dict[str, ModelFolder] = {}
    for name, model in installed_models(installed).items():
        if (model.folder / CARD).is_file() and (model.folder / WEIGHTS).is_file():
            with contextlib.suppress(BadInput):  # somebody else's card.json; it is no model of our make
                others[name] = _read(model.folder, builtin=False)
    return {**others, **builtin_models(root)}


def find_model(name: str, root: Path = BUILTIN) -> ModelFolder:
    """The built-in model called `name`, else the installed one, else the model in the folder `name`.

    Raises:
        BadInput: If there is neither; the message lists the built-in ones.
    """
    if root.is_dir() and name in {path.name for path in root.iterdir()} and (root / name / CARD).is_file():
        return _read(root / name, builtin=True)
    other = installed_models().get(name)
    if other is not None and (other.folder / CARD).is_file() and (other.folder / WEIGHTS).is_file():
        return _read(other.folder, builtin=False)
    try:
        folder = Path(name).expanduser()
        found = (folder / CARD).is_file() and (folder / WEIGHTS).is_file()
    except (OSError, RuntimeError, ValueError):  # no path at all
        found = False
    if found:
        return _read(folder.resolve(), builtin=False)
    known = ", ".join(builtin_models(root)) or "none is installed"
    raise BadInput(
        "model",
        f"no model {name[:80]!r}: name a built-in one ({known}) or a folder with {WEIGHTS} and {CARD}",
    )


def _read(folder: Path, builtin: bool) -> ModelFolder:
    path = folder / CARD
    if path.stat().st_size > _CARD_LIMIT:
        raise BadInput("model", f"{CARD} of {folder.name} is larger than 1 MiB; it is not a model card")
    try:
        card = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):
        raise BadInput("model", f"{CARD} of {folder.name} is not valid JSON") from None
    if not isinstance(card, dict):
        raise BadInput("model", f"{CARD} of {folder.name} is not a JSON object")
    return ModelFolder(folder.name, folder, card, builtin)
