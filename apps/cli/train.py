"""`launch.py train MODEL [--data PATH] [--set key=value ...] [--resume] [--device cpu|cuda] [--out DIR]`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from apps.cli.bar import plain_progress
from apps.cli.parser import Parser
from apps.cli.stopping import stop_on_terminate
from domains.common.errors import BadInput
from domains.registry import TRAINABLE


def main(arguments: Sequence[str]) -> int:
    """Trains a model."""
    parser = Parser("train", f"Trains or fine-tunes a model: {', '.join(TRAINABLE)}.")
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--data", type=Path, help="your data; without it, the model's own training mix")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="settings")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: a GPU where there is one")
    parser.add_argument(
        "--out", type=Path, help="folder for checkpoints, card and loss (default: runs/train/MODEL)"
    )
    parser.add_argument(
        "--progress", action="store_true", default=None, help="show the bar though no terminal"
    )
    chosen = parser.read(arguments)
    if chosen.model not in TRAINABLE:
        raise BadInput(
            "model", f"no training for {chosen.model[:60]!r}; choose one of {', '.join(TRAINABLE)}"
        )
    if chosen.data is not None and not chosen.data.exists():
        raise BadInput("data", "no such file or folder; give an existing one")
    settings = _settings(chosen.set)
    out = chosen.out or Path("runs") / "train" / chosen.model
    from apps.engine.publish import check_destination

    check_destination(out)
    module, _, function = TRAINABLE[chosen.model].partition(":")
    train = getattr(importlib.import_module(module), function)
    with stop_on_terminate(), plain_progress(chosen.progress) as told:
        train(chosen.data, settings, chosen.resume, chosen.device or _device(), out, told)
    print(f"{out}  use it with --model {out}")
    return 0


def _settings(pairs: Sequence[str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise BadInput("set", f"write key=value, not {pair[:60]!r}")
        if key.strip() in settings:
            raise BadInput("set", f"{key.strip()} is set twice; keep one")
        settings[key.strip()] = value.strip()
    return settings


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
