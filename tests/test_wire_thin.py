"""Links that are thin, far or capped: real sockets through a line that is as slow as that."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from house import KEY, House, make_source
from toxics import Toxics

from chunkup import AsyncUploader, Options, events

MIB = 1 << 20
MBIT = 125_000.0
ENOUGH = 90.0

Watching = Callable[[events.Progress], bool]


def sparse(path: Path, size: int) -> Path:
    """A file of which hardly a byte will ever be sent."""
    path.touch()
    os.truncate(path, size)
    return path


@asynccontextmanager
async def uploader(url: str, journal: Path, part_size: int) -> AsyncIterator[AsyncUploader]:
    async with AsyncUploader(
        base_url=url, api_key=KEY, journal=journal, part_size=part_size, options=Options()
    ) as opened:
        yield opened


async def seen(sender: AsyncUploader, path: Path, fits: Watching) -> list[events.Event]:
    """Upload until a progress fits, then stop; everything that was told."""
    told: list[events.Event] = []
    enough = asyncio.Event()

    def hear(event: events.Event) -> None:
        told.append(event)
        if isinstance(event, events.Progress) and fits(event):
            enough.set()

    run = sender.start(path, purpose="user_data", on_event=hear)
    try:
        async with asyncio.timeout(ENOUGH):
            await enough.wait()
    finally:
        run.stop()
        await asyncio.wait([asyncio.ensure_future(run.wait())])
    return told


async def test_on_a_thin_link_two_large_parts_are_left_and_no_retry_is_spent(
    house: House, tmp_path: Path
) -> None:
    source = sparse(tmp_path / "big.bin", 640 * MIB)
    async with (
        Toxics(house.url, up=0.5 * MBIT, latency=0.15) as line,
        uploader(line.url, tmp_path / "j.db", 64 * MIB) as sender,
    ):
        told = await seen(sender, source, lambda progress: 0 < progress.in_flight <= 2)
    progress = [event for event in told if isinstance(event, events.Progress)]
    assert max(event.in_flight for event in progress) == 8
    assert progress[-1].retries == 0
    assert not any(isinstance(event, events.PartRetried) for event in told)


@pytest.mark.parametrize(("mbit", "latency"), [(0.5, 0.0), (5.0, 0.15)])
async def test_goodput_is_most_of_a_thin_link_and_no_part_goes_twice(
    house: House, tmp_path: Path, mbit: float, latency: float
) -> None:
    size = int(mbit * MBIT * 8)
    digest = make_source(tmp_path / "a.bin", size)
    async with (
        Toxics(house.url, up=mbit * MBIT, latency=latency) as line,
        uploader(line.url, tmp_path / "j.db", size // 20) as sender,
    ):
        began = time.monotonic()
        file = await sender.upload(tmp_path / "a.bin", purpose="user_data")
        took = time.monotonic() - began
        assert size / took > 0.7 * mbit * MBIT  # of eight seconds, round trips are a good part
        assert line.carried < 1.1 * size
    assert [arrival.whole for arrival in house.arrivals] == [True] * len(house.arrivals)
    assert house.whole_bytes == size
    assert file.bytes == size
    assert digest


async def test_where_each_connection_is_capped_all_slots_are_used(
    house: House, tmp_path: Path
) -> None:
    source = sparse(tmp_path / "big.bin", 640 * MIB)
    async with (
        Toxics(house.url, up_each=2 * MBIT, latency=0.02) as line,
        uploader(line.url, tmp_path / "j.db", 2 * MIB) as sender,
    ):
        told = await seen(sender, source, lambda progress: progress.in_flight == 16)
    assert not any(isinstance(event, events.PartRetried) for event in told)


async def test_a_part_that_was_cut_for_the_others_is_sent_later_and_the_file_is_right(
    house: House, tmp_path: Path
) -> None:
    """Thin first, so that parts are cut; then wide, so that the test ends."""
    size = 24 * MIB
    make_source(tmp_path / "a.bin", size)
    most = 0
    retried: list[events.Event] = []
    async with (
        Toxics(house.url, up=0.5 * MBIT) as line,
        uploader(line.url, tmp_path / "j.db", 3 * MIB) as sender,
    ):

        def hear(event: events.Event) -> None:
            nonlocal most
            if isinstance(event, events.Progress):
                most = max(most, event.in_flight)
                if most == 8 and 0 < event.in_flight <= 2:
                    line.up = None
            elif isinstance(event, events.PartRetried):
                retried.append(event)
                line.up = None

        async with asyncio.timeout(ENOUGH):
            file = await sender.upload(tmp_path / "a.bin", purpose="user_data", on_event=hear)
    assert most == 8
    assert not retried
    assert house.content(file.id) == (tmp_path / "a.bin").read_bytes()
    assert len(house.store.files()) == 1
