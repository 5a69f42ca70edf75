"""One job's parts in flight: how many, what becomes of them, and what is left when it ends."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from house import Handler, House, drop
from line import PART, PARTS, SIZE, SLOTS, Line, lined
from stage import Turn, refusing
from wire import body_of, silent

from chunkup import events
from chunkup.errors import ServerTrouble, Unreachable
from chunkup.machine import Accepted, AnswerLost, Phase
from chunkup.models import Part, Receipt, Span
from chunkup.retry import Retry


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkup.retry.backoff", lambda attempt, chance: 0.0)


@pytest.fixture
async def line(house: House, journal: Path, tmp_path: Path) -> AsyncIterator[Line]:
    async with lined(house, journal, tmp_path / "a.bin") as made:
        yield made


# --- sending --------------------------------------------------------------------------------


async def test_everything_is_sent_and_every_receipt_is_committed(line: Line) -> None:
    assert await line.send() is None
    assert line.ledger.state.missing == ()
    assert len(line.ledger.state.receipts) == PARTS
    assert not line.ledger.state.answer_lost
    accepted = [event for event in line.emitted if isinstance(event, events.PartAccepted)]
    assert {(event.start, event.stop) for event in accepted} == {
        (receipt.span.start, receipt.span.stop) for receipt in line.ledger.state.receipts
    }
    assert [event.done for event in accepted] == sorted(event.done for event in accepted)
    assert accepted[-1].done == SIZE
    assert await line.proof.complete(line.ledger.state)


async def test_as_many_parts_are_in_flight_as_there_are_slots_and_no_more(line: Line) -> None:
    now, most, full = 0, 0, asyncio.Event()

    async def held(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == SLOTS:
            full.set()
        await full.wait()
        try:
            return await handler(request)
        finally:
            now -= 1

    line.on_part(held)
    async with asyncio.timeout(20):
        assert await line.send() is None
    assert most == SLOTS


async def test_what_is_there_already_is_not_sent_again(line: Line) -> None:
    content = line.path.read_bytes()
    for number in (0, 1, 7, PARTS - 1):
        span = Span(number * PART, min(SIZE, (number + 1) * PART))
        body = body_of(content[span.start : span.stop])
        part_id = await line.shop.api.add_part(line.upload_id, body, silent)
        receipt = Receipt(span, part_id, body.xxh3 or "")
        await line.ledger.record(Accepted(line.upload_id, receipt))
    line.house.arrivals.clear()
    left = SIZE - line.ledger.state.done
    assert await line.send() is None
    assert line.house.whole_bytes == left == 17 * PART
    assert await line.proof.complete(line.ledger.state)


def losing_two() -> Turn:
    """The first two answers are lost: no more than any one part has retries for."""
    left = 2

    async def turn(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal left
        mine, left = left > 0, left - 1
        answer = await handler(request)
        return drop(request) if mine else answer

    return turn


# --- lost answers ---------------------------------------------------------------------------


async def test_a_lost_answer_is_recorded_once_and_for_good(line: Line) -> None:
    line.on_part(losing_two())
    assert await line.send() is None
    assert line.ledger.state.answer_lost
    facts = await line.journal.facts(line.ledger.job.id)
    assert sum(isinstance(fact, AnswerLost) for fact in facts) == 1
    assert line.house.whole_bytes > SIZE


async def test_a_hopeless_part_may_have_been_stored_and_that_is_recorded_too(line: Line) -> None:
    line.on_part(refusing(500))
    with pytest.raises(ServerTrouble):
        await line.send()
    assert line.ledger.state.answer_lost
    assert line.ledger.state.phase is Phase.SENDING


# --- what is told ---------------------------------------------------------------------------


async def test_what_a_failed_attempt_had_sent_counts_no_more(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chunkup.gauge._TICK", 0.0)
    link, part = line.link, Part(0, PART)
    link._gauge.launch(part)
    link._gauge.moved(part, 400)
    link._part_repeated(part, Retry(1, 5.0, Unreachable("it broke")))
    link._gauge.look()
    told = line.emitted[-1]
    assert isinstance(told, events.Progress)
    assert (told.sent, told.in_flight, told.retries) == (0, 0, 1)
    link._gauge.clear()


@pytest.mark.parametrize("faulty", [False, True])
async def test_progress_is_never_above_the_size(
    line: Line, monkeypatch: pytest.MonkeyPatch, *, faulty: bool
) -> None:
    monkeypatch.setattr("chunkup.link._TICK", 0.0)
    monkeypatch.setattr("chunkup.gauge._TICK", 0.0)
    monkeypatch.setattr("chunkup.watching._TICK", 0.0)
    line.on_part(losing_two() if faulty else None)
    assert await line.send() is None
    told = [event for event in line.emitted if isinstance(event, events.Progress)]
    assert told
    for event in told:
        assert 0 <= event.done + event.sent <= event.size == SIZE
        assert event.done >= 0 <= event.sent
        assert event.in_flight <= SLOTS
        assert event.rate >= 0
        assert event.expires_in is not None
        assert event.expires_in <= 3600
    assert told[-1].retries == (sum(isinstance(e, events.PartRetried) for e in line.emitted))
    assert bool(told[-1].retries) is faulty


async def test_retries_and_pauses_are_told_apart(line: Line) -> None:
    turns = iter([refusing(500), refusing(429, headers={"retry-after-ms": "20"})])

    async def turn(request: web.Request, handler: Handler) -> web.StreamResponse:
        mine = next(turns, None)
        return await (mine(request, handler) if mine else handler(request))

    line.on_part(turn)
    assert await line.send() is None
    retried = [event for event in line.emitted if isinstance(event, events.PartRetried)]
    paused = [event for event in line.emitted if isinstance(event, events.Paused)]
    assert [(event.attempt, event.code) for event in retried] == [(1, "server-trouble")]
    assert [event.wait for event in paused] == [0.02]
