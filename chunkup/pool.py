"""The slots that all jobs of a process share, and what is in flight in them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Final

from chunkup.errors import ChunkupError, Unreachable
from chunkup.pace import STILL, Floor
from chunkup.slots import Flight, Slots
from chunkup.text import duration_text
from chunkup.veil import blank

_TICK: Final = 1.0


class GivenBack(Exception):
    """The attempt was cut so that others come through sooner; it may begin anew at any time."""


class Slot:
    """One attempt's place among those in flight."""

    def __init__(self, pool: "SlotPool", size: int, scope: asyncio.Timeout) -> None:
        self.size = size
        self.sent = 0
        self.begun: float | None = None
        self.cut_for: ChunkupError | GivenBack | None = None
        self._pool = pool
        self._scope = scope

    def begin(self) -> None:
        """The attempt begins to send: from now on it counts as a flight."""
        self.begun = asyncio.get_running_loop().time()
        self._pool.has_begun()

    def moved(self, sent: int) -> None:
        """So many bytes of the part have been acknowledged by the peer."""
        self._pool.total += max(0, sent - self.sent)
        self.sent = max(self.sent, sent)

    def accepted(self) -> None:
        """The part was accepted."""
        if self.begun is not None:
            self._pool.slots.accepted(asyncio.get_running_loop().time() - self.begun)

    def cut(self, why: ChunkupError | GivenBack) -> None:
        """End the attempt from outside; ``why`` comes out of it."""
        if self.cut_for is None:
            self.cut_for = why
            self._scope.reschedule(asyncio.get_running_loop().time())


class SlotPool:
    """Who may send, and a look once a second at what that brings.

    Jobs take turns: one with a thousand parts keeps nobody else's only part waiting for longer
    than each other job's next one takes.

    ``patience`` is for how many seconds the link may carry next to nothing. ``total`` counts
    every byte of a part that a peer acknowledged, of attempts that failed too.
    """

    def __init__(self, slots: Slots, patience: float = 120.0) -> None:
        self.slots = slots
        self.total = 0
        self._floor = Floor(patience)
        self._taken: list[Slot] = []
        # The job whose turn is next comes first, and of each job the part that came first.
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}
        # Slots that were given to one who waited and has not come for it yet.
        self._given = 0
        self._peak = 0
        self._timer: asyncio.TimerHandle | None = None
        self._looked = 0.0

    @asynccontextmanager
    async def slot(self, size: int, of: Hashable = None) -> AsyncIterator[Slot]:
        """A slot for a part of ``size`` bytes, as soon as it is the turn of the job ``of``.

        Raises:
            GivenBack: The attempt was cut for the sake of the others.
            Unreachable: It was cut because it got nowhere.
        """
        await self._free(of)
        scope = asyncio.timeout(None)
        slot = Slot(self, size, scope)
        self._taken.append(slot)
        try:
            async with scope:
                yield slot
        except TimeoutError as error:
            if slot.cut_for is None:
                raise
            raise slot.cut_for from blank(error)
        finally:
            self._taken.remove(slot)
            self._wake()

    @property
    def _busy(self) -> int:
        return len(self._taken)

    @property
    def _is_free(self) -> bool:
        return self._busy + self._given < self.slots.count

    async def _free(self, of: Hashable) -> None:
        if not self._waiting and self._is_free:
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(of, deque()).append(turn)
        self._wake()
        while True:
            try:
                await turn
            except asyncio.CancelledError:
                if turn.cancelled():
                    self._leave(of, turn)
                else:
                    self._given -= 1
                    self._wake()  # the turn was given to us and must not be lost
                raise
            self._given -= 1
            if self._is_free:
                return
            # There are fewer slots since: we are the first for the next one.
            turn = asyncio.get_running_loop().create_future()
            ours = self._waiting.pop(of, deque())
            ours.appendleft(turn)
            self._waiting = {of: ours, **self._waiting}

    def _leave(self, of: Hashable, turn: "asyncio.Future[None]") -> None:
        """One who waited gave up, and nothing of it stays."""
        ours = self._waiting.get(of, deque())
        if turn in ours:
            ours.remove(turn)
            if not ours:
                del self._waiting[of]

    def _wake(self) -> None:
        while self._waiting and self._is_free:
            of, turns = next(iter(self._waiting.items()))
            del self._waiting[of]
            turn = turns.popleft()
            if not turn.done():  # else it was cancelled, and its task did not run since
                turn.set_result(None)
                self._given += 1
            if turns:
                self._waiting[of] = turns  # behind all others

    # --- looking ----------------------------------------------------------------------------

    def has_begun(self) -> None:
        """One more is in flight."""
        self._peak = max(self._peak, len(self._begun()))
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._looked = loop.time()
            self._timer = loop.call_later(_TICK, self._look)

    def _begun(self) -> list[tuple[Slot, float]]:
        return [(slot, slot.begun) for slot in self._taken if slot.begun is not None]

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now, begun = loop.time(), self._begun()
        flights = [Flight(slot, slot.size, slot.sent, since) for slot, since in begun]
        late, self._looked = now - self._looked > STILL, now
        if late:
            # What stood still was this process, and not the link: measure anew.
            self.slots.look(now, self.total, 0, ())
            self._floor.look(now, self.total, sending=False)
        cuts = self.slots.look(now, self.total, self._peak, flights)
        self._peak = len(begun)
        for flight in cuts.surplus:
            _cut(flight, GivenBack("the link carries no more parts than the others"))
        for flight in cuts.lame:
            _cut(flight, Unreachable("this connection was ten times slower than the others"))
        sending = [flight for flight in flights if not flight.whole]
        if self._floor.look(now, self.total, sending=bool(sending)):
            for flight in sending:
                waited = duration_text(self._floor.window)
                _cut(flight, Unreachable(f"less than 1 KiB a second went out for {waited}"))
        self._wake()
        # The look that finds nothing in flight is the last one, and starts the measure anew.
        self._timer = loop.call_later(_TICK, self._look) if begun else None


def _cut(flight: Flight, why: ChunkupError | GivenBack) -> None:
    if isinstance(flight.name, Slot):
        flight.name.cut(why)
