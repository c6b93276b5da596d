"""Uploads on disk: cleared by age and by size, and never another's."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from apps.web.incoming import staging, take, tidy


def put(folder: Path, name: str, size: int, age: float) -> Path:
    path = folder / name / "a.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a" * size)
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_the_oldest_go_first_and_the_old_go_anyway(tmp_path: Path) -> None:
    ancient, old, young = put(tmp_path, "1", 10, 9e5), put(tmp_path, "2", 10, 100), put(tmp_path, "3", 10, 1)
    assert tidy(tmp_path, most=1000) == 10
    assert (ancient.exists(), old.exists(), young.exists()) == (False, True, True)
    assert tidy(tmp_path, most=15) == 10
    assert (old.exists(), young.exists()) == (False, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3"]


def test_a_link_among_the_uploads_is_removed_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("keep")
    folder = tmp_path / "owner"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "link").symlink_to(outside)
    tidy(folder, most=0, seconds=0)
    assert outside.read_text() == "keep" and not (folder / "1" / "link").is_symlink()


def test_a_file_appears_whole_and_nothing_else_stays(tmp_path: Path) -> None:
    with staging(tmp_path / "owner") as place:
        (place / "hash").mkdir()
        (place / "hash" / "a.csv").write_text("1")
        (place / "tmp123").write_text("half")
        taken = take(place / "hash" / "a.csv", tmp_path / "owner")
    assert taken.read_text() == "1" and taken.stat().st_mode & 0o777
    with contextlib.suppress(RuntimeError), staging(tmp_path / "owner") as place:
        (place / "tmp").write_text("half")
        raise RuntimeError
    assert [path.name for path in (tmp_path / "owner").iterdir()] == ["hash"]
