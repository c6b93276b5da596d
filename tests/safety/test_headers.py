"""What every answer says to the browser, refusals included."""

from __future__ import annotations

import re

import pytest

from apps.web.headers import page_policy
from apps.web.page import inline_hashes
from tests.safety.conftest import Start

OUTSIDE = re.compile(r"https?:|wss?:|\*|(?<![\w-])data:(?=.*script)")


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/no/such/page", "/results/ab/x.csv", "/gradio_api/queue/join"]
)
def test_every_answer_has_the_headers(start: Start, path: str) -> None:
    app = start()
    with app.client() as client:
        headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "server" not in headers


def test_the_policy_names_no_host_and_allows_no_inline_script() -> None:
    rules = dict(rule.split(" ", 1) for rule in page_policy(["'nonce-x'"]).split("; "))
    assert all(not OUTSIDE.search(sources) for sources in rules.values())
    assert rules["default-src"] == rules["object-src"] == "'none'"
    assert rules["script-src"] == "'self' 'nonce-x' 'unsafe-eval'"
    assert rules["script-src-attr"] == "'none'"
    assert rules["connect-src"] == "'self'"


def test_a_site_that_may_frame_the_page_is_named_in_its_policy(start: Start) -> None:
    app = start(embed_in=("https://lab.example.org",))
    with app.client() as client:
        headers = client.get("/").headers
    assert "frame-ancestors https://lab.example.org" in headers["content-security-policy"]
    assert "x-frame-options" not in headers


def test_the_hash_of_a_script_is_the_one_that_browsers_compute() -> None:
    # The example of https://www.w3.org/TR/CSP3/#external-hash: alert('Hello, world.');
    assert inline_hashes("<script>alert('Hello, world.');</script>") == [
        "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"
    ]
