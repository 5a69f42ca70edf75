"""The one command that gets a person on, for every error there is.

A hint is meant to be pasted, so it is a command and nothing beside it: no sentence around it,
and no ``#`` comment behind it, which zsh takes for arguments unless it was told otherwise.
What has to be repaired first stands in the message, and in ``docs/errors.md``.

Some errors bring a command of their own, which knows no destination, since the engine knows
neither the profile nor the journal flag of the command that ran it; it is completed here. Others
bring a sentence, which remains where no command is known to help.
"""

import os
import shlex
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from chunkup.cli.options import Where
from chunkup.errors import (
    BadContent,
    BadOption,
    Busy,
    ChunkupError,
    Forbidden,
    Interrupted,
    JobEnded,
    JournalTrouble,
    NoSuchJob,
    OtherAccount,
    OutcomeUnknown,
    OutOfQuota,
    ProxyRefused,
    Refused,
    Rejected,
    SourceChanged,
    SourceGone,
    Stopped,
    TooLarge,
    TooSlow,
    Unauthorized,
    Untrusted,
    WantsCertificate,
)
from chunkup.models import PART_SIZE, Job
from chunkup.planner import is_jsonl
from chunkup.verdicts import Complaint, complaint


@dataclass(frozen=True, slots=True)
class _Case:
    """What is known when an error is about to be printed."""

    error: ChunkupError
    where: Where
    job: Job | None

    @property
    def job_id(self) -> str | None:
        # An upload may have ended one job and begun another since ``job`` was looked up.
        return self.error.job_id or (self.job.id if self.job else None)

    @property
    def subject(self) -> Job | None:
        """The job, or what would have become one, under the path that was typed."""
        wanted = self.error.wanted
        if self.job is not None or wanted is None:
            return self.job
        return replace(wanted, path=wanted.given or wanted.path)

    def command(self, *words: str) -> str:
        """A command with the destination, or with the journal alone if it asks only that."""
        if words[0] not in _LOCAL:
            return self.where.command(*words)
        journal = ["--journal", str(self.where.journal)] if self.where.journal else []
        return shlex.join(["chunkup", *words, *journal])


_Row = Callable[[_Case], str | None]


def advise(error: ChunkupError, where: Where, job: Job | None = None) -> str | None:
    """The hint to print below an error.

    One whole command with destination and journal, never with a secret: the error's own if it
    has one. Its own sentence where no command would help; None if there is neither.

    Args:
        error: What went wrong.
        where: The destination of the command that failed.
        job: The job that it is about, if one is known; its id alone permits less.
    """
    case, row = _Case(error, where, job), _row(type(error))
    ways = (row, _own) if isinstance(error, _KNOWN_BETTER) else (_own, row)
    command = next((command for way in ways if (command := way(case))), None)
    return error.hint if command is None else _pasteable(command)


def advise_by_code(code: str | None, where: Where, job: Job) -> str | None:
    """The command that gets a job on which nobody runs, by the code of its last run's end.

    None where nothing is known but to look at the job, and for codes of other versions.
    """
    kind = next((kind for kind in _tree(ChunkupError) if kind.code == code), None)
    row = _row(kind) if kind else _show
    if row in {_show, _stop, _jobs, _accept, _rejected}:
        return None
    command = row(_Case(ChunkupError(""), where, job))
    return _pasteable(command) if command else None


@contextmanager
def advising(journal: Path | None) -> Iterator[None]:
    """For commands that ask the journal alone: their errors leave with a whole command."""
    try:
        yield
    except ChunkupError as error:
        where = Where(None, None, None, allow_http=False, no_key=False, journal=journal)
        error.hint = advise(error, where)
        raise


def _row(kind: type[ChunkupError]) -> _Row:
    return next(_ROWS[above] for above in kind.__mro__ if above in _ROWS)


def _tree(kind: type[ChunkupError]) -> Iterator[type[ChunkupError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


# --- rows -------------------------------------------------------------------------------------


def _said(_: _Case) -> None:
    """Nothing is known that is better than the error's own sentence."""


def _own(case: _Case) -> str | None:
    """The command that the error brought, with the destination unless it has one."""
    hint = case.error.hint or ""
    try:
        program, *words = shlex.split(hint)
    except ValueError:  # a sentence with an apostrophe, or none at all
        return None
    if program != "chunkup" or not words:
        return None
    destination = shlex.split(case.command(words[0]))[2:]
    has_one = words[len(words) - len(destination) :] == destination or "--base-url" in words
    return hint if has_one or "--help" in words else case.command(*words)


def _resume(case: _Case) -> str | None:
    return case.command("resume", case.job_id) if case.job_id else None


def _resume_or_diagnose(case: _Case) -> str | None:
    """Where no job could be looked up, it takes a look at the disk, or at who is in the way."""
    held = (case.error.hint or "").startswith("fuser ")
    return _resume(case) or (None if held else case.command("doctor"))


def _resume_at_home(case: _Case) -> str | None:
    """A job that was asked for with what belongs to another: as it was begun."""
    if case.job is None:
        return None
    return Where.of(case.job.account, case.where.journal).command("resume", case.job.id)


def _resume_from_elsewhere(case: _Case) -> str | None:
    if case.job_id is None:
        return None
    return case.command("resume", case.job_id, "--source", "NEW_PATH")


def _show(case: _Case) -> str | None:
    return case.command("show", case.job_id) if case.job_id else None


def _stop(case: _Case) -> str | None:
    return case.command("stop", case.job_id) if case.job_id else None


def _jobs(case: _Case) -> str:
    return case.command("jobs")


def _accept(case: _Case) -> str | None:
    """The first candidate: accepting checks it, and refuses one that is not ours."""
    candidates = case.error.candidates if isinstance(case.error, OutcomeUnknown) else ()
    if case.job_id is None or not candidates:
        return _show(case)
    return case.command("resume", case.job_id, "--accept", candidates[0])


def _upload(case: _Case) -> str | None:
    if case.job is None:
        return _show(case)
    return case.command("upload", *_content(case.job))


def _rejected(case: _Case) -> str | None:
    """Content that arrived as something else is sent anew; other refusals are looked at."""
    answer = case.error.answer
    altered = answer is not None and complaint(answer) is Complaint.CHECKSUM
    return _upload(case) if altered else _show(case)


def _upload_fresh(case: _Case) -> str | None:
    if case.job is None:
        return _show(case)
    return case.command("upload", *_content(case.job), "--fresh")


def _split(case: _Case) -> str | None:
    """Too much for one File, and records to cut it between."""
    if case.subject is None:
        return _show(case)
    if not is_jsonl(case.subject.path):
        return None
    words = _content(case.subject)
    return case.command("upload", *words, *([] if "--split" in words else ["--split"]))


def _mend(case: _Case) -> str | None:
    """What the check found: cut or mended, where that cures all of it, and else looked at."""
    job = case.subject
    if job is None:
        return _show(case)
    found = case.error.counts if isinstance(case.error, BadContent) else ()
    remedy = cure(found)
    if remedy == "split":
        return _split(case)
    if job.path == "-":
        return None  # standard input, which is gone once it is read
    words = checked_again([job.path], job.purpose, job.mime_type)
    return case.command(*words, *(["--fix"] if remedy == "fix" else []))


def cure(codes: Collection[str]) -> Literal["fix", "split"] | None:
    """What is to be done first against errors of these codes; None if only a person can help."""
    from chunkup.records import CODES

    rest = {code for code in codes if code not in _CUT}
    if not codes or not all(code in CODES and CODES[code].mendable for code in rest):
        return None
    return "fix" if rest else "split"


def checked_again(paths: Collection[str], purpose: str, mime_type: str | None = None) -> list[str]:
    """The words of the ``check`` that looks at these files, as a command was given them."""
    from chunkup.source import mime_type_of

    words = ["check", *paths, "--purpose", purpose]
    if mime_type is not None and any(mime_type != mime_type_of(path) for path in paths):
        words += ["--mime-type", mime_type]
    return words


# They ask the journal, whose only flag is its own path.
_LOCAL: Final = frozenset({"jobs", "show", "stop"})

# Here the table knows more than the raise: the job's own account, the journal, the candidates,
# the options of what was to be sent.
_KNOWN_BETTER: Final = (BadContent, BadOption, NoSuchJob, OutcomeUnknown, TooLarge)

# What the check finds of files that are as they should be, but too much for one File.
_CUT: Final = frozenset({"too_many_tasks", "too_many_inputs", "file_too_large"})

_ROWS: Final[dict[type, _Row]] = {
    ChunkupError: _show,
    Refused: _said,
    BadOption: _resume_at_home,
    NoSuchJob: _jobs,
    TooLarge: _split,
    BadContent: _mend,
    SourceChanged: _upload,
    SourceGone: _resume_from_elsewhere,
    Rejected: _rejected,
    Unauthorized: _resume,
    Forbidden: _resume,
    OutOfQuota: _resume,
    Untrusted: _resume,
    WantsCertificate: _resume,
    ProxyRefused: _resume,
    OtherAccount: _upload_fresh,
    JobEnded: _upload,
    TooSlow: _resume,
    Busy: _stop,
    OutcomeUnknown: _accept,
    Stopped: _resume,
    JournalTrouble: _resume_or_diagnose,
    Interrupted: _resume,
}


# --- words ------------------------------------------------------------------------------------


def _content(job: Job) -> list[str]:
    """The arguments of ``upload`` that describe this job's content, defaults left away."""
    from chunkup.source import mime_type_of

    words = [job.path, "--purpose", job.purpose]
    if not job.cut:
        if job.filename != os.path.basename(job.path):  # noqa: PTH119  (any text, no path of ours)
            words += ["--filename", job.filename]
        if job.mime_type != mime_type_of(job.filename):
            words += ["--mime-type", job.mime_type]
    else:
        # A shard's name and stretch are made by the splitting, and it alone can make them anew.
        words.append("--split")
    if job.expires_after is not None:
        words += ["--expires-after", f"{job.expires_after}s"]
    if job.part_size != PART_SIZE:
        words += ["--part-size", str(job.part_size)]
    if job.method != "auto":
        words += ["--method", job.method]
    if not job.md5:
        words.append("--no-md5")
    return words


def _pasteable(command: str) -> str:
    """The same command in characters that a terminal shows as they are.

    What is printed is escaped on its way to the terminal, and an escaped name would be another
    file's. Only names with control characters, or that are no text, come to look different.
    """
    if command.isprintable():
        return command
    return " ".join(
        shlex.quote(word) if word.isprintable() else _ansi_quoted(word)
        for word in shlex.split(command)
    )


def _ansi_quoted(word: str) -> str:
    r"""As ``$'…'``, which bash, zsh and ksh read; bytes as ``\033``, since octal has one length."""
    return f"$'{''.join(_readable(char) for char in word)}'"


def _readable(char: str) -> str:
    if char.isprintable() and char not in "'\\":
        return char
    # A byte of a file name that is no text is half of a surrogate pair here.
    stray = "\udc80" <= char <= "\udcff"
    encoded = char.encode("utf-8", "surrogateescape" if stray else "surrogatepass")
    return "".join(f"\\{byte:03o}" for byte in encoded)
