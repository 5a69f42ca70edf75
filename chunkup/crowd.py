"""Which of many files may begin now: a decision without a clock.

The question
    An Upload lives an hour from its creation, so one that waits for slots wears out for nothing,
    and what is open when the machine dies may be lost. A file of few parts needs three requests
    one after another, whatever the link carries; a large one fills the link by itself.

The answer
    A file begins only while the parts that are missing to those under way do not fill the slots,
    in the order of arrival. Two things are put beside that. While a large one runs, small ones
    go beside it with half of the slots, so that they wait for no large one at all. And a large
    one is passed over by a bounded number of small ones: what fills the link should not begin
    when all the rest is through.

    Small is what surely has fewer parts than there are slots.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from heapq import nlargest
from typing import Final

# Files under way, for each slot: those that wait for a complete use none.
_RUNNING: Final = 2
# Small files for each slot that may begin before a large one that came later.
_PASSED: Final = 4


def beside(slots: int) -> int:
    """How many small files may have parts missing while a large one fills the slots."""
    return max(1, slots // 2)


def at_risk(sizes: Iterable[int], slots: int) -> int:
    """Most bytes that Uploads can hold at once to which parts are still missing.

    That much is sent again if all of them die, as when the machine is away for longer than an
    Upload lives. ``sizes`` are those of all files, in bytes.
    """
    return sum(nlargest(slots + beside(slots), sizes))


class Crowd:
    """The files of one command by their numbers of parts, in the order of arrival.

    An answer of :meth:`next` is meant for :meth:`began`; each takes a few steps, however many
    files there are.
    """

    def __init__(self, parts: Sequence[int]) -> None:
        if any(count < 1 for count in parts):
            raise ValueError("a file has at least one part")
        self._parts = parts
        # By the length of the number of parts in bits: how many slots there are may change.
        self._waiting: list[deque[int]] = []
        self._sending: list[int] = []
        for index, count in enumerate(parts):
            while len(self._waiting) < count.bit_length():
                self._waiting.append(deque())
                self._sending.append(0)
            self._waiting[count.bit_length() - 1].append(index)
        # What runs, and how many of its parts have no receipt.
        self._left: dict[int, int] = {}
        self._missing = 0
        # Bits in the number of parts of a small file, and how many of those went before a large.
        self._few = 1
        self._passed = 0

    def __len__(self) -> int:
        """How many have not begun."""
        return sum(map(len, self._waiting))

    def next(self, slots: int) -> int | None:
        """The file that may begin now, as its place from 0; None for the time being.

        With nothing under way there is always one, until all have begun.
        """
        if len(self._left) >= _RUNNING * slots:
            return None
        few = self._few = max(2, slots).bit_length() - 1
        small, large = _first(self._waiting[:few]), _first(self._waiting[few:])
        large_runs = sum(self._sending[few:]) > 0
        if self._missing >= slots:
            may = large_runs and sum(self._sending[:few]) < beside(slots)
            return small if may else None
        if small is None or large is None:
            return large if small is None else small
        overdue = not large_runs and self._passed >= _PASSED * slots
        return large if overdue else min(small, large)

    def began(self, index: int) -> None:
        """The file that :meth:`next` named is under way, with all of its parts missing."""
        kind = self._kind(index)
        if not self._waiting[kind] or self._waiting[kind][0] != index:
            raise ValueError(f"not the next one: {index}")
        self._waiting[kind].popleft()
        passes = kind < self._few and any(self._waiting[self._few :])
        self._passed = self._passed + 1 if passes else 0
        self._left[index] = 0
        self._set(index, self._parts[index])

    def accepted(self, index: int) -> None:
        """One more of its parts has a receipt."""
        self.lacks(index, max(0, self._left.get(index, 0) - 1))

    def lacks(self, index: int, parts: int) -> None:
        """So many of its parts have no receipt: some were kept, or an Upload was lost."""
        if index in self._left:
            self._set(index, parts)

    def over(self, index: int) -> None:
        """It came to an end, whatever became of it."""
        if index in self._left:
            self._set(index, 0)
            del self._left[index]

    def _set(self, index: int, parts: int) -> None:
        before, self._left[index] = self._left[index], parts
        self._missing += parts - before
        self._sending[self._kind(index)] += (parts > 0) - (before > 0)

    def _kind(self, index: int) -> int:
        return self._parts[index].bit_length() - 1


def _first(waiting: Sequence[deque[int]]) -> int | None:
    return min((queue[0] for queue in waiting if queue), default=None)
