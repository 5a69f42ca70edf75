"""A link as arithmetic: bandwidth, round trip, caps, loss and throttling, and slots on it."""

import math
import random
from dataclasses import dataclass, field
from itertools import count

from chunkup.slots import Flight, Slots

MIB = 1 << 20
STEP = 0.1


@dataclass(frozen=True)
class LinkModel:
    """A link, in bytes and seconds.

    ``bandwidth`` is shared by all connections, ``cap`` is each one's own. ``loss`` is the share
    of packets that are lost, which caps a connection as well. ``answer`` is how long the server
    thinks about a part. ``jitter`` is by how much the bandwidth wavers.
    """

    bandwidth: float
    cap: float = math.inf
    round_trip: float = 0.05
    loss: float = 0.0
    answer: float = 0.2
    jitter: float = 0.0

    @property
    def connection(self) -> float:
        """The most that one connection can carry; Mathis' formula for loss."""
        if not self.loss:
            return self.cap
        return min(self.cap, 1460 / self.round_trip * 1.22 / math.sqrt(self.loss))

    def most(self, slots: int) -> float:
        """The most that so many connections can carry."""
        return min(self.bandwidth, slots * self.connection)


@dataclass
class _Sending:
    begun: float
    sent: float = 0.0
    answered: float | None = None


@dataclass
class Ride:
    """A file on its way through a link, under slots that judge for themselves."""

    link: LinkModel
    slots: Slots
    part: int = 64 * MIB
    parts: int = 64
    seed: int = 0
    now: float = 0.0
    done: int = 0
    cut: float = 0.0
    lame: int = 0
    # The number of slots, and of parts in flight, at the end of every second.
    counts: list[int] = field(default_factory=list)
    flying: list[int] = field(default_factory=list)
    _total: float = 0.0

    @property
    def goodput(self) -> float:
        """Bytes a second of parts that were accepted."""
        return self.done * self.part / self.now

    def go(self, most: float = math.inf) -> "Ride":
        """Until all parts are through, or ``most`` seconds."""
        chance, names = random.Random(self.seed), count()
        flights: dict[int, _Sending] = {}
        left, peak = self.parts - self.done, 0
        while self.done < self.parts and self.now < most:
            while left and len(flights) < self.slots.count:
                flights[next(names)] = _Sending(self.now)
                left -= 1
            peak = max(peak, len(flights))
            self._carry(flights, chance)
            self._answer(flights)
            before, self.now = self.now, self.now + STEP
            if int(before) == int(self.now):
                continue
            seen = [Flight(name, self.part, int(it.sent), it.begun) for name, it in flights.items()]
            cuts = self.slots.look(self.now, int(self._total), peak, seen)
            self.lame += len(cuts.lame)
            for flight in (*cuts.surplus, *cuts.lame):
                self.cut += flights.pop(flight.name).sent  # type: ignore[call-overload]
                left += 1
            peak = len(flights)
            self.counts.append(self.slots.count)
            self.flying.append(len(flights))
        return self

    def _carry(self, flights: dict[int, _Sending], chance: random.Random) -> None:
        """Share the bandwidth fairly; what one connection can't take is the others'."""
        link = self.link
        rest = link.bandwidth * (1 + chance.uniform(-link.jitter, link.jitter))
        sending = [flight for flight in flights.values() if flight.sent < self.part]
        able = {id(flight): self._able(flight) for flight in sending}
        sending.sort(key=lambda flight: able[id(flight)])
        for at, flight in enumerate(sending):
            rate = min(able[id(flight)], rest / (len(sending) - at))
            rest -= rate
            moved = min(rate * STEP, self.part - flight.sent)
            flight.sent += moved
            self._total += moved

    def _able(self, flight: _Sending) -> float:
        """A connection begins with ten packets a round trip, and doubles each round."""
        rounds = (self.now - flight.begun) / self.link.round_trip
        return min(self.link.connection, 14_600 / self.link.round_trip * 2 ** min(rounds, 40))

    def _answer(self, flights: dict[int, _Sending]) -> None:
        for name, flight in list(flights.items()):
            if flight.sent < self.part:
                continue
            if flight.answered is None:
                flight.answered = self.now + self.link.round_trip + self.link.answer
            elif self.now >= flight.answered:
                del flights[name]
                self.done += 1
                self.slots.accepted(self.now - flight.begun)
