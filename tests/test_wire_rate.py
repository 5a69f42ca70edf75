"""A limit to bytes a second, measured where they arrive."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from aiohttp import web
from house import HASTY, KEY, Handler, House, call_of, make_source
from many import make_files
from wire import Caller, answering, body_of, listening, opened, reply, silent
from yarl import URL

from chunkup import AsyncUploader, Options
from chunkup.api import Api
from chunkup.errors import Unreachable
from chunkup.pace import Ration

EXACT = 0.03


class Counted(Ration):
    """A ration that remembers how much it gave out, and for how long anybody waited for it.

    On a machine that is too busy to keep up, the limit is not what bytes wait for.
    """

    def __init__(self, rate: float) -> None:
        super().__init__(rate)
        self.given = 0
        self.waited = self._until = 0.0

    def turn(self, now: float, size: int) -> float:
        wait = super().turn(now, size)
        self.given += size
        self.waited += max(0.0, now + wait - max(now, self._until))
        self._until = max(self._until, now + wait)
        return wait

    def give_back(self, size: int) -> None:
        self.given -= size
        super().give_back(size)


def counted(uploader: AsyncUploader, rate: float = 10_000_000) -> Counted:
    api: Api = uploader._engine.workshop.api
    api._ration = ration = Counted(rate)
    return ration


@dataclass
class Arrivals:
    """Bytes as they arrive, and for how long this very process stood still meanwhile."""

    began: float = 0.0
    came: list[tuple[float, int]] = field(default_factory=list)
    stood: float = 0.0

    def count(self, size: int) -> None:
        now = time.monotonic()
        self.began = self.began or now
        self.came.append((now, size))

    async def look(self) -> None:
        """Sum up the time that the machine took from us: a limit makes good little of it."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.02)  # how much later than that it is, is what is measured
            now = time.monotonic()
            self.stood += max(0.0, now - last - 0.06)
            last = now

    def assert_rate(self, ration: Counted) -> None:
        took, total = self.came[-1][0] - self.began, sum(size for _, size in self.came)
        print(f"{total / took / ration.rate:.1%} of the limit for {took:.2f} s")
        print(f"{ration.waited:.2f} s waited for, {self.stood:.2f} s stood still")
        assert took > 3, "too short to tell anything"
        assert total <= ration.rate * (took * (1 + EXACT) + self.stood)
        assert total >= ration.rate * ration.waited * (1 - EXACT)

    def assert_even(self, rate: float) -> None:
        """No second brings more than its own, a little that was saved up, and one slice."""
        for begin, _ in self.came:
            second = sum(size for at, size in self.came if begin <= at < begin + 1)
            # What waited for a process that stood still comes at once.
            assert second <= rate * (1.3 + self.stood)


@asynccontextmanager
async def looking(*arrivals: Arrivals) -> AsyncIterator[None]:
    looks = [asyncio.create_task(one.look()) for one in arrivals]
    try:
        yield
    finally:
        for look in looks:
            look.cancel()


@asynccontextmanager
async def relay(house: House) -> AsyncIterator[tuple[str, Arrivals]]:
    """A way to the server that counts all that goes up on it."""
    target, arrivals = URL(house.url), Arrivals()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                if up:
                    arrivals.count(len(data))
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(target.host, target.port)
        await asyncio.gather(pump(reader, back, up=True), pump(there, writer, up=False))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield str(target.with_port(port)), arrivals
    finally:
        server.close()
        await server.wait_closed()


def at_rate(rate: float, **more: float) -> Options:
    return replace(HASTY, limit_rate=rate, **more)  # type: ignore[arg-type]


# --- how exact ------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 8, 16])
async def test_a_file_arrives_at_the_limit_however_many_send_it(
    house: House, journal: Path, tmp_path: Path, workers: int
) -> None:
    rate, source = 500_000.0, tmp_path / "a.bin"
    make_source(source, 2_000_000)
    options = at_rate(rate, workers=workers)
    async with (
        relay(house) as (url, arrivals),
        looking(arrivals),
        AsyncUploader(
            base_url=url, api_key=KEY, journal=journal, part_size=100_000, options=options
        ) as uploader,
    ):
        ration = counted(uploader, rate)
        file = await uploader.upload(source, purpose="user_data")
    assert house.content(file.id) == source.read_bytes()
    arrivals.assert_rate(ration)
    arrivals.assert_even(rate)


async def test_many_small_files_arrive_at_the_limit(
    house: House, journal: Path, tmp_path: Path
) -> None:
    rate, arrivals = 500_000.0, Arrivals()
    paths = make_files(tmp_path, 80, 25_000)

    async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) != "part":
            return await handler(request)
        arrivals.began = arrivals.began or time.monotonic()
        answer = await handler(request)
        arrivals.count(25_000)
        return answer

    house.intercept = handle
    async with (
        looking(arrivals),
        house.uploader(journal, part_size=100_000, options=at_rate(rate)) as uploader,
    ):
        ration = counted(uploader, rate)
        async for result in uploader.upload_all(paths, purpose="user_data"):
            assert result.file is not None
    assert len(house.files) == 80
    arrivals.assert_rate(ration)


async def test_a_body_goes_out_as_its_turns_come() -> None:
    began = time.monotonic()
    async with listening(answering(reply({"id": "part_1"}))) as wire, opened(wire.url) as api:
        api._ration = Ration(16_384)
        await api.add_part("upload_1", body_of(bytes(65_536)), silent)
    assert time.monotonic() - began >= 3.9
    assert len(wire.asked[0].body) > 65_536


async def test_uploaders_of_different_limits_do_not_share_them(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 3, 100_000)
    async with house.uploader(journal, part_size=10_000, options=at_rate(100_000)) as uploader:
        began = time.monotonic()
        await uploader.with_options(limit_rate=None).upload(paths[0], purpose="user_data")
        free = time.monotonic() - began
        began = time.monotonic()
        slow = uploader.with_options(limit_rate=100_000)
        await asyncio.gather(
            uploader.upload(paths[1], purpose="user_data"),
            slow.upload(paths[2], purpose="user_data"),
        )
        took = time.monotonic() - began
    assert took >= 0.85, "faster than either of the limits"
    assert took < 1.75 + 2 * free, "as slow as if they shared one"


# --- all of it counts -----------------------------------------------------------------------


async def test_what_is_sent_again_counts_again(house: House, journal: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    make_source(source, 30_000)
    failing = ["part"] * 2

    async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        if call_of(request) == "part" and failing:
            failing.pop()
            return web.Response(status=500)
        return answer

    house.intercept = handle
    async with house.uploader(journal, part_size=10_000) as uploader:
        ration = counted(uploader)
        await uploader.upload(source, purpose="user_data")
        assert ration.given == 50_000


@pytest.mark.parametrize("way", ["one request", "files.create", "uploads.add_part"])
async def test_every_way_to_send_content_counts(
    house: House, journal: Path, tmp_path: Path, way: str
) -> None:
    source = tmp_path / "a.bin"
    make_source(source, 30_000)
    async with house.uploader(journal) as uploader:
        ration = counted(uploader)
        if way == "one request":
            await uploader.upload(source, purpose="user_data", method="files")
        elif way == "files.create":
            await uploader.files.create(source, purpose="user_data")
        else:
            upload = await uploader.uploads.create(
                filename="a.bin", purpose="user_data", bytes=30_000, mime_type="text/plain"
            )
            await uploader.uploads.add_part(upload.id, source)
        assert ration.given == 30_000


# --- waiting for a turn ---------------------------------------------------------------------


async def test_who_waits_for_a_turn_has_not_stalled(
    house: House, journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chunkup.watching._TICK", 0.05)
    source, retried = tmp_path / "a.bin", []
    make_source(source, 65_536)
    options = at_rate(16_384, workers=8, stall_timeout=0.4)
    async with house.uploader(journal, part_size=8192, options=options) as uploader:
        # Eight at once, so that each gets its turn every two seconds.
        uploader._engine.workshop.slots.slots.count = 8
        await uploader.upload(
            source,
            purpose="user_data",
            on_event=lambda event: retried.append(event) if "Retried" in str(event) else None,
        )
    assert retried == []
    assert house.calls.count("part") == 8


async def test_a_server_that_stops_reading_is_seen_below_a_limit_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chunkup.watching._TICK", 0.05)

    async def serve(caller: Caller) -> None:
        await caller.head()
        await caller.for_ever()

    async with listening(serve, window=16 << 10) as wire, opened(wire.url, stall=1.0) as api:
        api._ration = Ration(10_000_000)
        async with asyncio.timeout(15):
            with pytest.raises(Unreachable, match="no byte moved"):
                await api.add_part("upload_1", body_of(bytes(16 << 20)), silent)


async def test_a_stop_waits_for_no_turn_and_leaves_nobody_waiting(
    house: House, journal: Path, tmp_path: Path
) -> None:
    source = tmp_path / "a.bin"
    make_source(source, 1_000_000)
    options = at_rate(16_384, workers=16)
    async with house.uploader(journal, part_size=100_000, options=options) as uploader:
        uploader._engine.workshop.slots.slots.count = 16
        ration = counted(uploader, 16_384)
        run = uploader.start(source, purpose="user_data")
        while ration.given < 10 * 4096:  # noqa: ASYNC110  (nobody tells)
            await asyncio.sleep(0.01)
        stopped = asyncio.get_running_loop().time()
        run.stop()
        with suppress(Exception):
            await run
        # Ten slices of a quarter of a second were waiting, and are not owed any more.
        assert ration.turn(stopped, 0) < 1.0
