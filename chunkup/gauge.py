"""What the line carries for one job, told once a second, and whether that is soon enough."""

import time
from collections.abc import Callable
from typing import Final

from chunkup import events
from chunkup.errors import TooSlow
from chunkup.ledger import Ledger
from chunkup.models import Part
from chunkup.pace import Meter, lateness
from chunkup.text import size_text

_TICK: Final = 1.0
# An estimate from less than this many seconds, or this share of an Upload's life, is a guess.
_JUDGE_AFTER: Final = 20.0
_JUDGE_SHARE: Final = 0.02
# Seconds that an estimate looks back: long enough to forget a moment, short enough to be true.
_LOOK_BACK: Final = 60.0


class Gauge:
    """The goodput of one job within one run.

    ``behind`` gives the seconds for which the file has still to be read, ``expires_in`` those
    that the Upload still lives, or None if it lives on.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        behind: Callable[[], float],
        expires_in: Callable[[], float | None],
        fail_if_late: bool,
    ) -> None:
        self.retries = 0
        self._ledger = ledger
        self._behind = behind
        self._expires_in = expires_in
        self._fail_if_late = fail_if_late
        self._told = 0.0
        self._late_for: str | None = None
        # None until an attempt begins: a part may wait long for a slot that all jobs share.
        self._flying: dict[Part, int | None] = {}
        # Bytes that the link took from this job, whatever became of them.
        self._carried = 0
        self.begin_upload()

    def begin_upload(self) -> None:
        """A new Upload begins, and with it a new measurement: its bytes start from none."""
        now = time.monotonic()
        self._meter, self._trend = Meter(now), Meter(now, _LOOK_BACK)

    @property
    def average(self) -> float:
        """What the link carried for this Upload so far in this run, in bytes a second."""
        return self._trend.average()

    @property
    def idle(self) -> bool:
        """Whether no part is in flight, nor waits to be."""
        return not self._flying

    def launch(self, part: Part) -> None:
        """A part waits for its slot."""
        self._flying[part] = None

    def land(self, part: Part) -> None:
        """A part came to an end."""
        self._flying.pop(part, None)

    def clear(self) -> None:
        """Nothing is in flight any more."""
        self._flying.clear()

    def moved(self, part: Part, sent: int | None) -> None:
        """The peer has acknowledged so much of a part; None if it waits again."""
        if part in self._flying:
            # Only what is new: an attempt that starts over takes nothing back from the link.
            self._carried += max(0, (sent or 0) - (self._flying[part] or 0))
            self._flying[part] = sent

    def look(self) -> None:
        """Measure, and tell if it is time to.

        Raises:
            TooSlow: The Upload dies before its end, and that is to be an error.
        """
        now, done = time.monotonic(), self._ledger.state.done
        begun = [sent for sent in self._flying.values() if sent is not None]
        sent = sum(begun)
        self._meter.sample(now, self._carried)
        self._trend.sample(now, self._carried)
        if now - self._told < _TICK:
            return
        self._told = now
        left = self._expires_in()
        self._ledger.tell(
            events.Progress,
            size=self._ledger.job.size,
            done=done,
            sent=sent,
            rate=self._meter.rate(),
            in_flight=len(begun),
            retries=self.retries,
            expires_in=left,
        )
        waits = not begun and not self._trend.rate()  # for a slot: that is no speed
        if left is not None and left > 0 and not waits:
            self._judge(now, self._ledger.job.size - done - sent, left)

    def _judge(self, now: float, missing: int, left: float) -> None:
        """Say once, and early, that an Upload dies before its last byte would be through."""
        upload, rate = self._ledger.state.upload, self._trend.rate()
        if upload is None or self._late_for == upload.id:
            return
        if behind := self._behind():
            rate = min(rate, missing / behind)  # the job is as fast as the slower of its hands
        late = lateness(missing, rate, left)
        # That nothing has moved yet is no speed: it takes the whole of the time to say so.
        enough = min(_JUDGE_AFTER, _JUDGE_SHARE * left) if rate > 0 else _JUDGE_AFTER
        if late <= 0 or now - self._trend.started < enough:
            return
        self._late_for = upload.id
        self._ledger.tell(events.Late, seconds=late, rate=rate)
        if self._fail_if_late:
            raise TooSlow(
                f"at {size_text(rate)}/s the Upload expires before its end; it takes a "
                "faster link or disk, or smaller files"
            )
