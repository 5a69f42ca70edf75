"""The page of what chunkup survives is the scenarios, and they name tests that exist.

Run as a program, this writes the page.
"""

import ast
from functools import cache
from pathlib import Path

import pytest
from scenarios import SCENARIOS
from scenarios.scenario import Scenario

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "survives.md"
HEAD = """# What chunkup survives

What a server, a network, a machine or a person can do, and what is true nevertheless. Each row is
shown by tests, and each protection behind it is taken out once in every run of the tests, to see
one of them fail. What all of it adds up to, and what it rests on: [guarantees.md](guarantees.md).

| it survives | how |
|---|---|
"""


def page() -> str:
    return HEAD + "".join(f"| {row.what} | {row.holds} |\n" for row in SCENARIOS)


@cache
def functions(path: Path) -> frozenset[str]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(
        node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_the_page_says_what_the_scenarios_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python tests/test_survives.py`"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.what)
def test_every_scenario_is_shown_by_tests_that_exist(scenario: Scenario) -> None:
    assert scenario.tests
    named = [*scenario.tests, *(mutation.test for mutation in scenario.mutations)]
    for name in named:
        file, _, rest = name.partition("::")
        assert (TESTS / file).is_file(), name
        if rest:
            assert rest.partition("[")[0].rpartition("::")[2] in functions(TESTS / file), name
    assert "|" not in scenario.what + scenario.holds


def test_no_scenario_is_told_twice() -> None:
    told = [scenario.what for scenario in SCENARIOS]
    assert len(set(told)) == len(told)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
