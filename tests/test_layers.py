"""A module imports only from the levels below it.

The table is the design's: each row may use the rows above it, and only those. Where one
level holds several rows, the lower ones were drawn out of the upper ones. A package counts
as one module.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import chunkup

ROWS: list[tuple[int, set[str]]] = [
    (0, {"errors", "models", "events", "text"}),
    (1, {"planner", "machine", "pace", "slots", "crowd", "clock", "pattern"}),
    (1, {"providers"}),
    (1, {"verdicts", "profile", "records"}),
    (2, {"shortage", "veil"}),
    (2, {"aside"}),
    (2, {"outlast", "durable", "hidden", "patience", "key", "names", "trust", "proxies"}),
    (2, {"manifest"}),
    (2, {"source"}),
    (2, {"reading", "journal", "endpoint", "config", "answers", "body", "retry", "server"}),
    (2, {"spool", "gather", "preflight"}),
    (2, {"foreign", "watching"}),
    (2, {"sdk"}),
    (2, {"transport"}),
    (2, {"api"}),
    (3, {"pool"}),
    (3, {"worker", "search", "ledger"}),
    (3, {"finalizer", "proof", "processing"}),
    (4, {"listener", "intake", "overview", "stops"}),
    (4, {"gauge"}),
    (4, {"posting"}),
    (4, {"link"}),
    (4, {"errand"}),
    (4, {"checking"}),
    (4, {"run", "decisions"}),
    (4, {"fit"}),
    (4, {"engine"}),
    (4, {"existing"}),
    (5, {"roll"}),
    (5, {"dataset", "handles", "render", "settings", "doctor", "probe"}),
    (5, {"asked", "selection"}),
    (5, {"files"}),
    (5, {"verifying"}),
    (5, {"uploader"}),
    (5, {"thread"}),
    (5, {"blocking_files"}),
    (5, {"blocking"}),
    (6, {"cluster"}),
    (7, {"cli", "testing"}),
    (7, {"pytest_plugin"}),
    (7, {"__main__"}),
]
ROW_OF = {module: row for row, (_, modules) in enumerate(ROWS) for module in modules}
LEVEL_OF = {module: level for level, modules in ROWS for module in modules}

# Decisions are pure: time and chance are arguments, and bytes are somebody else's.
IMPURE = {"asyncio", "aiohttp", "sqlite3", "os", "time", "random"}

# What a command that only prints its help must not pay for.
HEAVY = ["aiofiles", "aiohttp", "click", "rich", "sqlite_utils", "sqlite3", "tenacity", "asyncio"]

PACKAGE = Path(chunkup.__file__).parent
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
MODULES = {name: path for name, path in FILES.items() if name != "__init__"}


def imports(name: str, path: Path) -> Iterator[str]:
    """Dotted names of all that a file imports, wherever in it, relative ones resolved."""
    package = ["chunkup", *name.split(".")]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package[: -node.level], *filter(None, [base])])
            if base == "chunkup":
                yield from (f"chunkup.{alias.name}" for alias in node.names)
            else:
                yield base


def ours(name: str, path: Path) -> set[str]:
    """The modules and packages of chunkup that a file imports, its own left out."""
    own = name.split(".", maxsplit=1)[0]
    found = {dotted.split(".")[1] for dotted in imports(name, path) if dotted[:8] == "chunkup."}
    return found - {own, "__version__"}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_a_level_and_imports_only_from_below(name: str) -> None:
    own = name.split(".", maxsplit=1)[0]
    assert own in ROW_OF, f"{name} has no level: give it a row here and in the design"
    for used in ours(name, MODULES[name]):
        assert used in ROW_OF, f"{name} imports {used}, which is no module of a level"
        if not LEVEL_OF[own] == LEVEL_OF[used] == 0:
            assert ROW_OF[used] < ROW_OF[own], f"{name} imports {used} from its level or above"


def test_the_words_have_no_cycle() -> None:
    words = {name: ours(name, MODULES[name]) for name in ROWS[0][1]}
    list(TopologicalSorter(words).static_order())


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("server")])
def test_the_server_shares_only_words_with_what_it_judges(name: str) -> None:
    assert {LEVEL_OF[used] for used in ours(name, MODULES[name])} <= {0}


@pytest.mark.parametrize(
    "name", [name for name in MODULES if LEVEL_OF.get(name.split(".")[0], 9) <= 1]
)
def test_words_and_decisions_know_no_clock_no_chance_and_no_io(name: str) -> None:
    used = {dotted.split(".")[0] for dotted in imports(name, MODULES[name])}
    assert used.isdisjoint(IMPURE)


def test_the_package_itself_imports_its_modules_only_for_type_checkers() -> None:
    tree = ast.parse(FILES["__init__"].read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("chunkup")
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("chunkup") for alias in node.names)


def python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=PACKAGE.parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_can_be_the_first_to_be_imported_and_warns_of_nothing() -> None:
    # One interpreter for all: ours are dropped before each import, so that each is the first.
    code = """
import importlib, sys
for name in sys.argv[1:]:
    for loaded in [loaded for loaded in sys.modules if loaded.split(".")[0] == "chunkup"]:
        del sys.modules[loaded]
    importlib.import_module(name)
    print(name)
"""
    # Importing chunkup.__main__ is running the command.
    names = ["chunkup." + name.removesuffix(".__init__") for name in MODULES if name != "__main__"]
    assert python(code, *names).split() == names


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = python("import sys, chunkup; print(*sys.modules)").split()
    assert "chunkup" in loaded
    assert set(HEAVY).isdisjoint(loaded)
    assert {name for name in loaded if name.startswith("chunkup.")} == set()
