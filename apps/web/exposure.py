"""Whether the app may be reached from where it listens: never by strangers without a login or the hosted limits."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path

from apps.engine.settings import PREFIX, Settings, default_home
from apps.web.users import Users
from domains.common.errors import BadInput

USERS_FILE = "users.toml"
# A Space of Hugging Face: its proxy is the only way in, its page is shown in a frame, its operator chose who may come.
_SPACE, _SPACE_HOST = "SPACE_ID", "SPACE_HOST"


def host_name(host: str) -> str:
    """The name in a Host header, without port, brackets and final dot; empty where it is none."""
    host = host.strip().lower()
    if host.startswith("["):
        name, bracket, rest = host[1:].partition("]")
        return name if bracket and (not rest or rest.startswith(":")) else ""
    name, _, port = host.partition(":")
    return name.rstrip(".") if not port or port.isdigit() else ""


def is_loopback(host: str) -> bool:
    """Whether listening on `host` reaches this machine alone."""
    name = host_name(f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host)
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def shown_host(host: str) -> str:
    """A host as an address has it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def users_file(settings: Settings) -> Path:
    """The file of users: the one that the settings name, else `users.toml` in the home folder."""
    return (settings.users_file or (settings.home or default_home()) / USERS_FILE).expanduser()


def check_exposure(host: str, settings: Settings, users: Users) -> None:
    """Checks that only those who may can reach an app that listens on `host`.

    Raises:
        BadInput: If others than this machine could, and neither a login nor the open hosted profile is set.
    """
    if settings.open_to_all and settings.profile != "hosted":
        raise BadInput(
            "open_to_all", "is for the hosted profile alone; set LANGEVIN_PROFILE=hosted beside it"
        )
    if is_loopback(host) or users or settings.open_to_all:
        return
    raise BadInput(
        "host",
        f"{host} would let others in without a login; add a user first (python launch.py users add NAME), "
        "or listen on 127.0.0.1",
    )


def space_settings(environ: Mapping[str, str] | None = None) -> dict[str, object]:
    """What a Space of Hugging Face chooses where the environment does not say otherwise; empty elsewhere."""
    environ = os.environ if environ is None else environ
    if not environ.get(_SPACE):
        return {}
    here: dict[str, object] = {
        "profile": "hosted",
        "open_to_all": True,
        "hosts": tuple(filter(None, (environ.get(_SPACE_HOST, ""),))),
        "embed_in": ("https://huggingface.co",),
        "proxies": ("10.0.0.0/8",),
    }
    return {name: value for name, value in here.items() if not environ.get(f"{PREFIX}{name.upper()}")}
