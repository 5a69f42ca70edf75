"""A file in a single POST /files, for servers that take no Upload of it.

All but the end of its body may break and be sent again. The end is to this request what
``complete`` is to an Upload: it is recorded before it goes out, and only if both digests agree;
see :mod:`chunkup.machine`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from chunkup import events
from chunkup.api import Api
from chunkup.body import FormBody
from chunkup.ledger import Ledger
from chunkup.machine import SINGLE, CompleteAsked, Phase
from chunkup.models import RemoteFile
from chunkup.outlast import outlast
from chunkup.pool import SlotPool
from chunkup.proof import Proof
from chunkup.reading import Readers
from chunkup.search import Reach, Search


@dataclass(slots=True)
class Posting:
    """The single request that makes the File of a job; what a :class:`Finalizer` asks with.

    ``moved`` hears how many bytes the peer has acknowledged, 0 when an attempt starts over.
    """

    ledger: Ledger
    proof: Proof
    api: Api
    readers: Readers
    slots: SlotPool
    moved: Callable[[int], None]
    repeat: Reach
    read_size: int
    single: bool = True
    _begun: int = field(default=0, init=False)

    @property
    def moments(self) -> tuple[float, ...]:
        """Server times at which the File may have been made."""
        ask = self.ledger.state.ask
        return ask.moments if ask is not None else ()

    def reach(self, _: Search) -> Reach:
        """As a part is repeated."""
        return self.repeat

    async def attempt(self, _: Search) -> RemoteFile:
        """Send it all once."""
        job, state = self.ledger.job, self.ledger.state
        if not self.proof.is_open:
            await self.proof.open(state, single=True)
        async with self.slots.slot(job.size, job.id):
            self.moved(0)
            self._begun = int(self.api.server_now())
            body = FormBody(
                self.readers.read(self.proof.source, job.span, self.read_size),
                job.size,
                field="file",
                filename=job.filename,
                mime_type=job.mime_type,
                before=form_fields(job.purpose, job.expires_after),
                ending=self._ending,
            )
            return await self.api.post_file(body, self.moved)

    async def _ending(self, digest: str) -> None:
        """All content is out: prove it and record that its end follows."""
        earlier = self.ledger.state.ask
        md5 = await self.proof.agrees(digest, earlier)
        if self.ledger.state.phase is Phase.NEW:
            asked = CompleteAsked(SINGLE, (), md5, self.api.server_now(), self._begun)
            # Committed and believed, or neither: an attempt may be cut in this very moment.
            await outlast(asyncio.ensure_future(self.ledger.record(asked)))
            self.ledger.tell(events.Completing, md5=md5)


def form_fields(purpose: str, expires_after: int | None) -> list[tuple[str, str]]:
    """The fields of POST /files but the file; an expiry in brackets, as the API reference has it.

    They go out before the file: xAI reads none after it (its documentation, read 2026-11-21).
    """
    fields = [("purpose", purpose)]
    if expires_after is not None:
        fields += [
            ("expires_after[anchor]", "created_at"),
            ("expires_after[seconds]", str(expires_after)),
        ]
    return fields
