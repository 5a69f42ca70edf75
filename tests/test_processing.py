"""Waiting for a File that the server is not through with."""

import asyncio
import shlex
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from house import HASTY, KEY, House
from test_files import file_of, uploader_at
from wire import Caller, answering, listening, opened, reply

from chunkup import AsyncUploader
from chunkup.errors import Failed, NotFound, Stopped
from chunkup.processing import wait_processed

_Result = TypeVar("_Result")

GONE = reply({"error": {"message": "No such File object: file-1", "param": "id"}}, 404)
READY = file_of(1)


async def at_once(request: Callable[[], Awaitable[_Result]]) -> _Result:
    """Carry out a request once."""
    return await request()


def saying(status: object, **more: object) -> bytes:
    return reply(file_of(1, status=status, **more))


async def waited(*replies: bytes, patience: float = 60.0) -> tuple[object, int]:
    async with listening(answering(*replies)) as wire, opened(wire.url) as api:
        found = await wait_processed(api, at_once, "file-1", timeout=patience, step=0.001)
        return found, len(wire.asked)


@pytest.mark.parametrize("word", ["processed", "ok", "succeeded", "Active", None, ""])
async def test_words_that_say_that_it_can_be_used(word: str | None) -> None:
    _, looks = await waited(saying(word))
    assert looks == 1


async def test_a_file_is_waited_for_through_any_other_word() -> None:
    words = ("uploaded", "pending", "running", "notRunning", "importing", "a\x1b[31mnew word")
    found, looks = await waited(*map(saying, words), saying("processed"))
    assert looks == len(words) + 1
    assert getattr(found, "status", None) == "processed"


@pytest.mark.parametrize("word", ["error", "failed", "deleted", "cancelled", "Error"])
async def test_a_file_that_never_will_be_is_an_error_with_the_servers_details(word: str) -> None:
    with pytest.raises(Failed, match=r"of File file-1: line 3 \\x1b\[2J is wrong"):
        await waited(saying("uploaded"), saying(word, status_details="line 3 \x1b[2J is wrong"))


async def test_a_file_that_is_not_known_yet_is_waited_for() -> None:
    _, looks = await waited(GONE, GONE, saying("pending"), saying("processed"))
    assert looks == 4


async def test_a_file_that_was_known_and_is_gone_is_gone() -> None:
    with pytest.raises(NotFound):
        await waited(saying("pending"), GONE, saying("processed"))


async def test_a_file_that_never_shows_itself_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound):
        await waited(GONE, patience=0.3)
    monkeypatch.setattr("chunkup.processing._FRESH", 0.05)
    began = time.monotonic()
    with pytest.raises(NotFound):
        await waited(GONE)
    assert time.monotonic() - began < 30


async def test_a_size_that_comes_late_is_asked_for_and_one_that_never_comes_is_not() -> None:
    late, looks = await waited(saying("processed", bytes=None), saying("processed", bytes=9))
    assert (getattr(late, "bytes", None), looks) == (9, 2)
    never, looks = await waited(saying("processed", bytes=None))
    assert (getattr(never, "bytes", 0), looks) == (None, 4)


async def test_a_file_that_takes_too_long_is_a_stop_that_says_its_state() -> None:
    with pytest.raises(Stopped, match="is not processed after 0 s, but 'running'") as caught:
        await waited(saying("running"), patience=0.2)
    assert caught.value.exit_code == 75
    assert caught.value.hint == "chunkup files show file-1"


async def test_an_id_of_a_server_stays_one_word_of_the_hint() -> None:
    ugly = "x; rm -rf ~ '"
    with pytest.raises(Failed) as caught:
        await waited(reply(file_of(1, id=ugly, status="failed")))
    assert shlex.split(caught.value.hint or "") == ["chunkup", "files", "show", ugly]


async def test_a_server_that_hangs_is_not_waited_for_any_longer(journal: Path) -> None:
    async def serve(caller: Caller) -> None:
        await caller.request()
        await caller.for_ever()

    async with listening(serve) as wire, uploader_at(wire.url, journal) as uploader:
        with pytest.raises(Stopped, match="is not processed"):
            await asyncio.wait_for(uploader.files.wait("file-1", timeout=0.2), 30)


async def test_a_file_whose_answer_says_it_all_costs_no_request(
    house: House, journal: Path
) -> None:
    async with house.uploader(journal) as uploader:
        file = await uploader.files.create(b"abc", filename="a", purpose="user_data")
        house.calls.clear()
        assert await uploader.files.wait(file) == file
        assert house.calls == []
        assert await uploader.files.wait(file.id) == file
        assert house.calls == ["retrieve"]


async def test_a_failed_look_is_repeated(journal: Path) -> None:
    trouble = reply({"error": "later"}, 503, {"retry-after-ms": "1"})
    answers = answering(trouble, reply(READY))
    async with (
        listening(answers) as wire,
        AsyncUploader(base_url=wire.url, api_key=KEY, journal=journal, options=HASTY) as uploader,
    ):
        assert (await uploader.files.wait("file-1")).id == "file-1"
