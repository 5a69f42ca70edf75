"""What a manifest says and what the server has: every way in which they can differ."""

import asyncio
import gc
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from house import HASTY, KEY, Handler, House, call_of, drop
from many import make_files, upload_all, working
from wire import answering, listening, reply

from chunkup.endpoint import resolve
from chunkup.engine import Engine
from chunkup.errors import BadOption, NoSuchFile, OtherAccount, Stopped, Unauthorized
from chunkup.manifest import Entry, line_of
from chunkup.models import Account, Options
from chunkup.server.store import NewFile
from chunkup.stops import Home
from chunkup.verifying import AT_ONCE, State, Verified, verify

OK, GONE, DIFFERS, UNKNOWN = State.OK, State.GONE, State.DIFFERS, State.UNKNOWN


async def sent(house: House, journal: Path, folder: Path, count: int = 3) -> list[Entry]:
    """Uploaded Files, and what their manifest says."""
    async with working(house, journal) as engine:
        results = await upload_all(engine, make_files(folder, count))
        found = await (await engine.journal()).arrived_as([result.job_id for result in results])
    house.calls.clear()
    return [found[result.job_id] for result in results]


def shelved(house: House, folder: Path, count: int = 1) -> list[Entry]:
    """Files that came to the server in no matter what way, and what their manifest says."""
    entries = []
    for path in map(Path, make_files(folder, count)):
        incoming = house.store.receive()
        incoming.write([memoryview(path.read_bytes())])
        row = house.store.add_file(NewFile(filename=path.name, purpose="user_data"), incoming)
        entries.append(
            Entry(
                source=str(path),
                start=0,
                stop=row.bytes,
                bytes=row.bytes,
                md5=hashlib.md5(path.read_bytes()).hexdigest(),
                file=row.id,
                filename=row.filename,
                purpose=row.purpose,
                account=Account(house.url),
            )
        )
    return entries


@asynccontextmanager
async def asking(url: str, journal: Path, **more: Any) -> AsyncIterator[Engine]:
    options: Options = more.pop("options", HASTY)
    engine = Engine(resolve(base_url=url, api_key=KEY, **more), Home(journal), options=options)
    try:
        yield engine
    finally:
        await engine.aclose()


async def verified(
    house: House, journal: Path, entries: Sequence[Entry], *, content: bool = True
) -> list[Verified]:
    async with (
        asking(house.url, journal) as engine,
        aclosing(verify(engine, entries, content=content)) as found,
    ):
        return [one async for one in found]


async def judged(house: House, journal: Path, one: Entry, *, content: bool = True) -> Verified:
    (found,) = await verified(house, journal, [one], content=content)
    return found


def states(found: Sequence[Verified]) -> list[State]:
    return [one.state for one in found]


Answer = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]


def on(house: House, call: str, answer: Answer) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await (answer if call_of(request) == call else call_through)(request, handler)

    house.intercept = intercept


async def call_through(request: web.Request, handler: Handler) -> web.StreamResponse:
    return await handler(request)


def saying(status: int, message: str = "no") -> Answer:
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        return web.json_response({"error": {"message": message}}, status=status)

    return answer


def described_as(**other: object) -> Answer:
    """The server says something else of its Files."""

    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        assert isinstance(response, web.Response)
        said = json.loads(response.text or "")
        return web.json_response(said | other)

    return answer


# --- what is as it was ------------------------------------------------------------------------


async def test_an_entry_says_what_was_done(house: House, journal: Path, tmp_path: Path) -> None:
    first, second, _ = await sent(house, journal, tmp_path)
    row = {file.id: file for file in house.files}[first.file]
    assert (first.filename, first.bytes, first.purpose) == (row.filename, row.bytes, row.purpose)
    assert (first.start, first.stop, first.cut) == (0, 2500, False)
    assert first.source == first.given == str(tmp_path / "000.bin")
    assert (first.created_at, first.expires_at) == (row.created_at, row.expires_at)
    assert first.account == Account(house.url)
    assert first.job != second.job
    assert 0 < first.started_at <= first.completed_at
    assert (first.attempts.runs, first.attempts.uploads, first.reused) == (1, 1, False)
    assert first.md5 is not None
    assert first.md5 != second.md5


async def test_files_that_are_there_are_ok_in_their_order(
    house: House, journal: Path, tmp_path: Path
) -> None:
    entries = shelved(house, tmp_path, 20)[::-1]
    found = await verified(house, journal, entries)
    assert [one.entry for one in found] == entries
    assert found == [Verified(one, OK, compared=True) for one in entries]
    assert sorted(house.calls) == ["content"] * 20 + ["retrieve"] * 20


async def test_without_contents_only_files_are_asked_for(
    house: House, journal: Path, tmp_path: Path
) -> None:
    entries = shelved(house, tmp_path, 3)
    found = await verified(house, journal, entries, content=False)
    assert found == [Verified(one, OK) for one in entries]
    assert house.calls == ["retrieve"] * 3


async def test_a_manifest_is_read_from_its_path(
    house: House, journal: Path, tmp_path: Path
) -> None:
    entries = shelved(house, tmp_path, 3)
    path = tmp_path / "m.jsonl"
    path.write_text("".join(line_of(one) + "\n" for one in entries))
    async with asking(house.url, journal) as engine:
        async with aclosing(verify(engine, path)) as found:
            assert [one.entry async for one in found] == entries
        for wrong, kind in ((tmp_path / "none", NoSuchFile), (tmp_path / "000.bin", BadOption)):
            with pytest.raises(kind):
                await anext(verify(engine, wrong))


async def test_nothing_is_written_and_no_journal_is_opened(
    house: House, journal: Path, tmp_path: Path
) -> None:
    entries = await sent(house, journal, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    other = tmp_path / "other" / "journal.db"
    assert states(await verified(house, other, entries)) == [OK] * 3
    assert sorted(tmp_path.rglob("*")) == before


# --- what is not ------------------------------------------------------------------------------


async def test_a_file_that_was_deleted_is_gone_and_the_others_are_not(
    house: House, journal: Path, tmp_path: Path
) -> None:
    entries = shelved(house, tmp_path, 3)
    house.store.delete_file(entries[1].file)
    found = await verified(house, journal, entries)
    assert states(found) == [OK, GONE, OK]
    assert found[1].message == "the server has no such File"


async def test_a_file_that_expired_is_gone(house: House, journal: Path, tmp_path: Path) -> None:
    (one,) = shelved(house, tmp_path)
    on(house, "retrieve", described_as(expires_at=1))
    assert await judged(house, journal, one) == Verified(one, GONE, "it expired")
    house.intercept = None
    house.store.delete_file(one.file)
    over = replace(one, expires_at=1)
    assert await judged(house, journal, over) == Verified(over, GONE, "it expired")


@pytest.mark.parametrize("word", ["error", "FAILED", "deleted"])
async def test_a_file_that_cannot_be_used_is_not_what_was_sent(
    house: House, journal: Path, tmp_path: Path, word: str
) -> None:
    (one,) = shelved(house, tmp_path)
    on(house, "retrieve", described_as(status=word, status_details="line 3 \x1b[31m"))
    found = await judged(house, journal, one)
    assert found.state is DIFFERS
    assert found.message == f"it cannot be used, the server says '{word}': line 3 \\x1b[31m"


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"bytes": 2499}, "it has 2499 bytes, not 2500"),
        ({"purpose": "batch"}, "its purpose is batch, not user_data"),
        ({"filename": "b\n.bin"}, "its name is b\\n.bin, not 000.bin"),
    ],
    ids=["size", "purpose", "name"],
)
async def test_another_description_is_another_file(
    house: House, journal: Path, tmp_path: Path, other: dict[str, object], says: str
) -> None:
    (one,) = shelved(house, tmp_path)
    on(house, "retrieve", described_as(**other))
    assert await judged(house, journal, one) == Verified(one, DIFFERS, says)
    assert "content" not in house.calls


async def test_what_a_server_does_not_say_is_no_difference(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (one,) = shelved(house, tmp_path)
    on(house, "retrieve", described_as(bytes=None, purpose="", filename="", status=None))
    assert await judged(house, journal, one) == Verified(one, OK, compared=True)


async def test_a_name_that_is_kept_as_the_form_spelled_it_is_the_same(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (one,) = shelved(house, tmp_path)
    on(house, "retrieve", described_as(filename="a%22b"))
    found = await judged(house, journal, replace(one, filename='a"b'))
    assert found.state is OK


async def test_a_file_that_was_reused_keeps_its_own_name(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (one,) = shelved(house, tmp_path)
    one = replace(one, filename="another.bin", reused=True)
    assert await judged(house, journal, one) == Verified(one, OK, compared=True)


async def test_a_content_that_was_replaced_differs(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (one,) = shelved(house, tmp_path)

    async def other(request: web.Request, handler: Handler) -> web.StreamResponse:
        return web.Response(body=b"x" * 2500)

    on(house, "content", other)
    found = await judged(house, journal, one)
    assert (found.state, found.compared) == (DIFFERS, True)
    assert found.message is not None
    assert "another MD5 than the manifest's" in found.message
    assert one.md5 is not None
    assert one.md5 in found.message


@pytest.mark.parametrize("size", [2499, 2501], ids=["shorter", "longer"])
async def test_a_content_of_another_length_differs(
    house: House, journal: Path, tmp_path: Path, size: int
) -> None:
    (one,) = shelved(house, tmp_path)
    content = house.content(one.file)

    async def other(request: web.Request, handler: Handler) -> web.StreamResponse:
        return web.Response(body=(content + b"x")[:size])

    on(house, "content", other)
    for said in (described_as(), described_as(bytes=None)):

        async def both(request: web.Request, handler: Handler, said: Answer = said) -> Any:
            calls = {"content": other, "retrieve": said}
            return await calls.get(call_of(request), call_through)(request, handler)

        house.intercept = both
        found = await judged(house, journal, one)
        assert found.state is DIFFERS
        # Nobody reads a File without end to learn that it is another.
        assert "MD5" not in (found.message or "MD5")


# --- contents that cannot be had --------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 403, 404, 405, 501])
async def test_a_content_that_is_not_given_back_is_no_failure(
    house: House, journal: Path, tmp_path: Path, status: int
) -> None:
    entries = shelved(house, tmp_path, 3)
    on(house, "content", saying(status, "Not allowed to download files of purpose: user_data"))
    found = await verified(house, journal, entries)
    assert states(found) == [OK] * 3
    assert not any(one.compared for one in found)
    assert found[0].message is not None
    assert "cannot be compared" in found[0].message
    assert "Not allowed to download" in found[0].message


async def test_a_file_that_vanishes_while_it_is_looked_at_is_gone(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (one,) = shelved(house, tmp_path)

    async def vanish(request: web.Request, handler: Handler) -> web.StreamResponse:
        house.store.delete_file(one.file)
        return await handler(request)

    on(house, "content", vanish)
    assert (await judged(house, journal, one)).state is GONE


async def test_without_an_md5_the_source_is_what_it_is_compared_with(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (one,) = shelved(house, tmp_path)
    one = replace(one, md5=None)
    assert await judged(house, journal, one) == Verified(one, OK, compared=True)
    # As a piece of a larger file.
    source = tmp_path / "000.bin"
    larger = tmp_path / "larger"
    larger.write_bytes(b"before" + source.read_bytes() + b"behind")
    piece = replace(one, source=str(larger), start=6, stop=2506, cut=True)
    assert await judged(house, journal, piece) == Verified(piece, OK, compared=True)
    larger.write_bytes(b"before" + source.read_bytes()[::-1] + b"behind")
    found = await judged(house, journal, piece)
    assert (found.state, found.compared) == (DIFFERS, True)
    assert found.message is not None
    assert "than that of its source, as it is now" in found.message


@pytest.mark.parametrize("now", ["gone", "shorter", "a folder"])
async def test_without_an_md5_and_a_source_nothing_is_compared(
    house: House, journal: Path, tmp_path: Path, now: str
) -> None:
    (one,) = shelved(house, tmp_path)
    source = tmp_path / "000.bin"
    source.unlink()
    if now == "shorter":
        source.write_bytes(b"x")
    elif now == "a folder":
        source.mkdir()
    one = replace(one, md5=None)
    found = await judged(house, journal, one)
    assert (found.state, found.compared) == (OK, False)
    assert found.message is not None
    assert "has no MD5, and its source is gone" in found.message
    assert "content" not in house.calls


async def test_a_download_that_breaks_off_is_gone_on_with(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (one,) = shelved(house, tmp_path)
    left = [1, 1]

    async def broken(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not left:
            return await handler(request)
        left.pop()
        response = web.StreamResponse(headers={"Content-Length": "2500"})
        await response.prepare(request)
        await response.write(house.content(one.file)[:1000])
        return drop(request)

    on(house, "content", broken)
    assert await judged(house, journal, one) == Verified(one, OK, compared=True)
    assert not left


# --- who is asked -----------------------------------------------------------------------------


async def test_entries_of_another_account_are_named_and_not_asked_for(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (one,) = shelved(house, tmp_path)
    theirs = [
        replace(one, account=account)
        for account in (
            Account("https://other.example/v1"),
            Account(house.url, organization="org-1"),
            Account(house.url, project="proj_\x1b"),
        )
    ]
    found = await verified(house, journal, [theirs[0], one, *theirs[1:]])
    assert states(found) == [UNKNOWN, OK, UNKNOWN, UNKNOWN]
    assert [isinstance(other.error, OtherAccount) for other in found] == [True, False, True, True]
    said = [other.message or "" for other in found]
    assert said[0] == f"it belongs to https://other.example/v1, and not to {house.url}"
    assert f"organization org-1 at {house.url}, and not to" in said[2]
    assert "proj_\\x1b" in said[3]
    assert house.calls == ["retrieve", "content"]


async def test_as_the_account_they_belong_to_they_are_asked_for(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (one,) = shelved(house, tmp_path)
    one = replace(one, account=Account(house.url, "org-1", "proj_1"))
    who = {"organization": "org-1", "project": "proj_1"}
    async with (
        asking(house.url, journal, **who) as engine,
        aclosing(verify(engine, [one])) as found,
    ):
        assert [each.state async for each in found] == [OK]


@pytest.mark.parametrize("file", ["", ".", "..", "a\nb", "x" * 5000, "\ud800"])
async def test_an_id_that_cannot_be_one_is_not_asked_for(
    house: House, journal: Path, tmp_path: Path, file: str
) -> None:
    (one,) = shelved(house, tmp_path)
    found = await judged(house, journal, replace(one, file=file))
    assert found.state is UNKNOWN
    assert house.calls == []


async def test_an_id_leads_nowhere_else(house: House, journal: Path, tmp_path: Path) -> None:
    (one,) = shelved(house, tmp_path)
    paths: list[str] = []

    async def noted(request: web.Request, handler: Handler) -> web.StreamResponse:
        paths.append(request.raw_path)
        return await handler(request)

    house.intercept = noted
    found = await judged(house, journal, replace(one, file="../uploads?x=1#y"))
    assert found.state is GONE
    assert paths == ["/v1/files/..%2Fuploads%3Fx=1%23y"]


# --- a server in trouble ----------------------------------------------------------------------


async def test_a_file_that_nothing_can_be_learned_of_stops_no_other(
    house: House, journal: Path, tmp_path: Path
) -> None:
    entries = shelved(house, tmp_path, 3)

    async def troubled(request: web.Request, handler: Handler) -> web.StreamResponse:
        if entries[1].file in request.path:
            return web.json_response({"error": {"message": "sorry"}}, status=503)
        return await handler(request)

    house.intercept = troubled
    found = await verified(house, journal, entries)
    assert states(found) == [OK, UNKNOWN, OK]
    assert isinstance(found[1].error, Stopped)
    assert "sorry" in (found[1].message or "")


async def test_refusals_of_single_files_are_told_of_them(
    house: House, journal: Path, tmp_path: Path
) -> None:
    entries = shelved(house, tmp_path, 20)
    on(house, "retrieve", saying(403))
    assert states(await verified(house, journal, entries)) == [UNKNOWN] * 20


async def test_a_key_that_is_refused_ends_it_at_once(
    house: House, journal: Path, tmp_path: Path
) -> None:
    entries = shelved(house, tmp_path, 20)
    on(house, "retrieve", saying(401))
    with pytest.raises(Unauthorized):
        await verified(house, journal, entries)
    assert len(house.calls) <= 2 * AT_ONCE


async def test_a_server_that_dies_ends_it_after_eight_in_a_row(
    house: House, journal: Path, tmp_path: Path
) -> None:
    entries = shelved(house, tmp_path, 30)
    before = [one.file for one in entries[:5]]

    async def dying(request: web.Request, handler: Handler) -> web.StreamResponse:
        if any(file in request.path for file in before):
            return await handler(request)
        return drop(request)

    house.intercept = dying
    found: list[Verified] = []

    async def visit() -> None:
        async with asking(house.url, journal, options=replace(HASTY, retries=1)) as engine:
            async for one in verify(engine, entries):
                found.append(one)  # noqa: PERF401  (what came before the error counts)

    with pytest.raises(Stopped) as caught:
        await visit()
    assert caught.value.exit_code == 75
    assert states(found)[:5] == [OK] * 5
    assert set(states(found)[5:]) <= {UNKNOWN}
    assert len(found) < 30
    assert house.calls.count("retrieve") < 60


async def test_trouble_that_passes_ends_nothing(
    house: House, journal: Path, tmp_path: Path
) -> None:
    entries = shelved(house, tmp_path, 24)
    ill = {one.file for one in entries[::2]}

    async def troubled(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.rsplit("/", 1)[-1] in ill:
            # A repetition would do no good, and is not what this is about.
            return web.Response(status=503, headers={"x-should-retry": "false"})
        return await handler(request)

    house.intercept = troubled
    assert states(await verified(house, journal, entries)) == [UNKNOWN, OK] * 12


async def test_eight_at_once_and_no_more(house: House, journal: Path, tmp_path: Path) -> None:
    entries = shelved(house, tmp_path, 20)
    busy = most = 0
    full = asyncio.Event()

    async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        if busy == AT_ONCE:
            full.set()
        try:
            async with asyncio.timeout(30):
                await full.wait()
            return await handler(request)
        finally:
            busy -= 1

    house.intercept = counted
    assert states(await verified(house, journal, entries)) == [OK] * 20
    assert most == AT_ONCE


async def test_who_leaves_early_waits_for_nothing_and_leaves_nothing_behind(
    house: House, journal: Path, tmp_path: Path
) -> None:
    entries = shelved(house, tmp_path, 20)

    async def endless(request: web.Request, handler: Handler) -> web.StreamResponse:
        if entries[0].file not in request.path:
            await asyncio.Event().wait()
        return await handler(request)

    house.intercept = endless
    async with asking(house.url, journal) as engine, asyncio.timeout(30):
        async with aclosing(verify(engine, entries)) as found:
            await anext(found)
            assert [task for task in asyncio.all_tasks() if "_Visit" in repr(task)]
        assert [task for task in asyncio.all_tasks() if "_Visit" in repr(task)] == []


async def test_two_thousand_files_need_no_more_memory_than_a_few(tmp_path: Path) -> None:
    file = {"id": "file-1", "object": "file", "created_at": 1, "filename": "a", "purpose": "batch"}
    body = reply(file | {"bytes": 10, "status": "processed"})
    async with listening(answering(body)) as wire:
        account = Account(wire.url)
        entries = [
            Entry(source="/a", start=0, stop=10, bytes=10, file=f"file-{number}", filename="a",
                  purpose="batch", account=account)
            for number in range(2000)
        ]  # fmt: skip
        async with asking(wire.url, tmp_path / "journal.db") as engine:
            number = 0
            async with aclosing(verify(engine, entries, content=False)) as found:
                async for one in found:
                    assert one.state is OK
                    number += 1
                    wire.asked.clear()
                    if number % 400 == 0:
                        held = [each for each in gc.get_objects() if isinstance(each, Verified)]
                        assert len(held) < 50
    assert number == 2000


async def test_the_key_is_in_nothing_that_is_told(
    house: House, journal: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entries = await sent(house, journal, tmp_path)
    caplog.set_level(logging.DEBUG)
    on(house, "content", saying(400, f"you sent {KEY}"[:9]))
    found = await verified(house, journal, [entries[0], replace(entries[1], file="file-x")])
    assert KEY not in caplog.text + repr(found) + "".join(map(line_of, entries))
