"""What a command line means: paths, folders, lists, standard input; in real processes."""

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# Two commands that do nothing but say what they were given, in the place of real ones.
COMMANDS = """
import json, os, sys
from pathlib import Path
import click
from chunkup.cli import main
from chunkup.cli.inputs import gathered, input_options, spooled
from chunkup.cli.options import where_options
from chunkup.cli.session import run
from chunkup.cli.talk import Talk
from chunkup.spool import Spool

@click.command("upload")
@click.argument("paths", nargs=-1, type=click.Path())
@input_options
@where_options
def upload(paths, **values):
    found = gathered(paths, values)
    left = sorted({"recursive", "include", "exclude", "from_file"} & values.keys())
    print(json.dumps([found.paths, found.notes, found.single, left]))

@click.command("check")
@click.option("--quiet", is_flag=True)
def check(quiet):
    folder = Path("journal.db-spool")
    spool = Spool(folder)
    try:
        path = run(spooled(spool, Talk(False, None, quiet, "auto")))
        print(path == str(Path(path).resolve()), Path(path).stat().st_size, flush=True)
    finally:
        print([name for name in os.listdir(folder) if folder.exists()])

for name in ("upload", "check"):
    main._COMMANDS[name] = ("__main__", "")
main.main()
"""
PATIENCE = 30.0


@dataclass
class Shell:
    folder: Path
    environ: dict[str, str]

    def grow(self, *names: str) -> None:
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")

    def run(
        self, *arguments: str, standard_input: bytes = b"", **more: str
    ) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-c", COMMANDS, *arguments],
            cwd=self.folder,
            env={**self.environ, **more},
            input=standard_input,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        said = subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )
        assert "Traceback" not in said.stderr, said.stderr
        return said

    def found(self, *arguments: str, standard_input: bytes = b"", **more: str) -> Any:
        done = self.run("upload", *arguments, standard_input=standard_input, **more)
        assert done.returncode == 0, done.stderr
        paths, notes, single, left = json.loads(done.stdout)
        assert left == []
        return paths, notes, single

    def refused(self, *arguments: str, standard_input: bytes = b"", **more: str) -> list[str]:
        """The sentence and the hint of an error."""
        done = self.run("upload", *arguments, standard_input=standard_input, **more)
        assert (done.returncode, done.stdout) == (2, "")
        sentence, blank, hint = done.stderr.splitlines()
        assert blank == ""
        return [sentence.removeprefix("error"), hint.removeprefix("hint: ")]

    @contextmanager
    def terminal(self, *arguments: str, **more: Any) -> "Iterator[Terminal]":
        """The command with a terminal as its standard error, and as what ``more`` leaves."""
        controller, terminal = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-c", COMMANDS, *arguments],
            cwd=self.folder,
            env=self.environ,
            stderr=terminal,
            preexec_fn=at_the_terminal,  # noqa: PLW1509  (no thread here)
            start_new_session=True,
            **{"stdin": terminal, "stdout": terminal, **more},
        )
        os.close(terminal)
        try:
            yield Terminal(process, controller)
        finally:
            process.kill()
            process.wait()
            os.close(controller)


def at_the_terminal() -> None:
    fcntl.ioctl(2, termios.TIOCSCTTY, 0)
    # What runs in the background of a script ignores it, and so do its children.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass
class Terminal:
    process: "subprocess.Popen[bytes]"
    controller: int
    seen: bytes = b""

    def until(self, text: bytes) -> None:
        while text not in self.seen:
            assert self.read(), self.seen

    def read(self) -> bool:
        ready, _, _ = select.select([self.controller], [], [], PATIENCE)
        assert ready, self.seen
        try:
            data = os.read(self.controller, 65536)
        except OSError:
            return False  # how Linux tells that nobody has the other end any more
        self.seen += data
        return bool(data)

    def end(self) -> int:
        while self.read():
            continue
        return self.process.wait(PATIENCE)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    return Shell(tmp_path, {**keep, "PYTHONUTF8": "1", "PYTHONWARNINGS": "error"})


# --- paths and folders ----------------------------------------------------------------------


def test_paths_folders_and_lists_come_in_their_order(shell: Shell) -> None:
    shell.grow("d/b.jsonl", "d/a.jsonl", "d/c.txt", "d/old/x.jsonl", "d/.h", "z", "e/f")
    (shell.folder / "list").write_text("e\nz\n")
    flags = ("--include", "*.jsonl", "--include", "f", "--exclude", "old", "--from-file", "list")
    paths, notes, single = shell.found("z", "d", "-r", *flags)
    assert paths == ["z", "d/a.jsonl", "d/b.jsonl", "e/f", "z"]
    assert notes == ["1 hidden file or folder was left out"]
    assert not single


def test_the_journal_of_a_command_is_none_of_its_data(shell: Shell) -> None:
    shell.grow("d/a", "d/journal.db", "d/journal.db-spool/b")
    paths, notes, _ = shell.found("d", "-r", "--journal", "d/journal.db")
    assert paths == ["d/a"]
    assert notes == ["2 files of chunkup's own were left out"]
    assert shell.found("d", "-r", CHUNKUP_JOURNAL="d/journal.db")[0] == ["d/a"]
    assert len(shell.found("d", "-r")[0]) == 3


def test_one_path_is_single_and_a_list_of_one_is_not(shell: Shell) -> None:
    shell.grow("a", "d/b")
    (shell.folder / "list").write_text("a\n")
    assert shell.found("a") == (["a"], [], True)
    assert not shell.found("d", "--recursive")[2]
    assert not shell.found("--from-file", "list")[2]


def test_variables_stand_for_flags_and_trouble_no_other_command(shell: Shell) -> None:
    shell.grow("d/a b.jsonl", "d/c.jsonl", "d/e.txt", "d/f.tmp")
    include = "a b*\n\n*.txt\n*.tmp\n"
    shell.environ |= {"CHUNKUP_INCLUDE": include, "CHUNKUP_EXCLUDE": "*.tmp"}
    assert shell.found("d", CHUNKUP_RECURSIVE="1")[0] == ["d/a b.jsonl", "d/e.txt"]
    assert shell.found("d/c.jsonl", "d/f.tmp")[0] == ["d/c.jsonl", "d/f.tmp"]


def test_the_hint_for_a_folder_is_the_whole_command(shell: Shell) -> None:
    shell.grow("my data/a")
    sentence, hint = shell.refused(
        "my data", "--base-url", "http://127.0.0.1/v1", "-H", "X-Secret: hunter2"
    )
    assert sentence == "[not-a-file]: my data is a directory"
    assert hint == (
        "chunkup upload --recursive 'my data' --base-url http://127.0.0.1/v1 -H 'X-Secret: ***'"
    )
    (shell.folder / "list").write_text("my data\n")
    sentence, hint = shell.refused("--from-file", "list")
    assert sentence == "[not-a-file]: line 1 of list: my data is a directory"
    assert hint == "chunkup upload --recursive --from-file list"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name at least one FILE, or a list of them with --from-file"),
        (["-", "-"], "standard input can be read only once"),
        (["-", "--from-file", "-"], "standard input can be read only once"),
        (["a", "--include", "*"], "--include chooses among the files of folders"),
        (["a", "--exclude", "*"], "--exclude chooses among the files of folders"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    shell: Shell, arguments: list[str], says: str
) -> None:
    shell.grow("a")
    sentence, hint = shell.refused(*arguments)
    assert sentence.startswith(f"[usage]: {says}")
    assert hint == "chunkup upload --help"


def test_names_that_would_harm_a_terminal_are_escaped(shell: Shell) -> None:
    shell.grow("\x1b[2Jd/a")
    sentence, hint = shell.refused("\x1b[2Jd")
    assert sentence == "[not-a-file]: \\x1b[2Jd is a directory"
    assert hint == "give --recursive to upload what is in it"


# --- lists ----------------------------------------------------------------------------------


def test_a_list_from_standard_input_by_lines_and_by_nul_bytes(shell: Shell) -> None:
    shell.grow("a", "b\nc")
    assert shell.found("--from-file", "-", standard_input=b"a\r\n\na")[0] == ["a", "a"]
    printed = subprocess.run(
        ["find", ".", "-type", "f", "-print0"], cwd=shell.folder, capture_output=True, check=True
    ).stdout
    found = shell.found("--from-file", "-", standard_input=printed)[0]
    assert sorted(found) == ["./a", "./b\nc"]


def test_a_list_may_be_a_pipe(shell: Shell) -> None:
    shell.grow("a")
    os.mkfifo(shell.folder / "pipe")
    with subprocess.Popen("echo a > pipe", shell=True, cwd=shell.folder):
        assert shell.found("--from-file", "pipe")[0] == ["a"]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("missing", "[no-such-file]: there is no list missing"),
        ("folder", "[not-a-file]: folder is a directory, and no list of paths"),
        ("blank", "[no-such-file]: blank names no files"),
        ("-", "[no-such-file]: standard input names no files"),
        ("wrong", "[no-such-file]: line 2 of wrong: there is no file nowhere"),
        ("x" * 300, f"[unreadable]: the list {'x' * 300} cannot be read: File name too long"),
    ],
)
def test_a_list_that_cannot_be_is_refused(shell: Shell, source: str, says: str) -> None:
    shell.grow("a", "folder/a")
    (shell.folder / "blank").write_text("\r\n\n")
    (shell.folder / "wrong").write_text("a\nnowhere\n")
    done = shell.run("upload", "--from-file", source)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == f"error{says}"


def test_a_blank_list_beside_a_path_is_no_trouble(shell: Shell) -> None:
    shell.grow("a")
    (shell.folder / "blank").write_text("\n")
    assert shell.found("a", "--from-file", "blank")[0] == ["a"]


def test_nobody_types_a_list(shell: Shell) -> None:
    with shell.terminal("upload", "--from-file", "-") as terminal:
        assert terminal.end() == 2
    assert b"error[not-a-file]: standard input is a terminal" in terminal.seen
    assert b"find FOLDER -type f -print0 | chunkup upload --from-file -" in terminal.seen


# --- standard input -------------------------------------------------------------------------


def test_standard_input_stays_what_it_is_until_it_is_spooled(shell: Shell) -> None:
    assert shell.found("-") == shell.found("-", standard_input=b"x" * 100_000)
    assert shell.found("-")[0] == ["-"]
    done = shell.run("check", standard_input=b"x" * 100_000)
    assert done.stdout.splitlines()[0] == "True 100000"
    assert done.stderr == ""


def test_the_others_are_looked_at_before_standard_input_is_read(shell: Shell) -> None:
    shell.grow("a")
    sentence, _ = shell.refused("a", "-", "missing")
    assert sentence == "[no-such-file]: there is no file missing"
    assert shell.found("a", "missing")[0] == ["a", "missing"]


def test_a_closed_standard_input_is_an_empty_one(shell: Shell) -> None:
    done = subprocess.run(
        ["bash", "-c", 'exec "$0" -c "$1" check <&-', sys.executable, COMMANDS],
        cwd=shell.folder,
        env=shell.environ,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"error[empty-file]: standard input is empty")


@pytest.mark.parametrize("quiet", [False, True])
def test_a_terminal_is_told_how_much_came_and_left_clean(shell: Shell, *, quiet: bool) -> None:
    flags = ["--quiet"] if quiet else []
    begin, end = os.pipe()
    with shell.terminal("check", *flags, stdin=begin) as terminal:
        os.close(begin)
        if quiet:
            os.write(end, b"x")
        while not quiet and b"reading standard input: " not in terminal.seen:
            os.write(end, b"x" * 1000)
            ready, _, _ = select.select([terminal.controller], [], [], 0.05)
            assert not ready or terminal.read()
        os.close(end)
        assert terminal.end() == 0
    assert (b"reading standard input: " in terminal.seen) is not quiet
    if quiet:
        assert b"\x1b" not in terminal.seen
    else:
        line, _, rest = terminal.seen.rpartition(b"\r\x1b[K")
        assert line.startswith(b"\r\x1b[Kreading standard input: ")
        assert rest.startswith(b"True ")


def test_ctrl_c_while_it_is_read_leaves_nothing(shell: Shell) -> None:
    begin, end = os.pipe()
    with shell.terminal("check", stdin=begin) as terminal:
        os.close(begin)
        while b"reading standard input: " not in terminal.seen:
            os.write(end, b"x" * 1000)
            ready, _, _ = select.select([terminal.controller], [], [], 0.05)
            assert not ready or terminal.read()
        os.write(terminal.controller, b"\x03")
        code = terminal.end()
    os.close(end)
    assert code == 128 + signal.SIGINT, terminal.seen
    assert b"error[interrupted]: stopped by SIGINT; nothing is left to continue" in terminal.seen
    assert b"[]\r\n" in terminal.seen
    assert list((shell.folder / "journal.db-spool").iterdir()) == []


def test_nobody_types_a_dataset(shell: Shell) -> None:
    (shell.folder / "journal.db-spool").mkdir(mode=0o700)
    with shell.terminal("check") as terminal:
        assert terminal.end() == 2
    assert b"error[not-a-file]: standard input is a terminal" in terminal.seen
