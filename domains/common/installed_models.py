"""Models that a person has installed beside the built-in ones: where they lie, what they are, whether they are whole.

An installed model is a folder with a manifest, which says where its files come from and what their hashes are.  This
module asks nothing of the net and loads no library; `domains.common.hub` brings the files.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.files import atomic_write_text, file_sha256
from domains.common.errors import BadInput
from domains.common.files import human_size

MANIFEST = ".langevin.json"
INCOMING = ".incoming"  # downloads on their way
_MANIFEST_LIMIT = 4 << 20  # bytes
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}")
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class InstalledFile:
    """A file of an installed model.

    Attributes:
        size: In bytes.
        sha256: Hash of its bytes, as they were checked when it was installed.
    """

    size: int
    sha256: str


@dataclass(frozen=True)
class InstalledModel:
    """A model that came from a hub.

    Attributes:
        name: Name of its folder: `owner--name`.
        folder: Where it lies.
        repo: `owner/name` on the hub.
        commit: The commit that its files are of.
        endpoint: Address of the hub.
        licence: As the hub states it; empty where it does not.
        fetched: When it was installed, as an ISO date.
        files: Path within the folder -> file.
    """

    name: str
    folder: Path
    repo: str
    commit: str
    endpoint: str
    licence: str
    fetched: str
    files: dict[str, InstalledFile] = field(repr=False)

    @property
    def bytes(self) -> int:
        """Size of all files, as the manifest states it."""
        return sum(file.size for file in self.files.values())

    def problem(self) -> str | None:
        """What is wrong with the files, in one sentence; None where each has the hash of the manifest."""
        for path, stated in self.files.items():
            found = self.folder / path
            if not found.is_file() or found.is_symlink():
                return f"{path} is missing"
            if found.stat().st_size != stated.size:
                return f"{path} is of another size than when it was installed"
            if file_sha256(found) != stated.sha256:
                return f"{path} is not the file that was installed (its sha256 differs)"
        return None

    def write_manifest(self, folder: Path) -> None:
        """Writes the manifest into `folder`, atomically."""
        stated = {
            "manifest": 1,
            "repo": self.repo,
            "commit": self.commit,
            "endpoint": self.endpoint,
            "licence": self.licence,
            "fetched": self.fetched,
            "files": {path: {"size": f.size, "sha256": f.sha256} for path, f in self.files.items()},
        }
        atomic_write_text(folder / MANIFEST, json.dumps(stated, indent=2, ensure_ascii=False) + "\n")


def models_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Where installed models lie: LANGEVIN_MODELS, else `models` in LANGEVIN_HOME, else in the user's data folder."""
    environ = os.environ if environ is None else environ
    if named := environ.get("LANGEVIN_MODELS"):
        return Path(named).expanduser()
    if home := environ.get("LANGEVIN_HOME"):
        return Path(home).expanduser() / "models"
    try:
        from platformdirs import user_data_path
    except ImportError:  # nothing but the core is installed
        return Path("~/.local/share/langevin/models").expanduser()
    return user_data_path("langevin", appauthor=False) / "models"


def installed_models(root: Path | None = None) -> dict[str, InstalledModel]:
    """Name -> model, for every folder with a manifest that can be read, by name."""
    root = models_folder() if root is None else root
    if not root.is_dir():
        return {}
    found = (_read(folder) for folder in sorted(root.iterdir()) if not folder.name.startswith("."))
    return {model.name: model for model in found if model is not None}


def find_installed(name: str, root: Path | None = None) -> InstalledModel:
    """The installed model of that name, or of that repository.

    Raises:
        BadInput: If there is none.
    """
    models = installed_models(root)
    found = models.get(name) or models.get(name.replace("/", "--"))
    if found is None:
        known = ", ".join(models) or "none is installed"
        raise BadInput("name", f"no model {name[:80]!r} was installed from a hub; there are: {known}")
    return found


def remove_installed(name: str, root: Path | None = None) -> InstalledModel:
    """Removes an installed model from the disk; built-in ones are not among them.

    Raises:
        BadInput: If there is none of that name, or its files cannot be removed.
    """
    model = find_installed(name, root)
    # Out of sight at once: what is removed half can no longer be chosen.
    grave = model.folder.with_name(f".removed-{os.getpid()}-{model.name}")
    try:
        model.folder.rename(grave)
    except OSError as error:
        raise BadInput("name", f"{model.name} cannot be removed: {error.strerror}") from None
    shutil.rmtree(grave, ignore_errors=True)
    return model


def unfinished(root: Path | None = None) -> dict[str, int]:
    """Name -> bytes, of downloads that were interrupted; asking for one again goes on where it stopped."""
    place = (models_folder() if root is None else root) / INCOMING
    if not place.is_dir():
        return {}
    return {folder.name: folder_bytes(folder) for folder in sorted(place.iterdir()) if folder.is_dir()}


def discard_unfinished(name: str, root: Path | None = None) -> None:
    """Removes what an interrupted download left.

    Raises:
        BadInput: If there is none of that name.
    """
    if name not in unfinished(root):
        raise BadInput("name", "there is no such unfinished download")
    shutil.rmtree((models_folder() if root is None else root) / INCOMING / name, ignore_errors=True)


def folder_bytes(folder: Path) -> int:
    """Size of all files under a folder."""
    sizes = (path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(sizes)


def describe(model: InstalledModel) -> str:
    """One line on a model, for a list."""
    licence = model.licence or "no licence stated"
    return f"{model.name}  {human_size(model.bytes)}  {licence}, {model.repo} at {model.commit[:12]}"


def _read(folder: Path) -> InstalledModel | None:
    path = folder / MANIFEST
    try:
        if not _NAME.fullmatch(folder.name) or path.stat().st_size > _MANIFEST_LIMIT:
            return None
        stated: dict[str, Any] = json.loads(path.read_text("utf-8"))
        files = {
            str(name): InstalledFile(int(file["size"]), str(file["sha256"]))
            for name, file in stated["files"].items()
        }
        repo, commit, endpoint, licence, fetched = (
            str(stated[key]) for key in ("repo", "commit", "endpoint", "licence", "fetched")
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    sound = all(_HEX.fullmatch(f.sha256) and safe_path(name) for name, f in files.items())
    if not sound:
        return None
    return InstalledModel(folder.name, folder, repo, commit, endpoint, licence, fetched, files)


_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]*")


def safe_path(path: str) -> bool:
    """Whether a file's path stays in its folder on any system: plain names alone, none hidden, none a device."""
    parts = path.split("/")
    return (
        0 < len(path) <= 200
        and len(parts) <= 8
        and all(_SEGMENT.fullmatch(part) and not part.endswith(".") for part in parts)
    )
