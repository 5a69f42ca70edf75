"""How fast, how often, how long: decisions about pace, without a clock of their own.

Everything here is told the time (monotonic seconds) and the chance (0 to 1), so that a test
can be the world.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

# Bytes a second, over all connections together, below which a link is no link.
_FLOOR: Final = 1024
# A machine whose wall clock ran ahead of its other one by so many seconds was asleep.
_NAP: Final = 10.0
# Of a server that throttles: seconds that one storm lasts at least, what is left of the rate
# after it, the lowest one a second, and seconds until all is forgotten.
_ROUND: Final = 1.0
_LESS: Final = 0.7
_SLOWEST: Final = 2.0
_FORGIVEN: Final = 60.0
# Seconds: what a limited rate saves up while nothing is sent, and sends at a time. A few KiB
# are sent in one go at any rate: less would be packets without content.
_SAVED: Final = 0.1
_SLICE: Final = 4096
# Seconds: looks that lie further apart were made by a process that stood still meanwhile.
STILL: Final = 5.0


@dataclass(slots=True)
class Budget:
    """Retries that all parts share, so that an outage is not multiplied by the workers.

    A retry costs 5, one after a time-out 10; a success gives 1 back.
    """

    size: int = 500
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.size

    def take(self, *, timeout: bool) -> bool:
        """Pay for one retry; False if there is not enough left."""
        cost = 10 if timeout else 5
        if self.left < cost:
            return False
        self.left -= cost
        return True

    def refill(self) -> None:
        """A request succeeded."""
        self.left = min(self.size, self.left + 1)


@dataclass(slots=True)
class Pause:
    """A wait that one worker was told to make and that all of them keep."""

    until: float = 0.0

    def ask(self, now: float, wait: float) -> None:
        """The server wants nothing for ``wait`` seconds; a shorter wish changes nothing."""
        self.until = max(self.until, now + wait)

    def left(self, now: float, chance: float) -> float:
        """Seconds to wait still, never early: up to a fifth later, so that no herd wakes."""
        wait = self.until - now
        return wait + min(wait * 0.2, 5.0) * chance if wait > 0 else 0.0


@dataclass(slots=True)
class Tempo:
    """Requests a second, from the moment at which a server says that there are too many.

    Less by a third at each such answer, once a second; a little more each second without one.
    After a minute without any there is no limit again.
    """

    rate: float | None = field(default=None, init=False)
    _passed: deque[float] = field(default_factory=deque, init=False)
    _next: float = field(default=float("-inf"), init=False)
    _slowed: float = field(default=float("-inf"), init=False)
    _risen: float = field(default=float("-inf"), init=False)

    def turn(self, now: float) -> float:
        """Seconds until the next request may go out; it has to, for its turn is taken."""
        at = now
        if self.rate is not None:
            self._rise(now)
        if self.rate is not None:
            at = max(now, self._next)
            self._next = at + 1 / self.rate
        self._passed.append(at)
        while self._passed[0] < now - _ROUND:
            self._passed.popleft()
        return at - now

    def throttled(self, now: float) -> None:
        """The server says that there were too many."""
        if now - self._slowed < _ROUND:
            return  # one storm, and many voices
        recent = sum(now - _ROUND < at <= now for at in self._passed)
        rate = recent / _ROUND if self.rate is None else min(self.rate, max(1, recent) / _ROUND)
        self.rate = max(_SLOWEST, rate * _LESS)
        self._slowed = self._risen = now

    def _rise(self, now: float) -> None:
        if self.rate is None or now - self._slowed > _FORGIVEN:
            self.rate = None
            return
        self.rate += max(1.0, self.rate * 0.1) * (now - self._risen)
        self._risen = now


@dataclass(slots=True)
class Ration:
    """A limit to bytes a second that all slots share, in the order in which they ask.

    In any ``t`` seconds at most ``rate * (t + 0.1)`` bytes and one slice get leave: bytes go
    once they are paid for, and of the time in which nobody sends next to nothing is saved up.
    """

    rate: float
    _paid: float | None = field(default=None, init=False)

    def slice(self) -> int:
        """Bytes to ask leave for at a time, so that no slot waits long for its turn."""
        return max(_SLICE, int(self.rate * _SAVED))

    def turn(self, now: float, size: int) -> float:
        """Seconds until ``size`` bytes may go out; they are paid for with that."""
        begin = now if self._paid is None else max(self._paid, now - _SAVED)
        self._paid = begin + size / self.rate
        return max(0.0, self._paid - now)

    def give_back(self, size: int) -> None:
        """So many bytes that were paid for did not go out."""
        if self._paid is not None:
            self._paid -= size / self.rate


def backoff(attempt: int, chance: float, *, first: float = 0.5, most: float = 30.0) -> float:
    """Full jitter: anywhere between nothing and a bound that doubles. ``attempt`` is from 1."""
    return min(most, first * 2.0 ** min(attempt - 1, 16)) * chance


class Verdict(StrEnum):
    """What the watchdog thinks of an attempt."""

    HEALTHY = "healthy"
    STALLED = "stalled"
    SILENT = "silent"
    SLEPT = "slept"


@dataclass(slots=True)
class Clocks:
    """Two clocks that tell a machine that slept from one that was busy.

    In sleep only the wall clock goes on. One that is set by hand looks the same, so nothing
    may be lost by a wrong answer.
    """

    now: float
    wall: float

    def slept(self, now: float, wall: float) -> bool:
        """Whether the machine was asleep since the last call."""
        ahead = (wall - self.wall) - (now - self.now)
        self.now, self.wall = now, wall
        return ahead >= _NAP


@dataclass(slots=True)
class Watch:
    """Two clocks of one attempt: bytes that stopped moving, an answer that does not come.

    Progress is what the peer acknowledged. Once the body is through, a server or gateway
    that buffered it may need as long again to pass it on, hence the second clock. Time in
    which this process stood still counts for neither. After a sleep of the machine a body has
    to move soon: most connections do not live through one.
    """

    stall: float
    started: float
    _moved: float = field(init=False)
    _looked: float = field(init=False)
    _seen: int = field(default=0, init=False)
    _sent_at: float | None = field(default=None, init=False)
    _woken: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._moved = self._looked = self.started

    def look(
        self,
        now: float,
        acknowledged: int,
        *,
        whole: bool,
        slept: bool = False,
        resting: bool = False,
    ) -> Verdict:
        """Judge by the bytes acknowledged so far; ``whole`` once the entire body is out.

        Asked about once a second. ``slept`` if the machine was asleep since the last time.
        ``resting`` while the peer has all that it was sent, and more may not go out yet.
        """
        still, self._looked = now - self._looked, now
        if still > STILL:
            self.started += still
            self._moved += still
            self._sent_at = self._sent_at + still if self._sent_at is not None else None
        if slept:  # what moved since the last look may have moved before the sleep
            self._seen, self._moved, self._woken = max(self._seen, acknowledged), now, True
        elif acknowledged > self._seen:
            self._seen, self._moved, self._woken = acknowledged, now, False
        elif resting:
            self._moved = now
        if whole:
            if self._sent_at is None:
                self._sent_at = now
            patience = max(2 * self.stall, 2 * (self._sent_at - self.started))
            return Verdict.SILENT if now - self._sent_at > patience else Verdict.HEALTHY
        if self._woken and now - self._moved > min(_NAP, self.stall):
            return Verdict.SLEPT
        return Verdict.STALLED if now - self._moved > self.stall else Verdict.HEALTHY


@dataclass(slots=True)
class Floor:
    """The least that all connections together have to carry: 1 KiB/s over ``window`` seconds.

    A trickle moves, and so is no stall; but it never ends either.
    """

    window: float
    _mark: tuple[float, int] | None = field(default=None, init=False)

    def look(self, now: float, total: int, *, sending: bool) -> bool:
        """Whether it is too little. ``total`` bytes were ever acknowledged."""
        if not sending:
            self._mark = None
            return False
        if self._mark is None:
            self._mark = (now, total)
        began, before = self._mark
        if now - began < self.window:
            return False
        self._mark = (now, total)
        return total - before < _FLOOR * (now - began)


@dataclass(slots=True)
class Meter:
    """Goodput over the last ``window`` seconds, and over the whole run."""

    started: float
    window: float = 10.0
    _samples: deque[tuple[float, int]] = field(default_factory=deque, init=False)
    _first: int | None = field(default=None, init=False)

    def sample(self, now: float, total: int) -> None:
        """``total`` bytes have been acknowledged by now; it may fall after a failed attempt."""
        if self._first is None:
            self._first = total
        self._samples.append((now, total))
        while len(self._samples) > 2 and now - self._samples[1][0] >= self.window:
            self._samples.popleft()

    def rate(self) -> float:
        """Bytes a second over the window, never below zero; 0.0 before two samples."""
        if len(self._samples) < 2:
            return 0.0
        (begin, first), (end, last) = self._samples[0], self._samples[-1]
        return max(0.0, (last - first) / (end - begin)) if end > begin else 0.0

    def average(self) -> float:
        """Bytes a second since the start of the run."""
        if not self._samples or self._first is None:
            return 0.0
        end, last = self._samples[-1]
        return max(0.0, (last - self._first) / (end - self.started)) if end > self.started else 0.0


def lateness(left: int, rate: float, expires_in: float) -> float:
    """Seconds by which ``left`` bytes at ``rate`` miss the deadline; below zero: in time."""
    if left <= 0:
        return -expires_in
    return left / rate - expires_in if rate > 0 else float("inf")
