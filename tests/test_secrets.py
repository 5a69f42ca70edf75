"""A canary key goes through everything, and afterwards it is nowhere."""

import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from house import Handler, House, call_of, make_source, open_house
from test_cli import Shell, shell
from wire import everything

from chunkup import AsyncUploader, ChunkupError, Options, events
from chunkup.endpoint import resolve

__all__ = ["shell"]

CANARY = "sk-canary-5up3r53cr37"
HEADER = "canary-header-v4lu3"


async def test_the_key_is_in_no_log_event_error_or_journal(
    tmp_path: Path, journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    source = tmp_path / "a.bin"
    make_source(source, 5000)
    said: list[str] = []

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and house.calls.count("part") > 2:
            return web.json_response({"error": {"message": "no"}}, status=400)
        return await handler(request)

    async with open_house(tmp_path / "server", key=CANARY) as house:
        house.intercept = intercept
        async with AsyncUploader(
            base_url=house.url,
            api_key=CANARY,
            headers={"X-Secret": HEADER},
            journal=journal,
            part_size=1000,
            options=Options(workers=1),
        ) as uploader:
            said.append(repr(uploader) + str(vars(uploader)))
            with pytest.raises(ChunkupError) as caught:
                await uploader.upload(
                    source, purpose="user_data", on_event=lambda event: said.append(repr(event))
                )
            said.append("".join(traceback.format_exception(caught.value)))
            said.append(repr(vars(caught.value)))
            house.intercept = None
            await uploader.upload(source, purpose="user_data")
            said.extend(repr(line) for line in await (await uploader.journal()).lines())
    said.append(caplog.text)
    for text in said:
        assert CANARY not in text
        assert HEADER not in text
    for path in journal.parent.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert CANARY.encode() not in content
            assert HEADER.encode() not in content
            assert path.stat().st_mode & 0o077 == 0
    assert journal.parent.stat().st_mode & 0o077 == 0


def locked() -> str:
    raise LookupError(f"no {CANARY} in the safe")


@pytest.mark.parametrize("end", ["replaced", "refused", "raises", "two lines", "none"])
async def test_no_key_of_a_source_is_in_any_log_event_error_or_journal(
    tmp_path: Path, journal: Path, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    """However it goes on after the first key was refused in the middle."""
    caplog.set_level(logging.DEBUG)
    source = tmp_path / "a.bin"
    make_source(source, 5000)
    said: list[str] = []
    sources = {
        "replaced": lambda: f"{CANARY}-2",
        "refused": lambda: f"{CANARY}-3",
        "raises": locked,
        "two lines": lambda: f"{CANARY}\nX-Evil: {CANARY}",
        "none": lambda: "",
    }
    give: Callable[[], str] = lambda: CANARY  # noqa: E731  (it is replaced below)

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal give
        key = request.headers["Authorization"].removeprefix("Bearer ")
        if key != f"{CANARY}-2" and house.calls.count("part") > 2:
            give = sources[end]
            return web.json_response({"error": {"message": "Incorrect key"}}, status=401)
        return await handler(request)

    async with open_house(tmp_path / "server", key=None) as house:
        house.intercept = intercept
        async with AsyncUploader(
            base_url=house.url,
            api_key=lambda: give(),  # noqa: PLW0108  (it is another one later)
            journal=journal,
            part_size=1000,
            options=Options(workers=2, retries=1),
        ) as uploader:
            try:
                await uploader.upload(
                    source, purpose="user_data", on_event=lambda event: said.append(repr(event))
                )
                assert end == "replaced"
            except ChunkupError as error:
                assert end != "replaced"
                own = error.message + repr(vars(error))
                # What somebody else's source raised is somebody else's to say.
                said.append(own if end == "raises" else everything(error))
            said.append(repr(uploader) + str(vars(uploader)))
            book = await uploader.journal()
            said.extend(repr(line) for line in await book.lines())
            said.extend([repr(await book.runs(line.job.id)) for line in await book.lines()])
    assert not any(CANARY in text for text in [*said, caplog.text])
    files = [path for path in journal.parent.rglob("*") if path.is_file()]
    assert files
    assert not any(CANARY.encode() in path.read_bytes() for path in files)


async def test_the_key_is_in_no_output_and_no_process_list(shell: Shell) -> None:
    shell.house.intercept = None
    seen: list[bytes] = []

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        # Part of an upload: look at every process of this machine while the key is in use.
        seen.extend(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline"))
        return web.json_response({"error": {"message": "no"}}, status=401)

    shell.house.intercept = intercept
    done = await shell.run("-vv", "upload", "a.bin", "-p", "user_data", OPENAI_API_KEY=CANARY)
    assert done.code == 1
    assert "error[unauthorized]" in done.err
    assert CANARY not in done.out + done.err
    assert seen
    assert not any(CANARY.encode() in line for line in seen)


@pytest.mark.parametrize("key", [CANARY + "\nX: y", CANARY + "ä", CANARY + "\0"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(key: str) -> None:
    with pytest.raises(ChunkupError) as caught:
        resolve(api_key=key, base_url="http://127.0.0.1:1/v1", environ={})
    assert CANARY not in "".join(traceback.format_exception(caught.value))


async def test_events_say_nothing_of_headers(house: House, journal: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    make_source(source, 100)
    seen: list[events.Event] = []
    async with house.uploader(journal) as uploader:
        await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert "Bearer" not in repr(seen)
