"""A disk that answers nothing, or with an error: a network file system that blocks, a bad block."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from house import HASTY, House, make_source
from odd_disk import OddDisk, odd_disk
from test_cli import AS_USED, Shell, shell
from test_cli_output import told

from chunkup.errors import SourceGone, Stopped
from chunkup.models import Source, Span
from chunkup.reading import Pass, Readers
from chunkup.source import inspect, looked

__all__ = ["shell"]

SIZE, ENOUGH = 20_500, 20.0
# Calls that hang at once: the file system that the tests have takes no more than ten.
FEW = ("--workers", "4")


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[OddDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    async with odd_disk(folder) as disk:
        make_source(disk.behind / "far.bin", SIZE, seed=4)
        yield disk


@pytest.fixture
def far(disk: OddDisk) -> str:
    return str(disk.at / "far.bin")


def content(disk: OddDisk) -> bytes:
    return (disk.behind / "far.bin").read_bytes()


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["uploads", "files"])
async def test_a_read_error_half_way_stops_it_and_what_was_accepted_is_kept(
    shell: Shell, disk: OddDisk, far: str, method: str
) -> None:
    await disk.order("fail 10000")
    broken = await shell.upload(far, "--workers", "1", "--method", method)
    assert broken.code == 1, broken.err
    assert "error[source-gone]" in broken.err
    assert "Input/output error" in broken.err
    assert shell.house.files == []
    await disk.order("well")
    sent = sum(arrival.bytes for arrival in shell.house.arrivals if arrival.whole)
    assert (sent > 0) == (method == "uploads")
    shell.house.arrivals.clear()
    done = await shell.upload(far, "--method", method)
    assert done.code == 0, done.err
    assert shell.house.content(done.out.strip()) == content(disk)
    if method == "uploads":
        assert shell.house.whole_bytes == SIZE - sent


# --- no answer ----------------------------------------------------------------------------------


async def interrupted(shell: Shell, process: asyncio.subprocess.Process) -> str:
    """Ctrl-C; what it said."""
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(ENOUGH):
        ended = await shell.end(process)
    assert ended.code == 130, ended.err
    assert shell.house.files == []
    return ended.err


@pytest.mark.parametrize("method", ["uploads", "files"])
async def test_one_ctrl_c_ends_a_command_whose_file_hangs(
    shell: Shell, disk: OddDisk, far: str, method: str
) -> None:
    await disk.order("hang 10000")
    process = await shell.start("upload", far, *AS_USED, *FEW, "--method", method)
    await disk.held()
    said = await interrupted(shell, process)
    assert "hint: chunkup resume" in said
    await disk.order("well")
    done = await shell.upload(far, "--method", method)
    assert shell.house.content(done.out.strip()) == content(disk)


async def test_one_ctrl_c_ends_a_check_whose_file_hangs(shell: Shell, disk: OddDisk) -> None:
    (disk.behind / "far.jsonl").write_bytes(b'{"n": 1}\n' * 1000)
    await disk.order("hang 0")
    process = await shell.start("check", str(disk.at / "far.jsonl"), "--purpose", "batch")
    await disk.held()
    await interrupted(shell, process)


async def test_one_ctrl_c_ends_a_command_that_nobody_tells_what_its_file_is(
    shell: Shell, disk: OddDisk, far: str
) -> None:
    job = await shell.half_sent(parts=3)
    (shell.folder / "a.bin").rename(disk.behind / "a.bin")
    (shell.folder / "a.bin").symlink_to(disk.at / "a.bin")
    await disk.order("hang stat")
    process = await shell.start("resume", job, *FEW)
    await disk.held()
    await interrupted(shell, process)


async def test_a_file_that_hangs_is_said_to_and_keeps_no_other_waiting_for_ever(
    shell: Shell, disk: OddDisk, far: str
) -> None:
    shell.make("near.bin", size=60_000)
    await disk.order("hang 5000")
    ended = await shell.upload(far, "near.bin", *FEW, "--stall-timeout", "1", "--retries", "0")
    assert ended.code == 75, ended.err
    assert f"error[stopped]: the disk of {far} has not answered for 1 s" in ended.err
    assert "hint: chunkup resume" in ended.err
    (file,) = shell.house.files
    assert ended.out == f"{file.id}\tnear.bin\n"
    await disk.order("well")
    done = await shell.run("resume")
    assert done.code == 0, done.err
    assert sorted(row.filename for row in shell.house.files) == ["far.bin", "near.bin"]


async def test_a_single_request_whose_file_hangs_is_stopped_and_no_doubt(
    shell: Shell, disk: OddDisk, far: str
) -> None:
    await disk.order("hang 5000")
    ended = await shell.upload(
        far, "--method", "files", "--stall-timeout", "1", "--retries", "0", "--json"
    )
    assert ended.code == 75, ended.err
    (stopped,) = [line for line in told(ended) if line["event"] == "stopped"]
    assert stopped["code"] == "stopped"
    assert "has not answered" in stopped["message"]
    await disk.order("well")
    done = await shell.upload(far, "--method", "files")
    assert shell.house.content(done.out.strip()) == content(disk)
    assert len(shell.house.files) == 1


async def test_a_disk_that_answers_in_the_end_was_only_slow(
    house: House, journal: Path, disk: OddDisk, far: str
) -> None:
    await disk.order("hang 10000")
    async with house.uploader(journal, options=HASTY) as uploader:
        run = uploader.start(far, purpose="user_data")
        await disk.held()
        await disk.order("well")
        file = await run
    assert house.content(file.id) == content(disk)


# --- the calls by themselves --------------------------------------------------------------------


def source_of(far: str) -> Source:
    return Source(far, Span(0, SIZE), inspect(far)[1])


async def test_reads_that_hang_keep_no_read_of_another_file_waiting(
    disk: OddDisk, far: str, tmp_path: Path
) -> None:
    near = tmp_path / "near.bin"
    make_source(near, SIZE)
    source, readers = source_of(far), Readers()
    await disk.order("hang 0")
    chunks = [readers.read(source, Span(at, at + 100), 100) for at in range(8)]
    stuck = [asyncio.ensure_future(anext(one)) for one in chunks]
    for _ in stuck:
        await disk.held()
    async with asyncio.timeout(ENOUGH):
        other = Source(str(near), Span(0, SIZE), inspect(near)[1])
        assert sum([len(one) async for one in readers.read(other, other.span, SIZE)]) == SIZE
    await disk.order("well")
    assert [len(chunk) for chunk in await asyncio.gather(*stuck)] == [100] * 8
    for one in chunks:
        await one.aclose()
    readers.close()


@pytest.mark.parametrize("what", ["hang 0", "hang stat"])
async def test_who_waits_for_too_long_hears_why(disk: OddDisk, far: str, what: str) -> None:
    source, readers = source_of(far), Readers(patience=1)
    reading = Pass(source, [source.span], md5=True, patience=1)
    await disk.order(what)
    reading.start()
    async with asyncio.timeout(ENOUGH):
        for waiting in (anext(readers.read(source, source.span, 1000)), reading.reach(SIZE)):
            with pytest.raises(Stopped, match="has not answered for 1 s") as caught:
                await waiting
            assert caught.value.exit_code == 75
        if what == "hang stat":
            with pytest.raises(Stopped, match="has not answered"):
                await looked(far, 1)
        await reading.close()
    assert reading._thread.is_alive()
    assert reading._thread.daemon
    await disk.order("well")
    await asyncio.to_thread(reading._thread.join, ENOUGH)
    assert not reading._thread.is_alive()
    await closed(far)
    readers.close()


async def test_what_was_left_to_itself_is_closed_once_its_disk_answers(
    disk: OddDisk, far: str
) -> None:
    source, readers = source_of(far), Readers()
    await disk.order("hang 0")
    reading = asyncio.ensure_future(anext(readers.read(source, source.span, 1000)))
    await disk.held()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert far in opened()
    await disk.order("well")
    await closed(far)
    readers.close()
    with pytest.raises(SourceGone):
        await looked(far + ".nothing")
    assert all(
        thread.daemon for thread in threading.enumerate() if thread.name.startswith("chunkup")
    )


async def closed(path: str) -> None:
    """Wait until this process has the file open no more."""
    async with asyncio.timeout(ENOUGH):
        while path in opened():  # noqa: ASYNC110  (the system tells nobody)
            await asyncio.sleep(0)


def opened() -> set[str]:
    """The files that this process has open."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            found.add(str(descriptor.readlink()))
    return found
