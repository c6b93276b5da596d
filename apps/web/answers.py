"""Short answers of the door: one sentence, as text for scripts and people alike."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response


def refusal(status: int, words: str, **headers: str) -> Response:
    """`{"error": words}` with a status of 4xx or 5xx; gradio's page shows what stands in `error` or `detail`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse({"error": words, "detail": words}, status_code=status, headers=named)
