"""What the README shows was run, and what it lists exists."""

import ast
import asyncio
import re
import signal
import sys
from pathlib import Path

import pytest
from aiohttp import web
from house import Handler, call_of, make_source
from test_cli import Shell, shell
from test_howtos import make_batch

import chunkup
from chunkup import errors
from chunkup.cli.main import EXIT_CODES
from chunkup.journal import Journal

__all__ = ["shell"]

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def table(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    section = README.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def mask(text: str) -> str:
    """Only the figures and ids of a transcript may differ."""
    text = re.sub(r"file-\w+", "file-ID", text)
    text = re.sub(r"\b(?=\w*\d)[2-9a-hjkmnp-z]{6}\b(?! parts)", "JOBID", text)
    # The first of two sizes has a unit only where that differs from the second's.
    text = re.sub(r"\d+(\.\d+)?( (bytes|kB|MB|GB|TB))?", "#", text)
    return re.sub(r"[ \t]+", " ", text).strip()


async def test_the_transcript_was_run(shell: Shell) -> None:
    transcript, *_ = fenced("console")  # the other one is a dataset's, and played with those
    make_source(shell.folder / "train.jsonl", 15_000)
    shell.environ["CHUNKUP_PART_SIZE"] = "1000"
    go = asyncio.Event()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and shell.house.calls.count("part") > 8:
            await go.wait()
        return await handler(request)

    shell.house.intercept = intercept
    background: asyncio.subprocess.Process | None = None
    for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", transcript, re.MULTILINE):
        words = command.split()
        if words[-1] == "&":
            background = await shell.start(*words[1:-1])
            book = await Journal.open(Path(shell.environ["CHUNKUP_JOURNAL"]))
            while sum(line.parts for line in await book.lines()) < 8:
                continue  # the rows come from another process, which tells nobody
            (line,) = await book.lines()
            await book.close()
            expected = shown
            continue
        if words[0] == "kill":
            assert background is not None
            background.send_signal(signal.SIGKILL)
            ended = await background.communicate()
            assert mask(ended[1].decode()) == mask(expected)
            shell.house.intercept = None
            go.set()
            continue
        arguments = [
            line.job.id if re.fullmatch(r"\w{6}", w) and w != "resume" else w for w in words[1:]
        ]
        done = await shell.run(*arguments)
        assert done.code == 0, done.err
        assert mask(done.err + done.out) == mask(shown), command


def test_the_python_example_compiles_and_uses_what_exists() -> None:
    (example,) = fenced("python")
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree = compile(example, "README", "exec", flags)
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "chunkup"
    }
    assert used == {"upload", "AsyncUploader", "Uploader"}
    assert used <= set(chunkup.__all__)


async def test_the_python_example_runs(shell: Shell) -> None:
    (example,) = fenced("python")
    names = {"train.jsonl", "a.jsonl", "b.jsonl", "big.jsonl", "more.jsonl"}
    for name in names:
        make_batch(shell.folder / name, 5000)
    (shell.folder / "example.py").write_text(
        "import ast, asyncio\n"
        f"code = compile({example!r}, 'README', 'exec', ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)\n"
        "asyncio.run(eval(code, {}))\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "example.py"),
        cwd=shell.folder,
        env=shell.environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    shell.started.append(process)
    done = await shell.end(process)
    assert done.code == 0, done.err
    assert {row.filename for row in shell.house.files} == names
    assert "JobStarted" in done.out


def test_the_two_commands_are_single_lines_that_set_up_everything() -> None:
    demo, tests = (block.strip() for block in fenced("sh"))
    for command in (demo, tests):
        assert "\n" not in command
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert demo.endswith("chunkup demo")
    assert tests.endswith("python -m pytest -n 4 --dist worksteal")
    assert (ROOT / ".ci" / "run").read_text().count("README.md") == 2


def test_exit_codes_in_readme_help_and_errors_are_the_same() -> None:
    def numbers(text: str) -> set[int]:
        return {int(number) for number in re.findall(r"\b\d+\b", text)}

    in_readme = set().union(*(numbers(row[0]) for row in table("Exit codes")))
    in_help = set().union(
        *(numbers(line[:16]) for line in EXIT_CODES.splitlines() if re.match(r"  \d", line))
    )
    in_code = {
        value.exit_code
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.ChunkupError)
    }
    signals = {128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    assert in_readme == in_help == in_code | signals | {0}


def test_the_house_table_lists_every_module_and_nothing_else() -> None:
    listed = {row[1].strip("`").rstrip("/") for row in table("The house")}
    package = ROOT / "chunkup"
    there = {
        path.name
        for path in package.iterdir()
        if (path.suffix == ".py" and not path.name.startswith("__"))
        or (path.is_dir() and (path / "__init__.py").exists())
    }
    assert listed == there


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "CHANGELOG.md"])
def test_no_text_says_to_install_somebody_elses_package(path: Path) -> None:
    assert not re.search(r"pip install (--\S+ )*['\"]?chunkup\b(?!-uploads)", path.read_text())


def test_public_docstrings_exist() -> None:
    for name in chunkup.__all__:
        value = getattr(chunkup, name)
        assert value.__doc__, name
    assert sys.modules["chunkup"].__doc__
