"""Guides against exact posteriors: inpainting, measurements, labels and constraints on mixtures, tokens and rotations.

    python launch.py bench guides                 all problems, three seeds: some minutes on one core
    python launch.py bench guides --problems linear-2 token-constraint --seeds 1

Every law here has a posterior in closed form, so that a guide's samples are compared with the law they should have.
The exact sampler's own row is the floor: what so many samples of the very posterior are apart from it.  Denoisers are
exact, so whatever a guide is off beyond the floor and the steps' error is its own bias.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, stdev

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import torch

from benchmarks import _guide_discrete, _guide_problems
from benchmarks._guide_problems import STEPS, Problem, Stream
from core.sampling import final, sample
from domains.common.evaluation_table import environment

PROBLEMS = {**_guide_problems.PROBLEMS, **_guide_discrete.PROBLEMS}
FLOOR = "exact sampler"
SLIGHT, STRONG = 2.0, 5.0
NOTES = (
    "Distance: sliced Wasserstein of order 1 over 128 directions, in standard deviations of the posterior; or total "
    "variation. Mean and standard deviation over seeds.",
    "× floor is the distance over that of the exact sampler, which has as many samples: below 2 a bias does not show "
    "at this number of samples, above 5 it rules.",
    "Every walk is ancestral (eta = 1), from the same noise, with evenly spaced log(alpha / sigma) on R^n and evenly "
    f"spaced t elsewhere, and makes at most {STEPS} evaluations where not said otherwise; classifier-free guidance "
    "halves its steps for its two branches, time travel walks a coarser grid. Gradients are not counted: DPS, ΠGDM and "
    "energies take one backward pass an evaluation, moment matching one for each measured number (two in its diagonal "
    "form), DDNM and replacement none.",
    "2000 samples on R^n and of rotations, 10000 of tokens. Mixtures: four components of standard deviation 0.35 and "
    "weights 0.1 to 0.4. Exact draws for the norm and for p^3 / q^2 are resampled from 200000 of the prior.",
    "Particles are one population, right in the limit of many. With the whole reward at all times that limit is far "
    "off for the norm: early predictions are judged as if they were certain, in 16 dimensions one particle is left at "
    "the worst step, and 32000 are as far off as 2000. Tempered rows count the share std^2 / (std^2 + r_t^2) of the "
    "reward, r_t^2 the variance of x_0 given x_t for normal data; all of it counts at the end, so the limit is the "
    "same.",
    "DPS' step size of 0.3 and ΠGDM's unit data are common defaults, not tuned to these problems.",
)


@dataclass(frozen=True)
class Score:
    """What one guide got on one problem.

    Attributes:
        problem, measure, method: As printed. evaluations: A sample. values: Distances, one a seed. seconds: A seed.
    """

    problem: str
    measure: str
    method: str
    evaluations: int
    values: tuple[float, ...]
    seconds: float

    @property
    def mean(self) -> float:
        """Over seeds."""
        return fmean(self.values)

    @property
    def spread(self) -> float:
        """Standard deviation over seeds; 0 with one."""
        return stdev(self.values) if len(self.values) > 1 else 0.0


def judge(problem: Problem, seeds: int, count: int | None = None) -> list[Score]:
    """The scores of a problem: the exact sampler first, then its guides."""
    n = count or problem.count
    draws = [problem.exact(Stream((seed,)).at("exact"), n) for seed in range(seeds)]
    again = [problem.exact(Stream((seed,)).at("again"), n) for seed in range(seeds)]
    floor = tuple(problem.distance(a, b) for a, b in zip(again, draws, strict=True))
    scores = [Score(problem.name, problem.measure, FLOOR, 0, floor, 0.0)]
    counter = [0]
    for way in problem.ways(counter):
        values, begun = [], time.process_time()
        for seed in range(seeds):
            counter[0] = 0
            noise = Stream((seed,))
            x = way.start(noise.at("prior"), n)
            with torch.no_grad():
                end = final(sample(way.f, way.solver, x, way.grid, noise.at("walk"))).x
            values.append(problem.distance(end, draws[seed]))
        seconds = (time.process_time() - begun) / seeds
        scores.append(Score(problem.name, problem.measure, way.name, counter[0], tuple(values), seconds))
    return scores


def verdict(score: Score, floor: Score) -> str:
    """What the ratio to the floor says."""
    if score is floor:
        return ""
    ratio = score.mean / floor.mean
    return "no bias seen" if ratio < SLIGHT else ("slightly biased" if ratio < STRONG else "biased")


def to_markdown(scores: list[Score], command: str) -> str:
    """The page: one table a problem."""
    where = ", ".join(v if k == "machine" else f"{k} {v}" for k, v in environment().items())
    lines = ["# Guides against exact posteriors", "", f"{datetime.now(UTC).date().isoformat()}. {where}.", ""]
    lines += [f"```\n{command}\n```"]
    for name in dict.fromkeys(s.problem for s in scores):
        mine = [s for s in scores if s.problem == name]
        floor = next(s for s in mine if s.method == FLOOR)
        lines += ["", f"## {name[0].upper()}{name[1:]}", ""]
        lines += [f"| method | evaluations | {floor.measure} | × floor | |", "|---|---|---|---|---|"]
        for s in mine:
            ratio = "1" if s is floor else f"{s.mean / floor.mean:.1f}"
            nfe = "–" if s is floor else str(s.evaluations)
            lines.append(
                f"| {s.method} | {nfe} | {s.mean:.3f} ± {s.spread:.3f} | {ratio} | {verdict(s, floor)} |"
            )
    lines += ["", "## How", "", *(f"- {note}" for note in NOTES)]
    return "\n".join(lines) + "\n"


def write(scores: list[Score], folder: Path, command: str) -> list[Path]:
    """Writes `guides.md` and `guides.csv` into `folder`, each by rename."""
    folder.mkdir(parents=True, exist_ok=True)
    page, table = folder / "guides.md", folder / "guides.csv"
    for path in (page, table):
        part = path.with_name(path.name + ".part")
        with part.open("w", encoding="utf-8", newline="") as stream:
            if path is page:
                stream.write(to_markdown(scores, command))
            else:
                writer = csv.writer(stream)
                writer.writerow(
                    ["problem", "method", "evaluations", "measure", "mean", "spread", "seeds", "seconds"]
                )
                writer.writerows(
                    [
                        s.problem,
                        s.method,
                        s.evaluations,
                        s.measure,
                        s.mean,
                        s.spread,
                        len(s.values),
                        round(s.seconds, 3),
                    ]
                    for s in scores
                )
        part.replace(path)
    return [page, table]


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line, runs, prints, writes."""
    parser = argparse.ArgumentParser(prog="launch.py bench guides", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder of the page; docs/results when all problems are run")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    scores = []
    for key in options.problems:
        found = judge(PROBLEMS[key](), options.seeds)
        print(f"\n{found[0].problem} ({found[0].measure})")
        for s in found:
            note = verdict(s, found[0])
            line = f"  {s.method:<50}{s.evaluations:>6}{s.mean:>9.3f} ± {s.spread:.3f}  {note:<16}{s.seconds:>6.1f} s"
            print(line, flush=True)
        scores += found
    complete = options.problems == list(PROBLEMS)
    folder = options.out or (ROOT / "docs" / "results" if complete else None)
    if folder is not None:
        command = "python launch.py bench guides" + (
            "" if options.seeds == 3 else f" --seeds {options.seeds}"
        )
        command += "" if complete else " --problems " + " ".join(options.problems)
        print("\n" + "\n".join(str(path) for path in write(scores, folder, command)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
