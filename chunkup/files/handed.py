"""What a program hands over itself, bytes or a file object, sent in a single POST /files.

No journal remembers it, since no later run could have the same content again. The rest holds as
for a file: a body that broke off surely made nothing and is sent again; a lost answer is looked
for in the list of Files, and nobody's doubt is repeated blindly.
"""

import shlex
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import Any, BinaryIO, Final, Protocol

from chunkup.aside import aside
from chunkup.body import FormBody
from chunkup.engine import Engine
from chunkup.errand import Errand
from chunkup.errors import (
    BadJournal,
    BadOption,
    ChunkupError,
    JournalTrouble,
    OutcomeUnknown,
    SourceChanged,
    SourceGone,
    TooLarge,
)
from chunkup.finalizer import Done, Finalizer, Hopeless, NotDone
from chunkup.intake import Content, permitted
from chunkup.link import Workshop
from chunkup.models import Account, Fingerprint, Job, RemoteFile, Upload
from chunkup.outlast import outlast
from chunkup.planner import fits, whole
from chunkup.posting import form_fields
from chunkup.search import Reach, Search
from chunkup.source import mime_type_of
from chunkup.text import printable, size_text

# Bytes of one read of a file object.
_READ: Final = 1 << 20


class Readable(Protocol):
    """A file object open for bytes; it may or may not be one that can be wound back."""

    def read(self, size: int = -1, /) -> bytes | None:
        """So many bytes at most, and none at the end."""
        ...


def name_of(source: object, filename: str | None) -> str:
    """The name that what is handed over will have as a File.

    Raises:
        BadOption: It has none, or is nothing that can be sent.
    """
    if not isinstance(source, bytes | bytearray | memoryview) and not hasattr(source, "read"):
        raise BadOption(
            f"source is a {type(source).__name__}, and no path, bytes or binary file object"
        )
    name = filename
    if not name:
        # A file object over a descriptor has a number for a name, and a pipe "<stdin>".
        own = getattr(source, "name", None)
        name = PurePath(own).name if isinstance(own, str) and not own.startswith("<") else None
    if not name:
        raise BadOption(
            "what is handed over has no name of its own, and servers tell its kind by the name",
            hint='say filename="data.jsonl", or what it is',
        )
    if any("\ud800" <= char <= "\udfff" for char in name):
        raise BadOption(f"the name {printable(name)} is no valid text")
    return name


async def send(engine: Engine, source: Any, content: Content) -> RemoteFile:
    """Make a File of what was handed over.

    A file object is sent from where it stands, and read to its end in a thread; one that cannot
    be wound back is first copied into a private temporary file.

    Raises:
        Refused: It cannot be sent; nothing was.
        OutcomeUnknown: The File may exist; ``candidates`` has those that fit.
        ChunkupError: As :meth:`chunkup.AsyncUploader.upload`.
    """
    provider = engine.endpoint.provider
    permitted(content, provider)
    name = name_of(source, content.filename)
    most = provider.limits.largest(content.purpose, single=True)
    parcel = await _packed(source, name, most)
    try:
        span = whole(parcel.size, name)
        fits(span, content.purpose, provider.limits, single=True, path=name)
        job = Job(
            id="",
            set_id="",
            account=Account(engine.endpoint.base_url),
            path=name,
            span=span,
            fingerprint=Fingerprint(span.size, 0, 0, 0),
            purpose=content.purpose,
            filename=name,
            mime_type=content.mime_type or mime_type_of(name),
            created_at=engine.workshop.api.server_now(),
            expires_after=content.expires_after,
            md5=False,
            method="files",
        )
        return await _delivered(engine, job, parcel)
    finally:
        await parcel.close()


async def _delivered(engine: Engine, job: Job, parcel: "_Parcel") -> RemoteFile:
    async def claimed() -> frozenset[str]:
        # Without a journal nothing is known of other jobs' Files, and a doubt remains one.
        with suppress(BadJournal, JournalTrouble):
            return await (await engine.journal()).claimed_files(job.account.base_url)
        return frozenset()

    shop = engine.workshop
    options = shop.options
    search = Search(shop.api, job, Upload("", 0, None), claimed, Errand(shop))
    finalizer = Finalizer(search, answer_lost=False, looks=options.looks, patience=options.patience)
    try:
        outcome = await finalizer.ask(_Delivery(shop, job, parcel))
        match outcome:
            case Done(file=file):
                return file
            case NotDone(error=error) | Hopeless(error=error):
                raise error
            case over:
                raise OutcomeUnknown(f"the server has no such request any more: {over.reason}")
    except ChunkupError as error:
        error.job_id = None
        if isinstance(error, OutcomeUnknown):
            error.hint = f"chunkup files list --purpose {shlex.quote(job.purpose)}"
        elif (error.hint or "").startswith("chunkup resume"):
            error.hint = None
        raise


@dataclass(slots=True)
class _Delivery:
    """The request that makes the File; what a :class:`Finalizer` asks with."""

    shop: Workshop
    job: Job
    parcel: "_Parcel"
    single: bool = True
    # By the monotonic clock: what the server's says of them may only be heard after a doubt.
    _times: tuple[float, ...] = field(default=(), init=False)
    _digest: str | None = field(default=None, init=False)

    @property
    def moments(self) -> tuple[float, ...]:
        """Server times at which the File may have been made."""
        now, ours = self.shop.api.server_now(), time.monotonic()
        return tuple(now - (ours - moment) for moment in self._times)

    def reach(self, search: Search) -> Reach:
        """As the search itself reaches the server."""
        return search.reach

    async def attempt(self, _: Search) -> RemoteFile:
        """Send it all once."""
        job, api = self.job, self.shop.api
        async with self.shop.slots.slot(job.size, id(self)):
            begun = time.monotonic()
            body = FormBody(
                self.parcel.chunks(self.shop.options.read_size),
                job.size,
                field="file",
                filename=job.filename,
                mime_type=job.mime_type,
                before=form_fields(job.purpose, job.expires_after),
                ending=partial(self._ending, begun),
            )
            try:
                return await api.post_file(body, lambda _: None)
            except ChunkupError:
                if self._times and not api.transport.knows_time:
                    # The File is known by its time, and the first answer of all was lost.
                    with suppress(ChunkupError):
                        await api.list_files(job.purpose, None, limit=1)
                raise

    async def _ending(self, begun: float, digest: str) -> None:
        """All content is out, and what follows may make the File."""
        if self._digest not in {None, digest}:
            raise SourceChanged(
                f"{printable(self.job.filename)} changed while it was being sent; look before "
                "you send it again"
            )
        self._digest = digest
        self._times = self._times or (begun, time.monotonic())


class _Parcel:
    """Content that can be read again and again, of a known size."""

    size: int

    def chunks(self, read_size: int) -> AsyncGenerator[bytes, None]:
        """All of it, from its start."""
        raise NotImplementedError

    async def close(self) -> None:
        """Give back what was taken for it."""


class _Bytes(_Parcel):
    def __init__(self, content: bytes | bytearray | memoryview) -> None:
        self._content = memoryview(content).cast("B")
        self.size = len(self._content)

    async def chunks(self, read_size: int) -> AsyncGenerator[bytes, None]:
        for at in range(0, self.size, read_size):
            yield bytes(self._content[at : at + read_size])


class _Handle(_Parcel):
    """An open file. ``ours`` is one that has to be closed."""

    def __init__(self, handle: BinaryIO, name: str, start: int, size: int, *, ours: bool) -> None:
        self._handle = handle
        self._name = name
        self._start = start
        self.size = size
        self._ours = ours

    async def chunks(self, read_size: int) -> AsyncGenerator[bytes, None]:
        # Waited for even when cancelled: the handle is its owner's again afterwards.
        with _readable(self._name):
            await outlast(aside(partial(self._handle.seek, self._start)))
        left = self.size
        while left:
            with _readable(self._name):
                chunk = await outlast(aside(partial(self._handle.read, min(left, read_size))))
            if not chunk:
                raise SourceChanged(f"{printable(self._name)} became shorter while it was sent")
            left -= len(chunk)
            yield chunk

    async def close(self) -> None:
        if self._ours:
            self._handle.close()


async def _packed(source: Any, name: str, most: int | None) -> _Parcel:
    if isinstance(source, bytes | bytearray | memoryview):
        return _Bytes(source)
    with _readable(name):
        nothing = await aside(partial(source.read, 0))
        if not isinstance(nothing, bytes):
            raise BadOption(
                f"{printable(name)} gives {type(nothing).__name__}, and a File is made of bytes",
                hint='open it with mode "rb"',
            )
        if getattr(source, "seekable", lambda: False)():
            start, size = await outlast(aside(partial(_extent, source)))
            return _Handle(source, name, start, size, ours=False)
    copy = tempfile.TemporaryFile()  # noqa: SIM115  (it is the parcel's to close)
    try:
        with _readable(name):
            # Not waited for when cancelled: a pipe may never say another word.
            size = await aside(partial(_copied, source, copy, name, most))
    except BaseException:
        copy.close()
        raise
    return _Handle(copy, name, 0, size, ours=True)


def _extent(source: BinaryIO) -> tuple[int, int]:
    """Where it stands, and how many bytes follow."""
    start = source.tell()
    stop = source.seek(0, 2)
    source.seek(start)
    return start, max(0, stop - start)


def _copied(source: Readable, copy: BinaryIO, name: str, most: int | None) -> int:
    """Bytes copied; no more than a provider takes, or the disk would be full of them."""
    size = 0
    while block := source.read(_READ):
        size += len(block)
        if most is not None and size > most:
            raise TooLarge(
                f"{printable(name)} has more than the {size_text(most)} that this provider takes "
                "in one request"
            )
        copy.write(block)
    if block is None:
        raise BlockingIOError("it has nothing now, and may have more later")
    return size


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise SourceGone(f"{printable(name)} cannot be read: {printable(str(why))}") from error
