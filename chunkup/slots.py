"""How many parts should be in flight, by what the link carries: decisions without a clock.

The question
    More parts at once help where each connection is capped, or far away. They do harm where
    one thin link is shared by all of them: nothing arrives sooner, the first receipt comes
    later, and a crash, an expiry or a time-out costs more bytes. Nobody tells which of the two
    a link is; it has to be tried.

The answer
    A *step* changes the number, and an *epoch* later the goodput says whether it was right.

    Down to two, where a part takes long at its share of the link: if two carry about as much,
    the link is thin and they stay few. If goodput fell, each connection is capped, and the old
    number comes back.

    Up, by doubling: kept while it brought at least a quarter more, taken back otherwise and
    tried again much later.

    Parts that are sent in no time say nothing about the link. There the number climbs by one
    for each round of accepted parts, and halves whenever the server asks for less.

    Fewer slots mean that parts are cut whose bytes would cost little to send again; those
    further on are finished. Such a cut is nobody's fault, and costs no retry.
"""

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

FIRST_SLOTS: Final = 8

# Seconds: a part that takes longer should have no company that brings nothing. Where it takes
# very long, that is tried before anything else.
_LONG: Final = 20.0
_VERY_LONG: Final = 60.0
# Below two, the link rests whenever a server thinks about its answer.
_FEW: Final = 2
# Seconds: how long a step takes to show (a connection begins slowly), and is measured then.
_SETTLE: Final = 2.0
_EPOCH: Final = 3.0
# Acknowledgements of a thin link come in lumps: so many of them make a measure, or else so
# many seconds.
_LUMPS: Final = 4
_LONGEST: Final = 20.0
# Of what the slots that were added could bring at most: enough to keep them.
_GAIN: Final = 0.25
# Of what was carried before: enough to do with fewer.
_HOLD: Final = 0.8
# Seconds after a step that was wrong until the next of its kind; twice as long each time.
_REST: Final = 120.0
_MOST_REST: Final = 1800.0
_CALM: Final = 10.0
# Of a part: what may be cut, if it would also take so many seconds more.
_YOUNG: Final = 0.25
_WORTH: Final = 30.0
# A connection this much slower than its siblings, for so many seconds, is broken in some way.
_LAME: Final = 0.1
_LAME_AFTER: Final = 30.0


@dataclass(frozen=True, slots=True)
class Flight:
    """A part in flight: ``size`` bytes, of which the peer acknowledged ``sent`` so far.

    ``begun`` is when its attempt began to send, in the seconds of the caller's clock.
    """

    name: Hashable
    size: int
    sent: int
    begun: float

    @property
    def whole(self) -> bool:
        """Whether only the answer is missing, so that it uses the link no more."""
        return self.sent >= self.size


@dataclass(frozen=True, slots=True)
class Cuts:
    """What should not go on: more than the link is worth, or far behind its siblings."""

    surplus: Sequence[Flight] = ()
    lame: Sequence[Flight] = ()


@dataclass(slots=True)
class _Step:
    """A step of one kind that can turn out wrong, and is not repeated too soon then."""

    not_before: float = float("-inf")
    rest: float = _REST

    def was_right(self) -> None:
        self.rest = _REST

    def was_wrong(self, now: float) -> None:
        self.not_before = now + self.rest
        self.rest = min(_MOST_REST, self.rest * 2)


@dataclass(slots=True)
class Slots:
    """How many parts may be in flight. The count never leaves 1..ceiling.

    ``ceiling`` is what the user allows. ``limit`` is what all of them together may carry, in
    bytes a second: a link that carries that much is not asked for more.
    """

    ceiling: int
    limit: float = float("inf")
    count: int = field(init=False)
    _up: _Step = field(default_factory=_Step, init=False)
    _down: _Step = field(default_factory=_Step, init=False)
    # The step that is being tried: what there was, and what it carried.
    _tried: tuple[int, float] | None = field(default=None, init=False)
    _since: float | None = field(default=None, init=False)
    _mark: tuple[float, int] | None = field(default=None, init=False)
    _lumps: int = field(default=0, init=False)
    _total: int = field(default=0, init=False)
    _peak: int = field(default=0, init=False)
    _goodput: float = field(default=0.0, init=False)
    # A part that ends leaves a gap; the best of a few measures has none.
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=3), init=False)
    _cutting: bool = field(default=False, init=False)
    _eased: float = field(default=float("-inf"), init=False)
    _accepted: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.ceiling < 1:
            raise ValueError(f"not a number of workers: {self.ceiling}")
        self.count = min(FIRST_SLOTS, self.ceiling)

    def expect(self, size: int) -> None:
        """Parts of ``size`` bytes come, of which a limit may leave only few worth a beginning."""
        few = min(_FEW, self.ceiling)
        self.count = int(max(few, min(self.count, self.limit * _LONG / size)))

    def accepted(self, took: float) -> None:
        """A part was accepted after so many seconds; one slot more for each round of quick ones.

        Parts that take longer are judged by what the link carries.
        """
        if took >= _EPOCH or self._tried is not None:
            return
        self._accepted += 1
        if self._accepted >= self.count:
            self._accepted = 0
            self.count = min(self.ceiling, self.count + 1)

    def trouble(self, now: float) -> None:
        """The server throttled, or a connection broke: half as many, once in a while.

        Nothing is cut for it: a server that asks for fewer requests gets none again.
        """
        if now - self._eased < _CALM:
            return
        self._eased = now
        self._accepted = 0
        self._tried = None
        self._up.not_before = max(self._up.not_before, now + _REST)
        self._set(max(1, self.count // 2), now)
        self._cutting = False

    def look(self, now: float, total: int, peak: int, flights: Iterable[Flight]) -> Cuts:
        """Judge by the bytes that were acknowledged so far; what should be cut.

        Asked about once a second. ``total`` counts all bytes that ever left, also those of
        attempts that failed: it is the link that is judged. ``peak`` is the largest number in
        flight since the last look.
        """
        flying = list(flights)
        sending = [flight for flight in flying if not flight.whole]
        moved, self._total = total > self._total, total
        lame = _lame(now, sending)
        draining = peak > self.count and not (self._tried and self.count > self._tried[0])
        if not sending or peak != self._peak or draining:
            # What is not used evenly cannot be judged.
            self._peak, self._since, self._mark = peak, now, None
        elif self._since is None or now - self._since < _SETTLE:
            self._since = self._since or now
        elif moved or (self._mark and now - self._mark[0] >= _LONGEST):
            # From one movement to another: in between, nothing is known of what is under way.
            self._measure(now, total, max(flight.size for flight in sending))
        return Cuts(self._surplus(flying), lame)

    def _measure(self, now: float, total: int, size: int) -> None:
        if self._mark is None:
            self._mark, self._lumps = (now, total), 0
            return
        self._lumps += 1
        began, before = self._mark
        if (now - began < _EPOCH or self._lumps < _LUMPS) and now - began < _LONGEST:
            return
        self._goodput = (total - before) / (now - began)
        self._recent.append(self._goodput)
        self._mark, self._lumps = (now, total), 0
        if self._goodput > 0:  # what does not move at all is the watchdog's
            self._judge(now, size)

    def _judge(self, now: float, size: int) -> None:
        tried, self._tried = self._tried, None
        turn = size * self._peak / self._goodput
        if tried is None:
            self._try(now, turn)
            return
        count, goodput = tried
        followed = self._goodput >= goodput * (1 + _GAIN * (self.count / count - 1))
        if self.count > count and followed:
            self._up.was_right()
            self._down.was_wrong(now)
            self._try(now, turn)
        elif self.count > count:
            self._up.was_wrong(now)
            self._set(count, now)
        elif self._goodput >= goodput * _HOLD:
            self._down.was_right()
            self._up.was_wrong(now)
        else:
            self._down.was_wrong(now)
            self._set(count, now)

    def _try(self, now: float, turn: float) -> None:
        """Take the next step if there is one. ``turn``: seconds for a part at its share."""
        up = self._peak == self.count < self.ceiling and now >= self._up.not_before
        up = up and self._goodput < self.limit * _HOLD
        down = self._peak > _FEW and now >= self._down.not_before
        if down and turn > (_LONG if not up else _VERY_LONG):
            self._tried = (self._peak, max(self._recent))
            self._set(_FEW, now)
        elif up:
            self._tried = (self.count, max(self._recent))
            self._set(min(self.ceiling, self.count * 2), now)

    def _set(self, count: int, now: float) -> None:
        self._cutting = count < self.count
        self.count = count
        self._since, self._mark = now, None
        self._recent.clear()

    def _surplus(self, flying: Sequence[Flight]) -> Sequence[Flight]:
        """Those beyond the count that are cheaper to send again than to finish first."""
        beyond = len(flying) - self.count
        if beyond <= 0 or not self._cutting:
            return ()
        share = self._goodput / len(flying)
        cheap = [
            flight
            for flight in flying
            if flight.sent < flight.size * _YOUNG and flight.size - flight.sent > _WORTH * share
        ]
        return sorted(cheap, key=lambda flight: flight.sent)[:beyond]


def _lame(now: float, sending: Sequence[Flight]) -> Sequence[Flight]:
    """The flight far below its siblings' median, if a new connection would overtake it."""
    speeds = {
        flight.name: flight.sent / (now - flight.begun)
        for flight in sending
        if now - flight.begun >= _LAME_AFTER
    }
    if len(speeds) < 3:
        return ()
    usual = median(speeds.values())
    for flight in sending:
        speed = speeds.get(flight.name, usual)
        if speed < usual * _LAME and flight.size - flight.sent > 2 * flight.size * _LAME:
            return (flight,)
    return ()
