"""Pieces of a file that somebody touched between two runs, or while they wait for their turn."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from house import HASTY, Handler, House, call_of
from many import run_all, silent, working
from test_dataset_shards import write

from chunkup import fit as fit_module
from chunkup.asked import Manner, asked_for
from chunkup.engine import Engine, Orders
from chunkup.errors import ChunkupError, SourceChanged
from chunkup.intake import Content
from chunkup.journal import JobLine
from chunkup.machine import OPEN, Phase
from chunkup.models import Fingerprint, Job, Split
from chunkup.reading import md5_of

BATCH, PIECES = Content("batch"), Manner(split=Split(1500))
ARRIVED = 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "big.jsonl"
    write(path, 60, 1)
    return path


async def sent(engine: Engine, path: Path) -> list[ChunkupError | None]:
    """What the command that cuts a file does; how each of its pieces ended."""
    dataset = await asked_for(engine, [str(path)], BATCH, PIECES)
    return [result.error for result in await run_all(dataset)]


async def begun(house: House, engine: Engine, path: Path) -> None:
    """Have so many pieces arrive, and no more."""

    asked = 0

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal asked
        call = call_of(request)
        asked += call == "complete"
        if asked > ARRIVED or (call == "create" and asked == ARRIVED):
            return web.json_response({"error": {"message": "who are you?"}}, status=401)
        return await handler(request)

    house.intercept = intercept
    assert any(await sent(engine, path))
    await house.idle()
    house.intercept = None
    house.calls.clear()
    assert len(house.files) == ARRIVED


async def lines(engine: Engine, *phases: Phase) -> list[JobLine]:
    found = [line for line in await (await engine.journal()).lines() if line.phase in phases]
    return sorted(found, key=lambda line: line.job.span)


async def resumed(engine: Engine) -> list[SourceChanged]:
    """Go on with every open piece, as ``resume`` does; which of them would not."""
    refused = []
    for line in await lines(engine, *OPEN):
        try:
            await engine.carry_out(line.job, silent)
        except SourceChanged as error:
            refused.append(error)
    return refused


@contextmanager
def time_put_back(path: Path) -> Iterator[None]:
    before = path.stat()
    yield
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert after.st_ctime_ns != before.st_ctime_ns


def edit(path: Path, at: int, data: bytes) -> None:
    with time_put_back(path), path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def is_whole(house: House, path: Path) -> bool:
    """Whether the Files, in the order of their names, are the file as it is now."""
    newest = {row.filename: row.id for row in house.files}
    return b"".join(house.content(newest[name]) for name in sorted(newest)) == path.read_bytes()


def edit_what_arrived(path: Path, arrived: list[Job], _: list[Job]) -> None:
    job = arrived[1]
    edit(path, path.read_bytes().index(b'"m"', job.span.start) + 1, b"n")


def edit_the_rest(path: Path, _: list[Job], waiting: list[Job]) -> None:
    edit(path, path.read_bytes().index(b'"m"', waiting[-1].span.start) + 1, b"n")


def join_two_records(path: Path, _: list[Job], waiting: list[Job]) -> None:
    edit(path, waiting[-1].span.start - 1, b" ")


def change_rights(path: Path, _: list[Job], __: list[Job]) -> None:
    path.chmod(0o600 if path.stat().st_mode & 0o077 else 0o640)


def copy_back(path: Path, _: list[Job], __: list[Job]) -> None:
    shutil.copy2(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


Act = Callable[[Path, list[Job], list[Job]], None]


async def touched(house: House, journal: Path, path: Path, act: Act) -> None:
    """Have some pieces arrive, and touch the file when no process is about."""
    async with working(house, journal) as engine:
        await begun(house, engine, path)
        arrived = [line.job for line in await lines(engine, Phase.COMPLETED)]
        waiting = [line.job for line in await lines(engine, Phase.NEW)]
    assert len(waiting) > 1
    act(path, arrived, waiting)


@pytest.mark.parametrize("act", [edit_the_rest, change_rights, copy_back])
async def test_what_goes_with_what_arrived_goes_on_and_is_read_once(
    house: House, journal: Path, path: Path, act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    await touched(house, journal, path, act)
    before, read = [row.id for row in house.files], []

    async def noted(path: str, found: Fingerprint, span: Any) -> str | None:
        read.append(span)
        return await md5_of(path, found, span)

    monkeypatch.setattr(fit_module, "md5_of", noted)
    async with working(house, journal) as engine:
        assert await resumed(engine) == []
        assert await lines(engine, *OPEN) == []
    assert [row.id for row in house.files][:ARRIVED] == before
    assert is_whole(house, path)
    # Each that arrived once, also those of this run, but for the last.
    assert len(set(read)) == len(read) < len(house.files)


@pytest.mark.parametrize("act", [edit_what_arrived, join_two_records])
async def test_no_piece_begins_that_does_not_fit_and_the_command_cuts_anew(
    house: House, journal: Path, path: Path, act: Act
) -> None:
    await touched(house, journal, path, act)
    async with working(house, journal) as engine:
        waiting = await lines(engine, Phase.NEW)
        refused = await resumed(engine)
        assert {line.job.id for line in waiting} & {error.job_id for error in refused}
        assert "its pieces may not fit together" in str(refused[0])
        if act is edit_what_arrived:
            assert len(house.files) == ARRIVED
    async with working(house, journal) as engine:
        kept = len(house.files)
        assert not any(await sent(engine, path))
    if act is edit_what_arrived:
        # Of what had arrived only the one piece that was edited is sent again.
        names = [row.filename for row in house.files]
        assert len(house.files) - kept == len(set(names)) - ARRIVED + 1
        assert is_whole(house, path)


async def test_nothing_is_read_where_nobody_touched_the_file(
    house: House, journal: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await touched(house, journal, path, lambda *_: None)
    monkeypatch.setattr(fit_module, "md5_of", None)
    async with working(house, journal) as engine:
        assert await resumed(engine) == []
    assert is_whole(house, path)


async def test_an_edit_while_a_piece_waits_for_its_turn_is_seen(
    house: House, journal: Path, path: Path
) -> None:
    """Of what has arrived by then, in the same run."""
    edited = False

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal edited
        arrived = {row.filename[:9] for row in house.files}
        if call_of(request) == "create" and "big-00001" in arrived and not edited:
            # This piece is begun too late to be noticed, and others have not begun.
            edited = True
            edit(path, path.read_bytes().index(b'"m"') + 1, b"n")
        return await handler(request)

    house.intercept = intercept
    async with working(house, journal, options=replace(HASTY, workers=1)) as engine:
        errors = await sent(engine, path)
        assert edited
        assert any(isinstance(error, SourceChanged) for error in errors)
    house.intercept = None
    async with working(house, journal) as engine:
        assert not any(await sent(engine, path))
    assert is_whole(house, path)


@pytest.mark.parametrize("same", [True, False])
async def test_a_file_that_a_person_points_to_is_known_by_what_arrived(
    house: House, journal: Path, path: Path, *, same: bool
) -> None:
    await touched(house, journal, path, lambda *_: None)
    other = path.with_name("other.jsonl")
    path.rename(other)
    async with working(house, journal) as engine:
        (arrived, *_) = await lines(engine, Phase.COMPLETED)
        if not same:
            data = bytearray(other.read_bytes())
            data[data.index(b'"m"', arrived.job.span.start) + 1] = ord("n")
            other.write_bytes(data)
        (first, *_) = await lines(engine, Phase.NEW)
        orders = Orders(source=str(other))
        if same:
            file = await engine.carry_out(first.job, silent, orders=orders)
            content = other.read_bytes()[first.job.span.start : first.job.span.stop]
            assert house.content(file.id) == content
        else:
            with pytest.raises(SourceChanged):
                await engine.carry_out(first.job, silent, orders=orders)
            assert len(house.files) == ARRIVED


async def test_a_whole_file_that_was_edited_after_it_arrived_is_sent_again(
    house: House, journal: Path, tmp_path: Path
) -> None:
    """As long as its set is unfinished; one that was only touched is not."""
    chance = random.Random(4)
    paths = [tmp_path / name for name in ("a.bin", "b.bin", "c.bin")]
    for path in paths:
        path.write_bytes(chance.randbytes(1500))

    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "create" and b"c.bin" in await request.read():
            return web.json_response({"error": {"message": "not now"}}, status=403)
        return await handler(request)

    async def upload() -> list[str | None]:
        async with working(house, journal) as engine:
            wanted = await asked_for(engine, [str(path) for path in paths], Content("user_data"))
            results = await run_all(wanted)
        return [result.file.id if result.file else None for result in results]

    house.intercept = refuse
    one, two, three = await upload()
    assert three is None
    house.intercept = None
    edit(paths[0], 700, b"edited")
    paths[1].chmod(0o640)
    again = await upload()
    assert again[1] == two
    assert one not in again
    assert [house.content(str(id_)) for id_ in again] == [path.read_bytes() for path in paths]
