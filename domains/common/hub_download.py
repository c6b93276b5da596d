"""The download of a plan: each file goes on where it stopped, is checked, and all are installed at once or none.

`huggingface_hub.hf_hub_download` starts again from nothing after an interruption, hence the library's `http_get` on a
file that stays.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

from core.files import file_sha256
from domains.common.errors import BadInput, Cancelled, MissingLibrary
from domains.common.files import human_size, sniff
from domains.common.hub import HubFile, Plan, explained, hub_library
from domains.common.installed_models import INCOMING, InstalledFile, InstalledModel, models_folder
from domains.common.intake.safetensors_header import safetensors_header

SPARE = 1 << 30  # bytes left free on the disk
_REFUSED = ("zip", "gzip", "bzip2", "xz", "zstandard", "7z", "rar", "executable")
_PICKLE = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))

# Told bytes done, bytes in all, and the name of the file that comes.
OnProgress = Callable[[int, int, str], None]


def fetch(
    plan: Plan,
    root: Path | None = None,
    on_progress: OnProgress | None = None,
    cancel: Event | None = None,
    token: bool | str | None = None,
) -> InstalledModel:
    """Downloads what a plan says, checks it, and installs it as a whole; or leaves what came for the next time.

    Args:
        plan: From `make_plan`.
        root: Folder of installed models.
        on_progress: Told how far it is.
        cancel: Setting it stops the download.
        token: As for `make_plan`.

    Raises:
        BadInput: If a file is not what the hub stated, the disk is full, the hub does not answer, or the same download
            is under way.
        Cancelled: If `cancel` was set.
        MissingLibrary: Without huggingface_hub.
    """
    hub_library()
    from filelock import FileLock, Timeout  # comes with huggingface_hub

    root = models_folder() if root is None else root
    stage = root / INCOMING / f"{plan.name}@{plan.commit}"
    watch = _Watch(plan.bytes, on_progress, cancel)
    try:
        stage.mkdir(parents=True, exist_ok=True)
        with FileLock(stage.with_name(f".{stage.name}.lock"), timeout=0):
            _check_room(plan, stage)
            files = {file.path: _bring(plan, file, stage, watch, token) for file in plan.files}
            model = InstalledModel(
                name=plan.name,
                folder=root / plan.name,
                repo=plan.repo,
                commit=plan.commit,
                endpoint=plan.endpoint,
                licence=plan.licence,
                fetched=datetime.now(UTC).date().isoformat(),
                files=files,
            )
            model.write_manifest(stage)
            _install(stage, model.folder)
    except Timeout:
        raise BadInput("repo", "is being downloaded already") from None
    except (BadInput, Cancelled, MissingLibrary):
        raise
    except Exception as error:
        raise explained(error, plan.repo, plan.endpoint) from None
    return model


def _check_room(plan: Plan, stage: Path) -> None:
    come = sum(path.stat().st_size for path in stage.rglob("*") if path.is_file())
    needed, free = max(0, plan.bytes - come) + SPARE, shutil.disk_usage(stage).free
    if needed > free:
        raise BadInput(
            "disk", f"needs {human_size(needed)} free and there are {human_size(free)}; make space"
        )


class _Watch:
    """Counts bytes, tells about them, and stops where it is asked to or more come than were announced."""

    def __init__(self, total: int, on_progress: OnProgress | None, cancel: Event | None) -> None:
        self._total, self._told, self._cancel = total, on_progress, cancel or Event()
        self._done = 0
        self._file, self._size, self._here = "", 0, 0

    def begin(self, file: HubFile, here: int) -> None:
        """A file begins of which `here` bytes are there."""
        self._file, self._size, self._here = file.path, file.size, here
        self.check()

    def finish(self) -> None:
        """The file is whole."""
        self._done += self._size
        self._here = 0
        self.check()

    def update(self, count: int) -> None:
        """More bytes have come."""
        self._here += count
        if self._here > self._size:
            raise BadInput("repo", f"{self._file} is longer than the hub stated; nothing was installed")
        self.check()

    def check(self) -> None:
        """Tells how far it is.

        Raises:
            Cancelled: Where the person asked for it to stop.
        """
        if self._cancel.is_set():
            raise Cancelled("the download was cancelled")
        if self._told is not None:
            self._told(self._done + self._here, self._total, self._file)


def _bring(plan: Plan, file: HubFile, stage: Path, watch: _Watch, token: bool | str | None) -> InstalledFile:
    """Downloads one file, or the rest of it, and checks it."""
    target = stage / file.path
    if target.is_file() and not target.is_symlink():  # came, and was checked, the last time
        sha256 = _checked(target, file)
        if sha256 is not None:
            watch.begin(file, file.size)
            watch.finish()
            return InstalledFile(file.size, sha256)
        target.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    here = part.stat().st_size if part.is_file() else 0
    if here > file.size:
        part.unlink()
        here = 0
    watch.begin(file, here)
    _download(plan, file, part, here, watch, token)
    sha256 = _checked(part, file)
    if sha256 is None:
        part.unlink(missing_ok=True)
        raise BadInput(
            "repo", f"{file.path} does not have the hash that the hub states; nothing was installed"
        )
    try:
        _look_at(part, file)
    except BadInput:
        part.unlink(missing_ok=True)
        raise
    os.replace(part, target)
    watch.finish()
    return InstalledFile(file.size, sha256)


def _download(
    plan: Plan, file: HubFile, part: Path, here: int, watch: _Watch, token: bool | str | None
) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    class Bar:
        """What the library believes to be a progress bar."""

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *error: object) -> None: ...

        def update(self, count: float = 1) -> None:
            watch.update(int(count))

    with open(part, "r+b" if here else "wb") as stream:
        stream.seek(here)
        if file.size and here < file.size:
            kind: Any = Bar
            http_get(
                hf_hub_url(plan.repo, file.path, revision=plan.commit, endpoint=plan.endpoint),
                stream,
                resume_size=here,
                headers=build_hf_headers(token=token),
                expected_size=file.size,
                displayed_filename=file.path,
                tqdm_class=kind,
            )
        stream.flush()
        os.fsync(stream.fileno())


def _checked(path: Path, file: HubFile) -> str | None:
    """The SHA-256 of a file that has the size and the hash that the hub states; None where it has not."""
    if path.stat().st_size != file.size:
        return None
    sha256 = file_sha256(path)
    if file.sha256:
        return sha256 if sha256 == file.sha256 else None
    digest = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return sha256 if digest.hexdigest() == file.git_sha1 else None


def _look_at(path: Path, file: HubFile) -> None:
    """Refuses a file that is not what its name says.

    Raises:
        BadInput: Naming it.
    """
    if file.path.endswith(".safetensors"):
        try:
            safetensors_header(path)
        except BadInput as error:
            raise BadInput("repo", f"{file.path}: {error.message}") from None
        return
    with path.open("rb") as stream:
        head = stream.read(8)
    if sniff(path) in _REFUSED or head.startswith(_PICKLE):
        raise BadInput("repo", f"{file.path} is not what its name says; nothing was installed")
    if file.path.endswith((".json", ".txt")) and sniff(path) not in ("text", "utf-16", "empty"):
        raise BadInput("repo", f"{file.path} is no text; nothing was installed")


def _install(stage: Path, folder: Path) -> None:
    """Puts the checked files in the place of an older revision."""
    old = folder.with_name(f".replaced-{os.getpid()}-{folder.name}")
    if folder.exists():
        folder.rename(old)
    try:
        stage.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
