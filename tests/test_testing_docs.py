"""What the page about testing shows was run, in a project of its own; what it lists exists."""

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from house import make_source

import chunkup
from chunkup.server.faults import CALLS, Words
from chunkup.testing import Request, ServedFile, ServedPart, ServedUpload, Server, serve

PAGE = (Path(__file__).parent.parent / "docs" / "testing.md").read_text("utf-8")


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def rows_below(heading: str) -> dict[str, str]:
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1] for row in cells if set(row[0]) - set("-")}


def run(project: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python there as somebody would who has none of our variables and no conftest."""
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=project,
        env={**keep, **more, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (config,) = fenced("toml")
    (folder / "pyproject.toml").write_text(config)
    return folder


def test_the_example_passes_in_a_project_of_its_own(project: Path) -> None:
    example, _ = fenced("python")
    (project / "test_uploads.py").write_text(example)
    done = run(project, "pytest", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = len(re.findall(r"^(?:async )?def test_", example, re.MULTILINE))
    assert re.search(rf"^{shown} passed in", done.stdout, re.MULTILINE), done.stdout


def test_the_example_passes_without_pytest(project: Path) -> None:
    _, example = fenced("python")
    (project / "test_without.py").write_text(example)
    done = run(project, "unittest", "-v")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ran 1 test" in done.stderr


def test_a_fault_that_never_fired_fails_such_a_project(project: Path) -> None:
    (project / "test_uploads.py").write_text(
        "def test_it(chunkup_server):\n    chunkup_server.fault('part', nth=3, drop_answer=True)\n"
    )
    done = run(project, "pytest", "-q")
    assert done.returncode == 1, done.stdout + done.stderr
    said = "fault('part', nth=3, drop_answer=True) never fired"
    assert done.stdout.count(said) == 1, done.stdout
    assert "1 passed, 1 error" in done.stdout
    assert "During handling" not in done.stdout
    assert "pytest_plugin.py" not in done.stdout


def test_a_project_that_asks_for_nothing_pays_for_nothing(project: Path) -> None:
    (project / "test_other.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    loaded = {name for name in sys.modules if name.partition('.')[0] == 'chunkup'}\n"
        "    assert loaded == {'chunkup', 'chunkup.pytest_plugin'}\n"
        "    assert not {'aiohttp', 'sqlite3', 'sqlite_utils', 'asyncio'} & set(sys.modules)\n"
    )
    done = run(
        project,
        *("pytest", "-q", "-c", os.devnull, "--rootdir", "."),
        *("-p", "chunkup.pytest_plugin", "test_other.py"),
        PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_everything_offered_is_listed_and_everything_listed_exists(tmp_path: Path) -> None:
    listed = {
        name
        for row in rows_below("Everything the fixture offers")
        for name in re.findall(r"`\.(\w+)", row)
    }
    with serve(tmp_path) as server:
        assert listed == {name for name in dir(server) if not name.startswith("_")}
    assert isinstance(server, Server)


@pytest.mark.parametrize(
    ("row", "kinds"),
    [
        (".files", [ServedFile]),
        (".uploads", [ServedUpload, ServedPart]),
        (".requests", [Request]),
    ],
)
def test_every_field_of_what_can_be_looked_at_is_listed(row: str, kinds: list[type]) -> None:
    text = rows_below("Everything the fixture offers")[f"`{row}`"]
    words = set(re.findall(r"\.(\w+)", text))
    there = {field.name for kind in kinds for field in fields(kind)}
    assert words - {"read"} == {name for name in there if not name.startswith("_")}


def test_the_calls_are_listed_in_their_order() -> None:
    listed = [row.strip("`") for row in rows_below("Faults")]
    assert tuple(listed[1 : 1 + len(CALLS)]) == CALLS


def test_everything_a_fault_may_say_is_told_and_what_is_told_can_be_said() -> None:
    section = PAGE.partition("## Faults\n")[2].partition("\n## ")[0]
    told = set(re.findall(r"`(\w+)=", section)) - {"serve"}
    rows = {row.strip("`").partition("=")[0] for row in rows_below("Faults")} - {*CALLS, "call", ""}
    assert told == {*Words.__annotations__}
    assert rows == told - {"message", "carried_out"}


def test_the_plan_is_played(tmp_path: Path) -> None:
    (plan,) = fenced("jsonl")
    source = tmp_path / "a.bin"
    make_source(source, 33_000)
    with serve(tmp_path / "served") as server:
        armed = server.play(plan)
        file = chunkup.upload(
            source,
            purpose="user_data",
            part_size=1000,
            base_url=server.base_url,
            api_key=server.api_key,
            journal=server.journal,
        )
        assert list(server.files) == [file.id]
        assert server.files[file.id].read() == source.read_bytes()
        assert len(server.strikes) == sum(fault.fired for fault in armed)


def test_the_plan_is_served_as_the_page_says(tmp_path: Path) -> None:
    (plan,) = fenced("jsonl")
    (command,) = [line for line in fenced("sh") if "serve" in line]
    (tmp_path / "plan.jsonl").write_text(plan)
    words = [sys.executable, "-m", *command.split()]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            assert server.stdout.readline().startswith("http://127.0.0.1:")
        finally:
            server.terminate()
