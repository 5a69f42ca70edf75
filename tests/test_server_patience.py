"""The embedded server and those who only hold connections: freed in time, and no slow one cut."""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from rawhttp import CHUNKED, FORM, JSON, Line, head, part_form, post_part, target

from chunkup.server.patience import Patience
from chunkup.server.rows import NewFile

SHORT = 0.15
# Beyond what any test takes: what is not under test never ends anything.
NEVER = 600.0


def patience(**short: float) -> Patience:
    return Patience(**{"head": NEVER, "body": NEVER, "answer": NEVER, **short})


async def drip(line: Line, data: bytes, pause: float) -> None:
    """Send a byte at a time until it is all out or the server has had enough."""
    for at in range(len(data)):
        await line.send(data[at : at + 1])
        await asyncio.sleep(pause)  # a slow client is made of nothing else


@pytest.fixture
async def dripping() -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks: list[asyncio.Task[None]] = []
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def narrow_socket() -> socket.socket:
    """A client that takes in hardly anything while it does not read."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setblocking(False)  # noqa: FBT003  (the standard library's own signature)
    return narrow


HEAD = head("GET", "/v1/files")


@pytest.mark.parametrize("sent", [b"", HEAD[:-2], HEAD[:1]], ids=["silent", "no end", "a byte"])
async def test_who_never_asks_is_shown_out(tmp_path: Path, sent: bytes) -> None:
    async with target(tmp_path, patience=patience(head=SHORT)) as served:
        lines = [await served.line() for _ in range(200)]
        for line in lines:
            with suppress(ConnectionError):
                await line.send(sent)
        for line in lines:
            assert await line.rest() == b""
        await served.connections_left(0)
        await served.is_well()


async def test_a_head_that_drips_is_not_waited_for(
    tmp_path: Path, dripping: list[asyncio.Task[None]]
) -> None:
    async with target(tmp_path, patience=patience(head=SHORT)) as served:
        line = await served.line()
        dripping.append(asyncio.create_task(drip(line, HEAD * 100, SHORT / 20)))
        assert await line.rest() == b""
        await served.connections_left(0)


async def test_a_connection_is_kept_between_requests_and_not_for_ever(tmp_path: Path) -> None:
    async with target(tmp_path, patience=patience(head=5 * SHORT)) as served:
        line = await served.line()
        for _ in range(3):
            assert (await line.ask(HEAD)).status == 200
        await line.send(HEAD[:-2])
        assert await line.rest() == b""


ROUTES = {"parts": FORM, "complete": JSON, "cancel": JSON}


@pytest.mark.parametrize("framing", [CHUNKED, "Content-Length: 100000"])
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("drips", [True, False])
async def test_a_body_that_does_not_come_is_not_waited_for(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    dripping: list[asyncio.Task[None]],
    framing: str,
    route: str,
    *,
    drips: bool,
) -> None:
    caplog.set_level(logging.WARNING)
    async with target(tmp_path, patience=patience(body=SHORT)) as served:
        upload = served.upload()
        line = await served.line()
        await line.send(head("POST", f"/v1/uploads/{upload.id}/{route}", ROUTES[route], framing))
        if drips:
            piece = b"1\r\nx\r\n" if framing == CHUNKED else b"x"
            form = part_form(b"")[:60] if framing != CHUNKED and route == "parts" else b""
            await line.send(form)
            dripping.append(asyncio.create_task(drip(line, piece * 1000, SHORT / 20)))
        said = await line.answer()
        assert (said.status, said.error["code"]) == (408, "request_timeout")
        assert said.headers["connection"] == "close"
        assert await line.rest() == b""
        await served.connections_left(0)
        assert served.on_disk() == set()
        assert served.store.upload(upload.id).status == "pending"
        await served.is_well()
    assert caplog.records == []


async def test_a_slow_body_is_waited_for_as_long_as_it_comes(tmp_path: Path) -> None:
    """Three times as long as the patience."""
    limit = 1.0
    async with target(tmp_path, patience=patience(body=limit)) as served:
        body = part_form(bytes(25 * 700))
        upload = served.upload()
        line = await served.line()
        path = f"/v1/uploads/{upload.id}/parts"
        await line.send(head("POST", path, FORM, f"Content-Length: {len(body)}"))
        begun = asyncio.get_running_loop().time()
        for at in range(0, len(body), 700):
            await line.send(body[at : at + 700])
            await asyncio.sleep(limit / 8)
        assert (await line.answer()).json["object"] == "upload.part"
        assert asyncio.get_running_loop().time() - begun > 3 * limit


async def test_a_server_that_stood_still_does_not_blame_its_clients(tmp_path: Path) -> None:
    async with target(tmp_path, patience=patience(body=SHORT)) as served:
        upload = served.upload()
        line = await served.line()
        data = post_part(upload, b"abc")
        await line.send(data[:-5])
        while not served.on_disk():  # noqa: ASYNC110  (the reader has begun; it tells nobody)
            await asyncio.sleep(0)
        line.writer.write(data[-5:])
        time.sleep(2 * SHORT)  # noqa: ASYNC251  (the server stands still, in this very loop)
        assert (await line.answer()).json["object"] == "upload.part"


async def test_many_dripping_bodies_do_not_keep_others_out(
    tmp_path: Path, dripping: list[asyncio.Task[None]]
) -> None:
    async with target(tmp_path, patience=patience(body=1.0)) as served:
        upload = served.upload()
        path = f"/v1/uploads/{upload.id}/parts"
        lines = [await served.line() for _ in range(100)]
        for line in lines:
            await line.send(head("POST", path, FORM, "Content-Length: 100000"))
            dripping.append(asyncio.create_task(drip(line, part_form(bytes(9999)), 0.05)))
        assert (await served.ask(post_part(upload, b"abc"))).status == 200
        for line in lines:
            assert (await line.answer()).status == 408
        await served.connections_left(1)
        # Nothing is left of a hundred beginnings.
        assert len(served.on_disk()) == 1


async def test_the_last_of_an_answer_is_not_kept_for_ever_either(tmp_path: Path) -> None:
    """As much as a client, the system and nobody's buffer together hold, and a little more."""
    short = patience(head=SHORT, answer=SHORT)
    async with target(tmp_path, patience=short, window=65_536) as served:
        sizes = range(20_000, 400_000, 20_000)
        narrow = [narrow_socket() for _ in sizes]
        loop = asyncio.get_running_loop()
        for size, client in zip(sizes, narrow, strict=True):
            incoming = served.store.receive()
            incoming.write([memoryview(bytes(size))])
            new = NewFile(filename="a", purpose="batch")
            file = served.store.add_file(new, incoming)
            await loop.sock_connect(client, ("127.0.0.1", served.port))
            await loop.sock_sendall(client, head("GET", f"/v1/files/{file.id}/content"))
        await served.connections_left(0)
        for client in narrow:
            client.close()


@pytest.mark.parametrize("asked", ["content", "list"])
async def test_an_answer_that_nobody_reads_is_not_kept_for_ever(tmp_path: Path, asked: str) -> None:
    async with target(tmp_path, patience=patience(answer=SHORT), window=65_536) as served:
        upload = served.upload(1_000_000)
        part = (await served.ask(post_part(upload, bytes(upload.bytes)))).json["id"]
        _, file = served.store.complete_upload(upload.id, [part])
        target_ = f"/v1/files/{file.id}/content" if asked == "content" else "/v1/files"
        narrow = narrow_socket()
        loop = asyncio.get_running_loop()
        await loop.sock_connect(narrow, ("127.0.0.1", served.port))
        for line in served.lines:
            await line.close()
        # A listing is short: so many of them that no buffer holds the answers.
        times = 1 if asked == "content" else 5_000
        pushing = asyncio.create_task(loop.sock_sendall(narrow, head("GET", target_) * times))
        await served.connections_left(0)
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)
        narrow.close()
        await served.is_well()


async def test_who_took_an_answer_late_is_not_held_to_it_later(tmp_path: Path) -> None:
    limit = 0.4
    async with target(tmp_path, patience=patience(answer=limit), window=65_536) as served:
        upload = served.upload(1_000_000)
        part = (await served.ask(post_part(upload, bytes(upload.bytes)))).json["id"]
        _, file = served.store.complete_upload(upload.id, [part])
        line = await served.line()
        assert len((await line.ask(head("GET", f"/v1/files/{file.id}/content"))).body) == 1_000_000
        await asyncio.sleep(3 * limit)
        assert (await line.ask(HEAD)).status == 200


async def test_an_answer_that_is_read_slowly_is_sent_whole(tmp_path: Path) -> None:
    async with target(tmp_path, patience=patience(answer=0.8), window=65_536) as served:
        upload = served.upload(1_000_000)
        part = (await served.ask(post_part(upload, bytes(upload.bytes)))).json["id"]
        _, file = served.store.complete_upload(upload.id, [part])
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1000)
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        writer.write(head("GET", f"/v1/files/{file.id}/content"))
        received = len(await reader.readuntil(b"\r\n\r\n")) * 0
        while received < upload.bytes:
            received += len(await reader.readexactly(min(20_000, upload.bytes - received)))
            await asyncio.sleep(0.05)
        assert received == upload.bytes
        writer.close()
