"""A server of somebody else with /files and no /uploads: aimock, and the chaos that it can make."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import ClientSession
from counterparts import Counterpart, installed, started
from house import HASTY, KEY, make_source
from test_cli import Shell, shell

from chunkup import AsyncUploader, ChunkupError, Options, RemoteFile
from chunkup.errors import OutcomeUnknown, Rejected, Stopped

__all__ = ["shell"]  # a fixture

AIMOCK: Final = {"@copilotkit/aimock": "1.43.0"}
CAP: Final = 10 << 20
SIZE: Final = 50_000


def aimock(*flags: str) -> AbstractContextManager[Counterpart]:
    folder = installed("aimock", AIMOCK)
    # It loads no recorded answers: its Files need none.
    fixtures = "node_modules/@copilotkit/aimock/dist"
    command = ["node", "node_modules/@copilotkit/aimock/dist/cli.js", "--fixtures", fixtures]
    return started([*command, "--log-level", "warn", *flags], folder=folder)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with aimock() as running:
        yield running.url + "/v1"


def uploader_at(url: str, journal: Path, options: Options = HASTY) -> AsyncUploader:
    return AsyncUploader(
        base_url=url, api_key=KEY, journal=journal, part_size=10_000, options=options
    )


async def files_at(running: Counterpart) -> Counter[str]:
    """How many Files of each name there really are, asked without chaos."""
    async with ClientSession() as session:
        async with session.post(f"{running.url}/__aimock/chaos", json={}) as answer:
            assert answer.status == 200
        async with session.get(f"{running.url}/v1/files") as answer:
            found: list[dict[str, Any]] = (await answer.json())["data"]
    return Counter(file["filename"] for file in found)


async def test_auto_falls_back_to_one_request_and_says_so_once(shell: Shell, url: str) -> None:
    shell.make("fallback.jsonl", size=SIZE)
    done = await shell.run("upload", "fallback.jsonl", "-p", "user_data", OPENAI_BASE_URL=url)
    assert done.code == 0, done.err
    assert done.err.count("in one request") == 1, done.err
    async with uploader_at(url, shell.folder / "state" / "journal.db") as uploader:
        file = await uploader.files.retrieve(done.out.strip())
        back = shell.folder / "back"
        await uploader.files.download(file.id, back)
    assert back.read_bytes() == (shell.folder / "fallback.jsonl").read_bytes()
    assert (file.filename, file.bytes, file.purpose) == ("fallback.jsonl", SIZE, "user_data")


async def test_uploads_are_refused_clearly_where_there_are_none(shell: Shell, url: str) -> None:
    shell.make("parts.jsonl", size=SIZE)
    done = await shell.run(
        *("upload", "parts.jsonl", "-p", "user_data", "--method", "uploads"), OPENAI_BASE_URL=url
    )
    assert (done.code, done.out) == (1, "")
    assert "404 Not found" in done.err
    assert "this server seems to have no Uploads" in done.err
    assert "--method" in done.err


async def test_files_live_a_whole_life_there(url: str, journal: Path, tmp_path: Path) -> None:
    names = [f"life-{number}.jsonl" for number in range(5)]
    for number, name in enumerate(names):
        make_source(tmp_path / name, 2000, seed=number)
    async with uploader_at(url, journal) as uploader:
        made = [
            await uploader.upload(tmp_path / name, purpose="evals", method="files", check=False)
            for name in names
        ]
        listed = [file async for file in uploader.files.list(purpose="evals")]
        assert sorted(listed, key=lambda file: file.filename) == made
        assert await uploader.files.delete(made[0].id)
        with pytest.raises(ChunkupError) as gone:
            await uploader.files.retrieve(made[0].id)
        assert gone.value.code == "not-found"
        left = {file.id async for file in uploader.files.list(purpose="evals")}
    assert left == {file.id for file in made[1:]}


async def test_what_is_larger_than_it_takes_is_refused_for_good_in_its_words(
    url: str, journal: Path, tmp_path: Path
) -> None:
    source = tmp_path / "large.jsonl"
    make_source(source, CAP + 1)
    async with uploader_at(url, journal) as uploader:
        with pytest.raises(Rejected, match=r"400 .*10485760.*no File was made") as refused:
            await uploader.upload(source, purpose="user_data")
        (job,) = await uploader.jobs()
        assert (refused.value.exit_code, job.state) == (1, "failed")
        assert not [file async for file in uploader.files.list() if file.filename == source.name]
        # One byte less fits.
        make_source(source, CAP)
        file = await uploader.upload(source, purpose="user_data")
        assert file.bytes == CAP


@pytest.mark.parametrize(
    "chaos",
    [
        ("--chaos-drop", "0.3"),
        ("--chaos-disconnect", "0.3"),
        ("--chaos-ratelimit", "0.2"),
        ("--chaos-latency", "150"),
        ("--chaos-drop", "0.15", "--chaos-disconnect", "0.15", "--chaos-ratelimit", "0.1"),
        ("--chaos-malformed", "0.3"),
    ],
    ids=["drop", "disconnect", "ratelimit", "latency", "all", "malformed"],
)
async def test_chaos_ends_right_or_in_a_clear_stop_and_never_in_two_files(
    journal: Path, tmp_path: Path, chaos: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chunkup.retry.backoff", lambda attempt, chance: 0.0)
    sources = [tmp_path / f"{number}.jsonl" for number in range(8)]
    for number, source in enumerate(sources):
        make_source(source, SIZE, seed=number)
    options = replace(HASTY, retries=6, looks=(0.0, 0.01), patience=0.05, offline_wait=5.0)
    with aimock(*chaos) as running:
        url = running.url + "/v1"
        async with uploader_at(url, journal, options) as uploader, asyncio.timeout(60):
            results = [one async for one in uploader.upload_all(sources, purpose="user_data")]
        counted = await files_at(running)
    assert max(counted.values()) == 1
    ends = [one.file or one.error for one in results]
    for end in ends:
        if isinstance(end, RemoteFile):
            assert counted[end.filename] == 1
        else:
            assert isinstance(end, Stopped | OutcomeUnknown), end
            assert end.exit_code in {4, 75}
    # Most of it passes: hardly any series of seven is all bad luck.
    assert sum(isinstance(end, RemoteFile) for end in ends) >= len(sources) // 2
