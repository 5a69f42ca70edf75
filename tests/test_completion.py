"""Completion: the protocol that shells speak, and real shells that speak it."""

import asyncio
import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiohttp import web
from house import Handler, make_source
from test_cli import Result, Shell, shell

from chunkup.journal import Journal

__all__ = ["shell"]

FILE = "a, b\x1b[31m:c.bin"


async def offered(shell: Shell, line: str, incomplete: str = "", kind: str = "zsh") -> Result:
    """What is offered for the word at the end of a command line."""
    words = ["chunkup", *line.split()]
    protocol = {
        "_CHUNKUP_COMPLETE": f"{kind}_complete",
        "COMP_WORDS": shlex.join([*words, incomplete] if incomplete else words),
        "COMP_CWORD": incomplete if kind == "fish" else str(len(words)),
    }
    done = await shell.run(**protocol)
    assert (done.code, done.err) == (0, "")
    # Nothing is one empty line.
    return Result(0, done.out.removeprefix("\n"), "")


async def words(shell: Shell, line: str, incomplete: str = "") -> list[str]:
    """The words that are offered, and ``<file>`` where the shell is to look for files."""
    rows = (await offered(shell, line, incomplete, "bash")).out.splitlines()
    return [
        "<file>" if kind == "file" else word
        for kind, _, word in (row.partition(",") for row in rows)
    ]


@pytest.fixture
async def stopped(shell: Shell) -> Shell:
    """A journal with a finished job, and a stopped one of a file with an ugly name."""
    make_source(shell.folder / FILE, 1000, seed=3)
    assert (await shell.upload("a.bin")).code == 0

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        return web.Response(status=503, headers={"retry-after-ms": "1"})

    shell.house.intercept = intercept
    assert (await shell.upload(FILE)).code == 75
    return shell


async def ids(shell: Shell) -> tuple[str, str]:
    """The finished job and the stopped one."""
    journal = await Journal.open(Path(shell.environ["CHUNKUP_JOURNAL"]))
    try:
        finished, open_ = [line.job.id for line in await journal.lines()]
    finally:
        await journal.close()
    return finished, open_


# --- jobs -----------------------------------------------------------------------------------


async def test_jobs_are_offered_with_state_and_file_the_youngest_first(stopped: Shell) -> None:
    finished, open_ = await ids(stopped)
    assert await words(stopped, "show") == [open_, finished]
    found = (await offered(stopped, "show")).out.splitlines()
    assert found == [
        *("plain", open_, "stopped  1 kB  a  b\\x1b[31m:c.bin"),
        *("plain", finished, "completed  20.5 kB  a.bin"),
    ]
    fish = (await offered(stopped, "show", open_[:3], "fish")).out
    assert fish == f"plain,{open_}\tstopped  1 kB  a  b\\x1b[31m:c.bin\n"
    assert await words(stopped, "show", finished[:4].upper()) == [finished]
    assert await words(stopped, "show", "000") == []


@pytest.mark.parametrize("command", ["cancel", "resume"])
async def test_what_goes_on_or_ends_jobs_offers_only_open_ones(
    stopped: Shell, command: str
) -> None:
    finished, open_ = await ids(stopped)
    assert await words(stopped, command) == [open_]
    # Nothing to offer is the word for files where those are meant too.
    assert await words(stopped, command, finished[:4]) == ["<file>"] * (command == "resume")


async def test_resume_takes_files_too_and_no_job_twice(stopped: Shell) -> None:
    _, open_ = await ids(stopped)
    assert await words(stopped, "resume", "./a") == ["<file>"]
    assert await words(stopped, f"resume {open_}") == ["<file>"]


async def test_the_journal_of_the_command_line_is_looked_at(stopped: Shell) -> None:
    journal = stopped.environ.pop("CHUNKUP_JOURNAL")
    stopped.environ["XDG_STATE_HOME"] = str(stopped.folder)
    stopped.environ["HOME"] = str(stopped.folder)
    assert await words(stopped, "show") == []
    assert len(await words(stopped, f"show --journal {journal}")) == 2


async def test_a_job_that_runs_is_said_to_run(shell: Shell) -> None:
    held, go = asyncio.Event(), asyncio.Event()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        held.set()
        await go.wait()
        return await handler(request)

    shell.house.intercept = intercept
    process = await shell.start("upload", "a.bin", "-p", "user_data")
    await held.wait()
    assert "running  20.5 kB  a.bin" in (await offered(shell, "show")).out
    go.set()
    assert (await shell.end(process)).code == 0


async def test_no_journal_is_made_by_looking_for_one(shell: Shell) -> None:
    folder = Path(shell.environ["CHUNKUP_JOURNAL"]).parent
    assert await words(shell, "show") == []
    assert not folder.exists()
    folder.mkdir(mode=0o700)
    empty = folder / "journal.db"
    empty.touch(0o600)
    assert await words(shell, "show") == []
    assert list(folder.iterdir()) == [empty]
    assert empty.stat().st_size == 0


@pytest.mark.parametrize("content", [b"this is no database at all" * 99, b"SQLite format 3\0" * 9])
async def test_a_damaged_journal_offers_nothing_and_says_nothing(
    shell: Shell, content: bytes
) -> None:
    journal = Path(shell.environ["CHUNKUP_JOURNAL"])
    journal.parent.mkdir(mode=0o700)
    journal.write_bytes(content)
    assert (await offered(shell, "show")).out == ""
    assert journal.read_bytes() == content
    shell.environ["CHUNKUP_JOURNAL"] = str(shell.folder)
    assert (await offered(shell, "show")).out == ""


async def test_a_thousand_jobs_are_offered_before_anybody_notices(stopped: Shell) -> None:
    journal = await Journal.open(Path(stopped.environ["CHUNKUP_JOURNAL"]))
    # Each job as a row, under the ids that a counter makes.
    columns = "set_id, created_at, base_url, headers, path, start, stop, size, mtime_ns, inode"
    columns += ", device, purpose, filename, mime_type, part_size, md5, method"
    copy = (
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
        f" INSERT INTO jobs (id, {columns})"
        f" SELECT printf('%06d', i), {columns} FROM n, (SELECT * FROM jobs LIMIT 1)"
    )
    await journal._do(lambda db: db.execute(copy), writes=True)
    await journal.close()
    took = []
    for _ in range(3):
        began = time.perf_counter()
        found = await words(stopped, "show", "0")
        took.append(time.perf_counter() - began)
    assert len(found) == 1000
    # Half a second is the promise; a machine that is busy with other tests gets some more.
    assert min(took) < 1.5, took


# --- everything else ------------------------------------------------------------------------


async def test_commands_purposes_profiles_choices_and_files_are_offered(shell: Shell) -> None:
    (shell.folder / "config.toml").write_text(
        '[profiles.gw]\nbase_url = "https://gw.example/v1"\n[profiles."a b"]\nnonsense = 1\n'
    )
    shell.environ["CHUNKUP_CONFIG"] = "config.toml"
    assert {"upload", "resume", "completion"} <= set(await words(shell, ""))
    assert await words(shell, "", "comp") == ["completion"]
    assert not {"ls", "status"} & set(await words(shell, ""))
    assert "--verbose" in await words(shell, "", "--")
    assert "--purpose" in await words(shell, "upload", "--p")
    assert {"batch", "user_data"} <= set(await words(shell, "upload a.bin --purpose"))
    assert await words(shell, "upload -p", "fi") == ["fine-tune"]
    places = await words(shell, "upload --profile")
    assert places[-2:] == ["gw", "a b"]
    assert {"openai", "azure", "mistral"} <= set(places)
    assert await words(shell, "upload --profile mistral -p", "o") == ["ocr"]
    assert "https://gw.example/v1" in (await offered(shell, "resume --profile", "g")).out
    assert await words(shell, "upload", "a") == ["<file>"]
    assert await words(shell, "completion", "z") == ["zsh"]
    assert await words(shell, "status", "") == []


async def test_a_bad_file_of_profiles_or_a_bad_profile_spoils_nothing(shell: Shell) -> None:
    (shell.folder / "config.toml").write_text("this is no TOML")
    shell.environ["CHUNKUP_CONFIG"] = "config.toml"
    shell.environ["CHUNKUP_PROFILE"] = "nobody"
    assert await words(shell, "upload --profile") == []
    assert await words(shell, "upload -p", "ba") == ["batch"]
    assert await words(shell, "upload --profile nobody -p", "ba") == ["batch"]


# --- real shells ----------------------------------------------------------------------------

DRIVERS = {
    "bash": """
eval "$(chunkup completion bash)"
complete -p chunkup
COMP_WORDS=(chunkup show ""); COMP_CWORD=2
_chunkup_completion chunkup
printf '%s\\n' "${COMPREPLY[@]}"
""",
    # The two builtins that only work while somebody presses Tab print what they are given.
    "zsh": """
compdef() { print -r -- compdef "$@" }
_describe() { print -rl -- "${(@P)3}" }
compadd() { print -rl -- "${(@P)argv[-1]}" }
eval "$(chunkup completion zsh)"
words=(chunkup show ""); CURRENT=3
_chunkup_completion
""",
    "fish": """
chunkup completion fish | source
complete -C "chunkup show "
""",
}
PLAIN = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}


@pytest.mark.parametrize("name", DRIVERS)
async def test_a_real_shell_offers_the_jobs(stopped: Shell, name: str) -> None:
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"no {name} on this machine")
    bin_ = Path(sys.executable).parent
    if not (bin_ / "chunkup").exists():
        pytest.skip("chunkup is not installed as a command beside this Python")
    if name == "bash" and not await supported(program):
        pytest.skip("this bash is older than 4.4, which click's completion needs")
    process = await asyncio.create_subprocess_exec(
        *(program, *PLAIN[name], "-c", DRIVERS[name]),
        cwd=stopped.folder,
        env={**stopped.environ, "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stopped.started.append(process)
    done = await stopped.end(process)
    assert (done.code, done.err) == (0, "")
    finished, open_ = await ids(stopped)
    lines = done.out.splitlines()
    help_ = ["stopped  1 kB  a  b\\x1b[31m:c.bin", "completed  20.5 kB  a.bin"]
    expected: dict[str, Sequence[str]] = {
        "bash": ["complete -o nosort -F _chunkup_completion chunkup", open_, finished],
        "zsh": [
            "compdef _chunkup_completion chunkup",
            *(f"{job}:{said}" for job, said in zip((open_, finished), help_, strict=True)),
        ],
        "fish": sorted(f"{j}\t{said}" for j, said in zip((open_, finished), help_, strict=True)),
    }
    assert (sorted(lines) if name == "fish" else lines) == expected[name]


async def supported(bash: str) -> bool:
    process = await asyncio.create_subprocess_exec(
        *(bash, "-c", "(( BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404 ))")
    )
    return await process.wait() == 0


async def test_the_help_says_how_to_install_it_in_one_line_each(shell: Shell) -> None:
    done = await shell.run("completion", "--help")
    for line in (
        """echo 'eval "$(chunkup completion bash)"' >> ~/.bashrc""",
        """echo 'eval "$(chunkup completion zsh)"' >> ~/.zshrc""",
        "chunkup completion fish > ~/.config/fish/completions/chunkup.fish",
    ):
        assert line in done.out
    refused = await shell.run("completion", "tcsh")
    assert (refused.code, refused.out) == (2, "")
