"""What people ask of the image domain; the tasks come with the built-in model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from domains.common.task import ImageFile, Request, Sampling

FOLDED: dict[str, Any] = {"fold": "advanced"}
Side = Annotated[int, Field(ge=32, le=512, multiple_of=8)]
HintKind = Literal["edges", "scribble", "depth", "segmentation", "keypoints"]
StyleName = Literal["flat", "shaded", "on grass", "on a beach"]


class ImageSampling(Sampling):
    """How a picture is walked."""

    steps: int = Field(25, ge=1, le=1000, description="solver steps; past 30, more is slower, seldom better")
    guidance: float = Field(
        3.0, ge=0.0, le=20.0, description="how closely the prompt is followed; 1 is no guidance"
    )


class GenerateRequest(Request):
    """A prompt, and how many pictures of it."""

    prompt: str = Field(
        max_length=2000,
        description="what to draw, in English or Chinese; (word:1.3) weighs, [a:b:0.3] changes on the way",
        json_schema_extra={"lines": 2},
    )
    negative_prompt: str = Field("", max_length=2000, description="what to steer away from")
    style: StyleName | None = Field(None, description="words laid around the prompt")
    count: int = Field(4, ge=1, le=64, description="pictures, each of noise of its own")
    width: Side | None = Field(
        None, description="pixels; empty: what the model was trained at", json_schema_extra=FOLDED
    )
    height: Side | None = Field(None, description="pixels; empty: the same", json_schema_extra=FOLDED)
    variation_seed: int | None = Field(
        None, ge=0, le=2**63 - 1, description="noise of another seed to mix in", json_schema_extra=FOLDED
    )
    variation_strength: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="how much of it; 1 is the other seed's picture",
        json_schema_extra=FOLDED,
    )
    enlarge: float = Field(
        1.0,
        ge=1.0,
        le=4.0,
        description="a second pass at so many times the size; 1 is none",
        json_schema_extra=FOLDED,
    )
    enlarge_strength: float = Field(
        0.45, gt=0.0, le=1.0, description="how much the second pass may change", json_schema_extra=FOLDED
    )
    sampling: ImageSampling = Field(
        default_factory=ImageSampling, description="solver, steps, guidance, seed, model"
    )


class EditRequest(Request):
    """A picture, and what is to become of it."""

    image: ImageFile = Field(description="PNG, JPEG, WebP or GIF")
    way: Literal["change", "redraw", "extend", "vary"] = Field(
        "change",
        description="change it as the prompt says; redraw a region; extend it past its edges; vary all of it",
    )
    prompt: str = Field(
        "",
        max_length=2000,
        description="what to do (change), or what there is to be seen (redraw, extend, vary)",
        json_schema_extra={"lines": 2},
    )
    mask: ImageFile | None = Field(
        None, description="redraw: a picture of the same size, white where to draw"
    )
    towards: list[Literal["left", "right", "top", "bottom"]] = Field(
        ["left", "right"],
        min_length=1,
        max_length=4,
        description="extend: past which edges",
        json_schema_extra=FOLDED,
    )
    extend_by: float = Field(
        0.25, gt=0.0, le=1.0, description="extend: share of the width or height", json_schema_extra=FOLDED
    )
    strength: float = Field(
        0.6, gt=0.0, le=1.0, description="vary: how much may change", json_schema_extra=FOLDED
    )
    negative_prompt: str = Field(
        "", max_length=2000, description="what to steer away from", json_schema_extra=FOLDED
    )
    count: int = Field(2, ge=1, le=64, description="pictures, each of noise of its own")
    sampling: ImageSampling = Field(
        default_factory=ImageSampling, description="solver, steps, guidance, seed, model"
    )


class ExplainRequest(Request):
    """A prompt whose picture is to be explained."""

    prompt: str = Field(
        min_length=1,
        max_length=2000,
        description="what to draw, in English or Chinese",
        json_schema_extra={"lines": 2},
    )
    sampling: ImageSampling = Field(
        default_factory=ImageSampling, description="solver, steps, guidance, seed, model"
    )
