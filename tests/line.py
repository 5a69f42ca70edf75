"""One job's use of the line, with an open Upload at the embedded server behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from aiohttp import web
from house import KEY, Handler, House, call_of, make_source
from stage import Turn
from strategies import plain_job
from wire import opened

from chunkup import events
from chunkup.journal import Journal
from chunkup.ledger import Ledger
from chunkup.link import Link, Workshop
from chunkup.machine import Created
from chunkup.models import Options
from chunkup.pool import SlotPool
from chunkup.proof import Proof
from chunkup.reading import Readers
from chunkup.retry import Policy
from chunkup.slots import Slots
from chunkup.source import inspect

SIZE = 20_500
PART = 1000
PARTS = 21
SLOTS = 4


def our_tasks() -> set[asyncio.Task[object]]:
    """All tasks but those of the server, which runs in this loop and notices later."""
    return {task for task in asyncio.all_tasks() if "RequestHandler" not in str(task.get_coro())}


@dataclass
class Line:
    """A link with an open Upload, and everything behind it."""

    house: House
    link: Link
    ledger: Ledger
    shop: Workshop
    proof: Proof
    journal: Journal
    emitted: list[events.Event]
    path: Path

    @property
    def upload_id(self) -> str:
        assert self.ledger.state.upload is not None
        return self.ledger.state.upload.id

    async def send(self) -> str | None:
        """Send, and see that nothing is left in flight however it ended."""
        before = our_tasks()
        try:
            return await self.link.send(self.upload_id)
        finally:
            assert our_tasks() == before
            assert self.shop.slots._busy == 0
            assert self.link.idle
            await self.agree()

    async def agree(self) -> None:
        other = Ledger(self.ledger.job, self.journal, lambda event: None)
        await other.load()
        assert other.state == self.ledger.state

    def on_part(self, turn: Turn, *, after: int = 0) -> None:
        """Let parts beyond the first ``after`` meet this."""

        async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
            if turn and call_of(request) == "part" and self.house.calls.count("part") > after:
                return await turn(request, handler)
            return await handler(request)

        self.house.intercept = intercept


@asynccontextmanager
async def lined(
    house: House, journal: Path, path: Path, *, retries: int = 2
) -> AsyncIterator[Line]:
    make_source(path, SIZE)
    real, found = inspect(path)
    book = await Journal.open(journal)
    readers = Readers()
    emitted: list[events.Event] = []
    try:
        async with opened(house.url, key=KEY) as api:
            job = replace(plain_job(real, SIZE), fingerprint=found, part_size=PART)
            job, _ = await book.adopt(job)
            ledger = Ledger(job, book, emitted.append)
            await ledger.record(Created(await api.create(job)))
            slots = SlotPool(Slots(SLOTS))
            options = Options(workers=SLOTS)
            shop = Workshop(api, readers, Policy(retries=2, offline_wait=0.0), slots, options)
            proof = Proof(job, slots)
            await proof.open(ledger.state)
            try:
                link = Link(ledger, shop, proof)
                yield Line(house, link, ledger, shop, proof, book, emitted, path)
            finally:
                await proof.close()
    finally:
        readers.close()
        await book.close()
