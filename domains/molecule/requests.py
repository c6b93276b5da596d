"""What people ask of the models of molecules; the tasks come with them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from domains.common.task import Request, Sampling


class JointSampling(Sampling):
    """How molecules are walked."""

    solver: Literal["ancestral", "ddim", "multistep", "heun"] = Field(
        "ancestral", description="solver that walks from noise to molecules"
    )
    steps: int = Field(50, ge=1, le=1000, description="solver steps")
    guidance: float = Field(1.0, ge=1.0, le=1.0, description="none; targets guide by their own strength")


class GenerateRequest(Request):
    """How many molecules, and of what size."""

    count: int = Field(100, ge=1, le=10_000, description="molecules")
    atoms: int | None = Field(
        None, ge=2, le=200, description="atoms of each; empty: as often as in the training set"
    )
    valence: Literal["free", "strict"] = Field(
        "free",
        description="free: what the model says, right or wrong; strict: drawn again until RDKit accepts all of it",
    )
    sampling: JointSampling = Field(default_factory=JointSampling, description="solver, steps, seed, model")
