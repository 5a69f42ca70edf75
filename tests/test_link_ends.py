"""What ends the sending early, what only stops it, and that nothing is left in flight."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from house import Handler, House
from line import PART, SLOTS, Line, lined, our_tasks
from stage import Turn, refusing

from chunkup.errors import (
    BadAnswer,
    ChunkupError,
    Forbidden,
    OutOfQuota,
    Rejected,
    SourceChanged,
    Stopped,
    Unauthorized,
)
from chunkup.machine import Accepted, AnswerLost, Phase
from chunkup.models import Receipt, Span
from chunkup.worker import Hands, PartRequest, Refusal, Sent


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkup.retry.backoff", lambda attempt, chance: 0.0)


@pytest.fixture
async def line(house: House, journal: Path, tmp_path: Path) -> AsyncIterator[Line]:
    async with lined(house, journal, tmp_path / "a.bin") as made:
        yield made


# --- the end of an Upload -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        (refusing(404, "No such Upload object: upload_x"), "gone"),
        (refusing(400, "Upload 'upload_x' is expired."), "expired"),
        (refusing(404, "The Upload expired"), "expired"),
    ],
)
async def test_an_upload_that_is_no_more_ends_the_sending_with_the_reason(
    line: Line, turn: Turn, reason: str
) -> None:
    line.on_part(turn, after=5)
    assert await line.send() == reason
    assert line.ledger.state.phase is Phase.SENDING, "what follows is decided elsewhere"


async def test_an_upload_that_expires_at_the_server_ends_the_sending(line: Line) -> None:
    async def late(request: web.Request, handler: Handler) -> web.StreamResponse:
        line.house.clock.offset = 7200
        return await handler(request)

    line.on_part(late, after=5)
    # Told by a part's answer, or known from the server's clock before one was sent.
    assert await line.send() in {"expired", None}
    assert line.ledger.state.missing


async def test_a_complaint_about_size_ends_an_upload_only_if_an_answer_was_lost(line: Line) -> None:
    line.on_part(refusing(413, "the parts exceed the size of the Upload"))
    with pytest.raises(Rejected):
        await line.send()
    await line.ledger.record(AnswerLost(line.upload_id))
    assert await line.send() == "miscounted"


@pytest.mark.parametrize("answer_lost", [False, True])
@pytest.mark.parametrize(
    ("turn", "error"),
    [
        (refusing(401), Unauthorized),
        (refusing(401, "Your API key has expired"), Unauthorized),
        (refusing(403), Forbidden),
        (refusing(403, "You exceeded the size that your plan allows"), Forbidden),
        (
            refusing(429, "You exceeded your current quota", code="insufficient_quota"),
            OutOfQuota,
        ),
        (refusing(429, headers={"Retry-After": "99999"}), Stopped),
        (refusing(400, "bad request"), Rejected),
    ],
    ids=["401", "401 expired", "403", "403 size", "quota", "429 for hours", "400"],
)
async def test_a_refusal_that_a_new_upload_would_not_cure_is_raised(
    line: Line, turn: Turn, error: type[ChunkupError], *, answer_lost: bool
) -> None:
    if answer_lost:
        await line.ledger.record(AnswerLost(line.upload_id))
    line.on_part(turn, after=5)
    with pytest.raises(error):
        await line.send()
    assert line.ledger.state.phase is Phase.SENDING
    assert line.ledger.state.done


async def test_a_server_that_gives_one_id_twice_is_not_believed(line: Line) -> None:
    async def same(request: web.Request, handler: Handler) -> web.StreamResponse:
        await request.read()
        return web.json_response({"id": "part_always"})

    line.on_part(same)
    with pytest.raises(BadAnswer):
        await line.send()


# --- siblings -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 404])
async def test_when_one_part_ends_it_the_others_are_given_up(line: Line, status: int) -> None:
    first, hung, gone = True, asyncio.Event(), 0

    async def turn(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal first, gone
        if first:
            first = False
            await hung.wait()
            await request.read()
            return web.json_response({"error": {"message": "no"}}, status=status)
        if line.house.calls.count("part") == SLOTS:
            hung.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone += 1
        raise AssertionError

    line.on_part(turn)
    async with asyncio.timeout(20):
        if status == 401:
            with pytest.raises(Unauthorized):
                await line.send()
        else:
            assert await line.send() == "gone"


async def test_parts_that_arrived_beside_a_refused_one_keep_their_receipts(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them end in the same turn of the loop; the first of them is refused."""
    refused = Span(0, PART)

    async def send_part(request: PartRequest, hands: Hands) -> Sent | Refusal:
        if request.part == refused:
            return Refusal(Unauthorized("no"), lost=False)
        return Sent(Receipt(request.part, f"part_{request.part.start}", "0" * 32), lost=False)

    monkeypatch.setattr("chunkup.link.send_part", send_part)
    with pytest.raises(Unauthorized):
        await line.send()
    kept = [receipt.span for receipt in line.ledger.state.receipts]
    assert kept == [Span(PART * n, PART * (n + 1)) for n in range(1, SLOTS)]


async def test_a_source_that_changes_ends_the_sending_with_nothing_left(line: Line) -> None:
    async def touching(request: web.Request, handler: Handler) -> web.StreamResponse:
        os.utime(line.path, ns=(1, 1))
        return await handler(request)

    line.on_part(touching, after=3)
    with pytest.raises(SourceChanged):
        await line.send()


async def test_a_receipt_that_the_file_disproves_ends_the_sending_before_all_is_sent(
    line: Line,
) -> None:
    receipt = Receipt(Span(0, PART), "part_of_another_content", "0" * 32)
    await line.ledger.record(Accepted(line.upload_id, receipt))
    proven = asyncio.Event()

    async def after_the_proof(request: web.Request, handler: Handler) -> web.StreamResponse:
        await proven.wait()
        return await handler(request)

    line.on_part(after_the_proof)
    sending = asyncio.ensure_future(line.send())
    assert line.proof._pass is not None
    await line.proof._pass.reach(1)
    proven.set()
    with pytest.raises(SourceChanged):
        await sending
    assert line.ledger.state.missing


async def test_a_cancelled_sending_leaves_nothing_in_flight(line: Line) -> None:
    hung = asyncio.Event()

    async def hold(request: web.Request, handler: Handler) -> web.StreamResponse:
        if line.house.calls.count("part") == SLOTS:
            hung.set()
        await asyncio.Event().wait()
        raise AssertionError

    line.on_part(hold)
    before = our_tasks()
    sending = asyncio.ensure_future(line.link.send(line.upload_id))
    await hung.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert our_tasks() == before
    assert line.shop.slots._busy == 0
