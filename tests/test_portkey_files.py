"""Through Portkey's own gateway, whole files and the Files API.

What goes to /files it streams, without its length, and of our headers it keeps only the key.
"""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from counterparts import Counterpart
from house import HASTY, Handler, House, call_of, drop, make_source
from test_cli import SIZE, Shell, shell
from test_portkey import WORKING, behind, portkey, retrying, running, shared_portkey, through, to
from test_portkey_later import later, shared_later
from test_portkey_troubles import nobodys_port
from toxics import Act, At, Toxics

from chunkup import ChunkupError, RemoteFile
from chunkup.errors import NotFound, ServerTrouble

__all__ = ["later", "portkey", "shared_later", "shared_portkey", "shell"]

QUICK = replace(HASTY, looks=(0.0, 0.1), patience=0.5)
FILES = ("--method", "files")


def is_post(request: web.Request) -> bool:
    return request.method == "POST" and request.path == "/v1/files"


def assert_the_one(shell: Shell, out: str) -> None:
    assert [row.id for row in shell.house.files] == [out.strip()]
    assert shell.house.content(out.strip()) == (shell.folder / "a.bin").read_bytes()


# --- the Files API ----------------------------------------------------------------------------


async def test_all_of_the_files_api_goes_through(
    portkey: Counterpart, house: House, journal: Path, tmp_path: Path
) -> None:
    source = tmp_path / "b.txt"
    make_source(source, 70_000)
    async with through(portkey, house, journal) as uploader:
        files = uploader.files
        small = await files.create(b"some bytes", purpose="user_data", filename='é".txt')
        big = await files.create(source, purpose="batch", expires_after=7200)
        assert (small.filename, small.bytes, big.bytes) == ('é".txt', 10, 70_000)
        assert [file.id async for file in files.list()] == [big.id, small.id]
        assert [file.id async for file in files.list("user_data")] == [small.id]
        assert [file.id async for file in files.list(limit=1, order="asc")] == [small.id]
        assert (await files.retrieve(big.id)).expires_at == big.created_at + 7200
        assert b"".join([block async for block in files.content(small.id)]) == b"some bytes"
        there = await files.download(big.id, tmp_path / "back")
        assert there.read_bytes() == source.read_bytes()
        assert await files.delete(small.id)
        with pytest.raises(NotFound, match="No such File object"):
            await files.retrieve(small.id)
    assert [row.id for row in house.files] == [big.id]


async def test_content_that_breaks_off_arrives_whole_though_ranges_are_not_sent_on(
    portkey: Counterpart, house: House, journal: Path, tmp_path: Path
) -> None:
    content, ranges = os.urandom(2_000_000), []

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "content":
            ranges.append(request.headers.get("Range"))
        return await handler(request)

    house.intercept = intercept
    async with through(portkey, house, journal) as uploader:
        file = await uploader.files.create(content, purpose="user_data", filename="c.bin")
    cut = At(Act.RESET, down=1_000_000, times=1)
    async with (
        Toxics(portkey.url + "/v1", faults=[cut]) as line,
        through(portkey, house, journal, base_url=line.url) as uploader,
    ):
        there = await uploader.files.download(file.id, tmp_path / "back")
    assert there.read_bytes() == content
    assert ranges == [None, None]


async def test_a_gateway_that_dies_of_broken_content_is_a_stop_and_another_gives_it(
    portkey: Counterpart, house: House, journal: Path, tmp_path: Path
) -> None:
    """Version 1.15.2 ends, as a whole, when the server breaks off in the middle of content."""

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) != "content":
            return await handler(request)
        answer = web.StreamResponse(headers={"Content-Length": "900000"})
        await answer.prepare(request)
        await answer.write(bytes(500_000))
        return drop(request)

    with running("portkey", WORKING) as mortal:
        async with through(mortal, house, journal) as uploader:
            file = await uploader.files.create(
                bytes(900_000), purpose="user_data", filename="c.jsonl"
            )
            house.intercept = intercept
            with pytest.raises(ChunkupError) as caught:
                await uploader.files.download(file.id, tmp_path / "back")
        mortal.process.wait(30)
    assert caught.value.exit_code == 75
    assert not (tmp_path / "back").exists()
    house.intercept = None
    async with through(portkey, house, journal) as uploader:
        there = await uploader.files.download(file.id, tmp_path / "back")
    assert there.read_bytes() == bytes(900_000)


async def test_a_later_gateway_that_gives_no_content_is_a_sentence_and_leaves_nothing(
    later: Counterpart, house: House, journal: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    async with through(later, house, journal) as uploader:
        file = await uploader.files.create(b"some bytes", purpose="user_data", filename="c.bin")
        with pytest.raises(ServerTrouble) as caught:
            await uploader.files.download(file.id, folder / "back")
    assert "the server would not give the File's content: 500 Something" in caught.value.message
    assert not (folder / "back").exists()


async def test_a_project_reaches_files_only_by_the_gateways_own_header(
    portkey: Counterpart, house: House, journal: Path, tmp_path: Path
) -> None:
    """Without it a File is made in one project and looked for in another."""
    source = tmp_path / "a.bin"
    make_source(source, 100)
    seen: list[tuple[str, str | None]] = []

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        seen.append((call_of(request), request.headers.get("OpenAI-Project")))
        return await handler(request)

    house.intercept = intercept
    for number, own in enumerate([{}, {"x-portkey-openai-project": "proj_1"}]):
        headers = to(house.url, **own)
        where = journal.with_name(str(number)) / "journal.db"
        async with through(portkey, house, where, headers=headers, project="proj_1") as uploader:
            await uploader.upload(source, purpose="user_data")
            assert [file async for file in uploader.files.list()]
    by_parts, listed = dict(seen[:3]), [project for call, project in seen if call == "list"]
    assert set(by_parts.values()) == {"proj_1"}
    assert listed == [None, "proj_1"]


# --- a whole file in one request --------------------------------------------------------------


async def test_one_request_is_streamed_through_and_arrives_whole(
    portkey: Counterpart, shell: Shell
) -> None:
    lengths: list[str | None] = []

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_post(request):
            lengths.append(request.headers.get("Content-Length"))
        return await handler(request)

    shell.house.intercept = intercept
    done = await behind(shell, portkey).upload("a.bin", *FILES, "--expires-after", "2h")
    assert done.code == 0, done.err
    assert_the_one(shell, done.out)
    assert lengths == [None]
    (row,) = shell.house.files
    assert row.expires_at == row.created_at + 7200


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("made", [False, True])
async def test_one_request_that_breaks_behind_it_makes_one_file(
    portkey: Counterpart, house: House, journal: Path, tmp_path: Path, *, repeats: bool, made: bool
) -> None:
    """Nobody knows whether it was carried out; its own repetitions have no body left to send."""
    source, broken = tmp_path / "a.bin", 0
    make_source(source, SIZE)

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal broken
        if not is_post(request) or broken:
            return await handler(request)
        broken += 1
        await (handler(request) if made else request.read())
        return web.Response(status=503) if repeats else drop(request)

    house.intercept = intercept
    headers = retrying(house.url) if repeats else to(house.url)
    async with through(portkey, house, journal, headers=headers, options=QUICK) as uploader:
        file: RemoteFile = await uploader.upload(source, purpose="user_data", method="files")
    assert [row.id for row in house.files] == [file.id]
    assert house.content(file.id) == source.read_bytes()
    assert house.calls.count("post") == 2 - made


async def test_one_request_that_is_killed_with_its_sender_is_made_again_or_found(
    portkey: Counterpart, shell: Shell
) -> None:
    """The gateway does not hold it back, so the server may have it all when the client dies."""
    here, arrived = behind(shell, portkey), asyncio.Event()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        if is_post(request):
            arrived.set()
            await asyncio.Event().wait()
        return answer

    shell.house.intercept = intercept
    process = await here.start("upload", "a.bin", "-p", "user_data", *FILES)
    async with asyncio.timeout(60):
        await arrived.wait()
    process.send_signal(signal.SIGKILL)
    await process.wait()
    (job,) = await here.jobs()
    shell.house.intercept = None
    done = await here.run("resume", job)
    assert done.code == 0, done.err
    assert_the_one(shell, done.out)
    assert shell.house.calls.count("post") == 1


@pytest.mark.parametrize("way", ["refused", "dropped"])
async def test_nobody_behind_it_is_a_stop_and_a_sentence(
    portkey: Counterpart, shell: Shell, way: str
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        return drop(request)

    shell.house.intercept = intercept
    gone = f"http://127.0.0.1:{nobodys_port()}/v1"
    here = behind(shell, portkey, to(gone if way == "refused" else shell.house.url))
    stopped = await here.upload("a.bin", *FILES, CHUNKUP_RETRIES="1")
    assert (stopped.code, stopped.out) == (75, "")
    assert ": 500 Message: fetch failed" in stopped.err
    assert "html-message" not in stopped.err
    shell.house.intercept = None
    # It may have been carried out, so it is looked for before it is sent again: two minutes long.
    async with through(portkey, shell.house, shell.journal, options=QUICK) as uploader:
        file = await uploader.resume(next(iter(await here.jobs())))
    assert_the_one(shell, file.id)
