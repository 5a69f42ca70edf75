"""The thread that writes to standard output: nobody waits for it before the end."""

import asyncio
import errno
import io
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from test_cli import shell as shell  # noqa: PLC0414  (a fixture, as is the following)
from test_signals import stage as stage  # noqa: PLC0414
from unread import PAGE, full_pipe, narrow_pipe, next_of

from chunkup import events
from chunkup.cli import output, streams, writer
from chunkup.cli.output import Output, nothing_done
from chunkup.cli.writer import Line, Writer
from chunkup.errors import Stopped

# Seconds after which something that should not wait can be said to wait.
ENOUGH = 5.0


@dataclass
class Reader:
    """The other end of this process's standard output."""

    readable: int
    writable: int
    seen: bytearray = field(default_factory=bytearray)

    def until(self, count: int) -> list[str]:
        """Read until so many lines have come; all so far."""
        while self.seen.count(b"\n") < count:
            self.seen += next_of(self.readable)
        return self.seen.decode().lstrip(".").splitlines()


@contextmanager
def printing_into(monkeypatch: pytest.MonkeyPatch, writable: int) -> Iterator[None]:
    """Let what is printed here go there, as :func:`chunkup.cli.streams.secure` has it."""
    monkeypatch.setattr(streams, "_end", float("inf"))
    # After an error the descriptor leads elsewhere, and only a copy of it may.
    copy = os.dup(writable)
    stream = io.TextIOWrapper(io.BufferedWriter(streams._Heard(copy, "w", closefd=False)), "utf-8")
    monkeypatch.setattr(streams, "sys", SimpleNamespace(stdout=stream))
    try:
        yield
    finally:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, copy)
        stream.close()
        os.close(copy)
        os.close(nowhere)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """A standard output that is full, until it is read."""
    with full_pipe() as (readable, writable), printing_into(monkeypatch, writable):
        yield Reader(readable, writable)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """A standard output in which a single line has room, until it is read."""
    with narrow_pipe() as (readable, writable), printing_into(monkeypatch, writable):
        yield Reader(readable, writable)


def waits(act: Callable[[], object]) -> bool:
    """Whether something is not done at once."""
    acting = threading.Thread(target=act, daemon=True)
    acting.start()
    acting.join(ENOUGH)
    return acting.is_alive()


async def ended(told: Output | Writer) -> list[str]:
    """Close it; the jobs whose ids were written."""
    told.close()
    source = told.printed() if isinstance(told, Output) else told.written()
    jobs = [job async for some in source for job in some]
    thread = (told._writer if isinstance(told, Output) else told)._thread
    if thread is not None:
        await asyncio.to_thread(thread.join)
    return jobs


def progress(done: int) -> events.Progress:
    return events.Progress(
        time=1.0,
        job="j",
        path="p",
        size=100,
        done=done,
        sent=0,
        rate=1.0,
        in_flight=0,
        retries=0,
        expires_in=None,
    )


def created(number: int) -> events.UploadCreated:
    return events.UploadCreated(
        time=1.0, job="j", path="p", upload_id=str(number), expires_at=None, generation=1
    )


async def test_nobody_waits_for_a_reader_before_the_end(unread: Reader) -> None:
    told = Output()

    def tell() -> None:
        for place in range(3):
            told.file(f"file-{place}", None, f"j{place}")

    assert not waits(tell)
    closing = asyncio.ensure_future(ended(told))
    lines = await asyncio.to_thread(unread.until, 3)
    assert lines == ["file-0", "file-1", "file-2"]
    assert await closing == ["j0", "j1", "j2"]
    assert told.unheard() == []


async def test_on_a_terminal_an_id_is_there_before_the_bar_comes_back(
    narrow: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "sys", SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True)))
    monkeypatch.setattr(output, "_GLANCE", ENOUGH)
    told = Output()
    told.file("file-1", None, "j1")
    assert told._writer.waiting == 0
    monkeypatch.setattr(output, "_GLANCE", 0.01)
    told.file("file-2", None, "j2")  # and a terminal that is stopped is not waited for
    monkeypatch.setattr(output, "_GLANCE", 1e6)
    told.file("file-3", None, "j3")
    assert told._writer.waiting == 2
    assert narrow.until(1) == ["file-1"]
    closing = asyncio.ensure_future(ended(told))
    assert await asyncio.to_thread(narrow.until, 3) == ["file-1", "file-2", "file-3"]
    assert await closing == ["j1", "j2", "j3"]


async def test_an_id_counts_once_it_is_written(narrow: Reader) -> None:
    told = Output()
    source = told.printed()
    told.file("file-1", "1.bin", "j1")
    assert await anext(source) == ["j1"]
    told.file("file-2", "2.bin", "j2")
    following = asyncio.ensure_future(anext(source))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not following.done()
    assert narrow.until(1) == ["file-1\t1.bin"]
    assert await following == ["j2"]
    assert await ended(told) == []


async def test_progress_is_left_out_where_many_lines_wait_and_facts_are_not(
    unread: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_CROWDED", 10)
    told = Output(as_json=True)
    for number in range(30):
        told.event(progress(number))
        told.event(created(number))
    told.file("file-1", None, "j")
    closing = asyncio.ensure_future(ended(told))
    lines = [json.loads(line) for line in await asyncio.to_thread(unread.until, 30 + 5)]
    assert await closing == ["j"]
    names = [line["event"] for line in lines]
    assert names == ["progress", "upload_created"] * 5 + ["upload_created"] * 25
    facts = [line for line in lines if line["event"] == "upload_created"]
    assert [line["upload_id"] for line in facts] == [str(number) for number in range(30)]


async def test_a_line_partly_written_was_not(narrow: Reader) -> None:
    lines = Writer()
    lines.add(Line("x", "j1", otherwise="first"))
    lines.add(Line("y" * 3 * PAGE, "j2", otherwise="second"))
    lines.add(Line("z", "j3", otherwise="third"))
    while b"y" not in narrow.seen:
        narrow.seen += await asyncio.to_thread(next_of, narrow.readable, PAGE)
    os.close(narrow.readable)
    assert await ended(lines) == ["j1"]
    assert lines.broken
    assert lines.lost() == ["second", "third"]
    assert lines.lost() == []


async def test_without_a_thread_to_be_had_lines_are_written_in_place(
    narrow: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: threading.Thread) -> None:
        raise Stopped("there is none")

    monkeypatch.setattr(writer, "begin", none)
    told = Output()
    told.file("file-1", None, "j1")
    assert narrow.until(1) == ["file-1"]
    told.file("file-2", None, "j2")
    assert narrow.until(2) == ["file-1", "file-2"]
    assert await ended(told) == ["j1", "j2"]


def test_a_command_that_says_one_thing_needs_no_thread(narrow: Reader) -> None:
    told = Output(as_json=True)
    told.summary(nothing_done(2))
    assert json.loads(narrow.until(1)[0])["event"] == "summary"
    assert told._writer._thread is None


def test_what_comes_after_the_end_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    read = threading.Event()

    def put(text: str) -> None:
        taken.append(json.loads(text)["event"])
        read.wait(ENOUGH)

    monkeypatch.setattr(writer, "put", put)
    told = Output(as_json=True)
    told.event(created(1))
    told.event(progress(1))
    told.close()
    summing = threading.Thread(target=told.summary, args=[nothing_done(0)])
    summing.start()
    summing.join(0.2)  # in which it must not get anywhere
    assert taken in ([], ["upload_created"])
    read.set()
    summing.join()
    assert taken == ["upload_created", "progress", "summary"]


async def test_a_command_that_prints_nothing_ends() -> None:
    told = Output()

    async def follow() -> list[list[str]]:
        return [jobs async for jobs in told.printed()]

    following = asyncio.ensure_future(follow())
    await asyncio.sleep(0)
    told.close()
    assert await asyncio.wait_for(following, ENOUGH) == []


async def test_what_nobody_will_ever_read_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "put", lambda _: OSError(errno.EPIPE, "gone"))
    told = Output(as_json=True)
    told.event(created(1))
    assert [jobs async for jobs in told.printed()] == []
    waiting = told._writer.waiting
    told.event(created(2))
    assert told._writer.waiting == waiting
    told.summary(nothing_done(0))
    assert told.unheard() == []


async def test_a_thread_that_dies_leaves_nobody_waiting(
    narrow: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> OSError | None:
        raise MemoryError

    died: list[object] = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    monkeypatch.setattr(writer, "put", fail)
    lines = Writer()
    lines.add(Line("x", "j", otherwise="x"))
    assert await asyncio.wait_for(ended(lines), ENOUGH) == []
    assert (lines.broken, lines.lost(), len(died)) == (True, ["x"], 1)


# --- how long a reader is waited for ------------------------------------------------------------


def test_a_limit_ends_the_waiting_for_a_reader(unread: Reader) -> None:
    streams.limit(0)
    said: list[OSError] = []

    def write() -> None:
        try:
            streams.write(unread.writable, memoryview(b"x"))
        except OSError as error:
            said.append(error)

    try:
        assert not waits(write)
        assert [error.errno for error in said] == [errno.ETIMEDOUT]
    finally:
        streams.limit(None)
        os.read(unread.readable, 65536)


def test_a_slow_reader_cannot_stretch_the_last_patience(
    narrow: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "came", [signal.SIGTERM])
    os.set_blocking(narrow.readable, False)
    over = threading.Event()

    def read() -> None:
        while not over.wait(0.02):
            with suppress(BlockingIOError):
                os.read(narrow.readable, PAGE)

    reading = threading.Thread(target=read)
    reading.start()
    try:
        with pytest.raises(OSError, match="nobody reads it"):
            streams.write(narrow.writable, memoryview(bytes(200 * PAGE)))
    finally:
        over.set()
        reading.join()
