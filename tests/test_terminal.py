"""The command in a real terminal, judged by what stands on its screen."""

import fcntl
import os
import pty
import re
import select
import shlex
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyte
import pytest
from elsewhere import in_a_thread
from gates import PATIENCE, holding, wait_for_receipts
from house import KEY, House, make_source, open_house

SIZE, PART = 60_500, 1000
ROWS = 24
WIDTHS = [120, 80, 50, 40]

# Who leads a session takes the terminal on its standard input for its own, so that what is
# typed there as ^C becomes a signal.
LAUNCH = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@dataclass
class Terminal:
    """A terminal with one command in it."""

    process: "subprocess.Popen[bytes]"
    controller: int
    screen: pyte.Screen
    stream: pyte.ByteStream
    seen: bytearray = field(default_factory=bytearray)

    @property
    def rows(self) -> list[str]:
        return [row.rstrip() for row in self.screen.display]

    @property
    def bars(self) -> list[str]:
        """The rows of the live area: those that tell a percentage."""
        return [row for row in self.rows if re.search(r" \d+ %", row)]

    @property
    def text(self) -> str:
        """What stands there, with lines put together again that the terminal broke."""
        whole = ""
        for row in self.screen.display:
            whole += row if row[-1] != " " else row.rstrip() + "\n"
        return whole

    @property
    def printed(self) -> list[str]:
        """The ids of Files that were written with a path, also those that have scrolled away."""
        return [found.decode() for found in re.findall(rb"(file-\w+)\t", self.seen)]

    def until(self, so: Callable[["Terminal"], object]) -> None:
        """Read what the command writes until the screen is so."""
        end = time.monotonic() + PATIENCE
        while not so(self):
            left = end - time.monotonic()
            assert left > 0, f"it never came to that:\n{self.text}"
            assert self._read(left), f"the command ended before that: {self.printed}\n{self.text}"

    def end(self) -> int:
        """Read to the end; the exit code."""
        while self._read(PATIENCE):
            continue
        return self.process.wait(PATIENCE)

    def insist(self, keys: str) -> int:
        """Type them until the command ends; the exit code.

        A Ctrl-C that comes just before Python reads is lost there, and a person presses it again.
        """
        while self.process.poll() is None:
            self.type(keys)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
        return self.end()

    def type(self, keys: str) -> None:
        os.write(self.controller, keys.encode())

    def _read(self, timeout: float) -> bool:
        ready, _, _ = select.select([self.controller], [], [], timeout)
        assert ready, f"nothing more was written:\n{self.text}"
        try:
            data = os.read(self.controller, 65536)
        except OSError:
            return False  # how Linux tells that nobody has the other end any more
        self.seen += data
        self.stream.feed(data)
        return bool(data)


@dataclass
class Desk:
    """Where commands are typed."""

    folder: Path
    environ: dict[str, str]

    @contextmanager
    def open(self, *arguments: str, columns: int = 80) -> Iterator[Terminal]:
        """Run chunkup in a terminal of this width."""
        controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
        screen = pyte.Screen(columns, ROWS)
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, sys.executable, "-m", "chunkup", *arguments],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=self.folder,
            env=self.environ,
            start_new_session=True,
        )
        os.close(terminal)
        try:
            yield Terminal(process, controller, screen, pyte.ByteStream(screen))
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            os.close(controller)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[House]:
    with in_a_thread(lambda: open_house(tmp_path / "server")) as house:
        yield house


@pytest.fixture
def desk(server: House, tmp_path: Path) -> Desk:
    folder = tmp_path / "here"
    folder.mkdir()
    make_source(folder / "a.bin", SIZE)
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    return Desk(
        folder,
        {
            **keep,
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": server.url,
            "CHUNKUP_JOURNAL": str(tmp_path / "state" / "journal.db"),
            "CHUNKUP_OFFLINE_WAIT": "0",
            "PYTHONUTF8": "1",
            "PYTHONWARNINGS": "error",
            "TERM": "xterm-256color",
        },
    )


def upload(*paths: str) -> list[str]:
    return ["upload", *paths, "--purpose", "user_data", "--part-size", str(PART)]


def percent(row: str) -> int:
    found = re.search(r" (\d+) %", row)
    assert found is not None
    return int(found[1])


def assert_whole(terminal: Terminal, columns: int) -> None:
    """Every row of the live area is one row of the terminal, its last column free."""
    for row in terminal.bars:
        assert len(row) < columns
        assert re.match(r"(\S+\.\S+|\d+(/| of )\d+)", row), f"the rest of a row above it: {row!r}"


@pytest.mark.parametrize("columns", WIDTHS)
def test_upload_ctrl_c_and_the_hinted_command(desk: Desk, server: House, columns: int) -> None:
    journal = Path(desk.environ["CHUNKUP_JOURNAL"])
    with holding(server, after=5) as gate, desk.open(*upload("a.bin"), columns=columns) as terminal:
        terminal.until(lambda now: len(now.bars) == 1)
        gate.wait()
        terminal.until(lambda now: percent(now.bars[0]) >= 5 * PART * 100 // SIZE)
        wait_for_receipts(journal, 5)
        assert_whole(terminal, columns)
        assert terminal.bars[0].startswith("a.bin ")
        assert percent(terminal.bars[0]) < 100
        assert "uploading a.bin as job" in terminal.text
        assert len(terminal.bars) == 1
        before = percent(terminal.bars[0])
        gate.let(40)
        terminal.until(lambda now: percent(now.bars[0]) > before)
        wait_for_receipts(journal, 45)
        assert_whole(terminal, columns)
        assert "\u2501" in terminal.bars[0] or columns < 60
        terminal.type("\x03")
        assert terminal.end() == 130
    assert terminal.bars == []
    assert "error[interrupted]: stopped by SIGINT" in terminal.text
    assert not terminal.screen.cursor.hidden
    assert terminal.screen.cursor.x == 0
    assert terminal.rows[terminal.screen.cursor.y :] == [""] * (ROWS - terminal.screen.cursor.y)
    assert "Traceback" not in terminal.text
    hint = re.search(r"^hint: (chunkup .*)$", terminal.text, re.MULTILINE)
    assert hint is not None, terminal.text

    words = shlex.split(hint[1])[1:]
    assert words[0] == "resume"
    with holding(server) as gate, desk.open(*words, columns=columns) as terminal:
        terminal.until(lambda now: now.bars)
        assert percent(terminal.bars[0]) >= 45 * PART * 100 // SIZE
        gate.wait()
        assert_whole(terminal, columns)
        assert "45 of 61 parts" in terminal.text
        gate.open()
        assert terminal.end() == 0
    (file,) = server.files
    assert server.content(file.id) == (desk.folder / "a.bin").read_bytes()
    assert terminal.bars == []
    assert file.id in terminal.text.split("\n")
    assert not terminal.screen.cursor.hidden
    assert server.calls.count("create") == 0


@pytest.mark.parametrize("columns", WIDTHS)
def test_ten_files_are_eight_rows_and_a_total(desk: Desk, server: House, columns: int) -> None:
    names = [f"{number}-with-a-{'very-' * 12}long-name.bin" for number in range(10)]
    for number, name in enumerate(names):
        make_source(desk.folder / name, 900, seed=number)  # of one part, for a slot each
    with holding(server) as gate, desk.open(*upload(*names), columns=columns) as terminal:
        terminal.until(lambda now: len(now.bars) == 9)
        gate.wait()
        assert_whole(terminal, columns)
        *active, total = terminal.bars
        # They begin together; whose disk answers first is first.
        assert sorted(row[:3] for row in active) == [name[:3] for name in names[:8]]
        assert re.match(r"0(/| of )10", total)
        gate.open()
        most = 0

        def over(now: Terminal) -> bool:
            nonlocal most
            most = max(most, len(now.bars))
            return len(now.printed) == 10

        terminal.until(over)
        assert terminal.end() == 0
    assert most == 9
    assert terminal.bars == []
    ids = {file.filename: file.id for file in server.files}
    assert terminal.printed == [ids[name] for name in names]


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(desk: Desk, server: House) -> None:
    desk.environ["TERM"] = "dumb"
    with desk.open(*upload("a.bin")) as terminal:
        assert terminal.end() == 0
    assert b"\x1b" not in terminal.seen
    assert server.files[0].id in terminal.text


def test_no_color_is_respected(desk: Desk) -> None:
    desk.environ["NO_COLOR"] = "1"
    with desk.open(*upload("a.bin")) as terminal:
        assert terminal.end() == 0
    assert re.search(rb"\x1b\[[0-9;]*3[0-9]", terminal.seen) is None


def test_a_name_cannot_play_with_the_terminal(desk: Desk, server: House) -> None:
    name = "\x1b]0;owned\x07\x1b[31mred.bin"
    make_source(desk.folder / name, SIZE)
    with holding(server, after=1) as gate, desk.open(*upload(name)) as terminal:
        terminal.until(lambda now: now.bars)
        gate.wait()
        assert "\\x1b" in terminal.bars[0]
        gate.open()
        assert terminal.end() == 0
    assert b"\x1b]" not in terminal.seen
    assert b"\x1b[31mred" not in terminal.seen
