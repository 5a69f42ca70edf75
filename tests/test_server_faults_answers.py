"""How an answer leaves under a fault: cut, trickled, compressed, dressed up or made up."""

import gzip
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from struck import CHANGES, LOOKS, Served, in_stock, raw, serving

from chunkup.server.faults import CALLS


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        yield served


def divided(answer: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    pairs = (line.partition(": ") for line in head.decode().split("\r\n")[1:])
    return {name.lower(): value for name, _, value in pairs}, body


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("cut", [0, 2, 10_000])
async def test_an_answer_may_be_cut(served: Served, call: str, cut: int) -> None:
    stock = upload, _, file = in_stock(served)
    served.fault(call, cut=cut)
    async with served.open(*raw(call, *stock)) as (reader, _):
        headers, body = divided(await reader.read())
    length = int(headers["content-length"])
    assert len(body) == min(cut, length - 1)
    if call in CHANGES:
        assert CHANGES[call][1](served, upload, file)


async def test_a_cut_is_an_end_that_comes_too_early(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    _, _, file = in_stock(served)
    for call, path in (("list", "/files"), ("content", f"/files/{file}/content")):
        served.fault(call, cut=1)
        with pytest.raises(aiohttp.ClientPayloadError):
            await served.ask("GET", path)
    assert caplog.records == []


@pytest.mark.parametrize("call", CALLS)
async def test_an_answer_may_trickle(served: Served, call: str) -> None:
    stock = in_stock(served)
    served.fault(call, trickle=0.001)
    began = time.monotonic()
    async with served.open(*raw(call, *stock)) as (reader, _):
        headers, body = divided(await reader.read())
    assert len(body) == int(headers["content-length"])
    assert time.monotonic() - began >= 0.001 * (len(body) - 1)
    assert body == b"abc" if call == "content" else json.loads(body)


async def test_a_trickle_ends_with_its_client(served: Served) -> None:
    served.fault("list", trickle=3600)
    async with served.open("GET", "/files") as (reader, _):
        assert divided(await reader.readuntil(b"\r\n\r\n{"))[1] == b"{"
        assert served.told == []
    await served.until_told(1)


@pytest.mark.parametrize("call", CALLS)
async def test_an_answer_may_have_more_headers(served: Served, call: str) -> None:
    stock = in_stock(served)
    served.fault(call, headers={"Content-Type": "text/html", "x-mine": "yes"})
    async with served.open(*raw(call, *stock)) as (reader, _):
        headers, body = divided(await reader.read())
    assert (headers["content-type"], headers["x-mine"]) == ("text/html", "yes")
    assert body == b"abc" if call == "content" else json.loads(body)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("said", [{}, {"trickle": 0.0001}, {"body": "x" * 1000}])
async def test_an_answer_may_be_compressed(served: Served, call: str, said: dict[str, Any]) -> None:
    method, path, body = raw(call, *in_stock(served))
    served.fault(call, gzip=True, **said)
    served.fault(call, nth=2, **(said or {"headers": {"x-plain": "1"}}))
    packed = []
    for _ in range(2 if call in LOOKS else 1):
        async with served.open(method, path, body) as (reader, _):
            headers, answer = divided(await reader.read())
        packed.append(headers.get("content-encoding"))
        if "chunked" in headers.get("transfer-encoding", ""):
            answer = unchunked(answer)
        if packed == ["gzip"]:
            answer = gzip.decompress(answer)
        expected = said.get("body", "").encode() or (b"abc" if call == "content" else None)
        assert answer == expected if expected else json.loads(answer)
    assert packed == ["gzip", None][: len(packed)]


def unchunked(raw_body: bytes) -> bytes:
    found = b""
    while raw_body:
        size, _, rest = raw_body.partition(b"\r\n")
        found += rest[: int(size, 16)]
        raw_body = rest[int(size, 16) + 2 :]
    return found


async def test_an_answer_may_claim_a_compression_it_does_not_have(served: Served) -> None:
    served.fault("list", headers={"Content-Encoding": "gzip"})
    with pytest.raises(aiohttp.ClientPayloadError):
        await served.ask("GET", "/files")


@pytest.mark.parametrize(
    ("body", "kind", "sent"),
    [
        ({"error": {"message": "no"}}, "application/json", b'{"error": {"message": "no"}}'),
        ([], "application/json", b"[]"),
        (3, "application/json", b"3"),
        ("<html>", "text/plain", b"<html>"),
        ('{"id": "fi', "text/plain", b'{"id": "fi'),
        ("", "text/plain", b""),
    ],
)
async def test_a_success_may_say_anything(
    served: Served, body: Any, kind: str, sent: bytes
) -> None:
    for status in (None, 201):
        served.fault("list", status=status, body=body)
        async with served.http.get(served.url + "/files") as answer:
            assert (answer.status, answer.content_type) == (status or 200, kind)
            assert await answer.read() == sent


async def test_any_call_may_be_meant(served: Served) -> None:
    upload, _, file = in_stock(served)
    served.fault("any", every=2, status=503)
    asked = [("GET", "/files"), ("GET", f"/files/{file}"), ("GET", "/models")] * 2
    seen = [(await served.ask(method, path))[0] for method, path in asked]
    # What is no call of the API is neither counted nor struck.
    assert seen == [503, 200, 404, 503, 200, 404]
    assert [str(strike) for strike in served.faults.strikes()] == [
        "list 1: fault('any', every=2, status=503)",
        "list 2: fault('any', every=2, status=503)",
    ]
    assert served.store.upload(upload.id).status == "pending"
