"""A signal at every point of every command: the exit code, a sentence, the way on; nothing stays.

What a command waits for here never comes by itself: that it ends at all is the signal's doing.
"""

import asyncio
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web
from house import Handler, call_of, drop
from phases import PHASES, Reach, a_question, parts_on_their_way, reading_a_list
from signalled import LATE, SIGNALS, UPLOAD, Stage, Way
from test_cli import Shell, hint_of
from test_cli import shell as shell  # noqa: PLC0414  (the fixture)

from chunkup.journal import Journal

LONG = os.environ.get("CHUNKUP_LONG") == "1"
# Seconds, on an idle machine.
SOON = 2.0


@pytest.fixture
async def stage(shell: Shell) -> AsyncIterator[Stage]:
    opened = Stage(shell)
    yield opened
    opened.go.set()
    for act in opened.at_end:
        act()
    await shell.house.idle()


EACH = [
    pytest.param(phase, number, id=f"{phase.__name__}-{number.name}")
    for place, phase in enumerate(PHASES)
    for number in (SIGNALS if LONG else (SIGNALS[place % 3],))
]


@pytest.mark.parametrize(("phase", "number"), EACH)
async def test_a_signal_ends_it_at_once_and_says_how_to_go_on(
    stage: Stage, phase: Reach, number: signal.Signals
) -> None:
    shell = stage.shell
    way = await phase(stage)
    assert stage.process is not None
    began = time.monotonic()
    stage.process.send_signal(number)
    if phase in {reading_a_list, a_question}:
        await press_again(stage.process, number)
    code, _, err = await stage.end()
    took = time.monotonic() - began
    assert took < (SOON if LONG else LATE)
    assert code == 128 + number, err
    for trouble in ("Traceback", "was destroyed", "never awaited", "Exception", "Warning"):
        assert trouble not in err, err
    with pytest.raises(ProcessLookupError):
        os.killpg(stage.process.pid, 0)  # nobody of its group lives
    if way is not Way.OVER:
        assert f"error[interrupted]: stopped by {number.name}" in err
    assert ("\nhint: chunkup " in err) == (way in {Way.RESUME, Way.LATER}), err
    await assert_nothing_is_left(shell)
    stage.go.set()
    await shell.house.idle()
    shell.house.intercept = None
    if way is Way.RESUME:
        words = shlex.split(hint_of(err))[1:]
        url = () if words[0] in {"files", "verify", "cancel"} else ("--base-url", shell.house.url)
        again = await shell.run(*words, *url)
        # A job begun elsewhere, where nobody answered, is another place's and stays there.
        elsewhere = shell.house.url not in words
        assert elsewhere or again.code == 0, again.err
        assert_right(shell)


async def press_again(process: asyncio.subprocess.Process, number: int) -> None:
    """Send it once more where nothing came of it.

    What comes in the instant before Python waits for a terminal or a pipe is felt only then.
    """
    with suppress(TimeoutError, ProcessLookupError):
        await asyncio.wait_for(process.wait(), 1)
        return
    process.send_signal(number)


async def assert_nothing_is_left(shell: Shell) -> None:
    """No claim, no file of standard input, nothing that was half made."""
    made = {path.name for path in shell.folder.iterdir()}
    assert not {name for name in made if ".fixed" in name or name == "b.bin.part"}
    if not shell.journal.exists():
        return
    spool = shell.journal.with_name(shell.journal.name + "-spool")
    assert not spool.exists() or not list(spool.iterdir())
    owners = shell.journal.with_name(shell.journal.name + "-owners")
    assert not owners.exists() or not list(owners.iterdir())
    book = await Journal.open(shell.journal)
    try:
        assert not [line for line in await book.lines() if book.holder_lives(line)]
    finally:
        await book.close()


def assert_right(shell: Shell) -> None:
    """Each source that has a File has one, of its content."""
    files = {row.filename: row.id for row in shell.house.files}
    assert len(files) == len(shell.house.files)
    for name, file_id in files.items():
        assert shell.house.content(file_id) == (shell.folder / name).read_bytes()


# --- more than one, and others ----------------------------------------------------------------


async def assert_goes_on(stage: Stage) -> None:
    """What was sent counts, and the rest makes one right File."""
    stage.go.set()
    await stage.shell.house.idle()
    stage.shell.house.intercept = None
    done = await stage.shell.run("resume")
    assert done.code == 0, done.err
    assert len(stage.shell.house.files) == 1
    assert_right(stage.shell)


STUCK = """
import sys, threading
from chunkup.cli.session import run

async def work():
    print("stuck", flush=True)
    threading.Event().wait()

run(work(), restore=lambda: print("restored", flush=True))
"""


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGINT, signal.SIGTERM),
    ],
)
async def test_a_second_one_leaves_though_the_loop_itself_is_stuck(
    stage: Stage, first: signal.Signals, second: signal.Signals
) -> None:
    process = await stage.begin(before=(sys.executable, "-c", STUCK))
    assert process.stdout is not None
    assert await process.stdout.readline() == b"stuck\n"
    process.send_signal(first)
    while not pending_is_none(process.pid):  # noqa: ASYNC110  (of which nobody tells)
        await asyncio.sleep(0.01)
    process.send_signal(second)
    assert await stage.end() == (128 + second, "restored\n", "")


def pending_is_none(pid: int) -> bool:
    """Whether the process has taken all signals that were sent to it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return not int(values["ShdPnd"], 16) | int(values["SigPnd"], 16)


async def test_a_terminal_that_cannot_be_put_right_holds_up_no_second_one(stage: Stage) -> None:
    stuck = STUCK.replace('print("restored", flush=True)', "threading.Event().wait()")
    process = await stage.begin(before=(sys.executable, "-c", stuck))
    assert process.stdout is not None
    assert await process.stdout.readline() == b"stuck\n"
    process.send_signal(signal.SIGINT)
    while not pending_is_none(process.pid):  # noqa: ASYNC110  (of which nobody tells)
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 6) == 130


async def test_fifty_in_a_row_end_it_and_it_goes_on(stage: Stage) -> None:
    await parts_on_their_way(stage)
    assert stage.process is not None
    for _ in range(50):
        # Its own way to send one looks first whether it has ended, and takes the code from us.
        os.kill(stage.process.pid, signal.SIGINT)
    code, _, err = await stage.end()
    assert code == 130
    assert "Traceback" not in err
    await assert_goes_on(stage)


async def test_one_that_comes_when_all_is_done_is_none(stage: Stage) -> None:
    script = (
        "import os, signal\n"
        "from chunkup.cli.main import main, cli\n"
        "import chunkup.cli.transfer as transfer\n"
        "summary = transfer.Output.summary\n"
        "def late(*told):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    summary(*told)\n"
        "transfer.Output.summary = late\n"
        "main()\n"
    )
    await stage.begin(*UPLOAD, before=(sys.executable, "-c", script))
    code, out, err = await stage.end()
    assert (code, out) == (0, f"{stage.shell.house.files[0].id}\n"), err


async def test_under_nohup_a_hang_up_is_none(stage: Stage) -> None:
    held = stage.hold("part", after=5)
    await stage.begin(*UPLOAD, before=("nohup", sys.executable, "-m", "chunkup"))
    await stage.sees(held)
    assert stage.process is not None
    stage.process.send_signal(signal.SIGHUP)
    stage.go.set()
    assert (await stage.end())[0] == 0
    assert_right(stage.shell)


async def test_others_kill_it_as_they_always_do_and_it_goes_on(stage: Stage) -> None:
    await parts_on_their_way(stage)
    assert stage.process is not None
    stage.process.send_signal(signal.SIGQUIT)
    assert (await stage.end())[0] == -signal.SIGQUIT
    await assert_goes_on(stage)


async def test_stopped_for_a_while_it_goes_on_though_its_connections_are_gone(
    stage: Stage,
) -> None:
    held, seen = asyncio.Event(), asyncio.Event()

    async def cut(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and not seen.is_set():
            held.set()
            await seen.wait()
            return drop(request)
        return await handler(request)

    stage.shell.house.intercept = cut
    process = await stage.begin(*UPLOAD)
    await stage.sees(held)
    process.send_signal(signal.SIGSTOP)
    state = Path(f"/proc/{process.pid}/status")
    while " (stopped)" not in state.read_text():  # noqa: ASYNC110  (of which nobody tells)
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGPIPE)  # and this one is none
    seen.set()
    await stage.shell.house.idle()
    process.send_signal(signal.SIGCONT)
    code, out, err = await stage.end()
    assert (code, out) == (0, f"{stage.shell.house.files[0].id}\n"), err
    assert_right(stage.shell)


IN_A_WRITE = """
import io, os, signal, sys
from chunkup.cli import signals

class Slow(io.RawIOBase):
    def writable(self):
        return True
    def write(self, data):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        return len(data)

sys.stderr = io.TextIOWrapper(io.BufferedWriter(Slow()), line_buffering=True)
with signals.heeded(lambda: print("it is put right", file=sys.stderr)):
    print("something", file=sys.stderr)
"""


def test_what_is_said_last_comes_though_a_signal_fell_into_a_write() -> None:
    """A stream that is being written to takes nothing from who interrupts that."""
    done = subprocess.run(
        [sys.executable, "-c", IN_A_WRITE], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stderr) == (143, "it is put right\n")
