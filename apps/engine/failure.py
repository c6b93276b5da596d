"""Words for errors that nobody foresaw."""

from __future__ import annotations


def describe_crash(error: BaseException) -> str:
    """One sentence for a person about an unexpected error."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "ran out of memory; ask for fewer samples or give a smaller file"
    text = " ".join(str(error).split())
    return (
        f"unexpected {type(error).__name__}: {text[:300]}" if text else f"unexpected {type(error).__name__}"
    )
