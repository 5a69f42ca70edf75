"""The README's table of what chunkup survives is the scenarios, and they name tests that exist.

Run as a program, this writes the table into the README.
"""

import ast
from functools import cache
from pathlib import Path

import pytest
from scenarios import SCENARIOS
from scenarios.scenario import Scenario

TESTS = Path(__file__).parent
README = TESTS.parent / "README.md"
HEAD = "| it survives | how |\n|---|---|\n"


def table() -> str:
    return HEAD + "".join(f"| {row.what} | {row.holds} |\n" for row in SCENARIOS)


def parted() -> tuple[str, str, str]:
    """The README before its table, the table, and what follows."""
    before, found, rest = README.read_text(encoding="utf-8").partition(HEAD)
    assert found, "the README has no such table"
    rows, end, after = rest.partition("\n\n")
    return before, HEAD + rows + end[:1], end[1:] + after


@cache
def functions(path: Path) -> frozenset[str]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(
        node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_the_readme_says_what_the_scenarios_say() -> None:
    assert parted()[1] == table(), "run `python tests/test_survives.py`"


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
    start, _, end = parted()
    README.write_text(start + table() + end, encoding="utf-8")
