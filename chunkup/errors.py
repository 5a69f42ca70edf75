"""What can go wrong, and whose turn it is then.

The tree is sorted by what the person can do, which is also what the exit code says::

    ChunkupError
    ├── Refused (2)            the request itself cannot be: nothing was sent
    │   ├── BadOption          a value that no upload can have
    │   ├── NoKey              no API key to send
    │   ├── PlainHttp          a key about to leave over unencrypted http
    │   ├── NoSuchFile, NotAFile, EmptyFile, Unreadable, TooLarge
    │   ├── BadContent         records that the server would refuse later
    │   ├── NoSuchJob          no job with this id, or several
    │   └── BadJournal         a path that cannot be trusted or understood
    ├── Failed (1)             waiting will not help
    │   ├── SourceChanged      the file is no longer the one that was being sent
    │   ├── SourceGone         the file is no longer there, or no longer readable
    │   ├── Rejected           the server answered that it will not do this
    │   │   ├── Unauthorized   ... because of the key (401)
    │   │   ├── Forbidden      ... because of the account's rights (403)
    │   │   ├── NotFound       ... because it does not know the thing (404)
    │   │   ├── OutOfQuota     ... because the account is used up
    │   │   └── ProxyRefused   ... because a proxy on the way does not let it through (407)
    │   ├── Untrusted          the server's certificate is nobody's that this machine knows
    │   ├── WantsCertificate   the server wants a certificate of ours
    │   ├── BadAnswer          a success that cannot be believed
    │   ├── OtherAccount       the job belongs to another account
    │   ├── JobEnded           the job was cancelled or failed earlier
    │   └── TooSlow            the link cannot finish within an Upload's life
    ├── Busy (3)               another process holds the job
    ├── OutcomeUnknown (4)     the File may exist; a person has to look
    ├── Stopped (75)           stopped for now; the same command goes on
    │   ├── Unreachable        no connection, or it broke, or it fell silent
    │   ├── ServerTrouble      the server says it failed (5xx and kin)
    │   ├── Throttled          the server asks for patience (429)
    │   └── JournalTrouble     the disk under the journal failed or is full
    └── Interrupted (130)      a person or the system asked to stop

A *stop* is not an *end*: every class but ``Refused`` leaves a job whose receipts are kept,
and its message says so where it matters.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from chunkup.models import Answer, Job


class ChunkupError(Exception):
    """The root of everything that chunkup raises on purpose.

    Attributes:
        code: Stable name in kebab-case; stands in ``error[code]`` and in JSON.
        exit_code: What a command that ends with this error returns.
        hint: One sentence or command that helps, or None.
        retryable: Whether the same request may be sent again by the program itself.
        job_id: The job that this is about, or None.
        request_id: The server's id of the request that failed, or None.
        answer: What the server said, if it was the server.
        cut: Whether a request for a File broke off before its end, so that surely nothing came
            of it.
        wanted: What was to be uploaded, where it was refused before there was a job.
    """

    code: ClassVar[str] = "error"
    exit_code: int = 1

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        job_id: str | None = None,
        answer: Answer | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.job_id = job_id
        self.answer = answer
        self.retryable = retryable
        self.cut = False
        self.wanted: Job | None = None

    @property
    def request_id(self) -> str | None:
        """The server's id of the failed request, for a report to its operators."""
        return self.answer.request_id if self.answer else None


class Refused(ChunkupError):
    """The request cannot be carried out as asked; nothing was sent."""

    code = "refused"
    exit_code = 2


class BadOption(Refused):
    """An option or argument has a value that no upload can have."""

    code = "bad-option"


class NoKey(Refused):
    """No API key was given."""

    code = "no-key"


class PlainHttp(Refused):
    """A key would have crossed a network unencrypted."""

    code = "plain-http"


class NoSuchFile(Refused):
    """The path does not exist."""

    code = "no-such-file"


class NotAFile(Refused):
    """The path is a directory, a pipe or a device."""

    code = "not-a-file"


class EmptyFile(Refused):
    """The file has no bytes; the API takes none such."""

    code = "empty-file"


class Unreadable(Refused):
    """The file exists but this user may not read it."""

    code = "unreadable"


class TooLarge(Refused):
    """The file is larger than the provider takes for this purpose."""

    code = "too-large"


class BadContent(Refused):
    """The check found what the server would refuse once it reads the file.

    Attributes:
        findings: The first twenty, each with ``code``, ``message``, ``line`` and ``offset``.
        counts: How many there are of each code, errors alone.
    """

    code = "bad-content"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        findings: Sequence[Any] = (),
        counts: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.findings = tuple(findings)
        self.counts = dict(counts or {})


class NoSuchJob(Refused):
    """No job has this id, or the prefix fits several."""

    code = "no-such-job"


class BadJournal(Refused):
    """The journal's path is unsafe, or its content is damaged or from a newer version."""

    code = "bad-journal"


class Failed(ChunkupError):
    """It failed, and waiting will not help."""

    code = "failed"
    exit_code = 1


class SourceChanged(Failed):
    """The source's content is not what was sent before; nothing was completed.

    Attributes:
        between_runs: It changed since an earlier run; False if it moved under this one.
    """

    code = "source-changed"

    def __init__(
        self, message: str, *, between_runs: bool = False, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.between_runs = between_runs


class SourceGone(Failed):
    """The source vanished, or can no longer be read."""

    code = "source-gone"


class Rejected(Failed):
    """The server answered that it will not do this."""

    code = "rejected"


class Unauthorized(Rejected):
    """The server does not accept the key (401)."""

    code = "unauthorized"


class Forbidden(Rejected):
    """The key is known but may not do this (403)."""

    code = "forbidden"


class NotFound(Rejected):
    """The server does not know the thing that was named (404)."""

    code = "not-found"


class OutOfQuota(Rejected):
    """The account's quota is used up: a 429 that no waiting cures."""

    code = "insufficient-quota"


class ProxyRefused(Rejected):
    """A proxy on the way wants a password, or does not let it through; the server heard nothing."""

    code = "proxy-refused"


class Untrusted(Failed):
    """The server's TLS certificate is not trusted here; nothing was sent."""

    code = "untrusted-certificate"


class WantsCertificate(Failed):
    """The server wants a client certificate, or another one; it did nothing."""

    code = "client-certificate"


class BadAnswer(Failed):
    """The server said yes, but what it returned is not what was sent."""

    code = "bad-answer"


class OtherAccount(Failed):
    """The job was started under another account, and its Upload is not visible to this one."""

    code = "other-account"


class JobEnded(Failed):
    """The job has an ending already, and it is not a File."""

    code = "job-ended"


class TooSlow(Failed):
    """The measured speed cannot finish the file within the life of one Upload."""

    code = "too-slow"


class Busy(ChunkupError):
    """Another process holds this job."""

    code = "busy"
    exit_code = 3


class OutcomeUnknown(ChunkupError):
    """``complete`` was asked, and neither its answer nor its File could be found.

    Attributes:
        candidates: Ids of Files that might be the one, oldest first; may be empty.
    """

    code = "outcome-unknown"
    exit_code = 4

    def __init__(
        self,
        message: str,
        *,
        candidates: tuple[str, ...] = (),
        hint: str | None = None,
        job_id: str | None = None,
        answer: Answer | None = None,
    ) -> None:
        super().__init__(message, hint=hint, job_id=job_id, answer=answer)
        self.candidates = candidates


class Stopped(ChunkupError):
    """Stopped for now. Receipts are kept, and the same command goes on."""

    code = "stopped"
    exit_code = 75


class Unreachable(Stopped):
    """No connection could be made, or it broke or fell silent before an answer came.

    Attributes:
        sent: Whether any of the request may have reached the server. False only where the
            connection itself was never made, so that the request surely did nothing.
        slept: Whether the machine was asleep and the connection did not live through it.
        offline: Whether nothing gets through at all: no name service, no route, no connection
            in time.
    """

    code = "unreachable"

    def __init__(  # noqa: PLR0913  (what every error has, and three things known of a connection)
        self,
        message: str,
        *,
        sent: bool = True,
        offline: bool = False,
        slept: bool = False,
        hint: str | None = None,
        job_id: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, job_id=job_id, retryable=True)
        self.sent = sent
        self.offline = offline
        self.slept = slept


class ServerTrouble(Stopped):
    """The server said that it failed, or that it is busy with a conflicting request."""

    code = "server-trouble"


class Throttled(Stopped):
    """The server asks for fewer requests (429)."""

    code = "throttled"


class JournalTrouble(Stopped):
    """The journal could not be read or written: a full disk, an I/O error, a lost lock."""

    code = "journal-trouble"


class Interrupted(ChunkupError):
    """A signal or a caller asked to stop. Receipts are kept.

    Args:
        message: The sentence.
        signal: The signal's number; the exit code is 128 more.
    """

    code = "interrupted"

    def __init__(self, message: str, *, signal: int = 2, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = 128 + signal
