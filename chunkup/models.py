"""The words: frozen values that every other module speaks in.

They validate themselves, so that an impossible one cannot exist. Sizes are bytes; spans are
half-open, ``[start, stop)``; wall-clock times are Unix seconds, of the server where a
server gave them.
"""

from dataclasses import dataclass, field
from typing import Final, Literal, get_args

MIB: Final = 1 << 20
GIB: Final = 1 << 30

# The official helper sends 64 MiB parts, so a server that says "64 MB" takes this much.
PART_SIZE: Final = 64 * MIB

# Bytes a second: below it, connections look dead to the servers and gateways that hold them.
LEAST_RATE: Final = 16 << 10

# How a file is sent: in parts, in a single request, or in parts wherever the server takes them.
Method = Literal["auto", "uploads", "files"]
METHODS: Final = get_args(Method)


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A stretch of a file: where it starts, and the first byte after it."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"not a stretch of a file: {self.start}..{self.stop}")

    @property
    def size(self) -> int:
        """Length in bytes, at least 1."""
        return self.stop - self.start


# A stretch that is sent in one request. No class of its own: a part and the receipt for it
# have to compare equal to the stretch that was asked for.
Part = Span


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What the file system says about a file without reading it.

    Within one run none of it may move. Between runs only ``size`` decides; the rest is a
    suspicion that is settled by content. ``touched_ns`` is when anything about the file changed
    the last time, by a clock that nobody can put back, unlike ``mtime_ns``; None where that was
    not noted. Two files are the same without it, since a mere change of rights moves it.
    """

    size: int
    mtime_ns: int
    inode: int
    device: int
    touched_ns: int | None = field(default=None, compare=False)

    def touched_since(self, before: "Fingerprint") -> bool:
        """Whether it is known that somebody touched the file since, though it may look the same."""
        noted = None not in {self.touched_ns, before.touched_ns}
        return noted and self.touched_ns != before.touched_ns


@dataclass(frozen=True, slots=True)
class Source:
    """A stretch of a file on this machine, as it was seen when the run began."""

    path: str
    span: Span
    fingerprint: Fingerprint


@dataclass(frozen=True, slots=True)
class Plan:
    """How a stretch is cut into parts: all ``part_size`` long but the last."""

    span: Span
    part_size: int

    def __post_init__(self) -> None:
        if self.part_size < 1:
            raise ValueError(f"not a part size: {self.part_size}")

    @property
    def count(self) -> int:
        """How many parts the plan has, at least 1."""
        return -(-self.span.size // self.part_size)

    def parts(self) -> tuple[Part, ...]:
        """All parts in file order."""
        starts = range(self.span.start, self.span.stop, self.part_size)
        return tuple(Part(at, min(at + self.part_size, self.span.stop)) for at in starts)


@dataclass(frozen=True, slots=True)
class Split:
    """The wish to cut a file between its records, into Files of at most so much.

    ``size`` is in bytes; None for either means what the provider takes.
    """

    size: int | None = None
    lines: int | None = None

    def __post_init__(self) -> None:
        if (self.size is not None and self.size < 1) or (self.lines is not None and self.lines < 1):
            raise ValueError("a piece has at least one byte and one line")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a file that begins and ends between records.

    ``first_line`` counts from 1; ``lines`` are all that are in it, blank ones too.
    """

    span: Span
    first_line: int
    lines: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """The server's id for a part, and the digest of the bytes that really went out.

    ``xxh3`` is XXH3-128 in lowercase hex. A part counts once its receipt is committed.
    """

    span: Span
    part_id: str
    xxh3: str


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A File as the server describes it; attribute names are those of the SDK's FileObject.

    ``bytes`` is None where the server does not know the size yet. ``purpose`` and ``status``
    are plain strings, since compatible servers have their own.
    """

    id: str
    bytes: int | None
    created_at: int
    filename: str
    purpose: str
    object: str = "file"
    status: str | None = None
    expires_at: int | None = None
    status_details: str | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """An Upload as the server describes it: mortal, and known only by its answer to create.

    ``owner`` is whose it is, by that answer's headers: organization and project.
    """

    id: str
    created_at: int
    expires_at: int | None
    status: str = "pending"
    file: RemoteFile | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """Where a job lives, without anything that would open the door.

    ``key_hash`` is a short hash of the key, salted per journal: it tells two keys apart and
    proves nothing. ``headers`` are the names of extra headers, lowercase and sorted.
    """

    base_url: str
    organization: str | None = None
    project: str | None = None
    headers: tuple[str, ...] = ()
    key_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One file on its way to become one File: our durable promise.

    It may own several Uploads one after another, since those die within hours. ``given`` is the
    path as the command had it. ``first_line`` (from 1) and ``lines`` are known of a file whose
    lines were counted, and ``split`` of one that was cut, as it was cut. ``check``
    says that its content is still to be checked before anything of it is sent.
    """

    id: str
    set_id: str
    account: Account
    path: str
    span: Span
    fingerprint: Fingerprint
    purpose: str
    filename: str
    mime_type: str
    created_at: float
    expires_after: int | None = None
    part_size: int = PART_SIZE
    md5: bool = True
    method: str = "auto"
    given: str | None = None
    first_line: int | None = None
    lines: int | None = None
    split: Split | None = None
    check: bool = False

    @property
    def size(self) -> int:
        """Bytes that the File will have."""
        return self.span.size

    @property
    def cut(self) -> bool:
        """Whether it is a piece of its file, and not the whole."""
        return self.span != Span(0, self.fingerprint.size)

    @property
    def shown(self) -> str:
        """What it is called before people: what has no path of its own by the File's name."""
        return self.filename if self.cut or self.given == "-" else self.path

    @property
    def wish(self) -> tuple[object, ...]:
        """What all pieces of one file have in common, however it is cut."""
        return (
            self.account,
            self.path,
            self.purpose,
            self.mime_type,
            self.expires_after,
            self.method,
        )

    @property
    def identity(self) -> tuple[object, ...]:
        """Two commands that agree in this mean the same job.

        The source's content is no part of it, nor is the size of a whole file: whether those
        changed is a question of proof.
        """
        return (*self.wish, self.span if self.cut else None, self.filename)


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job as the journal knows it.

    Attributes:
        id: Six letters and digits.
        state: ``running``, ``waiting`` (its process lives and has not begun it), ``stopped``,
            ``in-doubt`` (``complete`` was asked and no answer is known), ``completed``,
            ``failed`` or ``cancelled``.
        path: The file, absolute.
        size: Bytes that the File will have.
        done: Bytes that need not be sent again.
        parts: Parts that have receipts in the open Upload.
        set_id: Jobs of one command share it.
        active_at: When a run of it last began or ended, Unix seconds.
        expires_at: When the open Upload dies, Unix seconds of the server's clock.
        why: Why it stopped or failed.
    """

    id: str
    state: str
    path: str
    purpose: str
    filename: str
    size: int
    done: int
    parts: int
    base_url: str
    set_id: str
    created_at: float
    active_at: float
    expires_at: int | None = None
    file_id: str | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a provider takes, in bytes; None where it says nothing.

    ``upload`` is for a file that is sent in parts, ``file`` for one that is sent in a single
    request. ``by_purpose`` lowers both for single purposes. ``records`` are the most lines of a
    file, by purpose; ``inputs`` the most embeddings that one file of a batch may ask for.
    """

    part: int = PART_SIZE
    upload: int | None = None
    by_purpose: tuple[tuple[str, int], ...] = ()
    file: int | None = None
    records: tuple[tuple[str, int], ...] = ()
    inputs: int | None = None

    def largest(self, purpose: str, *, single: bool = False) -> int | None:
        """The largest file that this provider takes for ``purpose``, in parts or in one request."""
        known = (self.file if single else self.upload, dict(self.by_purpose).get(purpose))
        return min((size for size in known if size is not None), default=None)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer that was not a success, as far as decisions need it.

    ``message`` is the server's own text, escaped and cut to a length that fits a terminal.
    ``retry_after`` is in seconds from the moment of the answer.
    """

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    request_id: str | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """How hard to try, in one value. Nothing here changes what is uploaded.

    Attributes:
        workers: Most parts in flight at once, 1 to 64.
        retries: Attempts after the first for one request.
        stall_timeout: Seconds without progress after which an attempt is cut.
        complete_timeout: Seconds that one ``complete`` may take.
        wait_limit: Longest wait that a server may ask for, in seconds.
        offline_wait: Seconds to wait for a network that is gone.
        looks: Seconds after a doubtful ``complete`` at which the File list is read.
        patience: Seconds to go on looking after ``complete`` was asked a second time.
        generations: Uploads that one command may open for one job.
        fail_if_late: Whether to fail once it is seen that the Upload will expire first.
        limit_rate: Most bytes a second of all content together, 16384 at least, bytes that are
            sent again among them; None for all that the link carries.
    """

    workers: int = 16
    retries: int = 8
    stall_timeout: float = 60.0
    complete_timeout: float = 600.0
    wait_limit: float = 900.0
    offline_wait: float = 900.0
    looks: tuple[float, ...] = (0.0, 2.0, 5.0, 10.0)
    patience: float = 120.0
    generations: int = 3
    fail_if_late: bool = False
    limit_rate: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= 64:
            raise ValueError(f"between 1 and 64 workers, not {self.workers}")
        if self.retries < 0 or self.generations < 1:
            raise ValueError("at least no retries and one Upload")
        if not (self.stall_timeout > 0 and self.complete_timeout > 0):
            raise ValueError("a time-out is longer than nothing")
        if self.limit_rate is not None and not LEAST_RATE <= self.limit_rate < float("inf"):
            raise ValueError(f"{LEAST_RATE} bytes a second at least, not {self.limit_rate}")

    @property
    def read_size(self) -> int:
        """Bytes of one read: memory is workers times this, whatever the part size."""
        return min(MIB, max(128 * 1024, 4 * MIB // self.workers))
