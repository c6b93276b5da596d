"""What an image was made with, in neutral words, and how other programs' names map to ours."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

MAX_PROMPT = 20_000  # characters
MAX_NAME = 200
MAX_UNMAPPED = 100

# k-diffusion's Euler on the probability flow is DDIM at eta 0; its ancestral Euler is DDIM at eta 1, DDPM's posterior.
SOLVERS = {
    "euler": "ddim",
    "euler a": "ancestral",
    "euler ancestral": "ancestral",
    "ddim": "ddim",
    "ddpm": "ancestral",
    "heun": "heun",
    "dpm++ 2m": "multistep",
    "dpmpp 2m": "multistep",
    "dpm++ 2m sde": "multistep-sde",
    "dpmpp 2m sde": "multistep-sde",
    "dpmpp 2m sde gpu": "multistep-sde",
    "unipc": "unipc",
    "uni pc": "unipc",
    "uni pc bh2": "unipc",
    "deis": "deis",
    "ipndm": "ipndm",
    "sa solver": "sa-solver",
    "lcm": "consistency",
}
GRIDS = {
    "karras": "karras",
    "exponential": "log-snr",
    "uniform": "uniform",
    "normal": "uniform",
    "simple": "uniform",
    "ddim uniform": "uniform",
}


@dataclass
class ForeignSettings:
    """How a picture was made elsewhere.

    Attributes:
        program: Which program wrote it.
        prompt, negative_prompt: Texts; a prompt's own notation of weights is left in it.
        steps: Solver steps.
        solver: Our name (`core.solvers.SOLVERS`); None where theirs has none.
        sampler: Their name.
        grid: Our name of the time grid: `uniform`, `karras` or `log-snr`; None where theirs has none.
        scheduler: Their name.
        guidance: Classifier-free guidance weight.
        seed: Seed; their noise is drawn otherwise, so that the same seed gives another picture here.
        width, height: Pixels.
        model: Name of the checkpoint, without folder and ending.
        unmapped: Sentences about what is in the file and means nothing here.
    """

    program: Literal["AUTOMATIC1111", "ComfyUI"]
    prompt: str = ""
    negative_prompt: str = ""
    steps: int | None = None
    solver: str | None = None
    sampler: str | None = None
    grid: str | None = None
    scheduler: str | None = None
    guidance: float | None = None
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    model: str | None = None
    unmapped: list[str] = field(default_factory=list)

    def miss(self, sentence: str) -> None:
        """Notes what did not map, once, and at most a hundred things."""
        sentence = one_line(sentence)
        if sentence not in self.unmapped and len(self.unmapped) < MAX_UNMAPPED:
            self.unmapped.append(sentence)

    def set_sampler(self, name: str) -> None:
        """Their name of a sampler, and ours if there is one."""
        self.sampler = one_line(name)
        self.solver = SOLVERS.get(_key(name))
        if self.solver is None:
            self.miss(f"sampler {name!r} has no counterpart")

    def set_scheduler(self, name: str) -> None:
        """Their name of a time grid, and ours if there is one."""
        self.scheduler = one_line(name)
        self.grid = GRIDS.get(_key(name))
        if self.grid is None and _key(name) != "automatic":
            self.miss(f"scheduler {name!r} has no counterpart")

    def set_model(self, name: str) -> None:
        """The name of a checkpoint, from a path."""
        base = name.replace("\\", "/").rsplit("/", 1)[-1]
        stem, dot, ending = base.rpartition(".")
        self.model = one_line(
            stem if dot and ending.lower() in ("safetensors", "ckpt", "pt", "gguf", "sft") else base
        )


def whole(value: object, low: int, high: int) -> int | None:
    """A whole number within bounds, from a number or a text; else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        if len(text) > 20 or not text.lstrip("-").isascii() or not text.lstrip("-").isdigit():
            return None
        value = int(text)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and low <= value <= high else None


def number(value: object, low: float, high: float) -> float | None:
    """A number within bounds, from a number or a text; else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value) if not isinstance(value, str) or len(value) <= 40 else math.nan
    except (ValueError, OverflowError):
        return None
    return found if low <= found <= high else None


def one_line(text: str) -> str:
    """A name of other programs as one short line of printable characters."""
    text = " ".join(text[: 4 * MAX_NAME].split())
    text = "".join(character for character in text if character.isprintable())
    return text if len(text) <= MAX_NAME else text[: MAX_NAME - 1] + "…"


def _key(name: str) -> str:
    return " ".join(name[:MAX_NAME].lower().replace("_", " ").replace("-", " ").split())
