"""A part's body: exact on the wire, hashed as it goes, and closed whatever became of it."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from aiohttp.abc import AbstractStreamWriter
from hypothesis import given, settings
from hypothesis import strategies as st
from tls import listening_tls, make_certificate
from toxics import Toxics
from wire import (
    Asked,
    Caller,
    Serve,
    answering,
    body_of,
    listening,
    opened,
    pieces,
    reply,
    silent,
)
from xxhash import xxh3_128
from yarl import URL

from chunkup.body import FormBody
from chunkup.errors import ChunkupError, Rejected, SourceChanged, Unreachable
from chunkup.models import MIB
from chunkup.outlast import outlast

TAKEN = reply({"id": "part_1"})
BIG = bytes(8 * MIB)
WINDOW = 32 << 10


def boundary_of(asked: Asked) -> str:
    kind, _, boundary = asked.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/form-data"
    return boundary


def frame(boundary: str, content: bytes) -> bytes:
    """What the API asks for, spelled out."""
    return (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="data"; filename="data"\r\n'
        "Content-Type: application/octet-stream\r\n"
        "\r\n"
    ).encode() + (content + f"\r\n--{boundary}--\r\n".encode())


@settings(deadline=None, max_examples=40)
@given(st.binary(min_size=1, max_size=300) | st.integers(1, 300_000), st.integers(1, 100_000))
def test_the_wire_carries_one_field_with_exactly_the_part(
    drawn: bytes | int, read_size: int
) -> None:
    content = drawn if isinstance(drawn, bytes) else random.Random(drawn).randbytes(drawn)
    read_size = max(read_size, len(content) // 50, 1)

    async def send() -> tuple[Asked, FormBody]:
        async with listening(answering(TAKEN)) as wire, opened(wire.url) as api:
            body = body_of(content, read_size)
            assert await api.add_part("upload_1", body, silent) == "part_1"
            return wire.asked[0], body

    asked, body = asyncio.run(send())
    expected = frame(boundary_of(asked), content)
    assert asked.body == expected
    assert asked.headers["content-length"] == str(len(expected)) == str(body.size)
    assert "transfer-encoding" not in asked.headers
    assert "expect" not in asked.headers
    assert body.xxh3 == xxh3_128(content).hexdigest()
    assert body.error is None


async def test_every_attempt_has_a_boundary_that_nobody_can_guess() -> None:
    async with listening(answering(TAKEN)) as wire, opened(wire.url) as api:
        for _ in range(5):
            await api.add_part("upload_1", body_of(b"same"), silent)
    boundaries = {boundary_of(asked) for asked in wire.asked}
    assert len(boundaries) == 5
    assert all(len(boundary) == 32 for boundary in boundaries)


async def test_there_is_no_digest_before_everything_was_written() -> None:
    async def serve(caller: Caller) -> None:
        await caller.head()
        caller.reset()

    async with listening(serve) as wire, opened(wire.url) as api:
        body = body_of(BIG)
        assert body.xxh3 is None
        with pytest.raises(Unreachable):
            await api.add_part("upload_1", body, silent)
        assert body.xxh3 is None


@pytest.mark.parametrize("before", [0, 1, 3])
async def test_an_error_of_the_reader_is_raised_as_what_it_is(before: int) -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        for _ in range(before):
            yield bytes(1000)
        raise SourceChanged("the file moved")

    async def serve(caller: Caller) -> None:
        await caller.request()
        await caller.for_ever()

    async with listening(serve) as wire, opened(wire.url) as api:
        body = FormBody(broken(), 5000)
        with pytest.raises(SourceChanged, match="the file moved"):
            await api.add_part("upload_1", body, silent)
        assert isinstance(body.error, SourceChanged)
        assert not wire.asked


@pytest.mark.parametrize("cancelled", [0, 1, 3])
async def test_closing_waits_for_the_writer_that_was_given_up(cancelled: int) -> None:
    """aiohttp cancels the writer of a body that was answered early, and does not wait."""
    gate, reading, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stuck() -> AsyncGenerator[bytes, None]:
        try:
            yield bytes(1000)
            reading.set()
            await outlast(gate.wait())
        finally:
            closed.set()

    async def serve(caller: Caller) -> None:
        await caller.head()
        await reading.wait()
        if not cancelled:
            await caller.say(reply({"error": {"message": "too much"}}, 413))
        await caller.for_ever()

    async with listening(serve) as wire, opened(wire.url) as api:
        sending = asyncio.ensure_future(api.add_part("upload_1", FormBody(stuck(), 5000), silent))
        await reading.wait()
        for _ in range(cancelled):
            sending.cancel()
            await asyncio.wait([sending], timeout=0.05)
        done, _ = await asyncio.wait([sending], timeout=0.2)
        assert not done
        assert not closed.is_set()
        gate.set()
        with pytest.raises(asyncio.CancelledError if cancelled else Rejected):
            await sending
        assert closed.is_set()


async def test_a_body_that_was_never_asked_for_closes_its_source_too() -> None:
    body = FormBody(pieces(b"abc"), 3)
    await body.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(body._chunks)


def test_a_part_is_never_text() -> None:
    with pytest.raises(TypeError):
        body_of(b"abc").decode()


# --- progress -------------------------------------------------------------------------------


@given(st.integers(1, 10**12), st.integers(-(10**13), 10**13))
def test_what_is_acknowledged_stays_within_the_part(size: int, written: int) -> None:
    body = FormBody(pieces(b""), size)
    assert 0 <= body.acknowledged(written) <= size
    assert body.acknowledged(0) == 0
    assert body.acknowledged(body.size or 0) == size


def test_the_frame_around_a_part_is_no_progress() -> None:
    body = FormBody(pieces(b""), 10)
    head = frame(body.headers["Content-Type"].partition("boundary=")[2], b"").index(b"\r\n\r\n") + 4
    assert [body.acknowledged(head + more) for more in (-1, 0, 1, 9, 10, 11)] == [
        0,
        0,
        1,
        9,
        10,
        10,
    ]


async def test_what_the_system_still_holds_is_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkup.watching._TICK", 0.01)
    told = asyncio.Queue[int]()
    limit = 64 << 10

    async def serve(caller: Caller) -> None:
        await caller.for_ever()

    async with listening(serve, window=limit) as wire, opened(wire.url) as api:
        body = body_of(BIG)
        sending = asyncio.ensure_future(api.add_part("upload_1", body, told.put_nowait))
        seen = [await told.get() for _ in range(20)]
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    # The server's own buffers: twice the window in the system, twice the limit in its reader.
    assert max(seen) <= 8 * limit
    assert max(seen) > 0


@pytest.mark.parametrize("how", ["plain", "tls"])
async def test_on_a_thin_line_progress_is_what_went_through(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the system's buffers nor those of TLS count, in the middle or at the end."""
    monkeypatch.setattr("chunkup.watching._TICK", 0.01)
    ahead: list[int] = []
    async with (
        listening_either(how, drain, tmp_path, monkeypatch) as url,
        Toxics(url, up=2_000_000) as line,
        opened(line.url) as api,
    ):
        body = body_of(bytes(2 * MIB), MIB)
        await api.add_part("upload_1", body, lambda sent: ahead.append(sent - line.carried))
    # The line's own buffers have acknowledged what it has not carried yet.
    assert max(ahead) < 60_000
    assert len(ahead) > 20


@pytest.mark.parametrize("size", [300_000, len(BIG)])
@pytest.mark.parametrize("how", ["plain", "tls"])
async def test_what_a_cut_attempt_left_in_the_system_is_not_sent_any_more(
    how: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chunkup.watching._TICK", 0.01)
    moved = asyncio.Event()
    async with (
        listening_either(how, drain, tmp_path, monkeypatch) as url,
        Toxics(url, up=500_000) as line,
        opened(line.url) as api,
    ):
        body = body_of(bytes(size), MIB)
        sending = asyncio.ensure_future(
            api.add_part("upload_1", body, lambda sent: moved.set() if sent else None)
        )
        await moved.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        # Without the cut it would be all that the system took in: all, or 500,000 bytes.
        assert await more_of(line) < 100_000


async def test_nor_is_the_rest_of_a_part_that_was_refused_early() -> None:
    async def serve(caller: Caller) -> None:
        await caller.head()
        await caller.say(reply({"error": {"message": "too large"}}, 413))
        while await caller.reader.read(1 << 16):
            pass

    async with (
        listening(serve) as wire,
        Toxics(wire.url, up=1_000_000) as line,
        opened(line.url) as api,
    ):
        with pytest.raises(Rejected):
            await api.add_part("upload_1", body_of(BIG, MIB), silent)
        assert await more_of(line) < 100_000


async def more_of(line: Toxics) -> int:
    """The bytes that still come through until every connection is gone."""
    before = line.carried
    while line.alive:  # noqa: ASYNC110  (the line tells nobody)
        await asyncio.sleep(0.01)
    return line.carried - before


@dataclass
class Writer:
    """What aiohttp gives a body to write to, over a real connection and without its help."""

    transport: asyncio.WriteTransport

    async def write(self, piece: bytes) -> None:
        self.transport.write(piece)


async def test_a_connection_that_is_gone_already_is_let_alone_and_tells_nothing_more() -> None:
    go = asyncio.Event()

    async def serve(caller: Caller) -> None:
        await go.wait()
        while await caller.reader.read(1 << 16):
            pass

    async with listening(serve, window=WINDOW) as wire:
        _, writer = await asyncio.open_connection("127.0.0.1", URL(wire.url).port)
        body = body_of(BIG)
        await body.write(cast("AbstractStreamWriter", Writer(writer.transport)))
        seen = body.acknowledged(body.size or 0)
        assert seen < len(BIG) // 2
        writer.close()
        go.set()
        await writer.wait_closed()
        assert body.acknowledged(body.size or 0) == seen
        await body.aclose()


async def test_a_connection_that_served_well_is_closed_politely() -> None:
    ends: list[bytes] = []

    async def serve(caller: Caller) -> None:
        await caller.request()
        await caller.say(TAKEN)
        try:
            ends.append(await caller.reader.read())
        except ConnectionResetError:
            ends.append(b"reset")

    async with listening(serve) as wire:
        async with opened(wire.url) as api:
            await api.add_part("upload_1", body_of(b"abc"), silent)
        while not ends:  # noqa: ASYNC110  (the server tells nobody)
            await asyncio.sleep(0)
    assert ends == [b""]


@pytest.mark.parametrize("status", [200, 400, 503])
async def test_a_connection_that_answered_serves_again(status: int) -> None:
    answer = reply({"id": "part_1"} if status == 200 else {"error": {"message": "no"}}, status)
    async with listening(answering(answer)) as wire, opened(wire.url) as api:
        for _ in range(3):
            with nullcontext() if status == 200 else pytest.raises(ChunkupError):
                await api.add_part("upload_1", body_of(b"same"), silent)
    assert wire.connections == 1


@pytest.mark.parametrize("whole", [True, False])
async def test_a_server_that_leaves_without_a_word_is_a_broken_connection(whole: bool) -> None:  # noqa: FBT001  (a parameter of the test)
    async def serve(caller: Caller) -> None:
        await (caller.request() if whole else caller.head())

    async with listening(serve) as wire, opened(wire.url) as api:
        with pytest.raises(Unreachable, match="the connection broke"):
            await api.add_part("upload_1", body_of(b"abc" if whole else BIG), silent)


async def drain(caller: Caller) -> None:
    await caller.request()
    await caller.say(TAKEN)
    await caller.for_ever()


@asynccontextmanager
async def listening_either(
    how: str, serve: Serve, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    if how == "plain":
        async with listening(serve) as wire:
            yield wire.url
    else:
        certificate = make_certificate(folder)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
        async with listening_tls(serve, certificate) as url:
            yield url


async def test_progress_arrives_at_the_whole_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkup.watching._TICK", 0.01)
    seen: list[int] = []
    whole = asyncio.Event()

    def moved(sent: int) -> None:
        seen.append(sent)
        if sent == len(BIG):
            whole.set()

    async def serve(caller: Caller) -> None:
        await caller.request()
        await whole.wait()
        await caller.say(TAKEN)

    async with listening(serve) as wire, opened(wire.url) as api:
        await api.add_part("upload_1", body_of(BIG), moved)
    assert seen == sorted(seen)
    assert all(0 <= sent <= len(BIG) for sent in seen)


async def test_a_reader_that_gives_too_little_never_counts_as_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chunkup.watching._TICK", 0.05)

    async def serve(caller: Caller) -> None:
        await caller.request()
        await caller.say(TAKEN)

    async with listening(serve) as wire, opened(wire.url, stall=0.2) as api:
        with pytest.raises(ChunkupError):
            await api.add_part("upload_1", FormBody(pieces(b"short"), 5000), silent)
        assert not wire.asked
