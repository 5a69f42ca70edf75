"""What a person asks for, as a job that can be. Refusals come before anything is sent."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from chunkup.endpoint import Endpoint
from chunkup.errors import BadOption, TooLarge
from chunkup.key import sendable
from chunkup.models import METHODS, Account, Job, Limits, Method, Piece, Plan, Split
from chunkup.planner import in_parts, plan, whole
from chunkup.providers import Provider
from chunkup.source import inspect, mime_type_of
from chunkup.text import printable


@dataclass(frozen=True, slots=True)
class Content:
    """What the Files shall be; the arguments of an upload that are not about how to send.

    ``filename`` and ``mime_type`` of None follow from the path. ``expires_after`` is in seconds
    after the File's creation, 3600 to 2592000 (the API's own bounds). ``method`` is ``auto``,
    ``uploads`` or ``files``.
    """

    purpose: str
    filename: str | None = None
    mime_type: str | None = None
    expires_after: int | None = None
    method: Method = "auto"

    def __post_init__(self) -> None:
        if not self.purpose or not self.purpose.isprintable() or len(self.purpose) > 64:
            raise BadOption(f"{self.purpose!r} is not a purpose", hint="say --purpose user_data")
        seconds = self.expires_after
        if seconds is not None and not 3600 <= seconds <= 2_592_000:
            raise BadOption(
                f"a File can expire 1 h to 30 d after it is made, not after {seconds} s",
                hint="give between 1h and 30d",
            )
        if self.method not in METHODS:
            raise BadOption(f"{self.method!r} is no method", hint=f"one of {', '.join(METHODS)}")
        if self.mime_type is not None and not sendable(self.mime_type, " "):
            raise BadOption("that MIME type has characters that no header can carry")


def permitted(content: Content, provider: Provider) -> None:
    """See that the provider takes what is wished for the File.

    Raises:
        BadOption: It is known that it does not; see docs/providers.md.
    """
    if content.expires_after is not None and not provider.expires:
        raise BadOption(
            f"{provider.title or provider.name} lets nobody choose when a File expires",
            hint="leave --expires-after away, and delete the File when it has served",
        )


def describe(  # noqa: PLR0913  (each is one thing that decides about a job)
    path: str | os.PathLike[str],
    content: Content,
    endpoint: Endpoint,
    limits: Limits,
    *,
    part_size: int,
    md5: bool,
    split: Split | None = None,
) -> tuple[Job, Plan]:
    """The job that uploads this file, and its parts. Looks at the file and nothing else.

    The job has no id, set and full account yet: those are the journal's. A file that will be
    ``split`` may be of any size.

    Raises:
        Refused: It cannot be uploaded.
    """
    permitted(content, endpoint.provider)
    given = os.fspath(path)
    real, found = inspect(path)
    span = whole(found.size, given)
    name = content.filename or PurePath(given).name
    if any("\ud800" <= char <= "\udfff" for char in name):
        raise BadOption(
            f"the name of {printable(given)} is no valid text",
            hint="give the File another name with --filename NAME",
        )
    job = Job(
        id="",
        set_id="",
        account=Account(endpoint.base_url),
        path=real,
        span=span,
        fingerprint=found,
        purpose=content.purpose,
        filename=name,
        mime_type=content.mime_type or mime_type_of(name),
        created_at=time.time(),
        expires_after=content.expires_after,
        part_size=part_size,
        md5=md5,
        method=content.method,
        given=given,
        split=split,
    )
    if split is not None:
        in_parts(part_size, limits)
        return job, Plan(span, part_size)
    try:
        return job, plan(
            span,
            part_size=part_size,
            purpose=content.purpose,
            limits=limits,
            path=given,
            single=in_one_request(content.method, endpoint.provider),
        )
    except TooLarge as error:
        error.wanted = job
        raise


def in_one_request(method: str, provider: Provider) -> bool:
    """Whether it is known that a file goes in a single request."""
    return method == "files" or (method == "auto" and provider.uploads is False)


def pieces_of(job: Job, pieces: Sequence[Piece]) -> list[Job]:
    """The jobs that upload a file's pieces, each as a File of its own name.

    One piece that is the whole file keeps the file's name.
    """
    if len(pieces) == 1:
        (only,) = pieces
        return [replace(job, first_line=only.first_line, lines=only.lines)]
    return [
        replace(
            job,
            span=piece.span,
            filename=piece_name(job.filename, number, len(pieces)),
            first_line=piece.first_line,
            lines=piece.lines,
        )
        for number, piece in enumerate(pieces, 1)
    ]


def piece_name(filename: str, number: int, count: int) -> str:
    """What the File of one of a file's pieces is called; ``number`` counts from 1."""
    name = PurePath(filename)
    return f"{name.stem}-{number:05}-of-{count:05}{name.suffix}"
