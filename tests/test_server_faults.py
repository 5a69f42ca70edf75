"""Faults as data: what can be said of one, what cannot, and how it is shown."""

from dataclasses import fields
from typing import Any

import pytest

from chunkup.server.aim import Faults
from chunkup.server.faults import ANY, CALLS, Fault, Words

# --- what can be said -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "a fault says what happens, such as drop_answer=True"),
        ({"drop_answer": False, "hang": False}, "a fault says what happens"),
        ({"nth": 3, "times": 2, "probability": 0.5}, "a fault says what happens"),
        ({"drop_answer": True, "hang": True}, "one way, not in drop_answer and hang"),
        ({"drop_answer": True, "status": 500}, "not in drop_answer and status"),
        ({"status": 500, "hang": True}, "not in hang and status"),
        ({"status": True}, "status is a whole number, not True"),
        ({"status": "503"}, "status is a whole number, not '503'"),
        ({"hang": 1}, "hang is True or False, not 1"),
        ({"drop_answer": "yes"}, "drop_answer is True or False, not 'yes'"),
        ({"hang": None}, "hang is True or False, not None"),
        ({"hang": True, "nth": 1.0}, "nth is a whole number"),
        ({"hang": True, "nth": None}, "nth is a whole number"),
        ({"hang": True, "times": "all"}, "times is a whole number"),
        ({"hang": True, "until": "x"}, "until is a whole number"),
        ({"hang": True, "probability": "often"}, "probability is a number, not 'often'"),
        ({"hang": True, "probability": True}, "probability is a number, not True"),
        ({"delay": "1"}, "delay is a number, not '1'"),
        ({"delay": None}, "delay is a number, not None"),
        ({"carried_out": 1, "status": 502}, "carried_out is True or False, not 1"),
        ({"hang": True, "message": "no"}, "hang gives no answer, so there is none .* message"),
        ({"drop_answer": True, "headers": {"a": "b"}}, "drop_answer gives no answer.* headers"),
        ({"reset": True, "cut": 3}, "reset gives no answer, so there is none .* cut"),
        ({"hang": True, "trickle": 1}, "hang gives no answer.* trickle"),
        ({"hang": True, "gzip": True}, "hang gives no answer.* gzip"),
        ({"reset": True, "drop_answer": True}, "not in drop_answer and reset"),
        ({"hang": True, "body": "x"}, "not in hang and body"),
        ({"message": "no", "delay": 1}, "message belongs to a status"),
        ({"message": "no", "status": 500, "body": "x"}, "message belongs to a status"),
        ({"hang": True, "delay": 1}, "hang never ends"),
        ({"after": 3}, "with after the rest is not read: say what happens then"),
        ({"after": 3, "delay": 1}, "with after the rest is not read: say what happens then"),
        ({"after": 3, "status": 413, "carried_out": True}, "cannot be carried out"),
        ({"carried_out": False}, "has no answer of its own"),
        ({"carried_out": False, "delay": 1}, "has no answer of its own"),
        ({"carried_out": True}, "a fault says what happens"),
        ({"garble": True, "status": 500}, "garble is for a request that is carried out"),
        ({"hold": 1, "hang": True}, "hold is for a request that is carried out"),
        ({"hang": True, "every": 2, "probability": 0.5}, "say one of them"),
        ({"status": 304, "cut": 1}, "status 304 has no body, so cut says nothing"),
        ({"status": 204, "body": "x"}, "status 204 has no body, so body says nothing"),
        ({"body": (1, 2)}, "body is text or JSON, not"),
        ({"body": {1: 2}}, "body is text or JSON, not"),
        ({"body": b"x"}, "body is text or JSON, not b'x'"),
        ({"body": float("nan")}, "body is text or JSON, not nan"),
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
        ({"status": 200}, "status is 300 to 599, not 200; below 300 it needs a body"),
        ({"status": 600}, "status is 300 to 599, not 600"),
        ({"status": 600, "body": "x"}, "status is 200 to 599, not 600"),
        ({"status": 199, "body": "x"}, "status is 200 to 599, not 199"),
        ({"hang": True, "every": 0}, "every is 1 or more, not"),
        ({"hang": True, "until": 0}, "until is 1 or more, not"),
        ({"hang": True, "nth": 3, "until": 2}, "until 2 is before nth 3"),
        ({"hang": True, "after": -1}, "after is 0 or more, not"),
        ({"cut": -1}, "cut is 0 or more, not"),
        ({"hang": True, "probability": 1.5}, "probability is above 0, up to 1, not 1.5"),
        ({"hang": True, "probability": 0}, "probability is above 0, up to 1, not 0"),
        ({"hang": True, "probability": float("nan")}, "probability is above 0"),
        ({"delay": -1}, "delay is 0 to 86400, not -1"),
        ({"delay": 90_000}, "delay is 0 to 86400, not 90000"),
        ({"trickle": float("inf")}, "trickle is 0 to 86400, not inf"),
        ({"hold": float("nan")}, "hold is 0 to 86400, not nan"),
        ({"body": "\ud800"}, "body is no Unicode text"),
        ({"status": 503, "headers": {"Date": "then"}}, "set by the server itself"),
        ({"hang": True, "nth": 0}, "nth is 1 or more, not"),
        ({"hang": True, "times": 0}, "times is 1 or more, not"),
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
    with pytest.raises(ValueError, match=r"create, part, complete, .*, delete, or any"):
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
    assert str(loud) == "fault('list', times=2, status=503, message=..., headers=...)"
    assert str(Faults().set(loud)) == str(loud)


def test_what_has_no_content_or_no_body_is_refused_by_name() -> None:
    for call in {*CALLS, ANY} - {"part", "file"}:
        with pytest.raises(TypeError, match=f"{call} has no content to be stored"):
            Fault(call=call, garble=True)
    for call in ("list", "retrieve", "content", "delete"):
        with pytest.raises(TypeError, match=f"{call} has none"):
            Fault(call=call, hang=True, after=3)
    for call in ("create", "part", "complete", "cancel", "file", ANY):
        Fault(call=call, hang=True, after=0)


@pytest.mark.parametrize(
    ("said", "is_carried_out"),
    [
        ({"drop_answer": True}, True),
        ({"reset": True}, True),
        ({"delay": 1}, True),
        ({"garble": True}, True),
        ({"headers": {"a": "b"}}, True),
        ({"cut": 0}, True),
        ({"hang": True}, False),
        ({"status": 502}, False),
        ({"body": "x"}, False),
        ({"drop_answer": True, "after": 0}, False),
        ({"drop_answer": True, "carried_out": False}, False),
        ({"hang": True, "carried_out": True}, True),
        ({"status": 502, "carried_out": True}, True),
    ],
)
def test_whether_a_request_is_carried_out_follows_unless_it_is_said(
    said: dict[str, Any], is_carried_out: object
) -> None:
    assert Fault(call="part", **said).carries_out is is_carried_out


def test_everything_a_fault_may_say_can_be_said_by_keyword() -> None:
    assert ["call", *Words.__annotations__] == [each.name for each in fields(Fault)]
