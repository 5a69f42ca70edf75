"""A server that means harm: what it answers is bounded, refused or escaped."""

import asyncio
import gzip
import json
import shlex
import sys
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from house import HASTY, KEY, Handler, House, call_of, drop
from hypothesis import given, settings
from hypothesis import strategies as st
from stage import staged
from strategies import plain_job
from test_api import CALLS, UPLOAD, Call, every_call
from test_cli import Shell, list_of, shell
from wire import Caller, Serve, answering, body_of, listening, opened, reply, silent

from chunkup import AsyncUploader
from chunkup.api import Api
from chunkup.errors import (
    BadAnswer,
    BadOption,
    ChunkupError,
    Rejected,
    ServerTrouble,
    Stopped,
    Unauthorized,
)
from chunkup.models import MIB

__all__ = ["shell"]

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
FINE = UPLOAD | {"data": []}
GIB = 1 << 30


def once(*blocks: bytes) -> Serve:
    """Read a whole request, say this, and close."""

    async def serve(caller: Caller) -> None:
        await caller.request()
        for block in blocks:
            await caller.say(block)

    return serve


# --- gigabytes ------------------------------------------------------------------------------


def bomb(wbits: int) -> bytes:
    """A gigabyte of nothing in a megabyte; the stream never ends."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, wbits)
    head = squeeze.compress(b" ") + squeeze.flush(zlib.Z_FULL_FLUSH)
    block = squeeze.compress(bytes(MIB)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    return head + block * 1024


FLOODS: dict[str, tuple[bytes, bytes]] = {
    "announced": (OK + b"Content-Length: 9999999999\r\n\r\n", b" " * MIB),
    "chunked": (CHUNKED, b"100000\r\n" + b" " * MIB + b"\r\n"),
    "small-chunks": (CHUNKED, (b"20\r\n" + b" " * 32 + b"\r\n") * 10_000),
    "unannounced": (OK + b"\r\n", b" " * MIB),
    "refusal": (b"HTTP/1.1 400 X\r\n\r\n", b" " * MIB),
    "redirect": (b"HTTP/1.1 307 X\r\nLocation: /\r\n\r\n", b" " * MIB),
    "headers": (OK, b"X-A: b\r\n" * 10_000),
    "header": (OK + b"X-A: ", b"b" * MIB),
    "trailers": (CHUNKED + b"2\r\n{}\r\n0\r\n", b"X-A: b\r\n" * 10_000),
    "upgrade": (
        b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"x" * MIB,
    ),
    "gzip": (OK + b"Content-Encoding: gzip\r\n\r\n" + bomb(31), b""),
    "deflate": (OK + b"Content-Encoding: deflate\r\n\r\n" + bomb(15), b""),
    "twice": (OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bomb(31)), b""),
}

_PROGRAM = """
import asyncio, json, resource, sys
sys.path.insert(0, sys.argv[1])
from test_api import ANY, CALLS
from wire import opened
from chunkup.errors import ChunkupError

def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

async def main():
    async with opened(sys.argv[2] + "/fine") as api:
        for call in CALLS.values():
            await call(api)
    said, before = {}, peak()
    for flood in sys.argv[3:]:
        async with opened(f"{sys.argv[2]}/{flood}") as api:
            for name, call in CALLS.items():
                try:
                    await call(api)
                except ChunkupError as error:
                    said[f"{flood} {name}"] = error.code
    print(json.dumps({"said": said, "grown": peak() - before}))

asyncio.run(main())
"""


async def test_gigabytes_of_answers_leave_no_mark_in_memory() -> None:
    sent = 0

    async def serve(caller: Caller) -> None:
        nonlocal sent
        while (flood := (await caller.request()).target.split("/")[2]) == "fine":
            await caller.say(reply(FINE))
        head, block = FLOODS[flood]
        await caller.say(head)
        for _ in range(GIB // len(block) if block else 0):
            await caller.say(block)
            sent += len(block)

    async with listening(serve) as wire:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _PROGRAM, str(Path(__file__).parent), wire.url, *FLOODS),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
    told = json.loads(out)
    missing = {f"{flood} {call}" for flood in FLOODS for call in CALLS} - told["said"].keys()
    assert not missing
    # A listing may have 16 MiB, and the buffer that takes it in grows in steps.
    assert told["grown"] < 120 * MIB
    assert sent < len(FLOODS) * len(CALLS) * 64 * MIB


async def test_pages_without_end_are_read_only_so_far(house: House) -> None:
    """Nobody has to page through what a server makes up as it goes."""
    pages = 0

    async def another(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal pages
        pages += 1
        later = {"created_at": 4_000_000_000, "purpose": "batch"}
        data = [later | {"id": f"file-{pages}-{number}"} for number in range(4000)]
        return web.json_response({"data": data, "has_more": True})

    async with staged(house) as stage:
        stage.on("list", another)
        assert await stage.finalizer().search.find(stage.asked.asked_at) == []
    assert pages == 6


# --- answers that take for ever -------------------------------------------------------------


def dripping(*first: bytes, drop: bytes) -> Serve:
    """Say ``first`` at once, and then one drop after the other."""

    async def serve(caller: Caller) -> None:
        await caller.request()
        for block in first:
            await caller.say(block)
        while True:
            await caller.say(drop)
            await asyncio.sleep(0.02)  # the server's pace, not a wait for anything

    return serve


ENDLESS: dict[str, Serve] = {
    "a first line": dripping(b"HTTP/1.1 200 ", drop=b"O"),
    "a header": dripping(OK, b"X-A: ", drop=b"b"),
    "headers": dripping(OK, drop=b"X: y\r\n"),
    "a body": dripping(OK + b"Content-Length: 1000000\r\n\r\n", drop=b" "),
    "chunks": dripping(CHUNKED, drop=b"1\r\n \r\n"),
    "a chunk's size": dripping(CHUNKED, drop=b"0"),
    "a chunk's extension": dripping(CHUNKED + b"1;", drop=b"a"),
    "a body until it closes": dripping(OK + b"\r\n", drop=b" "),
    "go on": dripping(drop=b"HTTP/1.1 100 Continue\r\n\r\n"),
    "early hints": dripping(drop=b"HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n"),
    "a flood of go on": dripping(drop=b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "a flood of extensions": dripping(CHUNKED + b"1;", drop=b"a" * MIB),
}


@pytest.mark.parametrize("serve", ENDLESS.values(), ids=ENDLESS.keys())
async def test_an_answer_that_drips_for_ever_is_given_up(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chunkup.transport._CALL", 0.4)
    monkeypatch.setattr("chunkup.watching._TICK", 0.05)
    async with (
        asyncio.timeout(10),
        listening(serve) as wire,
        opened(wire.url, stall=0.2, complete=0.4) as api,
    ):
        results = await asyncio.gather(
            *(call(api) for call in CALLS.values()), return_exceptions=True
        )
    for error in results:
        assert isinstance(error, Stopped)
        assert error.retryable


@every_call
async def test_a_refusal_whose_body_drips_is_judged_by_its_status(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chunkup.foreign._EXCUSE_TIME", 0.1)
    head = b"HTTP/1.1 401 X\r\nContent-Length: 1000000\r\n\r\n"
    async with (
        asyncio.timeout(10),
        listening(dripping(head, drop=b" ")) as wire,
        opened(wire.url) as api,
    ):
        with pytest.raises(Unauthorized) as caught:
            await call(api)
    assert not caught.value.retryable


# --- other ways to say it -------------------------------------------------------------------

RAW = json.dumps(FINE).encode()
READABLE: dict[str, bytes] = {
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + RAW,
    "no length": OK + b"\r\n" + RAW,
    "go on first": b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + reply(FINE),
    "no such charset": reply(FINE, headers={"Content-Type": "application/json; charset=klingon"}),
    "UTF-16": reply(json.dumps(FINE).encode("utf-16")),
    "called a page": reply(FINE, headers={"Content-Type": "text/html; charset=latin-1"}),
    "no type": reply(FINE, headers={"Content-Type": ""}),
    "gzip": reply(gzip.compress(RAW), headers={"Content-Encoding": "gzip"}),
    "status 207": reply(FINE, 207),
    "odd headers": reply(
        FINE,
        headers={
            "Date": "Fri, 99 Xyz 99999 99:99:99 +9999",
            "Retry-After": "1e999",
            "x-request-id": "\x1b[2J",
            "x-should-retry": "\x7f",
            "Set-Cookie": "a=b; Domain=.; Expires=never; " + ";" * 100,
            "Strict-Transport-Security": "max-age=1e99",
            "Alt-Svc": 'h3="elsewhere.invalid:443"',
            "Content-Disposition": "attachment; filename=../../../../etc/passwd",
        },
    ),
}


@every_call
@pytest.mark.parametrize("raw", READABLE.values(), ids=READABLE.keys())
async def test_what_can_be_understood_is(call: Call, raw: bytes) -> None:
    async with listening(once(raw)) as wire, opened(wire.url) as api:
        await call(api)


@every_call
async def test_what_headers_say_is_harmless_where_it_is_told(
    call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "chunkup")
    evil = "\x1b[2J\x07\x9b31m\u202e" + "x" * 5000
    names = ("x-request-id", "x-should-retry", "Retry-After", "retry-after-ms", "Date", "Server")
    refusal = reply(EVIL.encode(), 400, dict.fromkeys(names, evil))
    async with listening(once(refusal)) as wire, opened(wire.url) as api:
        with pytest.raises(Rejected) as caught:
            await call(api)
    assert (caught.value.request_id or "").startswith("\\x1b[2J")
    for text in (caught.value.request_id, caught.value.message, *caplog.messages):
        assert text is not None
        assert text.isprintable()
        assert len(text) < 1000


NO_HTTP: dict[str, bytes] = {
    "HTTP/0.9": RAW,
    "HTTP/2": b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x64",
    "another protocol": b"ICY 200 OK\r\n\r\n" + RAW,
    "escapes": b"\x1b[2J\x1b]0;owned\x07\r\n\r\n",
    "a length of thousands of digits": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
    "a status of three zeros": b"HTTP/1.1 000 X\r\n\r\n" + RAW,
    "an upgrade": b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" + RAW,
    "both lengths": CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n") + b"0\r\n\r\n",
}


@every_call
@pytest.mark.parametrize("raw", NO_HTTP.values(), ids=NO_HTTP.keys())
async def test_what_cannot_be_understood_is_said_in_one_harmless_line(
    call: Call, raw: bytes
) -> None:
    async with listening(once(raw)) as wire, opened(wire.url) as api:
        with pytest.raises(ChunkupError) as caught:
            await call(api)
    assert caught.value.message.isprintable()
    assert "400, message" not in caught.value.message, "that was nobody's status"


# --- more answers than questions ------------------------------------------------------------


async def test_an_answer_that_nobody_asked_for_is_no_parts() -> None:
    """A second answer may lie in the connection before the next part is sent over it."""
    waiting = asyncio.Event()

    async def serve(caller: Caller) -> None:
        for number in range(100):
            await caller.request()
            await caller.say(reply({"id": f"part_{number}"}))
            await waiting.wait()
            await caller.say(reply({"id": "stale"}))

    async with listening(serve) as wire, opened(wire.url) as api:
        assert await CALLS["part"](api) == "part_0"
        waiting.set()
        ids: list[object] = []
        for _ in range(4):
            await asyncio.sleep(0.05)  # what is on its way may arrive or not: both are tried
            try:
                ids.append(await api.add_part("upload_1", body_of(bytes(MIB)), silent))
            except ServerTrouble as error:
                assert error.retryable  # noqa: PT017  (it may succeed as well)
        assert "stale" not in ids


# --- what we send ---------------------------------------------------------------------------


async def test_nothing_that_we_send_ends_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = 'a\r\nX-Evil: 1\r\n\r\n"\\;\0\x1b\u2028'
    job = replace(plain_job(), filename=odd, purpose=odd, mime_type=odd)
    async with listening(answering(reply(FINE))) as wire, opened(wire.url) as api:
        await api.create(job)
        await api.list_files(odd, odd)
        await api.complete(odd, [odd], odd)
    assert [asked.method for asked in wire.asked] == ["POST", "GET", "POST"]
    assert all("x-evil" not in asked.headers for asked in wire.asked)
    assert wire.asked[0].json["filename"] == odd
    assert wire.asked[2].json == {"part_ids": [odd], "md5": odd}


# --- any bytes ------------------------------------------------------------------------------

pieces = st.one_of(
    st.sampled_from(
        [
            *(b"HTTP/1.1 200 OK", b"HTTP/1.1 100 X", b"HTTP/1.0 404 ", b"HTTP/1.1 ", b"\r\n"),
            *(b"\r\n\r\n", b"\n", b"Content-Length: ", b"Transfer-Encoding: chunked", b"0", b"5"),
            *(b"Content-Encoding: gzip", b"Connection: close", b"Upgrade: x", b": ", b"Date: "),
            *(b"Retry-After: ", b"x-should-retry: true", b"\0", b"\xff", b"{", b"}", b'"id"'),
            *(b'{"id": "x"}', b'{"id": "x", "data": [], "file": {"id": "y"}}', b"a" * 9000),
        ]
    ),
    st.binary(max_size=20),
)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(CALLS)), st.lists(pieces, max_size=12).map(b"".join))
def test_any_bytes_are_an_answer_or_an_error_of_ours(name: str, raw: bytes) -> None:
    async def ask() -> None:
        async with listening(once(raw)) as wire, opened(wire.url, stall=5.0, complete=5.0) as api:
            try:
                async with asyncio.timeout(30):
                    await CALLS[name](api)
            except ChunkupError as error:
                assert error.message.isprintable()  # noqa: PT017  (there may be none)

    asyncio.run(ask())


# --- what a person sees ---------------------------------------------------------------------

EVIL = "\x1b[2J\x1b]0;owned\x07\r\n\x9b31m\u202eevil\u2066\x00$(touch pwned)`touch pwned`"

Turn = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]


async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
    wrong = {"message": EVIL, "code": EVIL, "param": EVIL, "type": EVIL}
    shown = "\x9b31m\u202e$(touch pwned)"
    return web.json_response({"error": wrong}, status=400, headers={"x-request-id": shown})


async def garble(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The server's own answer, with every text in it spoilt but the ids."""
    answer = await handler(request)
    assert isinstance(answer, web.Response)
    found = json.loads(answer.text or "{}")

    def spoil(value: object, name: str = "") -> object:
        if isinstance(value, dict):
            return {key: spoil(inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            return [spoil(inner) for inner in value]
        return EVIL if isinstance(value, str) and name != "id" else value

    return web.json_response(spoil(found))


async def garble_ids(request: web.Request, handler: Handler) -> web.StreamResponse:
    await handler(request)
    return web.json_response({"id": EVIL, "data": [{"id": EVIL}], "file": {"id": EVIL}})


async def page(request: web.Request, handler: Handler) -> web.StreamResponse:
    return web.Response(status=503, text=f"<html>{EVIL}</html>", headers={"retry-after-ms": "1"})


def harmless(text: str) -> bool:
    return all(char.isprintable() or char in "\n\t" for char in text)


@pytest.mark.parametrize(
    ("call", "turn"),
    [
        *(("create", turn) for turn in (refuse, garble, garble_ids, page)),
        *(("part", turn) for turn in (refuse, garble, garble_ids, page)),
        *(("complete", turn) for turn in (refuse, garble, garble_ids)),
    ],
)
async def test_nothing_that_a_server_says_reaches_the_terminal_as_it_is(
    shell: Shell, call: str, turn: Turn
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await (turn(request, handler) if call_of(request) == call else handler(request))

    shell.make("small.bin")
    shell.house.intercept = intercept
    shell.environ["CHUNKUP_RETRIES"] = "1"
    said = [await shell.run("-vv", "upload", "small.bin", "-p", "user_data")]
    job = next(iter(await shell.jobs()))
    said.append(await shell.run("show", job))
    if turn is refuse:
        words = ["jobs"], ["resume", job, "--json"], ["show", job, "--json"], ["jobs", "--json"]
        said += [await shell.run(*some) for some in words]
    for done in said:
        assert harmless(done.out), done.out
        assert harmless(done.err), done.err
    assert said[0].code in {0, 1, 4, 75}
    if "\nhint: " in said[0].err:
        await shell.paste(said[0].err.partition("\nhint: ")[2].partition("\n")[0])
    assert not (shell.folder / "pwned").exists()


async def test_an_id_that_is_a_command_is_not_carried_out_where_it_is_pasted(shell: Shell) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        match call_of(request):
            case "complete":
                return drop(request)
            case "list":
                return list_of("$(touch pwned)", "a;touch pwned;'\"touch pwned")
            case _:
                return await handler(request)

    shell.house.intercept = intercept
    done = await shell.upload("a.bin")
    assert done.code == 4, done.err
    hint = done.err.partition("\nhint: ")[2].strip()
    assert "touch pwned" in hint
    await shell.paste(hint)
    assert not (shell.folder / "pwned").exists()


async def test_a_long_id_is_printed_whole(shell: Shell) -> None:
    """Gateways pack routes into ids, and a script takes what is printed for the id."""
    long = "file-" + "x" * 4000

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        if call_of(request) != "complete":
            return answer
        assert isinstance(answer, web.Response)
        found = json.loads(answer.text or "")
        found["file"]["id"] = long
        return web.json_response(found)

    shell.house.intercept = intercept
    done = await shell.upload("a.bin")
    assert (done.code, done.out) == (0, f"{long}\n"), done.err


async def test_an_address_that_is_a_command_is_quoted_in_the_hint(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.bin").write_bytes(b"content")
    odd = f"{house.url};$(id)"
    async with AsyncUploader(base_url=odd, api_key=KEY, journal=journal, options=HASTY) as uploader:
        with pytest.raises(ChunkupError) as caught:
            await uploader.upload(tmp_path / "a.bin", purpose="user_data")
    async with house.uploader(journal) as uploader:
        with pytest.raises(BadOption) as refused:
            await uploader.resume(str(caught.value.job_id))
    words = ["chunkup", "resume", str(caught.value.job_id), "--base-url", odd]
    assert refused.value.hint == shlex.join(words)


@pytest.mark.parametrize("bad", ["\x1b[2J", "a\nb", "..", "x" * 5000])
async def test_an_upload_is_not_begun_under_an_id_that_is_none(bad: str) -> None:
    async with listening(answering(reply(FINE | {"id": bad}))) as wire, opened(wire.url) as api:
        with pytest.raises(ServerTrouble) as caught:
            await api.create(plain_job())
        assert harmless(caught.value.message)
        assert len(caught.value.message) < 300
        for call in (Api.retrieve, Api.cancel):
            if bad == "..":
                with pytest.raises(BadAnswer):
                    await call(api, bad)
