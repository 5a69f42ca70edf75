"""What Portkey's gateway says of trouble behind it, as it was captured, where it cannot be run."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from chunkup.verdicts import Call, interpret, repeated

CAPTURED: Final[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "portkey" / "failed.json").read_text()
)
FETCH = "Message: fetch failed Cause: SocketError: other side closed Name: TypeError"


@pytest.mark.parametrize(
    ("route", "words"),
    [("uploads", FETCH), ("files", FETCH), ("unpinned", "Something went wrong")],
)
def test_its_own_failures_are_sentences_and_worth_another_try(route: str, words: str) -> None:
    said = CAPTURED[route]
    headers = {"Content-Type": said["content_type"]}
    error = interpret(said["status"], headers, said["body"], what=Call.LIST)
    assert error.message == f"the server would not list Files: 500 {words}"
    assert error.retryable


@pytest.mark.parametrize(("count", "more_than_once"), CAPTURED["repeats"].items())
def test_it_tells_whether_it_sent_a_request_more_than_once(
    count: str, *, more_than_once: bool
) -> None:
    assert repeated({"x-portkey-retry-attempt-count": count}) is more_than_once


def test_who_says_nothing_sent_a_request_once() -> None:
    assert not repeated({})


@pytest.mark.parametrize(("call", "status"), [(Call.POST, 404), (Call.POST, 405), (Call.LIST, 404)])
def test_a_server_without_files_is_more_often_a_base_url_that_is_wrong(
    call: Call, status: int
) -> None:
    error = interpret(status, {}, "", what=call)
    assert "(this server seems to have no Files; check the base URL" in error.message
