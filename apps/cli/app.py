"""`launch.py [--host H] [--port P] [--root-path PATH] …`: opens the app."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

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
    parser.add_argument(
        "--home", type=Path, help="folder of jobs, results and users (default: LANGEVIN_HOME)"
    )
    parser.add_argument("--settings", type=Path, help="TOML file of limits and choices; see docs/operate.md")
    parser.add_argument("--profile", choices=("local", "hosted"), help="whose limits hold (default: local)")
    parser.add_argument(
        "--allow-host",
        action="append",
        metavar="NAME",
        help="name under which the app is reached; repeatable",
    )
    parser.add_argument(
        "--engine", choices=("local", "ray"), help="where jobs run: on this machine, or on a Ray cluster"
    )
    parser.add_argument("--share", action="store_true", help="refused: the app opens no tunnel")
    chosen = parser.read(arguments)
    if not (chosen.port.isascii() and chosen.port.isdigit() and 0 < int(chosen.port[:6]) < 65536):
        raise BadInput("port", f"must be a whole number from 1 to 65535, not {chosen.port[:20]!r}")
    if chosen.share or os.environ.get("GRADIO_SHARE", "").lower() == "true":
        raise BadInput(
            "share",
            "the app opens no tunnel to the net; add a user and put it behind a proxy (docs/operate.md)",
        )
    if find_spec("gradio") is None:
        raise MissingLibrary("gradio", "app")
    from apps.engine.pool import sized
    from apps.engine.settings import load_settings
    from apps.web.exposure import check_exposure, space_settings, users_file
    from apps.web.users import load_users

    asked = {
        "home": chosen.home,
        "profile": chosen.profile,
        "engine": chosen.engine,
        "hosts": tuple(chosen.allow_host) if chosen.allow_host else None,
    }
    given = {**space_settings(), **{name: value for name, value in asked.items() if value is not None}}
    settings = load_settings(chosen.settings, **given)
    users = load_users(users_file(settings))
    check_exposure(chosen.host, settings, users)
    settings = sized(settings)
    from apps.studio.app import launch

    with contextlib.suppress(KeyboardInterrupt):  # the way to end it
        launch(
            host=chosen.host,
            port=int(chosen.port),
            root_path=chosen.root_path,
            settings=settings,
            users=users,
        )
    return 0
