"""The bad line itself: as slow, as far and as broken as it says, and no more."""

import asyncio
import fcntl
import os
import socket
import struct
import sys
import termios
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from toxics import Act, At, Toxics
from yarl import URL

ENOUGH = 20.0


@dataclass
class Echo:
    """A server that keeps what it hears and says it back."""

    url: str = ""
    heard: list[bytearray] = field(default_factory=list)
    pieces: list[int] = field(default_factory=list)
    ends: list[type[Exception] | None] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = bytearray()
        self.heard.append(heard)
        self.writers.append(writer)
        end: type[Exception] | None = None
        try:
            while found := await reader.read(1 << 16):
                heard += found
                self.pieces.append(len(found))
                self.news.set()
                writer.write(found)
                await writer.drain()
        except OSError as error:
            end = type(error)
        finally:
            self.ends.append(end)
            self.news.set()
            writer.close()

    async def until_heard(self, size: int) -> None:
        while sum(map(len, self.heard)) < size:
            self.news.clear()
            await self.news.wait()

    async def until_ended(self, count: int = 1) -> None:
        while len(self.ends) < count:
            self.news.clear()
            await self.news.wait()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    echo.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with asyncio.timeout(ENOUGH):
        yield echo
    server.close()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def calling(line: Toxics) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(line.url).port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def echoed(line: Toxics, content: bytes) -> float:
    """Say it, hear it back; the seconds it took."""
    began = time.monotonic()
    async with calling(line) as (reader, writer):
        writer.write(content)
        assert await reader.readexactly(len(content)) == content
    return time.monotonic() - began


async def test_a_line_without_faults_changes_nothing(echo: Echo) -> None:
    async with Toxics(echo.url) as line:
        assert line.url.endswith("/v1")
        async with calling(line) as (reader, writer):
            content = os.urandom(300_000)
            writer.write(content)
            assert await reader.readexactly(len(content)) == content
            writer.write_eof()
            assert await reader.read() == b""
        await echo.until_ended()
    assert echo.ends == [None]
    assert line.carried == len(content)
    assert line.accepted == 1


@pytest.mark.parametrize("way", ["up", "down", "up_each", "down_each"])
async def test_a_rate_is_kept(echo: Echo, way: str) -> None:
    async with Toxics(echo.url) as line:
        setattr(line, way, 100_000)
        took = await echoed(line, bytes(60_000))
    assert 0.57 < took < 3.0


async def test_a_rate_is_shared_by_all_and_alike(echo: Echo) -> None:
    async with Toxics(echo.url, up=100_000) as line:
        took = await asyncio.gather(*(echoed(line, bytes(25_000)) for _ in range(4)))
    assert all(0.9 < each < 4.0 for each in took), took


async def test_a_rate_of_each_is_shared_with_nobody(echo: Echo) -> None:
    async with Toxics(echo.url, up_each=50_000) as line:
        began = time.monotonic()
        await asyncio.gather(*(echoed(line, bytes(25_000)) for _ in range(8)))
    assert 0.45 < time.monotonic() - began < 3.0, "one after another it would take 4 seconds"


async def test_a_rate_may_change_on_the_way(echo: Echo) -> None:
    async with Toxics(echo.url, up=1000) as line:
        going = asyncio.ensure_future(echoed(line, bytes(100_000)))
        await echo.until_heard(100)
        line.up = None
        assert await going < ENOUGH


async def test_latency_delays_and_does_not_slow(echo: Echo) -> None:
    async with Toxics(echo.url, latency=0.2, piece=1000) as line:
        took = await echoed(line, bytes(50_000))
    assert 0.4 <= took < 3.0, "50 pieces, one after another, would take 20 seconds"


async def test_pieces_are_no_larger_than_they_shall_be(echo: Echo) -> None:
    async with Toxics(echo.url, up=20_000, piece=7) as line:
        await echoed(line, bytes(1000))
    assert max(echo.pieces) < 200, "a fiftieth of a second's worth is 400"


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_reset_comes_after_so_many_bytes(echo: Echo, way: str) -> None:
    fault = At(Act.RESET, up=1000) if way == "up" else At(Act.RESET, down=1000)
    async with Toxics(echo.url, faults=[fault], piece=100) as line, calling(line) as streams:
        reader, writer = streams
        writer.write(bytes(1000))
        assert await reader.readexactly(1000) == bytes(1000)
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await echo.until_ended()
    assert echo.ends == [ConnectionResetError]
    assert len(echo.heard[0]) == 1000 + (way == "down")


async def test_only_some_connections_may_be_hit(echo: Echo) -> None:
    async with Toxics(echo.url, faults=[At(Act.RESET, up=0, spared=1, times=2)]) as line:
        ends = [await fate(line) for _ in range(5)]
    assert ends == ["echo", "reset", "reset", "echo", "echo"]


async def fate(line: Toxics) -> str:
    async with calling(line) as (reader, writer):
        writer.write(b"x")
        try:
            return "echo" if await reader.read(1) else "end"
        except ConnectionResetError:
            return "reset"


async def nothing_comes(reader: asyncio.StreamReader) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)


async def test_silence_falls_in_the_middle(echo: Echo) -> None:
    async with Toxics(echo.url, faults=[At(Act.SILENCE, up=1000)]) as line:
        async with calling(line) as (reader, writer):
            writer.write(bytes(5000))
            await echo.until_heard(1000)
            await nothing_comes(reader)
        assert echo.heard == [bytes(1000)]
        assert not echo.ends


async def test_half_open_is_a_reset_that_the_client_never_sees(echo: Echo) -> None:
    async with Toxics(echo.url) as line, calling(line) as (reader, writer):
        writer.write(b"x")
        assert await reader.read(1) == b"x"
        line.strike(Act.HALF_OPEN)
        await echo.until_ended()
        assert echo.ends == [ConnectionResetError]
        writer.write(b"y")
        await nothing_comes(reader)


async def test_answers_may_be_lost_alone(echo: Echo) -> None:
    fault = At(Act.DROP_ANSWERS, down=0)
    async with Toxics(echo.url, faults=[fault]) as line, calling(line) as (reader, writer):
        for size in (1, 2, 3):
            writer.write(b"x")
            await echo.until_heard(size)
        await nothing_comes(reader)


async def test_a_black_hole_opens_and_closes(echo: Echo) -> None:
    async with Toxics(echo.url) as line:
        line.stop()
        async with calling(line) as (reader, writer):
            writer.write(b"x")
            await nothing_comes(reader)
            line.go_on()
            assert await reader.read(1) == b"x"


async def test_connections_may_be_refused_at_the_same_port_for_a_while(echo: Echo) -> None:
    async with Toxics(echo.url) as line, calling(line) as (reader, writer):
        await line.refuse()
        with pytest.raises(ConnectionRefusedError):
            await fate(line)
        writer.write(b"x")
        assert await reader.read(1) == b"x", "those that exist go on"
        line.allow()
        assert await fate(line) == "echo"


@pytest.mark.parametrize("act", [Act.RESET, Act.SILENCE, Act.HALF_OPEN])
async def test_all_that_stand_can_be_struck_at_once(echo: Echo, act: Act) -> None:
    async with Toxics(echo.url) as line:
        async with calling(line) as first, calling(line) as second:
            for reader, writer in (first, second):
                writer.write(b"x")
                assert await reader.read(1) == b"x"
            assert line.alive == 2
            line.strike(act)
            for reader, _ in (first, second):
                if act is Act.RESET:
                    with pytest.raises(ConnectionResetError):
                        await reader.read(1)
                else:
                    await nothing_comes(reader)
        assert await fate(line) == "echo", "a new one is not hit"


async def test_what_one_end_does_the_other_sees(echo: Echo) -> None:
    async with Toxics(echo.url, up=1_000_000) as line:
        async with calling(line) as (reader, writer):
            writer.write(b"x")
            await echo.until_heard(1)
            reset(echo.writers[0])
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(2)
        async with calling(line) as (_, writer):
            writer.write(b"x")
            await echo.until_heard(2)
            reset(writer)
            await echo.until_ended(2)
    assert echo.ends[1] is ConnectionResetError


def reset(writer: asyncio.StreamWriter) -> None:
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def test_a_line_takes_in_little_that_does_not_go_on(echo: Echo) -> None:
    if sys.platform == "darwin":
        pytest.skip("asks Linux what its socket still holds")
    async with Toxics(echo.url) as line:
        line.stop()
        with socket.create_connection(("127.0.0.1", URL(line.url).port or 0)) as client:
            client.settimeout(0)
            sent = await fill(client)
            unsent = struct.unpack("i", fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)))[0]
    assert sent > 100_000
    assert sent - unsent < 80_000


async def fill(client: socket.socket) -> int:
    """Send until the system takes no more for a while."""
    sent, loop = 0, asyncio.get_running_loop()
    with suppress(TimeoutError):
        while True:
            await asyncio.wait_for(loop.sock_sendall(client, bytes(1000)), 0.3)
            sent += 1000
    return sent


def handles() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.parametrize("faults", [[], [At(Act.SILENCE, up=0)], [At(Act.HALF_OPEN, up=0)]])
async def test_nothing_is_left_of_a_line(echo: Echo, faults: Sequence[At]) -> None:
    tasks, before = asyncio.all_tasks(), handles()
    line = Toxics(echo.url, up=1000, faults=faults)
    async with line, calling(line) as (_, writer), calling(line):
        writer.write(bytes(10_000))
        while line.alive < 2:  # noqa: ASYNC110  (nobody is told of a connection)
            await asyncio.sleep(0)
    await echo.until_ended(len(echo.heard))
    await asyncio.sleep(0)
    assert not {task for task in asyncio.all_tasks() - tasks if "toxics" in repr(task)}
    assert handles() <= before
