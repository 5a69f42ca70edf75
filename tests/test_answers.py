"""What servers answer: bounded, and a success only where it says what was asked for."""

import asyncio
import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import plain_job
from test_api import CALLS, FILE, UPLOAD, Call, every_call
from wire import Caller, Serve, answering, body_of, listening, opened, reply, silent

from chunkup.answers import read_file, read_upload
from chunkup.errors import (
    ChunkupError,
    NotFound,
    Rejected,
    ServerTrouble,
    Stopped,
    Throttled,
    Unauthorized,
)
from chunkup.models import MIB, RemoteFile, Upload

GARBAGE = {
    "empty": b"",
    "html": b"<!doctype html><title>Gateway</title>",
    "cut JSON": b'{"id": "upload_1", "da',
    "list": b"[]",
    "number": b"5",
    "text": b'"upload_1"',
    "null": b"null",
    "error": b'{"error": {"message": "no"}}',
    "error beside an id": b'{"id": "x", "data": [], "error": {"message": "no"}}',
    "no UTF-8": b'{"id": "\xff\xfe\xff"}',
    "UTF-16 mark": b"\xff\xfe{",
    "NUL": b"\0\0\0\0",
    "deep": b"[" * 200_000,
    "deep object": b'{"a":' * 100_000,
    "endless number": b'{"id": ' + b"9" * 10_000 + b"}",
    "bare NaN": b"NaN",
    "deep inside": b'{"id": "x", "data": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
}


@every_call
@pytest.mark.parametrize("raw", GARBAGE.values(), ids=GARBAGE.keys())
async def test_a_success_that_says_nothing_is_none_and_may_be_asked_again(
    call: Call, raw: bytes
) -> None:
    async with listening(answering(reply(raw))) as wire, opened(wire.url) as api:
        with pytest.raises(ServerTrouble) as caught:
            await call(api)
    assert caught.value.retryable


# What nobody could show, paste, send back or put into a path as it is.
UNUSABLE = {
    "long": "x" * 4097,
    "huge": "x" * 1_000_000,
    "half a pair": "a\ud800b",
    "line end": "file-1\nfile-2",
    "carriage return": "file-1\r",
    "tab": "file-1\tfile-2",
    "escape": "\x1b[2Jfile-1",
    "eight-bit escape": "\x9b2Jfile-1",
    "nul": "file-1\0",
    "bell": "\x07",
    "delete": "file\x7f",
    "turned writing": "file-\u202e1",
    "isolated writing": "file-\u2066-1",
    "no width": "file-\u200b1",
    "line separator": "file-1\u2028",
    "tag": "file-1\U000e0041",
    "this folder": ".",
    "folder above": "..",
}.values()


@pytest.mark.parametrize("name", ["create", "part", "complete", "retrieve"])
@pytest.mark.parametrize("odd", [None, "", 5, 5.0, True, [], {}, ["upload_1"], *UNUSABLE])
async def test_an_answer_without_a_usable_id_is_no_success(name: str, odd: object) -> None:
    async with (
        listening(answering(reply(UPLOAD | {"id": odd}))) as wire,
        opened(wire.url) as api,
    ):
        with pytest.raises(ServerTrouble) as caught:
            await CALLS[name](api)
    assert caught.value.retryable
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("odd", ["x" * 4096, "a/b", "%2e%2e", "..a", "a b", "-rf", "größe", "a;b"])
async def test_an_id_is_the_servers_to_choose(odd: str) -> None:
    async with (
        listening(answering(reply(UPLOAD | {"id": odd}))) as wire,
        opened(wire.url) as api,
    ):
        assert (await api.create(plain_job())).id == odd
        assert await api.add_part("upload_1", body_of(b"abc"), silent) == odd


@pytest.mark.parametrize(
    "raw",
    [
        b'{"id": "first", "id": "file-1", "bytes": 1, "bytes": "2"}',
        b'{"id": "file-1", "bytes": 0.' + b"9" * 10_000 + b'e5, "bytes": -Infinity}',
        b'{"id": "file-1", "created_at": 1e' + b"9" * 4000 + b', "expires_at": NaN}',
        b'{"id": "file-1", "bytes": ' + b"9" * 4000 + b"}",
    ],
)
async def test_numbers_of_every_kind_and_fields_given_twice_do_no_harm(raw: bytes) -> None:
    async with listening(answering(reply(raw))) as wire, opened(wire.url) as api:
        assert await api.retrieve("x") == RemoteFile("file-1", None, 0, "", "")


async def test_an_error_that_is_null_is_none() -> None:
    """Some servers send every field of their schema, set or not."""
    async with (
        listening(answering(reply(UPLOAD | {"error": None}))) as wire,
        opened(wire.url) as api,
    ):
        assert (await api.retrieve("upload_1")).id == "upload_1"


@pytest.mark.parametrize("data", [None, {}, "x", 5, [5], [None], [[]], [{}], [{"id": 5}]])
async def test_a_listing_of_something_else_is_no_success(data: object) -> None:
    async with listening(answering(reply({"data": data}))) as wire, opened(wire.url) as api:
        with pytest.raises(ServerTrouble):
            await api.list_files("batch", None)


@every_call
@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, ServerTrouble),
        (401, Unauthorized),
        (404, NotFound),
        (422, Rejected),
        (429, Throttled),
        (502, ServerTrouble),
    ],
)
@pytest.mark.parametrize("framing", ["announced", "chunked", "until it closes"])
async def test_an_answer_that_never_ends_is_cut(
    call: Call, status: int, verdict: type[ChunkupError], framing: str
) -> None:
    """And where it is no success, its status says what it is all the same."""
    sent = 0

    async def serve(caller: Caller) -> None:
        nonlocal sent
        await caller.request()
        lengths = {
            "announced": "Content-Length: 999999999999\r\n",
            "chunked": "Transfer-Encoding: chunked\r\n",
        }
        await caller.say(f"HTTP/1.1 {status} X\r\n{lengths.get(framing, '')}\r\n".encode())
        block = b"100000\r\n" + b" " * MIB + b"\r\n" if framing == "chunked" else b" " * MIB
        while sent < 256 * MIB:
            await caller.say(block)
            sent += MIB

    async with listening(serve) as wire, opened(wire.url) as api:
        with pytest.raises(verdict) as caught:
            await call(api)
    assert sent < 64 * MIB
    if status == 200:
        assert "longer than" in caught.value.message
        assert caught.value.retryable
    else:
        assert caught.value.answer is not None
        assert caught.value.answer.status == status


async def test_a_long_listing_is_within_bounds() -> None:
    page = [FILE | {"id": f"file-{number}", "filename": "x" * 1000} for number in range(5000)]
    async with listening(answering(reply({"data": page}))) as wire, opened(wire.url) as api:
        files, _ = await api.list_files("batch", None)
    assert len(files) == 5000


# --- broken HTTP ----------------------------------------------------------------------------


def endless(block: bytes) -> Serve:
    async def serve(caller: Caller) -> None:
        await caller.request()
        while True:
            await caller.say(block * 100)

    return serve


def once(raw: bytes) -> Serve:
    async def serve(caller: Caller) -> None:
        await caller.request()
        await caller.say(raw)

    return serve


OK = b"HTTP/1.1 200 OK\r\n"
BROKEN: dict[str, Serve] = {
    "headers without end": endless(b"X-A: b\r\n"),
    "a header without end": endless(b"x" * 1000),
    "a first line without end": endless(b"HTTP/1.1 200 "),
    "many headers": once(OK + b"X-A: b\r\n" * 100_000),
    "a long header": once(OK + b"X-A: " + b"b" * 1_000_000 + b"\r\n\r\n"),
    "no HTTP": once(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "nothing": once(b""),
    "half a head": once(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "half a body": once(OK + b'Content-Length: 100\r\n\r\n{"id"'),
    "half a chunk": once(OK + b"Transfer-Encoding: chunked\r\n\r\n10\r\n{"),
    "a bad chunk": once(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
    "a bad length": once(OK + b"Content-Length: many\r\n\r\n{}"),
    "two lengths": once(OK + b"Content-Length: 2\r\nContent-Length: 20\r\n\r\n{}"),
    "a negative length": once(OK + b"Content-Length: -1\r\n\r\n{}"),
    "bad gzip": once(reply(b"not gzip", headers={"Content-Encoding": "gzip"})),
    "cut gzip": once(reply(gzip.compress(b"{}" * 9)[:15], headers={"Content-Encoding": "gzip"})),
    "a strange coding": once(reply(b"?", headers={"Content-Encoding": "br, zstd, x-none"})),
    "a strange status": once(b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n"),
    "no status": once(b"HTTP/1.1\r\n\r\n"),
    "a nul in a header": once(OK + b"X-A: \0\r\nContent-Length: 2\r\n\r\n{}"),
}


@every_call
@pytest.mark.parametrize("serve", BROKEN.values(), ids=BROKEN.keys())
async def test_broken_http_is_trouble_and_nothing_worse(
    call: Call, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chunkup.transport._CALL", 2.0)
    monkeypatch.setattr("chunkup.watching._TICK", 0.05)
    async with listening(serve) as wire, opened(wire.url, stall=0.5, complete=2.0) as api:
        with pytest.raises(ChunkupError) as caught:
            await call(api)
    assert isinstance(caught.value, Stopped)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(["create", "part", "complete", "cancel", "list", "retrieve"]),
    st.integers(100, 999),
    st.dictionaries(
        st.sampled_from(
            ["Date", "Retry-After", "retry-after-ms", "x-should-retry", "x-request-id", "X-A"]
        ),
        st.text("0123456789.-+eEinfaNM ,:GT\tJyue", max_size=30),
    ),
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["id", "error", "message", "code", "data", "file", "bytes"]), inner
            )
        ),
        max_leaves=8,
    ),
)
def test_any_answer_is_understood_or_is_an_error_of_ours(
    name: str, status: int, headers: dict[str, str], body: object
) -> None:
    async def ask() -> None:
        raw = reply(body, status, headers)
        async with listening(once(raw)) as wire, opened(wire.url, stall=1.0, complete=1.0) as api:
            try:
                async with asyncio.timeout(10):
                    await CALLS[name](api)
            except ChunkupError as error:
                assert error.message.isprintable()  # noqa: PT017  (there may be none)

    asyncio.run(ask())


# --- reading --------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
FIELDS = [*UPLOAD, *FILE, "file", "status_details", "object"]
objects = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), json_values)


@given(objects, st.none() | objects | json_values)
def test_any_object_is_an_upload_and_a_file_or_an_error_of_ours(
    found: dict[str, Any], file: object
) -> None:
    if file is not None:
        found = found | {"file": file}
    for read in (read_upload, read_file):
        try:
            value = read(json.loads(json.dumps(found)))
        except ChunkupError:
            continue
        assert isinstance(value, Upload | RemoteFile)
        assert value.id == found["id"]
        assert value.created_at >= 0
        assert value.expires_at is None or 0 <= value.expires_at < 2**53


def test_what_compatible_servers_leave_out_is_empty() -> None:
    assert read_upload({"id": "u"}) == Upload("u", 0, None, "pending", None)
    assert read_file({"id": "f"}) == RemoteFile("f", None, 0, "", "")
    nulls = dict.fromkeys(FIELDS) | {"id": "x"}
    assert read_upload(nulls) == Upload("x", 0, None, "pending", None)
    assert read_file(nulls) == RemoteFile("x", None, 0, "", "")


@pytest.mark.parametrize("odd", ["5", True, -1, 2**60, float("nan"), float("inf"), [], {}])
def test_numbers_that_cannot_be_are_unknown(odd: object) -> None:
    assert read_file({"id": "f", "bytes": odd}).bytes is None
    assert read_upload({"id": "u", "expires_at": odd}).expires_at is None
    assert read_upload({"id": "u", "created_at": odd}).created_at == 0


def test_a_text_beyond_all_measure_is_unknown() -> None:
    long = {"id": "f", "filename": "x" * 5000, "purpose": "x" * 5000, "status": "x" * 5000}
    assert read_file(long) == RemoteFile("f", None, 0, "", "")
    assert read_upload(long).status == "pending"


def test_moments_may_be_written_with_a_fraction() -> None:
    assert read_upload({"id": "u", "created_at": 5.9}).created_at == 5
    assert read_file({"id": "f", "bytes": 7.0}).bytes == 7
