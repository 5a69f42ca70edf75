"""Events folded into the picture of a whole command: how far each job is, and all together.

Pure: time comes with the events, and as ``now`` in Unix seconds where a picture is asked for.
Byte counts are absolute; a job's may fall when an attempt fails, and never passes its size.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from math import ceil, inf, isfinite
from typing import Final

from chunkup import events

# Seconds over which the command's own rate is measured, and the least for a first answer.
_WINDOW: Final = 15.0
_FIRST: Final = 1.0
_SAMPLE: Final = 0.5
# A retry that waits for an instant is shown this long, or nobody could read why.
_RETRY_SHOWN: Final = 3.0


class Stage(Enum):
    """What a job is at."""

    SENDING = "sending"
    ASKING = "asking"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    UNKNOWN = "unknown"

    @property
    def over(self) -> bool:
        """Whether nothing more is expected of the job."""
        return self not in {Stage.SENDING, Stage.ASKING}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a job waits: ``wait`` seconds from ``since``; a retry is of one part only."""

    message: str
    since: float
    wait: float
    retry: bool

    def shown(self, now: float) -> bool:
        """Whether it is still worth telling; a clock that was set back makes it no longer."""
        least = _RETRY_SHOWN if self.retry else 0.0
        return 0 <= now - self.since < max(self.wait, least)

    def left(self, now: float) -> int:
        """Whole seconds of the wait that are left, rounded up; a clock set back adds none."""
        return ceil(min(self.wait, max(0.0, self.since + self.wait - now)))


@dataclass(slots=True)
class Standing:
    """Where one job stands. ``outcome`` is the File's id, or what went wrong."""

    job: str
    path: str
    size: int
    done: int = 0
    sent: int = 0
    rate: float = 0.0
    in_flight: int = 0
    retries: int = 0
    expires_in: float | None = None
    stage: Stage = Stage.SENDING
    trouble: Trouble | None = None
    outcome: str = ""

    @property
    def through(self) -> int:
        """Bytes that the peer has acknowledged, never more than there are."""
        return max(0, min(self.size, self.done + self.sent))

    @property
    def remaining(self) -> int:
        """Bytes that are still to come."""
        return self.size - self.through

    @property
    def percent(self) -> int:
        """0 to 100, rounded down."""
        return _percent(self.through, self.size, finished=self.stage is Stage.DONE)

    @property
    def left(self) -> float:
        """Seconds until all is sent, at the speed of now; infinite where nothing moves."""
        return self.remaining / self.rate if self.rate > 0 else inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The whole command. ``remaining`` bytes leave out those of jobs that ended without a File."""

    files: int
    files_done: int
    failed: int
    stopped: int
    unknown: int
    size: int
    through: int
    remaining: int
    rate: float
    in_flight: int
    retries: int

    @property
    def percent(self) -> int:
        """0 to 100, rounded down."""
        return _percent(self.through, self.size, finished=self.files_done >= self.files > 0)

    @property
    def left(self) -> float:
        """Seconds until all is sent, at the speed of now; infinite where nothing moves."""
        return self.remaining / self.rate if self.rate > 0 else inf


def _percent(through: int, size: int, *, finished: bool) -> int:
    return 100 if finished else through * 100 // size if size > 0 else 0


class Tally:
    """The picture so far.

    What is over is kept as sums, so that a picture costs what is active and not what ever was.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, Standing] = {}
        self._active: dict[str, Standing] = {}
        self._ended = dict.fromkeys((stage for stage in Stage if stage.over), 0)
        self._over_size = self._over_through = self._over_retries = 0
        self._files = self._size = self._done_files = self._done = 0
        self._uncounted = 0
        self._moved = 0
        self._samples: deque[tuple[float, int]] = deque()

    def begin(self, files: int, size: int, done_files: int = 0, done: int = 0) -> None:
        """The whole command: so many files and bytes, of which these are finished already."""
        self._files, self._size = max(0, files), max(0, size)
        self._done_files = max(0, min(done_files, self._files))
        self._done = max(0, min(done, self._size))
        self._uncounted = self._done_files

    @property
    def active(self) -> list[Standing]:
        """Jobs that are not over, in the order in which they started."""
        return list(self._active.values())

    @property
    def files(self) -> int:
        """How many files the command has, as far as anybody said or was seen."""
        return max(self._files, self._done_files + len(self._jobs))

    def job(self, job_id: str) -> Standing | None:
        """Where a job stands that was heard of."""
        return self._jobs.get(job_id)

    def totals(self, now: float) -> Totals:
        """All together."""
        active = self._active.values()
        remaining = sum(standing.remaining for standing in active)
        seen = self._done + self._over_size + sum(standing.size for standing in active)
        waiting = max(0, self._size - seen)
        return Totals(
            files=self.files,
            files_done=self._done_files + self._ended[Stage.DONE],
            failed=self._ended[Stage.FAILED],
            stopped=self._ended[Stage.STOPPED],
            unknown=self._ended[Stage.UNKNOWN],
            size=seen + waiting,
            through=self._done + self._over_through + sum(one.through for one in active),
            remaining=remaining + waiting,
            rate=self._rate(now),
            in_flight=sum(standing.in_flight for standing in active),
            retries=self._over_retries + sum(standing.retries for standing in active),
        )

    def fold(self, event: events.Event) -> None:
        """Take an event into account."""
        if isinstance(event, events.JobStarted):
            self._start(event)
            return
        if isinstance(event, events.Finding):
            return  # about the content, and not about how far it is
        standing = self._jobs.get(event.job)
        if standing is None:
            if isinstance(event, events.Completed) and event.reused and self._uncounted:
                self._uncounted -= 1  # begin() has counted it
                return
            standing = self._open(Standing(event.job, event.path, _size_of(event)))
        if standing.job not in self._active:
            return
        before = standing.through
        _advance(standing, event)
        if not isinstance(event, events.UploadExpired):
            self._moved += standing.through - before
        self._sample(event.time)
        if standing.stage.over:
            self._close(standing)

    def _start(self, event: events.JobStarted) -> None:
        known = self._jobs.get(event.job)
        if known is not None and known.stage.over:
            self._count_over(known, -1)
        self._open(Standing(event.job, event.path, max(0, event.size), done=event.done))
        self._sample(event.time)

    def _open(self, standing: Standing) -> Standing:
        self._jobs[standing.job] = self._active[standing.job] = standing
        return standing

    def _close(self, standing: Standing) -> None:
        del self._active[standing.job]
        self._count_over(standing, 1)

    def _count_over(self, standing: Standing, factor: int) -> None:
        self._ended[standing.stage] += factor
        self._over_size += factor * standing.size
        self._over_through += factor * standing.through
        self._over_retries += factor * standing.retries

    def _sample(self, time: float) -> None:
        """Remember how much has moved by now, twice a second at most."""
        samples = self._samples
        if samples and time < samples[0][0]:
            samples.clear()  # the clock was set back
        if not samples or time - samples[-1][0] >= _SAMPLE:
            samples.append((time, self._moved))
        while len(samples) > 1 and samples[0][0] < time - _WINDOW:
            samples.popleft()

    def _rate(self, now: float) -> float:
        """Bytes a second over the last seconds.

        The jobs' own rates would not do: a small file is through before it has measured any.
        """
        if not self._samples or now - self._samples[-1][0] > _WINDOW:
            return 0.0  # nothing was heard for so long, as after a sleep of the machine
        since, then = self._samples[0]
        return max(0.0, (self._moved - then) / (now - since)) if now - since >= _FIRST else 0.0


def _size_of(event: events.Event) -> int:
    """The size of a job that is heard of for the first time by such an event."""
    match event:
        case events.Progress(size=size) | events.PartAccepted(size=size):
            return max(0, size)
        case events.Completed(file=file):
            return max(0, file.bytes or 0)
        case _:
            return 0


def _advance(standing: Standing, event: events.Event) -> None:
    """What one event changes in its job."""
    match event:
        case events.Progress():
            standing.size = max(0, event.size)
            standing.done, standing.sent = event.done, event.sent
            standing.rate = event.rate if isfinite(event.rate) and event.rate > 0 else 0.0
            standing.in_flight, standing.retries = event.in_flight, event.retries
            standing.expires_in = event.expires_in
            standing.stage = Stage.SENDING
        case events.PartAccepted(done=done):
            # Its bytes were on their way already: what is through stays, what is sent turns done.
            standing.sent = max(0, standing.through - done)
            standing.done, standing.stage = done, Stage.SENDING
        case events.UploadCreated():
            standing.stage, standing.expires_in = Stage.SENDING, None
        case events.UploadExpired():
            standing.done = standing.sent = standing.in_flight = 0
            standing.stage, standing.expires_in, standing.rate = Stage.SENDING, None, 0.0
        case events.Paused(wait=wait, message=message) if wait:
            standing.trouble = Trouble(message, event.time, wait, retry=False)
        case events.PartRetried(wait=wait, message=message):
            standing.trouble = Trouble(message, event.time, wait, retry=True)
        case events.Completing():
            standing.done, standing.sent, standing.stage = standing.size, 0, Stage.ASKING
            standing.in_flight, standing.rate, standing.trouble = 0, 0.0, None
        case events.Completed(file=file):
            standing.done, standing.sent, standing.stage = standing.size, 0, Stage.DONE
            standing.in_flight, standing.rate, standing.outcome = 0, 0.0, file.id
        case events.Failed(message=message):
            standing.stage, standing.outcome = Stage.FAILED, message
        case events.Stopped(message=message):
            standing.stage, standing.outcome = Stage.STOPPED, message
        case events.Unknown(message=message):
            standing.stage, standing.outcome = Stage.UNKNOWN, message
        case _:
            pass
