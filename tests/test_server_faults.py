"""Faults on purpose: which request is struck, and what its client and the server see of it."""

import asyncio
import io
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from chunkup.server.app import create_app, start
from chunkup.server.faults import _ROUTES, CALLS, UNANSWERED, ArmedFault, Fault, Faults, call_of
from chunkup.server.store import NewUpload, Store, UploadRow

# --- what can be said -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "not none of them"),
        ({"drop_answer": False, "hang": False}, "not none of them"),
        ({"drop_answer": True, "hang": True}, "not drop_answer and hang"),
        ({"drop_answer": True, "status": 500}, "not drop_answer and status"),
        ({"status": 500, "hang": True}, "not status and hang"),
        ({"status": True}, "status is a whole number, not True"),
        ({"status": "503"}, "status is a whole number, not '503'"),
        ({"hang": 1}, "hang is True or False, not 1"),
        ({"drop_answer": "yes"}, "drop_answer is True or False, not 'yes'"),
        ({"hang": None}, "hang is True or False, not None"),
        ({"hang": True, "nth": 1.0}, "nth is a whole number"),
        ({"hang": True, "nth": None}, "nth is a whole number"),
        ({"hang": True, "times": "all"}, "times is a whole number"),
        ({"hang": True, "message": "no"}, "belong to a status, not to hang"),
        ({"drop_answer": True, "headers": {"a": "b"}}, "belong to a status, not to drop_answer"),
        ({"status": 503, "headers": [("a", "b")]}, "headers are a mapping"),
        ({"status": 503, "headers": {"retry-after": 1}}, "headers are text"),
        ({"status": 503, "message": 503}, "message is text, not 503"),
    ],
)
def test_what_is_no_fault_is_a_type_error_in_one_sentence(said: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words) as refused:
        Fault(call="part", **said)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"status": 299}, "status is 300 to 599, not 299"),
        ({"status": 600}, "status is 300 to 599, not 600"),
        ({"hang": True, "nth": 0}, "nth is 1 or more, not 0"),
        ({"hang": True, "times": 0}, "times is 1 or more, not 0"),
        ({"status": 503, "headers": {"a b": "c"}}, "no answer can have the header 'a b'"),
        ({"status": 503, "headers": {"": "c"}}, "no answer can have the header"),
        ({"status": 503, "headers": {"a": "b\r\nc: d"}}, "no answer can have the header"),
        ({"status": 503, "headers": {"Content-Length": "3"}}, "set by the server itself"),
        ({"status": 503, "headers": {"transfer-encoding": "x"}}, "set by the server itself"),
    ],
)
def test_what_is_out_of_bounds_is_a_value_error(said: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Fault(call="part", **said)


@pytest.mark.parametrize("call", ["parts", "", "other", None, ["part"]])
def test_an_unknown_call_is_refused_with_those_that_there_are(call: Any) -> None:
    with pytest.raises(ValueError, match="create, part, complete, cancel, file, list, retrieve"):
        Fault(call=call, hang=True)


def test_the_bounds_themselves_are_in() -> None:
    for call in CALLS:
        for status in (300, 599):
            fault = Fault(call=call, nth=1, times=1, status=status)
            assert (fault.headers, fault.message) == ({}, None)


def test_a_fault_is_shown_as_it_was_said() -> None:
    assert str(Fault(call="part", nth=3, drop_answer=True)) == (
        "fault('part', nth=3, drop_answer=True)"
    )
    loud = Fault(call="list", times=2, status=503, headers={"x-secret": "s"}, message="m")
    assert str(loud) == "fault('list', times=2, status=503)"
    assert str(Faults().set(loud)) == str(loud)


# --- which request is struck ------------------------------------------------------------------


def test_requests_count_from_the_moment_the_fault_is_set() -> None:
    faults = Faults()
    assert faults.take("part") is None
    armed = faults.set(Fault(call="part", nth=2, hang=True))
    assert faults.take("part") is None
    assert faults.take("create") is None
    assert (armed.seen, armed.fired) == (1, 0)
    assert faults.never_fired() == [armed]
    assert faults.take("part") is armed
    assert faults.take("part") is None
    assert (armed.seen, armed.fired) == (3, 1)
    assert faults.never_fired() == []


def test_a_fault_strikes_as_often_as_it_was_told_and_no_more() -> None:
    faults = Faults()
    armed = faults.set(Fault(call="list", nth=2, times=3, status=500))
    assert [faults.take("list") is armed for _ in range(6)] == [False, *[True] * 3, False, False]


def test_two_faults_never_strike_the_same_request() -> None:
    faults = Faults()
    first = faults.set(Fault(call="part", nth=2, hang=True))
    second = faults.set(Fault(call="part", nth=2, drop_answer=True))
    assert [faults.take("part") for _ in range(4)] == [None, first, second, None]


def test_any_sequence_of_requests_is_struck_as_a_simple_model_says() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(200):
        faults = Faults()
        rules: list[tuple[Fault, list[int]]] = []  # each with what is left of nth and of times
        for _ in range(30):
            call = chance.choice(["part", "list"])
            if chance.random() < 0.2:
                nth, times = chance.randint(1, 4), chance.randint(1, 3)
                fault = Fault(call=call, nth=nth, times=times, hang=True)
                faults.set(fault)
                rules.append((fault, [nth, times]))
            expected = None
            for fault, left in rules:
                if fault.call == call:
                    left[0] -= 1
                    if left[0] <= 0 and left[1] and expected is None:
                        left[1] -= 1
                        expected = fault
            taken = faults.take(call)
            assert (taken and taken.fault) is expected


def test_counting_loses_nothing_between_threads() -> None:
    faults = Faults()
    armed = faults.set(Fault(call="part", nth=2000, times=4000, hang=True))
    threads = [
        threading.Thread(target=lambda: [faults.take("part") for _ in range(1000)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (armed.seen, armed.fired) == (4000, 2001)


# --- how it is struck -------------------------------------------------------------------------


@dataclass
class Served:
    """``told`` is every request and the status that the faults gave it."""

    url: str
    store: Store
    faults: Faults
    runner: web.AppRunner
    http: aiohttp.ClientSession
    told: list[tuple[str, int | None]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def fault(self, call: str, **said: Any) -> ArmedFault:
        return self.faults.set(Fault(call=call, **said))

    def upload(self, size: int = 3) -> UploadRow:
        new = NewUpload(filename="a", bytes=size, mime_type="text/plain", purpose="user_data")
        return self.store.create_upload(new)

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, bytes]:
        async with self.http.request(method, self.url + path, **more) as answer:
            return answer.status, await answer.read()

    async def ask_once(self, method: str, path: str, **more: Any) -> bytes:
        """All that comes back. Clients repeat a GET or DELETE whose connection broke; not this."""
        assert not more
        reader, writer = await asyncio.open_connection(*self.runner.addresses[0][:2])
        url = f"/v1{path}"
        writer.write(f"{method} {url} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    async def until_told(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.told) < count:
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def serving(directory: Path, key: str | None = None) -> AsyncIterator[Served]:
    store, faults = Store(directory), Faults()
    told: list[tuple[str, int | None]] = []
    news = asyncio.Event()

    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        status = None
        try:
            answer = await handler(request)
            status = answer.status
            return answer
        finally:
            told.append((call_of(request), status))
            news.set()

    app = create_app(store, key=key, middlewares=[watch, faults.middleware])
    runner, url = await start(app)
    try:
        # One connection is enough, and a request that comes after another proves that it works.
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=connector) as http:
            yield Served(url, store, faults, runner, http, told, news)
    finally:
        await runner.cleanup()
        store.close()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        yield served


def form(content: bytes, name: str = "data") -> aiohttp.FormData:
    data = aiohttp.FormData()
    data.add_field(name, io.BytesIO(content), filename="a", content_type="application/octet-stream")
    if name == "file":
        data.add_field("purpose", "batch")
    return data


def in_stock(served: Served) -> tuple[UploadRow, str, str]:
    """An upload of three bytes with its part, and a file."""
    upload, other = served.upload(), served.upload()
    ids = []
    for one in (upload, other):
        incoming = served.store.receive()
        incoming.write([memoryview(b"abc")])
        ids.append(served.store.add_part(one.id, incoming).id)
    _, file = served.store.complete_upload(other.id, [ids[1]])
    return upload, ids[0], file.id


NEW = {"filename": "b", "bytes": 1, "mime_type": "text/plain", "purpose": "batch"}
Ask = Callable[[UploadRow, str, str], tuple[str, str, dict[str, Any]]]
Trace = Callable[[Served, UploadRow, str], bool]

# What each call that changes something asks for, and how one sees that it was carried out.
CHANGES: dict[str, tuple[Ask, Trace]] = {
    "create": (
        lambda _u, _p, _f: ("POST", "/uploads", {"json": NEW}),
        lambda s, _u, _f: len(s.store.uploads()) == 3,
    ),
    "part": (
        lambda u, _p, _f: ("POST", f"/uploads/{u.id}/parts", {"data": form(b"abc")}),
        lambda s, u, _f: len(s.store.parts(u.id)) == 2,
    ),
    "complete": (
        lambda u, p, _f: ("POST", f"/uploads/{u.id}/complete", {"json": {"part_ids": [p]}}),
        lambda s, u, _f: s.store.upload(u.id).status == "completed",
    ),
    "cancel": (
        lambda u, _p, _f: ("POST", f"/uploads/{u.id}/cancel", {}),
        lambda s, u, _f: s.store.upload(u.id).status == "cancelled",
    ),
    "file": (
        lambda _u, _p, _f: ("POST", "/files", {"data": form(b"abc", "file")}),
        lambda s, _u, _f: len(s.store.files()) == 2,
    ),
    "delete": (
        lambda _u, _p, f: ("DELETE", f"/files/{f}", {}),
        lambda s, _u, f: f not in [row.id for row in s.store.files()],
    ),
}
LOOKS: dict[str, Ask] = {
    "list": lambda _u, _p, _f: ("GET", "/files", {}),
    "retrieve": lambda _u, _p, f: ("GET", f"/files/{f}", {}),
    "content": lambda _u, _p, f: ("GET", f"/files/{f}/content", {}),
}


def test_every_route_is_a_call(tmp_path: Path) -> None:
    store = Store(tmp_path)
    app = create_app(store)
    routes = {
        (route.method, route.resource.canonical) for route in app.router.routes() if route.resource
    }
    assert routes == set(_ROUTES)
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
