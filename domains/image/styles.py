"""Named styles: words laid around a prompt, in the manner of the web UIs' styles file."""

from __future__ import annotations

from typing import NamedTuple


class Style(NamedTuple):
    """Words around a prompt.

    Attributes:
        prompt: Text with `{prompt}` where the prompt goes; without it, the text follows the prompt.
        negative: What is added to the negative prompt.
    """

    prompt: str
    negative: str = ""


STYLES: dict[str, Style] = {
    "flat": Style("a flat illustration of {prompt}", "3d style"),
    "shaded": Style("a shaded rendering of {prompt}", "flat style"),
    "on grass": Style("{prompt}, on a meadow"),
    "on a beach": Style("{prompt}, on a beach"),
}


def styled(prompt: str, negative: str, style: str | None) -> tuple[str, str]:
    """Prompt and negative prompt with a style's words around them."""
    if style is None:
        return prompt, negative
    chosen = STYLES[style]
    around = chosen.prompt if "{prompt}" in chosen.prompt else "{prompt}, " + chosen.prompt
    return around.replace("{prompt}", prompt), ", ".join(part for part in (negative, chosen.negative) if part)
