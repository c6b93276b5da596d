"""The studio's own place for uploaded files: private to this process, a folder an owner, gone when it ends."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from apps.studio.forms import FormField
from apps.web.calls import is_own_file, owner_folder
from apps.web.owners import LOCAL
from domains.common.errors import BadInput


def private_upload_folder() -> Path:
    """Makes gradio keep uploads in a folder of this process that nobody else on the machine may read."""
    folder = Path(tempfile.mkdtemp(prefix="langevin-uploads-"))
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def into_cache(path: str | Path, owner: str = LOCAL) -> str:
    """Copies a file of ours to where the page of `owner` may read it; returns the copy."""
    return save_file_to_cache(path, cache_dir=str(owner_folder(Path(get_upload_folder()), owner)))


def received(fields: Sequence[FormField], values: Sequence[Any], owner: str = LOCAL) -> list[Any]:
    """The values of a form as they came over the wire, with each file as its path.

    Raises:
        BadInput: If a file was not uploaded through this app by `owner`; no other path of this machine is read.
    """
    plain = []
    for field, value in zip(fields, values, strict=True):
        if field.kind == "file" and value is not None:
            value = _uploaded(field.name, value, owner)
        elif field.kind == "files" and value is not None:
            value = [
                _uploaded(field.name, item, owner) for item in (value if isinstance(value, list) else [value])
            ]
        plain.append(value)
    return plain


def _uploaded(field: str, value: object, owner: str) -> str:
    """The path in `{"path": ..., "meta": {"_type": "gradio.FileData"}}`, as the page and `handle_file` make it."""
    path = value.get("path") if isinstance(value, dict) else value
    if not isinstance(path, str) or not is_own_file(path, Path(get_upload_folder()), owner):
        raise BadInput(field, "must be an uploaded file; with gradio_client, pass handle_file(path)")
    return path
