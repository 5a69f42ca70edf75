"""Ranged reads: all of a stretch or an error, and nothing left open."""

import asyncio
import os
import random
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkup.errors import ChunkupError, SourceChanged, SourceGone
from chunkup.models import Source, Span
from chunkup.reading import Readers
from chunkup.source import inspect

SIZE = 100_000


def source_of(path: Path, span: Span | None = None) -> Source:
    real, found = inspect(path)
    return Source(real, span or Span(0, found.size), found)


def open_files() -> int:
    """How many descriptors this process holds; one more or less only by what a test did."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208  (descriptors, not paths)


async def spin() -> None:
    """Let everything that is ready run."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    path.write_bytes(random.Random(1).randbytes(SIZE))
    return path


@pytest.fixture
async def readers() -> AsyncIterator[Readers]:
    readers = Readers(threads=1)
    yield readers
    threads = readers._threads
    readers.close()
    await asyncio.to_thread(threads.shutdown)


# --- reading ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A file that nobody changes, and its content."""
    path = tmp_path_factory.mktemp("kept") / "a.bin"
    content = random.Random(2).randbytes(5000)
    path.write_bytes(content)
    return path, content


@given(data=st.data(), read_size=st.integers(1, 6000))
def test_a_read_gives_exactly_its_stretch(
    kept: tuple[Path, bytes], data: st.DataObject, read_size: int
) -> None:
    path, content = kept
    start = data.draw(st.integers(0, len(content) - 1))
    stop = data.draw(st.integers(start + 1, len(content)))
    read_size = max(read_size, (stop - start) // 20)

    async def read() -> list[bytes]:
        readers = Readers(threads=1)
        try:
            chunks = readers.read(source_of(path), Span(start, stop), read_size)
            return [chunk async for chunk in chunks]
        finally:
            readers.close()

    chunks = asyncio.run(read())
    assert b"".join(chunks) == content[start:stop]
    assert all(0 < len(chunk) <= read_size for chunk in chunks)


def truncate(path: Path) -> None:
    os.truncate(path, SIZE // 2)


def truncate_to_nothing(path: Path) -> None:
    os.truncate(path, 0)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(SIZE - 1)
        file.write(b"x")
    os.utime(path, ns=(1, 1))  # else a coarse clock may give the same time again


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def replace(path: Path) -> None:
    """Another file of the same size and time takes the name."""
    stat = path.stat()
    other = path.with_name("other")
    other.write_bytes(bytes(SIZE))
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)


CHANGES = [truncate, truncate_to_nothing, append, overwrite, touch]


@pytest.mark.parametrize("change", [*CHANGES, replace])
async def test_a_file_that_changed_before_the_read_is_not_read(
    path: Path, readers: Readers, change: Callable[[Path], None]
) -> None:
    source = source_of(path)
    change(path)
    with pytest.raises(SourceChanged) as caught:
        await anext(readers.read(source, source.span, 1000))
    assert not caught.value.between_runs


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("chunks_before", [1, 50, 100])
async def test_a_file_that_changes_under_the_read_ends_it_in_an_error(
    path: Path, readers: Readers, change: Callable[[Path], None], chunks_before: int
) -> None:
    source = source_of(path)
    chunks = readers.read(source, source.span, 1000)
    for _ in range(chunks_before):
        await anext(chunks)
    change(path)
    before = open_files()
    with pytest.raises(SourceChanged):
        async for _ in chunks:
            pass
    assert open_files() == before - 1


async def test_a_read_goes_on_with_the_file_it_began_with_if_another_takes_its_name(
    path: Path, readers: Readers
) -> None:
    source, content = source_of(path), path.read_bytes()
    chunks = readers.read(source, source.span, 1000)
    first = await anext(chunks)
    replace(path)
    assert first + b"".join([chunk async for chunk in chunks]) == content
    with pytest.raises(SourceChanged):
        await anext(readers.read(source, source.span, 1000))


async def test_a_stretch_beyond_the_end_is_an_error_and_never_short(
    path: Path, readers: Readers
) -> None:
    chunks = readers.read(source_of(path), Span(SIZE - 10, SIZE + 10), 1000)
    assert len(await anext(chunks)) == 10
    with pytest.raises(SourceChanged):
        await anext(chunks)


def vanish(path: Path) -> None:
    path.unlink()


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("change", [vanish, become_a_folder])
async def test_a_file_that_is_gone_says_so(
    path: Path, readers: Readers, change: Callable[[Path], None]
) -> None:
    source = source_of(path)
    change(path)
    with pytest.raises(SourceGone) as caught:
        await anext(readers.read(source, source.span, 1000))
    assert str(path) in str(caught.value)


async def test_a_pipe_that_took_the_files_name_does_not_hang_the_read(
    path: Path, readers: Readers
) -> None:
    source = source_of(path)
    path.unlink()
    os.mkfifo(path)
    reading = asyncio.ensure_future(anext(readers.read(source, source.span, 1000)))
    done, _ = await asyncio.wait([reading], timeout=2)
    if not done:
        # Nobody else would ever let it go on.
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    with pytest.raises(ChunkupError):
        await reading
    assert done, "the read hung until somebody opened the other end"


# --- cancellation ---------------------------------------------------------------------------


async def test_a_reader_that_is_given_up_midway_leaves_no_open_file(
    path: Path, readers: Readers
) -> None:
    source, before = source_of(path), open_files()
    chunks = readers.read(source, source.span, 1000)
    await anext(chunks)
    assert open_files() == before + 1
    await chunks.aclose()
    assert open_files() == before


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("chunks_before", [0, 1, 7])
async def test_a_read_that_is_cancelled_ends_once_the_thread_let_go_and_closes_the_file(
    path: Path, readers: Readers, times: int, chunks_before: int
) -> None:
    source, before = source_of(path), open_files()
    chunks = readers.read(source, source.span, 1000)
    for _ in range(chunks_before):
        await anext(chunks)
    busy = threading.Event()
    readers._threads.submit(busy.wait)
    reading = asyncio.ensure_future(anext(chunks))
    for _ in range(times):
        await spin()
        reading.cancel()
    await spin()
    # Closing now would close the file under the thread's hands.
    assert not reading.done()
    busy.set()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await chunks.aclose()
    assert open_files() == before


class HeldReads(ThreadPoolExecutor):
    """Threads in which reads, and only they, stand still until they are let go."""

    def __init__(self) -> None:
        super().__init__(2)
        self.entered, self.go = threading.Event(), threading.Event()

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        def held() -> Any:
            if getattr(work, "func", work).__name__ == "read":
                self.entered.set()
                self.go.wait(20)
            return work(*args, **kwargs)

        return super().submit(held)


async def test_a_file_is_never_closed_under_a_read_of_it(path: Path, readers: Readers) -> None:
    source, before = source_of(path), open_files()
    threads = HeldReads()
    readers._threads = threads
    chunks = readers.read(source, source.span, 1000)
    reading = asyncio.ensure_future(anext(chunks))
    assert await asyncio.to_thread(threads.entered.wait, 20)
    reading.cancel()
    done, _ = await asyncio.wait([reading], timeout=0.2)
    still_open = open_files()
    threads.go.set()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not done
    assert still_open == before + 1
    assert open_files() == before


async def test_no_thread_outlives_the_readers(path: Path) -> None:
    readers = Readers(threads=3)
    source = source_of(path)
    chunks = [readers.read(source, source.span, 1000) for _ in range(3)]
    await asyncio.gather(*(anext(chunk) for chunk in chunks))
    mine = [t for t in threading.enumerate() if t.name.startswith("chunkup-read")]
    assert mine
    for chunk in chunks:
        await chunk.aclose()
    readers.close()
    for thread in mine:
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()
