"""The how-tos in docs/ were run, and say what happens.

Shell scripts and programs of a page are written down under the name above them; the lines
behind ``$`` are run as they stand, and only figures, ids and paths may differ.
"""

import ast
import asyncio
import json
import os
import re
import shutil
import signal
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from house import Handler, call_of, make_source
from test_cli import Shell, shell

from chunkup.journal import Journal

__all__ = ["shell"]

DOCS = Path(__file__).parent.parent / "docs"
WEEKEND = 2.6 * 86400


def mask(text: str) -> str:
    """Figures, ids and paths are of the day on which they were seen."""
    text = re.sub(r"file-\w+", "FILE", text)
    text = re.sub(r"http://127\.0\.0\.1:\d+/v1", "URL", text)
    text = re.sub(r" --journal \S+", "", text)
    text = re.sub(r"/\S*/(?=[\w.]+\b)", "/", text)
    text = re.sub(r"process \d+ on [\w.-]+", "process N", text)
    text = re.sub(r"[▕█▓░▏]+", "STRIP", text)
    text = re.sub(r"\b(?=\w*\d)(?=\w*[a-z])[2-9a-hjkmnp-z]{6}\b", "JOB", text)
    text = re.sub(r"\d+(\.\d+)?( (bytes|kB|MB|d|h|min|s)\b)*", "#", text)
    return "\n".join(re.sub(r"[ \t]+", " ", line).strip() for line in text.strip().splitlines())


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def programs(text: str) -> dict[str, str]:
    """What stands in the page under a name of its own."""
    return dict(re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def console(text: str) -> list[tuple[str, str]]:
    """Each command of the page with what it shows."""
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    found = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", "".join(blocks), re.MULTILINE)
    return [(command, shown) for command, shown in found]


async def bash(shell: Shell, command: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", command),
        cwd=shell.folder,
        env=shell.environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    shell.started.append(process)
    return process


async def play(shell: Shell, command: str, shown: str) -> None:
    """Run a command and compare; what ends in … is a beginning."""
    done = await shell.end(await bash(shell, command))
    said, expected = mask(done.err + done.out), mask(shown)
    if expected.endswith("…"):
        said = "\n".join(sorted(said.splitlines()))
        for line in expected.splitlines():
            assert line.removesuffix("…").strip() in said, done
        return
    assert sorted(said.splitlines()) == sorted(expected.splitlines()), done


def prepare(shell: Shell, text: str) -> None:
    """The page's programs, and the command itself on the path."""
    for name, program in programs(text).items():
        path = shell.folder / name
        path.write_text(program)
        path.chmod(0o755)
    tools = shell.folder.parent / "tools"
    tools.mkdir()
    for name, words in (("chunkup", " -m chunkup"), ("python", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable}{words} "$@"\n')
        (tools / name).chmod(0o755)
    shell.environ["PATH"] = f"{tools}:{shell.environ['PATH']}"


def make_batch(path: Path, size: int) -> None:
    """A batch of one request, ``size`` bytes long."""
    body = {"model": "m", "input": ""}
    request = {"custom_id": path.name, "method": "POST", "url": "/v1/responses", "body": body}
    body["input"] = "x" * (size - len(json.dumps(request)) - 1)
    path.write_text(json.dumps(request) + "\n")


def hold_after(shell: Shell, completed: int) -> asyncio.Event:
    """Let some files be completed, and then nothing more. When that is so."""
    held = asyncio.Event()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and shell.house.calls.count("complete") >= completed:
            held.set()
            await asyncio.Event().wait()
        return await handler(request)

    shell.house.intercept = intercept
    return held


def hold_friday(shell: Shell) -> Callable[[], Awaitable[None]]:
    """Let two files through, eight parts of a third, and of the others nothing. Until then."""
    third, done = asyncio.Event(), asyncio.Event()
    owner: dict[str, str] = {}
    parts = 0

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal parts
        call = call_of(request)
        if call == "create":
            name = (await request.json())["filename"]
            if name > "c.jsonl":
                await asyncio.Event().wait()
            answer = await handler(request)
            assert isinstance(answer, web.Response)
            owner[json.loads(answer.text or "")["id"]] = name
            return answer
        if call == "part" and owner[request.path.split("/")[-2]] == "c.jsonl":
            parts += 1
            if parts > 8:
                third.set()
                await asyncio.Event().wait()
        answer = await handler(request)
        if call == "complete" and len(shell.house.files) == 2:
            done.set()
        return answer

    async def until() -> None:
        await third.wait()
        await done.wait()
        book = await Journal.open(Path(shell.environ["CHUNKUP_JOURNAL"]))
        while sorted((line.parts, line.phase.value) for line in await book.lines())[3:] != [
            *((8, "sending"), (21, "completed"), (21, "completed"))
        ]:
            continue  # the rows come from another process, which tells nobody
        await book.close()

    shell.house.intercept = intercept
    return until


@pytest.mark.skipif(shutil.which("jq") is None, reason="the page's script needs jq")
async def test_three_hundred_files_from_a_script(shell: Shell) -> None:
    text = page("from-a-script.md")
    prepare(shell, text)
    (shell.folder / "data").mkdir()
    for number in range(300):
        make_batch(shell.folder / "data" / f"f{number:03}.jsonl", 200 + number)
    held = hold_after(shell, completed=150)
    steps = console(text)
    (begin, _), (kill, _), *rest = steps
    assert begin == "./nightly.sh &"
    assert kill.startswith("pkill -9")
    running = await bash(shell, "./nightly.sh")
    await held.wait()
    os.killpg(running.pid, signal.SIGKILL)
    await running.communicate()
    shell.house.intercept = None
    before = len(shell.house.files)
    # Of those at the server when the client was killed some may have been given up.
    assert 140 <= before < 300
    for command, shown in rest[:3]:
        await play(shell, command, shown)
    assert len(shell.house.files) == 300
    command, shown = rest[3]
    await play(shell, command, shown)


async def test_monday_morning(shell: Shell) -> None:
    text = page("monday-morning.md")
    prepare(shell, text)
    for number, letter in enumerate("abcdef"):
        make_source(shell.folder / f"{letter}.jsonl", 20_500, seed=number)
    journal = shell.environ["CHUNKUP_JOURNAL"]
    friday = hold_friday(shell)
    names = [f"{letter}.jsonl" for letter in "abcdef"]
    running = await shell.start("upload", *names, "-p", "user_data", "--part-size", "1000")
    await friday()
    running.kill()
    await running.communicate()
    shell.house.intercept = None
    with sqlite3.connect(journal) as book:
        book.execute("UPDATE jobs SET created_at = created_at - ?", [WEEKEND])
        book.execute(
            "UPDATE runs SET started_at = started_at - :w, ended_at = ended_at - :w",
            {"w": WEEKEND},
        )
        book.execute("UPDATE uploads SET expires_at = expires_at - ?", [WEEKEND])
    book.close()
    shell.house.clock.offset = WEEKEND
    listed = (await shell.run("jobs")).out.splitlines()
    (stopped,) = [line.split()[0] for line in listed if "c.jsonl" in line]
    for command, shown in console(text):
        await play(shell, re.sub(r"^(chunkup show) \w+", rf"\1 {stopped}", command), shown)
    assert sorted(row.filename for row in shell.house.files) == names


async def test_in_a_service(shell: Shell) -> None:
    text = page("in-a-service.md")
    prepare(shell, text)
    for number, letter in enumerate("abc"):
        make_source(shell.folder / f"{letter}.bin", 20_500, seed=number)
    done = await shell.end(await bash(shell, "python -W error service.py"))
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert sum(" is file-" in line for line in lines) == 2, lines
    (stopped,) = [line.split()[0] for line in lines if "stopped: the upload of c.bin" in line]
    shown = console(text)[-1][1]
    await play(shell, f"chunkup resume {stopped} --quiet", shown)


async def test_in_a_notebook(shell: Shell) -> None:
    cells = re.findall(
        r"^```python\n(.*?)^```$", page("in-a-notebook.md"), re.MULTILINE | re.DOTALL
    )
    for name in ("train.jsonl", "big.jsonl"):
        make_source(shell.folder / name, 5000)
    for name in ("a.jsonl", "b.jsonl"):
        make_batch(shell.folder / name, 5000)
    assert len(cells) == 6
    (shell.folder / "cells.py").write_text(
        "import ast, asyncio\n"
        "async def main():\n"
        "    names = {}\n"
        f"    for cell in {cells!r}:\n"
        "        code = compile(cell, 'cell', 'exec', ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)\n"
        "        waiting = eval(code, names)\n"
        "        if waiting is not None:\n"
        "            await waiting\n"
        "asyncio.run(main())\n"
    )
    ast.parse((shell.folder / "cells.py").read_text())
    process = await bash(shell, f"{sys.executable} -W error cells.py")
    done = await shell.end(process)
    assert done.code == 0, done.err
    assert {row.filename for row in shell.house.files} == {
        *("train.jsonl", "a.jsonl", "b.jsonl", "big.jsonl")
    }
    assert done.out.count("completed 100 %") == 4
