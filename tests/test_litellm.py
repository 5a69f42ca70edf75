"""Through LiteLLM's own proxy: Files by its own routes, Uploads as it passes them through.

It is run on demand: CHUNKUP_LITELLM=1. Its package brings 750 MB along.
"""

import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from counterparts import Counterpart, installed_by_pip, started
from elsewhere import in_a_thread
from house import HASTY, KEY, Handler, House, call_of, drop, make_source, open_house
from test_cli import Shell, shell

from chunkup import AsyncUploader, ChunkupError, RemoteFile, events

__all__ = ["shell"]

pytestmark = [
    pytest.mark.litellm,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        os.environ.get("CHUNKUP_LITELLM") != "1",
        reason="counterpart: LiteLLM brings 750 MB along: set CHUNKUP_LITELLM=1",
    ),
]

PART, SIZE = 1000, 20_500
MASTER: Final = f"sk-{secrets.token_hex(24)}"
QUICK = replace(HASTY, looks=(0.0, 0.1), patience=0.5)


def config(url: str) -> dict[str, Any]:
    """What an administrator writes: it knows Files by itself, and Uploads as a path alone."""
    return {
        "files_settings": [{"custom_llm_provider": "openai", "api_base": url, "api_key": KEY}],
        "general_settings": {
            "pass_through_endpoints": [
                {
                    "path": "/v1/uploads",
                    "target": f"{url}/uploads",
                    "include_subpath": True,
                    "headers": {"Authorization": f"Bearer {KEY}"},
                }
            ]
        },
        "litellm_settings": {"telemetry": False},
    }


@pytest.fixture(scope="module")
def behind_it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("server")
    with in_a_thread(lambda: open_house(folder)) as house:
        yield house


@pytest.fixture(scope="module")
def shared_litellm(
    behind_it: House, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Counterpart]:
    folder = installed_by_pip("litellm", "litellm[proxy]==1.106.2", patience=500)
    written = tmp_path_factory.mktemp("litellm") / "litellm.json"
    written.write_text(json.dumps(config(behind_it.url)))
    environ = {
        "LITELLM_MASTER_KEY": MASTER,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        # Its list of Files does not look at files_settings.
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": behind_it.url,
        # Whatever it would ask elsewhere finds nobody.
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    words = [str(folder / "bin" / "litellm"), "--config", str(written)]
    with started([*words, "--host", "127.0.0.1", "--port", "{port}"], environ) as counterpart:
        yield counterpart


@pytest.fixture
def litellm(shared_litellm: Counterpart, behind_it: House) -> Iterator[Counterpart]:
    behind_it.intercept = None
    behind_it.calls.clear()
    for row in behind_it.files:
        behind_it.store.delete_file(row.id)
    yield shared_litellm
    print(shared_litellm.news())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    make_source(path, SIZE)
    return path


def through(litellm: Counterpart, journal: Path) -> AsyncUploader:
    return AsyncUploader(
        base_url=litellm.url + "/v1",
        api_key=MASTER,
        journal=journal,
        part_size=PART,
        options=QUICK,
    )


def assert_the_one(house: House, source: Path, file: RemoteFile) -> None:
    assert [row.id for row in house.files] == [file.id]
    assert house.content(file.id) == source.read_bytes()


async def test_a_file_goes_through_by_parts(
    litellm: Counterpart, behind_it: House, journal: Path, source: Path
) -> None:
    async with through(litellm, journal) as uploader:
        file = await uploader.upload(source, purpose="user_data", method="uploads")
    assert_the_one(behind_it, source, file)
    assert behind_it.calls == ["create", *["part"] * 21, "complete"]


async def test_the_command_goes_through_and_cancels_through_it(
    litellm: Counterpart, behind_it: House, shell: Shell
) -> None:
    environ = {"OPENAI_BASE_URL": litellm.url + "/v1", "OPENAI_API_KEY": MASTER}
    here = replace(shell, environ={**shell.environ, **environ})
    done = await here.upload("a.bin")
    assert done.code == 0, done.err
    assert [row.id for row in behind_it.files] == [done.out.strip()]

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            return web.json_response({"error": {"message": "not now"}}, status=503)
        return await handler(request)

    behind_it.intercept = intercept
    stopped = await here.upload("a.bin", "--fresh", CHUNKUP_RETRIES="0")
    assert stopped.code == 75, stopped.err
    assert "503 not now" in stopped.err
    behind_it.calls.clear()
    job = next(each for each, line in (await here.jobs()).items() if line.phase.name == "SENDING")
    cancelled = await here.run("cancel", job)
    assert cancelled.code == 0, cancelled.err
    assert behind_it.calls == ["cancel"]


@pytest.mark.parametrize("call", ["part", "complete"])
async def test_an_answer_that_is_lost_behind_it_makes_no_second_file(
    litellm: Counterpart, behind_it: House, journal: Path, source: Path, call: str
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        if call_of(request) == call and behind_it.calls.count(call) == 1:
            return drop(request)
        return answer

    behind_it.intercept = intercept
    seen: list[events.Event] = []
    async with through(litellm, journal) as uploader:
        file = await uploader.upload(
            source, purpose="user_data", method="uploads", on_event=seen.append
        )
    assert_the_one(behind_it, source, file)
    recovered = [event.recovered for event in seen if isinstance(event, events.Completed)]
    assert recovered == [call == "complete"]


async def test_all_of_the_files_api_goes_through(
    litellm: Counterpart, behind_it: House, journal: Path, tmp_path: Path, source: Path
) -> None:
    line = {"method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}}
    source.write_text("".join(json.dumps({"custom_id": str(n), **line}) + "\n" for n in range(200)))
    async with through(litellm, journal) as uploader:
        files = uploader.files
        big = await files.create(source, purpose="batch")
        small = await files.create(b"some bytes", purpose="user_data", filename="b.txt")
        assert {file.id async for file in files.list()} == {big.id, small.id}
        assert [file.id async for file in files.list("batch")] == [big.id]
        assert (await files.retrieve(small.id)).bytes == 10
        there = await files.download(big.id, tmp_path / "back")
        assert there.read_bytes() == source.read_bytes()
        assert await files.delete(small.id)
    assert_the_one(behind_it, source, big)


async def test_its_own_refusals_are_sentences(
    litellm: Counterpart, behind_it: House, journal: Path, tmp_path: Path
) -> None:
    source = tmp_path / "train.txt"
    make_source(source, 100)
    async with through(litellm, journal) as uploader:
        with pytest.raises(ChunkupError) as caught:
            await uploader.upload(source, purpose="batch", method="files")
    assert caught.value.exit_code == 1
    assert "400" in caught.value.message
    assert "jsonl" in caught.value.message
    assert behind_it.files == []


async def test_one_request_that_it_repeats_by_itself_gives_the_file_that_was_answered(
    litellm: Counterpart, behind_it: House, journal: Path, source: Path
) -> None:
    """The SDK within it sends again what was stored unheard; that File nobody here can prevent."""

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        return drop(request) if behind_it.calls.count("post") == 1 else answer

    behind_it.intercept = intercept
    async with through(litellm, journal) as uploader:
        file = await uploader.upload(source, purpose="user_data", method="files")
    made = [row.id for row in behind_it.files]
    assert behind_it.calls.count("post") == len(made) == 2
    assert file.id in made
    assert behind_it.content(file.id) == source.read_bytes()
