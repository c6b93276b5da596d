"""The button's estimate: what it learns from, what it forgives, and how far off it may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.engine.run import run_task
from apps.engine.validation import make_request
from apps.studio.estimate import BYTES, EVALUATIONS, Costs, Size
from apps.studio.gallery import stored_example
from domains.common.task import Request, Task
from domains.registry import find_task
from tests.apps.conftest import WalkRequest


def walk(**fields: Any) -> WalkRequest:
    return WalkRequest.model_validate({"sampling": {"steps": fields.pop("steps", 10)}, **fields})


def learned(costs: Costs, seconds: float, request: Request) -> None:
    costs.learn("demo.walk", seconds, Size.of(request))


def test_a_size_counts_what_may_make_a_run_longer(walk_task: Task, numbers: Path) -> None:
    def of(**fields: Any) -> dict[str, float]:
        return dict(Size.of(make_request(walk_task, fields)).amounts)

    assert of() == {EVALUATIONS: 10, "length": 20}
    assert of(steps=30)[EVALUATIONS] == 30 and of(length=40)["length"] == 40
    assert of(solver="heun")[EVALUATIONS] == of(guidance=2.0)[EVALUATIONS] == 20
    assert of(table=str(numbers))[BYTES] == 6 and of(marks=[1.0, 2.0])["marks"] == 2
    assert of(gaps=True, seed=10**9) == of()
    assert Size.of(make_request(walk_task, {"gaps": True})).choices == {"gaps": True}


def test_what_was_measured_replaces_what_was_supposed() -> None:
    costs = Costs()
    assert costs.estimate("demo.walk", walk()) is None
    costs.suppose("demo.walk", 1e6, Size.of(walk()))
    assert costs.estimate("demo.walk", walk()) == pytest.approx(1e6)
    learned(costs, 4.0, walk())
    assert costs.estimate("demo.walk", walk()) == pytest.approx(4.0)
    assert costs.estimate("demo.walk", walk(steps=30)) == pytest.approx(12.0)


def test_one_slow_run_changes_little() -> None:
    costs = Costs()
    learned(costs, 20.0, walk())  # the first, on a busy machine
    learned(costs, 2.0, walk())
    assert costs.estimate("demo.walk", walk()) == pytest.approx(2.0)
    for length in (20, 40, 80, 160):
        learned(costs, length / 10, walk(length=length))
    learned(costs, 60.0, walk(length=40))
    for length in (20, 40, 100):
        assert costs.estimate("demo.walk", walk(length=length)) == pytest.approx(length / 10, rel=0.25)


def test_a_field_that_costs_nothing_comes_to_count_for_nothing() -> None:
    costs, rng = Costs(), np.random.default_rng(0)
    for length in rng.integers(2, 1000, 20).tolist():
        learned(costs, 3.0 * rng.uniform(0.9, 1.1), walk(length=length))
    for length in (2, 1000):
        assert costs.estimate("demo.walk", walk(length=length)) == pytest.approx(3.0, rel=0.3)
    assert costs.estimate("demo.walk", walk(length=50, steps=40)) == pytest.approx(12.0, rel=0.3)


def test_a_field_that_counts_in_proportion_comes_to_do_so() -> None:
    costs, rng = Costs(), np.random.default_rng(1)
    for length in rng.integers(10, 300, 12).tolist():
        learned(costs, (0.5 + length / 20) * rng.uniform(0.9, 1.1), walk(length=length))
    for length in (20, 100, 300, 1000):
        assert costs.estimate("demo.walk", walk(length=length)) == pytest.approx(0.5 + length / 20, rel=0.4)


def test_runs_that_chose_otherwise_tell_nothing_where_there_are_others() -> None:
    costs = Costs()
    for _ in range(5):
        learned(costs, 100.0, walk(gaps=True))
    assert costs.estimate("demo.walk", walk()) == pytest.approx(100.0)
    learned(costs, 1.0, walk())
    assert costs.estimate("demo.walk", walk()) == pytest.approx(1.0)
    assert costs.estimate("demo.walk", walk(gaps=True)) == pytest.approx(100.0)


def test_it_remembers_a_bounded_number_of_runs() -> None:
    costs = Costs()
    for _ in range(1000):
        learned(costs, 1.0, walk())
    assert len(costs.measured["demo.walk"]) <= 100


@pytest.mark.parametrize("name", ["lab.theory", "lab.solvers"])
def test_from_the_stored_example_alone_real_runs_are_foretold_within_an_order(
    name: str, tmp_path: Path
) -> None:
    task, costs = find_task(name), Costs()
    stored = stored_example(task)
    assert stored is not None and 0 < stored.seconds < 60
    costs.suppose(name, stored.seconds, stored.size)
    small = {
        "lab.theory": {"samples": 200, "steps": 4},
        "lab.solvers": {"samples": 8, "seeds": 1, "evaluations": [4, 8]},
    }
    request = make_request(task, small[name])
    took = min(run_task(task, request, out=tmp_path / str(i), threads=1).seconds for i in range(2))
    foretold = costs.estimate(name, request)
    assert foretold is not None and took / 10 < foretold < 10 * took
