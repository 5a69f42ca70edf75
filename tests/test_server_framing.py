"""The embedded server and what is hardly HTTP: refused in the API's shape, and nobody is upset."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rawhttp import (
    CHUNKED,
    FORM,
    JSON,
    KEY,
    Target,
    complete,
    form,
    head,
    part_form,
    post_json,
    post_part,
    request,
    target,
)

FILES = "/v1/files"
NEW = b'{"filename":"a","bytes":3,"mime_type":"text/plain","purpose":"batch"}'
LENGTH = f"Content-Length: {len(NEW)}"
HUNDRED_K = "a" * 100_000


@pytest.fixture
async def served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Target]:
    """A server that has to be well afterwards, without a word in anybody's log."""
    caplog.set_level(logging.WARNING)
    async with target(tmp_path) as served:
        yield served
        await served.is_well()
    assert [*caplog.get_records("call"), *caplog.records] == []


def create(*headers: str, body: bytes = NEW) -> bytes:
    return head("POST", "/v1/uploads", JSON, *headers) + body


BROKEN = {
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /v1/files\r\n\r\n",
    "HTTP/9.9": head("GET", FILES, version="9.9"),
    "no Host": b"GET /v1/files HTTP/1.1\r\n\r\n",
    "unknown method": head("FROB", FILES),
    "request line": head("GET", f"{FILES}?{HUNDRED_K}"),
    "header value": head("GET", FILES, f"X: {HUNDRED_K}"),
    "header name": head("GET", FILES, f"{HUNDRED_K}: x"),
    "many headers": head("GET", FILES, *(f"X{n}: y" for n in range(1000))),
    "NUL": head("GET", FILES, "X: a\0b"),
    "NUL in the key": head("GET", FILES).replace(KEY.encode(), KEY.encode() + b"\0"),
    "folded": head("GET", FILES, "X: a", " b"),
    "bare line feeds": head("GET", FILES).replace(b"\r\n", b"\n"),
    "blank before colon": head("GET", FILES, "X : y"),
    "lengths": create(LENGTH, LENGTH),
    "other lengths": create(LENGTH, "Content-Length: 1"),
    "length and chunks": create(LENGTH, CHUNKED, body=b"0\r\n\r\n"),
    "negative length": create("Content-Length: -1"),
    "signed length": create("Content-Length: +3"),
    "huge length": create(f"Content-Length: {10**25}"),
    "no length": create(),
    "shorter length": create("Content-Length: 5"),
    "chunk size": create(CHUNKED, body=b"zz\r\nab\r\n0\r\n\r\n"),
    "chunk size -1": create(CHUNKED, body=b"-1\r\nab\r\n0\r\n\r\n"),
    "chunk size 2^68": create(CHUNKED, body=b"fffffffffffffffff\r\nab\r\n"),
    "chunk without end": create(CHUNKED, body=b"1\r\nab\r\n0\r\n\r\n"),
    "endless trailer": create(CHUNKED, body=b"0\r\n" + b"X: y\r\n" * 1000 + b"\r\n"),
    "identity": create("Transfer-Encoding: identity"),
    "chunked twice": create(CHUNKED, CHUNKED, body=b"0\r\n\r\n"),
    "two types": create("Content-Type: text/plain", LENGTH),
    "two hosts": create("Host: y", LENGTH),
    "no slash": head("GET", "v1/files"),
    "star": head("GET", "*"),
    "no target": head("GET", ""),
    "empty authority": head("GET", "http://"),
    "port": head("GET", "http://u:p@x:99999/v1/files"),
    "control": head("GET", "/v1/files/\x01"),
    "raw UTF-8": head("GET", "/v1/files/é"),
    "raw bytes": head("GET", "/v1/files/\udcff"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
async def test_what_is_no_request_is_refused_and_the_connection_ends(
    served: Target, data: bytes
) -> None:
    line = await served.line()
    said = await line.ask(data)
    assert said.status == 400
    assert said.error["type"] == "invalid_request_error"
    # In the server's own words: what was sent would otherwise be logged wherever answers are.
    words = re.fullmatch(r"Could not read the request: ([A-Z][\w `'./-]+)\.", said.error["message"])
    assert words is not None, said.error["message"]
    assert len(words[1]) < 60
    assert await line.rest() == b""
    assert served.store.uploads() == []


MISREAD = {
    "two keys": (create(LENGTH, "Authorization: Bearer sk-other"), 400),
    "two encodings": (create(LENGTH, *["Content-Encoding: identity"] * 2), 400),
    "gzip": (create(LENGTH, "Content-Encoding: gzip"), 415),
    "unknown encoding": (create(LENGTH, "Content-Encoding: frob"), 415),
    "gzip, chunked": (create("Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 501),
    "expectation": (create(LENGTH, "Expect: frob"), 417),
    "expectation of nothing": (head("POST", "/nope", "Expect: frob"), 417),
    "CONNECT": (head("CONNECT", "x:443"), 404),
    "OPTIONS": (head("OPTIONS", "*"), 404),
    "TRACE": (head("TRACE", FILES), 405),
    "two slashes": (head("GET", "//v1/files"), 404),
    "slash at the end": (head("GET", "/v1/files/"), 404),
    "parameter": (head("GET", "/v1/files;x=y"), 404),
}


@pytest.mark.parametrize(("data", "status"), MISREAD.values(), ids=MISREAD.keys())
async def test_what_could_be_read_in_two_ways_is_refused(
    served: Target, data: bytes, status: int
) -> None:
    said = await served.ask(data)
    assert said.status == status
    assert said.error["message"]
    assert served.store.uploads() == []


@pytest.mark.parametrize("declared", ["Content-Length: 9999999999", "Content-Length: 4194305"])
async def test_a_body_beyond_the_bound_is_refused_before_it_comes(
    served: Target, declared: str
) -> None:
    said = await served.ask(head("POST", "/v1/uploads", JSON, declared))
    assert (said.status, said.error["code"]) == (413, "request_too_large")


async def test_a_body_beyond_the_bound_is_refused_as_soon_as_it_is(served: Target) -> None:
    line = await served.line()
    await line.send(create(CHUNKED, body=b"%x\r\n" % (64 << 20)))
    said = await line.ask(b" " * (5 << 20))
    assert (said.status, said.error["code"]) == (413, "request_too_large")


async def test_a_refused_encoding_is_not_even_tried(served: Target) -> None:
    line = await served.line()
    assert (await line.ask(create(LENGTH, "Content-Encoding: gzip"))).status == 415
    # Had somebody tried, the body would have been broken, and the connection with it.
    assert (await line.ask(head("GET", FILES))).status == 200


async def test_even_what_is_no_request_is_answered_at_the_servers_time(tmp_path: Path) -> None:
    async with target(tmp_path, clock=lambda: 1_000_000_000.0) as served:
        for data in (BROKEN["HTTP/9.9"], BROKEN["NUL"], MISREAD["expectation"][0]):
            said = await served.ask(data)
            assert said.headers["date"] == "Sun, 09 Sep 2001 01:46:40 GMT"


@pytest.mark.parametrize(
    "data",
    [
        create(f"Content-Length: {len(NEW) + 1}"),
        create(CHUNKED, body=b"%x\r\n%s\r\n" % (len(NEW), NEW)),
        head("POST", "/v1/files", FORM, "Content-Length: 500") + part_form(b"abc"),
    ],
    ids=["length", "chunks", "form"],
)
async def test_a_body_that_ends_early_is_no_request(served: Target, data: bytes) -> None:
    line = await served.line()
    await line.send(data)
    line.writer.write_eof()
    assert await line.rest() == b""
    assert served.store.uploads() == []
    assert served.store.files() == []
    assert served.on_disk() == set()


@pytest.mark.parametrize("garbage", [b"zz\r\n", b"5\r\nabcdefgh\r\n", b"-1\r\n", b"\r\n"])
@pytest.mark.parametrize("route", ["parts", "complete"])
async def test_chunks_that_break_on_the_way_end_the_request(
    served: Target, route: str, garbage: bytes
) -> None:
    upload = served.upload()
    line = await served.line()
    kind = FORM if route == "parts" else JSON
    begin = part_form(b"abc")[:50] if route == "parts" else b'{"part_ids": ['
    await line.send(
        head("POST", f"/v1/uploads/{upload.id}/{route}", kind, CHUNKED, "Expect: 100-continue")
    )
    assert (await line.answer()).status == 100
    await line.send(b"%x\r\n%s\r\n" % (len(begin), begin))
    said = await line.ask(garbage)
    assert said.status == 400
    assert said.error["message"]
    assert await line.rest() == b""
    assert served.on_disk() == set()
    assert served.store.upload(upload.id).status == "pending"


async def test_chunks_that_break_after_the_refusal_upset_nobody(served: Target) -> None:
    line = await served.line()
    await line.send(head("POST", "/nope", CHUNKED) + b"5\r\nab")
    assert (await line.answer()).status == 404
    await line.send(b"cdefghijk\r\n")
    assert await line.rest() == b""


async def test_garbage_after_a_whole_request_does_not_harm_it(served: Target) -> None:
    line = await served.line()
    # More than one read: the parser drops a request that came in the same read as garbage.
    said = await line.ask(post_part(served.upload(), bytes(1_000_000)) + b"\0\r\n\r\n")
    assert said.json["object"] == "upload.part"
    assert (await line.answer()).status == 400
    assert await line.rest() == b""


async def test_who_expects_to_be_asked_for_a_body_is_asked(served: Target) -> None:
    line = await served.line()
    await line.send(create(LENGTH, "Expect: 100-continue", body=b""))
    assert (await line.answer()).status == 100
    assert (await line.ask(NEW)).json["object"] == "upload"


async def test_requests_sent_in_one_go_are_answered_in_order(served: Target) -> None:
    upload = served.upload()
    line = await served.line()
    await line.send(
        post_part(upload, b"abc") + head("GET", f"{FILES}?limit=0") + head("GET", FILES) * 2000
    )
    part = (await line.answer()).json["id"]
    assert (await line.answer()).status == 400
    for _ in range(2000):
        assert (await line.answer()).status == 200
    assert (await line.ask(complete(upload, [part]))).status == 200


@pytest.mark.parametrize(
    "data",
    [
        head("GET", FILES, version="1.0"),
        head("GET", "http://elsewhere.invalid/v1/files"),
        head("GET", f"{FILES}#part"),
        head("GET", "/v1/%66iles"),
        head("GET", FILES, "Connection: upgrade", "Upgrade: websocket"),
        head("GET", FILES, "Content-Length: 3") + b"abc",
        head("GET", FILES, "Range: bytes=0-1", "If-Match: *", "X-HTTP-Method-Override: DELETE"),
    ],
    ids=["1.0", "absolute", "fragment", "escaped", "upgrade", "body", "headers"],
)
async def test_what_is_only_unusual_is_served(served: Target, data: bytes) -> None:
    assert (await served.ask(data)).json["data"] == []


async def test_a_later_request_never_sees_an_earlier_body(served: Target) -> None:
    """A body that is refused unread is not taken for a request."""
    line = await served.line()
    smuggled = head("DELETE", f"{FILES}/file-x")
    data = request("POST", "/nope", smuggled) + head("GET", FILES)
    assert (await line.ask(data)).status == 404
    assert (await line.answer()).json["object"] == "list"


async def test_forms_and_json_under_the_wrong_name_are_refused(served: Target) -> None:
    upload = served.upload()
    for data in (
        request("POST", f"/v1/uploads/{upload.id}/parts", NEW, JSON),
        request("POST", "/v1/uploads", form(('name="data"', b"abc")), FORM),
        request("POST", "/v1/uploads", NEW),
    ):
        said = await served.ask(data)
        assert (said.status, said.error["type"]) == (400, "invalid_request_error")


async def test_a_wrong_key_learns_nothing(served: Target) -> None:
    wrong = post_json("/v1/uploads", NEW).replace(KEY.encode(), b"sk-wrong")
    for data in (wrong, wrong.replace(b"/v1/uploads", b"/v1/uploads/upload_x/complete")):
        assert (await served.ask(data)).error["code"] == "invalid_api_key"


@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_that_comes_while_the_door_closes_is_not_forgotten(
    tmp_path: Path, turns: int
) -> None:
    """Accepted, and in the system's queue, in every state in which stopping can find it."""
    async with target(tmp_path) as served:
        lines = [await served.line()]
        connecting = [asyncio.create_task(served.line()) for _ in range(20)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await served.runner.cleanup()
        for result in await asyncio.gather(*connecting, return_exceptions=True):
            if not isinstance(result, ConnectionError):
                assert not isinstance(result, BaseException), result
                lines.append(result)
        for line in lines:
            assert await line.rest() == b""
