"""How long a server asks to wait, in all the ways in which it can say so."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiohttp import web
from house import HASTY, Handler, House, call_of, make_source
from wire import answering, listening, opened, reply

from chunkup import events
from chunkup.errors import Stopped, Throttled
from chunkup.machine import Phase
from chunkup.verdicts import FOREVER, http_date, interpret, retry_after

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def http(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "0"}, 0.0),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "later"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1e300"}, FOREVER),
        ({"retry-after-ms": "1e300"}, FOREVER),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after-ms": "-5", "retry-after": "7"}, 7.0),
        ({"retry-after": http(NOON + timedelta(days=90_000)), "date": http(NOON)}, FOREVER),
        ({"retry-after": http(NOON + timedelta(seconds=90)), "date": http(NOON)}, 90.0),
        ({"retry-after": http(NOON - timedelta(hours=1)), "date": http(NOON)}, 0.0),
        ({"retry-after": http(NOON)}, None),
        ({"retry-after": http(NOON), "date": "yesterday"}, None),
    ],
)
def test_the_wish_to_wait_is_read_as_the_sdks_read_it(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers) == seconds
    answer = interpret(429, {key.title(): value for key, value in headers.items()}, "", what="x")
    assert answer.answer is not None
    assert answer.answer.retry_after == seconds


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Kolkata"])
def _time_zone(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_time_zone")
def test_http_dates_are_unix_seconds_with_or_without_a_zone_wherever_we_are() -> None:
    assert http_date("Sat, 21 Nov 2026 12:00:00 GMT") == NOON.timestamp()
    assert http_date("Sat, 21 Nov 2026 12:00:00 -0000") == NOON.timestamp()
    assert http_date("Sat, 21 Nov 2026 13:00:00 +0100") == NOON.timestamp()
    assert http_date(None) is None


def test_a_date_without_the_answers_own_is_read_against_the_clock_that_is_believed() -> None:
    wish = {"retry-after": http(NOON + timedelta(seconds=30))}
    assert retry_after(wish, now=NOON.timestamp()) == 30
    assert retry_after(wish, now=NOON.timestamp() + 60) == 0
    # The answer's own clock is the one that its date was written by.
    wish["date"] = http(NOON + timedelta(seconds=10))
    assert retry_after(wish, now=NOON.timestamp()) == 20


async def test_an_answer_that_tells_no_time_is_read_by_the_clock_that_others_told() -> None:
    wish = http(NOON + timedelta(seconds=7200))
    told = reply({"id": "file-1"}, headers={"Date": http(NOON)})
    throttled = reply({}, 429, {"Retry-After": wish})
    async with listening(answering(told, throttled)) as wire, opened(wire.url) as api:
        await api.retrieve("file-1")
        with pytest.raises(Throttled) as caught:
            await api.retrieve("file-1")
    assert caught.value.answer is not None
    assert caught.value.answer.retry_after == pytest.approx(7200, abs=60)


@pytest.mark.parametrize("call", ["create", "part", "complete", "list"])
@pytest.mark.parametrize(
    "wish",
    [
        {"Retry-After": "1e300"},
        {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"},
        {"retry-after-ms": "99999999999"},
        {"Retry-After": "86400"},
    ],
    ids=["absurd", "date", "ms", "a day"],
)
async def test_a_wait_that_nobody_could_make_ends_at_once_and_is_said_in_a_sentence(
    house: House, journal: Path, tmp_path: Path, call: str, wish: dict[str, str]
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == call:
            return web.Response(status=429, headers=wish)
        if call == "list" and call_of(request) == "complete":
            return web.Response(status=502)
        return await handler(request)

    house.intercept = intercept
    source = tmp_path / "a.bin"
    make_source(source, 100)
    async with house.uploader(journal, options=HASTY) as uploader:
        with pytest.raises(Stopped) as caught:
            await uploader.upload(source, purpose="user_data")
        (line,) = await (await uploader.journal()).lines()
    assert type(caught.value) is Stopped
    assert caught.value.exit_code == 75
    assert "too long to wait" in caught.value.message
    assert len(caught.value.message) < 200
    assert house.calls.count(call) == 1
    assert line.phase in {Phase.NEW, Phase.SENDING, Phase.ASKED}


@pytest.mark.parametrize("wish", ["0", "Sat, 21 Nov 2009 12:00:00 GMT", "-5", "soon"])
async def test_a_wish_for_no_wait_at_all_is_none_and_the_usual_backoff_holds(
    house: House, journal: Path, tmp_path: Path, wish: str
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "create" and house.calls.count("create") == 1:
            return web.Response(status=503, headers={"Retry-After": wish})
        return await handler(request)

    house.intercept = intercept
    source = tmp_path / "a.bin"
    make_source(source, 100)
    seen: list[events.Event] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chunkup.retry.backoff", lambda attempt, chance: 0.123)
        async with house.uploader(journal) as uploader:
            await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert [event.wait for event in seen if isinstance(event, events.Paused)] == [0.123]
