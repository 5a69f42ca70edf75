"""What arrived, in the manifests of the sets it belongs to."""

import json
from pathlib import Path

import pytest
from house import House
from many import make_files, tell, upload_all, working

from chunkup.asked import Manner, asked_for
from chunkup.errors import BadOption
from chunkup.intake import Content
from chunkup.journal import Habits
from chunkup.roll import Roll, entries

USER_DATA = Content("user_data")


def files_in(manifest: Path) -> list[str]:
    return [json.loads(line)["file"] for line in manifest.read_text().splitlines()]


async def test_each_set_has_its_own_and_none_is_made_for_one_without(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 4)
    async with working(house, journal) as engine:
        one = await upload_all(engine, paths[:2])
        await tell(engine, one)
        two = await upload_all(engine, paths[2:])
        book = await engine.journal()
        jobs = {line.job.path: line.job for line in await book.lines()}
        first, second = jobs[paths[0]].set_id, jobs[paths[2]].set_id
        assert first != second
        await book.keep_habits([first], Habits(str(tmp_path / "m.jsonl")))
        roll = await Roll.open(book, jobs.values())
        await roll.add({result.job_id: place for place, result in enumerate(one)}, first)
        await roll.add({result.job_id: place for place, result in enumerate(two)}, second)
        await roll.close()
        await roll.close()
    assert files_in(tmp_path / "m.jsonl") == [one.file.id for one in one if one.file]
    assert sorted(path.name for path in tmp_path.glob("*.jsonl*")) == ["m.jsonl"]


async def test_what_is_open_is_not_there_yet(house: House, journal: Path, tmp_path: Path) -> None:
    paths = make_files(tmp_path, 2)
    manifest = tmp_path / "m.jsonl"
    async with working(house, journal) as engine:
        many = await asked_for(engine, paths, USER_DATA, Manner(manifest=manifest))
        book = await engine.journal()
        jobs = [member.job for member in many.members]
        roll = await Roll.open(book, jobs)
        await roll.add({job.id: place for place, job in enumerate(jobs)}, jobs[0].set_id)
        await roll.close()
    assert not manifest.exists()


async def test_a_manifest_that_became_something_else_is_refused_when_it_is_opened(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 1)
    manifest = tmp_path / "m.jsonl"
    async with working(house, journal) as engine:
        many = await asked_for(engine, paths, USER_DATA, Manner(manifest=manifest))
        manifest.write_text("dear diary\n")
        with pytest.raises(BadOption):
            await Roll.open(await engine.journal(), [member.job for member in many.members])
    assert manifest.read_text() == "dear diary\n"


def test_entries_of_a_manifest_that_is_not_there_are_none(tmp_path: Path) -> None:
    assert entries(None) == entries(str(tmp_path / "none")) == []
