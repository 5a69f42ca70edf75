"""The Uploads API call by call, for programs that drive an Upload themselves.

Nothing here is journaled, and nothing goes on by itself: whoever calls holds the ids, and the
order of the parts. Requests are repeated under the policy of the uploader, but for one.
``complete`` is asked again only where it surely was not carried out; for what it leaves in doubt
the error says so.
"""

import os
import re
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Final

from chunkup.body import FormBody
from chunkup.engine import Engine
from chunkup.errand import Errand
from chunkup.errors import BadOption, ChunkupError, EmptyFile, OutcomeUnknown, Rejected, TooLarge
from chunkup.files.stored import an_id
from chunkup.finalizer import surely_not_done
from chunkup.intake import Content, permitted
from chunkup.models import Account, Fingerprint, Job, RemoteFile, Source, Span, Upload
from chunkup.planner import fits
from chunkup.source import inspect, mime_type_of
from chunkup.text import printable, size_text
from chunkup.verdicts import Complaint, complaint

_MD5: Final = re.compile(r"[0-9a-fA-F]{32}")
_OVER: Final = frozenset({Complaint.CANCELLED, Complaint.EXPIRED, Complaint.ABSENT})


class Uploads:
    """The four calls: ``AsyncUploader.uploads``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def create(
        self,
        *,
        bytes: int,  # noqa: A002  (the API's own word)
        filename: str,
        purpose: str,
        mime_type: str | None = None,
        expires_after: int | None = None,
    ) -> Upload:
        """POST /uploads. A lost answer leaves an Upload that nobody knows, and that expires.

        Args:
            bytes: What the parts will add up to.
            filename: The File's name.
            purpose: ``batch``, ``user_data``, ... or what a provider calls its own.
            mime_type: Default by the name's extension.
            expires_after: Seconds after creation at which the File vanishes, 3600 to 2592000.

        Raises:
            BadOption: An argument that cannot be.
            TooLarge: It is more than the provider takes.
            ChunkupError: It was refused, or could not be asked for.
        """
        if not _is_count(bytes):
            raise BadOption(f"bytes is {bytes!r}, and an Upload has at least one")
        if not filename:
            raise BadOption("the filename is empty")
        content = Content(purpose, filename, mime_type, expires_after)
        provider = self._engine.endpoint.provider
        permitted(content, provider)
        fits(Span(0, bytes), content.purpose, provider.limits, path=filename)
        shop = self._engine.workshop
        job = Job(
            id="",
            set_id="",
            account=Account(self._engine.endpoint.base_url),
            path=filename,
            span=Span(0, bytes),
            fingerprint=Fingerprint(bytes, 0, 0, 0),
            purpose=content.purpose,
            filename=filename,
            mime_type=content.mime_type or mime_type_of(filename),
            created_at=shop.api.server_now(),
            expires_after=content.expires_after,
        )
        return await Errand(shop)(partial(shop.api.create, job))

    async def add_part(
        self,
        upload_id: str,
        data: bytes | bytearray | memoryview | str | os.PathLike[str],
        *,
        start: int = 0,
        stop: int | None = None,
    ) -> str:
        """POST /uploads/{id}/parts; the part's id. Any number of parts may be sent at once.

        A lost answer may leave a part that nobody names: OpenAI leaves it out, some servers count
        it and refuse to complete.

        Args:
            upload_id: The Upload.
            data: Bytes, or the path of a file, which is read as it is sent.
            start: Its first byte, of a path.
            stop: The byte after its last one, of a path; default the file's end.

        Raises:
            BadOption: An argument that cannot be.
            TooLarge: It is larger than the server takes for a part.
            ChunkupError: It was refused, or could not be sent.
        """
        shop, upload_id = self._engine.workshop, an_id(upload_id)
        if isinstance(data, str | os.PathLike):
            source = _stretch(data, start, stop)
            size = source.span.size
            chunks = partial(shop.readers.read, source, source.span, shop.options.read_size)
        else:
            if not isinstance(data, bytes | bytearray | memoryview):
                raise BadOption(f"data is a {type(data).__name__}, and no bytes and no path")
            if start or stop is not None:
                raise BadOption("start and stop are of a path; cut bytes yourself")
            content = memoryview(data).cast("B")
            size = len(content)
            chunks = partial(_cut, content, shop.options.read_size)
        if not size:
            raise EmptyFile("a part has at least one byte")
        if size > shop.api.provider.limits.part:
            most = size_text(shop.api.provider.limits.part)
            raise TooLarge(f"a part of {size_text(size)} is larger than {most}")

        async def attempt() -> str:
            async with shop.slots.slot(size, upload_id):
                return await shop.api.add_part(upload_id, FormBody(chunks(), size), lambda _: None)

        return await Errand(shop)(attempt)

    async def complete(
        self, upload_id: str, part_ids: Sequence[str], md5: str | None = None
    ) -> RemoteFile:
        """POST /uploads/{id}/complete; the File of these parts in this order.

        Args:
            upload_id: The Upload.
            part_ids: Each once.
            md5: Of the whole, in hex; the server compares it.

        Raises:
            BadOption: An argument that cannot be.
            OutcomeUnknown: It was asked, and no answer came: the File may exist.
            ChunkupError: It was refused, or could not be asked for.
        """
        upload_id = an_id(upload_id)
        if isinstance(part_ids, str) or not part_ids:
            raise BadOption("part_ids are the ids of all parts, in the order of the file")
        ids = [an_id(part_id) for part_id in part_ids]
        if len(set(ids)) != len(ids):
            raise BadOption("part_ids has an id twice")
        if md5 is not None and not _MD5.fullmatch(md5):
            raise BadOption("an md5 is 32 hexadecimal digits")
        shop = self._engine.workshop

        async def attempt() -> Upload:
            try:
                return await shop.api.complete(upload_id, ids, md5.lower() if md5 else None)
            except ChunkupError as error:
                if surely_not_done(error) or isinstance(error, Rejected):
                    raise
                raise _doubt(upload_id, error) from error

        made = await Errand(shop)(attempt)
        if made.file is None:
            raise _doubt(upload_id, None)
        return made.file

    async def cancel(self, upload_id: str) -> None:
        """POST /uploads/{id}/cancel. Of an Upload that is gone already it is as good as done.

        Raises:
            Rejected: It is completed, or the server knows no cancelling.
            ChunkupError: It could not be asked for.
        """
        shop = self._engine.workshop
        try:
            await Errand(shop)(partial(shop.api.cancel, an_id(upload_id)))
        except Rejected as error:
            if error.answer is None or complaint(error.answer) not in _OVER:
                raise


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _doubt(upload_id: str, error: ChunkupError | None) -> OutcomeUnknown:
    why = error.message if error else "the server named none"
    return OutcomeUnknown(
        f"Upload {printable(upload_id)} may have become a File: {why}",
        hint="look for it with: chunkup files list",
        answer=error.answer if error else None,
    )


def _stretch(path: str | os.PathLike[str], start: int, stop: int | None) -> Source:
    real, found = inspect(path)
    if stop is None:
        stop = found.size
    if not 0 <= start < stop <= found.size:
        raise BadOption(
            f"{printable(os.fspath(path))} has no bytes {start} to {stop}: it ends at {found.size}"
        )
    return Source(real, Span(start, stop), found)


async def _cut(content: memoryview, size: int) -> AsyncGenerator[bytes, None]:
    for at in range(0, len(content), size):
        yield bytes(content[at : at + size])
