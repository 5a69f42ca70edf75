"""The page of guarantees names tests that exist, each promise names some, and none is left out."""

import re
from pathlib import Path

import pytest
from scenarios import machine

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "guarantees.md").read_text(encoding="utf-8")
PROMISES = [found for found in PAGE.split("\n\n") if found.startswith("**")]


def named(text: str) -> set[str]:
    return set(re.findall(r"`(test_\w+\.py)`", text))


@pytest.mark.parametrize("promise", PROMISES, ids=lambda text: text[2:40])
def test_every_promise_says_which_tests_show_it(promise: str) -> None:
    _, _, shown = promise.partition("- *Shown by:*")
    assert named(shown), promise
    for name in named(promise):
        assert (TESTS / name).is_file(), name


def test_what_the_machine_can_do_is_all_promised() -> None:
    shown = {test.partition("::")[0] for row in machine.SCENARIOS for test in row.tests}
    assert shown <= named(PAGE)


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (TESTS.parent / "docs" / link).exists(), link
