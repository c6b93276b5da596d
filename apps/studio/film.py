"""A strip that shows a model denoising: frames recorded from a real run, drawn as a vector picture."""

from __future__ import annotations

from pathlib import Path

STORE = Path(__file__).parent / "static" / "films"


def film(domain: str) -> str:
    """The strip of a domain as HTML; empty where none is stored."""
    path = STORE / f"{domain}.json"
    return "" if not path.is_file() else path.read_text("utf-8")
