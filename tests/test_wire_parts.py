"""A part that is stored, and whose answer is lost: on servers that do not mind, and that do."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from aiohttp import web
from house import HASTY, Handler, House, call_of, drop, make_source

from chunkup import Options, events
from chunkup.engine import Orders
from chunkup.errors import Rejected
from chunkup.machine import Phase

PART, PARTS = 1000, 4
SIZE = PART * (PARTS - 1) + 1
Orphans = Literal["ignore", "count", "refuse"]

every_server = pytest.mark.parametrize("orphans", ["ignore", "count", "refuse"])


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkup.retry.backoff", lambda attempt, chance: 0.0)
    monkeypatch.setattr("chunkup.watching._TICK", 0.02)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    make_source(path, SIZE)
    return path


def treating(house: House, orphans: Orphans) -> None:
    """How the server treats what it stored and nobody names."""
    house.store._orphans = orphans


# --- ways to lose an answer -------------------------------------------------------------------


async def reset(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    return drop(request)


async def bad_gateway(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    return web.Response(status=502, text="<title>502 Bad Gateway</title>")


async def silence(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    await asyncio.Event().wait()
    return answer


async def nonsense(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    return web.Response()


Loss = Callable[[web.Request, web.StreamResponse], "asyncio.Future[web.StreamResponse]"]
LOSSES = {"reset": reset, "502": bad_gateway, "silence": silence, "nonsense": nonsense}


def losing(house: House, way: str, *, numbers: tuple[int, ...], always: bool = False) -> None:
    """Lose the answers to these parts of an Upload, counted from 1 as they arrive.

    Of the first Upload only, or of every one.
    """
    counts: Counter[str] = Counter()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) != "part":
            return await handler(request)
        upload = request.path.split("/")[3]
        counts[upload] += 1
        number = counts[upload]
        answer = await handler(request)
        if number in numbers and (always or len(counts) == 1) and answer.status == 200:
            return await LOSSES[way](request, answer)
        return answer

    house.intercept = intercept


async def uploaded(
    house: House, journal: Path, source: Path, *, workers: int
) -> tuple[str, list[str]]:
    """The File's id, and the reasons for which Uploads were over."""
    seen: list[events.Event] = []
    options = replace(HASTY, workers=workers, stall_timeout=0.1)
    async with house.uploader(journal, part_size=PART, options=options) as uploader:
        async with asyncio.timeout(30):
            file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
        (line,) = await (await uploader.journal()).lines()
        assert line.parts == PARTS
    accepted: dict[str, list[str]] = {}
    for event in seen:
        match event:
            case events.UploadCreated(upload_id=upload_id):
                accepted[upload_id] = []
            case events.PartAccepted(part_id=part_id):
                accepted[upload_id].append(part_id)
            case _:
                pass
    # One id for each part of the Upload that became the File.
    assert len(set(accepted[upload_id])) == len(accepted[upload_id]) == PARTS
    assert [row.id for row in house.files] == [file.id]
    assert house.content(file.id) == source.read_bytes()
    return file.id, [e.reason for e in seen if isinstance(e, events.UploadExpired)]


@every_server
@pytest.mark.parametrize("way", LOSSES)
@pytest.mark.parametrize("numbers", [(1,), (PARTS,), (1, 2, 3)], ids=["first", "last", "three"])
async def test_a_part_that_is_stored_unheard_has_one_id_in_the_file(
    house: House,
    journal: Path,
    source: Path,
    way: str,
    numbers: tuple[int, ...],
    orphans: Orphans,
) -> None:
    treating(house, orphans)
    losing(house, way, numbers=numbers)
    _, over = await uploaded(house, journal, source, workers=1 if way == "reset" else 3)
    if orphans == "ignore":
        assert over == []
        assert len(house.store.parts()) == PARTS + len(numbers)
    else:
        assert over == ["miscounted"]
        assert house.calls.count("create") == 2


@pytest.mark.parametrize("orphans", ["count", "refuse"])
async def test_a_file_of_one_part_is_no_exception(
    house: House, journal: Path, source: Path, orphans: Orphans
) -> None:
    source.write_bytes(b"x" * PART)
    treating(house, orphans)
    losing(house, "reset", numbers=(1,))
    seen: list[events.Event] = []
    async with house.uploader(journal, part_size=PART) as uploader:
        file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert house.content(file.id) == source.read_bytes()
    assert [e.reason for e in seen if isinstance(e, events.UploadExpired)] == ["miscounted"]


@pytest.mark.parametrize("orphans", ["count", "refuse"])
async def test_answers_that_are_always_lost_there_end_in_a_sentence_and_not_in_a_loop(
    house: House, journal: Path, source: Path, orphans: Orphans
) -> None:
    treating(house, orphans)
    losing(house, "reset", numbers=(1,), always=True)
    async with house.uploader(journal, part_size=PART) as uploader:
        with pytest.raises(Rejected, match="miscounted, miscounted, miscounted") as caught:
            await uploader.upload(source, purpose="user_data")
        (line,) = await (await uploader.journal()).lines()
        assert (line.phase, caught.value.exit_code) == (Phase.NEW, 1)
        assert house.calls.count("create") == HASTY.generations
        house.intercept = None
        file = await uploader.resume(line.job.id)
    assert house.content(file.id) == source.read_bytes()
    assert len(house.files) == 1


async def test_a_loss_that_is_still_being_repeated_counts_when_another_part_is_refused(
    house: House, journal: Path, source: Path
) -> None:
    """The part whose answer was lost is on its way again when its sibling hears of the orphan."""
    source.write_bytes(source.read_bytes()[: 2 * PART])
    refused, first = asyncio.Event(), asyncio.Event()
    arrived = 0

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal arrived
        if call_of(request) != "part" or house.calls.count("create") > 1:
            return await handler(request)
        arrived += 1
        match arrived:
            case 1:  # stored, and never heard of
                await handler(request)
                first.set()
                return drop(request)
            case 2:  # its sibling: the orphan stands in its place
                await first.wait()
                await second.wait()
                refused.set()
                message = "The parts would exceed the declared bytes"
                return web.json_response({"error": {"message": message}}, status=400)
            case _:  # again, and no answer yet
                second.set()
                await asyncio.Event().wait()
                raise AssertionError

    second = asyncio.Event()
    house.intercept = intercept
    seen: list[events.Event] = []
    options = replace(HASTY, workers=4)  # the reset costs half of the slots
    async with house.uploader(journal, part_size=PART, options=options) as uploader:
        async with asyncio.timeout(20):
            file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert refused.is_set()
    assert house.content(file.id) == source.read_bytes()
    assert [e.reason for e in seen if isinstance(e, events.UploadExpired)] == ["miscounted"]


async def test_a_loss_of_an_upload_that_is_over_excuses_nothing_in_the_next(
    house: House, journal: Path, source: Path
) -> None:
    source.write_bytes(b"x" * PART)
    treating(house, "count")

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) != "part":
            return await handler(request)
        if house.calls.count("create") == 2:
            return web.Response(status=413)
        answer = await handler(request)
        return answer if answer.status != 200 else drop(request)

    house.intercept = intercept
    async with house.uploader(journal, part_size=PART) as uploader:
        with pytest.raises(Rejected, match="413"):
            await uploader.upload(source, purpose="user_data")
    assert house.calls.count("create") == 2


# --- parts that are too large -----------------------------------------------------------------


async def test_parts_that_are_too_large_are_cut_anew_until_they_are_taken(
    house: House, journal: Path, tmp_path: Path
) -> None:
    """A gateway that takes 300 kB, and parts of a megabyte."""
    source = tmp_path / "large.bin"
    make_source(source, 5_300_000)
    refused = 0

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal refused
        if call_of(request) == "part" and (request.content_length or 0) > 300_000:
            refused += 1
            return web.Response(status=413, text="<title>413 Request Entity Too Large</title>")
        return await handler(request)

    house.intercept = intercept
    seen: list[events.Event] = []
    async with house.uploader(journal, part_size=1_000_000) as uploader:
        file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert house.content(file.id) == source.read_bytes()
    assert house.whole_bytes == 5_300_000
    # All that were in flight with a size are refused, and none of that size after them.
    assert refused <= 2 * 8
    said = [event for event in seen if isinstance(event, events.PartRetried)]
    assert len(said) == refused
    assert all("smaller parts may be taken" in event.message for event in said)
    taken = [event for event in seen if isinstance(event, events.PartAccepted)]
    assert max(event.stop - event.start for event in taken) <= 300_000


async def test_a_small_part_that_is_too_large_is_refused_once_and_even_smaller_ones_go_on(
    house: House, journal: Path, source: Path
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and (request.content_length or 0) > 800:
            return web.Response(status=413, text="<title>413 Request Entity Too Large</title>")
        return await handler(request)

    house.intercept = intercept
    options = Options(workers=1, retries=3)
    async with house.uploader(journal, part_size=PART, options=options) as uploader:
        with pytest.raises(Rejected, match="smaller parts may be taken") as caught:
            await uploader.upload(source, purpose="user_data")
        assert house.calls.count("part") == 1
        (line,) = await (await uploader.journal()).lines()
        assert line.phase is Phase.SENDING
        hint = caught.value.hint
        assert hint == f"chunkup resume {line.job.id} --part-size 250"
        engine = uploader._engine
        file = await engine.carry_out(
            line.job, lambda event: None, orders=Orders(part_size=int(hint.split()[-1]))
        )
    assert house.content(file.id) == source.read_bytes()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Upload 'upload_x' is cancelled.", "cancelled"),
        ("Upload 'upload_x' is not pending.", "ended"),
        ("Upload 'upload_x' is expired.", "expired"),
    ],
)
async def test_an_upload_that_takes_no_more_parts_is_followed_by_another(
    house: House, journal: Path, source: Path, message: str, reason: str
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and house.calls.count("part") == 2:
            await request.read()
            return web.json_response({"error": {"message": message}}, status=400)
        return await handler(request)

    house.intercept = intercept
    seen: list[events.Event] = []
    options = replace(HASTY, workers=1)
    async with house.uploader(journal, part_size=PART, options=options) as uploader:
        file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert house.content(file.id) == source.read_bytes()
    assert [e.reason for e in seen if isinstance(e, events.UploadExpired)] == [reason]
