"""Models from a hub: what there is, how large, under which licence; then, if a person wants it, the download.

Nothing is asked for unless a person asks.  What comes is data alone: safetensors, JSON, text and tokenizer files; a
repository's code and pickles stay where they are.  The revision is pinned to a commit before the first byte, each file
is checked against the hash that the hub states for it, and what was checked is written down.  An interrupted download
goes on where it stopped.

`huggingface_hub` does the talking (names, endpoints, tokens, gates, redirects, retries); the download itself is in
`domains.common.hub_download`.
"""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from domains.common.errors import BadInput, MissingLibrary
from domains.common.files import human_size
from domains.common.installed_models import safe_path
from domains.common.intake.text import plain_text

GIGABYTE = 1 << 30
CHUNK = 1 << 18  # bytes
_ENDPOINT = "https://huggingface.co"
_SUFFIXES = (".safetensors", ".json", ".txt")
_TOKENIZERS = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "spm.model")
_MOST_FILES = 2000
_LARGEST_TEXT = 256 << 20  # bytes of a file other than weights
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_NET = ("huggingface_hub", "httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "ssl", "socket")


@dataclass(frozen=True)
class HubFile:
    """A file of a repository at one commit.

    Attributes:
        path: Within the repository.
        size: In bytes.
        sha256: Hash of its bytes, for large files.
        git_sha1: Git's hash of it (of `blob SIZE NUL` and its bytes), for the others.
    """

    path: str
    size: int
    sha256: str = ""
    git_sha1: str = ""


@dataclass(frozen=True)
class Plan:
    """What a download would bring.

    Attributes:
        repo: `owner/name`.
        commit: The commit that is meant from now on, whatever the branch does.
        endpoint: Address of the hub.
        files: That would come.
        left_out: Names of files that do not: code, pickles, pictures, what was not asked for.
        licence: As the hub states it; empty where it does not.
        gated: Whether its owner asks for terms to be accepted.
    """

    repo: str
    commit: str
    endpoint: str
    files: tuple[HubFile, ...]
    left_out: tuple[str, ...]
    licence: str
    gated: bool

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.size for file in self.files)

    @property
    def name(self) -> str:
        """Name of the folder that it gets."""
        return self.repo.replace("/", "--")

    @property
    def brings_code(self) -> bool:
        """Whether the repository holds programs, which are left out."""
        return any(name.endswith(".py") for name in self.left_out)

    def words(self) -> str:
        """The plan in a line."""
        licence = f"licence {self.licence}" if self.licence else "no licence stated"
        return (
            f"{self.repo} at {self.commit[:12]}: {len(self.files)} files, {human_size(self.bytes)}, {licence}"
        )


def make_plan(
    repo: str,
    revision: str | None = None,
    only: Iterable[str] = (),
    limit: int = 20 * GIGABYTE,
    token: bool | str | None = None,
) -> Plan:
    """Asks the hub what a repository holds; downloads nothing.

    Args:
        repo: `owner/name`.
        revision: Branch, tag or commit; None is the main branch.
        only: Patterns such as `unet/*`, one of which a file's path must match; none takes all.
        limit: Bytes at most.
        token: For gated repositories: the library's own choice (HF_TOKEN or a login), or False for none.

    Raises:
        BadInput: If there is no such repository or revision, it is gated, too large, or unsound.
        MissingLibrary: Without huggingface_hub.
    """
    if not _REPO.fullmatch(repo) or "--" in repo or ".." in repo:
        raise BadInput("repo", f"must be OWNER/NAME as on the hub, not {plain_text(repo, 60)!r}")
    if revision is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,200}", revision):
        raise BadInput("revision", "must be a branch, a tag or a commit")
    library, endpoint = hub_library(), _endpoint()
    try:
        info = library.HfApi(endpoint=endpoint, token=token).model_info(
            repo, revision=revision, files_metadata=True, timeout=30
        )
    except Exception as error:
        raise explained(error, repo, endpoint) from None
    commit = str(info.sha or "")
    if not _COMMIT.fullmatch(commit):
        raise BadInput("revision", "the hub states no commit to pin it to")
    wanted = tuple(only)
    files: list[HubFile] = []
    left_out: list[str] = []
    for sibling in info.siblings or ():
        path = str(sibling.rfilename)
        if not is_data(path) or (wanted and not any(fnmatchcase(path, pattern) for pattern in wanted)):
            left_out.append(plain_text(path))
            continue
        files.append(_file(path, sibling))
    plan = Plan(repo, commit, endpoint, tuple(files), tuple(left_out), _licence(info), bool(info.gated))
    _check_plan(plan, limit)
    return plan


def is_data(path: str) -> bool:
    """Whether a file is of a kind that is downloaded, by its name; what it holds is looked at when it has come."""
    name = path.rsplit("/", 1)[-1]
    return name.endswith(_SUFFIXES) or name in _TOKENIZERS


# -- the plan ---------------------------------------------------------------------------------------------------------


def _file(path: str, sibling: Any) -> HubFile:
    if not safe_path(path):
        raise BadInput("repo", f"names a file oddly: {plain_text(path, 60)!r}; it is not downloaded")
    large = sibling.lfs
    size = large.size if large is not None else sibling.size
    sha256 = str(large.sha256) if large is not None else ""
    git_sha1 = "" if large is not None else str(sibling.blob_id or "")
    if type(size) is not int or size < 0 or not (_SHA256.fullmatch(sha256) or _COMMIT.fullmatch(git_sha1)):
        raise BadInput("repo", f"the hub states no size and hash of {path}; it is not downloaded")
    return HubFile(path, size, sha256, git_sha1)


def _check_plan(plan: Plan, limit: int) -> None:
    if not plan.files:
        raise BadInput("repo", f"{plan.repo} holds no safetensors, JSON or text file that was asked for")
    if len(plan.files) > _MOST_FILES:
        raise BadInput("repo", f"holds {len(plan.files)} files and at most {_MOST_FILES} are taken")
    paths = [file.path.lower() for file in plan.files]  # some file systems know no capitals
    if len({*paths}) < len(paths) or any(a != b and b.startswith(f"{a}/") for a in paths for b in paths[:50]):
        raise BadInput("repo", "names two files alike; it is not downloaded")
    for file in plan.files:
        if not file.path.endswith(".safetensors") and file.size > _LARGEST_TEXT:
            raise BadInput("repo", f"{file.path} holds {human_size(file.size)}, too much for what it is")
    if plan.bytes > limit:
        raise BadInput(
            "repo",
            f"holds {human_size(plan.bytes)} and at most {human_size(limit)} are downloaded; "
            "choose some of its files, or raise hub_bytes in the settings",
        )


def _licence(info: Any) -> str:
    stated = getattr(info.card_data, "license", None) if info.card_data is not None else None
    if not stated:
        stated = next((tag[8:] for tag in info.tags or () if str(tag).startswith("license:")), "")
    return plain_text(", ".join(map(str, stated)) if isinstance(stated, list) else stated or "", 80)


# -- the library ------------------------------------------------------------------------------------------------------


def hub_library() -> Any:
    """`huggingface_hub`, with what it tells about this machine turned off.

    Raises:
        MissingLibrary: If it is not installed.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise MissingLibrary("huggingface_hub", "hub")
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import huggingface_hub
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True  # where it was imported before
    # What is lost by an interruption, and how long a cancelled download goes on; the library's own are 10 MB.
    constants.DOWNLOAD_CHUNK_SIZE = min(constants.DOWNLOAD_CHUNK_SIZE, CHUNK)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of each new try
    return huggingface_hub


def _endpoint() -> str:
    """Address of the hub: HF_ENDPOINT or the public one.

    Raises:
        BadInput: If it is not https, except on this machine.
    """
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or _ENDPOINT
    parts = urlsplit(endpoint)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise BadInput("HF_ENDPOINT", "must be an https address")
    return endpoint


def explained(error: Exception, repo: str, endpoint: str) -> Exception:
    """An error of the library or the system in words; one that is ours to mend as it is."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if "GatedRepoError" in names:
        return BadInput(
            "repo",
            f"{repo} is gated: its owner asks for terms to be accepted. Log in at {endpoint}/{repo}, accept them, "
            "make a token with read access there, and set HF_TOKEN to it",
        )
    if "RevisionNotFoundError" in names:
        return BadInput("revision", f"{repo} has no such branch, tag or commit")
    if "RepositoryNotFoundError" in names:
        return BadInput(
            "repo", f"{repo} is not on the hub, or it is private: check the name, or set HF_TOKEN"
        )
    if "EntryNotFoundError" in names:
        return BadInput("repo", "the hub has no such file any more; ask for the plan again")
    if "OfflineModeIsEnabled" in names:
        return BadInput("hub", "HF_HUB_OFFLINE is set; unset it to ask the hub")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BadInput("disk", "is full; make space, then ask again: the download goes on where it stopped")
    ours = type(error).__module__.partition(".")[0] not in _NET and not isinstance(error, OSError)
    if ours:
        return error
    host = urlsplit(endpoint).netloc
    return BadInput(
        "hub", f"{host} did not answer as it should; ask again: the download goes on where it stopped"
    )
