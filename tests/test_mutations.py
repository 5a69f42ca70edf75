"""Every protection is taken out once, and the test that watches over it has to fail.

The package is copied, changed in one place, and the one test is run against the copy in a process
of its own.
"""

import compileall
import re
import shutil
from pathlib import Path

import pytest
from nursery import run_pytest
from scenarios import MUTATIONS
from scenarios.scenario import Mutation

TESTS = Path(__file__).parent
PROJECT = TESTS.parent
# A mutation may make its test wait for ever, which is a failure as well.
PATIENCE = 60
# Those that the tests need: the others take longer to load than most of the tests to run.
PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "chunkup.pytest_plugin")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it is, compiled, so that of each copy only the change is compiled anew."""
    copy = tmp_path_factory.mktemp("compiled") / "chunkup"
    shutil.copytree(PROJECT / "chunkup", copy, ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(copy, quiet=2)
    return copy


def _name(mutation: Mutation) -> str:
    return f"{mutation.module}: {mutation.takes_out}"


@pytest.mark.mutation
@pytest.mark.parametrize("mutation", MUTATIONS, ids=_name)
def test_a_protection_taken_out_is_noticed(
    mutation: Mutation, compiled: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "chunkup"
    shutil.copytree(compiled, copy)
    module = copy / mutation.module
    text = module.read_text()
    assert text.count(mutation.was) == 1, "the protection is not where it is said to be"
    module.write_text(text.replace(mutation.was, mutation.becomes))
    compile(module.read_text(), str(module), "exec")
    code, said = run_pytest(
        tmp_path,
        *("-x", "-q", "--no-header", "-p", "no:cacheprovider"),
        *(flag for plugin in PLUGINS for flag in ("-p", plugin)),
        # A traceback with source can be more than Python's own parser takes.
        "--tb=native",
        *("-c", str(PROJECT / "pyproject.toml"), "--rootdir", str(PROJECT)),
        *(f"--timeout={PATIENCE}", str(TESTS / mutation.test)),
        patience=PATIENCE + 60,
    )
    assert code == 1, f"the test did not notice\n{said}"
    # Nor may it be pytest itself that fails, or the loading of what was changed.
    assert re.search(r"^\d+ failed", said, re.MULTILINE), said


def test_no_protection_is_taken_out_twice() -> None:
    places = [(mutation.module, mutation.was, mutation.becomes) for mutation in MUTATIONS]
    assert len(set(places)) == len(places)
