"""Settings of a training run, as `launch.py train MODEL --set key=value` gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from core.training.trainer import TrainerSettings
from domains.common.errors import BadInput

# Settings that every model has; a model's own stand in front of them and may differ.
COMMON: dict[str, Any] = {
    "minutes": 170.0, "steps": 1_000_000, "learning_rate": 1e-3, "warmup": 300, "average": 0.999,
    "clip": 1.0, "weight_decay": 0.01, "bfloat16": True, "seed": 0, "log_every": 50, "save_minutes": 2.0,
    "judge_minutes": 20.0, "threads": 0, "processes": 1,
}  # fmt: skip


def parse_settings(given: Mapping[str, str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults overridden by `--set key=value` texts, each parsed as the type of its default.

    Raises:
        BadInput: For an unknown key or a value of another type or not finite.
    """
    settings = dict(defaults)
    for key, text in given.items():
        if key not in defaults:
            raise BadInput("set", f"unknown setting {key!r}; choose one of {', '.join(defaults)}")
        kind = type(defaults[key])
        try:
            if kind is bool:
                settings[key] = {"true": True, "1": True, "false": False, "0": False}[text.lower()]
            else:
                settings[key] = kind(text)
                if kind is not str and (not math.isfinite(settings[key]) or settings[key] < 0):
                    raise ValueError
        except (KeyError, ValueError):
            raise BadInput(
                "set", f"{key} must be a {kind.__name__} that is not negative, not {text!r}"
            ) from None
    return settings


def trainer_settings(settings: Mapping[str, Any]) -> TrainerSettings:
    """The core's part of the settings."""
    return TrainerSettings(**{f.name: settings[f.name] for f in fields(TrainerSettings)})
