"""Whose request it is.

The door (`apps.web.door`) decides it once for each request and writes it beside the request; everything else asks here.
An owner is a plain string: `local` on this machine's own app without login, the user's name with login, else
`guest-` and the hash of a random secret that the visitor's browser keeps in a cookie.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, MutableMapping
from typing import Any

LOCAL = "local"
GUEST = "guest-"
_KEY = "langevin_owner"


def owner_of(request: Any) -> str:
    """The owner of a request of Starlette, FastAPI or Gradio; `local` where there is no request.

    Raises:
        PermissionError: If the request did not come through the door.
    """
    inner = getattr(request, "request", None) or request  # gradio wraps FastAPI's
    scope = getattr(inner, "scope", None)
    return LOCAL if scope is None else owner_in(scope)  # without one, the call comes from this process


def owner_in(scope: Mapping[str, Any]) -> str:
    """The owner that the door wrote beside an ASGI request.

    Raises:
        PermissionError: If the request did not come through the door.
    """
    owner = scope.get("state", {}).get(_KEY)
    if not isinstance(owner, str):
        raise PermissionError("this request has no owner: it did not come through the app's door")
    return owner


def set_owner(scope: MutableMapping[str, Any], owner: str) -> None:
    """Writes the owner beside the request."""
    scope["state"] = {**scope.get("state", {}), _KEY: owner}


def guest(secret: str) -> str:
    """The owner that a visitor's secret stands for; the secret itself is stored and logged nowhere."""
    return GUEST + hashlib.sha256(secret.encode()).hexdigest()[:32]


def folder_name(owner: str) -> str:
    """A name for an owner's folder that says nothing and cannot be a path."""
    return hashlib.sha256(b"folder of " + owner.encode()).hexdigest()[:32]
