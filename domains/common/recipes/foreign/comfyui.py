"""The graph that ComfyUI ran (`prompt`: id -> class and inputs), walked from a sampler to its text, latent and model.

An input is a value, or a link `[node id, output]`.  The graph is untrusted: walks end at a node seen before, at a
depth, and at nodes of unknown kind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from domains.common.recipes.foreign.settings import MAX_PROMPT, ForeignSettings, number, one_line, whole

MAX_TEXT = 4 * 2**20
_MAX_NODES = 5_000
_MAX_DEPTH = 200
_OUTPUTS = ("SaveImage", "PreviewImage", "SaveImageWebsocket", "SaveAnimatedWEBP", "SaveAnimatedPNG")
_TEXTS = ("text", "string", "value", "prompt", "text_g", "clip_l", "t5xxl", "wildcard_text", "populated_text")
_MODELS = ("ckpt_name", "unet_name", "model_name", "base_ckpt_name", "gguf_name")
_NEXT_LATENT = ("latent_image", "samples", "latent", "image", "images", "pixels")
_NEXT_CONDITION = (
    "conditioning",
    "conditioning_1",
    "conditioning_to",
    "positive",
    "base_positive",
    "cond1",
    "cond",
)

Node = Mapping[str, Any]


def parse_comfyui(text: str) -> ForeignSettings | None:
    """The settings of the first pass of the picture's graph; None where the text is no such graph or samples nothing.

    Later passes, adapters, controls and everything else that does not map are listed.  A text past 4 MiB is not read.
    """
    nodes = _nodes(text)
    sampler = _first_sampler(nodes)
    if sampler is None:
        return None
    found = ForeignSettings("ComfyUI")
    _sampling(found, nodes, nodes[sampler])
    guider = _follow(nodes, nodes[sampler], "guider") or nodes[sampler]
    found.prompt = _prompt(found, nodes, guider, ("positive", "conditioning", "cond1"), "prompt")
    found.negative_prompt = _prompt(found, nodes, guider, ("negative",), "negative prompt")
    _latent(found, nodes, nodes[sampler])
    _model(found, nodes, guider)
    for name in _samplers(nodes):
        if name != sampler:
            found.miss(f"a further pass (node {one_line(name)}, {_kind(nodes[name])})")
    return found


def _nodes(text: str) -> dict[str, Node]:
    """The nodes of a graph that are built as nodes are; empty where the text is no graph."""
    if len(text) > MAX_TEXT:
        return {}
    try:
        # ComfyUI writes NaN for nodes that always run again; it stands for nothing here.
        graph = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(graph, dict) or len(graph) > _MAX_NODES:
        return {}
    return {
        name: node
        for name, node in graph.items()
        if isinstance(node, dict)
        and isinstance(node.get("class_type"), str)
        and isinstance(node.get("inputs"), dict)
    }


def _kind(node: Node) -> str:
    return one_line(node["class_type"])


def _samplers(nodes: Mapping[str, Node]) -> list[str]:
    """Ids of nodes that sample: they take a latent, and a sampler by name or by link."""
    return [
        name
        for name, node in nodes.items()
        if "latent_image" in node["inputs"] and {"sampler_name", "sampler"} & set(node["inputs"])
    ]


def _first_sampler(nodes: Mapping[str, Node]) -> str | None:
    """The sampler that the saved picture began with, else any."""
    samplers = _samplers(nodes)
    last: str | None = None
    for node in nodes.values():
        if node["class_type"] in _OUTPUTS:
            way = [name for name in _upstream(nodes, node, _NEXT_LATENT) if name in samplers]
            if way:
                last = way[-1]
                break
    return last or (samplers[0] if samplers else None)


def _upstream(nodes: Mapping[str, Node], node: Node, names: tuple[str, ...]) -> Iterator[str]:
    """Ids along the first of the inputs `names` that is a link, nearest first."""
    seen: set[str] = set()
    for _ in range(_MAX_DEPTH):
        linked = next(
            (link for name in names if (link := _link(nodes, node["inputs"].get(name))) is not None), None
        )
        if linked is None or linked in seen:
            return
        seen.add(linked)
        yield linked
        node = nodes[linked]


def _link(nodes: Mapping[str, Node], value: object) -> str | None:
    """The id that a link names, if it is one and the node is there."""
    if (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str | int)
        and str(value[0]) in nodes
    ):
        return str(value[0])
    return None


def _follow(nodes: Mapping[str, Node], node: Node, name: str) -> Node | None:
    linked = _link(nodes, node["inputs"].get(name))
    return nodes[linked] if linked is not None else None


def _value(nodes: Mapping[str, Node], node: Node, *names: str) -> object:
    """The first of the inputs `names` as a value, through nodes that hold one value."""
    for name in names:
        value: object = node["inputs"].get(name)
        for _ in range(_MAX_DEPTH):
            linked = _link(nodes, value)
            if linked is None:
                break
            inputs = nodes[linked]["inputs"]
            value = next(
                (
                    inputs[key]
                    for key in (name, "noise_seed", "seed", *_TEXTS, "int", "float")
                    if key in inputs
                ),
                None,
            )
        if value is not None and not isinstance(value, list | dict):
            return value
    return None


def _sampling(found: ForeignSettings, nodes: Mapping[str, Node], node: Node) -> None:
    noise = _follow(nodes, node, "noise") or node
    guider = _follow(nodes, node, "guider") or node
    chosen = _follow(nodes, node, "sampler") or node
    sigmas = _follow(nodes, node, "sigmas") or node
    found.seed = whole(_value(nodes, noise, "noise_seed", "seed"), 0, 2**63 - 1)
    found.guidance = number(_value(nodes, guider, "cfg"), 0, 1000)
    found.steps = whole(_value(nodes, sigmas, "steps"), 1, 10_000)
    name = _value(nodes, chosen, "sampler_name")
    if isinstance(name, str):
        found.set_sampler(name)
    else:
        found.miss(f"sampler {_kind(chosen)}")
    scheduler = _value(nodes, sigmas, "scheduler")
    if not isinstance(scheduler, str) and sigmas is not node:
        scheduler = _kind(sigmas).removesuffix("Scheduler")
    if isinstance(scheduler, str):
        found.set_scheduler(scheduler)
    strength = number(_value(nodes, sigmas, "denoise"), 0, 1)
    if strength is not None and strength != 1:
        found.miss(f"denoising strength {strength:g}")
    for key in ("start_at_step", "end_at_step"):
        step = whole(_value(nodes, node, key), 0, 10_000)
        if step and not (key == "end_at_step" and found.steps is not None and step >= found.steps):
            found.miss(f"{key} {step}")


def _prompt(
    found: ForeignSettings, nodes: Mapping[str, Node], node: Node, names: tuple[str, ...], title: str
) -> str:
    """The text at the end of the conditions' way; what lies on the way besides texts is listed."""
    start = next(
        (link for name in names if (link := _link(nodes, node["inputs"].get(name))) is not None), None
    )
    if start is None:
        return ""
    for name in (start, *_upstream(nodes, nodes[start], (*names, *_NEXT_CONDITION))):
        text = _value(nodes, nodes[name], *_TEXTS)
        if isinstance(text, str):
            if len(text) > MAX_PROMPT:
                found.miss(f"the {title} was cut to {MAX_PROMPT} characters")
            return text[:MAX_PROMPT].strip()
        guidance = number(_value(nodes, nodes[name], "guidance"), 0, 1000)
        if guidance is not None:
            found.miss(f"distilled guidance {guidance:g}")
        elif _kind(nodes[name]) != "ConditioningZeroOut":
            found.miss(f"{_kind(nodes[name])} on the way to the {title}")
    return ""


def _latent(found: ForeignSettings, nodes: Mapping[str, Node], node: Node) -> None:
    for name in _upstream(nodes, node, _NEXT_LATENT):
        width = whole(_value(nodes, nodes[name], "width"), 1, 65_536)
        height = whole(_value(nodes, nodes[name], "height"), 1, 65_536)
        if width is not None and height is not None:
            found.width, found.height = width, height
            batch = whole(_value(nodes, nodes[name], "batch_size"), 1, 65_536)
            if batch is not None and batch > 1:
                found.miss(f"a batch of {batch}")
            return
        found.miss(f"{_kind(nodes[name])} before the first step")


def _model(found: ForeignSettings, nodes: Mapping[str, Node], node: Node) -> None:
    for name in _upstream(nodes, node, ("model",)):
        model = _value(nodes, nodes[name], *_MODELS)
        if isinstance(model, str):
            found.set_model(model)
            return
        adapter = _value(nodes, nodes[name], "lora_name")
        found.miss(
            f"{_kind(nodes[name])} {adapter}"
            if isinstance(adapter, str)
            else f"{_kind(nodes[name])} on the model"
        )
