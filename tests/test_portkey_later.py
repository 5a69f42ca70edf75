"""Through Portkey's gateway, installed without care: it does what it is asked, and says 500.

Its package asks for its web framework in any later version, and with those of November 2026 it
fails after the server has answered: on every success about Uploads, and on every File's content.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from counterparts import Counterpart
from gateway import Gateway, Passing, gateway
from house import HASTY, KEY, House, make_source
from test_cli import Shell, shell
from test_portkey import behind, portkey, running, shared_portkey, to

from chunkup import AsyncUploader, ChunkupError, Options, RemoteFile, events

__all__ = ["portkey", "shared_portkey", "shell"]

# What npm took for the package on 2026-11-21 when nobody said otherwise.
LATER: Final = {"@hono/node-server": "1.19.19", "hono": "4.13.19"}
SAYS: Final = "500 Something went wrong"
PART, SIZE = 1000, 5500
QUICK = replace(HASTY, retries=1, looks=(0.0, 0.1), patience=0.5)


@pytest.fixture(scope="module")
def shared_later() -> Iterator[Counterpart]:
    with running("portkey-later", LATER) as counterpart:
        yield counterpart


@pytest.fixture
def later(shared_later: Counterpart) -> Iterator[Counterpart]:
    yield shared_later
    print(shared_later.news())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    make_source(path, SIZE)
    return path


def assert_the_one(house: House, source: Path, file: RemoteFile) -> None:
    assert [row.id for row in house.files] == [file.id]
    assert house.content(file.id) == source.read_bytes()


async def test_no_upload_can_be_made_and_it_is_a_stop_in_bounded_tries(
    later: Counterpart, shell: Shell
) -> None:
    here = behind(shell, later)
    stopped = await here.upload("a.bin", CHUNKUP_RETRIES="2")
    assert (stopped.code, stopped.out) == (75, "")
    assert f"the server would not create the Upload: {SAYS}" in stopped.err
    job = next(iter(await here.jobs()))
    assert f"hint: chunkup resume {job}" in stopped.err
    # Each was made; they hold nothing, and nobody will ever complete them.
    assert shell.house.calls == ["create"] * 3
    assert len(shell.house.store.uploads()) == 3
    assert shell.house.files == []


def uploader_at(hop: Gateway, house: House, journal: Path, options: Options) -> AsyncUploader:
    return AsyncUploader(
        base_url=hop.url,
        api_key=KEY,
        headers=to(house.url),
        journal=journal,
        part_size=PART,
        options=options,
    )


async def test_parts_that_it_takes_and_denies_are_a_stop_and_a_working_one_goes_on(
    portkey: Counterpart, later: Counterpart, house: House, journal: Path, source: Path
) -> None:
    """Somebody installs the gateway anew in the middle of an upload, and then mends it."""
    async with gateway(portkey.url) as hop:

        def onward(passing: Passing) -> None:
            broken = passing.call == "part" and passing.number > 2
            hop.target = later.url if broken else portkey.url

        hop.onward = onward
        options = replace(QUICK, workers=1)
        async with uploader_at(hop, house, journal, options) as uploader:
            with pytest.raises(ChunkupError) as caught:
                await uploader.upload(source, purpose="user_data")
        assert caught.value.exit_code == 75
        assert f"the server would not take a part: {SAYS}" in caught.value.message
        stored = len(house.store.parts())
        assert stored == 4, "two with a receipt, and one twice without"
        assert caught.value.job_id is not None
        hop.onward = lambda passing: setattr(hop, "target", portkey.url)
        async with uploader_at(hop, house, journal, QUICK) as uploader:
            file = await uploader.resume(caught.value.job_id)
    assert_the_one(house, source, file)
    assert len(house.store.parts()) == stored + 4
    assert house.calls.count("create") == 1


async def test_a_complete_that_it_carries_out_and_denies_is_found(
    portkey: Counterpart, later: Counterpart, house: House, journal: Path, source: Path
) -> None:
    async with gateway(portkey.url) as hop:

        def onward(passing: Passing) -> None:
            hop.target = later.url if passing.call in {"complete", "list"} else portkey.url

        hop.onward = onward
        seen: list[events.Event] = []
        async with uploader_at(hop, house, journal, QUICK) as uploader:
            file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert_the_one(house, source, file)
    assert [e.recovered for e in seen if isinstance(e, events.Completed)] == [True]
    assert house.calls.count("complete") == 1


async def test_a_single_request_goes_through_it(later: Counterpart, shell: Shell) -> None:
    done = await behind(shell, later).upload("a.bin", "--method", "files")
    assert done.code == 0, done.err
    assert [row.id for row in shell.house.files] == [done.out.strip()]
    assert shell.house.content(done.out.strip()) == (shell.folder / "a.bin").read_bytes()
    assert shell.house.calls == ["list", "post"]
