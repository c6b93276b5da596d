"""What a viewer is: the formats it shows, what it needs, and the element that stands for it in a page."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from apps.studio.viewers.libraries import Library
from domains.common.files import human_size

MEGABYTE = 2**20


@dataclass(frozen=True)
class Viewer:
    """A viewer, as the page and the server know it; what it draws is in `static/viewers/NAME.js`.

    Attributes:
        name: Its name in addresses, and that of its script and its style sheet.
        noun: What it shows, for people: `image`, `volume`.
        formats: Formats that it shows, in the words of `contents.format_of`.
        max_bytes: Largest file that is loaded into it.
        height: Room that it takes up in the page, in pixels, from the start.
        scripts: Further scripts of ours that come before its own.
        libraries: What it draws with; each is part of an installed package.
        policy: What its frame may do beyond the rest, as sources of the Content-Security-Policy.
        compares: Whether it shows two files beside each other.
        sketches: Whether a flat drawing made by the server comes with the file.
    """

    name: str
    noun: str
    formats: frozenset[str]
    max_bytes: int
    height: int = 480
    scripts: tuple[str, ...] = ()
    libraries: tuple[Library, ...] = ()
    policy: tuple[tuple[str, str], ...] = ()
    compares: bool = False
    sketches: bool = False

    def missing(self) -> tuple[str, ...]:
        """Packages that it needs and that are not installed, or not in a form that it knows."""
        return tuple(library.package for library in self.libraries if not library.installed())

    def html(self, address: str, title: str, beside: tuple[str, str] | None = None) -> str:
        """The element that shows a file, for any page that has loaded `page_script` and `page_style`.

        Without scripts, or where a package is missing, it is a link to the file and a sentence.

        Args:
            address: Where the page finds the file, relative to the page or with its host.
            title: A few words for people; the name of what is seen to those who see nothing.
            beside: Address and title of a second file to compare with.

        Raises:
            ValueError: If there is a second file and the viewer does not compare.
        """
        if beside is not None and not self.compares:
            raise ValueError(f"the {self.noun} viewer shows one file at a time")
        link = f'<p class="viewer-file"><a href="{escape(address)}" download>Download {escape(_name(address))}</a></p>'
        missing = self.missing()
        if missing:
            packages = " ".join(missing)
            words = (
                f"{escape(title)} can be looked at here once {' and '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} installed: "
                f"<code>pip install 'langevin[viewers]'</code>, or <code>pip install {escape(packages)}</code>."
            )
            return f'<div class="viewer-absent" role="note"><p>{words}</p>{link}</div>'
        attributes = {
            "data-viewer": self.name,
            "data-noun": self.noun,
            "data-src": address,
            "data-title": title,
            "data-limit": str(self.max_bytes),
            "data-most": human_size(self.max_bytes),
        }
        if beside is not None:
            attributes |= {"data-beside-src": beside[0], "data-beside-title": beside[1]}
        if self.sketches:
            attributes["data-sketches"] = "yes"
        written = " ".join(f'{name}="{escape(value)}"' for name, value in attributes.items())
        style = f"--viewer-height: {self.height}px"
        return f'<langevin-viewer {written} style="{style}">{link}</langevin-viewer>'


def _name(address: str) -> str:
    """The file's name in an address."""
    return PurePosixPath(unquote(urlsplit(address).path)).name or "the file"
