"""One table: each call, each fault that it can meet for ever, and what comes of it.

Every cell is played against a real socket, and the number of requests is counted: finite where
a repetition can help, and one where it cannot.
"""

import socket
from pathlib import Path

import pytest
from house import KEY, House, make_source
from test_api import CALLS, Call
from tls import listening_tls, make_certificate
from verdicts import FAULTS, REFUSED, Scene, Verdict, settled
from wire import Caller, answering, listening, opened, reply

from chunkup import AsyncUploader, Options, events
from chunkup.errors import (
    ChunkupError,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    OutOfQuota,
    ProxyRefused,
    Rejected,
    ServerTrouble,
    Stopped,
    Throttled,
    Unauthorized,
    Unreachable,
    Untrusted,
)
from chunkup.machine import Phase

NEW, SENDING, ASKED = Phase.NEW, Phase.SENDING, Phase.ASKED
COMPLETED, FAILED, CANCELLED = Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED
# Attempts: the first and two more.
MOST = 3

REDIRECTS = ["300", "301", "302", "303", "307", "308"]
TROUBLE = [
    *("408", "409", "425", "500", "502", "503", "504"),
    *map(str, range(520, 530)),
    *("507", "598"),
]
FINAL = ["400", "413", "415", "422"]
GONE = ["404", "410"]
# About the way or the wish, and not about the content.
OTHERS = ["402", "405", "406", "411", "412", "414", "416", "417", "418", "421", "423", "424"]
OTHERS += ["426", "428", "431", "451", "499", "501", "505"]
BROKEN = [
    *("reset before the body", "reset within the body", "reset after the body"),
    "half an answer",
]
GARBAGE = ["a page for JSON", "an empty 200", "an error in a 200", "a list for an object"]
EARLY = ["an early 200", "an early 400", "an early 401", "an early 503"]


def rows(
    faults: list[str], asked: int, error: type[ChunkupError] | None, phase: Phase, after: str
) -> dict[str, Verdict]:
    return dict.fromkeys(faults, Verdict(asked, error, phase, after))


def told(phase: Phase) -> dict[str, Verdict]:
    """What is the same wherever it happens: it is about the account, the rate or the way."""
    return {
        **rows(["401"], 1, Unauthorized, phase, "goes on"),
        **rows(["403"], 1, Forbidden, phase, "goes on"),
        **rows(["no quota"], 1, OutOfQuota, phase, "goes on"),
        **rows(["407"], 1, ProxyRefused, phase, "goes on"),
        **rows(REDIRECTS, 1, Rejected, phase, "goes on"),
        **rows(["429"], MOST, Throttled, phase, "goes on"),
        **rows(["a rate, not again"], 1, Throttled, phase, "goes on"),
        **rows(["a wait for ever", "trouble for ever"], 1, Stopped, phase, "goes on"),
        **rows([REFUSED], MOST, Unreachable, phase, "goes on"),
    }


def passing(phase: Phase) -> dict[str, Verdict]:
    """What may pass, for a call that may be made again."""
    return {
        **rows([*TROUBLE, *GARBAGE], MOST, ServerTrouble, phase, "goes on"),
        **rows(BROKEN, MOST, Unreachable, phase, "goes on"),
        **rows(["trouble, not again"], 1, ServerTrouble, phase, "goes on"),
        **rows(["no again, please"], MOST, Rejected, phase, "goes on"),
    }


TABLE: dict[str, dict[str, Verdict]] = {
    "create": told(NEW)
    | passing(NEW)
    | rows(["404"], 1, NotFound, NEW, "goes on")
    | rows(["410", *OTHERS], 1, Rejected, NEW, "goes on")
    | rows(FINAL, 1, Rejected, FAILED, "over"),
    "part": told(SENDING)
    | passing(SENDING)
    # Each of them ends an Upload, said aloud, and three of those a command.
    | rows(GONE, 3, Rejected, NEW, "goes on")
    | rows([*OTHERS, *FINAL], 1, Rejected, SENDING, "goes on")
    | rows(["an early 401"], 1, Unauthorized, SENDING, "goes on")
    | rows(["an early 400"], 1, Rejected, SENDING, "goes on")
    | rows(["an early 200", "an early 503"], MOST, ServerTrouble, SENDING, "goes on"),
    # What may have been carried out is asked for twice, with a look after each.
    "complete": told(SENDING)
    | rows([*TROUBLE, *GARBAGE, *BROKEN], 2, OutcomeUnknown, ASKED, "doubt")
    | rows(["trouble, not again"], 2, OutcomeUnknown, ASKED, "doubt")
    | rows(["trouble for ever"], 1, Stopped, ASKED, "goes on")
    | rows(["no again, please"], MOST, Rejected, FAILED, "over")
    | rows(GONE, 3, Rejected, NEW, "goes on")
    | rows(OTHERS, 1, Rejected, SENDING, "goes on")
    | rows(FINAL, 1, Rejected, FAILED, "over"),
    # The end of its body is its complete. What was cut before that surely did nothing.
    "post": told(NEW)
    | rows([*TROUBLE, *GARBAGE], 2, OutcomeUnknown, ASKED, "doubt")
    | rows(["reset after the body", "half an answer"], 2, OutcomeUnknown, ASKED, "doubt")
    | rows(["trouble, not again"], 2, OutcomeUnknown, ASKED, "doubt")
    | rows(["reset before the body", "reset within the body"], MOST, Unreachable, NEW, "goes on")
    | rows(["an early 200", "an early 503"], MOST, ServerTrouble, NEW, "goes on")
    | rows(["an early 401"], 1, Unauthorized, NEW, "goes on")
    | rows(["trouble for ever"], 1, Stopped, ASKED, "goes on")
    | rows(["no again, please"], MOST, Rejected, FAILED, "over")
    | rows(["404"], 1, NotFound, NEW, "goes on")
    | rows(["410", *OTHERS], 1, Rejected, NEW, "goes on")
    | rows([*FINAL, "an early 400"], 1, Rejected, FAILED, "over"),
    "cancel": told(SENDING)
    | passing(SENDING)
    | rows([*FINAL, *OTHERS], 1, Rejected, SENDING, "goes on")
    # There is nothing to cancel, or nothing that cancels: it dies by itself.
    | rows([*GONE, "405", "501"], 1, None, CANCELLED, "over"),
    "list": told(ASKED)
    | passing(ASKED)
    | rows(["404"], 1, NotFound, ASKED, "goes on")
    | rows(["410", *FINAL, *OTHERS], 1, Rejected, ASKED, "goes on"),
    # The File was named already. Who will not tell its size is not asked again.
    "retrieve": told(ASKED)
    | passing(ASKED)
    | rows(
        ["401", "403", "404", "407", "410", "no quota", *REDIRECTS, *FINAL, *OTHERS],
        1,
        None,
        COMPLETED,
        "goes on",
    )
    | rows(["no again, please"], MOST, None, COMPLETED, "goes on"),
}
CELLS = [(call, fault) for call, row in TABLE.items() for fault in row]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkup.retry.backoff", lambda attempt, chance: 0.0)


@pytest.mark.parametrize(("call", "fault"), CELLS, ids=lambda word: word)
async def test_each_call_meets_each_fault(
    house: House, tmp_path: Path, call: str, fault: str
) -> None:
    verdict = TABLE[call][fault]
    scene = Scene(house, tmp_path, call, fault)
    error, phase = await scene.play()
    assert (type(error) if error else None, phase) == (verdict.error, verdict.phase), error
    assert scene.asked[call] == verdict.asked
    if fault != REFUSED:
        arrived = house.calls.count(call)
        await settled(house)
        assert arrived == verdict.asked, "somebody asked unseen"
    assert await scene.repaired() == verdict.after
    assert len(house.files) == (verdict.after == "goes on")


# --- before there is a connection -----------------------------------------------------------


async def ended(url: str, journal: Path, source: Path) -> tuple[ChunkupError, Phase, int]:
    """What an upload to an address that nobody answers at ends with, and how often it tried."""
    make_source(source, 100)
    seen: list[events.Event] = []
    options = Options(retries=2, offline_wait=0.0)
    async with AsyncUploader(
        base_url=url, api_key=KEY, journal=journal, options=options
    ) as uploader:
        with pytest.raises(ChunkupError) as caught:
            await uploader.upload(source, purpose="user_data", on_event=seen.append)
        (line,) = await (await uploader.journal()).lines()
    return caught.value, line.phase, 1 + sum(isinstance(e, events.Paused) for e in seen)


async def test_a_name_that_nobody_knows_is_waited_for_as_long_as_was_said(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # The system's own door: behind it, the question would leave this machine.
    monkeypatch.setattr("socket.getaddrinfo", unknown)
    error, phase, asked = await ended("https://nobody.test/v1", journal, tmp_path / "a.bin")
    assert isinstance(error, Unreachable)
    assert (error.offline, error.sent, error.exit_code) == (True, False, 75)
    assert phase is NEW
    assert asked <= 2, "no time was to be waited for it"


async def test_a_certificate_that_nobody_vouches_for_is_met_once(
    journal: Path, tmp_path: Path
) -> None:
    heard: list[bytes] = []

    async def serve(caller: Caller) -> None:
        heard.append(await caller.reader.read(1))

    async with listening_tls(serve, make_certificate(tmp_path)) as url:
        error, phase, asked = await ended(url, journal, tmp_path / "a.bin")
    assert isinstance(error, Untrusted)
    assert (error.exit_code, phase, asked) == (1, NEW, 1)
    assert not any(heard)


# --- what is said ---------------------------------------------------------------------------

SHAPES: dict[str, object] = {
    "official": {"error": {"message": "the words", "type": "x", "param": None, "code": None}},
    "flat": {"message": "the words", "code": 17},
    "detail": {"detail": "the words"},
    "details": {"detail": [{"loc": ["body", "purpose"], "msg": "the words"}]},
    "text error": {"error": "the words"},
    "page": b"<html><head><title>the words</title><style>p{size: 9}</style></head></html>",
    "text": b"the words",
    "list": ["the words"],
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_whatever_shape_a_refusal_has_its_words_are_said_and_the_status_decides(
    call: Call, shape: object
) -> None:
    kinds: dict[int, type[ChunkupError]] = {
        400: Rejected,
        401: Unauthorized,
        404: NotFound,
        429: Throttled,
        503: ServerTrouble,
    }
    replies = [reply(shape, status) for status in kinds]
    async with listening(answering(*replies)) as wire, opened(wire.url) as api:
        for status, kind in kinds.items():
            with pytest.raises(kind) as caught:
                await call(api)
            assert type(caught.value) is kind
            assert f"{status} " in caught.value.message
            assert "the words" in caught.value.message


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_server_without_uploads_is_said_to_be_one(
    house: House, tmp_path: Path, status: int
) -> None:
    scene = Scene(house, tmp_path, "create", str(status))
    error, _ = await scene.play()
    assert error is not None
    assert "this server seems to have no Uploads; check the base URL" in error.message
    assert error.exit_code == 1


async def test_a_redirect_is_said_not_to_be_followed(house: House, tmp_path: Path) -> None:
    error, _ = await Scene(house, tmp_path, "create", "307").play()
    assert error is not None
    assert "no redirect is followed; check the base URL" in error.message


def test_the_table_has_every_fault_for_every_call() -> None:
    every = {*TABLE["create"], *TROUBLE, *OTHERS, *FINAL, *GONE, *BROKEN, *GARBAGE}
    for call, row in TABLE.items():
        assert set(row) == every | (set(EARLY) if call in {"part", "post"} else set()), call
    assert set(FAULTS) < {fault for row in TABLE.values() for fault in row}
