"""Who may log in: names and password hashes in a TOML file, or one user from the environment."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from apps.web.owners import GUEST, LOCAL
from core.files import atomic_write_text
from domains.common.errors import BadInput, MissingLibrary
from domains.common.files import read_bounded

if TYPE_CHECKING:
    from argon2 import PasswordHasher

USER, PASSWORD, HASH = "LANGEVIN_USER", "LANGEVIN_PASSWORD", "LANGEVIN_PASSWORD_HASH"
SHORTEST, LONGEST = 10, 1024  # letters of a password
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_FILE_LIMIT = 1 << 20  # bytes
_HEADER = "# Who may log in to the app: name -> argon2id hash.  Written by `python launch.py users`.\n"


def check_name(name: str) -> str:
    """`name`, where a user may be called so.

    Raises:
        BadInput: If it is not 1 to 32 small letters, digits and `._-`, or means something else already.
    """
    if not _NAME.fullmatch(name) or name == LOCAL or name.startswith(GUEST):
        raise BadInput(
            "user", "must be 1 to 32 small letters, digits or . _ - and neither local nor guest-..."
        )
    return name


def hasher() -> PasswordHasher:
    """argon2id with the parameters that its library recommends (RFC 9106, low memory).

    Raises:
        MissingLibrary: If argon2-cffi is not installed.
    """
    try:
        from argon2 import PasswordHasher
    except ImportError:
        raise MissingLibrary("argon2-cffi", "app") from None
    return PasswordHasher()


def hash_password(password: str) -> str:
    """The hash of a new password.

    Raises:
        BadInput: If the password is too short to be worth anything, or absurdly long.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise BadInput("password", f"must have {SHORTEST} to {LONGEST} characters")
    return hasher().hash(password)


class Users:
    """Names and password hashes.

    Args:
        hashes: Name -> argon2 hash.
    """

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self.hashes = dict(hashes)
        # What an unknown name is checked against, so that it takes as long as a known one.
        self._nobody = hasher().hash(os.urandom(16).hex()) if self.hashes else ""

    def __bool__(self) -> bool:
        return bool(self.hashes)

    def __contains__(self, name: object) -> bool:
        return name in self.hashes

    def verify(self, name: str, password: str) -> bool:
        """Whether `password` is that of `name`; takes about the same time whoever is asked for."""
        from argon2.exceptions import InvalidHashError, VerificationError

        try:
            hasher().verify(self.hashes.get(name, self._nobody), password[: LONGEST + 1])
        except (VerificationError, InvalidHashError):
            return False
        return name in self.hashes


def read_users(file: Path) -> dict[str, str]:
    """Name -> hash, as a users file has it; empty where there is no such file.

    Raises:
        BadInput: If the file cannot be read, or is no users file.
    """
    if not file.exists():
        return {}
    try:
        stored = tomllib.loads(read_bounded(file, _FILE_LIMIT, "users").decode())
    except ValueError as error:  # BadInput is one, and says more
        if isinstance(error, BadInput):
            raise
        raise BadInput("users", f"{file.name} is not valid TOML: {error}") from None
    users = stored.get("users", {})
    if not isinstance(users, dict) or not all(isinstance(item, str) for item in users.values()):
        raise BadInput("users", f"{file.name} must hold a table [users] of names and hashes")
    return {check_name(name): value for name, value in users.items()}


def write_users(file: Path, hashes: Mapping[str, str]) -> None:
    """Writes a users file that its owner alone may read."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Names and hashes hold nothing that TOML would want escaped.
    lines = [f'"{check_name(name)}" = "{value}"' for name, value in sorted(hashes.items())]
    atomic_write_text(file, _HEADER + "[users]\n" + "".join(f"{line}\n" for line in lines))
    file.chmod(0o600)


def load_users(file: Path, environ: Mapping[str, str] | None = None) -> Users:
    """The users of a file, and the one that LANGEVIN_USER names with LANGEVIN_PASSWORD or its hash.

    Raises:
        BadInput: If either is not as it must be.
    """
    environ = os.environ if environ is None else environ
    hashes = read_users(file)
    name = environ.get(USER)
    if name:
        given, hashed = environ.get(PASSWORD), environ.get(HASH)
        if not (given or hashed):
            raise BadInput(USER, f"needs {PASSWORD} or {HASH} beside it")
        hashes[check_name(name)] = hashed or hash_password(given or "")
    return Users(hashes)
