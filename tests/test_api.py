"""The calls as they go over the wire, and what a key or an id may never do there."""

import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from pathlib import Path
from urllib.parse import unquote

import pytest
from house import KEY
from hypothesis import given
from hypothesis import strategies as st
from strategies import plain_job
from wire import answering, body_of, everything, listening, opened, reply, silent

from chunkup.answers import segment
from chunkup.api import Api
from chunkup.errors import BadAnswer, ChunkupError, Rejected, Stopped, Unauthorized
from chunkup.models import Job, RemoteFile, Upload

UPLOAD = {"id": "upload_1", "created_at": 100, "expires_at": 3700, "status": "pending"}
FILE = {"id": "file-1", "bytes": 5, "created_at": 100, "filename": "a", "purpose": "batch"}

Call = Callable[[Api], Awaitable[object]]

CALLS: dict[str, Call] = {
    "create": lambda api: api.create(plain_job()),
    "part": lambda api: api.add_part("upload_1", body_of(b"abc"), silent),
    "complete": lambda api: api.complete("upload_1", ["part_1"], None),
    "cancel": lambda api: api.cancel("upload_1"),
    "list": lambda api: api.list_files("batch", None),
    "retrieve": lambda api: api.retrieve("file-1"),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
ANY = reply(UPLOAD | {"data": []})


# --- each call ------------------------------------------------------------------------------


async def test_create_sends_the_four_fields_and_reads_the_upload() -> None:
    async with listening(answering(reply(UPLOAD))) as wire, opened(wire.url) as api:
        assert await api.create(plain_job()) == Upload("upload_1", 100, 3700)
    (asked,) = wire.asked
    assert (asked.method, asked.target) == ("POST", "/v1/uploads")
    assert asked.headers["content-type"] == "application/json"
    assert asked.json == {
        "filename": "train.jsonl",
        "purpose": "batch",
        "bytes": 1000,
        "mime_type": "application/jsonl",
    }


async def test_create_asks_for_an_expiry_only_if_there_is_one() -> None:
    job = plain_job()
    lasting = Job(**{name: getattr(job, name) for name in job.__slots__} | {"expires_after": 7200})
    async with listening(answering(reply(UPLOAD))) as wire, opened(wire.url) as api:
        await api.create(lasting)
    assert wire.asked[0].json["expires_after"] == {"anchor": "created_at", "seconds": 7200}


async def test_a_part_goes_to_its_upload_and_gives_the_parts_id() -> None:
    async with listening(answering(reply({"id": "part_9"}))) as wire, opened(wire.url) as api:
        assert await api.add_part("upload_1", body_of(b"abc"), silent) == "part_9"
    (asked,) = wire.asked
    assert (asked.method, asked.target) == ("POST", "/v1/uploads/upload_1/parts")
    assert asked.headers["content-type"].startswith("multipart/form-data; boundary=")


@pytest.mark.parametrize(("md5", "more"), [(None, {}), ("0" * 32, {"md5": "0" * 32})])
async def test_complete_sends_the_ids_in_order_and_the_md5_if_there_is_one(
    md5: str | None, more: dict[str, str]
) -> None:
    done = UPLOAD | {"status": "completed", "file": FILE}
    async with listening(answering(reply(done))) as wire, opened(wire.url) as api:
        upload = await api.complete("upload_1", ["part_b", "part_a"], md5)
    assert upload.file == RemoteFile("file-1", 5, 100, "a", "batch")
    (asked,) = wire.asked
    assert (asked.method, asked.target) == ("POST", "/v1/uploads/upload_1/complete")
    assert asked.headers["content-type"] == "application/json"
    assert asked.json == {"part_ids": ["part_b", "part_a"]} | more


async def test_cancel_has_neither_a_body_nor_a_content_type() -> None:
    async with listening(answering(reply(UPLOAD))) as wire, opened(wire.url) as api:
        await api.cancel("upload_1")
    (asked,) = wire.asked
    assert (asked.method, asked.target) == ("POST", "/v1/uploads/upload_1/cancel")
    assert asked.body == b""
    assert "content-type" not in asked.headers
    assert "transfer-encoding" not in asked.headers


@pytest.mark.parametrize("more", [True, False, None, "true", 1])
async def test_a_listing_asks_for_one_purpose_newest_first_and_pages_on(more: object) -> None:
    page = reply({"data": [FILE, FILE | {"id": "file-0"}], "has_more": more})
    async with listening(answering(page)) as wire, opened(wire.url) as api:
        files, has_more = await api.list_files("user data", None)
        assert [file.id for file in files] == ["file-1", "file-0"]
        assert has_more is (more is True)
        await api.list_files("batch", "file/0&x", limit=3)
    assert [asked.method for asked in wire.asked] == ["GET", "GET"]
    first, second = (asked.target for asked in wire.asked)
    assert first == "/v1/files?purpose=user+data&order=desc&limit=100"
    assert second in {
        "/v1/files?purpose=batch&order=desc&limit=3&after=file/0%26x",
        "/v1/files?purpose=batch&order=desc&limit=3&after=file%2F0%26x",
    }


async def test_retrieve_reads_one_file() -> None:
    async with listening(answering(reply(FILE))) as wire, opened(wire.url) as api:
        assert (await api.retrieve("file-1")).bytes == 5
    assert (wire.asked[0].method, wire.asked[0].target) == ("GET", "/v1/files/file-1")


@every_call
async def test_every_call_carries_the_key_as_it_is_then_and_our_name(call: Call) -> None:
    keys = iter(["sk-first", "sk-second"])
    async with (
        listening(answering(ANY)) as wire,
        opened(wire.url, key=lambda: next(keys)) as api,
    ):
        await call(api)
        await call(api)
    sent = [asked.headers["authorization"] for asked in wire.asked]
    assert sent == ["Bearer sk-first", "Bearer sk-second"]
    for asked in wire.asked:
        assert asked.headers["accept"] == "application/json"
        assert asked.headers["user-agent"].startswith("chunkup/")


async def test_complete_and_cancel_never_use_a_connection_again() -> None:
    async with listening(answering(ANY)) as wire, opened(wire.url) as api:
        for name in ("create", "part", "complete", "complete", "cancel", "part", "list"):
            await CALLS[name](api)
    ports = [asked.port for asked in wire.asked]
    kept = {ports[0], ports[1], ports[5], ports[6]}
    assert len(kept) == 1, "what may be sent again shares a connection"
    fresh = ports[2:5]
    assert len(set(fresh) | kept) == 4
    assert all(asked.headers["connection"] == "close" for asked in wire.asked[2:5])


# --- ids ------------------------------------------------------------------------------------

ODD_IDS = [
    "a/b",
    "../../admin",
    "..%2f..%2fadmin",
    "%2e%2e",
    "...",
    "a?b=c#d",
    "a b\n",
    "ö\N{SNOWMAN}",
    "a;b:c@d",
    "\\..\\",
]


@pytest.mark.parametrize("odd", ODD_IDS)
async def test_an_id_stays_one_segment_of_the_path(odd: str) -> None:
    async with listening(answering(ANY)) as wire, opened(wire.url) as api:
        await api.retrieve(odd)
        await api.cancel(odd)
        await api.complete(odd, [], None)
        await api.add_part(odd, body_of(b"abc"), silent)
    targets = [asked.target.split("/") for asked in wire.asked]
    assert [len(parts) for parts in targets] == [4, 5, 5, 5]
    assert all(unquote(parts[3]) == odd for parts in targets)
    assert not any(char in parts[3] for parts in targets for char in "?# \n")


@pytest.mark.parametrize("bad", ["", ".", "..", "\ud800"])
async def test_an_id_that_cannot_stand_in_a_path_is_refused_and_nothing_is_sent(bad: str) -> None:
    async with listening(answering(ANY)) as wire, opened(wire.url) as api:
        calls: list[Call] = [
            lambda api: api.retrieve(bad),
            lambda api: api.cancel(bad),
            lambda api: api.complete(bad, [], None),
            lambda api: api.add_part(bad, body_of(b"abc"), silent),
        ]
        for call in calls:
            with pytest.raises(BadAnswer):
                await call(api)
    assert wire.connections == 0


@given(st.text(st.characters() | st.characters(categories=["Cs"])))
def test_any_id_becomes_one_segment_or_is_refused(text: str) -> None:
    try:
        found = segment(text)
    except ChunkupError:
        return
    assert unquote(found) == text
    assert not set(found) & set("/?#&=+ \r\n\t\\;")
    assert found.isascii()


# --- where a key must not go ----------------------------------------------------------------


@every_call
@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 306, 307, 308, 399])
async def test_a_redirect_is_an_error_and_the_key_stays_here(call: Call, status: int) -> None:
    async with listening(answering(ANY)) as elsewhere:
        ways = {"Location": elsewhere.url, "Refresh": f"0; url={elsewhere.url}"}
        away = reply({"error": {"message": "moved"}}, status, ways)
        async with listening(answering(away)) as wire, opened(wire.url) as api:
            with pytest.raises(Rejected) as caught:
                await call(api)
        assert caught.value.answer is not None
        assert caught.value.answer.status == status
        assert len(wire.asked) == 1
        assert elsewhere.connections == 0


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that would send everything elsewhere, as somebody else."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login eve password from-netrc\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@every_call
@pytest.mark.parametrize("key", [None, KEY])
async def test_netrc_and_proxies_of_the_environment_are_not_looked_at(
    call: Call, key: str | None, proxied: None
) -> None:
    async with listening(answering(ANY)) as wire, opened(wire.url, key=key) as api:
        await call(api)
    sent = wire.asked[0].headers.get("authorization")
    assert sent == (f"Bearer {KEY}" if key else None)


@every_call
async def test_cookies_are_never_kept(call: Call) -> None:
    biscuit = reply(UPLOAD | {"data": []}, headers={"Set-Cookie": "track=1; Path=/"})
    async with listening(answering(biscuit)) as wire, opened(wire.url) as api:
        await call(api)
        await call(api)
    assert all("cookie" not in asked.headers for asked in wire.asked)


@every_call
async def test_no_error_shows_the_key_even_if_the_server_echoes_nothing_else(call: Call) -> None:
    refused = reply({"error": {"message": "Incorrect API key", "code": "invalid_api_key"}}, 401)
    async with listening(answering(refused)) as wire, opened(wire.url) as api:
        with pytest.raises(Unauthorized) as caught:
            await call(api)
    assert KEY not in everything(caught.value)


# --- time -----------------------------------------------------------------------------------


def dated(moment: float | str, status: int = 200) -> bytes:
    date = moment if isinstance(moment, str) else formatdate(moment, usegmt=True)
    return reply(FILE, status, {"Date": date})


@pytest.mark.parametrize("hours", [-48, -1, 0, 5, 1000])
async def test_time_is_the_servers_as_its_last_answer_told_it(hours: int) -> None:
    theirs = time.time() + hours * 3600
    async with listening(answering(dated(theirs))) as wire, opened(wire.url) as api:
        knew, before = api.transport.knows_time, api.server_now()
        await api.retrieve("file-1")
        assert (knew, api.transport.knows_time) == (False, True)
        assert abs(before - time.time()) < 5
        assert abs(api.server_now() - theirs) < 5


async def test_each_answer_sets_the_clock_anew_and_a_refusal_is_an_answer_too() -> None:
    now = time.time()
    replies = dated(now + 7200), dated(now - 7200, 404), dated("yesterday"), reply(FILE)
    async with listening(answering(*replies)) as wire, opened(wire.url) as api:
        await api.retrieve("file-1")
        assert abs(api.server_now() - now - 7200) < 5
        with pytest.raises(Rejected):
            await api.retrieve("file-1")
        for _ in range(3):
            assert abs(api.server_now() - now + 7200) < 5
            await api.retrieve("file-1")


# --- opening and closing --------------------------------------------------------------------


async def test_it_can_be_closed_unopened_or_twice_and_not_used_then() -> None:
    async with listening(answering(ANY)) as wire, opened(wire.url) as api:
        await api.close()
        await api.close()
        with pytest.raises(Stopped, match="the connections were closed"):
            await api.retrieve("file-1")
    assert wire.connections == 0
