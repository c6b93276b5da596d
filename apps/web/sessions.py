"""Who is logged in: random tokens, kept as hashes, so that the file of sessions opens no door."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from threading import Lock

DAY = 86_400.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    token TEXT PRIMARY KEY,
    user TEXT NOT NULL,
    password TEXT NOT NULL,
    expires REAL NOT NULL
)
"""


class Sessions:
    """Logins, in a small SQLite file of their own, so that a restart logs nobody out.

    A session ends when it is logged out, when it expires, and when its user's password is no longer the one it was
    begun with.

    Args:
        file: Where they are kept; None keeps them in memory.
        days: How long a login lasts.
    """

    def __init__(self, file: Path | None, days: float = 14.0) -> None:
        self.days = days
        self._lock = Lock()
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file.touch(mode=0o600)
        self._database = sqlite3.connect(":memory:" if file is None else file, check_same_thread=False)
        with self._lock, self._database:
            self._database.execute(_SCHEMA)

    def begin(self, user: str, password_hash: str) -> str:
        """A new token for `user`."""
        token = secrets.token_urlsafe(32)
        row = (_digest(token), user, _digest(password_hash), time.time() + self.days * DAY)
        with self._lock, self._database:
            self._database.execute("DELETE FROM sessions WHERE expires < ?", (time.time(),))
            self._database.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", row)
        return token

    def user(self, token: str, hashes: dict[str, str]) -> str | None:
        """Whose token it is, as long as that user (name -> password hash) is still there and unchanged."""
        query = "SELECT user, password FROM sessions WHERE token = ? AND expires > ?"
        with self._lock, closing(self._database.execute(query, (_digest(token), time.time()))) as found:
            row = found.fetchone()
        if row is None or _digest(hashes.get(row[0], "")) != row[1]:
            return None
        return str(row[0])

    def end(self, token: str) -> None:
        """Forgets a token."""
        with self._lock, self._database:
            self._database.execute("DELETE FROM sessions WHERE token = ?", (_digest(token),))

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._database.close()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
