"""Listings that do not end, and listings of anything."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from aiohttp import web
from house import Handler, House
from hypothesis import given, settings
from hypothesis import strategies as st
from stage import CONTENT, Stage, staged, upload_anew
from strategies import plain_job
from wire import answering, listening, opened, reply

from chunkup.errors import ChunkupError
from chunkup.finalizer import Completion
from chunkup.models import Upload
from chunkup.search import Search

_Result = TypeVar("_Result")

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
        await stage.finalizer().ask(Completion(stage.asked))
        (ours,) = stage.file_ids()
        house.clock.offset = 60
        for _ in range(5):
            await stage.api.complete(*(await newcomer(stage)), None)
        house.calls.clear()
        list_files = stage.api.list_files

        async def small(purpose: str | None, after: str | None, **_: Any) -> Any:
            return await list_files(purpose, after, limit=2)

        stage.api.list_files = small  # type: ignore[method-assign]  # the same call with a smaller page
        found = await stage.finalizer().search.find(stage.asked.asked_at)
    assert [file.id for file in found] == [ours]
    assert house.calls == ["list"] * 3


async def newcomer(stage: Stage) -> tuple[str, tuple[str, ...]]:
    """Another Upload of another name, with its parts."""
    upload, asked = await upload_anew(stage.api, replace(stage.job, filename="other.jsonl"))
    return upload.id, asked.part_ids


# --- listings of anything -----------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
NEAR: dict[str, Any] = {
    "id": "file-a",
    "bytes": len(CONTENT),
    "created_at": 1000,
    "filename": plain_job().filename,
    "purpose": plain_job().purpose,
}
entries = json_values | st.builds(
    lambda changes: {name: value for name, value in (NEAR | changes).items() if value != "away"},
    st.dictionaries(st.sampled_from([*NEAR, "status"]), json_values | st.just("away"), max_size=3),
)
listings = st.fixed_dictionaries(
    {"data": st.lists(entries, max_size=3) | json_values},
    optional={"has_more": json_values, "object": json_values},
)


async def unclaimed() -> frozenset[str]:
    return frozenset()


async def once(request: Callable[[], Awaitable[_Result]]) -> _Result:
    return await request()


@settings(deadline=None, max_examples=150)
@given(listings)
def test_any_listing_is_looked_through_or_is_an_error_of_ours(page: dict[str, Any]) -> None:
    """What is found then is ours in all that the listing says."""

    async def look() -> None:
        job = replace(plain_job(size=len(CONTENT)))
        async with listening(answering(reply(page))) as wire, opened(wire.url) as api:
            search = Search(api, job, Upload("upload_x", 1000, None), unclaimed, once)
            try:
                async with asyncio.timeout(20):
                    found = await search.find(1000.0)
            except ChunkupError as error:
                assert error.message.isprintable()  # noqa: PT017  (there may be none)
                return
        for file in found:
            assert (file.filename, file.purpose) == (job.filename, job.purpose)
            assert file.bytes in {None, job.size}
            assert 995 <= file.created_at <= 4600

    asyncio.run(look())
