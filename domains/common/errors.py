"""Errors that are meant for the person who made the request."""

from __future__ import annotations


class BadInput(ValueError):
    """The request cannot be served as it is; says which field and how to mend it, in one line.

    Attributes:
        field: Name of the request field (as on the command line, without dashes) that is at fault.
        message: One sentence: what is wrong and what to do about it.
    """

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        self.message = " ".join(str(message).split())
        super().__init__(f"{field}: {self.message}")


class Cancelled(Exception):
    """The person asked for the run to stop; raised by `Run.check` and passed through by every task."""


class MissingLibrary(ImportError):
    """An optional library is absent; the message says which extra installs it."""

    def __init__(self, library: str, extra: str) -> None:
        self.library, self.extra = library, extra
        super().__init__(
            f"{library} is not installed; install it with: pip install -c constraints.txt -e '.[{extra}]'"
        )
