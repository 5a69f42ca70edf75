"""How a request is struck: what its client and the server see of it."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from struck import CHANGES, LOOKS, Served, form, in_stock, raw, serving

from chunkup.server.app import create_app
from chunkup.server.faults import CALLS, ROUTES
from chunkup.server.store import Store, UploadRow
from chunkup.server.strikes import UNANSWERED


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        yield served


def test_every_route_is_a_call(tmp_path: Path) -> None:
    store = Store(tmp_path)
    app = create_app(store)
    routes = {
        (route.method, route.resource.canonical) for route in app.router.routes() if route.resource
    }
    assert routes == set(ROUTES)
    assert set(CALLS) == set(CHANGES) | set(LOOKS)
    store.close()


async def test_every_request_has_its_name(served: Served) -> None:
    expected: list[tuple[str, int | None]] = []
    for call in CALLS:
        ask = CHANGES[call][0] if call in CHANGES else LOOKS[call]
        method, path, more = ask(*in_stock(served))
        await served.ask(method, path, **more)
        expected.append((call, 200))
    others = [("GET", "/models", 404), ("PUT", "/files", 405), ("POST", "/uploads/x/stop", 404)]
    for method, path, status in others:
        await served.ask(method, path)
        expected.append(("other", status))
    # The last bytes of a content reach the client before its handler is over.
    await served.until_told(len(expected))
    assert served.told == expected


@pytest.mark.parametrize("call", CHANGES)
async def test_a_dropped_answer_was_carried_out(served: Served, call: str) -> None:
    ask, happened = CHANGES[call]
    upload, part, file = in_stock(served)
    method, path, more = ask(upload, part, file)
    armed = served.fault(call, drop_answer=True)
    assert not happened(served, upload, file)
    if method == "DELETE":
        assert await served.ask_once(method, path) == b""
    else:
        with pytest.raises(aiohttp.ClientConnectionError):
            await served.ask(method, path, **more)
    assert happened(served, upload, file)
    armed.wait(0)
    assert served.told == [(call, UNANSWERED)]


@pytest.mark.parametrize("call", LOOKS)
async def test_a_look_may_lose_its_answer_too(served: Served, call: str) -> None:
    method, path, more = LOOKS[call](*in_stock(served))
    served.fault(call, drop_answer=True)
    assert await served.ask_once(method, path, **more) == b""
    assert (await served.ask_once(method, path, **more)).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("call", CHANGES)
async def test_a_status_answers_and_nothing_was_carried_out(served: Served, call: str) -> None:
    ask, happened = CHANGES[call]
    upload, part, file = in_stock(served)
    method, path, more = ask(upload, part, file)
    headers = {"Retry-After": "7", "x-request-id": "req_mine"}
    served.fault(call, status=429, headers=headers, message="Too much.")
    async with served.http.request(method, served.url + path, **more) as answer:
        assert (answer.status, answer.content_type) == (429, "application/json")
        assert {name: answer.headers[name] for name in headers} == headers
        assert await answer.json() == {
            "error": {
                "message": "Too much.",
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
        }
    assert not happened(served, upload, file)


async def test_a_status_says_by_itself_that_it_is_a_fault(served: Served) -> None:
    served.fault("list", status=503)
    async with served.http.get(served.url + "/files") as answer:
        error = (await answer.json())["error"]
    assert error["type"] == "server_error"
    assert error["message"] == "A fault was set: fault('list', status=503)."


async def test_a_status_may_be_a_redirect(served: Served) -> None:
    served.fault("list", status=307, headers={"Location": served.url + "/files?limit=1"})
    status, _ = await served.ask("GET", "/files")
    assert status == 200
    assert served.told == [("list", 307), ("list", 200)]


async def test_a_status_needs_no_key_and_waits_for_the_whole_body(tmp_path: Path) -> None:
    async with serving(tmp_path, key="sk-one") as served:
        path = f"/uploads/{served.upload().id}/parts"
        body = bytes(8 << 20)
        served.fault("part", status=503)
        assert (await served.ask("POST", path, data=form(body)))[0] == 503
        # The connection is the same one: nothing of the body was left in it.
        assert (await served.ask("GET", "/files"))[0] == 401
        assert len(served.runner.server.connections if served.runner.server else []) == 1


async def test_a_request_that_hangs_ends_when_its_client_goes(served: Served) -> None:
    upload = served.upload()
    armed = served.fault("part", hang=True)
    body = form(bytes(1 << 20))
    asking = asyncio.create_task(served.ask("POST", f"/uploads/{upload.id}/parts", data=body))
    await asyncio.to_thread(armed.wait)
    assert not asking.done()
    assert served.told == []
    asking.cancel()
    await served.until_told(1)
    assert served.told == [("part", UNANSWERED)]
    assert served.store.parts(upload.id) == []
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_request_that_hangs_ends_when_the_server_stops(served: Served) -> None:
    armed = served.fault("list", hang=True)
    asking = asyncio.create_task(served.ask("GET", "/files"))
    await asyncio.to_thread(armed.wait)
    async with asyncio.timeout(10):
        await served.runner.cleanup()
        with pytest.raises(aiohttp.ClientConnectionError):
            await asking
    assert len(served.told) == 1


@pytest.mark.parametrize("said", [{"hang": True}, {"status": 503}])
async def test_a_client_that_goes_in_the_middle_of_its_body_is_no_bug(
    served: Served, said: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    upload = served.upload()
    armed = served.fault("part", **said)
    host, port = served.runner.addresses[0][:2]
    _, writer = await asyncio.open_connection(host, port)
    head = f"POST /v1/uploads/{upload.id}/parts HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n"
    kind = "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    writer.write((head + kind).encode())
    await writer.drain()
    async with asyncio.timeout(10):
        while not armed.fired:  # noqa: ASYNC110  (it tells of a strike, which never comes here)
            await asyncio.sleep(0)
    writer.close()
    await writer.wait_closed()
    await served.until_told(1)
    with pytest.raises(TimeoutError):
        armed.wait(0)
    assert served.store.parts(upload.id) == []
    assert caplog.records == []


async def test_waiting_for_a_fault_has_an_end(served: Served) -> None:
    armed = served.fault("part", nth=2, hang=True)
    with pytest.raises(TimeoutError, match=r"fault\('part', nth=2, hang=True\) did not fire"):
        armed.wait(0.01)


# --- what becomes of the request, apart from its answer ---------------------------------------


@pytest.mark.parametrize("call", CHANGES)
@pytest.mark.parametrize("body", [None, "<html>502 Bad Gateway</html>"])
async def test_a_gateway_may_answer_what_was_carried_out(
    served: Served, call: str, body: str | None
) -> None:
    ask, happened = CHANGES[call]
    upload, part, file = in_stock(served)
    method, path, more = ask(upload, part, file)
    served.fault(call, status=502, carried_out=True, body=body)
    status, said = await served.ask(method, path, **more)
    assert status == 502
    assert (b"A fault was set" in said) if body is None else (said == body.encode())
    assert happened(served, upload, file)


@pytest.mark.parametrize("call", CHANGES)
async def test_what_was_carried_out_may_hang_all_the_same(served: Served, call: str) -> None:
    _, happened = CHANGES[call]
    stock = upload, _, file = in_stock(served)
    armed = served.fault(call, hang=True, carried_out=True)
    async with served.open(*raw(call, *stock)):
        await asyncio.to_thread(armed.wait)
        assert happened(served, upload, file)
        assert served.told == []
    await served.until_told(1)
    assert served.told == [(call, UNANSWERED)]


@pytest.mark.parametrize("call", CHANGES)
async def test_a_request_may_be_lost_and_not_only_its_answer(served: Served, call: str) -> None:
    _, happened = CHANGES[call]
    stock = upload, _, file = in_stock(served)
    served.fault(call, drop_answer=True, carried_out=False)
    async with served.open(*raw(call, *stock)) as (reader, _):
        assert await reader.read() == b""
    assert not happened(served, upload, file)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("done", [True, False])
async def test_a_reset_is_no_mere_end(served: Served, call: str, done: bool) -> None:  # noqa: FBT001  (a parameter)
    stock = upload, _, file = in_stock(served)
    served.fault(call, reset=True, carried_out=done)
    async with served.open(*raw(call, *stock)) as (reader, _):
        with pytest.raises(ConnectionResetError):
            await reader.read()
    if call in CHANGES:
        assert CHANGES[call][1](served, upload, file) is done


@pytest.mark.parametrize("name", ["data", "file"])
async def test_one_bit_of_the_content_is_flipped(served: Served, name: str) -> None:
    content = bytes(range(256)) * 4000
    if name == "file":
        served.fault("file", garble=True)
        _, answer = await served.ask("POST", "/files", data=form(content, "file"))
        kept = b"".join(served.store.read_file(json.loads(answer)["id"]))
    else:
        upload = served.upload(len(content))
        served.fault("part", garble=True)
        path = f"/uploads/{upload.id}"
        _, answer = await served.ask("POST", path + "/parts", data=form(content))
        asked = {"part_ids": [json.loads(answer)["id"]], "md5": hashlib.md5(content).hexdigest()}
        status, said = await served.ask("POST", path + "/complete", json=asked)
        assert (status, b"MD5 checksum mismatch" in said) == (400, True)
        del asked["md5"]
        _, answer = await served.ask("POST", path + "/complete", json=asked)
        kept = b"".join(served.store.read_file(json.loads(answer)["file"]["id"]))
    flipped = [(had ^ has).bit_count() for had, has in zip(content, kept, strict=True)]
    assert sum(flipped) == 1


# --- how much of it is read -------------------------------------------------------------------


def form_head(upload: UploadRow) -> tuple[str, str]:
    return "POST", f"/uploads/{upload.id}/parts"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"status": 413}, b"HTTP/1.1 413"),
        ({"status": 200, "body": {"id": "part_x"}}, b"HTTP/1.1 200"),
        ({"drop_answer": True}, b""),
    ],
)
async def test_an_answer_comes_as_soon_as_so_many_bytes_are_there(
    served: Served, said: dict[str, Any], expected: bytes
) -> None:
    upload = served.upload()
    armed = served.fault("part", after=10, **said)
    async with served.open(*form_head(upload), bytes(9), length=999) as (reader, writer):
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(armed.wait, 0.05)
        writer.write(bytes(1))
        assert await reader.read(12) == expected
    assert served.store.parts(upload.id) == []


async def test_an_answer_may_come_before_any_of_the_body(served: Served) -> None:
    served.fault("part", status=401, after=0)
    async with served.open(*form_head(served.upload()), length=999) as (reader, _):
        assert (await reader.readline()).startswith(b"HTTP/1.1 401")


async def test_a_connection_may_be_reset_in_the_middle_of_a_body(served: Served) -> None:
    upload = served.upload()
    served.fault("part", reset=True, after=10)
    async with served.open(*form_head(upload), bytes(10), length=999) as (reader, _):
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_an_early_success_may_look_like_the_real_one(served: Served) -> None:
    upload = served.upload()
    body = {"id": "part_x", "object": "upload.part", "upload_id": "{upload_id}"}
    served.fault("part", after=0, body=body)
    async with served.open(*form_head(upload), length=999) as (reader, _):
        said = await reader.readuntil(b"}")
    assert json.loads(said.partition(b"\r\n\r\n")[2]) == {**body, "upload_id": upload.id}


async def test_a_black_hole_takes_no_more_than_the_system_holds(served: Served) -> None:
    upload, size = served.upload(), 64 << 20
    armed = served.fault("part", hang=True, after=1000)
    async with served.open(*form_head(upload), bytes(1000), length=size) as (_, writer):
        await asyncio.to_thread(armed.wait)
        writer.write(bytes(size - 1000))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await writer.drain()
        assert writer.transport.get_write_buffer_size() > size // 2
        assert served.told == []
        writer.transport.abort()


# --- late -------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
async def test_an_answer_may_be_late_to_what_was_done_at_once(served: Served, call: str) -> None:
    stock = upload, _, file = in_stock(served)
    armed = served.fault(call, delay=3600)
    async with served.open(*raw(call, *stock)):
        await asyncio.to_thread(armed.wait)
        if call in CHANGES:
            assert CHANGES[call][1](served, upload, file)
        assert served.told == []
    # It waits for nobody who has gone.
    await served.until_told(1)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("said", [{"delay": 0.02}, {"hold": 0.02}, {"hold": 0.01, "delay": 0.01}])
async def test_a_late_answer_is_the_right_one(
    served: Served, call: str, said: dict[str, float]
) -> None:
    stock = in_stock(served)
    served.fault(call, **said)
    began = time.monotonic()
    async with served.open(*raw(call, *stock)) as (reader, _):
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
    assert time.monotonic() - began >= 0.02


async def test_a_gateway_may_time_out_after_a_while(served: Served) -> None:
    served.fault("list", status=504, delay=0.02)
    began = time.monotonic()
    assert (await served.ask("GET", "/files"))[0] == 504
    assert time.monotonic() - began >= 0.02


@pytest.mark.parametrize("call", CHANGES)
async def test_what_is_held_is_carried_out_though_its_client_has_gone(
    served: Served, call: str
) -> None:
    _, happened = CHANGES[call]
    stock = upload, _, file = in_stock(served)
    armed = served.fault(call, hold=0.3)
    async with served.open(*raw(call, *stock)):
        await asyncio.to_thread(armed.wait)
        before = happened(served, upload, file)
    await served.until_told(1)
    assert happened(served, upload, file)
    assert not before
