"""The text `parameters` of AUTOMATIC1111's web UI and of programs that copy it (Forge, SD.Next, Civitai).

Lines of prompt, then lines that begin with `Negative prompt:`, then one line of `Name: value` pairs, in which a value
with a comma or a line break stands in quotes.
"""

from __future__ import annotations

import json
import re

from domains.common.recipes.foreign.settings import MAX_PROMPT, ForeignSettings, number, whole

MAX_TEXT = 2**18
_MAX_PAIRS = 400
_NEGATIVE = "Negative prompt:"
_PAIR = re.compile(r'([A-Za-z][\w \-/]{0,80}):[ \t]*("(?:[^"\\]++|\\.)*+"|[^,\n]*+)(?:,|$)')
_LEAST_PAIRS = 3  # fewer, and the last line is part of the prompt
_PLAIN = frozenset(
    (
        "Steps",
        "Sampler",
        "Schedule type",
        "CFG scale",
        "Seed",
        "Size",
        "Model",
        "Model hash",
        "Version",
        "Created Date",
    )
)
_KARRAS = (" Karras", " Exponential")


def parse_parameters(text: str) -> ForeignSettings | None:
    """The settings that a `parameters` text states; None where it is some other text.

    Text past 256 KiB is not read.
    """
    lines = text[:MAX_TEXT].replace("\r\n", "\n").strip().split("\n")
    pairs = _pairs(lines[-1])
    if len(pairs) < _LEAST_PAIRS or "Steps" not in pairs:
        return None
    found = ForeignSettings("AUTOMATIC1111")
    prompt, negative = _prompts(lines[:-1])
    for name, written in (("prompt", prompt), ("negative prompt", negative)):
        if len(written) > MAX_PROMPT:
            found.miss(f"the {name} was cut to {MAX_PROMPT} characters")
    found.prompt, found.negative_prompt = prompt[:MAX_PROMPT], negative[:MAX_PROMPT]
    _sampling(found, pairs)
    _rest(found, pairs)
    return found


def _pairs(line: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for match in _PAIR.finditer(line):
        name, value = match[1].strip(), match[2].strip()
        if value.startswith('"') and value.endswith('"') and len(value) > 1:
            try:
                value = str(json.loads(value))
            except (ValueError, RecursionError):
                value = value[1:-1]
        pairs.setdefault(name, value)
        if len(pairs) >= _MAX_PAIRS:
            break
    return pairs


def _prompts(lines: list[str]) -> tuple[str, str]:
    positive: list[str] = []
    negative: list[str] = []
    place = positive
    for line in lines:
        if line.lstrip().startswith(_NEGATIVE):
            place = negative
            line = line.lstrip()[len(_NEGATIVE) :].lstrip()
        place.append(line)
    return "\n".join(positive).strip(), "\n".join(negative).strip()


def _sampling(found: ForeignSettings, pairs: dict[str, str]) -> None:
    sampler, scheduler = pairs.get("Sampler", ""), pairs.get("Schedule type", "")
    for suffix in _KARRAS:  # before version 1.9 the schedule was part of the sampler's name
        if not scheduler and sampler.endswith(suffix):
            sampler, scheduler = sampler.removesuffix(suffix), suffix.strip()
    if sampler:
        found.set_sampler(sampler)
    if scheduler:
        found.set_scheduler(scheduler)
    found.steps = whole(pairs.get("Steps"), 1, 10_000)
    found.guidance = number(pairs.get("CFG scale"), 0, 1000)
    found.seed = whole(pairs.get("Seed"), 0, 2**63 - 1)
    if "Model" in pairs:
        found.set_model(pairs["Model"])
    width, _, height = pairs.get("Size", "").lower().partition("x")
    found.width, found.height = whole(width, 1, 65_536), whole(height, 1, 65_536)


def _rest(found: ForeignSettings, pairs: dict[str, str]) -> None:
    stated = {
        "Steps": found.steps,
        "CFG scale": found.guidance,
        "Seed": found.seed,
        "Size": found.width and found.height,
    }
    for name, number_read in stated.items():
        if name in pairs and number_read is None:
            found.miss(f"{name} {pairs[name]!r} is no number that can be used")
    for name, value in pairs.items():
        if name not in _PLAIN:
            found.miss(f"{name}: {value}")
    if re.search(r"<(?:lora|lyco|hypernet):[^>\n]{1,200}>", found.prompt):
        found.miss("the prompt asks for adapters (<lora:…>), which stand in it as text")
