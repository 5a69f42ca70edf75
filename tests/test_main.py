"""The root of all commands: other names for them, near misses, completions of its own."""

import click
import pytest
from test_cli import Shell, shell

from chunkup.cli.main import _ALIASES, _COMMANDS, cli

__all__ = ["shell"]


async def test_hidden_names_do_what_their_namesakes_do(shell: Shell) -> None:
    assert (await shell.upload("a.bin")).code == 0
    listed = await shell.run("jobs")
    assert (await shell.run("ls")).out.split()[:8] == listed.out.split()[:8]
    job = listed.out.splitlines()[1].split()[0]
    for words in (["status"], ["status", "--journal", shell.environ["CHUNKUP_JOURNAL"]]):
        assert job in (await shell.run(*words)).out.splitlines()[1]
    for words in (["status", job], ["status", "--journal", "nowhere.db", job, "--journal"]):
        done = await shell.run(*words, *([shell.environ["CHUNKUP_JOURNAL"]] * (len(words) > 2)))
        assert f"job:     {job}" in done.out, done.err
    assert (await shell.run("status", "zzzzzz")).err.startswith("error[no-such-job]")
    root = await shell.run("--help")
    for alias in _ALIASES:
        assert f"  {alias} " not in root.out


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("uplaod", "upload"), ("job", "jobs"), ("res", "resume"), ("co", "completion")],
)
async def test_an_unknown_command_suggests_the_nearest(
    shell: Shell, typed: str, meant: str
) -> None:
    done = await shell.run(typed, "a.bin")
    assert done.code == 2
    first, blank, hint = done.err.splitlines()
    assert first == f"error[usage]: there is no command '{typed}'; did you mean {meant}?"
    assert (blank, hint) == ("", f"hint: chunkup {meant} --help")


async def test_what_is_like_no_command_gets_the_list(shell: Shell) -> None:
    for typed in ("xyzzy", "", "\x1b[31m"):
        done = await shell.run(typed)
        assert (done.code, done.out) == (2, "")
        assert "did you mean" not in done.err
        assert done.err.endswith("hint: chunkup --help\n")
        assert "\x1b" not in done.err


async def test_every_command_of_the_table_exists(shell: Shell) -> None:
    for name in _COMMANDS:
        context = click.Context(cli, info_name="chunkup")
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name
