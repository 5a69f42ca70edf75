"""Everything away again that the questions made, whatever became of them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from chunkup.errors import ChunkupError
from chunkup.probe.bench import Bench
from chunkup.probe.files import items
from chunkup.probe.replies import Untold
from chunkup.verdicts import Complaint, complaint

# Seconds for requests that are under way, so that what they make is known.
_LANDING: Final = 3.0
# Seconds between attempts. A File that was made just now may not be found yet.
_PAUSES: Final = (0.0, 0.3, 1.0)
_TOGETHER: Final = 8
_PAGES: Final = 3
# What a cancel may be refused with where there is nothing left to cancel.
_OVER: Final = frozenset(
    {Complaint.ABSENT, Complaint.CANCELLED, Complaint.ENDED, Complaint.EXPIRED}
)


async def sweep(bench: Bench, within: float) -> None:
    """Delete all Files and cancel all Uploads, in ``within`` seconds; what is left, is left."""
    bench.patience = min(bench.patience, max(within / 3, 0.1))
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            await bench.settle(min(_LANDING, within / 3))
            await _gone(bench)
            # What nobody told of is found by its name; a list may take its time.
            await _found(bench)
            await _gone(bench)
            # Last, since they end by themselves.
            await _all(_ended, bench, list(bench.left.uploads))


async def _gone(bench: Bench) -> None:
    await _all(_deleted, bench, list(bench.left.files))


async def _all(
    work: Callable[[Bench, str], Awaitable[None]], bench: Bench, ids: Sequence[str]
) -> None:
    gate = asyncio.Semaphore(_TOGETHER)

    async def one(identity: str) -> None:
        async with gate:
            await work(bench, identity)

    await asyncio.gather(*map(one, ids))


async def _deleted(bench: Bench, file_id: str) -> None:
    missing = 0
    for pause in _PAUSES:
        await bench.wait(pause)
        with suppress(ChunkupError):
            reply = await bench.delete(file_id)
            absent = reply.status in {404, 410}
            missing += absent
            if reply.success or missing > 1:
                bench.forget(file_id)
            if reply.success or missing > 1 or (reply.tells and not absent):
                return


async def _ended(bench: Bench, upload_id: str) -> None:
    bodies: tuple[dict[str, str] | None, ...] = (None, {}, None)
    for body in bodies:
        with suppress(ChunkupError):
            reply = await bench.cancel(upload_id, body)
            if reply.success or (reply.tells and complaint(reply.answer) in _OVER):
                bench.left.uploads.discard(upload_id)
                return


async def _found(bench: Bench) -> None:
    """Note the Files in the list that bear our mark; whether all of the list was seen."""
    query = {"order": "desc", "limit": "100"}
    seen: set[str] = set()
    for _ in range(_PAGES):
        try:
            reply = await bench.list_files(**query)
            page = items(reply)
        except (ChunkupError, Untold):
            return
        for file in page:
            if bench.mark in file.filename and file.id not in bench.deleted:
                bench.left.files.setdefault(file.id, file.filename)
        fresh = {file.id for file in page} - seen
        # Newest first: before ours there is nothing of ours.
        older = page and page[-1].created_at < bench.began
        if not page or older or reply.data.get("has_more") is not True:
            bench.left.lost = 0
        if not bench.left.lost or not fresh:
            return
        seen |= fresh
        query["after"] = page[-1].id
