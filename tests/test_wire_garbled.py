"""A gateway that changes what passes through: content, its framing, or the answers."""

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from gateway import Passing, Returning, gateway
from house import HASTY, KEY, Handler, House, call_of, make_source
from test_cli import Shell, hint_of, shell
from test_cli_output import told
from test_uploader import PARTS, SIZE, assert_is, source

from chunkup import AsyncUploader, events
from chunkup.errors import BadAnswer, JobEnded, Rejected, ServerTrouble
from chunkup.machine import Phase

__all__ = ["shell", "source"]

Change = Callable[[bytes], bytes]


def uploader_at(url: str, journal: Path, *, md5: bool = True) -> AsyncUploader:
    return AsyncUploader(
        base_url=url, api_key=KEY, journal=journal, part_size=1000, md5=md5, options=HASTY
    )


def flip(content: bytes) -> bytes:
    """One bit in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def add_newline(content: bytes) -> bytes:
    return content + b"\n"


def strip_last(content: bytes) -> bytes:
    """What a gateway does to a part that ends in a newline."""
    return content[:-1]


def changing(change: Change, *numbers: int) -> Callable[[Passing], None]:
    """Change the content of these parts, counted from 1 as they pass."""

    def onward(passing: Passing) -> None:
        if passing.call == "part" and passing.number in numbers:
            passing.content = change(passing.content)

    return onward


def without(*names: str) -> Callable[[Passing], None]:
    """A gateway before a server that doesn't know these fields of ``complete``."""

    def onward(passing: Passing) -> None:
        if passing.call == "complete":
            said = json.loads(passing.body)
            passing.body = json.dumps({k: v for k, v in said.items() if k not in names}).encode()

    return onward


def both(*steps: Callable[[Passing], None]) -> Callable[[Passing], None]:
    def onward(passing: Passing) -> None:
        for step in steps:
            step(passing)

    return onward


# --- content that was changed -----------------------------------------------------------------


async def test_a_flipped_bit_is_refused_by_the_servers_md5_and_said_to_be_what_it_is(
    house: House, journal: Path, source: Path
) -> None:
    async with gateway(house.url) as between, uploader_at(between.url, journal) as uploader:
        between.onward = changing(flip, 7)
        seen: list[events.Event] = []
        with pytest.raises(Rejected) as caught:
            await uploader.upload(source, purpose="user_data", on_event=seen.append)
        (line,) = await (await uploader.journal()).lines()
        assert (caught.value.code, caught.value.exit_code) == ("rejected", 1)
        assert "a gateway on the way or the server itself changed it" in caught.value.message
        assert caught.value.answer is not None
        assert "md5" in caught.value.answer.message.lower()
        # Once: the same content over the same way would only be changed again.
        assert between.calls.count("create") == between.calls.count("complete") == 1
        assert between.calls.count("part") == PARTS
        assert house.files == []
        assert isinstance(seen[-1], events.Failed)
        assert line.phase is Phase.FAILED
        with pytest.raises(JobEnded, match="a gateway on the way"):
            await uploader.resume(line.job.id)
        between.onward = lambda passing: None
        assert_is(house, await uploader.upload(source, purpose="user_data"), source)


async def test_the_command_says_what_happened_and_the_hint_sends_it_anew(shell: Shell) -> None:
    async with gateway(shell.house.url) as between:
        between.onward = changing(flip, 3)
        done = await shell.upload("a.bin", OPENAI_BASE_URL=between.url)
        assert (done.code, done.out) == (1, "")
        assert "error[rejected]: " in done.err
        assert "a gateway on the way or the server itself changed it" in done.err
        assert "no File was made" in done.err
        hint = hint_of(done.err)
        assert shlex.split(hint)[:2] == ["chunkup", "upload"]
        again = await shell.paste(hint)
        assert again.code == 0, again.err
        assert (shell.folder / "a.bin").read_bytes() == shell.house.content(again.out.strip())

        between.calls.clear()
        shell.make("b.bin")
        lines = told(await shell.upload("b.bin", "--json", OPENAI_BASE_URL=between.url))
        (failed,) = [line for line in lines if line["event"] == "failed"]
        assert failed["code"] == "rejected"
        assert "a gateway on the way" in failed["message"]


@pytest.mark.parametrize("md5", [True, False])
@pytest.mark.parametrize("change", [add_newline, strip_last])
async def test_a_changed_length_is_refused_where_the_server_counts(
    house: House, journal: Path, source: Path, change: Change, *, md5: bool
) -> None:
    async with gateway(house.url) as between, uploader_at(between.url, journal, md5=md5) as up:
        between.onward = changing(change, 4)
        with pytest.raises(Rejected, match="a gateway on the way or the server itself added or"):
            await up.upload(source, purpose="user_data")
        (line,) = await (await up.journal()).lines()
    assert line.phase is Phase.FAILED
    assert between.calls.count("create") == 1
    assert house.files == []


@pytest.mark.parametrize("md5", [True, False])
@pytest.mark.parametrize("change", [add_newline, strip_last])
async def test_a_changed_length_is_seen_in_the_file_where_the_server_does_not_count(
    house: House, journal: Path, source: Path, change: Change, *, md5: bool
) -> None:
    """The server takes what comes: its File tells how much that was."""
    sizes: list[int] = []

    def onward(passing: Passing) -> None:
        changing(change, 4)(passing)
        without("md5")(passing)
        if passing.call == "part":
            sizes.append(len(passing.content))
        if passing.call == "complete":
            # The embedded server counts, so the Upload is given the length that it got.
            with house.store._ledger.transaction():
                house.store._ledger._db.execute("UPDATE uploads SET bytes = ?", [sum(sizes)])

    async with gateway(house.url) as between, uploader_at(between.url, journal, md5=md5) as up:
        between.onward = onward
        with pytest.raises(BadAnswer) as caught:
            await up.upload(source, purpose="user_data")
        (line,) = await (await up.journal()).lines()
    assert caught.value.exit_code == 1
    assert f"({sum(sizes)} bytes) out of {SIZE} bytes; do not use it" in caught.value.message
    assert line.phase is Phase.FAILED
    assert between.calls.count("complete") == 1


@pytest.mark.parametrize(("ours", "theirs"), [(False, True), (True, False)])
async def test_a_flipped_bit_goes_unseen_where_nobody_compares_an_md5(
    house: House, journal: Path, source: Path, *, ours: bool, theirs: bool
) -> None:
    """No promise is made about this one, and the documentation says so."""
    async with gateway(house.url) as between, uploader_at(between.url, journal, md5=ours) as up:
        between.onward = both(changing(flip, 2), *([] if theirs else [without("md5")]))
        file = await up.upload(source, purpose="user_data")
    assert file.bytes == SIZE
    assert house.content(file.id) != source.read_bytes()


async def test_orphans_that_a_server_counts_are_no_changed_content(
    house: House, journal: Path, source: Path
) -> None:
    """A lost answer explains a wrong sum better than a gateway does: a new Upload, said aloud."""
    async with gateway(house.url) as between, uploader_at(between.url, journal) as uploader:

        def back(returning: Returning) -> None:
            if returning.call == "part" and returning.number == 3:
                returning.status = 503
            if returning.call == "complete" and returning.number == 1:
                returning.status = 400
                returning.body = b'{"error": {"message": "Total bytes do not match."}}'

        def onward(passing: Passing) -> None:
            if passing.call == "complete" and passing.number == 1:
                passing.body = b"{}"

        between.back, between.onward = back, onward
        seen: list[events.Event] = []
        file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert_is(house, file, source)
    over = [event.reason for event in seen if isinstance(event, events.UploadExpired)]
    assert over == ["miscounted"]


# --- framing that was changed -----------------------------------------------------------------


def new_boundary(passing: Passing) -> None:
    content = passing.content
    passing.headers["Content-Type"] = 'multipart/form-data; boundary="other-edge"'
    passing.body = (
        b'--other-edge\r\nContent-Disposition: form-data; name="data"; filename="blob"\r\n\r\n'
        + content
        + b"\r\n--other-edge--\r\n"
    )


def new_headers(passing: Passing) -> None:
    edge, content = passing.boundary, passing.content
    passing.body = (
        b"--" + edge + b"\r\n"
        b"content-type: application/x-unknown\r\n"
        b"Content-Length: " + str(len(content)).encode() + b"\r\n"
        b'content-disposition: form-data; filename="x.bin"; name="data"\r\n\r\n'
        + content
        + b"\r\n--"
        + edge
        + b"--\r\n"
    )


def chunked(passing: Passing) -> None:
    passing.chunked = True


def chunked_anew(passing: Passing) -> None:
    new_boundary(passing)
    passing.chunked = True


@pytest.mark.parametrize("md5", [True, False])
@pytest.mark.parametrize("reframe", [new_boundary, new_headers, chunked, chunked_anew])
async def test_a_part_in_another_frame_is_the_same_part(
    house: House, journal: Path, source: Path, reframe: Callable[[Passing], None], *, md5: bool
) -> None:
    def onward(passing: Passing) -> None:
        if passing.call == "part":
            reframe(passing)

    async with gateway(house.url) as between, uploader_at(between.url, journal, md5=md5) as up:
        between.onward = onward
        assert_is(house, await up.upload(source, purpose="user_data"), source)
    assert between.calls.count("part") == PARTS


# --- answers that were changed ----------------------------------------------------------------

PAGE = "<html><head><title>500</title></head><body>\n<h1>Oops</h1>\x1b[31m" + "x" * 5000
TEXTS = {"text": "upstream connect error", "page": PAGE, "empty": "", "half": '{"error": {"mes'}


@pytest.mark.parametrize("call", ["create", "part", "complete"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_a_500_in_any_words_is_retried_and_told_in_one_line(
    house: House, journal: Path, source: Path, call: str, text: str
) -> None:
    """The first one costs a retry; a server that has nothing else to say ends the run in 75."""
    spoilt = 0

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal spoilt
        if call_of(request) == call and spoilt < times:
            spoilt += 1
            await request.read()
            return web.Response(status=500, text=text, headers={"retry-after-ms": "1"})
        return await handler(request)

    house.intercept = intercept
    times = 1
    async with house.uploader(journal) as uploader:
        assert_is(house, await uploader.upload(source, purpose="user_data"), source)
    assert spoilt == 1
    if call == "complete":
        return  # whose doubts have tests of their own
    spoilt, times = 0, 1 << 30
    make_source(source, SIZE, seed=9)
    async with house.uploader(journal, options=replace(HASTY, retries=1)) as uploader:
        with pytest.raises(ServerTrouble) as caught:
            await uploader.upload(source, purpose="user_data")
    assert caught.value.exit_code == 75
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 600


@pytest.mark.parametrize("garble", [b"", b"<html>welcome</html>", b"[]", b'{"id": 5}', b"null"])
async def test_a_success_that_says_nothing_is_none(
    house: House, journal: Path, source: Path, garble: bytes
) -> None:
    def back(returning: Returning) -> None:
        if returning.call == "part" and returning.number == 2:
            returning.body = garble

    async with gateway(house.url) as between, uploader_at(between.url, journal) as uploader:
        between.back = back
        seen: list[events.Event] = []
        file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert_is(house, file, source)
    assert [event.code for event in seen if isinstance(event, events.PartRetried)] == [
        "server-trouble"
    ]


async def test_a_garbled_id_of_a_part_makes_no_file_of_something_else(
    house: House, journal: Path, source: Path
) -> None:
    def back(returning: Returning) -> None:
        if returning.call == "part" and returning.number == 2:
            returning.body = returning.body.replace(b'"part_', b'"tarp_')

    async with gateway(house.url) as between, uploader_at(between.url, journal) as uploader:
        between.back = back
        file = await uploader.upload(source, purpose="user_data")
    assert_is(house, file, source)
    assert between.calls.count("create") == 2
