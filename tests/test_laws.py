"""Each law of the bad days is broken once, and says so: one that can't be proves nothing."""

import asyncio
import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.request import Request, urlopen

import laws
import pytest
from chaos import KEY, ORDERS, Tally, World, run_day

from chunkup.journal import Journal


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world in which one file arrived and another stopped half-way."""
    with World(tmp_path / "day", "0/0", Tally()) as begun:
        words = begun.upload_words(ORDERS[3], random.Random(0))
        assert begun.command(*words, ill=None).code == 0
        begun.server.fault("part", nth=30, status=401, times=30)
        begun.command("upload", "c.bin", "-p", "user_data", "--part-size", "1000", ill=None)
        begun.server._faults._armed.clear()
        yield begun


def look(world: World) -> None:
    order = ORDERS[3]
    started = laws.Started(("resume",), order, calm=False, losses=world.losses)
    laws.check(world, laws.before(world), started, laws.Ended(0, "", ""))


def change(world: World, *statements: str) -> None:
    with closing(sqlite3.connect(world.journal)) as db, db:
        for statement in statements:
            assert db.execute(statement).rowcount > 0, statement


def post(world: World, name: str, content: bytes) -> None:
    """Make a File that no command of ours has asked for."""
    edge = "edge"
    body = (
        f'--{edge}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    ).encode() + (content + f"\r\n--{edge}--\r\n".encode())
    request = Request(
        world.server.base_url + "/files",
        data=body,
        headers={
            "Authorization": f"Bearer {KEY}",
            "Content-Type": f"multipart/form-data; boundary={edge}",
        },
    )
    with urlopen(request) as answer:
        assert json.load(answer)["bytes"] == len(content)


def second(world: World) -> None:
    post(world, "f.bin", world.versions["f.bin"][-1][0])


def mixed(world: World) -> None:
    content = world.versions["f.bin"][-1][0]
    post(world, "f.bin", content[:-1] + bytes([content[-1] ^ 1]))


def forgotten(world: World) -> None:
    change(world, "DELETE FROM parts WHERE start = 0")


def invented(world: World) -> None:
    change(world, "UPDATE parts SET part_id = part_id || 'x' WHERE start = 1000")
    world.law.receipts.clear()


def other_content(world: World) -> None:
    change(world, "UPDATE parts SET xxh3 = replace(xxh3, '0', '1') WHERE start = 1000")


def gone(world: World) -> None:
    world.printed.add("file-that-was-printed")


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (second, "a second File"),
        (mixed, "no version of anything"),
        (forgotten, "is gone"),
        (invented, "which the server never gave"),
        (other_content, "receipts for other content"),
        (gone, "printed and forgotten"),
    ],
    ids=["second", "mixed", "forgotten", "invented", "other-content", "printed"],
)
def test_a_law_that_is_broken_is_noticed(
    world: World, breaks: Callable[[World], None], says: str
) -> None:
    look(world)
    breaks(world)
    with pytest.raises(AssertionError, match=says):
        look(world)


def test_a_job_that_somebody_holds_is_noticed(world: World) -> None:
    (job,) = laws.open_jobs(world.journal)

    async def held() -> None:
        journal = await Journal.open(world.journal)
        try:
            await journal.claim(job, "upload")
            with pytest.raises(AssertionError, match=job):
                await laws.nobody_holds_a_job(world)
        finally:
            await journal.close()

    asyncio.run(held())


def test_what_travels_twice_is_noticed(world: World) -> None:
    past = laws.before(world)
    assert 0 < past.missing < 30_000
    change(
        world, "DELETE FROM parts WHERE start < 9000 AND job_id NOT IN (SELECT job_id FROM endings)"
    )
    world.law.receipts.clear()
    started = laws.Started(("resume",), ORDERS[0], calm=False, losses=world.losses)
    ended = world.command("resume", ill=None)
    assert ended.code == 0, ended.err
    with pytest.raises(AssertionError, match=r"\(\d+, Before"):
        laws.check(world, past, started, ended)


def test_a_command_that_says_nothing_for_nothing_is_noticed(world: World) -> None:
    started = laws.Started(("upload",), ORDERS[3], calm=True, losses=world.losses)
    with pytest.raises(AssertionError):
        laws.check(world, laws.before(world), started, laws.Ended(0, "", ""))


def test_a_day_that_ends_badly_says_how_to_have_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*_: object) -> None:
        raise AssertionError("so it ends")

    monkeypatch.setattr(World, "step", step)
    with pytest.raises(AssertionError, match=r"so it ends(.|\n)*CHUNKUP_CHAOS_DAY=7/3 pytest"):
        run_day(tmp_path / "day", "7/3", Tally(), steps=1)


def test_the_same_seed_draws_the_same_day(tmp_path: Path) -> None:
    def drawn(folder: str) -> tuple[bytes, str]:
        with World(tmp_path / folder, "5/0", Tally()) as world:
            edits = [world.edit(random.Random(number)) for number in range(12)]
            return world.versions["c.bin"][0][0], " ".join(edits)

    assert drawn("one") == drawn("two")
