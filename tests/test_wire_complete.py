"""A ``complete`` whose answer is lost, late or nonsense: one File, or a person is asked."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from asks import (
    LOST,
    PART,
    QUICK,
    SECOND,
    SIZE,
    Script,
    assert_the_one,
    ended,
    quicken,
    reset,
    silence,
)
from house import Handler, House, call_of, make_source

from chunkup import OutcomeUnknown, RemoteFile, events
from chunkup.errors import Rejected
from chunkup.machine import Phase


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(monkeypatch)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    make_source(path, SIZE)
    return path


every_loss = pytest.mark.parametrize("way", LOST)


# --- carried out ------------------------------------------------------------------------------


@every_loss
async def test_a_file_that_is_made_unheard_is_found_and_never_asked_for_again(
    house: House, journal: Path, source: Path, way: str
) -> None:
    script = Script(LOST[way])
    end, phase, seen = await ended(house, journal, source, script)
    assert_the_one(house, source, end)
    assert (phase, script.asked) == (Phase.COMPLETED, 1)
    assert [e.recovered for e in seen if isinstance(e, events.Completed)] == [True]


@every_loss
async def test_a_file_that_is_listed_late_is_waited_for(
    house: House, journal: Path, source: Path, way: str
) -> None:
    script = Script(LOST[way], seen=2)
    end, _, _ = await ended(house, journal, source, script)
    assert_the_one(house, source, end)
    assert script.asked == 1


async def test_a_first_ask_that_a_gateway_asked_twice_is_waited_for_as_well(
    house: House, journal: Path, source: Path
) -> None:
    """It hears what the second was told, and the File is listed only later."""
    completed = SECOND["completed"]
    assert completed is not None
    script = Script(completed, seen=4)
    end, _, _ = await ended(house, journal, source, script)
    assert_the_one(house, source, end)
    assert script.asked == 1


@pytest.mark.parametrize("answer", SECOND)
async def test_a_file_that_is_listed_after_a_second_ask_is_still_the_one(
    house: House, journal: Path, source: Path, answer: str
) -> None:
    """Whatever the server says to the second, it made the File at the first."""
    script = Script(reset, second=SECOND[answer], seen=4)
    end, phase, _ = await ended(house, journal, source, script)
    if answer == "405":  # somebody in between, who says nothing about the Upload
        assert isinstance(end, Rejected)
        assert phase is Phase.ASKED
    else:
        assert_the_one(house, source, end)
    assert script.asked == 2
    assert house.calls.count("create") == 1


@pytest.mark.parametrize(
    "answer",
    ["its own refusal", "completed", "not pending", "words of its own", "409", "500", "reset"],
)
async def test_a_file_that_is_never_listed_is_left_to_a_person(
    house: House, journal: Path, source: Path, answer: str
) -> None:
    script = Script(reset, second=SECOND[answer], seen=float("inf"))
    end, phase, _ = await ended(house, journal, source, script)
    assert isinstance(end, OutcomeUnknown), end
    assert (end.exit_code, phase, script.asked) == (4, Phase.ASKED, 2)
    (made,) = house.files
    # From then on the program only looks; a person may know better.
    async with house.uploader(journal, options=QUICK) as uploader:
        assert end.job_id is not None
        with pytest.raises(OutcomeUnknown):
            await uploader.resume(end.job_id)
        script.seen = 0
        assert (await uploader.resume(end.job_id)).id == made.id
    assert script.asked == 2
    assert len(house.files) == 1


async def test_a_server_that_answers_every_ask_with_the_same_file_is_believed(
    house: House, journal: Path, source: Path
) -> None:
    async def again(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
        (made,) = house.files
        file = {"id": made.id, "bytes": made.bytes, "created_at": made.created_at}
        file |= {"filename": made.filename, "purpose": made.purpose}
        return web.json_response({"id": "upload_x", "created_at": 1, "file": file})

    script = Script(reset, second=again, seen=float("inf"))
    end, _, _ = await ended(house, journal, source, script)
    assert_the_one(house, source, end)


async def test_a_server_that_makes_a_file_at_every_ask_is_asked_once_where_it_lists_them(
    house: House, journal: Path, source: Path
) -> None:
    async def another(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
        raise AssertionError("it was asked again")

    script = Script(reset, second=another, seen=2)
    end, _, _ = await ended(house, journal, source, script)
    assert_the_one(house, source, end)
    assert script.asked == 1


# --- not carried out --------------------------------------------------------------------------


@every_loss
async def test_an_ask_that_was_not_carried_out_is_repeated_once(
    house: House, journal: Path, source: Path, way: str
) -> None:
    script = Script(LOST[way], done=False)
    end, _, seen = await ended(house, journal, source, script)
    assert_the_one(house, source, end)
    assert script.asked == 2
    assert [e.recovered for e in seen if isinstance(e, events.Completed)] == [False]


async def test_an_old_file_of_equal_name_size_and_purpose_is_not_the_one(
    house: House, journal: Path, source: Path, tmp_path: Path
) -> None:
    for age in (5 * 86400, 3600, 10):
        house.clock.offset = -age
        async with house.uploader(tmp_path / "old" / f"{age}.db") as other:
            await other.upload(source, purpose="user_data")
    house.clock.offset = 0
    old = {row.id for row in house.files}
    script = Script(reset, done=False)
    end, _, _ = await ended(house, journal, source, script)
    assert isinstance(end, RemoteFile)
    assert {row.id for row in house.files} - old == {end.id}


# --- slow ---------------------------------------------------------------------------------------


async def test_a_complete_that_takes_its_time_is_waited_for(
    house: House, journal: Path, source: Path
) -> None:
    async def slowly(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
        await asyncio.sleep(0.5)  # two minutes, where a whole complete has ten
        return answer

    house.intercept = script = Script(slowly)
    options = replace(QUICK, complete_timeout=2.5)
    async with house.uploader(journal, part_size=PART, options=options) as uploader:
        file = await uploader.upload(source, purpose="user_data")
    assert_the_one(house, source, file)
    assert (script.asked, script.looks) == (1, 0)


async def test_a_complete_that_outlasts_our_patience_makes_one_file_all_the_same(
    house: House, journal: Path, source: Path
) -> None:
    """It is still at work when it is asked again, and says so."""
    asked_again = False

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal asked_again
        match call_of(request), house.calls.count("complete"):
            case "complete", 1:
                return await silence(request, await handler(request))
            case "complete", _:
                asked_again = True
                return web.json_response({"error": {"message": "in progress"}}, status=409)
            case "list", _ if not asked_again:
                return web.json_response({"data": [], "has_more": False})
            case _:
                return await handler(request)

    house.intercept = intercept
    async with house.uploader(journal, part_size=PART, options=QUICK) as uploader:
        file = await uploader.upload(source, purpose="user_data")
    assert_the_one(house, source, file)
    assert house.calls.count("complete") == 2


async def test_who_asks_for_patience_beside_a_doubt_is_not_asked_before(
    house: House, journal: Path, source: Path
) -> None:
    """A 503 to complete is in doubt, and its wish holds for the looks and for the second ask."""
    times: list[float] = []
    loop = asyncio.get_running_loop()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) in {"complete", "list"}:
            times.append(loop.time())
            if len(times) == 1:
                await handler(request)
                wish = {"retry-after-ms": "300"}
                return web.Response(status=503, headers=wish)
        return await handler(request)

    house.intercept = intercept
    async with house.uploader(journal, part_size=PART, options=QUICK) as uploader:
        file = await uploader.upload(source, purpose="user_data")
    assert_the_one(house, source, file)
    assert times[1] - times[0] >= 0.29
