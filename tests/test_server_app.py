"""The embedded server on the wire: refusals, cut connections, death, memory."""

import asyncio
import errno
import gc
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from yarl import URL

import chunkup
from chunkup.server import forms, handlers
from chunkup.server.app import Arrival, create_app, start
from chunkup.server.content import Incoming
from chunkup.server.store import NewUpload, ServerLimits, Store, UploadRow

JSON_TYPE = {"Content-Type": "application/json"}
PLAIN = {"Content-Type": "multipart/form-data; boundary=b"}
LIMITS = ServerLimits(part_bytes=1 << 19, file_bytes=1 << 19)


class Arrivals:
    """An observer that can be waited for."""

    def __init__(self) -> None:
        self.seen: list[Arrival] = []
        self._news = asyncio.Event()

    def __call__(self, arrival: Arrival) -> None:
        self.seen.append(arrival)
        self._news.set()

    async def next(self) -> Arrival:
        async with asyncio.timeout(10):
            await self._news.wait()
        self._news.clear()
        return self.seen[-1]


@dataclass(frozen=True, slots=True)
class Served:
    url: URL
    store: Store
    directory: Path
    arrivals: Arrivals
    runner: web.AppRunner
    stopping: asyncio.Event
    http: aiohttp.ClientSession = field(repr=False)

    def upload(self, size: int = 3) -> UploadRow:
        new = NewUpload(filename="a", bytes=size, mime_type="text/plain", purpose="user_data")
        return self.store.create_upload(new)

    def parts_url(self, upload: UploadRow) -> URL:
        return self.url / "uploads" / upload.id / "parts"

    def on_disk(self) -> set[str]:
        return on_disk(self.directory)


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline


def on_disk(directory: Path) -> set[str]:
    return {path.name for path in directory.glob("*/*")}


@asynccontextmanager
async def serving(
    directory: Path,
    *,
    key: str | None = None,
    limits: ServerLimits = LIMITS,
    middlewares: Sequence[Middleware] = (),
) -> AsyncIterator[Served]:
    store = Store(directory, limits=limits)
    arrivals = Arrivals()
    app = create_app(store, key=key, observer=arrivals, middlewares=middlewares)
    stopping = asyncio.Event()

    async def tell(_app: web.Application) -> None:
        stopping.set()

    app.on_shutdown.append(tell)
    runner, url = await start(app)
    try:
        async with aiohttp.ClientSession() as http:
            yield Served(URL(url), store, directory, arrivals, runner, stopping, http)
    finally:
        await runner.cleanup()
        store.close()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        yield served


def form(*fields: tuple[str, bytes]) -> bytes:
    """Return a form with boundary `b` of fields given by disposition and content."""
    body = b""
    for disposition, content in fields:
        body += f"--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()
        body += content + b"\r\n"
    return body + b"--b--\r\n"


def part_form(content: bytes) -> bytes:
    return form(('name="data"; filename="data"', content))


async def error_of(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """Return the error object, having checked that the answer is one and nothing else."""
    assert answer.content_type == "application/json"
    body = await answer.json()
    assert list(body) == ["error"]
    error = body["error"]
    assert isinstance(error, dict)
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert answer.headers["x-request-id"].startswith("req_")
    return error


def head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


async def connect(url: URL) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    assert url.host is not None
    return await asyncio.open_connection(url.host, url.port)


async def send_part(served: Served, upload: UploadRow, content: bytes) -> str:
    url = served.parts_url(upload)
    data = io.BytesIO(part_form(content))
    async with served.http.post(url, data=data, headers=PLAIN) as answer:
        assert answer.status == 200, await answer.text()
        part = await answer.json()
    assert isinstance(part, dict)
    return str(part["id"])


# --- refusals


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/uploads", 405),
        ("PUT", "/v1/files", 405),
        ("HEAD", "/v1/files", 405),
        ("GET", "/v1/uploads/upload_x", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "/", 404),
        ("GET", "/v1/files/%2e%2e%2flock", 404),
        ("GET", "/v1/files/%ED%A0%80", 404),
        ("GET", "/v1/files/%00/content", 404),
        ("POST", "/v1/uploads/x/cancel", 404),
    ],
)
async def test_every_refusal_has_the_apis_shape(
    served: Served, method: str, path: str, status: int
) -> None:
    url = URL(f"{served.url.origin()}{path}", encoded=True)
    async with served.http.request(method, url) as answer:
        assert answer.status == status
        if method != "HEAD":
            assert (await error_of(answer))["type"] == "invalid_request_error"
        if status == 405:
            assert answer.headers["Allow"]


NEW = {"filename": "a", "bytes": 3, "mime_type": "text/plain", "purpose": "batch"}
UNKNOWN = "unknown_parameter"
MISSING = "missing_required_parameter"
TYPE = "invalid_type"
VALUE = "invalid_value"
HOUR = {"anchor": "created_at", "seconds": 3600}


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (NEW | {"extra": 1}, "extra", UNKNOWN),
        ({k: v for k, v in NEW.items() if k != "mime_type"}, "mime_type", MISSING),
        ({}, "bytes", MISSING),
        (NEW | {"bytes": True}, "bytes", TYPE),
        (NEW | {"bytes": "3"}, "bytes", TYPE),
        (NEW | {"bytes": 3.5}, "bytes", TYPE),
        (NEW | {"bytes": None}, "bytes", TYPE),
        (NEW | {"bytes": 0}, "bytes", VALUE),
        (NEW | {"bytes": -1}, "bytes", VALUE),
        (NEW | {"bytes": (8 << 30) + 1}, "bytes", VALUE),
        (NEW | {"bytes": 10**4000}, "bytes", VALUE),
        (NEW | {"filename": 3}, "filename", TYPE),
        (NEW | {"filename": ""}, "filename", VALUE),
        (NEW | {"filename": "\ud800"}, "filename", VALUE),
        (NEW | {"mime_type": []}, "mime_type", TYPE),
        (NEW | {"purpose": ["batch"]}, "purpose", TYPE),
        (NEW | {"purpose": "fine-tune-results"}, "purpose", None),
        (NEW | {"expires_after": None}, "expires_after", TYPE),
        (NEW | {"expires_after": 3600}, "expires_after", TYPE),
        (NEW | {"expires_after": {"anchor": "created_at"}}, "expires_after.seconds", MISSING),
        (NEW | {"expires_after": {"seconds": 3600}}, "expires_after.anchor", MISSING),
        (NEW | {"expires_after": HOUR | {"anchor": "now"}}, "expires_after.anchor", VALUE),
        (NEW | {"expires_after": HOUR | {"seconds": 3599}}, "expires_after.seconds", VALUE),
        (NEW | {"expires_after": HOUR | {"seconds": 2592001}}, "expires_after.seconds", VALUE),
        (NEW | {"expires_after": HOUR | {"seconds": "3600"}}, "expires_after.seconds", TYPE),
        ([NEW], "body", TYPE),
    ],
)
async def test_an_upload_is_created_from_exactly_what_the_api_knows(
    served: Served, body: object, param: str, code: str | None
) -> None:
    async with served.http.post(served.url / "uploads", json=body) as answer:
        error = await error_of(answer)
    assert (answer.status, error["param"], error["code"]) == (400, param, code)
    assert served.store.uploads() == []


@pytest.mark.parametrize("limit", [3600, 2592000, 3600.0])
async def test_the_bounds_themselves_are_allowed(served: Served, limit: float) -> None:
    body = NEW | {"bytes": 8 << 30, "expires_after": HOUR | {"seconds": limit}}
    async with served.http.post(served.url / "uploads", json=body) as answer:
        assert answer.status == 200
    assert served.store.uploads()[0].file_seconds == limit


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"[" * 100_000, b"1" * 5000, b"null", b'"text"'],
    ids=["empty", "cut", "not UTF-8", "deep", "huge number", "null", "string"],
)
async def test_what_is_no_json_object_is_refused(served: Served, body: bytes) -> None:
    upload = served.upload()
    headers = {"Content-Type": "application/json"}
    for url in (served.url / "uploads", served.url / "uploads" / upload.id / "complete"):
        async with served.http.post(url, data=body, headers=headers) as answer:
            await error_of(answer)
        assert answer.status == 400


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "part_ids"),
        ({"part_ids": "part_x"}, "part_ids"),
        ({"part_ids": [1]}, "part_ids"),
        ({"part_ids": None}, "part_ids"),
        ({"part_ids": [], "md5": None}, "md5"),
        ({"part_ids": [], "md5": "00"}, "md5"),
        ({"part_ids": [], "bytes": 0}, "bytes"),
    ],
)
async def test_complete_takes_part_ids_and_md5_alone(
    served: Served, body: object, param: str
) -> None:
    url = served.url / "uploads" / served.upload().id / "complete"
    async with served.http.post(url, json=body) as answer:
        assert (answer.status, (await error_of(answer))["param"]) == (400, param)


async def test_ten_thousand_part_ids_fit_and_more_is_413(served: Served) -> None:
    url = served.url / "uploads" / served.upload().id / "complete"
    ids = [f"part_{number:032x}" for number in range(10_000)]
    async with served.http.post(url, json={"part_ids": ids}) as answer:
        assert answer.status == 400
    body = io.BytesIO(json.dumps({"part_ids": ids * 11}).encode())
    async with served.http.post(url, data=body, headers=JSON_TYPE) as answer:
        assert answer.status == 413
        await error_of(answer)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 200),
        (b"", JSON_TYPE, 200),
        (b"{}", JSON_TYPE, 200),
        (b"{}", {"Content-Type": "text/plain"}, 400),
        (b'{"a": 1}', JSON_TYPE, 400),
        (b"null", JSON_TYPE, 400),
    ],
)
async def test_cancel_takes_nothing(
    served: Served, body: bytes, headers: dict[str, str], status: int
) -> None:
    url = served.url / "uploads" / served.upload().id / "cancel"
    async with served.http.post(url, data=body, headers=headers) as answer:
        assert answer.status == status


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; boundary=b", ""])
async def test_json_calls_want_json(served: Served, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    for path in ("", f"/{served.upload().id}/complete"):
        url = f"{served.url}/uploads{path}"
        async with served.http.post(url, data=json.dumps(NEW), headers=headers) as answer:
            error = await error_of(answer)
        assert (answer.status, error["code"]) == (400, "unsupported_content_type")


DATA = 'name="data"; filename="a"'
FILE = 'name="file"; filename="a"'
PURPOSE = ('name="purpose"', b"batch")
ANCHOR = ('name="expires_after[anchor]"', b"created_at")
SECONDS = ('name="expires_after[seconds]"', b"3600")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ([], "data"),
        ([(DATA, b"abc"), (DATA, b"abc")], "data"),
        ([(DATA, b"abc"), PURPOSE], "purpose"),
        ([(FILE, b"abc")], "file"),
    ],
)
async def test_a_part_has_one_field(
    served: Served, fields: list[tuple[str, bytes]], param: str
) -> None:
    upload = served.upload()
    url = served.parts_url(upload)
    async with served.http.post(url, data=form(*fields), headers=PLAIN) as answer:
        assert (answer.status, (await error_of(answer))["param"]) == (400, param)
    assert served.on_disk() == set()
    assert served.arrivals.seen[-1].part_id is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ([PURPOSE], "file"),
        ([(FILE, b"abc")], "purpose"),
        ([(FILE, b"abc"), PURPOSE, PURPOSE], "purpose"),
        ([(FILE, b"abc"), (FILE, b"abc"), PURPOSE], "file"),
        ([('name="file"', b"abc"), PURPOSE], "file"),
        ([('name="file"; filename=""', b"abc"), PURPOSE], "file"),
        ([(FILE, b"abc"), PURPOSE, ('name="extra"', b"")], "extra"),
        ([(FILE, b"abc"), ('name="purpose"; filename="a"', b"batch")], "purpose"),
        ([(FILE, b"abc"), ('name="purpose"', b"\xff")], "purpose"),
        ([(FILE, b"abc"), ('name="purpose"', b"nonsense")], "purpose"),
        ([(FILE, b"abc"), PURPOSE, ANCHOR], "expires_after[seconds]"),
        ([(FILE, b"abc"), PURPOSE, SECONDS], "expires_after[anchor]"),
        ([(FILE, b"abc"), PURPOSE, ANCHOR, (SECONDS[0], b"3599")], "expires_after[seconds]"),
        ([(FILE, b"abc"), PURPOSE, ANCHOR, (SECONDS[0], b"1e4")], "expires_after[seconds]"),
        ([(FILE, b"abc"), PURPOSE, (ANCHOR[0], b"now"), SECONDS], "expires_after[anchor]"),
        ([(FILE, b"abc"), PURPOSE, ('name="expires_after"', b"{}")], "expires_after"),
    ],
)
async def test_a_file_is_made_from_exactly_what_the_api_knows(
    served: Served, fields: list[tuple[str, bytes]], param: str
) -> None:
    async with served.http.post(served.url / "files", data=form(*fields), headers=PLAIN) as answer:
        assert (answer.status, (await error_of(answer))["param"]) == (400, param)
    assert served.on_disk() == set()


async def test_a_text_field_is_bounded(served: Served) -> None:
    body = form((FILE, b"abc"), ('name="purpose"', b"x" * 5000))
    async with served.http.post(served.url / "files", data=body, headers=PLAIN) as answer:
        error = await error_of(answer)
    assert (answer.status, error["param"], error["code"]) == (400, "purpose", VALUE)


@pytest.mark.parametrize(
    "content_type", ["application/json", "multipart/form-data", "multipart/form-data; boundary="]
)
async def test_forms_want_a_form(served: Served, content_type: str) -> None:
    for url in (served.url / "files", served.parts_url(served.upload())):
        headers = {"Content-Type": content_type}
        async with served.http.post(url, data=part_form(b"abc"), headers=headers) as answer:
            await error_of(answer)
        assert answer.status == 400


@pytest.mark.parametrize("query", ["limit=x", "limit=", "limit=1&limit=2", "order=up", "limit=1e3"])
async def test_a_listing_asks_for_sense(served: Served, query: str) -> None:
    async with served.http.get(f"{served.url}/files?{query}") as answer:
        assert (answer.status, (await error_of(answer))["code"] is None) == (400, False)


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong-key", "Basic right-key", "right-key"]
)
async def test_only_the_key_opens(tmp_path: Path, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with serving(tmp_path, key="right-key") as served:
        async with served.http.get(served.url / "files", headers=headers) as answer:
            error = await error_of(answer)
            assert (answer.status, error["code"]) == (401, "invalid_api_key")
            assert error["type"] == "invalid_request_error"
            assert "-key" not in error["message"]
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        right = {"Authorization": "Bearer right-key"}
        async with served.http.get(served.url / "files", headers=right) as answer:
            assert answer.status == 200


async def test_a_bug_is_a_500_in_the_same_shape(served: Served) -> None:
    served.store._ledger.close()
    async with served.http.get(served.url / "files") as answer:
        error = await error_of(answer)
    assert (answer.status, error["type"]) == (500, "server_error")
    assert "database" not in error["message"]


async def test_middlewares_see_answers_and_may_refuse(tmp_path: Path) -> None:
    seen: list[int] = []

    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        if "x-refuse" in request.headers:
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "7"})
        answer = await handler(request)
        seen.append(answer.status)
        return answer

    async with serving(tmp_path, middlewares=[watch]) as served:
        async with served.http.get(served.url / "files" / "file-x") as answer:
            await error_of(answer)
        async with served.http.get(served.url / "files", headers={"x-refuse": "1"}) as answer:
            assert (await error_of(answer))["type"] == "server_error"
        assert (answer.status, answer.headers["Retry-After"]) == (503, "7")
    assert seen == [404]


# --- bodies that do not come whole


@pytest.mark.parametrize("handler_cancellation", [False, True])
async def test_a_cut_connection_leaves_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, handler_cancellation: bool
) -> None:
    store = Store(tmp_path)
    arrivals = Arrivals()
    app = create_app(store, observer=arrivals)
    runner = web.AppRunner(app, handler_cancellation=handler_cancellation)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = URL.build(scheme="http", host="127.0.0.1", port=runner.addresses[0][1])
    new = NewUpload(filename="a", bytes=3, mime_type="text/plain", purpose="user_data")
    upload = store.create_upload(new)
    try:
        _, writer = await connect(url)
        path = f"/v1/uploads/{upload.id}/parts"
        body = part_form(b"x" * 3_000_000)
        lines = ("Content-Type: multipart/form-data; boundary=b", f"Content-Length: {len(body)}")
        writer.write(head("POST", path, *lines) + body[:2_000_000])
        await writer.drain()
        writer.close()
        await writer.wait_closed()

        arrival = await arrivals.next()

        assert (arrival.upload_id, arrival.part_id, arrival.whole) == (upload.id, None, False)
        assert 0 < arrival.bytes < 2_000_000
        assert on_disk(tmp_path) == set()
        assert store.parts() == []
        assert store.upload(upload.id).status == "pending"
    finally:
        await runner.cleanup()
        store.close()
    assert caplog.records == []


async def test_stopping_does_not_wait_for_clients(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=ServerLimits()) as served:
        upload = served.upload()
        path = f"/v1/uploads/{upload.id}/parts"
        form_lines = ("Content-Type: multipart/form-data; boundary=b", "Content-Length: 30000000")
        reader, writer = await connect(served.url)
        writer.write(head("POST", path, *form_lines) + part_form(b"x" * 2_000_000)[:-9])
        await writer.drain()
        idle_reader, idle_writer = await connect(served.url)

        begun = time.monotonic()
        await served.runner.cleanup()

        assert time.monotonic() - begun < 2
        assert served.arrivals.seen[-1].whole is False
        assert served.on_disk() == set()
        assert await reader.read() == await idle_reader.read() == b""
        for each in (writer, idle_writer):
            each.close()
            await each.wait_closed()


async def test_stopping_does_not_wait_for_a_hash(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        upload = served.upload()
        part = await send_part(served, upload, b"abc")
        # A FIFO in place of the part lets the test decide when a read ends.
        path = tmp_path / "content" / part
        path.unlink()
        os.mkfifo(path)
        body = {"part_ids": [part], "md5": hashlib.md5(b"abc").hexdigest()}
        url = served.url / "uploads" / upload.id / "complete"
        complete = asyncio.create_task(served.http.post(url, json=body))
        with await asyncio.to_thread(path.open, "wb", buffering=0) as feeder:
            feeder.write(b"a")
            cleanup = asyncio.create_task(served.runner.cleanup())
            await served.stopping.wait()
            feeder.write(b"b")
            async with await complete as answer:
                assert answer.status == 503
                await error_of(answer)
        await cleanup
        assert served.store.upload(upload.id).status == "pending"


async def test_refusals_do_not_wait_for_the_body(tmp_path: Path) -> None:
    async with serving(tmp_path, key="right-key") as served:
        pending, ended = served.upload(), served.upload()
        served.store.cancel_upload(ended.id)
        right = "Authorization: Bearer right-key"
        form_type = "Content-Type: multipart/form-data; boundary=b"
        for upload_id, authorization, status in (
            (pending.id, "Authorization: Bearer wrong-key", 401),
            ("upload_x", right, 404),
            (ended.id, right, 400),
            (pending.id, right, 413),
        ):
            reader, writer = await connect(served.url)
            path = f"/v1/uploads/{upload_id}/parts"
            lines = (authorization, form_type, f"Content-Length: {1 << 40}")
            writer.write(head("POST", path, *lines) + b"--b\r\n")
            async with asyncio.timeout(5):
                assert (await reader.readline()).split()[1] == str(status).encode()
            writer.close()
            await writer.wait_closed()
        assert served.on_disk() == set()
        assert served.arrivals.seen == [
            Arrival(ended.id, None, 0, whole=False),
            Arrival(pending.id, None, 0, whole=False),
        ]


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for begin in range(0, len(body), size):
        yield body[begin : begin + size]


@pytest.mark.parametrize("size", [1, 1000, 5000])
async def test_bodies_may_come_in_chunks(served: Served, size: int) -> None:
    content = os.urandom(100 * size)
    upload = served.upload(len(content))
    body = pieces(part_form(content), size)
    url = served.parts_url(upload)
    async with served.http.post(url, data=body, headers=PLAIN) as answer:
        assert answer.status == 200
    (part,) = served.store.parts()
    _, file = served.store.complete_upload(upload.id, [part.id])
    assert b"".join(served.store.read_file(file.id)) == content
    assert served.arrivals.seen == [Arrival(upload.id, part.id, len(content), whole=True)]


@pytest.mark.parametrize("route", ["part", "file"])
async def test_too_much_is_refused_however_it_comes(served: Served, route: str) -> None:
    upload = served.upload()
    content = bytes((1 << 19) + 1)
    if route == "part":
        url, body = served.parts_url(upload), part_form(content)
    else:
        url, body = served.url / "files", form((FILE, content), PURPOSE)
    sent: list[bytes | AsyncIterator[bytes]] = [body, pieces(body, 65_536)]
    for data in sent:
        async with served.http.post(url, data=data, headers=PLAIN) as answer:
            error = await error_of(answer)
        assert (answer.status, error["code"]) == (413, "file_too_large")
    assert served.on_disk() == set()
    assert served.store.parts() == []


@pytest.mark.parametrize(
    "body",
    [b"", b"no form", part_form(b"abc")[:-5], part_form(b"abc").replace(b"Content-D", b"X-D")],
)
async def test_a_broken_form_leaves_nothing(served: Served, body: bytes) -> None:
    upload = served.upload()
    url = served.parts_url(upload)
    async with served.http.post(url, data=body, headers=PLAIN) as answer:
        assert answer.status == 400
        assert "multipart" in (await error_of(answer))["message"]
    assert served.on_disk() == set()
    assert served.arrivals.seen[-1].whole is False


@pytest.mark.parametrize("path", ["parts", "complete"])
async def test_a_body_is_taken_as_it_is_or_not_at_all(served: Served, path: str) -> None:
    url = served.url / "uploads" / served.upload().id / path
    headers = (PLAIN if path == "parts" else JSON_TYPE) | {"Content-Encoding": "gzip"}
    async with served.http.post(url, data=pieces(b"no gzip at all", 5), headers=headers) as answer:
        await error_of(answer)
    assert answer.status == 415
    assert served.on_disk() == set()


async def test_a_full_disk_is_the_servers_fault(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_incoming: Incoming, _pieces: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Incoming, "write", full)
    upload = served.upload()
    data = part_form(b"abc")
    async with served.http.post(served.parts_url(upload), data=data, headers=PLAIN) as answer:
        assert (answer.status, (await error_of(answer))["type"]) == (500, "server_error")
    assert served.on_disk() == set()
    assert served.arrivals.seen == [Arrival(upload.id, None, 3, whole=False)]


async def test_two_failures_at_once_are_one_refusal(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_incoming: Incoming, _pieces: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Incoming, "write", full)
    monkeypatch.setattr(forms, "_BATCH_BYTES", 1)
    cut_form = part_form(b"abc")[:-5]
    url = served.parts_url(served.upload())
    async with served.http.post(url, data=cut_form, headers=PLAIN) as answer:
        assert answer.status == 400
    # A write whose failure nobody asked about would be reported when it is collected.
    gc.collect()
    assert caplog.records == []


async def test_bytes_of_the_expired_go_without_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "_SWEEP_SECONDS", 0.001)
    async with serving(tmp_path) as served:
        upload = served.upload()
        await send_part(served, upload, b"abc")
        assert len(served.on_disk()) == 1
        served.store.clock = lambda: float(upload.expires_at)
        await asyncio.to_thread(wait_until, lambda: not served.on_disk())


async def test_an_empty_part_is_a_part(served: Served) -> None:
    upload = served.upload()
    empty = await send_part(served, upload, b"")
    rest = await send_part(served, upload, b"abc")
    _, file = served.store.complete_upload(upload.id, [empty, rest])
    async with served.http.get(served.url / "files" / file.id / "content") as answer:
        assert await answer.read() == b"abc"


# --- many at once


async def test_parts_come_in_parallel_and_one_complete_wins(served: Served) -> None:
    contents = [os.urandom(200_000) for _ in range(16)]
    whole = b"".join(contents)
    upload = served.upload(len(whole))
    parts = await asyncio.gather(*(send_part(served, upload, content) for content in contents))
    url = served.url / "uploads" / upload.id / "complete"
    body = {"part_ids": parts, "md5": hashlib.md5(whole).hexdigest()}

    async def complete() -> tuple[int, dict[str, Any]]:
        async with served.http.post(url, json=body) as answer:
            return answer.status, await answer.json()

    answers = await asyncio.gather(*(complete() for _ in range(8)))

    (file,) = served.store.files()
    assert sorted(status for status, _ in answers) == [200] + [400] * 7
    (won,) = (answer for status, answer in answers if status == 200)
    assert won["file"]["id"] == file.id
    assert b"".join(served.store.read_file(file.id)) == whole


# --- content


async def put_file(served: Served, content: bytes, name: str = "a") -> str:
    data = form((f'name="file"; filename="{name}"', content), PURPOSE)
    async with served.http.post(served.url / "files", data=data, headers=PLAIN) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["id"])


@pytest.mark.parametrize(
    ("asked", "status", "content", "told"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=7-99", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=0-", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=1-2,4-5", 200, b"0123456789", None),
        ("bytes=4-2", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
    ],
)
async def test_ranges_of_content(
    served: Served, asked: str, status: int, content: bytes | None, told: str | None
) -> None:
    file_id = await put_file(served, b"0123456789")
    url = served.url / "files" / file_id / "content"
    async with served.http.get(url, headers={"Range": asked}) as answer:
        assert (answer.status, answer.headers.get("Content-Range")) == (status, told)
        if content is None:
            await error_of(answer)
        else:
            assert await answer.read() == content
    async with served.http.get(url, headers={"Range": asked, "If-Range": '"x"'}) as answer:
        assert (answer.status, await answer.read()) == (200, b"0123456789")


async def test_a_filename_is_only_data(served: Served) -> None:
    file_id = await put_file(served, b"abc", "../../a%0D%0AX-Evil: 1%22 é")
    name = '../../a\r\nX-Evil: 1" é'
    assert served.store.file(file_id).filename == name
    async with served.http.get(served.url / "files" / file_id / "content") as answer:
        assert await answer.read() == b"abc"
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert "X-Evil" not in answer.headers
        assert answer.content_disposition is not None
        assert answer.content_disposition.filename == name


async def test_content_deleted_while_it_is_read_ends_short(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=ServerLimits()) as served:
        # More than the sockets between server and client can hold.
        sizes = (32 << 20, 1000)
        upload = served.upload(sum(sizes))
        parts = [await send_part(served, upload, bytes(size)) for size in sizes]
        _, file = served.store.complete_upload(upload.id, parts)
        url = served.url / "files" / file.id / "content"
        async with served.http.get(url) as answer:
            served.store.delete_file(file.id)
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()


async def test_listening_on_what_cannot_be_listened_on(served: Served, tmp_path: Path) -> None:
    store = Store(tmp_path / "other")
    before = asyncio.all_tasks()
    with pytest.raises(OSError, match="in use"):
        await start(create_app(store), port=served.url.port or 0)
    assert asyncio.all_tasks() == before
    store.close()


async def test_ipv6_addresses_are_bracketed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    try:
        runner, url = await start(create_app(store), host="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    async with aiohttp.ClientSession() as http, http.get(f"{url}/files") as answer:
        assert answer.status == 200
    assert url.startswith("http://[::1]:")
    await runner.cleanup()
    store.close()


# --- a server process of its own

PROGRAM = """
import asyncio, sys
from pathlib import Path
from chunkup.server.app import create_app, start
from chunkup.server.store import Store

async def main():
    _, url = await start(create_app(Store(Path(sys.argv[1]))))
    print(url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def process(directory: Path) -> Iterator[tuple[URL, int]]:
    """Run a server that only a kill will end; yields its base URL and process id."""
    environment = os.environ | {"PYTHONPATH": str(Path(chunkup.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(directory)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as server:
        try:
            assert server.stdout is not None
            yield URL(server.stdout.readline().strip()), server.pid
        finally:
            server.kill()


async def ask(http: aiohttp.ClientSession, url: URL, **body: object) -> dict[str, Any]:
    async with http.post(url, json=body) as answer:
        assert answer.status == 200, await answer.text()
        result = await answer.json()
    assert isinstance(result, dict)
    return result


async def post_part(http: aiohttp.ClientSession, url: URL, content: bytes) -> str:
    body = pieces(part_form(content), 1 << 20)
    async with http.post(url / "parts", data=body, headers=PLAIN) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["id"])


async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    contents = [os.urandom(1_000_000) for _ in range(3)]
    whole = b"".join(contents)
    incoming = tmp_path / "incoming"
    async with aiohttp.ClientSession() as http:
        with process(tmp_path) as (base, pid):
            new = NEW | {"bytes": len(whole)}
            upload = await ask(http, base / "uploads", **new)
            url = base / "uploads" / upload["id"]
            parts = [await post_part(http, url, content) for content in contents[:2]]
            _, writer = await connect(base)
            lines = ("Content-Type: multipart/form-data; boundary=b", "Content-Length: 9000000")
            writer.write(head("POST", f"{url.path}/parts", *lines) + part_form(contents[2])[:-9])
            await asyncio.to_thread(
                wait_until, lambda: any(path.stat().st_size for path in incoming.iterdir())
            )
            os.kill(pid, signal.SIGKILL)
        writer.close()
        assert len(list(incoming.iterdir())) == 1

        with process(tmp_path) as (base, pid):
            assert list(incoming.iterdir()) == []
            url = base / "uploads" / upload["id"]
            parts.append(await post_part(http, url, contents[2]))
            md5 = hashlib.md5(whole).hexdigest()
            done = await ask(http, url / "complete", part_ids=parts, md5=md5)
            os.kill(pid, signal.SIGKILL)

        with process(tmp_path) as (base, _):
            file_id = done["file"]["id"]
            async with http.get(base / "files" / file_id / "content") as answer:
                assert await answer.read() == whole


def peak_mebibytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) >> 10


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
async def test_parts_never_sit_in_memory(tmp_path: Path) -> None:
    size = 64 << 20
    async with aiohttp.ClientSession() as http:
        with process(tmp_path) as (base, pid):
            upload = await ask(http, base / "uploads", **(NEW | {"bytes": 4 * size}))
            url = base / "uploads" / upload["id"]
            await post_part(http, url, b"warm up")
            before = peak_mebibytes(pid)

            parts = await asyncio.gather(*(post_part(http, url, bytes(size)) for _ in range(4)))
            md5 = hashlib.md5(bytes(4 * size)).hexdigest()
            done = await ask(http, url / "complete", part_ids=parts, md5=md5)
            async with http.get(base / "files" / done["file"]["id"] / "content") as answer:
                received = 0
                async for chunk in answer.content.iter_any():
                    received += len(chunk)

            assert received == 4 * size
            # Less than one part, for four parts in parallel, a complete and a download.
            assert peak_mebibytes(pid) - before < 48
