"""``-`` as a path: standard input uploaded by the real command to a real server."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from test_cli import PART, PIPE, Shell, hold_parts_after, shell

__all__ = ["shell"]

LINES = b"".join(
    b'{"custom_id": "%d", "method": "POST", "url": "/v1/responses", "body": {"model": "m"}}\n'
    % line
    for line in range(300)
)


def kept(shell: Shell) -> list[Path]:
    folder = shell.journal.with_name(shell.journal.name + "-spool")
    return sorted(folder.iterdir()) if folder.exists() else []


def contents(shell: Shell) -> dict[str, bytes]:
    """What the server has, by the Files' names."""
    return {file.filename: shell.house.content(file.id) for file in shell.house.files}


async def begin(shell: Shell, *arguments: str, stdin: int) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chunkup", "upload", "-", *arguments, "--part-size", PART),
        cwd=shell.folder,
        env=shell.environ,
        stdin=stdin,
        stdout=PIPE,
        stderr=PIPE,
    )
    shell.started.append(process)
    os.close(stdin)
    return process


async def test_standard_input_becomes_one_file_and_nothing_stays(shell: Shell) -> None:
    done = await shell.paste(f"chunkup upload - -p user_data --part-size {PART} < a.bin")
    assert done.code == 0, done.err
    (file,) = shell.house.files
    assert done.out == f"{file.id}\n"
    assert contents(shell) == {"stdin": (shell.folder / "a.bin").read_bytes()}
    assert "uploading stdin as job" in done.err
    assert kept(shell) == []


async def test_the_name_follows_the_purpose_or_the_flag(shell: Shell) -> None:
    (shell.folder / "lines").write_bytes(LINES)
    line = "cat lines | chunkup upload - -p batch"
    done = await shell.paste(f"{line} && {line} --filename mine.jsonl")
    assert done.code == 0, done.err
    assert contents(shell) == {"stdin.jsonl": LINES, "mine.jsonl": LINES}


async def test_among_others_it_alone_is_called_so(shell: Shell) -> None:
    shell.make("b.txt", "c.txt")
    done = await shell.paste("echo hello | chunkup upload b.txt - c.txt -p user_data")
    assert done.code == 0, done.err
    assert [line.split("\t")[1] for line in done.out.splitlines()] == ["b.txt", "-", "c.txt"]
    assert contents(shell).keys() == {"b.txt", "stdin", "c.txt"}
    assert contents(shell)["stdin"] == b"hello\n"
    assert kept(shell) == []


async def test_in_pieces_it_stays_until_the_last_of_them_is_sent(shell: Shell) -> None:
    (shell.folder / "lines").write_bytes(LINES)
    line = "chunkup upload - -p batch --split-lines 100 --workers 1"
    done = await shell.paste(f"cat lines | {line}")
    assert done.code == 0, done.err
    names = [f"stdin-0000{number}-of-00003.jsonl" for number in (1, 2, 3)]
    assert [line.split("\t")[1] for line in done.out.splitlines()] == names
    assert b"".join(contents(shell)[name] for name in names) == LINES
    assert kept(shell) == []


async def test_killed_in_the_middle_it_goes_on_from_what_is_kept(shell: Shell) -> None:
    held, go = hold_parts_after(shell.house, 5)
    source = os.open(shell.folder / "a.bin", os.O_RDONLY)
    process = await begin(shell, "-p", "user_data", stdin=source)
    await held.wait()
    (spooled,) = kept(shell)
    process.kill()
    await process.wait()
    go.set()
    shell.house.intercept = None
    await shell.house.idle()
    # Another standard input is another job, and leaves this one what it needs.
    done = await shell.paste("echo other | chunkup upload - -p user_data")
    assert done.code == 0, done.err
    assert kept(shell) == [spooled]
    done = await shell.run("resume")
    assert done.code == 0, done.err
    assert (shell.folder / "a.bin").read_bytes() in [
        shell.house.content(file.id) for file in shell.house.files
    ]
    assert len(shell.house.files) == 2
    assert kept(shell) == []


async def test_cancelled_it_is_not_kept(shell: Shell) -> None:
    held, go = hold_parts_after(shell.house, 5)
    source = os.open(shell.folder / "a.bin", os.O_RDONLY)
    process = await begin(shell, "-p", "user_data", stdin=source)
    await held.wait()
    process.send_signal(signal.SIGINT)
    go.set()
    stopped = await shell.end(process)
    assert stopped.code == 130, stopped.err
    assert len(kept(shell)) == 1
    (job_id,) = await shell.jobs()
    done = await shell.run("cancel", job_id)
    assert done.code == 0, done.err
    assert kept(shell) == []


async def test_what_a_job_that_failed_left_goes_with_the_next(shell: Shell) -> None:
    shell.make("b.txt")
    bad = "echo '{' | chunkup upload b.txt - -p batch"
    done = await shell.paste(f"{bad}; ls -A $CHUNKUP_JOURNAL-spool | wc -l >&2")
    assert done.err.endswith("\n1\n")
    done = await shell.paste("echo hello | chunkup upload - -p user_data")
    assert done.code == 0, done.err
    assert kept(shell) == []


async def test_prune_removes_what_no_job_needs(shell: Shell) -> None:
    shell.make("b.txt")
    done = await shell.paste("echo '{' | chunkup upload b.txt - -p batch")
    assert done.code == 1, done.err
    (left,) = kept(shell)
    done = await shell.run("prune", "--dry-run", "--older-than", "0")
    assert kept(shell) == [left]
    done = await shell.run("prune", "--older-than", "0")
    assert done.code == 0, done.err
    assert kept(shell) == []


async def test_interrupted_while_it_is_read_it_leaves_no_job_and_no_file(shell: Shell) -> None:
    end, writer = os.pipe()
    process = await begin(shell, "-p", "user_data", stdin=end)
    os.write(writer, b"half of it")
    while not kept(shell) or not kept(shell)[0].stat().st_size:  # noqa: ASYNC110  (a folder tells nobody)
        await asyncio.sleep(0)
    process.send_signal(signal.SIGTERM)
    stopped = await shell.end(process)
    os.close(writer)
    assert stopped.code == 143
    assert "nothing is left to continue" in stopped.err
    assert kept(shell) == []
    assert await shell.jobs() == {}
    assert shell.house.calls == []


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("chunkup upload - -p user_data < /dev/null", "empty-file"),
        ("echo '{' | chunkup upload - -p batch", "bad-content"),
        ("echo x | chunkup upload - missing -p user_data", "no-such-file"),
        ("echo x | chunkup upload - -p user_data --dry-run", "usage"),
    ],
)
async def test_what_is_refused_leaves_no_job_and_no_file(
    shell: Shell, script: str, code: str
) -> None:
    done = await shell.paste(script)
    assert done.code == 2, done.err
    assert f"error[{code}]: " in done.err
    assert "hint: chunkup check -" not in done.err
    assert kept(shell) == []
    assert shell.house.calls == []
    if shell.journal.exists():
        assert await shell.jobs() == {}
