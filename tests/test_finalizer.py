"""How an Upload ends when the server says so: in a File, a refusal, a cancellation."""

import pytest
from house import House
from stage import CONTENT, Turn, changing, refusing, saying, staged, unheard
from test_foreign import closed_port
from wire import opened

from chunkup.errors import (
    BadAnswer,
    ChunkupError,
    Forbidden,
    OutcomeUnknown,
    OutOfQuota,
    Rejected,
    ServerTrouble,
    Throttled,
    Unauthorized,
    Unreachable,
)
from chunkup.finalizer import Completion, Done, Hopeless, NotDone, Over


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkup.retry.backoff", lambda attempt, chance: 0.0)


# --- done -----------------------------------------------------------------------------------


async def test_an_answered_file_is_done_and_nothing_else_is_asked(house: House) -> None:
    async with staged(house) as stage:
        outcome = await stage.finalizer().ask(Completion(stage.asked))
    assert isinstance(outcome, Done)
    assert not outcome.recovered
    assert outcome.file.bytes == len(CONTENT)
    assert house.content(outcome.file.id) == CONTENT
    assert house.calls == ["complete"]


async def test_a_file_whose_size_is_not_known_yet_is_asked_for_it(house: House) -> None:
    async with staged(house) as stage:
        stage.on("complete", changing(bytes=None))
        outcome = await stage.finalizer().ask(Completion(stage.asked))
    assert isinstance(outcome, Done)
    assert outcome.file.bytes == len(CONTENT)
    assert house.calls == ["complete", "retrieve"]


async def test_a_file_whose_size_stays_unknown_is_done_all_the_same(house: House) -> None:
    async with staged(house) as stage:
        stage.on("complete", changing(bytes=None))
        stage.on("retrieve", refusing(404, "No such File object"))
        outcome = await stage.finalizer().ask(Completion(stage.asked))
    assert isinstance(outcome, Done)
    assert outcome.file.bytes is None


@pytest.mark.parametrize("field", ["filename", "purpose"])
async def test_a_file_that_leaves_a_name_away_is_done(house: House, field: str) -> None:
    async with staged(house) as stage:
        stage.on("complete", changing(**{field: None}))
        assert isinstance(await stage.finalizer().ask(Completion(stage.asked)), Done)


@pytest.mark.parametrize(
    "fields",
    [
        {"bytes": len(CONTENT) - 1},
        {"bytes": len(CONTENT) * 2},
        {"bytes": 0},
        {"filename": "other.jsonl"},
        {"purpose": "user_data"},
    ],
)
async def test_a_file_that_is_not_what_was_sent_is_no_success(
    house: House, fields: dict[str, object]
) -> None:
    async with staged(house) as stage:
        stage.on("complete", changing(**fields))
        with pytest.raises(BadAnswer) as caught:
            await stage.finalizer().ask(Completion(stage.asked))
        (made,) = stage.file_ids()
    assert made in str(caught.value)
    assert "use" in f"{caught.value} {caught.value.hint}"
    assert house.calls == ["complete"]


async def test_a_wrong_size_that_is_told_only_when_asked_is_no_success_either(house: House) -> None:
    async with staged(house) as stage:
        stage.on("complete", changing(bytes=None))
        wrong = {"id": "file-x", "bytes": 1, "filename": "train.jsonl", "purpose": "batch"}
        stage.on("retrieve", saying(wrong))
        with pytest.raises(BadAnswer):
            await stage.finalizer().ask(Completion(stage.asked))


# --- surely not done ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turn", "error", "asked"),
    [
        (refusing(401), Unauthorized, 1),
        (refusing(401, "Your API key has expired"), Unauthorized, 1),
        (refusing(403), Forbidden, 1),
        (refusing(403, "the size of your project's quota was exceeded"), Forbidden, 1),
        (refusing(429), Throttled, 3),
        (refusing(429, headers={"x-should-retry": "false"}), Throttled, 1),
        (
            refusing(429, "You exceeded your current quota", code="insufficient_quota"),
            OutOfQuota,
            1,
        ),
    ],
    ids=["401", "401 expired", "403", "403 size", "429", "429 final", "quota"],
)
@pytest.mark.parametrize("answer_lost", [True, False])
async def test_a_refusal_of_the_account_leaves_the_upload_as_it_was(
    house: House, turn: Turn, error: type[ChunkupError], asked: int, *, answer_lost: bool
) -> None:
    async with staged(house) as stage:
        stage.on("complete", turn)
        outcome = await stage.finalizer(answer_lost=answer_lost).ask(Completion(stage.asked))
        assert isinstance(outcome, NotDone)
        assert isinstance(outcome.error, error)
        assert house.calls == ["complete"] * asked
        stage.on("complete", None)
        assert isinstance(await stage.finalizer().ask(Completion(stage.asked)), Done)


async def test_a_wish_for_more_patience_than_there_is_leaves_the_upload_as_it_was(
    house: House,
) -> None:
    async with staged(house) as stage:
        stage.on("complete", refusing(429, headers={"Retry-After": "99999"}))
        outcome = await stage.finalizer().ask(Completion(stage.asked))
    assert isinstance(outcome, NotDone)
    assert outcome.error.exit_code == 75
    assert house.calls == ["complete"]


async def test_a_refused_connection_leaves_the_upload_as_it_was(house: House) -> None:
    with closed_port() as url:
        async with staged(house) as stage, opened(url) as nowhere:
            outcome = await stage.finalizer(api=nowhere).ask(Completion(stage.asked))
    assert isinstance(outcome, NotDone)
    assert isinstance(outcome.error, Unreachable)


# --- refused for good -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        "The provided md5 does not match the uploaded content.",
        "Checksum mismatch",
    ],
)
async def test_a_complaint_about_the_checksum_is_hopeless(house: House, message: str) -> None:
    async with staged(house) as stage:
        stage.on("complete", refusing(400, message))
        outcome = await stage.finalizer(answer_lost=True).ask(Completion(stage.asked))
    assert isinstance(outcome, Hopeless)
    assert message in str(outcome.error)


async def test_the_servers_own_complaint_about_the_md5_is_understood(house: House) -> None:
    async with staged(house) as stage:
        wrong = stage.asked.__class__(stage.upload.id, stage.asked.part_ids, "0" * 32, 0.0)
        outcome = await stage.finalizer(answer_lost=True).ask(Completion(wrong))
    assert isinstance(outcome, Hopeless)
    assert house.calls == ["complete", "list"]


SIZES = [
    (400, "The parts add up to 5 bytes, which does not match the 33 bytes declared"),
    (400, "file size mismatch"),
    (413, "too much"),
]


@pytest.mark.parametrize(("status", "message"), SIZES)
async def test_a_complaint_about_size_is_hopeless_if_no_answer_was_lost(
    house: House, status: int, message: str
) -> None:
    async with staged(house) as stage:
        stage.on("complete", refusing(status, message))
        outcome = await stage.finalizer(answer_lost=False).ask(Completion(stage.asked))
    assert isinstance(outcome, Hopeless)
    assert isinstance(outcome.error, Rejected)


@pytest.mark.parametrize(("status", "message"), SIZES)
async def test_a_complaint_about_size_after_a_lost_answer_ends_only_this_upload(
    house: House, status: int, message: str
) -> None:
    async with staged(house) as stage:
        stage.on("complete", refusing(status, message))
        outcome = await stage.finalizer(answer_lost=True).ask(Completion(stage.asked))
    assert outcome == Over("miscounted")
    assert house.calls == ["complete", "list"]


@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        (400, "Upload 'upload_1' is expired.", "expired"),
        (404, "No such Upload object: upload_1", "gone"),
        (410, "it went", "gone"),
        (400, "Upload 'upload_1' is not pending: it is cancelled.", "cancelled"),
    ],
)
async def test_an_upload_that_is_no_more_is_over_if_no_file_is_seen(
    house: House, status: int, message: str, reason: str
) -> None:
    async with staged(house) as stage:
        stage.on("complete", refusing(status, message))
        assert await stage.finalizer().ask(Completion(stage.asked)) == Over(reason)
    assert house.calls == ["complete", "list"]


async def test_an_upload_that_expired_at_the_server_is_over(house: House) -> None:
    async with staged(house) as stage:
        house.clock.offset = 7200
        assert await stage.finalizer().ask(Completion(stage.asked)) == Over("expired")


@pytest.mark.parametrize("status", [300, 302, 307, 407])
async def test_an_answer_from_something_in_between_ends_nothing_for_good(
    house: House, status: int
) -> None:
    """A portal or a proxy answered, and not the API: its word is no verdict on the content."""
    async with staged(house) as stage:
        stage.on("complete", refusing(status))
        try:
            outcome = await stage.finalizer().ask(Completion(stage.asked))
        except OutcomeUnknown:
            return
    assert not isinstance(outcome, Hopeless | Over)


# --- cancelling -----------------------------------------------------------------------------


async def test_an_open_upload_is_cancelled(house: House) -> None:
    async with staged(house) as stage:
        assert await stage.finalizer().cancel()
    assert house.store.uploads()[0].status == "cancelled"


async def test_cancelling_again_or_what_is_gone_is_success(house: House) -> None:
    async with staged(house) as stage:
        for _ in range(2):
            assert await stage.finalizer().cancel()
        stage.on("cancel", refusing(404, "No such Upload object"))
        assert await stage.finalizer().cancel()
        stage.on("cancel", refusing(400, "Upload is expired."))
        assert await stage.finalizer().cancel()
        for status in (405, 501):  # it cannot cancel, so every Upload dies by itself
            stage.on("cancel", refusing(status))
            assert await stage.finalizer().cancel()


async def test_cancelling_what_was_completed_says_so(house: House) -> None:
    async with staged(house) as stage:
        await stage.finalizer().ask(Completion(stage.asked))
        assert not await stage.finalizer().cancel()
        assert len(stage.file_ids()) == 1


async def test_cancelling_is_tried_again_after_trouble(house: House) -> None:
    async with staged(house) as stage:
        stage.on("cancel", refusing(500), unheard, None)
        assert await stage.finalizer().cancel()
        assert house.calls == ["cancel"] * 3
        stage.on("cancel", refusing(500))
        with pytest.raises(ServerTrouble):
            await stage.finalizer().cancel()


@pytest.mark.parametrize(
    ("turn", "error"),
    [
        (refusing(401), Unauthorized),
        (refusing(401, "Your API key has expired"), Unauthorized),
        (refusing(403, "You may not exceed the size of your role"), Forbidden),
        (
            refusing(429, "You exceeded your current quota", code="insufficient_quota"),
            OutOfQuota,
        ),
        (refusing(400, "what is this?"), Rejected),
        (refusing(413, "the size of the request exceeds the limit"), Rejected),
        (refusing(400, "MD5 checksum mismatch"), Rejected),
    ],
    ids=["401", "401 expired", "403 size", "quota", "400", "413", "checksum"],
)
async def test_a_refused_cancellation_is_not_taken_for_one(
    house: House, turn: Turn, error: type[ChunkupError]
) -> None:
    async with staged(house) as stage:
        stage.on("cancel", turn)
        with pytest.raises(error):
            await stage.finalizer().cancel()
