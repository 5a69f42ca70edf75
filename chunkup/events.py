"""What a program or a person can watch while a job runs.

Byte counts are absolute and belong to the job, not to the run: a resumed job starts where
it stood. ``time`` is Unix seconds. Names in JSON are the class names in snake_case.
"""

from dataclasses import dataclass
from typing import Final, Literal

from chunkup.models import RemoteFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Common to all: when, which job, which file."""

    time: float
    job: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted(Event):
    """A run took the job. ``done`` is above zero where an earlier run left receipts.

    ``done_parts`` of ``parts`` have receipts; ``continued`` tells a job that existed before.
    """

    size: int
    done: int
    parts: int
    done_parts: int
    continued: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadCreated(Event):
    """The server opened an Upload. ``generation`` counts from 1 over the job's whole life."""

    upload_id: str
    expires_at: int | None
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartAccepted(Event):
    """A part's receipt is committed: from here on it is not sent again in this Upload."""

    start: int
    stop: int
    part_id: str
    done: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRetried(Event):
    """An attempt at a part failed; it is tried again after ``wait`` seconds."""

    start: int
    stop: int
    attempt: int
    wait: float
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused(Event):
    """The server asked for patience: nothing is sent for ``wait`` seconds.

    For none at all where it takes no Uploads, and the file goes in one request instead.
    """

    wait: float
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Late(Event):
    """At the measured speed the Upload will expire first, by ``seconds``.

    ``seconds`` is infinite where nothing moves at all.
    """

    seconds: float
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadExpired(Event):
    """The Upload cannot be used any longer; its parts are lost and a new one is opened."""

    upload_id: str
    reason: str
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Event):
    """Where the job stands, about once a second.

    ``done`` bytes have receipts; ``sent`` more are acknowledged by the peer of parts in
    flight, so ``done + sent`` may fall when an attempt fails, or gives its slot back to the
    others. ``rate`` is bytes a second over the last seconds; ``expires_in`` seconds are left of
    the Upload.
    """

    size: int
    done: int
    sent: int
    rate: float
    in_flight: int
    retries: int
    expires_in: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completing(Event):
    """Everything was sent and both digests agree; the File is being asked for."""

    md5: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed(Event):
    """The File exists.

    ``recovered`` if it was found by looking, not by an answer; ``reused`` if an earlier run had
    made it and nothing was sent.
    """

    file: RemoteFile
    recovered: bool
    reused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """The run ended in an error that waiting will not cure."""

    code: str
    message: str
    hint: str | None
    resume: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped(Event):
    """The run stopped; ``resume`` goes on from the receipts."""

    code: str
    message: str
    hint: str | None
    resume: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown(Event):
    """Whether the File exists could not be found out."""

    code: str
    message: str
    hint: str | None
    resume: str | None
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding(Event):
    """The check found something in the file before anything of it was sent.

    ``job`` is empty where there is none yet. ``line`` counts from 1 and ``offset`` in bytes from
    the beginning of the file; None for what is about the whole. ``level`` is ``error`` for what
    the server would refuse, else ``warning``.
    """

    code: str
    message: str
    line: int | None
    offset: int | None
    level: Literal["error", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How a whole command ended: the last that it says, exactly once, and about no single job.

    ``reused`` files were finished before this command, ``completed`` ones by it; ``bytes`` are
    those of both. ``busy`` jobs are held by other processes. ``code``, ``message`` and ``hint``
    are those of an error that belongs to no job (usage, no key), else None.
    """

    time: float
    exit_code: int
    files: int
    completed: int
    reused: int
    failed: int
    stopped: int
    unknown: int
    busy: int
    bytes: int
    code: str | None
    message: str | None
    hint: str | None


# All that can be told.
EVENTS: Final[tuple[type[Event | Summary], ...]] = (
    JobStarted,
    UploadCreated,
    Progress,
    PartAccepted,
    PartRetried,
    Paused,
    Late,
    UploadExpired,
    Completing,
    Completed,
    Failed,
    Stopped,
    Unknown,
    Finding,
    Summary,
)
