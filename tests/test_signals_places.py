"""Signals where commands really run: containers, services, cron, terminals that go, notebooks.

And the streams that such places give them: closed, full, read by nobody, not waiting.
"""

import asyncio
import fcntl
import math
import os
import pty
import shutil
import signal
import socket
import sys
import threading
from pathlib import Path

import ills
import pytest
from aiohttp import web
from gates import Gate, holding, wait_for_receipts
from house import Handler, House, Intercept
from jupyter_client.manager import start_new_kernel
from signalled import LATE, Stage
from test_cli import AS_USED, SIZE
from test_cli import shell as shell  # noqa: PLC0414  (a fixture, as are the following)
from test_cli_unread import SETTLED
from test_notebook import AWAITED, UPLOAD, Notebook
from test_notebook import kernel as kernel  # noqa: PLC0414
from test_notebook import notebook as notebook  # noqa: PLC0414
from test_notebook import server as server  # noqa: PLC0414
from test_signals import assert_goes_on, assert_right
from test_signals import stage as stage  # noqa: PLC0414
from unread import full_pipe, next_of

from chunkup.cli import signals, streams

COMMAND = ("upload", "a.bin", *AS_USED)


# --- places -----------------------------------------------------------------------------------


async def first_of_a_container(stage: Stage, *words: str) -> int:
    """Start it as the first process of a pid namespace; its number here."""
    ills.tool("unshare")
    if os.geteuid() != 0:
        pytest.skip("a pid namespace takes root")
    before = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable)
    process = await stage.begin(*words, before=before)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (found := children.read_text().split()):
        assert process.returncode is None, await stage.end()
        await asyncio.sleep(0.01)
    return int(found[0])


async def test_the_first_process_of_a_container_ends_at_a_signal(stage: Stage) -> None:
    held = stage.hold("part", after=5)
    pid = await first_of_a_container(stage, "-m", "chunkup", *COMMAND)
    await stage.sees(held)
    os.kill(pid, signal.SIGTERM)
    code, _, err = await stage.end()
    assert code == 143, err
    assert "stopped by SIGTERM; what was accepted is kept" in err
    await assert_goes_on(stage)


async def test_the_first_process_of_a_container_ends_before_it_has_begun(stage: Stage) -> None:
    words = ("-X", "importtime", "-m", "chunkup", *COMMAND)
    pid = await first_of_a_container(stage, *words)
    await stage.hear("inspect\n")  # early among what click takes
    os.kill(pid, signal.SIGTERM)
    code, _, err = await stage.end()
    assert code == 143
    assert "error[interrupted]: stopped by SIGTERM" in err


async def test_a_service_that_is_stopped_goes_on_when_it_is_started(stage: Stage) -> None:
    # As systemd does it: no terminal, no home, streams that are sockets, SIGTERM with SIGCONT.
    ours, theirs = socket.socketpair()
    held = stage.hold("part", after=5)
    environ = dict(stage.shell.environ)
    stage.shell.environ.pop("HOME", None)
    process = await stage.begin(
        *COMMAND,
        stdout=theirs.fileno(),
        stderr=theirs.fileno(),
        NOTIFY_SOCKET="/run/systemd/notify",
        INVOCATION_ID="0" * 32,
        JOURNAL_STREAM="9:99999",
    )
    theirs.close()
    await stage.sees(held)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    assert await asyncio.wait_for(process.wait(), LATE) == 143
    said = ours.recv(65536).decode()
    ours.close()
    assert "stopped by SIGTERM; what was accepted is kept" in said
    stage.shell.environ.update(environ)
    await assert_goes_on(stage)


async def test_a_service_whose_log_is_gone_is_stopped_as_well(stage: Stage) -> None:
    ours, theirs = socket.socketpair()
    held = stage.hold("part", after=5)
    process = await stage.begin(*COMMAND, stdout=theirs.fileno(), stderr=theirs.fileno())
    theirs.close()
    await stage.sees(held)
    ours.close()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), LATE) == 143
    await assert_goes_on(stage)


async def test_cron_needs_no_home_no_terminal_and_no_language(stage: Stage) -> None:
    shell = stage.shell
    shutil.copy(shell.folder / "a.bin", shell.folder / "größe.bin")
    keep = {name: shell.environ[name] for name in shell.environ if name != "HOME"}
    shell.environ.clear()
    shell.environ.update(keep, LANG="C", PATH="/usr/bin:/bin", SHELL="/bin/sh")
    done = await shell.run("upload", "größe.bin", *AS_USED)
    assert (done.code, done.out) == (0, f"{shell.house.files[0].id}\n"), done.err
    assert shell.house.files[0].filename == "größe.bin"


def leading(terminal: int) -> tuple[str, ...]:
    """The words that make this terminal a command's own."""
    launch = (
        "import fcntl, os, sys, termios\n"
        f"fcntl.ioctl({terminal}, termios.TIOCSCTTY, 0)\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    return (sys.executable, "-c", launch, sys.executable, "-m", "chunkup")


@pytest.mark.parametrize("nohup", [False, True], ids=["ends", "nohup"])
async def test_when_the_terminal_goes(stage: Stage, nohup: bool) -> None:  # noqa: FBT001  (a case)
    shell = stage.shell
    controller, terminal = pty.openpty()
    held = stage.hold("part", after=5)
    before = leading(0)
    if nohup:
        before = (*before[:3], shutil.which("nohup") or "nohup", *before[3:])
    process = await stage.begin(
        *COMMAND, before=before, stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    await stage.sees(held)
    os.close(controller)
    if not nohup:
        assert await asyncio.wait_for(process.wait(), LATE) == 129
        return await assert_goes_on(stage)
    stage.go.set()
    # Where its id could not be printed, it says so with its exit code.
    assert await asyncio.wait_for(process.wait(), LATE) in {0, 1}
    assert len(shell.house.files) == 1
    assert_right(shell)
    return None


# --- streams ----------------------------------------------------------------------------------


# Says when it begins to print what a command found.
PRINTING = """
import sys
from chunkup.cli import jobs, main
printing = jobs._print
def said(lines):
    print("printing", file=sys.stderr, flush=True)
    return printing(lines)
jobs._print = said
main.main()
"""
SEEN = (sys.executable, "-c", PRINTING)


async def test_a_signal_is_felt_though_nobody_reads_what_is_printed(stage: Stage) -> None:
    with full_pipe() as (_, writable):
        process = await stage.begin(*COMMAND, "--json", stdout=writable)
        await stage.hear("a.bin: warning")  # and the same as JSON goes nowhere
        process.send_signal(signal.SIGINT)
        code, _, err = await stage.end()
    assert code == 130, err
    assert "stopped by SIGINT" in err
    done = await stage.shell.upload("a.bin")
    assert (done.code, done.out) == (0, f"{stage.shell.house.files[0].id}\n"), done.err


async def test_an_id_that_nobody_reads_is_told_elsewhere_at_a_signal(stage: Stage) -> None:
    with full_pipe() as (_, writable):
        process = await stage.begin(*COMMAND, stdout=writable)
        await stage.hear("a.bin is file-")
        process.send_signal(signal.SIGTERM)
        code, _, err = await stage.end()
    assert code == 143, err
    assert stage.shell.house.files[0].id in err
    again = await stage.shell.run("resume")
    assert again.out.split("\t")[0] == stage.shell.house.files[0].id


async def test_a_list_that_nobody_reads_is_left_at_a_signal(stage: Stage) -> None:
    await stage.shell.half_sent()
    with full_pipe() as (_, writable):
        process = await stage.begin("jobs", stdout=writable, before=SEEN)
        await stage.hear("printing")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), LATE) == 143


async def test_a_signal_is_felt_though_nobody_reads_what_is_said(stage: Stage) -> None:
    held = stage.hold("part", after=5)
    with full_pipe() as (_, writable):
        process = await stage.begin(*COMMAND, stderr=writable)
        await stage.sees(held)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), LATE) == 143
    await assert_goes_on(stage)


async def test_an_upload_does_not_wait_for_who_reads_what_is_said(stage: Stage) -> None:
    with full_pipe() as (_, writable):
        await stage.begin(*COMMAND, stderr=writable)
        code, out, _ = await stage.end()
    assert (code, out) == (0, f"{stage.shell.house.files[0].id}\n")
    assert_right(stage.shell)


@pytest.mark.parametrize("waiting", [True, False], ids=["blocking", "non-blocking"])
async def test_who_reads_late_gets_all_of_it(
    stage: Stage,
    waiting: bool,  # noqa: FBT001  (a case)
) -> None:
    with full_pipe() as (readable, full):
        os.set_blocking(full, waiting)
        await stage.begin(*COMMAND, "--json", before=SETTLED, stdout=full)
        await stage.hear("settled")
        reading = asyncio.ensure_future(asyncio.to_thread(_lines_until, readable, b'"summary"'))
        assert (await stage.end())[0] == 0
        lines = await asyncio.wait_for(reading, LATE)
    assert sum(b'"part_accepted"' in line for line in lines) == -(-SIZE // 1000)
    assert lines[-1].count(b'"summary"') == 1


def _lines_until(readable: int, last: bytes) -> list[bytes]:
    seen = b""
    while last not in seen or not seen.endswith(b"\n"):
        seen += next_of(readable)
    return seen.lstrip(b".").splitlines()


async def test_a_download_waits_for_a_pipe_that_does_not(stage: Stage) -> None:
    shell = stage.shell
    file_id = (await shell.upload("a.bin")).out.strip()
    with full_pipe() as (readable, full):
        os.set_blocking(full, False)
        process = await stage.begin("files", "download", file_id, "-o", "-", stdout=full)
        filling = fcntl.fcntl(full, 1032)  # F_GETPIPE_SZ
        seen = await asyncio.wait_for(asyncio.to_thread(_bytes_of, readable, filling + SIZE), LATE)
        assert await asyncio.wait_for(process.wait(), LATE) == 0
    assert seen[-SIZE:] == (shell.folder / "a.bin").read_bytes()


def _bytes_of(readable: int, count: int) -> bytes:
    seen = b""
    while len(seen) < count:
        seen += os.read(readable, 65536)
    return seen


def test_what_nobody_reads_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams._Heedless, "_patience", 0.05)
    with full_pipe() as (readable, writable):
        stream = streams._Heedless(writable, "w", closefd=False)
        assert stream.write(b"lost") == 4
        assert stream._patience == 0.0
        assert stream.write(b"lost as well") == 12
        os.read(readable, 65536)
        assert stream.write(b"heard") == 5
        assert b"heard" in os.read(readable, 65536)


def test_a_signal_ends_the_waiting_for_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "came", [signal.SIGINT])
    monkeypatch.setattr(streams, "_end", math.inf)
    said: list[OSError] = []

    def print_all(writable: int) -> None:
        try:
            streams.write(writable, memoryview(b"x"))
        except OSError as error:
            said.append(error)

    with full_pipe() as (readable, writable):
        printing = threading.Thread(target=print_all, args=[writable])
        printing.start()
        printing.join(timeout=5)
        os.read(readable, 65536)
        printing.join()
    assert [error.strerror for error in said] == ["nobody reads it"]


def test_handlers_are_put_back_where_a_command_ran_in_another_program() -> None:
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    with signals.heeded(lambda: None):
        assert signal.getsignal(signal.SIGTERM) is signals._felt
    assert [signal.getsignal(number) for number in signals.SIGNALS] == before
    assert signals.came == []


# --- notebooks --------------------------------------------------------------------------------


def once_done(gate: Gate) -> Intercept:
    """A gate for answers, to what the server has done already."""

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)

        async def done(_: web.Request) -> web.StreamResponse:
            return answer

        return await gate(request, done)

    return intercept


@pytest.mark.parametrize(
    ("call", "cell"),
    [("create", UPLOAD), ("complete", UPLOAD), ("complete", AWAITED)],
    ids=["create", "complete", "complete-awaited"],
)
def test_a_cell_is_interrupted_in_each_phase_and_a_terminal_goes_on(
    notebook: Notebook, server: House, call: str, cell: str
) -> None:
    with holding(server, call=call) as gate:
        server.intercept = once_done(gate)
        trace = notebook.interrupted(cell, gate, 0)
    assert "KeyboardInterrupt" in trace or "CancelledError" in trace
    resumed = notebook.terminal("resume")
    assert resumed.returncode == 0, resumed.stderr
    assert [server.content(file.id) for file in server.files] == [
        (notebook.folder / "a.bin").read_bytes()
    ]


def test_a_kernel_that_is_killed_leaves_its_job_to_a_terminal_at_once(
    notebook: Notebook, server: House
) -> None:
    manager, client = start_new_kernel(cwd=str(notebook.folder), env=notebook.environ)
    try:
        with holding(server, after=5) as gate:
            client.execute(f"import chunkup\n{UPLOAD}")
            gate.wait()
            wait_for_receipts(notebook.journal, 5)
            manager.signal_kernel(signal.SIGKILL)
            gate.open()
        resumed = notebook.terminal("resume")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert resumed.returncode == 0, resumed.stderr
    assert "5 of 11 parts" in resumed.stderr
    (file,) = server.files
    assert server.content(file.id) == (notebook.folder / "a.bin").read_bytes()
