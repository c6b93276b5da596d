"""File safety: bounds before reading, kinds by content, writes that are whole or absent."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domains.common.errors import BadInput
from domains.common.files import (
    atomic_path,
    atomic_write_bytes,
    atomic_write_text,
    bounded_size,
    human_size,
    read_bounded,
    sniff,
    sniff_bytes,
)


def test_a_sparse_file_of_10_gb_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "sparse.csv"
    with open(path, "wb") as stream:
        stream.truncate(10 * 2**30)
    begin = time.perf_counter()
    with pytest.raises(BadInput, match="10 GB") as caught:
        read_bounded(path, 64 * 2**20, "table")
    assert caught.value.field == "table"
    assert time.perf_counter() - begin < 0.1


def test_bounded_size_gives_the_size_and_refuses_what_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert bounded_size(path, 5, "f") == 5
    for bad, words in (
        (tmp_path, "regular"),
        (tmp_path / "none", "no such file"),
        (Path("a\x00b"), "no such file"),
    ):
        with pytest.raises(BadInput, match=words):
            bounded_size(bad, 5, "f")
    with pytest.raises(BadInput, match="holds 5 bytes and at most 4 bytes"):
        bounded_size(path, 4, "f")
    path.write_bytes(b"")
    with pytest.raises(BadInput, match="empty"):
        bounded_size(path, 5, "f")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    with pytest.raises(BadInput, match="regular"):
        read_bounded(pipe, 100, "table")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", "empty"),
        (b"date,a\n1,2\n", "text"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "png"),
        (b"PK\x03\x04\x14\x00", "zip"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"PAR1\x15\x04\x15", "parquet"),
        (b"PAR1,PAR2\n1,2\n", "text"),
        (b"BZh,b\n1,2\n", "text"),
        (b"%PDF-1.7\n", "pdf"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "webp"),
        ("a,b\n".encode("utf-16"), "utf-16"),
        (b"a,b\n1,\x00\n", "binary"),
    ],
)
def test_kinds_are_told_by_content(tmp_path: Path, head: bytes, kind: str) -> None:
    assert sniff_bytes(head) == kind
    path = tmp_path / "table.csv"
    path.write_bytes(head)
    assert sniff(path) == kind


@given(st.text(alphabet=st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1))
def test_plain_text_is_text_whatever_it_begins_with(text: str) -> None:
    if not text.startswith("%PDF-"):
        assert sniff_bytes(text.encode()) == "text"


def test_atomic_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic_write_text(path, "eins\r\nzwei\n")
    assert path.read_bytes() == b"eins\r\nzwei\n"
    atomic_write_bytes(path, b"x")
    assert path.read_bytes() == b"x"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_halfway() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_written_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write_bytes(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_sizes_for_people() -> None:
    assert [human_size(n) for n in (5, 1536, 64 * 2**20, 10 * 2**30)] == [
        "5 bytes",
        "1.5 KB",
        "64 MB",
        "10 GB",
    ]
