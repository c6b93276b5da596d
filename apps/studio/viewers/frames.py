"""The documents inside the frames: one file each with all that it needs, under a policy that names scripts by hash.

A frame is sandboxed without an origin of its own: it can read neither the page around it nor cookies nor storage.  The
policy lets it fetch nothing from any host, this one included; what it shows, the page hands to it.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from apps.studio.viewers.libraries import inline
from apps.studio.viewers.page import FOLDER, own
from apps.studio.viewers.viewer import Viewer

_POLICY = {
    "default-src": "'none'",
    "style-src": "'unsafe-inline'",  # libraries write style elements and attributes
    "img-src": "blob: data:",
    "media-src": "blob:",
    "font-src": "data:",
    "connect-src": "blob: data:",  # libraries read what they were handed by way of fetch
    "base-uri": "'none'",
    "form-action": "'none'",
    "sandbox": "allow-scripts",
}


@dataclass(frozen=True)
class FrameDocument:
    """A frame's document.

    Attributes:
        html: Its text.
        gzipped: The same, compressed.
        policy: Its Content-Security-Policy, but for who may frame it.
        tag: Names this version of it.
    """

    html: bytes
    gzipped: bytes
    policy: str
    tag: str


@functools.cache
def frame_document(viewer: Viewer) -> FrameDocument:
    """The document of a viewer.

    Raises:
        OSError: If a package that it needs is not installed.
        libraries.Unknown: If one is not built as we know it.
    """
    styles = [library.css() for library in viewer.libraries] + [own("frame.css")]
    if (FOLDER / f"{viewer.name}.css").is_file():
        styles.append(own(f"{viewer.name}.css"))
    scripts = [("", inline(own("frame.js")))]
    for library in viewer.libraries:
        scripts.append((' type="module"' if library.module else "", library.code()))
    # A module runs after what is plain; our own scripts come last, so they are modules as well.
    scripts += [(' type="module"', inline(own(f"{name}.js"))) for name in (*viewer.scripts, viewer.name)]
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(viewer.noun)} viewer</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        + "".join(f"<style>{style}</style>" for style in styles)
        + '</head><body><main id="viewer"></main>'
        + "".join(f"<script{attributes}>{text}</script>" for attributes, text in scripts)
        + "</body></html>"
    ).encode()
    digest = hashlib.sha256(html).hexdigest()
    return FrameDocument(
        html=html,
        gzipped=gzip.compress(html, 6, mtime=0),
        policy=_policy(viewer, [text for _, text in scripts]),
        tag=f'"{digest[:32]}"',
    )


def _policy(viewer: Viewer, scripts: Iterable[str]) -> str:
    rules = {**_POLICY, "script-src": " ".join(f"'sha256-{_digest(script)}'" for script in scripts)}
    for name, sources in viewer.policy:
        rules[name] = f"{rules[name]} {sources}" if name in rules else sources
    return "; ".join(f"{name} {sources}" for name, sources in rules.items())


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
