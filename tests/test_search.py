"""Which of the listed Files is ours."""

from dataclasses import replace
from typing import Any

import pytest
from house import House
from stage import CONTENT, Stage, file_like, listed, refusing, saying, staged, unheard, upload_anew

from chunkup.errors import BadAnswer, BadOption, NotFound, OutcomeUnknown
from chunkup.finalizer import Completion, Done
from chunkup.models import RemoteFile

# --- which File is ours ---------------------------------------------------------------------


@pytest.mark.parametrize("age", [10, 3600, 86400])
async def test_an_older_file_of_the_same_name_and_size_is_not_ours(house: House, age: int) -> None:
    house.clock.offset = -age
    async with staged(house) as stage:
        await stage.finalizer().ask(Completion(stage.asked))
        (old,) = stage.file_ids()
        house.clock.offset = 0
        stage.upload, stage.asked = await upload_anew(stage.api, stage.job)
        stage.on("complete", unheard, None)
        outcome = await stage.finalizer().ask(Completion(stage.asked))
    assert isinstance(outcome, Done)
    assert not outcome.recovered
    assert outcome.file.id != old


async def test_a_file_that_is_another_jobs_is_not_ours(house: House) -> None:
    async with staged(house) as stage:
        await stage.finalizer().ask(Completion(stage.asked))
        stage.taken.update(stage.file_ids())
        stage.upload, stage.asked = await upload_anew(stage.api, stage.job)
        stage.on("complete", unheard, None)
        outcome = await stage.finalizer().ask(Completion(stage.asked))
    assert isinstance(outcome, Done)
    assert outcome.file.id not in stage.taken


@pytest.mark.parametrize(
    "changes",
    [
        {"filename": "other.jsonl"},
        {"filename": None},
        {"purpose": "user_data"},
        {"purpose": None},
        {"bytes": len(CONTENT) + 1},
        {"bytes": 0},
    ],
)
async def test_a_file_that_differs_in_anything_is_not_ours(
    house: House, changes: dict[str, object]
) -> None:
    async with staged(house) as stage:
        stage.on("list", listed(file_like(stage, **changes)))
        assert await stage.finalizer().search.find(stage.asked.asked_at) == []


@pytest.mark.parametrize(
    ("created", "fits"),
    [(-60, False), (-6, False), (-4, True), (0, True), (1, True), (3600, True), (3700, False)],
)
async def test_a_file_of_another_moment_than_the_uploads_was_made_after_the_ask(
    house: House, created: int, *, fits: bool
) -> None:
    async with staged(house) as stage:
        upload = replace(stage.upload, created_at=stage.upload.created_at - 1000)
        moment = int(stage.asked.asked_at) + created
        stage.on("list", listed(file_like(stage, created_at=moment)))
        found = await stage.finalizer(upload=upload).search.find(int(stage.asked.asked_at))
    assert bool(found) is fits


async def test_a_file_of_the_uploads_own_moment_is_ours_however_late_the_ask(house: House) -> None:
    async with staged(house) as stage:
        stage.on("list", listed(file_like(stage)))
        assert await stage.finalizer().search.find(stage.asked.asked_at + 3000)


async def test_where_moments_are_not_told_nothing_old_is_taken_for_ours(house: House) -> None:
    """A server that tells no times makes every File of that name and size look alike."""
    async with staged(house) as stage:
        upload = replace(stage.upload, created_at=0)
        stage.on("list", listed(file_like(stage, created_at=None)))
        assert await stage.finalizer(upload=upload).search.find(stage.asked.asked_at) == []


async def test_two_files_that_fit_are_none_and_both_are_named(house: House) -> None:
    async with staged(house) as stage:
        newer, older = file_like(stage, id="file-newer"), file_like(stage, id="file-older")
        stage.on("complete", unheard)
        stage.on("list", listed(newer, older))
        with pytest.raises(OutcomeUnknown) as caught:
            await stage.finalizer().ask(Completion(stage.asked))
    assert caught.value.candidates == ("file-older", "file-newer")
    assert house.calls == ["complete", "list"]


# --- Files of a size that is told later ------------------------------------------------------


async def test_a_file_listed_without_its_size_is_asked_for_it(house: House) -> None:
    async with staged(house) as stage:
        stage.on("list", listed(file_like(stage, bytes=None)))
        for size, fits in ((len(CONTENT), True), (len(CONTENT) + 1, False)):
            stage.on("retrieve", saying(file_like(stage, bytes=size)))
            assert bool(await stage.finalizer().search.find(stage.asked.asked_at)) is fits


async def test_a_listed_file_that_vanishes_when_it_is_looked_at_is_none(house: House) -> None:
    async with staged(house) as stage:
        stage.on("list", listed(file_like(stage, bytes=None)))
        stage.on("retrieve", refusing(404, "No such File object"))
        found = await stage.finalizer().search.find(stage.asked.asked_at)
    assert len(found) <= 1


# --- a File that somebody names -----------------------------------------------------------------


def told(stage: Stage, **changes: Any) -> RemoteFile:
    """The File as an answer would tell it."""
    return RemoteFile(**file_like(stage, **changes))


@pytest.mark.parametrize(
    "changes", [{}, {"filename": ""}, {"purpose": ""}, {"bytes": None}, {"created_at": 1}]
)
async def test_a_file_that_nothing_speaks_against_is_taken_by_name(
    house: House, changes: dict[str, object]
) -> None:
    async with staged(house) as stage:
        stage.on("retrieve", saying(file_like(stage, **changes)))
        file = await stage.finalizer().search.named("file-a")
    assert file.id == "file-a"
    assert house.calls == ["retrieve"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"filename": "other"}, "name: 'other'"),
        ({"purpose": "other"}, "purpose: 'other'"),
        ({"bytes": 1}, "size: 1 bytes"),
        ({"bytes": 0}, "size: 0 bytes"),
    ],
)
async def test_a_file_that_differs_is_not_taken_by_name(
    house: House, changes: dict[str, object], why: str
) -> None:
    async with staged(house) as stage:
        stage.on("retrieve", saying(file_like(stage, **changes)))
        with pytest.raises(BadOption, match=why) as caught:
            await stage.finalizer().search.named("file-a")
    assert caught.value.job_id == stage.job.id


async def test_a_file_of_another_job_is_not_taken_by_name(house: House) -> None:
    async with staged(house) as stage:
        stage.on("retrieve", saying(file_like(stage)))
        stage.taken.add("file-a")
        with pytest.raises(BadOption, match="another job"):
            await stage.finalizer().search.named("file-a")


async def test_a_file_that_nobody_knows_is_not_taken_by_name(house: House) -> None:
    async with staged(house) as stage:
        with pytest.raises(NotFound):
            await stage.finalizer().search.named("file-a")


# --- a File that the server answered with --------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"filename": "other"}, "name"), ({"purpose": "other"}, "purpose"), ({"bytes": 1}, "1 bytes")],
)
async def test_an_answered_file_that_differs_is_not_believed(
    house: House, changes: dict[str, object], why: str
) -> None:
    async with staged(house) as stage:
        with pytest.raises(BadAnswer, match=why) as caught:
            await stage.finalizer().search.checked(told(stage, **changes))
    assert caught.value.job_id == stage.job.id
    assert house.calls == []


async def test_an_answered_file_without_a_size_is_asked_for_it(house: House) -> None:
    async with staged(house) as stage:
        vague = told(stage, bytes=None)
        # Some servers list what they made only seconds later.
        assert await stage.finalizer().search.checked(vague) == vague
        stage.on("retrieve", saying(file_like(stage)))
        assert await stage.finalizer().search.checked(vague) == told(stage)
        stage.on("retrieve", saying(file_like(stage, bytes=1)))
        with pytest.raises(BadAnswer):
            await stage.finalizer().search.checked(vague)
    assert house.calls == ["retrieve"] * 3
