"""Trouble behind Portkey's own gateway: what it makes of it, and what becomes of the File."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from counterparts import Counterpart
from house import HASTY, Handler, House, call_of, drop, make_source
from test_cli import Shell, shell
from test_portkey import behind, portkey, retrying, shared_portkey, through, to

from chunkup import ChunkupError, RemoteFile, events
from chunkup.server.rows import Orphans

__all__ = ["portkey", "shared_portkey", "shell"]

PART, SIZE = 1000, 5500
# Looks that a File which is there at once needs, and no more.
QUICK = replace(HASTY, looks=(0.0, 0.1), patience=0.5)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    make_source(path, SIZE)
    return path


def assert_the_one(house: House, source: Path, file: RemoteFile) -> None:
    assert [row.id for row in house.files] == [file.id]
    assert house.content(file.id) == source.read_bytes()


def nobodys_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


# --- what comes through -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "exit_code", "words"),
    [
        (400, 1, "400 the name is too long"),
        (401, 1, "401 the name is too long (check the key that is set"),
        (403, 1, "403 the name is too long (check what the key may do"),
        (429, 75, "429 the name is too long"),
        (503, 75, "503 the name is too long"),
    ],
)
async def test_a_refusal_keeps_its_status_its_words_and_its_request_id(
    portkey: Counterpart,
    house: House,
    journal: Path,
    source: Path,
    status: int,
    exit_code: int,
    words: str,
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        await request.read()
        return web.json_response(
            {"error": {"message": "the name is too long", "type": "invalid_request_error"}},
            status=status,
            headers={"x-request-id": "req_7", "retry-after": "0"},
        )

    house.intercept = intercept
    options = replace(HASTY, retries=1)
    async with through(portkey, house, journal, options=options) as uploader:
        with pytest.raises(ChunkupError) as caught:
            await uploader.upload(source, purpose="user_data")
    assert words in caught.value.message
    assert (caught.value.exit_code, caught.value.request_id) == (exit_code, "req_7")


async def test_a_wish_to_wait_pauses_everything_and_nothing_is_lost(
    portkey: Counterpart, house: House, journal: Path, source: Path
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and house.calls.count("part") == 1:
            await request.read()
            return web.json_response(
                {"error": {"message": "slow down"}}, status=429, headers={"retry-after": "1"}
            )
        return await handler(request)

    house.intercept = intercept
    seen: list[events.Event] = []
    async with through(portkey, house, journal) as uploader:
        file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert_the_one(house, source, file)
    assert [round(e.wait) for e in seen if isinstance(e, events.Paused)] == [1]


# --- its own repetitions ----------------------------------------------------------------------


@pytest.mark.parametrize("orphans", ["ignore", "count", "refuse"])
@pytest.mark.parametrize("way", ["its answer is lost", "it is refused when it is stored"])
async def test_a_part_that_the_gateway_sends_again_makes_no_second_file(
    portkey: Counterpart,
    house: House,
    journal: Path,
    source: Path,
    way: str,
    orphans: Orphans,
) -> None:
    house.store._orphans = orphans
    spoilt = 0

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal spoilt
        answer = await handler(request)
        if call_of(request) == "part" and not spoilt:
            spoilt += 1
            return drop(request) if "lost" in way else web.Response(status=503)
        return answer

    house.intercept = intercept
    seen: list[events.Event] = []
    headers = retrying(house.url)
    async with through(portkey, house, journal, headers=headers, options=QUICK) as uploader:
        file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert_the_one(house, source, file)
    again = [e.reason for e in seen if isinstance(e, events.UploadExpired)]
    assert again == ([] if orphans == "ignore" else ["miscounted"])


@pytest.mark.parametrize("repeats", [False, True])
async def test_a_complete_whose_answer_is_lost_behind_it_is_found(
    portkey: Counterpart, house: House, journal: Path, source: Path, *, repeats: bool
) -> None:
    """With its own repetitions the first thing that is heard may be a refusal."""

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        if call_of(request) == "complete" and house.calls.count("complete") == 1:
            return web.Response(status=503) if repeats else drop(request)
        return answer

    house.intercept = intercept
    headers = retrying(house.url) if repeats else to(house.url)
    seen: list[events.Event] = []
    async with through(portkey, house, journal, headers=headers, options=QUICK) as uploader:
        file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert_the_one(house, source, file)
    assert [e.recovered for e in seen if isinstance(e, events.Completed)] == [True]
    assert house.calls.count("complete") == 1 + repeats


# --- nobody behind it ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["refused", "dropped"])
async def test_a_server_that_is_gone_behind_it_is_a_stop_and_a_sentence(
    portkey: Counterpart, shell: Shell, way: str
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        return drop(request)

    shell.house.intercept = intercept
    gone = f"http://127.0.0.1:{nobodys_port()}/v1"
    here = behind(shell, portkey, to(gone if way == "refused" else shell.house.url))
    stopped = await here.upload("a.bin", CHUNKUP_RETRIES="1")
    assert (stopped.code, stopped.out) == (75, "")
    assert "the server would not create the Upload: 500 Message: fetch failed" in stopped.err
    job = next(iter(await here.jobs()))
    assert f"hint: chunkup resume {job}" in stopped.err
    shell.house.intercept = None
    done = await behind(shell, portkey).run("resume", job)
    assert done.code == 0, done.err
    assert [row.id for row in shell.house.files] == [done.out.strip()]


async def test_it_is_said_where_it_does_not_know_the_provider(
    portkey: Counterpart, shell: Shell
) -> None:
    here = behind(shell, portkey, {"x-portkey-api-key": "pk"})
    refused = await here.upload("a.bin")
    assert refused.code == 1
    assert "x-portkey-provider header is required" in refused.err
    assert shell.house.calls == []
