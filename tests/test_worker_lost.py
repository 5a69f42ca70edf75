"""What is known about answers that were lost, whatever became of the part."""

import random
from pathlib import Path

import pytest
from test_foreign import closed_port
from test_worker import PART, TAKEN, bench, make_source
from wire import Caller, Serve, answering, listening, reply

from chunkup.errors import (
    BadOption,
    Rejected,
    ServerTrouble,
    SourceChanged,
    Stopped,
    Throttled,
    Unauthorized,
    Unreachable,
)
from chunkup.models import MIB, Source
from chunkup.worker import Refusal, Sent


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkup.retry.backoff", lambda attempt, chance: 0.0)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return make_source(tmp_path / "a.bin", random.Random(4).randbytes(PART))


# --- lost answers ---------------------------------------------------------------------------


def then_taken(first: Serve) -> Serve:
    """The first connection is served so, all later ones well."""
    served = False

    async def serve(caller: Caller) -> None:
        nonlocal served
        if not served:
            served = True
            await first(caller)
        else:
            await answering(TAKEN)(caller)

    return serve


async def stored_and_reset(caller: Caller) -> None:
    await caller.request()
    caller.reset()


async def cut_and_reset(caller: Caller) -> None:
    await caller.head()
    caller.reset()


def first_saying(*replies: bytes) -> Serve:
    return answering(*replies, TAKEN)


def refusal(status: int, headers: dict[str, str] | None = None) -> bytes:
    return reply({"error": {"message": "no"}}, status, headers)


@pytest.mark.parametrize(
    ("serve", "lost"),
    [
        (answering(TAKEN), False),
        (then_taken(stored_and_reset), True),
        (then_taken(cut_and_reset), True),
        (first_saying(refusal(500)), True),
        (first_saying(refusal(408)), True),
        (first_saying(refusal(409)), True),
        (first_saying(refusal(429)), False),
        (first_saying(reply(b"not JSON")), True),
        (first_saying(refusal(500), refusal(429)), True),
        (first_saying(refusal(400, {"x-should-retry": "true"})), False),
    ],
    ids=[
        "taken",
        "stored, reset",
        "cut, reset",
        "500",
        "408",
        "409",
        "429",
        "nonsense",
        "500 then 429",
        "400 to be repeated",
    ],
)
async def test_a_part_that_was_taken_tells_whether_it_may_be_stored_twice(
    source: Source, serve: Serve, *, lost: bool
) -> None:
    async with listening(serve) as wire, bench(wire.url, source) as hands:
        result = await hands.send()
    assert isinstance(result, Sent)
    assert result.lost is lost


@pytest.mark.parametrize(
    ("serve", "error", "lost"),
    [
        (answering(refusal(401)), Unauthorized, False),
        (answering(refusal(413)), Rejected, False),
        (answering(refusal(429)), Throttled, False),
        (answering(refusal(429, {"Retry-After": "99999"})), Stopped, False),
        (answering(refusal(503, {"Retry-After": "99999"})), Stopped, True),
        (answering(refusal(500)), ServerTrouble, True),
        (answering(refusal(500), refusal(413)), Rejected, True),
        (stored_and_reset, Unreachable, True),
        (cut_and_reset, Unreachable, True),
    ],
    ids=[
        "401",
        "413",
        "429",
        "429 for hours",
        "503 for hours",
        "500",
        "500 then 413",
        "stored, reset",
        "cut, reset",
    ],
)
async def test_a_part_that_is_hopeless_tells_whether_it_may_be_stored_all_the_same(
    source: Source, serve: Serve, error: type[Exception], *, lost: bool
) -> None:
    async with listening(serve) as wire, bench(wire.url, source) as hands:
        result = await hands.send()
    assert isinstance(result, Refusal)
    assert isinstance(result.error, error)
    assert result.lost is lost


async def test_where_no_connection_was_made_nothing_can_be_lost(source: Source) -> None:
    with closed_port() as url:
        async with bench(url, source) as hands:
            result = await hands.send()
    assert isinstance(result, Refusal)
    assert isinstance(result.error, Unreachable)
    assert not result.lost


async def test_an_early_success_to_a_cut_part_may_have_stored_it(tmp_path: Path) -> None:
    source = make_source(tmp_path / "big.bin", bytes(16 * MIB))

    async def serve(caller: Caller) -> None:
        await caller.head()
        await caller.say(TAKEN)
        await caller.for_ever()

    async with listening(serve) as wire, bench(wire.url, source, retries=1) as hands:
        result = await hands.send()
        assert wire.connections == 2
    assert isinstance(result, Refusal)
    assert isinstance(result.error, ServerTrouble)
    assert result.lost


async def test_a_source_that_changed_is_a_refusal_and_is_not_sent_again(source: Source) -> None:
    Path(source.path).write_bytes(b"other")
    async with listening(answering(TAKEN)) as wire, bench(wire.url, source) as hands:
        result = await hands.send()
        assert not wire.asked
    assert isinstance(result, Refusal)
    assert isinstance(result.error, SourceChanged)
    assert not result.lost


async def test_a_key_that_cannot_be_sent_is_a_refusal(source: Source) -> None:
    async with (
        listening(answering(TAKEN)) as wire,
        bench(wire.url, source, key=lambda: "ba\nd") as hands,
    ):
        result = await hands.send()
        assert wire.connections == 0
    assert isinstance(result, Refusal)
    assert isinstance(result.error, BadOption)
    assert not result.lost
