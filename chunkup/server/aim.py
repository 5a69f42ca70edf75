"""Which request a fault strikes: counting and chance, without a wire.

Faults may be set and looked at from any thread. Chance is a function of the seed, the fault and
the number of the request among those of its call, so that the same seed picks the same requests
whatever other calls come in between.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from chunkup.server.faults import ANY, CALLS, Fault
from chunkup.server.plans import plan_text


@dataclass(frozen=True, slots=True)
class Strike:
    """A request that was struck: `number` is its place among all requests of its call."""

    call: str
    number: int
    fault: Fault

    def __str__(self) -> str:
        return f"{self.call} {self.number}: {self.fault}"

    @property
    def again(self) -> Fault:
        """The fault that strikes this very request in another run, by number and not by chance."""
        return replace(
            self.fault,
            call=self.call,
            nth=self.number,
            times=None,
            every=None,
            until=None,
            probability=None,
        )

    @property
    def line(self) -> str:
        """`again` as a line of a plan."""
        return plan_text([self.again]).rstrip("\n")


class ArmedFault:
    """A fault that was set: `seen` requests of its call came since, and `fired` of them failed."""

    def __init__(self, fault: Fault, place: int = 0) -> None:
        self.fault = fault
        self.seen = 0
        self.fired = 0
        self._place = place
        self._seen_of: Counter[str] = Counter()
        self._struck = threading.Event()

    def __str__(self) -> str:
        return str(self.fault)

    def wait(self, timeout: float = 10.0) -> None:
        """Block until a request was hit: its answer dropped, decided or delayed, or left to hang.

        In a coroutine: `await asyncio.to_thread(fault.wait)`.

        Raises:
            TimeoutError: none was within `timeout` seconds.
        """
        if not self._struck.wait(timeout):
            raise TimeoutError(f"{self} did not fire within {timeout:g} s")

    def strike(self) -> None:
        """Say that a request was hit."""
        self._struck.set()

    def count(self, call: str) -> None:
        """Take notice of a request of this fault's call."""
        self.seen += 1
        self._seen_of[call] += 1

    def is_due(self, call: str, seed: int) -> bool:
        """Return whether the request counted last is to be struck."""
        fault = self.fault
        if self.fired >= fault.most or self.seen < fault.nth:
            return False
        if fault.until is not None and self.seen > fault.until:
            return False
        if fault.probability is not None:
            return _chance(seed, self._place, call, self._seen_of[call]) < fault.probability
        return self.seen >= fault.nth + self.fired * (fault.every or 1)


class Faults:
    """The faults that were set, in that order; `told` hears of each strike, in its thread."""

    def __init__(
        self, seed: int = 0, told: Callable[[Strike], None] = lambda _strike: None
    ) -> None:
        self.seed = seed
        self._told = told
        self._lock = threading.Lock()
        self._armed: list[ArmedFault] = []
        self._requests: Counter[str] = Counter()
        self._strikes: list[Strike] = []

    def set(self, fault: Fault) -> ArmedFault:
        """Count requests for this fault from now on."""
        with self._lock:
            armed = ArmedFault(fault, len(self._armed))
            self._armed.append(armed)
        return armed

    def take(self, call: str) -> ArmedFault | None:
        """Count a request, and return the fault that strikes it.

        One request has one fault: where two are due, the one that was set first takes it, and
        the other takes the next request that it is for, unless it goes by chance.
        """
        with self._lock:
            self._requests[call] += 1
            asked = [
                armed
                for armed in self._armed
                if armed.fault.call == call or (armed.fault.call == ANY and call in CALLS)
            ]
            for armed in asked:
                armed.count(call)
            due = next((armed for armed in asked if armed.is_due(call, self.seed)), None)
            if due is None:
                return None
            due.fired += 1
            strike = Strike(call, self._requests[call], due.fault)
            self._strikes.append(strike)
        self._told(strike)
        return due

    def strikes(self) -> tuple[Strike, ...]:
        """Return what was struck so far, in that order."""
        with self._lock:
            return tuple(self._strikes)

    def never_fired(self) -> list[ArmedFault]:
        """Return the faults that no request has met."""
        with self._lock:
            return [armed for armed in self._armed if not armed.fired]


def _chance(seed: int, place: int, call: str, number: int) -> float:
    """Return a number from 0 up to 1 that these four make."""
    said = f"{seed} {place} {call} {number}".encode()
    return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest()) / (1 << 64)
