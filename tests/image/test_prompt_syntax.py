"""Weights and changes in prompts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domains.common.errors import BadInput
from domains.image.prompt_syntax import Span, Stage, read_syntax


@pytest.mark.parametrize(
    ("prompt", "spans"),
    [
        ("a cat", [("a cat", 1.0)]),
        ("", []),
        ("a (red) cat", [("a ", 1.0), ("red", 1.1), (" cat", 1.0)]),
        ("a ((red)) cat", [("a ", 1.0), ("red", 1.21), (" cat", 1.0)]),
        ("a [red] cat", [("a ", 1.0), ("red", 1 / 1.1), (" cat", 1.0)]),
        ("a (red:1.3) cat", [("a ", 1.0), ("red", 1.3), (" cat", 1.0)]),
        ("(a (red:2) cat:.5)", [("a ", 0.5), ("red", 1.0), (" cat", 0.5)]),
        ("(ratio 4:3)", [("ratio 4", 3.0)]),  # as the notation has it
        ("(note: red)", [("note: red", 1.1)]),
        (r"a \(red\) \[cat\] \\ c:\d", [(r"a (red) [cat] \ c:\d", 1.0)]),
        ("(红色:1.5)的球", [("红色", 1.5), ("的球", 1.0)]),
        ("3:2", [("3:2", 1.0)]),
    ],
)
def test_weights(prompt: str, spans: list[tuple[str, float]]) -> None:
    (stage,) = read_syntax(prompt)
    assert stage.begins == 0
    assert [s.text for s in stage.spans] == [text for text, _ in spans]
    assert [s.weight for s in stage.spans] == pytest.approx([weight for _, weight in spans])


@pytest.mark.parametrize(
    ("prompt", "stages"),
    [
        ("a [red:blue:0.3] cube", [(0.0, "a red cube"), (0.3, "a blue cube")]),
        ("a cube[ on grass:0.5]", [(0.0, "a cube"), (0.5, "a cube on grass")]),
        ("a cube[ on grass::0.5]", [(0.0, "a cube on grass"), (0.5, "a cube")]),
        ("[a:b:0.2][c:d:0.6]", [(0.0, "ac"), (0.2, "bc"), (0.6, "bd")]),
        ("[a:[b:c:0.6]:0.2]", [(0.0, "a"), (0.2, "b"), (0.6, "c")]),
        ("[a:b:0]", [(0.0, "b")]),
        ("[a:a:0.4]", [(0.0, "a")]),
    ],
)
def test_changes(prompt: str, stages: list[tuple[float, str]]) -> None:
    assert [(s.begins, s.text) for s in read_syntax(prompt)] == stages


def test_weights_reach_into_changes() -> None:
    first, second = read_syntax("([red:blue:0.5]:1.5) cube")
    assert first.spans == (Span("red", 1.5), Span(" cube"))
    assert second == Stage(0.5, (Span("blue", 1.5), Span(" cube")))
    assert second.weights == (1.5,) * 4 + (1.0,) * 5


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("a (red cube", "not closed"),
        ("a [red cube", "not closed"),
        ("a red) cube", "closes nothing"),
        ("a (red] cube)", "closes nothing"),
        ("(red:11)", "weights are 0 to 10"),
        ("[a:b:1.5]", "share of 0 to 1"),
        ("[a:b:soon]", "[before:after:share]"),
        ("[a:b:c:0.5]", "[before:after:share]"),
        ("(" * 30 + ")" * 30, "deep"),
        ("x" * 2001, "at most 2000"),
    ],
)
def test_what_cannot_be_read_is_said_at_its_field(prompt: str, says: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_syntax(prompt, "negative_prompt")
    assert refused.value.field == "negative_prompt" and says in str(refused.value)


@given(st.text(alphabet="ab ()[]:\\.019", max_size=60))
def test_any_text_is_read_or_refused(prompt: str) -> None:
    try:
        stages = read_syntax(prompt)
    except BadInput:
        return
    assert stages[0].begins == 0 and all(0 <= s.begins <= 1 for s in stages)
    assert all(len(s.weights) == len(s.text) for s in stages)
