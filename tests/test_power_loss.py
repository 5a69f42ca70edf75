"""The power goes: what was not synced is lost, in part and in any order.

What the command did to its disk is recorded once; from that come many disks that may be left
when the power goes at some moment. See ``powerloss.py``.
"""

import asyncio
import json
import os
import random
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from house import HASTY, Handler, House, call_of, make_source, open_house
from powerloss import Record, Said, strace
from test_kill_calls import NOTHING, PART, SIZE, Desk, opened

from chunkup.journal import JobLine, Journal
from chunkup.machine import OPEN, Accepted, Phase
from chunkup.manifest import read

MANY = 400 if os.environ.get("CHUNKUP_LONG") == "1" else 18


def moments(record: Record, chance: random.Random, many: int) -> list[int]:
    """After how many steps the power goes: anywhere, right after something was said, at the end."""
    end = len(record.steps)
    words = [at for at, step in enumerate(record.steps, 1) if isinstance(step, Said)]
    kinds = (range(end + 1), words, [end])
    return [chance.choice(kinds[turn % len(kinds)]) for turn in range(many)]


def told(record: Record, until: int) -> list[dict[str, Any]]:
    """What the command had told of a job, in events."""
    events = [json.loads(line) for line in record.said(until).splitlines()]
    return [event for event in events if event.get("job")]


@pytest.fixture
def chance() -> random.Random:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    return random.Random(seed)


async def recorded(
    desk: Desk, *words: str, until: asyncio.Event | None = None, stdin: Path = NOTHING
) -> Record:
    """What a command did to the disk, to its end or until it is killed at this moment."""
    log = desk.folder / "log"
    running = asyncio.create_task(desk.run(*words, under=strace(log), cwd=desk.disk, stdin=stdin))
    if until is not None:
        waiting = asyncio.create_task(until.wait())
        await asyncio.wait([waiting, running], return_when=asyncio.FIRST_COMPLETED)
        assert not running.done(), await running
        with log.open() as lines:
            victim = int(lines.readline().split()[0])
        os.kill(victim, 9)
    code, _, err = await running
    assert code == 0 or until is not None, err
    return Record.of(log, desk.disk)


async def went_on(
    desk: Desk, server: Path, check: Callable[[House, JobLine | None], Awaitable[None]]
) -> None:
    """Go on with what is on the disk now, against a server as it was; one right File comes."""
    place = desk.folder / "again"
    shutil.copytree(server, place)
    async with open_house(place) as house:
        book = await Journal.open(desk.journal)
        lines = await book.lines()
        assert len(lines) <= 1
        line = lines[0] if lines else None
        await book.close()
        with closing(sqlite3.connect(desk.journal)) as db, db:
            db.execute("UPDATE jobs SET base_url = ?", [house.url])  # it listens elsewhere now
        await check(house, line)
        async with house.uploader(desk.journal, part_size=PART, options=HASTY) as uploader:
            if line is None:
                file = await uploader.upload(desk.source, purpose="user_data")
            else:
                file = await uploader.resume(line.job.id)
        assert [row.id for row in house.files] == [file.id]
        assert house.content(file.id) == desk.source.read_bytes()
        settled = line is not None and line.phase in {Phase.ASKED, Phase.COMPLETED}
        assert house.whole_bytes == (0 if settled else SIZE - (line.done if line else 0))
    shutil.rmtree(place)


async def receipts(journal: Path, job: str) -> set[str]:
    book = await Journal.open(journal)
    try:
        return {
            fact.receipt.part_id for fact in await book.facts(job) if isinstance(fact, Accepted)
        }
    finally:
        await book.close()


@pytest.mark.timeout(600)
async def test_what_was_told_of_an_upload_outlives_the_power(
    tmp_path: Path, chance: random.Random
) -> None:
    enough = asyncio.Event()

    async def four(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and house.calls.count("part") > 4:
            enough.set()
            await asyncio.Event().wait()
        return await handler(request)

    async with open_house(tmp_path / "server") as house:
        desk = opened(tmp_path, house)
        house.intercept = four
        record = await recorded(
            *(desk, "upload", str(desk.source), "-p", "user_data", "--part-size", str(PART)),
            *("--workers", "1", "--json"),
            until=enough,
        )
    kinds = [event["event"] for event in told(record, len(record.steps))]
    assert kinds.count("part_accepted") == 4
    for until in moments(record, chance, MANY):
        shutil.rmtree(desk.disk)
        record.lay(until, chance, desk.disk)
        events = told(record, until)

        async def kept(_: House, line: JobLine | None, events: list[Any] = events) -> None:
            if events:
                assert line is not None, "a job that was told of is gone"
                assert line.job.id == events[0]["job"]
                accepted = {one["part_id"] for one in events if one["event"] == "part_accepted"}
                assert accepted <= await receipts(desk.journal, line.job.id)

        await went_on(desk, tmp_path / "server", kept)


@pytest.mark.timeout(600)
async def test_what_was_told_of_its_end_outlives_the_power(
    tmp_path: Path, chance: random.Random
) -> None:
    async with open_house(tmp_path / "server") as house:
        desk = opened(tmp_path, house)
        record = await recorded(
            *(desk, "upload", str(desk.source), "-p", "user_data", "--part-size", str(PART)),
            *("--workers", "1", "--json"),
        )
        (made,) = house.files
    # From here on the server may have the File, as it has at the end.
    first = next(
        at
        for at, step in enumerate(record.steps, 1)
        if isinstance(step, Said) and '"completing"' in step.text
    )
    for until in moments(record, chance, MANY):
        shutil.rmtree(desk.disk)
        record.lay(max(until, first), chance, desk.disk)
        events = told(record, max(until, first))
        completed = [one for one in events if one["event"] == "completed"]

        async def kept(house: House, line: JobLine | None, told: int = len(completed)) -> None:
            assert line is not None
            assert line.phase is Phase.COMPLETED or (line.phase is Phase.ASKED and not told)
            assert line.file_id == (made.id if line.phase is Phase.COMPLETED else None)

        await went_on(desk, tmp_path / "server", kept)


# --- files that somebody asked for ------------------------------------------------------------


async def test_a_manifest_is_whole_or_absent_and_has_what_ended(
    tmp_path: Path, chance: random.Random
) -> None:
    async with open_house(tmp_path / "server") as house:
        desk = opened(tmp_path, house)
        make_source(desk.source.with_name("b.bin"), 2_500, seed=2)
        record = await recorded(
            *(desk, "upload", str(desk.source), str(desk.source.with_name("b.bin"))),
            *("-p", "user_data", "--part-size", str(PART), "--manifest", "m.jsonl", "--json"),
        )
        made = [file.id for file in house.files]
    for until in moments(record, chance, 4 * MANY):
        shutil.rmtree(desk.disk)
        record.lay(until, chance, desk.disk)
        path = desk.disk / "m.jsonl"
        found = [entry.file for entry in read(path)] if path.exists() else []
        assert set(found) <= set(made)
        if '"summary"' in record.said(until):
            assert sorted(found) == sorted(made)


async def test_a_download_is_whole_or_absent_and_is_there_once_it_was_told(
    tmp_path: Path, chance: random.Random
) -> None:
    async with open_house(tmp_path / "server") as house:
        desk = opened(tmp_path, house)
        async with house.uploader(tmp_path / "other" / "journal.db") as uploader:
            file = await uploader.files.create(desk.source, purpose="user_data")
        record = await recorded(desk, "files", "download", file.id, "-o", "out.bin", "--json")
    assert record.said(len(record.steps))
    content = desk.source.read_bytes()
    for until in moments(record, chance, 8 * MANY):
        shutil.rmtree(desk.disk)
        record.lay(until, chance, desk.disk)
        path = desk.disk / "out.bin"
        assert not path.exists() or path.read_bytes() == content
        assert path.exists() or not record.said(until)


async def test_what_is_mended_is_there_with_its_new_ids_or_not_at_all(
    tmp_path: Path, chance: random.Random
) -> None:
    row = '{"method":"POST","url":"/v1/responses","body":{"model":"m","input":"x"}}'
    async with open_house(tmp_path / "server") as house:
        desk = opened(tmp_path, house)
        bad = desk.source.with_name("a.jsonl")
        bad.write_text(f"{row}\r\n{row}\n")
        record = await recorded(desk, "check", str(bad), "-p", "batch", "--fix", "-o", "b.jsonl")
    assert record.said(len(record.steps)) == "b.jsonl\n"
    for until in moments(record, chance, 8 * MANY):
        shutil.rmtree(desk.disk)
        record.lay(until, chance, desk.disk)
        paths = [desk.disk / "b.ids.jsonl", desk.disk / "b.jsonl"]
        for path in paths:
            if path.exists():
                rows = [json.loads(line) for line in path.read_text().splitlines()]
                assert [one["custom_id"] for one in rows] == ["line-1", "line-2"]
        there = [path.exists() for path in paths]
        assert there in ([False, False], [True, False], [True, True])
        assert all(there) or not record.said(until)


async def test_a_job_outlives_the_power_only_with_its_standard_input(
    tmp_path: Path, chance: random.Random
) -> None:
    async with open_house(tmp_path / "server") as house:
        desk = opened(tmp_path, house)
        record = await recorded(
            *(desk, "upload", "-", "-p", "user_data", "--part-size", str(PART), "--json"),
            stdin=desk.source,
        )
    for until in moments(record, chance, MANY):
        shutil.rmtree(desk.disk)
        record.lay(until, chance, desk.disk)
        for line in await desk.seen():
            if line.phase in OPEN and line.phase is not Phase.ASKED:
                (kept,) = desk.journal.with_name("journal.db-spool").iterdir()
                assert kept.read_bytes() == desk.source.read_bytes()
