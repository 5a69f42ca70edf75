"""What a command asks for: looked at, checked, cut, and kept back where it must not go."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from house import KEY, House
from many import hold, make_files, run_all, silent, tell, working

from chunkup import Split, events
from chunkup.asked import Cut, Manner, asked_for
from chunkup.dataset import Dataset, Result
from chunkup.engine import Engine
from chunkup.errors import BadContent, BadOption, SourceChanged, TooLarge
from chunkup.intake import Content
from chunkup.journal import Standing
from chunkup.machine import Phase
from chunkup.models import Job
from chunkup.selection import unfinished

BATCH = Content("batch")
TENS = Split(lines=10)


def line(number: int, **more: object) -> bytes:
    body = {"model": "m", "input": "x" * (number % 7)}
    record = {"custom_id": f"r{number}", "method": "POST", "url": "/v1/responses", "body": body}
    return json.dumps({**record, **more}).encode() + b"\n"


def batch(path: Path, numbers: Iterable[int], *, twice: int | None = None) -> str:
    """A clean batch file, or one whose last line has the id of line ``twice`` once more."""
    lines = [line(number) for number in numbers]
    if twice is not None:
        lines.append(line(twice))
    path.write_bytes(b"".join(lines))
    return str(path)


async def send(
    engine: Engine, paths: Sequence[str], manner: Manner, content: Content = BATCH
) -> list[Result]:
    """What the command does, which lives to print the ids."""
    results = await run_all(await asked_for(engine, paths, content, manner))
    await tell(engine, results)
    return results


async def jobs_of(engine: Engine) -> list[Job]:
    return [one.job for one in await (await engine.journal()).lines()]


async def phases(engine: Engine) -> list[Phase]:
    return [one.phase for one in await (await engine.journal()).lines()]


def contents(house: House, results: Iterable[Result]) -> bytes:
    """What arrived, one File after another."""
    return b"".join(house.content(one.file.id) for one in results if one.file is not None)


# --- checked --------------------------------------------------------------------------------------


async def test_the_only_file_that_fails_leaves_nothing_behind(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path = batch(tmp_path / "a.jsonl", range(30), twice=4)
    seen: list[events.Event] = []
    async with working(house, journal) as engine:
        with pytest.raises(BadContent) as caught:
            await asked_for(engine, [path], BATCH, emit=seen.append)
        assert await jobs_of(engine) == []
    assert caught.value.exit_code == 2
    assert caught.value.counts == {"duplicate_custom_id": 1}
    assert [found.line for found in caught.value.findings] == [31]
    (told,) = [event for event in seen if isinstance(event, events.Finding)]
    assert (told.code, told.line, told.level) == ("duplicate_custom_id", 31, "error")
    assert told.offset == Path(path).read_bytes().rindex(b'{"custom_id": "r4"')
    assert "duplicate_custom_id" in caught.value.message
    assert house.calls == []


async def test_without_the_check_it_goes(house: House, journal: Path, tmp_path: Path) -> None:
    path = batch(tmp_path / "a.jsonl", range(3), twice=1)
    async with working(house, journal) as engine:
        (result,) = await send(engine, [path], Manner(check=False))
    assert contents(house, [result]) == Path(path).read_bytes()


async def test_one_of_many_that_fails_is_kept_back_and_the_others_go(
    house: House, journal: Path, tmp_path: Path
) -> None:
    good = [batch(tmp_path / f"{name}.jsonl", range(9)) for name in "ac"]
    bad = batch(tmp_path / "b.jsonl", range(9), twice=0)
    paths = [good[0], bad, good[1]]
    async with working(house, journal) as engine:
        first, kept, last = await send(engine, paths, Manner())
        assert isinstance(kept.error, BadContent)
        assert kept.error.exit_code == 1
        assert first.error is last.error is None
        assert await phases(engine) == [Phase.COMPLETED, Phase.FAILED, Phase.COMPLETED]
        # It is the same set still: what is made good goes, and only that.
        batch(Path(bad), range(8))
        house.calls.clear()
        results = await send(engine, paths, Manner())
    assert [result.reused for result in results] == [True, False, True]
    assert house.calls.count("create") == 1
    assert contents(house, results) == b"".join(Path(path).read_bytes() for path in paths)


async def test_what_was_never_begun_is_still_checked_when_it_is_resumed(
    house: House, journal: Path, tmp_path: Path
) -> None:
    good = batch(tmp_path / "a.jsonl", range(9))
    bad = batch(tmp_path / "b.jsonl", range(9), twice=0)
    async with working(house, journal) as engine:
        await asked_for(engine, [good, bad], BATCH)  # and killed here
    async with working(house, journal) as engine:
        one, two = await run_all((await unfinished(engine, any_age=False)).dataset)
    assert one.error is None
    assert isinstance(two.error, BadContent)


@pytest.mark.parametrize("more", [0, 1])
async def test_a_file_that_changed_before_its_turn_is_checked_as_it_is_then(
    house: House, journal: Path, tmp_path: Path, more: int
) -> None:
    paths = [batch(tmp_path / f"{name}.jsonl", range(9)) for name in "ab"]
    async with working(house, journal) as engine:
        many = await asked_for(engine, paths, BATCH)
        lines = [line(number) for number in range(9 + more)]
        lines[8] = line(0)  # of the same length, and an id that is there already
        Path(paths[1]).write_bytes(b"".join(lines))
        good, bad = await run_all(many)
    assert good.error is None
    assert isinstance(bad.error, BadContent)
    assert house.calls.count("create") == 1


async def test_what_is_continued_is_not_read_again(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path = batch(tmp_path / "a.jsonl", range(900))
    held = hold(house, "part", after=2)
    read: list[int | None] = []

    def reading(_: Job, at: int | None) -> None:
        read.append(at)

    async with working(house, journal) as engine:
        many = await asked_for(engine, [path], BATCH, reading=reading)
        assert read[-1] is None
        task = asyncio.create_task(run_all(many))
        await held.are(1)
        task.cancel()
        await asyncio.wait([task])
        held.go.set()
        house.intercept = None
        read.clear()
        results = await run_all(await asked_for(engine, [path], BATCH, reading=reading))
    assert read == []
    assert contents(house, results) == Path(path).read_bytes()


async def test_lines_are_counted_for_whoever_asks_later(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = [batch(tmp_path / f"{name}.jsonl", range(9)) for name in "ab"]
    async with working(house, journal) as engine:
        await send(engine, paths, Manner())
        await send(engine, paths[:1], Manner())
        assert [(job.first_line, job.lines) for job in await jobs_of(engine)] == [(1, 9)] * 3


# --- cut ------------------------------------------------------------------------------------------


async def test_pieces_are_files_of_their_own_in_one_set(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path = batch(tmp_path / "big.jsonl", range(35))
    cuts: list[Cut] = []
    async with working(house, journal) as engine:
        many = await asked_for(engine, [path], BATCH, Manner(split=TENS), on_cut=cuts.append)
        results = await run_all(many)
        jobs = await jobs_of(engine)
    names = [f"big-0000{number}-of-00004.jsonl" for number in range(1, 5)]
    assert [result.path for result in results] == names
    assert [result.file.filename for result in results if result.file] == names
    assert contents(house, results) == Path(path).read_bytes()
    assert len({job.set_id for job in jobs}) == 1
    assert [(job.first_line, job.lines) for job in jobs] == [(1, 10), (11, 10), (21, 10), (31, 5)]
    assert all(job.path == path and job.shown == job.filename for job in jobs)
    (cut,) = cuts
    assert [piece.span for piece in cut.pieces] == [job.span for job in jobs]


async def test_one_piece_keeps_the_name_of_its_file(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path = batch(tmp_path / "small.jsonl", range(5))
    async with working(house, journal) as engine:
        (result,) = await send(engine, [path], Manner(split=Split()))
    assert result.path == path
    assert result.file is not None
    assert result.file.filename == "small.jsonl"


async def stop_in_the_middle(house: House, engine: Engine, many: Dataset) -> int:
    """Some pieces arrive, and then everything stops; how many did."""
    held, one_is_there = hold(house, "part", after=3), asyncio.Event()

    def watch(event: events.Event) -> None:
        if isinstance(event, events.Completed):
            one_is_there.set()

    task = asyncio.create_task(run_all(many, watch))
    await held.are(1)
    await one_is_there.wait()
    task.cancel()
    await asyncio.wait([task])
    held.go.set()
    house.intercept = None
    await house.idle()
    return (await phases(engine)).count(Phase.COMPLETED)


async def test_a_stopped_cut_goes_on_as_it_was_cut(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path = batch(tmp_path / "big.jsonl", range(95))
    async with working(house, journal) as engine:
        many = await asked_for(engine, [path], BATCH, Manner(split=TENS))
        done = await stop_in_the_middle(house, engine, many)
        house.calls.clear()
        # Nobody says how now; as long as pieces are open, it is what was said then.
        again = await asked_for(engine, [path], BATCH, Manner(split=Split()))
        assert [member.job for member in again.members] == [member.job for member in many.members]
        results = await run_all(again)
        assert len(await jobs_of(engine)) == 10
    assert sum(result.reused for result in results) == done
    assert contents(house, results) == Path(path).read_bytes()


async def test_another_cut_drops_the_open_pieces_of_the_first_and_says_so(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path = batch(tmp_path / "big.jsonl", range(40))
    seen: list[events.Event] = []
    async with working(house, journal) as engine:
        many = await asked_for(engine, [path], BATCH, Manner(split=TENS))
        await stop_in_the_middle(house, engine, many)
        manner = Manner(split=Split(lines=20))
        again = await asked_for(engine, [path], BATCH, manner, emit=seen.append)
        results = await run_all(again)
        await tell(engine, results)
        left = [one.job.filename for one in await (await engine.journal()).lines()]
        open_jobs = (await unfinished(engine, any_age=True)).taken
    assert [result.path for result in results] == [
        "big-00001-of-00002.jsonl",
        "big-00002-of-00002.jsonl",
    ]
    assert contents(house, results) == Path(path).read_bytes()
    told = [event.path for event in seen if isinstance(event, events.UploadExpired)]
    assert told
    assert all(name.endswith("-of-00004.jsonl") for name in told)
    assert len(left) == 6
    assert all(one.job.filename.endswith("-of-00004.jsonl") for one in open_jobs)
    assert not [one for one in open_jobs if one.phase is not Phase.COMPLETED]


async def test_pieces_of_a_file_that_grew_are_of_what_it_is_now(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path = batch(tmp_path / "big.jsonl", range(40))
    async with working(house, journal) as engine:
        many = await asked_for(engine, [path], BATCH, Manner(split=TENS))
        await stop_in_the_middle(house, engine, many)
        batch(Path(path), range(45))
        results = await send(engine, [path], Manner(split=TENS))
        left = (await unfinished(engine, any_age=True)).taken
        assert all(one.phase is Phase.COMPLETED for one in left)
    assert len(results) == 5
    assert contents(house, results) == Path(path).read_bytes()


async def test_pieces_whose_file_changed_in_place_are_never_mixed(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path = batch(tmp_path / "big.jsonl", range(40))
    async with working(house, journal) as engine:
        many = await asked_for(engine, [path], BATCH, Manner(split=TENS))
        await stop_in_the_middle(house, engine, many)
        content = Path(path).read_bytes().replace(b'"model": "m"', b'"model": "n"')
        Path(path).write_bytes(content)
        # Whoever only goes on sends nothing of the new content as the old one's rest.
        resumed = await run_all((await unfinished(engine, any_age=True)).dataset)
        for result in resumed:
            if result.file is None:
                assert isinstance(result.error, SourceChanged)
        results = await send(engine, [path], Manner(split=TENS))
    assert contents(house, results) == content


async def test_a_bad_file_among_cut_ones_is_kept_back_until_it_is_good(
    house: House, journal: Path, tmp_path: Path
) -> None:
    good = batch(tmp_path / "a.jsonl", range(25))
    bad = batch(tmp_path / "b.jsonl", range(25), twice=0)
    manner = Manner(split=TENS)
    async with working(house, journal) as engine:
        *pieces, kept = await send(engine, [good, bad], manner)
        assert [piece.error for piece in pieces] == [None] * 3
        assert isinstance(kept.error, BadContent)
        assert kept.error.exit_code == 1
        assert kept.path == bad
        batch(Path(bad), range(25))
        house.calls.clear()
        results = await send(engine, [good, bad], manner)
        assert house.calls.count("create") == 3
        assert contents(house, results) == Path(good).read_bytes() + Path(bad).read_bytes()
        # And with that the set is finished: the same once more sends all of it.
        again = await asked_for(engine, [good, bad], BATCH, manner)
        assert {member.adopted.standing for member in again.members} == {Standing.NEW}


async def test_the_only_file_that_is_bad_is_not_cut_either(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path = batch(tmp_path / "a.jsonl", range(25), twice=0)
    async with working(house, journal) as engine:
        with pytest.raises(BadContent):
            await asked_for(engine, [path], BATCH, Manner(split=TENS))
        assert await jobs_of(engine) == []


async def test_a_link_that_is_known_to_be_slow_gets_smaller_pieces(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path = tmp_path / "big.jsonl"
    path.write_bytes(b"".join(line(number, note="y" * 9000) for number in range(400)))
    async with working(house, journal) as engine:
        book = await engine.journal()
        # Half an hour of this is 1.6 MB.
        await book.note_rate(engine.endpoint.base_url, 900.0)
        many = await asked_for(engine, [str(path)], BATCH, Manner(split=Split(), check=False))
        assert [member.job.split for member in many.members] == [Split(1 << 20, 50_000)] * 4
        await book.note_rate("http://elsewhere", 1e9)
        # As it was cut it still arrives within the hour, so it is not cut anew.
        await book.note_rate(engine.endpoint.base_url, 600.0)
        again = await asked_for(engine, [str(path)], BATCH, Manner(split=Split(), check=False))
        assert [member.job for member in again.members] == [member.job for member in many.members]
        said = Manner(split=Split(2 << 20), check=False)
        assert len((await asked_for(engine, [str(path)], BATCH, said)).members) == 2
        # Two mebibytes in an hour take more than 582 bytes a second.
        await book.note_rate(engine.endpoint.base_url, 580.0)
        slow = await asked_for(engine, [str(path)], BATCH, Manner(split=Split(), check=False))
        assert len(slow.members) == 4


@pytest.mark.parametrize(
    ("name", "split", "says"),
    [
        ("a.txt", Split(), "only JSON Lines"),
        ("a.jsonl", Split(size=300_000_000), "more than the 200 MB"),
        ("a.jsonl", Split(lines=60_000), "more than the 50000"),
    ],
)
async def test_what_cannot_be_cut_so_is_refused(
    house: House,
    journal: Path,
    tmp_path: Path,
    name: str,
    split: Split,
    says: str,
) -> None:
    path = batch(tmp_path / name, range(5))
    async with working(house, journal) as engine:
        with pytest.raises(BadOption, match=says):
            await asked_for(engine, [path], BATCH, Manner(split=split))
        assert await jobs_of(engine) == []


async def test_only_a_cut_lets_a_file_be_larger_than_the_provider_takes(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path = batch(tmp_path / "a.jsonl", range(50))
    size = Path(path).stat().st_size
    async with working(house, journal) as engine:
        limits = replace(engine.endpoint.provider.limits, by_purpose=(("batch", size // 3),))
        provider = replace(engine.endpoint.provider, limits=limits)
        engine.endpoint = replace(engine.endpoint, provider=provider)
        with pytest.raises(TooLarge):
            await asked_for(engine, [path], BATCH)
        results = await send(engine, [path], Manner(split=Split()))
    assert len(results) > 3
    assert all(result.file and (result.file.bytes or 0) <= size // 3 for result in results)
    assert contents(house, results) == Path(path).read_bytes()


# --- how a set is sent ----------------------------------------------------------------------------


async def test_a_set_keeps_its_manifest_and_whoever_resumes_it_completes_that(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path, manifest = batch(tmp_path / "big.jsonl", range(40)), tmp_path / "out" / "m.jsonl"
    manifest.parent.mkdir()
    async with working(house, journal) as engine:
        manner = Manner(split=TENS, manifest=manifest)
        many = await asked_for(engine, [path], BATCH, manner)
        done = await stop_in_the_middle(house, engine, many)
    assert 0 < done < 4
    async with working(house, journal) as engine:
        results = await run_all((await unfinished(engine, any_age=False)).dataset)
    entries = [json.loads(text) for text in manifest.read_text().splitlines()]
    assert [entry["file"] for entry in entries] == [one.file.id for one in results if one.file]
    assert [entry["first_line"] for entry in entries] == [1, 11, 21, 31]
    assert [entry["start"] for entry in entries] == [0, *[entry["stop"] for entry in entries[:-1]]]
    assert KEY not in manifest.read_text()


async def test_a_place_where_no_manifest_can_be_is_refused_before_anything(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path = batch(tmp_path / "a.jsonl", range(4))
    notes = tmp_path / "notes.txt"
    notes.write_text("dear diary\n")
    async with working(house, journal) as engine:
        for place in (notes, tmp_path / "no" / "such" / "folder"):
            with pytest.raises(BadOption):
                await asked_for(engine, [path], BATCH, Manner(manifest=place))
        assert await jobs_of(engine) == []
    assert notes.read_text() == "dear diary\n"


async def test_what_is_there_already_is_not_sent_also_by_whoever_resumes(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 4)
    user_data = Content("user_data")
    async with working(house, journal) as engine:
        await send(engine, paths[:3], Manner(), user_data)
        house.calls.clear()
        await asked_for(engine, paths, user_data, Manner(skip_existing=True))  # killed here
    async with working(house, journal) as engine:
        results = await run_all((await unfinished(engine, any_age=False)).dataset)
    assert [result.reused for result in results] == [True, True, True, False]
    assert house.calls.count("create") == 1
    assert contents(house, results) == b"".join(Path(path).read_bytes() for path in paths)


async def test_the_first_that_fails_can_stop_the_others(
    house: House, journal: Path, tmp_path: Path
) -> None:
    bad = batch(tmp_path / "b.jsonl", range(9), twice=0)
    paths = [bad, *(batch(tmp_path / f"{number}.jsonl", range(400)) for number in range(30))]
    async with working(house, journal) as engine:
        many = await asked_for(engine, paths, BATCH, Manner(fail_fast=True))
        found: list[Result] = []
        async with aclosing(many.results(silent)) as results:
            async for _, result in results:
                found.append(result)
        assert isinstance(found[-1].error, BadContent)
        assert all(result.error is None for result in found[:-1])
        assert len(found) < 30
        lines = await (await engine.journal()).lines()
        assert {one.owner for one in lines} == {None}
        # What was stopped can be gone on with.
        batch(Path(bad), range(9))
        assert len(await send(engine, paths, Manner())) == 31


async def test_a_manifest_that_was_cut_short_by_a_kill_comes_in_order(
    house: House, journal: Path, tmp_path: Path
) -> None:
    path, manifest = batch(tmp_path / "big.jsonl", range(60)), tmp_path / "m.jsonl"
    manner = Manner(split=TENS, manifest=manifest)
    async with working(house, journal) as engine:
        results = await run_all(await asked_for(engine, [path], BATCH, manner))
        lines = manifest.read_text().splitlines(keepends=True)
        assert len(lines) == 6
        manifest.write_text(lines[-1])  # as if the last piece had come first, and then the kill
        again = await run_all(await asked_for(engine, [path], BATCH, manner))
    assert [one.file for one in again] == [one.file for one in results]
    assert manifest.read_text().splitlines(keepends=True) == lines
