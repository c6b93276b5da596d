"""`launch.py [--host H] [--port P] [--root-path PATH]`: opens the app."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from importlib.util import find_spec

from apps.cli.parser import Parser
from domains.common.errors import BadInput, MissingLibrary


def main(arguments: Sequence[str]) -> int:
    """Serves the app until interrupted."""
    parser = Parser("app", "Opens the app in the browser.")
    # A hosted Space names its address in these variables.
    host, port = (
        os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
        os.environ.get("GRADIO_SERVER_PORT", "7860"),
    )
    parser.add_argument("--host", default=host, help="address to listen on (default: this machine only)")
    parser.add_argument("--port", default=port, help="port (default: 7860)")
    parser.add_argument(
        "--root-path", default=None, help="path prefix, where a proxy serves the app under one"
    )
    chosen = parser.read(arguments)
    if not (chosen.port.isascii() and chosen.port.isdigit() and 0 < int(chosen.port[:6]) < 65536):
        raise BadInput("port", f"must be a whole number from 1 to 65535, not {chosen.port[:20]!r}")
    if find_spec("gradio") is None:
        raise MissingLibrary("gradio", "app")
    from apps.studio.app import launch

    with contextlib.suppress(KeyboardInterrupt):  # the way to end it
        launch(host=chosen.host, port=int(chosen.port), root_path=chosen.root_path)
    return 0
