"""The tasks of the molecule domain: score any file of molecules."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from domains.common.task import MoleculeFile, Request, Result, Run, Sampling, task


def _example_everyday() -> dict[str, object]:
    from domains.molecule.examples import everyday_molecules

    return {"file": everyday_molecules(), "contains": "[OX2H]"}


class ScoringSampling(Sampling):
    """Scoring walks no denoiser; the seed draws the molecules whose strain is computed."""

    solver: Literal["multistep"] = Field("multistep", description="none is used")
    steps: int = Field(1, ge=1, le=1, description="none are taken")
    guidance: float = Field(1.0, ge=1.0, le=1.0, description="none")
    model: None = Field(None, description="the rules need no model")


class EvaluateRequest(Request):
    """Molecules to be scored."""

    file: MoleculeFile = Field(
        description="molecules: SDF, MOL, MOL2, XYZ, SMILES or a CSV with a column smiles"
    )
    reference: MoleculeFile | None = Field(
        None,
        description="real molecules to compare with, for novelty and distances; a training set, for example",
    )
    contains: str | None = Field(
        None, min_length=1, max_length=1000, description="SMARTS; says which molecules contain it"
    )
    sampling: ScoringSampling = Field(default_factory=ScoringSampling, description="seed")


@task(
    "molecule.evaluate",
    title="Score molecules",
    action="Score",
    model="",
    request=EvaluateRequest,
    extra="molecule",
    libraries=("rdkit", "torch"),
    evaluate="domains.molecule.evaluation:evaluate_references",
    examples={"everyday molecules": _example_everyday},
)
def evaluate(request: EvaluateRequest, run: Run) -> Result:
    """Scores a file of molecules by frozen rules: validity, stability, novelty, properties, geometry, strain."""
    from domains.molecule.scoring import score_file

    return score_file(request, run)
