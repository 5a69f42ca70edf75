"""What answers mean: every status, every shape of body, every wish to wait."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkup
from chunkup.errors import (
    ChunkupError,
    Forbidden,
    NotFound,
    OutOfQuota,
    ProxyRefused,
    Rejected,
    ServerTrouble,
    Throttled,
    Unauthorized,
    WantsCertificate,
)
from chunkup.models import Answer
from chunkup.verdicts import Call, Complaint, complaint, http_date, interpret, read_answer

PASSING = [408, 409, 425, 500, 502, 503, 504, 507, 511, *range(520, 530), 599]
FINAL = [300, 301, 302, 307, 400, 402, 405, 410, 413, 415, 422, 431, 451, 499, 501, 505]
KINDS: list[tuple[int, type[ChunkupError], bool]] = [
    (401, Unauthorized, False),
    (403, Forbidden, False),
    (404, NotFound, False),
    (407, ProxyRefused, False),
    (429, Throttled, True),
    *((status, Rejected, False) for status in FINAL),
    *((status, ServerTrouble, True) for status in PASSING),
]
OFFICIAL = json.dumps(
    {
        "error": {
            "message": "No such File object: fake_id",
            "type": "invalid_request_error",
            "param": "id",
            "code": None,
        },
        "detail": {"message": "something else", "code": None},
    }
)


@pytest.mark.parametrize(("status", "kind", "retryable"), KINDS)
def test_each_status_has_its_error_and_its_fate(
    status: int, kind: type[ChunkupError], *, retryable: bool
) -> None:
    error = interpret(status, {}, OFFICIAL, what="create the Upload")
    assert type(error) is kind
    assert error.retryable is retryable
    assert error.answer is not None
    assert error.answer.status == status
    expected = f"the server would not create the Upload: {status} No such File object: fake_id"
    assert error.message.startswith(expected)
    # What a person has to repair stands in the message: the hint is a command to paste.
    repairs = {401, 403, 404, 405, 407, 501} | {code for code in FINAL if code < 400}
    assert (len(error.message) > len(expected)) is (status in repairs)


@pytest.mark.parametrize(("status", "kind", "_retryable"), KINDS)
@pytest.mark.parametrize(
    ("wish", "retryable"), [("true", True), ("false", False), ("TRUE", True), ("False", False)]
)
def test_the_servers_wish_about_retrying_overrules_the_status(
    status: int, kind: type[ChunkupError], wish: str, *, _retryable: bool, retryable: bool
) -> None:
    error = interpret(status, {"X-Should-Retry": wish}, "", what="add a part")
    assert type(error) is kind
    assert error.retryable is retryable


@pytest.mark.parametrize(("status", "kind", "retryable"), KINDS)
def test_an_unknown_wish_changes_nothing(
    status: int, kind: type[ChunkupError], *, retryable: bool
) -> None:
    error = interpret(status, {"x-should-retry": "maybe"}, "", what="add a part")
    assert (type(error), error.retryable) == (kind, retryable)


@pytest.mark.parametrize("wish", [{}, {"x-should-retry": "true"}])
def test_a_used_up_quota_is_no_throttle(wish: dict[str, str]) -> None:
    body = json.dumps({"error": {"message": "You exceeded it", "code": "insufficient_quota"}})
    error = interpret(429, wish, body, what="add a part")
    assert type(error) is OutOfQuota
    assert not error.retryable
    assert error.exit_code == 1
    assert "raise the account's limit" in error.message


@pytest.mark.parametrize(
    ("call", "status", "said"),
    [
        *((call, 401, "check the key that is set") for call in Call),
        *((call, 403, "check what the key may do") for call in Call),
        *((call, 307, "no redirect is followed; check the base URL") for call in Call),
        *((call, 407, "a proxy on the way") for call in Call),
        *((Call.CREATE, status, "seems to have no Uploads") for status in (404, 405, 501)),
        (Call.PART, 413, "see --part-size"),
    ],
)
def test_what_a_person_can_repair_is_said(call: Call, status: int, said: str) -> None:
    assert said in interpret(status, {}, "", what=call).message


@pytest.mark.parametrize("call", [call for call in Call if call is not Call.CREATE])
@pytest.mark.parametrize("status", [404, 405, 501])
def test_only_a_refused_create_is_a_server_without_uploads(call: Call, status: int) -> None:
    said = interpret(status, {}, "", what=call).message
    assert "Uploads" not in said
    without_files = (call, status) in {(Call.POST, 404), (Call.POST, 405), (Call.LIST, 404)}
    assert ("seems to have no Files; check the base URL" in said) is without_files


def test_what_the_calls_say_of_themselves_is_what_the_table_knows() -> None:
    api = (Path(chunkup.__file__).parent / "api.py").read_text("utf-8")
    for call in Call:
        assert f'"{call}"' in api or f"Call.{call.name}" in api


@pytest.mark.parametrize(
    ("body", "message", "code", "param"),
    [
        (OFFICIAL, "No such File object: fake_id", None, "id"),
        (
            '{"error": {"message": "MD5 checksum mismatch", "param": "md5", "code": "bad_md5"}}',
            "MD5 checksum mismatch",
            "bad_md5",
            "md5",
        ),
        ('{"error": {"code": "invalidPayload", "message": "x"}}', "x", "invalidPayload", None),
        ('{"error": "just words"}', "just words", None, None),
        ('{"status": "failure", "message": "from a gateway"}', "from a gateway", None, None),
        ('{"detail": "Not Found"}', "Not Found", None, None),
        (
            '{"detail": [{"loc": ["body", "purpose"], "msg": "field required"}]}',
            "[{'loc': ['body', 'purpose'], 'msg': 'field required'}]",
            None,
            None,
        ),
        ("<html>\n <h1>502  Bad\tGateway</h1></html>", "502 Bad Gateway", None, None),
        (" <!doctype html><Title lang=en>4 &amp; 5</title><style>p{", "4 & 5", None, None),
        ("<title> </title><p>words</p>", "words", None, None),
        ("<", "<", None, None),
        ('{"error": {"message": "m", "code": "429", "type": "t"}}', "m", "t", None),
        ('{"error": {"message": "m", "code": 429, "type": "t"}}', "m", "t", None),
        ('{"error": {"message": "m", "code": null, "type": "t"}}', "m", None, None),
        ("", "", None, None),
        ("   \n", "", None, None),
        ("{}", "{}", None, None),
        ("[]", "[]", None, None),
        ('["a", "b"]', "['a', 'b']", None, None),
        ('"words"', "words", None, None),
        ("null", "null", None, None),
        ("{truncated", "{truncated", None, None),
        ('{"error": {"message": "m", "code": 7, "param": ["x"]}}', "m", None, None),
        ('{"error": {"message": "m", "code": "", "param": ""}}', "m", None, None),
        ('{"message": "a \\u001b[31m\\u202e b"}', "a \\x1b[31m\\u202e b", None, None),
    ],
)
def test_the_message_is_found_in_every_shape_of_body(
    body: str, message: str, code: str | None, param: str | None
) -> None:
    answer = read_answer(400, {}, body)
    assert (answer.message, answer.code, answer.param) == (message, code, param)


@pytest.mark.parametrize("body", ["<" * 60_000, "<title" * 10_000, "<a" * 30_000, "<title>" * 9000])
def test_a_page_that_never_closes_a_tag_is_read_at_once(body: str) -> None:
    began = time.monotonic()
    read_answer(502, {}, body * 15)
    assert time.monotonic() - began < 5


def test_a_quota_that_a_gateway_tells_by_its_type_is_one() -> None:
    body = '{"error": {"message": "m", "type": "insufficient_quota", "code": "429"}}'
    assert type(interpret(429, {}, body, what="add a part")) is OutOfQuota


def test_a_message_that_is_empty_adds_nothing_to_the_sentence() -> None:
    error = interpret(502, {}, "", what="complete the Upload")
    assert error.message == "the server would not complete the Upload: 502"


@pytest.mark.parametrize("depth", [10, 300, 900, *range(950, 1010), 5000, 100_000])
@pytest.mark.parametrize("shape", ["%s", '{"error": {"message": %s}}', '{"detail": %s}'])
def test_deeply_nested_json_is_only_a_strange_message(depth: int, shape: str) -> None:
    body = shape % ("[" * depth + "]" * depth)
    error = interpret(500, {}, body, what="add a part")
    assert len(error.message) < 400


def test_a_number_too_long_to_convert_is_only_a_strange_message() -> None:
    assert interpret(500, {}, '{"error": ' + "9" * 5000 + "}", what="x").answer


names = st.sampled_from(
    ["x-should-retry", "Retry-After", "retry-after-ms", "Date", "x-request-id", "X-Other"]
)
numbers = st.integers(0, 10**6) | st.floats(allow_nan=True)
http_like = st.from_regex(
    r"\A(Sun|Mon|x)?,? ?[0-9]{1,3} (Jan|Feb|Foo) [0-9]{1,12} [0-9]{1,3}:[0-9:]{0,9} ?"
    r"(GMT|[+-][0-9]{1,12}|)\Z"
)
values = st.text(st.characters(), max_size=40) | numbers.map(str) | http_like
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(st.characters(), max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "detail", "code", "param", "x"]), inner
        )
    ),
    max_leaves=12,
)
bodies = st.text(st.characters(), max_size=600) | json_values.map(json.dumps)


@settings(deadline=None)
@given(st.integers(300, 599), st.dictionaries(names, values), bodies)
def test_no_answer_whatever_it_holds_makes_more_than_an_error(
    status: int, headers: dict[str, str], body: str
) -> None:
    error = interpret(status, headers, body, what="add a part")
    answer = error.answer
    assert answer is not None
    assert error.message.isprintable()
    assert len(error.message) <= 500
    for text in (answer.message, answer.code or "", answer.param or "", error.request_id or ""):
        assert text.isprintable()
        assert len(text) <= 301
    assert answer.retry_after is None or 0 <= answer.retry_after < float("inf")
    assert complaint(answer) in Complaint


@settings(deadline=None)
@given(values)
def test_no_date_whatever_it_holds_makes_more_than_nothing(text: str) -> None:
    moment = http_date(text)
    assert moment is None or isinstance(moment, float)


@pytest.mark.parametrize("name", ["x-request-id", "X-Request-Id", "apim-request-id"])
def test_the_request_id_is_kept_for_a_report(name: str) -> None:
    assert interpret(500, {name: "req_123"}, "", what="add a part").request_id == "req_123"


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (400, "Upload is expired.", Complaint.EXPIRED),
        (404, "Upload upload_1 has expired", Complaint.EXPIRED),
        (400, "MD5 checksum mismatch", Complaint.CHECKSUM),
        (400, "Upload 'upload_1' is not pending.", Complaint.ENDED),
        (400, "Upload is completed.", Complaint.ENDED),
        (400, "Upload already finalized", Complaint.ENDED),
        (400, "status: completed", Complaint.ENDED),
        (400, "the MD5 of an Upload that was completed cannot change", Complaint.ENDED),
        (400, "The request could not be completed.", Complaint.OTHER),
        (400, "Upload was cancelled", Complaint.CANCELLED),
        (400, "Upload was canceled", Complaint.CANCELLED),
        (404, "", Complaint.ABSENT),
        (410, "", Complaint.ABSENT),
        (404, "No such Upload object: upload_1", Complaint.ABSENT),
        (400, "No such part", Complaint.ABSENT),
        (400, "Assembled size 3 does not match declared bytes 4.", Complaint.SIZE),
        (413, "", Complaint.SIZE),
        (400, "exceeds the limit", Complaint.SIZE),
        (400, "something else", Complaint.OTHER),
        (422, "", Complaint.OTHER),
    ],
)
def test_a_refusal_is_sorted_by_status_and_words(
    status: int, message: str, expected: Complaint
) -> None:
    assert complaint(Answer(status, message)) is expected


def test_code_and_param_are_words_too() -> None:
    assert complaint(Answer(400, "bad", param="md5")) is Complaint.CHECKSUM
    assert complaint(Answer(400, "bad", code="upload_expired")) is Complaint.EXPIRED


@pytest.mark.parametrize(
    "title", ["400 No required SSL certificate was sent", "400 The SSL certificate error"]
)
def test_nginx_says_in_a_page_that_it_wants_a_certificate(title: str) -> None:
    """Its pages 496 and 495, as 1.22 sends them; it never asks the server behind it."""
    page = f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n</body>\r\n</html>\r\n"
    error = interpret(400, {}, page, what="take a part")
    assert type(error) is WantsCertificate
    assert not error.retryable
    assert title in error.message
    assert "--client-cert" in error.message
    assert type(interpret(400, {}, title, what="take a part")) is Rejected
    assert type(interpret(403, {}, page, what="take a part")) is Forbidden
