"""How an Upload ends when nobody knows whether it did: looking, asking once more, giving up."""

import asyncio
from dataclasses import replace

import pytest
from aiohttp import web
from house import Handler, House, drop
from hypothesis import given, settings
from hypothesis import strategies as st
from stage import CONTENT, Turn, file_like, listed, lost, refusing, staged, unheard
from test_foreign import closed_port
from wire import opened

from chunkup.errors import (
    ChunkupError,
    OutcomeUnknown,
    OutOfQuota,
    ProxyRefused,
    Rejected,
    Stopped,
    Throttled,
    Unauthorized,
    Unreachable,
    Untrusted,
    WantsCertificate,
)
from chunkup.finalizer import Completion, Done, Hopeless, Over, surely_not_done
from chunkup.search import minutes


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkup.retry.backoff", lambda attempt, chance: 0.0)


def nonsense(status: int = 200) -> Turn:
    """The server does it, and its answer says nothing."""

    async def turn(request: web.Request, handler: Handler) -> web.StreamResponse:
        await handler(request)
        return web.Response(text="<html>", status=status)

    return turn


# --- the File is there ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "turn",
    [lost, nonsense(), nonsense(500), nonsense(504)],
    ids=["reset", "nonsense", "500", "504"],
)
async def test_a_file_whose_answer_was_lost_is_found_and_not_asked_for_again(
    house: House, turn: Turn
) -> None:
    async with staged(house) as stage:
        stage.on("complete", turn)
        outcome = await stage.finalizer().ask(Completion(stage.asked))
    assert isinstance(outcome, Done)
    assert outcome.recovered
    assert house.content(outcome.file.id) == CONTENT
    assert house.calls == ["complete", "list"]


async def test_a_success_that_names_no_file_is_looked_for(house: House) -> None:
    async def nameless(request: web.Request, handler: Handler) -> web.StreamResponse:
        await handler(request)
        return web.json_response({"id": stage.upload.id, "status": "completed"})

    async with staged(house) as stage:
        stage.on("complete", nameless)
        outcome = await stage.finalizer().ask(Completion(stage.asked))
    assert isinstance(outcome, Done)
    assert outcome.recovered


async def test_settling_an_ask_of_an_earlier_run_looks_before_it_asks(house: House) -> None:
    async with staged(house) as stage:
        await stage.api.complete(stage.upload.id, stage.asked.part_ids, None)
        house.calls.clear()
        outcome = await stage.finalizer().settle(Completion(stage.asked))
    assert isinstance(outcome, Done)
    assert outcome.recovered
    assert house.calls == ["list"]


async def test_a_file_that_is_listed_late_is_waited_for(house: House) -> None:
    async with staged(house) as stage:
        stage.on("complete", lost)
        stage.on("list", listed(), listed(), None)
        outcome = await stage.finalizer(looks=(0.0, 0.01, 0.02)).ask(Completion(stage.asked))
    assert isinstance(outcome, Done)
    assert house.calls == ["complete", "list", "list", "list"]


# --- the File is not there ------------------------------------------------------------------


async def test_an_ask_that_never_arrived_is_repeated_after_a_look(house: House) -> None:
    async with staged(house) as stage:
        stage.on("complete", unheard, None)
        outcome = await stage.finalizer().ask(Completion(stage.asked))
        assert len(stage.file_ids()) == 1
    assert isinstance(outcome, Done)
    assert not outcome.recovered
    assert house.calls == ["complete", "list", "complete"]


async def test_a_second_ask_is_looked_after_as_well(house: House) -> None:
    async with staged(house) as stage:
        stage.on("complete", unheard, lost)
        outcome = await stage.finalizer().ask(Completion(stage.asked))
        assert len(stage.file_ids()) == 1
    assert isinstance(outcome, Done)
    assert outcome.recovered
    assert house.calls == ["complete", "list", "complete", "list"]


async def test_after_two_lost_asks_and_no_file_a_person_has_to_look(house: House) -> None:
    async with staged(house) as stage:
        stage.on("complete", unheard)
        with pytest.raises(OutcomeUnknown) as caught:
            await stage.finalizer(patience=0.05).ask(Completion(stage.asked))
    assert caught.value.candidates == ()
    assert house.calls.count("complete") == 2
    assert house.calls[-1] == "list"


async def test_an_ended_upload_without_a_file_to_see_is_unknown(house: House) -> None:
    async with staged(house) as stage:
        stage.on("complete", lost)
        stage.on("list", listed())
        with pytest.raises(OutcomeUnknown) as caught:
            await stage.finalizer().ask(Completion(stage.asked))
    assert caught.value.job_id == stage.job.id
    assert caught.value.exit_code == 4
    assert house.calls == ["complete", "list", "complete", "list"]


@pytest.mark.parametrize(
    ("turn", "error"),
    [
        (refusing(401), Unauthorized),
        (refusing(429), Throttled),
        (
            refusing(429, "You exceeded your current quota", code="insufficient_quota"),
            OutOfQuota,
        ),
    ],
    ids=["401", "429", "quota"],
)
async def test_a_second_ask_that_did_nothing_leaves_the_first_in_doubt(
    house: House, turn: Turn, error: type[ChunkupError]
) -> None:
    async with staged(house) as stage:
        stage.on("complete", unheard, turn)
        with pytest.raises(error):
            await stage.finalizer(answer_lost=True).ask(Completion(stage.asked))


async def test_an_expired_upload_is_over_only_if_no_file_is_seen(house: House) -> None:
    async with staged(house) as stage:
        stage.on("complete", unheard, refusing(400, "Upload is expired."))
        assert await stage.finalizer().ask(Completion(stage.asked)) == Over("expired")
        stage.on("complete", unheard, refusing(400, "Upload is expired."))
        stage.on("list", listed(), listed(file_like(stage)))
        outcome = await stage.finalizer().ask(Completion(stage.asked))
    assert isinstance(outcome, Done)
    assert outcome.file.id == "file-a"


async def test_while_the_list_cannot_be_read_nothing_is_concluded(house: House) -> None:
    async with staged(house) as stage:
        stage.on("complete", lost)
        stage.on("list", drop_it)
        with pytest.raises(Unreachable):
            await stage.finalizer().ask(Completion(stage.asked))
        assert house.calls.count("complete") == 1
        house.calls.clear()
        stage.on("list", refusing(403))
        with pytest.raises(Rejected):
            await stage.finalizer().settle(Completion(stage.asked))
        assert house.calls == ["list"]


async def drop_it(request: web.Request, handler: Handler) -> web.StreamResponse:
    return drop(request)


# --- how long, and of when ------------------------------------------------------------------


async def test_a_file_of_an_ask_of_long_ago_is_not_waited_for(house: House) -> None:
    """It would be listed by now; the two minutes are for what was asked just now."""
    async with staged(house) as stage:
        stage.on("complete", refusing(404, "No such Upload object: upload_1"))
        asked = replace(stage.asked, asked_at=stage.asked.asked_at - 3600)
        async with asyncio.timeout(20):
            assert await stage.finalizer(patience=600.0).settle(Completion(asked)) == Over("gone")
    assert house.calls == ["list", "complete", "list"]


async def test_a_file_that_a_second_ask_made_hours_later_is_found(house: House) -> None:
    async with staged(house) as stage:
        late = int(stage.asked.asked_at) + 7200
        house.clock.offset = 7200
        stage.on("complete", unheard)
        stage.on("list", listed(), listed(file_like(stage, created_at=late)))
        await stage.api.list_files("batch", None)  # an answer that tells the time
        stage.on("list", listed(), listed(file_like(stage, created_at=late)))
        outcome = await stage.finalizer().settle(Completion(stage.asked))
    assert isinstance(outcome, Done)


async def test_a_file_that_was_listed_once_is_not_forgotten_by_the_next_look(house: House) -> None:
    """Lists that come from several machines may not agree at once."""
    async with staged(house) as stage:
        stage.on("complete", lost)
        shown = listed(file_like(stage, created_at=stage.upload.created_at + 1))
        stage.on("list", shown, listed())
        outcome = await stage.finalizer(looks=(0.0, 0.01, 0.02)).ask(Completion(stage.asked))
    assert isinstance(outcome, Done)
    assert house.calls == ["complete", "list", "list"]


@pytest.mark.parametrize("status", [401, 403, 405, 501])
async def test_a_file_whose_size_nobody_may_ask_is_known_by_all_else(
    house: House, status: int
) -> None:
    async with staged(house) as stage:
        stage.on("complete", lost)
        stage.on("list", listed(file_like(stage, bytes=None)))
        stage.on("retrieve", refusing(status))
        outcome = await stage.finalizer().ask(Completion(stage.asked))
    assert isinstance(outcome, Done)
    assert outcome.file.bytes is None


@pytest.mark.parametrize("status", [402, 405, 501])
async def test_a_second_ask_that_says_nothing_about_the_upload_leaves_all_as_it_was(
    house: House, status: int
) -> None:
    async with staged(house) as stage:
        stage.on("complete", unheard, refusing(status))
        with pytest.raises(Rejected) as caught:
            await stage.finalizer(patience=600.0).ask(Completion(stage.asked))
        assert caught.value.answer is not None
        assert caught.value.answer.status == status
        # Nothing but its own repair stands between it and the File.
        stage.on("complete", None)
        assert isinstance(await stage.finalizer().settle(Completion(stage.asked)), Done)


async def test_a_second_ask_that_finds_the_checksum_wrong_says_that_nothing_was_made(
    house: House,
) -> None:
    async with staged(house) as stage:
        stage.on("complete", unheard, refusing(400, "MD5 checksum mismatch"))
        outcome = await stage.finalizer().ask(Completion(stage.asked))
    assert isinstance(outcome, Hopeless)


async def test_a_wait_that_is_too_long_ends_the_doubt_for_now(house: House) -> None:
    async with staged(house) as stage:
        stage.on("complete", unheard, refusing(503, headers={"Retry-After": "99999"}))
        with pytest.raises(Stopped) as caught:
            await stage.finalizer().ask(Completion(stage.asked))
    assert type(caught.value) is Stopped
    assert house.calls == ["complete", "list", "complete"]


# --- what is sure ---------------------------------------------------------------------------


async def test_only_a_connection_that_was_never_made_is_surely_no_ask(house: House) -> None:
    assert surely_not_done(Unreachable("refused", sent=False))
    assert surely_not_done(Untrusted("the server's certificate is not trusted"))
    assert surely_not_done(WantsCertificate("the server wants one of ours"))
    assert surely_not_done(ProxyRefused("nothing went through"))
    assert not surely_not_done(Unreachable("reset", sent=True))
    with closed_port() as url:
        async with staged(house) as stage, opened(url) as nowhere:
            stage.on("complete", unheard)
            with pytest.raises(Unreachable):
                await stage.finalizer(api=nowhere).settle(Completion(stage.asked))


@given(st.floats(0, 1000))
@settings(max_examples=50)
def test_looks_grow_apart_and_end_with_the_patience(patience: float) -> None:
    moments = list(minutes(patience))
    assert moments == sorted(set(moments))
    assert moments[-1] == patience
    assert len(moments) < 80
