"""A single request whose answer is lost, late, nonsense or no: one File, or a person is asked."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from asks import LOST, quicken
from house import Handler, House, call_of, drop, make_source
from posts import LARGE, PATIENT, SIZE, done_but, instead, on_posts, phase_of, refusing, sent

from chunkup import OutcomeUnknown, RemoteFile, SourceChanged, events
from chunkup.errors import Rejected, Stopped
from chunkup.machine import Phase


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(monkeypatch)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    make_source(path, SIZE)
    return path


# --- its end ------------------------------------------------------------------------------------


async def test_what_is_recorded_before_the_end_goes_out_is_all_that_a_kill_leaves(
    house: House, journal: Path, source: Path
) -> None:
    """While the server works at it, the journal knows that there may be a File."""
    phases: list[Phase] = []
    async with house.uploader(journal, options=PATIENT) as uploader:

        async def look(request: web.Request, handler: Handler) -> web.StreamResponse:
            answer = await handler(request)
            phases.append(await phase_of(uploader))
            return answer

        on_posts(house, look)
        await uploader.upload(source, purpose="user_data", method="files")
    assert phases == [Phase.ASKED]


@pytest.mark.parametrize("way", ["reset", "502", "504", "409", "no JSON", "an error in a 200"])
async def test_a_file_that_was_made_unheard_is_found_and_not_made_again(
    house: House, journal: Path, source: Path, way: str
) -> None:
    on_posts(house, done_but(LOST[way]))
    end, job, seen = await sent(house, journal, source)
    assert isinstance(end, RemoteFile), end
    assert [row.id for row in house.files] == [end.id]
    assert house.calls.count("post") == 1
    assert [e.recovered for e in seen if isinstance(e, events.Completed)] == [True]
    assert job.state == "completed"


async def test_one_that_is_listed_late_is_waited_for(
    house: House, journal: Path, source: Path
) -> None:
    looks = 0

    async def play(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal looks
        answer = await handler(request)
        if call_of(request) == "post":
            return drop(request)
        if call_of(request) == "list" and house.files:
            looks += 1
            if looks <= 4:  # more than the first looks
                return web.json_response({"data": [], "has_more": False})
        return answer

    house.intercept = play
    end, _, _ = await sent(house, journal, source)
    assert isinstance(end, RemoteFile), end
    assert house.calls.count("post") == 1


async def test_one_of_long_ago_is_not_waited_for_by_each_run_anew(
    house: House, journal: Path, source: Path
) -> None:
    """Runs that are all stopped early would never come to send it once more."""
    patient = replace(PATIENT, patience=600.0)
    looked = asyncio.Event()

    async def play(request: web.Request, handler: Handler) -> web.StreamResponse:
        if house.calls.count("list") > 1:  # no more of the first looks
            looked.set()
        if call_of(request) == "post" and house.calls.count("post") == 1:
            await request.read()
            return drop(request)
        return await handler(request)

    house.intercept = play
    async with house.uploader(journal, options=patient) as uploader:
        run = uploader.start(source, purpose="user_data", method="files")
        await looked.wait()
        run.stop()
        await run.wait()
    house.clock.offset = 2 * 3600
    async with house.uploader(journal, options=patient) as uploader, asyncio.timeout(15):
        (job,) = await uploader.jobs()
        file = await uploader.resume(job.id)
    assert [row.id for row in house.files] == [file.id]


@pytest.mark.parametrize("way", ["reset", "502", "504"])
async def test_one_that_was_not_made_is_sent_once_more_after_it_was_looked_for(
    house: House, journal: Path, source: Path, way: str
) -> None:
    on_posts(house, instead(LOST[way]))
    end, _, _ = await sent(house, journal, source)
    assert isinstance(end, RemoteFile), end
    assert [row.id for row in house.files] == [end.id]
    first, second = (at for at, call in enumerate(house.calls) if call == "post")
    assert house.calls[first + 1 : second].count("list") >= 4


async def test_lost_twice_is_a_persons_to_decide(house: House, journal: Path, source: Path) -> None:
    on_posts(house, instead(LOST["reset"]), instead(LOST["reset"]))
    end, job, _ = await sent(house, journal, source)
    assert isinstance(end, OutcomeUnknown), end
    assert "sent twice" in end.message
    assert job.state == "in-doubt"
    async with house.uploader(journal, options=PATIENT) as uploader:
        with pytest.raises(OutcomeUnknown):  # it only looks from now on
            await uploader.resume(job.id)
        assert house.calls.count("post") == 2
        file = await uploader.settle(job.id, again=True)
        assert [row.id for row in house.files] == [file.id]


async def test_a_person_may_name_the_file(house: House, journal: Path, source: Path) -> None:
    blind = True

    async def play(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        if call_of(request) == "post":
            return drop(request)
        if call_of(request) == "list" and blind:
            return web.json_response({"data": [], "has_more": False})
        return answer

    house.intercept = play
    end, job, _ = await sent(house, journal, source)
    assert isinstance(end, OutcomeUnknown), end
    assert len(house.files) == 2  # a server that hides both made each that it was sent
    async with house.uploader(journal, options=PATIENT) as uploader:
        blind = False
        with pytest.raises(OutcomeUnknown) as caught:
            await uploader.resume(job.id)
        ids = caught.value.candidates
        assert set(ids) == {row.id for row in house.files}
        assert (await uploader.settle(job.id, accept=ids[0])).id == ids[0]


async def test_another_content_is_never_sent_for_one_in_doubt(
    house: House, journal: Path, source: Path
) -> None:
    """The same size, the same time: only the digest of what was sent tells."""
    before = source.stat()

    died = asyncio.Event()

    async def hold(request: web.Request, handler: Handler) -> web.StreamResponse:
        await request.read()
        died.set()
        await asyncio.Event().wait()
        raise AssertionError

    on_posts(house, hold)
    async with house.uploader(journal, options=PATIENT) as uploader:
        run = uploader.start(source, purpose="user_data", method="files")
        await died.wait()
        run.stop()
        with pytest.raises(Stopped):
            await run
        assert await phase_of(uploader) is Phase.ASKED
    source.write_bytes(os.urandom(SIZE))
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    house.calls.clear()
    house.intercept = None
    async with house.uploader(journal, options=PATIENT) as uploader:
        (job,) = await uploader.jobs()
        with pytest.raises(SourceChanged):
            await uploader.resume(job.id)
    assert house.files == []
    assert "list" in house.calls


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_a_refusal_of_the_content_ends_the_job(
    house: House, journal: Path, source: Path, status: int
) -> None:
    on_posts(house, refusing(status, "this Upload is completed, expired, cancelled: no such size"))
    end, job, _ = await sent(house, journal, source)
    assert isinstance(end, Rejected), end
    assert (job.state, house.files) == ("failed", [])
    assert house.calls.count("post") == 1


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_of_the_account_or_address_can_be_gone_on_with(
    house: House, journal: Path, source: Path, status: int
) -> None:
    on_posts(house, refusing(status))
    end, job, _ = await sent(house, journal, source)
    assert isinstance(end, Rejected), end
    assert job.state == "stopped"
    end, _, _ = await sent(house, journal, source)
    assert isinstance(end, RemoteFile), end
    assert len(house.files) == 1


async def test_a_server_that_asks_for_patience_gets_it(
    house: House, journal: Path, source: Path
) -> None:
    on_posts(house, refusing(429), refusing(429))
    end, _, seen = await sent(house, journal, source)
    assert isinstance(end, RemoteFile), end
    assert [type(event) for event in seen].count(events.Paused) == 2
    assert len(house.files) == 1


async def test_a_success_to_half_a_body_is_none(
    house: House, journal: Path, tmp_path: Path
) -> None:
    source = tmp_path / "large.bin"
    make_source(source, LARGE)

    async def early(request: web.Request, handler: Handler) -> web.StreamResponse:
        await request.content.readany()
        answer = web.json_response({"id": "file-none", "bytes": LARGE, "filename": "large.bin"})
        answer.force_close()
        return answer

    on_posts(house, early)
    end, _, _ = await sent(house, journal, source)
    assert isinstance(end, RemoteFile), end
    assert [row.id for row in house.files] == [end.id]
