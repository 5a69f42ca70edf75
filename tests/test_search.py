"""Which of the listed Files is ours, and listings that do not end."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from house import Handler, House
from stage import CONTENT, Stage, file_like, listed, refusing, saying, staged, unheard, upload_anew

from chunkup.errors import BadAnswer, BadOption, NotFound, OutcomeUnknown
from chunkup.finalizer import Done
from chunkup.models import RemoteFile

# --- which File is ours ---------------------------------------------------------------------


@pytest.mark.parametrize("age", [10, 3600, 86400])
async def test_an_older_file_of_the_same_name_and_size_is_not_ours(house: House, age: int) -> None:
    house.clock.offset = -age
    async with staged(house) as stage:
        await stage.finalizer().ask(stage.asked)
        (old,) = stage.file_ids()
        house.clock.offset = 0
        stage.upload, stage.asked = await upload_anew(stage.api, stage.job)
        stage.on("complete", unheard, None)
        outcome = await stage.finalizer().ask(stage.asked)
    assert isinstance(outcome, Done)
    assert not outcome.recovered
    assert outcome.file.id != old


async def test_a_file_that_is_another_jobs_is_not_ours(house: House) -> None:
    async with staged(house) as stage:
        await stage.finalizer().ask(stage.asked)
        stage.taken.update(stage.file_ids())
        stage.upload, stage.asked = await upload_anew(stage.api, stage.job)
        stage.on("complete", unheard, None)
        outcome = await stage.finalizer().ask(stage.asked)
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
    [(-60, False), (-6, False), (-4, True), (0, True), (1, True), (3600, True)],
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
            await stage.finalizer().ask(stage.asked)
    assert caught.value.candidates == ("file-older", "file-newer")
    assert house.calls == ["complete", "list"]


# --- listings that do not end ---------------------------------------------------------------


Page = Callable[[int], dict[str, Any]]


async def looked_through(house: House, page: Page) -> tuple[int, list[str]]:
    """How many pages a look reads, and what it finds."""
    pages = 0

    async def turn(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal pages
        pages += 1
        return web.json_response(page(pages))

    async with staged(house) as stage:
        stage.on("list", turn)
        found = await stage.finalizer().search.find(stage.asked.asked_at)
    return pages, [file.id for file in found]


def other(number: int, created: int = 2**40) -> dict[str, Any]:
    return {"id": f"file-{number}", "created_at": created, "filename": "x", "purpose": "batch"}


async def test_a_listing_that_ignores_where_to_go_on_is_read_twice_at_most(house: House) -> None:
    def same(_: int) -> dict[str, Any]:
        return {"data": [other(1), other(2)], "has_more": True}

    assert await looked_through(house, same) == (2, [])


async def test_a_listing_that_always_says_there_is_more_ends_when_it_is_empty(house: House) -> None:
    def emptying(page: int) -> dict[str, Any]:
        return {"data": [other(page)] if page < 4 else [], "has_more": True}

    assert await looked_through(house, emptying) == (4, [])


async def test_a_listing_of_new_files_for_ever_is_given_up(house: House) -> None:
    def endless(page: int) -> dict[str, Any]:
        return {"data": [other(page)], "has_more": True}

    pages, found = await looked_through(house, endless)
    assert pages <= 1000
    assert not found


async def test_a_listing_is_not_read_beyond_what_can_be_ours(house: House) -> None:
    def old(page: int) -> dict[str, Any]:
        return {"data": [other(2 * page), other(2 * page + 1, 1000)], "has_more": True}

    assert await looked_through(house, old) == (1, [])


async def test_a_file_on_a_later_page_is_found(house: House) -> None:
    async with staged(house) as stage:
        await stage.finalizer().ask(stage.asked)
        (ours,) = stage.file_ids()
        house.clock.offset = 60
        for _ in range(5):
            await stage.api.complete(*(await newcomer(stage)), None)
        house.calls.clear()
        list_files = stage.api.list_files

        async def small(purpose: str, after: str | None, *, limit: int = 100) -> Any:
            return await list_files(purpose, after, limit=2)

        stage.api.list_files = small  # type: ignore[method-assign]  # the same call with a smaller page
        found = await stage.finalizer().search.find(stage.asked.asked_at)
    assert [file.id for file in found] == [ours]
    assert house.calls == ["list"] * 3


async def newcomer(stage: Stage) -> tuple[str, tuple[str, ...]]:
    """Another Upload of another name, with its parts."""
    upload, asked = await upload_anew(stage.api, replace(stage.job, filename="other.jsonl"))
    return upload.id, asked.part_ids


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
