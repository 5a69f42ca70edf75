"""Whatever the embedded server parses, drawn at random: a value, or a refusal in the API's shape.

Hypothesis prints what it found, smallest first; there is no other seed.
"""

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from elsewhere import in_a_thread, listening
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from multidict import MultiDict
from rawhttp import FORM, JSON, KEY, form, head, part_form, request

from chunkup.server.app import create_app
from chunkup.server.bodies import (
    MAX_NAME_BYTES,
    complete_request,
    json_object,
    new_file,
    new_upload,
    no_parameters,
)
from chunkup.server.errors import PURPOSES, ApiError
from chunkup.server.multipart import (
    FieldData,
    FieldStart,
    MultipartError,
    MultipartParser,
    parse_header,
)
from chunkup.server.queries import MAX_PAGE, byte_range, listing
from chunkup.server.rows import NewFile, NewUpload
from chunkup.server.store import Store


def outcome(read: Callable[..., Any], *arguments: Any) -> Any:
    """What a reader makes of something: a value, or the refusal that it raises."""
    try:
        return read(*arguments)
    except (ApiError, web.HTTPException) as refused:
        return refused


# --- the multipart parser

# What a form is made of, in any order: what is almost a form comes up all the time.
pieces = st.sampled_from(
    [
        b"--b\r\n",
        b"\r\n--b\r\n",
        b"\r\n--b--\r\n",
        b"\r\n--b--",
        b"--b",
        b"\r\n",
        b"\r",
        b"\n",
        b"--",
        b"-",
        b" ",
        b"\t",
        b"\0",
        b"Content-Disposition: form-data; name=data\r\n\r\n",
        b'Content-Disposition: form-data; name="x"; filename="y"\r\n\r\n',
        b"Content-Type: text/plain\r\n",
        b" folded\r\n",
        b"x",
        b"x" * 100,
        b"\xff",
    ]
)
forms = st.lists(pieces | st.binary(max_size=4), max_size=12).map(b"".join)

Verdict = list[tuple[FieldStart, bytes]] | str


def verdict(body: bytes, cuts: list[int]) -> Verdict:
    """What a form says, or that it is none, when it arrives in these reads."""
    parser = MultipartParser("b")
    fields: list[tuple[FieldStart, bytes]] = []
    events = []
    begin = 0
    try:
        for end in [*sorted(cuts), len(body)]:
            events += parser.feed(body[begin:end])
            begin = end
        events += parser.finish()
    except MultipartError:
        return "refused"
    for event in events:
        if isinstance(event, FieldStart):
            fields.append((event, b""))
        elif isinstance(event, FieldData):
            fields[-1] = (fields[-1][0], fields[-1][1] + event.data)
    return fields


@settings(max_examples=300)
@given(body=forms, data=st.data())
def test_how_a_form_is_cut_into_reads_changes_nothing(body: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=20))
    whole = verdict(body, [])
    assert verdict(body, cuts) == whole
    assert verdict(body, list(range(len(body)))) == whole


@given(around=st.tuples(forms, forms), content=forms)
def test_prose_around_a_form_is_never_taken_for_content(
    around: tuple[bytes, bytes], content: bytes
) -> None:
    body = around[0] + b"\r\n" + form(('name="data"', content)) + around[1]
    found = verdict(body, [])
    if around[0].count(b"--b") == 0 and content.count(b"--b") == 0:
        assert found == [(FieldStart("data", None, None), content)]


@given(text=st.text() | st.text("form-data; nm=\"\\%'*=UTF8 \t"))
def test_any_header_is_read_or_refused(text: str) -> None:
    try:
        value, parameters = parse_header(text)
    except MultipartError:
        return
    assert value == value.lower()
    assert all(name == name.lower() for name in parameters)


# --- JSON bodies and form fields

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["created_at", "batch", 3600, 3600.0, 1 << 33, (1 << 33) + 1, 0, -1])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
NAMES = ["filename", "purpose", "bytes", "mime_type", "expires_after", "part_ids", "md5", "x"]
objects = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), values, max_size=8)


@given(body=st.binary() | st.text().map(str.encode) | values.map(lambda v: json.dumps(v).encode()))
@example(body=b"[" * 100_000)
@example(body=b'{"a":' * 100_000)
@example(body=b"1" * 100_000)
def test_any_bytes_are_a_json_object_or_refused(body: bytes) -> None:
    found = outcome(json_object, body)
    if isinstance(found, ApiError):
        assert (found.status, json.loads(json.dumps(found.body()))) == (400, found.body())
    else:
        assert found == json.loads(body)


@given(body=objects)
def test_any_object_is_a_request_or_refused(body: dict[str, Any]) -> None:
    for read in (lambda body: new_upload(body, max_bytes=8 << 30), complete_request, no_parameters):
        found = outcome(read, body)
        if isinstance(found, ApiError):
            assert found.status == 400
            assert found.param is not None
            assert len(json.dumps(found.body())) < 5000


words = st.text(min_size=1, max_size=50).filter(lambda text: text.isprintable())


@given(
    filename=words,
    size=st.integers(1, 8 << 30),
    mime=words,
    purpose=st.sampled_from(PURPOSES),
    seconds=st.none() | st.integers(3600, 2_592_000),
    ids=st.lists(st.text(max_size=40), max_size=5),
    md5=st.none() | st.text("0123456789abcdefABCDEF", min_size=32, max_size=32),
)
def test_what_is_right_is_read_as_it_was_meant(
    filename: str,
    size: int,
    mime: str,
    purpose: str,
    seconds: int | None,
    ids: list[str],
    md5: str | None,
) -> None:
    policy = {} if seconds is None else {"anchor": "created_at", "seconds": seconds}
    body = {"filename": filename, "bytes": size, "mime_type": mime, "purpose": purpose}
    sent = json.dumps(body | ({"expires_after": policy} if policy else {})).encode()
    assert new_upload(json_object(sent), max_bytes=8 << 30) == NewUpload(
        filename=filename, bytes=size, mime_type=mime, purpose=purpose, file_seconds=seconds
    )
    asked = complete_request({"part_ids": ids} | ({} if md5 is None else {"md5": md5}))
    assert (asked.part_ids, asked.md5) == (tuple(ids), md5)
    fields = {"purpose": purpose} | {f"expires_after[{k}]": str(v) for k, v in policy.items()}
    assert new_file(filename, fields) == NewFile(
        filename=filename, purpose=purpose, file_seconds=seconds
    )


@given(size=st.integers(MAX_NAME_BYTES - 2, MAX_NAME_BYTES + 2), letter=st.sampled_from("aé"))
def test_a_filename_is_bounded_by_its_bytes(size: int, letter: str) -> None:
    filename = letter * size
    found = outcome(new_file, filename, {"purpose": "batch"})
    if len(filename.encode()) > MAX_NAME_BYTES:
        assert (found.status, found.param) == (400, "file")
    else:
        assert found.filename == filename


# --- queries and ranges

parameters = st.sampled_from(["limit", "after", "order", "purpose", "x", ""])
given_values = st.text(max_size=10) | st.sampled_from(
    ["0", "1", "10000", "10001", "-1", "1e3", " 1", "\u0661", "asc", "desc", "9" * 18, "9" * 5000]
)


@given(query=st.lists(st.tuples(parameters, given_values), max_size=5))
def test_any_query_asks_for_a_listing_or_is_refused(query: list[tuple[str, str]]) -> None:
    names = [name for name, _ in query]
    given_once = dict(query)
    asked = outcome(listing, MultiDict(query))
    if isinstance(asked, ApiError):
        assert asked.status == 400
        assert asked.param in {"limit", "after", "order", "purpose"}
        return
    assert all(names.count(name) < 2 for name in ("limit", "after", "order", "purpose"))
    assert asked.limit == int(given_once.get("limit", MAX_PAGE))
    assert 1 <= asked.limit <= MAX_PAGE
    assert asked.newest_first == (given_once.get("order", "desc") == "desc")
    assert (asked.after, asked.purpose) == (given_once.get("after"), given_once.get("purpose"))


@given(
    text=st.text("bytes=-0123456789, \t", max_size=30)
    | st.tuples(st.text("0123456789-", max_size=20)).map(lambda drawn: f"bytes={drawn[0]}"),
    size=st.integers(0, 200),
)
@example(text="bytes=-0", size=10)
@example(text="bytes=0-" + "9" * 4000, size=10)
@example(text="bytes=0-0", size=0)
def test_any_range_lies_within_the_content(text: str, size: int) -> None:
    found = outcome(byte_range, {"Range": text}, size)
    if isinstance(found, web.HTTPException):
        assert (found.status, found.headers["Content-Range"]) == (416, f"bytes */{size}")
    elif found is not None:
        start, stop = found
        assert 0 <= start < stop <= size
        first, _, last = text.removeprefix("bytes=").partition("-")
        assert start == (int(first) if first else size - min(size, int(last)))
        assert stop == (min(size, int(last) + 1) if first and last else size)


# --- the whole server, on the wire


@dataclass(frozen=True, slots=True)
class Victim:
    """A server in a thread of its own, an Upload on it, and one File of ten bytes."""

    port: int
    store: Store
    upload_id: str
    file_id: str

    def say(self, data: bytes, patience: float = 20.0) -> tuple[int, bytes] | None:
        """Send it, and return the first answer's status and body; None when there is none."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as raw:
            try:
                raw.sendall(data)
                raw.settimeout(patience)
                answer = HTTPResponse(raw, method="GET")
                answer.begin()
                return answer.status, answer.read()
            except (TimeoutError, ConnectionError):
                return None

    def is_well(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as raw:
            raw.sendall(head("GET", f"/v1/files/{self.file_id}/content"))
            answer = HTTPResponse(raw)
            answer.begin()
            assert answer.read() == b"0123456789"


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    folder: Path = tmp_path_factory.mktemp("victim")
    store = Store(folder)
    try:
        with in_a_thread(lambda: listening(create_app(store, key=KEY))) as url:
            port = int(url.rpartition(":")[2].partition("/")[0])
            new = NewUpload(filename="a", bytes=8 << 30, mime_type="a/b", purpose="user_data")
            incoming = store.receive()
            incoming.write([memoryview(b"0123456789")])
            file = store.add_file(NewFile(filename="a", purpose="user_data"), incoming)
            yield Victim(port, store, store.create_upload(new).id, file.id)
    finally:
        store.close()


modest = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def check(said: tuple[int, bytes] | None, *statuses: int) -> None:
    """See that an answer is one of these, and if a refusal, in the API's shape."""
    assert said is not None
    status, body = said
    assert status in statuses, said
    if status >= 400:
        error = json.loads(body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert KEY not in error["message"]


@modest
@given(body=forms | st.binary() | forms.map(part_form))
def test_any_form_is_a_part_or_refused(victim: Victim, body: bytes) -> None:
    path = f"/v1/uploads/{victim.upload_id}/parts"
    before = len(victim.store.parts())
    said = victim.say(request("POST", path, body, FORM))
    check(said, 200, 400)
    assert len(victim.store.parts()) - before == (said is not None and said[0] == 200)


@modest
@given(body=(values | objects).map(lambda value: json.dumps(value).encode()) | st.binary())
def test_any_json_is_answered_in_the_apis_shape(victim: Victim, body: bytes) -> None:
    check(victim.say(request("POST", "/v1/uploads", body, JSON)), 200, 400)
    # Nothing drawn at random can name a part, so the Upload stays.
    path = f"/v1/uploads/{victim.upload_id}/complete"
    check(victim.say(request("POST", path, body, JSON)), 400)


@modest
@given(query=st.binary(max_size=30), path=st.binary(max_size=20))
@example(query=b"\xed\xa0\x80", path=b"\xff")
@example(query=b"\0", path=b"\0")
def test_any_query_and_id_are_answered_in_the_apis_shape(
    victim: Victim, query: bytes, path: bytes
) -> None:
    for name in ("after", "purpose", "limit", "order", "x"):
        check(victim.say(head("GET", f"/v1/files?{name}={quote(query)}")), 200, 400, 404)
    for tail in ("", "/content"):
        target = f"/v1/files/{quote(path, safe='')}{tail}"
        # An empty id leaves another path, which may be the list.
        check(victim.say(head("GET", target)), 404, *([200] if not path else []))


@modest
@given(data=st.data())
def test_a_request_with_bytes_changed_is_answered_or_dropped(
    victim: Victim, data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(["create", "part", "list"]))
    if kind == "create":
        new = {"filename": "a", "bytes": 3, "mime_type": "a/b", "purpose": "batch"}
        raw = request("POST", "/v1/uploads", json.dumps(new).encode(), JSON)
    elif kind == "part":
        path = f"/v1/uploads/{victim.upload_id}/parts"
        raw = request("POST", path, part_form(b"abc"), FORM)
    else:
        raw = head("GET", "/v1/files?limit=1")
    changed = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed) - 1))
        change = data.draw(st.sampled_from(["flip", "drop", "twice", "put"]))
        if change == "flip":
            changed[at] ^= 1 << data.draw(st.integers(0, 7))
        elif change == "drop":
            del changed[at]
        elif change == "twice":
            changed[at:at] = changed[at : at + 10]
        else:
            changed[at:at] = data.draw(st.binary(max_size=5))
    # It may wait for more, which is its right. Nobody waits with it for longer.
    said = victim.say(bytes(changed), patience=0.25)
    if said is not None:
        check(said, 200, 400, 401, 404, 405, 413, 415, 417, 501)
    victim.is_well()
