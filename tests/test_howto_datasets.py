"""The how-to about datasets was run: a small one, at a provider that takes little."""

import gzip
import json
import os
import re
import signal
from pathlib import Path

import test_howtos
from test_cli import Shell, shell
from test_howtos import bash, console, hold_after, page, prepare

__all__ = ["shell"]

# So little that a small file is many.
LITTLE = '[profiles.little]\nlimits = { purposes = { batch = "20kB" } }\n'
LINES = 3100


def line(number: int) -> str:
    request = {"custom_id": f"r-{number}", "method": "POST", "url": "/v1/chat/completions"}
    message = {"role": "user", "content": f"What is {number}?"}
    return json.dumps({**request, "body": {"model": "gpt-5-mini", "messages": [message]}})


def mask(text: str) -> str:
    """As on the other pages; here are thousands, tabs that ``uniq`` makes blanks, and a place."""
    text = re.sub(r" (--profile|--base-url) \S+", "", text)
    text = re.sub(r" and 50,000 lines", "", text)
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text).replace(" GB", " MB")
    return test_howtos.mask(text)


async def play(shell: Shell, command: str, shown: str) -> None:
    """Run a command and compare; a line of … alone stands for any number of lines."""
    done = await shell.end(await bash(shell, command))
    said, expected = mask(done.err + done.out).splitlines(), mask(shown).splitlines()
    if "…" in expected:
        said = [one for one in said if one in expected]
        expected.remove("…")
    assert sorted(said) == sorted(expected), done


def make_dataset(folder: Path) -> list[str]:
    """Requests, one with the id of another, and a line with nothing in it."""
    lines = [line(number) for number in range(LINES)]
    lines[2406] = line(17)
    (folder / "big.jsonl").write_text("\n".join([*lines[:2407], "", *lines[2407:]]) + "\n")
    (folder / "pages" / "more").mkdir(parents=True)
    for name in ("a.md", "b.md", "more/c.md", "d.bin", ".hidden.md"):
        (folder / "pages" / name).write_text(name)
    (folder / "pages" / "empty.md").touch()
    (folder / "more.jsonl.gz").write_bytes(gzip.compress((line(1) + "\n").encode()))
    return lines


async def test_a_dataset_of_gigabytes(shell: Shell) -> None:
    text = page("datasets.md")
    prepare(shell, text)
    program = shell.folder / "dataset.py"
    # Profiles are the command line's: the library is told how little this provider takes.
    written = program.read_text("utf-8")
    assert "split=True" in written
    program.write_text(written.replace("split=True", "split=chunkup.Split(size=20_000)"))
    lines = make_dataset(shell.folder)
    (shell.folder.parent / "config.toml").write_text(LITTLE)
    shell.environ["CHUNKUP_CONFIG"] = str(shell.folder.parent / "config.toml")
    shell.environ["CHUNKUP_PROFILE"] = "little"
    steps = console(text)
    kill = next(place for place, (command, _) in enumerate(steps) if command.startswith("pkill"))
    for command, shown in steps[: kill - 1]:
        await play(shell, command, shown)
    begin = steps[kill - 1][0]
    assert begin.endswith(" &")
    held = hold_after(shell, completed=9)
    running = await bash(shell, begin.removesuffix(" &"))
    await held.wait()
    os.killpg(running.pid, signal.SIGKILL)
    await running.communicate()
    shell.forget()
    for command, shown in steps[kill + 1 :]:
        sent = len(shell.house.files)
        await play(shell, command, shown)
        if "--skip-existing" in command:
            assert len(shell.house.files) == sent
    files = {row.filename: shell.house.content(row.id) for row in shell.house.files}
    pieces = sorted(name for name in files if name.startswith("big.fixed-"))
    assert len(pieces) == int(pieces[0][-11:-6])
    sources = b"".join(files[name] for name in pieces).decode().splitlines()
    lines[2406] = lines[2406].replace("r-17", "line-2407")
    assert [json.loads(one) for one in sources] == [json.loads(one) for one in lines]
    assert files["more.jsonl"].decode() == line(1) + "\n"


async def test_the_readme(shell: Shell) -> None:
    text = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    text = text.partition("## A dataset\n")[2].partition("\n## ")[0]
    prepare(shell, text)
    lines = [line(number) for number in range(LINES)]
    (shell.folder / "big.jsonl").write_text("\n".join(lines) + "\n")
    (shell.folder.parent / "config.toml").write_text(LITTLE)
    shell.environ["CHUNKUP_CONFIG"] = str(shell.folder.parent / "config.toml")
    shell.environ["CHUNKUP_PROFILE"] = "little"
    running, held, kills = None, None, 0
    for command, shown in console(text):
        if command.endswith(" &"):
            assert shown == ""
            held = hold_after(shell, completed=4)
            running = await bash(shell, command.removesuffix(" &"))
        elif command.startswith("kill -9"):
            assert running is not None
            assert held is not None
            await held.wait()
            os.killpg(running.pid, signal.SIGKILL)
            await running.communicate()
            shell.forget()
            kills += 1
        else:
            await play(shell, command, shown)
    assert kills == 2
    files = {row.filename: shell.house.content(row.id) for row in shell.house.files}
    assert len(shell.house.files) == len(files)
    assert b"".join(files[name] for name in sorted(files)).decode().splitlines() == lines
