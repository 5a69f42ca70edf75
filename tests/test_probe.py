"""What the probe finds out, and that it leaves nothing behind, whatever happens to it."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from house import KEY, Handler, House, call_of, drop, open_house
from oddities import odd_server

from chunkup.endpoint import resolve
from chunkup.errors import ChunkupError, ServerTrouble, Unauthorized, Unreachable
from chunkup.probe import QUESTIONS, SKIPPED, UNCLEAR, Bench, Course
from chunkup.probe.sweeping import sweep
from chunkup.probe.words import Finding, Found, Question, Standing, documented, unknown
from chunkup.server.rows import NewFile, Orphans
from chunkup.transport import Transport

# One of each kind of request, so that a sweep over all of them stays short.
FEW = [
    question
    for question in QUESTIONS
    if question.name in {"orphan", "complete-twice", "cancel-completed", "single", "deleted"}
]


@asynccontextmanager
async def a_bench(
    url: str, *, key: str = KEY, purpose: str = "batch", pace: float = 0.0
) -> AsyncIterator[Bench]:
    transport = Transport(resolve(base_url=url, api_key=key, environ={}))
    transport.open()
    try:
        yield Bench(transport, purpose=purpose, pace=pace)
    finally:
        await transport.close()


async def asked(
    bench: Bench, *names: str, within: float = 60.0, large: bool = False
) -> dict[str, str]:
    """The words of what was found, by the questions' names; with what those need."""
    wanted = set(names) or {question.name for question in QUESTIONS}
    while more := {q.needs[0] for q in QUESTIONS if q.name in wanted and q.needs} - wanted:
        wanted |= more
    chosen = [question for question in QUESTIONS if question.name in wanted]
    course = Course(bench, chosen, within, lambda answered: None, large=large)
    await course.run()
    assert [one.question for one in course.answered] == chosen
    for one in course.answered:
        assert one.found.word in {*one.question.findings, UNCLEAR, SKIPPED}, one
    return {one.question.name: one.found.word for one in course.answered}


def pending(house: House) -> list[str]:
    return [upload.id for upload in house.store.uploads() if upload.status == "pending"]


def nothing_left(house: House, bench: Bench) -> None:
    assert house.files == []
    assert pending(house) == []
    assert not bench.left.files
    assert not bench.left.uploads
    assert bench.left.lost == 0


# --- the table --------------------------------------------------------------------------------


def test_every_question_has_a_name_of_its_own_and_can_need_only_an_earlier_one() -> None:
    names = [question.name for question in QUESTIONS]
    assert len(set(names)) == len(names)
    for at, question in enumerate(QUESTIONS):
        if question.needs is not None:
            name, words = question.needs
            assert name in names[:at], question.name
            assert words <= set(QUESTIONS[names.index(name)].findings)


def test_what_is_expected_can_be_found_and_what_is_unknown_is_not_expected() -> None:
    async def nobody(bench: Bench) -> Found:
        raise NotImplementedError

    finding = {"yes": Finding("It is.", "goes on")}
    with pytest.raises(ValueError, match="cannot find"):
        Question("a", "Is it?", nobody, finding, documented("a page", "no"))
    with pytest.raises(ValueError, match="expects nothing"):
        replace(unknown("nobody"), findings=("yes",))
    with pytest.raises(ValueError, match="expects nothing"):
        replace(documented("a page", "yes"), findings=())
    assert {question.official.standing for question in QUESTIONS} == set(Standing)


# --- the embedded server ----------------------------------------------------------------------


async def test_the_embedded_server_is_as_the_official_one_and_nothing_is_left(
    house: House,
) -> None:
    other = keep_one(house)
    course_told: list[str] = []
    async with a_bench(house.url, pace=1.0) as bench:
        course = Course(bench, QUESTIONS, 60.0, lambda one: course_told.append(one.question.name))
        await course.run()
        assert course_told == [question.name for question in QUESTIONS]
        found = {one.question.name: one.found.word for one in course.answered}
        differing = [one for one in course.answered if one.agrees is False]
        assert differing == []
        assert UNCLEAR not in found.values()
        assert [name for name, word in found.items() if word == SKIPPED] == ["part-64mib"]
        assert found["created-at"] == "same"
        assert found["orphan"] == "ignored"
        assert found["complete-twice"] == "refused"
        assert [file.id for file in house.files] == [other]
        assert pending(house) == []
        assert not bench.left.files
        assert not bench.left.uploads
        assert (bench.left.lost, bench.making) == (0, set())
        assert bench.left.made_files > 10


def keep_one(house: House) -> str:
    """A File of somebody else's, which might be taken for one of the probe's."""
    incoming = house.store.receive()
    incoming.write([memoryview(b"not yours")])
    new = NewFile(filename="chunkup-probe-0123456789ab.jsonl", purpose="batch", file_seconds=None)
    return house.store.add_file(new, incoming).id


@pytest.mark.parametrize(
    ("orphans", "word"), [("count", "refuses-part"), ("refuse", "refuses-complete")]
)
async def test_parts_that_count_though_nobody_lists_them(
    house: House, orphans: Orphans, word: str
) -> None:
    house.store._orphans = orphans
    async with a_bench(house.url) as bench:
        found = await asked(bench, "orphan", "order", "md5-wrong")
        assert found["orphan"] == word
        assert (found["order"], found["md5-wrong"]) == ("listed", "refused")
        nothing_left(house, bench)


async def test_without_uploads_all_that_needs_one_is_skipped(tmp_path: Path) -> None:
    async with odd_server("no-uploads") as odd, a_bench(odd.url) as bench:
        found = await asked(bench)
        assert found["uploads"] == "absent"
        about = {q.name for q in QUESTIONS if q.needs and q.needs[0] in {"uploads", "complete"}}
        assert {found[name] for name in about} == {SKIPPED}
        assert found["single"] == "there"
        assert found["list-more"] == "true"
        assert (odd.files, bench.left.files, bench.left.lost) == ({}, {}, 0)


async def test_a_part_of_64_mib_goes_only_where_it_is_wanted(house: House) -> None:
    async with a_bench(house.url) as bench:
        assert (await asked(bench, "part-64mib"))["part-64mib"] == SKIPPED
        assert all(arrival.bytes < 1000 for arrival in house.arrivals)
        assert (await asked(bench, "part-64mib", large=True))["part-64mib"] == "taken"
        assert [arrival.bytes for arrival in house.arrivals] == [64 << 20]
        nothing_left(house, bench)


async def test_content_that_cannot_be_read_is_said_and_other_purposes_have_other_lines(
    house: House,
) -> None:
    for purpose, suffix in (("user_data", ".txt"), ("fine-tune", ".jsonl")):
        async with a_bench(house.url, purpose=purpose) as bench:
            assert bench.name().endswith(suffix)
            assert bench.line() != bench.line()
            assert (await asked(bench, "order"))["order"] == "listed"
            nothing_left(house, bench)


# --- other servers ----------------------------------------------------------------------------

ODDITIES = [
    ("second-file", {"complete-twice": "second"}),
    ("same-file", {"complete-twice": "same"}),
    ("no-md5", {"md5-wrong": "ignored", "md5-upper": SKIPPED, "md5-base64": SKIPPED}),
    ("base64", {"md5-wrong": "refused", "md5-hex": "refused", "md5-base64": "taken"}),
    ("arrival", {"order": "arrival"}),
    ("unlisted-too", {"orphan": "counted"}),
    ("count", {"orphan": "refuses-part"}),
    ("refuse-orphans", {"orphan": "refuses-complete"}),
    ("subset", {"subset": "taken"}),
    ("final", {"complete-failed": "final"}),
    ("no-empty", {"part-empty": "refused"}),
    ("parts-after", {"part-cancelled": "taken"}),
    ("cancel-again", {"cancel-twice": "taken"}),
    ("cancel-takes-file cancel-again", {"cancel-completed": "gone"}),
    ("cancel-again", {"cancel-completed": "kept"}),
    ("four-purposes", {"user-data": "refused"}),
    ("no-expiry-told", {"life": "unsaid"}),
    ("", {"life": "other", "created-at": "same", "range": "ignored", "size": "right"}),
    ("null", {"size-completed": "null", "size": "null"}),
    ("own-status", {"status": "own"}),
    ("late", {"fresh": "later"}),
    ("names", {"name-marks-uploads": "changed", "name-marks-files": "changed"}),
    ("no-expiry", {"expiry-uploads": "ignored", "expiry-files": "ignored"}),
    ("expiry-refused", {"expiry-files": "refused"}),
    ("any-purpose", {"purpose-odd": "taken"}),
    ("no-single", {"single": "absent", "deleted": "gone", "content": "given"}),
    ("no-content", {"content": "refused", "order": "unseen", "range": SKIPPED}),
    ("no-filter", {"list-purpose": "ignored"}),
    ("no-limit", {"list-limit": "ignored", "list-more": "whole"}),
    ("no-after", {"list-after": "ignored"}),
    ("one-order", {"list-order": "ignored"}),
    ("for-ever", {"list-more": "for-ever"}),
    ("text", {"error-shape": "text", "unknown-id": "gone"}),
    ("pages", {"error-shape": "page"}),
    ("flat", {"error-shape": "flat", "request-id": "absent"}),
]


@pytest.mark.parametrize(("has", "expected"), ODDITIES, ids=[" ".join(e) for _, e in ODDITIES])
async def test_an_oddity_is_found(has: str, expected: dict[str, str]) -> None:
    async with odd_server(*has.split()) as odd, a_bench(odd.url) as bench:
        found = await asked(bench, *expected)
        assert {name: found[name] for name in expected} == expected
        assert odd.files == {}
        assert odd.pending == []
        assert bench.left.lost == 0


async def test_a_cancel_that_wants_a_body_gets_one_when_things_are_put_away() -> None:
    async with odd_server("cancel-wants-body") as odd, a_bench(odd.url) as bench:
        found = await asked(bench, "cancel", "cancel-json")
        # 500 is no answer to the question.
        assert found["cancel"] == UNCLEAR
        assert found["cancel-json"] == "taken"
        assert odd.pending == []


async def test_a_moment_of_its_own_is_told_from_the_uploads() -> None:
    async with odd_server() as odd, a_bench(odd.url, pace=1.0) as bench:
        assert (await asked(bench, "created-at"))["created-at"] == "own"
    async with odd_server("stamps") as odd, a_bench(odd.url, pace=1.0) as bench:
        assert (await asked(bench, "created-at"))["created-at"] == "same"


async def test_a_file_with_somebody_elses_name_is_not_touched() -> None:
    async with odd_server("strangers") as odd, a_bench(odd.url) as bench:
        await asked(bench, "single", "complete")
        assert odd.deleted == []
        assert set(bench.left.strangers) == set(odd.files)
        assert set(bench.left.strangers.values()) == {"payroll.jsonl"}


async def test_what_cannot_be_deleted_is_named() -> None:
    async with odd_server("undeletable") as odd, a_bench(odd.url) as bench:
        await asked(bench, "single", "complete", "deleted")
        assert set(bench.left.files) == set(odd.files)
        assert len(odd.files) == 3


# --- faults -----------------------------------------------------------------------------------


def strike(house: House, nth: int, kind: str) -> list[str]:
    """Let one request fail; the list gets an Upload that only the server knows of."""
    unheard: list[str] = []
    seen = 0

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal seen
        seen += 1
        if seen != nth:
            return await handler(request)
        if kind == "unheard":
            return drop(request)
        if kind == "trouble":
            return web.json_response({"error": {"message": "overloaded"}}, status=503)
        done = await handler(request)
        assert isinstance(done, web.Response)
        if request.path.endswith("/uploads"):
            unheard.append(json.loads(cast("bytes", done.body))["id"])
        return drop(request) if kind == "lost" else web.Response(text="<html>ok</html>")

    house.intercept = intercept
    return unheard


@pytest.mark.parametrize("kind", ["unheard", "trouble", "lost", "page"])
async def test_nothing_is_left_whichever_request_fails(tmp_path: Path, kind: str) -> None:
    async with open_house(tmp_path) as house:
        nth = 1
        # Until there was no such request any more.
        while nth <= len(house.calls) or nth == 1:
            nth += 1
            house.calls.clear()
            unheard = strike(house, nth, kind)
            async with a_bench(house.url) as bench:
                course = Course(bench, FEW, 60.0, lambda answered: None)
                await course.run()
                assert house.files == [], nth
                assert set(pending(house)) == set(unheard), nth
                assert not bench.left.files, nth
                # If the look at the end fails too, nobody can be sure.
                assert bench.left.lost == 0 or house.calls[-1] == "list", nth
            for upload in pending(house):
                house.store.cancel_upload(upload)
        assert nth > 20


async def test_an_answer_that_was_lost_stays_a_doubt_where_no_list_settles_it(
    house: House,
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        match request.method, request.path:
            case "GET", "/v1/files" if len(house.calls) > 1:
                return web.json_response({"error": {"message": "no lists"}}, status=404)
            case "POST", "/v1/files":
                await handler(request)
                return drop(request)
            case _:
                return await handler(request)

    house.intercept = intercept
    async with a_bench(house.url) as bench:
        assert (await asked(bench, "single"))["single"] == UNCLEAR
        assert (bench.left.lost, bench.left.files) == (1, {})
        (file,) = house.files
        assert bench.mark in file.filename


async def test_a_list_without_an_end_settles_no_doubt() -> None:
    async def before(request: web.Request) -> web.StreamResponse | None:
        posted = (request.method, request.path) == ("POST", "/v1/files")
        return odd.no(503, "overloaded") if posted and len(odd.files) > 1 else None

    async with odd_server("for-ever", "no-after") as odd, a_bench(odd.url) as bench:
        theirs = odd.keep({"filename": "theirs.jsonl", "purpose": "batch"}, b"theirs", None)
        odd.before = before
        await asked(bench, "single", "fresh", "expiry-files")
        assert set(odd.files) == {theirs["id"]}
        assert bench.left.lost >= 1


async def test_an_upload_of_which_nothing_was_heard_is_counted(house: House) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        done = await handler(request)
        return drop(request) if call_of(request) == "create" else done

    house.intercept = intercept
    async with a_bench(house.url) as bench:
        await asked(bench, "uploads", "life")
        assert (bench.left.unheard, bench.left.lost) == (1, 0)


async def test_the_first_request_makes_nothing_and_its_failure_is_the_end(house: House) -> None:
    async with a_bench(house.url, key="sk-wrong") as bench:
        with pytest.raises(Unauthorized):
            await asked(bench)
        assert "create" not in house.calls
    strike(house, 1, "trouble")
    async with a_bench(house.url) as bench:
        with pytest.raises(ServerTrouble):
            await asked(bench)
    strike(house, 1, "unheard")
    async with a_bench(house.url) as bench:
        with pytest.raises(Unreachable):
            await asked(bench)
    strike(house, 1, "page")
    async with a_bench(house.url) as bench:
        with pytest.raises(ServerTrouble):
            await asked(bench)
    assert set(house.calls) == {"list"}


async def test_a_throttled_request_is_asked_again(house: House) -> None:
    seen = 0

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal seen
        seen += 1
        if seen % 3 == 0:
            headers = {"Retry-After": "1"}
            return web.json_response({"error": {"message": "slowly"}}, status=429, headers=headers)
        return await handler(request)

    house.intercept = intercept
    async with a_bench(house.url) as bench:
        found = await asked(bench, "complete", "single", "order")
        assert UNCLEAR not in found.values()
        nothing_left(house, bench)


@pytest.mark.parametrize("nth", [2, 9, 17, 30, 60, 100])
async def test_cancelled_anywhere_it_leaves_nothing(house: House, nth: int) -> None:
    reached = asyncio.Event()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if len(house.calls) >= nth:
            reached.set()
        return await handler(request)

    house.intercept = intercept
    async with a_bench(house.url) as bench:
        task = asyncio.create_task(asked(bench))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        nothing_left(house, bench)
        assert bench.making == set()


async def test_a_server_that_hangs_is_left_in_bounded_time(house: House) -> None:
    held = asyncio.Event()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.endswith("/complete") or "/content" in request.path:
            await held.wait()
        return await handler(request)

    house.intercept = intercept
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with a_bench(house.url) as bench:
        course = Course(bench, QUESTIONS, 2.0, lambda answered: None)
        await course.run()
        assert loop.time() - began < 10
        assert len(course.answered) == len(QUESTIONS)
        words = {one.question.name: one.found.word for one in course.answered}
        assert words["complete"] == UNCLEAR
        held.set()
    assert house.files == []


async def test_putting_away_takes_no_longer_than_it_may(house: House) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "cancel":
            await asyncio.Event().wait()
        return await handler(request)

    house.intercept = intercept
    loop = asyncio.get_running_loop()
    async with a_bench(house.url) as bench:
        bench.left.uploads = {f"upload_{number}" for number in range(400)}
        began = loop.time()
        await sweep(bench, 1.0)
        # One after another they would take fifty seconds.
        assert loop.time() - began < 15
        assert len(bench.left.uploads) == 400


async def test_a_server_that_answers_nothing_at_all_ends_it_at_once(house: House) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    house.intercept = intercept
    async with a_bench(house.url) as bench:
        with pytest.raises(Unreachable):
            await asked(bench, within=1.0)


# --- hostile answers --------------------------------------------------------------------------

WEIRD: list[Any] = [
    None, True, 0, -1, 1.5, 1e300, 10**30, "", ".", "..", "a/b?c#d", "\ud800", "x" * 5000, [], {},
    [{}], {"id": "payroll"}, [[1]], "\x1b[31m", ["file"], {"error": {"message": 5}},
]  # fmt: skip
NAMES = [
    *("id", "object", "bytes", "created_at", "expires_at", "filename", "purpose", "status"),
    *("file", "data", "has_more", "deleted", "error", "message", "detail", "code"),
]


def nonsense(dice: random.Random, depth: int = 0) -> Any:
    """An answer with the right names and the wrong things in them."""
    found = {name: dice.choice(WEIRD) for name in NAMES if dice.random() < 0.6}
    if dice.random() < 0.8:
        found["id"] = f"payroll-{dice.randrange(9)}"
        found.pop("error", None)
    if depth < 2 and dice.random() < 0.7:
        found["file"] = nonsense(dice, depth + 1)
        found["data"] = [nonsense(dice, depth + 1) for _ in range(3)]
    return found


@pytest.mark.parametrize("seed", range(6))
async def test_nonsense_ends_in_no_traceback_and_touches_no_stranger(seed: int) -> None:
    print(f"seed {seed}")
    dice = random.Random(seed)

    async def before(request: web.Request) -> web.StreamResponse | None:
        if request.method == "DELETE":
            return None
        if request.method == "GET" and request.path.endswith("/files") and len(odd.calls) < 2:
            return None
        said = dice.choice([nonsense(dice), nonsense(dice), dice.choice(WEIRD)])
        status = dice.choice([200, 200, 200, 201, 206, 400, 404, 302])
        for file in (said, said.get("file")) if isinstance(said, dict) else ():
            if isinstance(file, dict):
                file["filename"] = file.get("filename") or "payroll.jsonl"
        return web.json_response(cast("Any", said), status=status)

    async with odd_server() as odd, a_bench(odd.url) as bench:
        odd.before = before
        with suppress(ChunkupError):
            await asked(bench, within=20.0)
        removed = [path for method, path in odd.calls if method == "DELETE"]
        assert removed == []
