"""`launch.py replay ARTIFACT [--out DIR] [--input FILE ...]`: exit status 0 where it reproduces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from apps.cli.bar import progress_bar
from apps.cli.parser import Parser
from apps.cli.stopping import stop_on_terminate


def main(arguments: Sequence[str]) -> int:
    """Replays a recipe and says, per artifact, whether it matches."""
    parser = Parser(
        "replay", "Makes an artifact again from its recipe and says whether it comes out the same."
    )
    parser.add_argument(
        "artifact", metavar="ARTIFACT", type=Path, help="a file that Langevin made, or its folder"
    )
    parser.add_argument("--out", type=Path, help="keep the new results in this folder")
    parser.add_argument(
        "--input", type=Path, nargs="+", action="extend", default=[], help="where inputs lie now"
    )
    parser.add_argument("--model", type=Path, help="folder of the model, where it is not a built-in one")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the recorded one")
    parser.add_argument(
        "--progress", action="store_true", default=None, help="show the bar though no terminal"
    )
    chosen = parser.read(arguments)
    from apps.engine.replay import replay

    with stop_on_terminate(), progress_bar(chosen.progress) as show:
        replayed = replay(
            chosen.artifact,
            out=chosen.out,
            inputs=chosen.input,
            model=chosen.model,
            device=chosen.device,
            on_progress=show,
        )
    for verdict in replayed.verdicts:
        says = "matches" if verdict.matches else "does not match"
        print(f"{verdict.name}  {says}{': ' if verdict.reason else ''}{verdict.reason}")
    if replayed.reproduces:
        print("reproduces")
        return 0
    print("does not reproduce")
    for difference in replayed.differences:
        print(f"note: {difference}")
    return 1
