"""How fast, how often, how long: decisions about pace, without a clock of their own.

Everything here is told the time (monotonic seconds) and the chance (0 to 1), so that a test
can be the world.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

FIRST_SLOTS: Final = 8
_GAIN: Final = 1.2
_CALM: Final = 10.0


@dataclass(slots=True)
class Slots:
    """How many parts may be in flight: doubles while goodput follows, halves on trouble.

    ``ceiling`` is what the user allows. The count never leaves 1..ceiling.
    """

    ceiling: int
    count: int = field(init=False)
    _judged: float = field(default=float("-inf"), init=False)
    _best: float = field(default=0.0, init=False)
    _accepted: int = field(default=0, init=False)
    _probing: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        if self.ceiling < 1:
            raise ValueError(f"not a number of workers: {self.ceiling}")
        self.count = min(FIRST_SLOTS, self.ceiling)

    def accepted(self, goodput: float) -> None:
        """A part was accepted while the link carried ``goodput`` bytes a second.

        Judged once every slot had its turn: a doubling is kept going only while it brought
        at least a fifth more.
        """
        self._accepted += 1
        if self._accepted < self.count:
            return
        self._accepted = 0
        followed = goodput >= self._best * _GAIN
        self._best = max(self._best, goodput)
        if self._probing and followed:
            self.count = min(self.ceiling, self.count * 2)
        elif self._probing:
            self._probing = False
        elif self.count < self.ceiling:
            self.count += 1

    def trouble(self, now: float) -> None:
        """The server throttled, or an attempt fell silent: half as many, once in a while."""
        self._probing = False
        if now - self._judged >= _CALM:
            self._judged = now
            self._accepted = 0
            self.count = max(1, self.count // 2)


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


def backoff(attempt: int, chance: float, *, first: float = 0.5, most: float = 30.0) -> float:
    """Full jitter: anywhere between nothing and a bound that doubles. ``attempt`` is from 1."""
    return min(most, first * 2.0 ** min(attempt - 1, 16)) * chance


class Verdict(StrEnum):
    """What the watchdog thinks of an attempt."""

    HEALTHY = "healthy"
    STALLED = "stalled"
    SILENT = "silent"


@dataclass(slots=True)
class Watch:
    """Two clocks of one attempt: bytes that stopped moving, an answer that does not come.

    Progress is what the peer acknowledged. Once the body is through, a server or gateway
    that buffered it may need as long again to pass it on, hence the second clock.
    """

    stall: float
    started: float
    _moved: float = field(init=False)
    _seen: int = field(default=0, init=False)
    _sent_at: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._moved = self.started

    def look(self, now: float, acknowledged: int, *, whole: bool) -> Verdict:
        """Judge by the bytes acknowledged so far; ``whole`` once the entire body is out."""
        if acknowledged > self._seen:
            self._seen, self._moved = acknowledged, now
        if whole:
            if self._sent_at is None:
                self._sent_at = now
            patience = max(2 * self.stall, 2 * (self._sent_at - self.started))
            return Verdict.SILENT if now - self._sent_at > patience else Verdict.HEALTHY
        return Verdict.STALLED if now - self._moved > self.stall else Verdict.HEALTHY


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
