"""What type checkers say of programs that use chunkup: the samples in ``typing/`` are judged."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLES = sorted(Path(__file__).with_name("typing").glob("*.py"))

# Those of the environment that runs the tests come first; basedpyright is pyright with more
# rules of its own, and comes from the package index as a whole, while pyright comes with npm.
PLACES = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
PYRIGHTS = [name for name in ("pyright", "basedpyright") if shutil.which(name, path=PLACES)]

Errors = dict[tuple[str, int], str]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The samples in a folder of their own, where no setting of this project reaches."""
    folder = tmp_path / "program"
    folder.mkdir()
    for path in SAMPLES:
        shutil.copy(path, folder)
    return folder


def wanted() -> set[tuple[str, int]]:
    return {
        (path.name, number)
        for path in SAMPLES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if line.endswith("# refused")
    }


def judge(found: Errors) -> None:
    """Every line that is marked is refused, and nothing else is complained of."""
    marked = wanted()
    assert len(marked) > 20
    assert {place: said for place, said in found.items() if place not in marked} == {}
    assert marked - set(found) == set()


def run(*command: str, folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_mypy_agrees(program: Path, pytestconfig: pytest.Config) -> None:
    # The cache is what makes it fast: it has to read aiohttp once.
    assert pytestconfig.cache is not None
    cache = str(pytestconfig.cache.mkdir("mypy"))
    names = [path.name for path in SAMPLES]
    alone = ["--config-file=", f"--cache-dir={cache}", "--no-error-summary"]
    out = run(sys.executable, "-m", "mypy", "--strict", *alone, *names, folder=program)
    found = re.findall(r"^(.+?):(\d+): error: (.*)$", out, re.MULTILINE)
    judge({(name, int(line)): said for name, line, said in found})


@pytest.mark.parametrize(
    "checker",
    PYRIGHTS or [pytest.param("", marks=pytest.mark.skip("neither pyright nor basedpyright here"))],
)
def test_pyright_agrees(checker: str, program: Path) -> None:
    (program / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    path = shutil.which(checker, path=PLACES)
    assert path is not None
    out = run(path, "--outputjson", f"--pythonpath={sys.executable}", folder=program)
    errors = [one for one in json.loads(out)["generalDiagnostics"] if one["severity"] == "error"]
    judge(
        {
            (Path(one["file"]).name, one["range"]["start"]["line"] + 1): one["message"]
            for one in errors
        }
    )
