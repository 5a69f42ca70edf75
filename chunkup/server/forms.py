"""multipart/form-data requests: one file to disk as it arrives, small fields to memory."""

import asyncio
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

from aiohttp import web

from chunkup.server.content import Incoming
from chunkup.server.errors import ApiError, invalid, missing, too_large, unknown
from chunkup.server.multipart import (
    Event,
    FieldData,
    FieldEnd,
    FieldStart,
    MultipartError,
    MultipartParser,
    parse_header,
)
from chunkup.server.patience import Body
from chunkup.server.tampering import GARBLED, held

_MAX_TEXT_BYTES = 4 << 10

# What a body may hold beside the file itself before its Content-Length alone refuses it.
_ENVELOPE_BYTES = 256 << 10

# Bytes handed to the writing thread at once: enough to make the hand-over cheap.
_BATCH_BYTES = 512 << 10


@dataclass(frozen=True, slots=True)
class FormShape:
    """The fields that a route accepts; `what` names the file in a refusal for its size."""

    file_field: str
    text_fields: frozenset[str]
    max_bytes: int
    what: str


@dataclass(frozen=True, slots=True)
class Form:
    """What a form said beside its file; `filename` is empty when the client gave none."""

    filename: str
    fields: Mapping[str, str]


class FormReader:
    """Reads the form of one request, its file into `incoming` by way of `executor`.

    One batch is written while the next arrives, so a request holds about 1 MiB however large
    its file is. `received` counts the bytes of the file so far, also after a failure.
    """

    def __init__(
        self, request: web.Request, shape: FormShape, incoming: Incoming, executor: Executor
    ) -> None:
        self.received = 0
        self._request = request
        self._shape = shape
        self._incoming = incoming
        self._executor = executor
        self._batch: list[memoryview] = []
        self._batched = 0
        self._writing: asyncio.Future[None] | None = None
        self._field = ""
        self._filename = ""
        self._seen: set[str] = set()
        self._texts: dict[str, bytearray] = {}

    async def read(self) -> Form:
        """Read the whole body.

        Raises:
            ApiError: the form is malformed, incomplete, too large, too slow or has wrong fields.
            ConnectionError: the client went away.
            OSError: the disk refused.
        """
        self._check_length()
        try:
            parser = MultipartParser(self._boundary())
            body = Body(self._request)
            while chunk := await body.read():
                await self._take(parser.feed(chunk))
            await self._take(parser.finish())
        except MultipartError as error:
            raise ApiError(400, f"Could not parse the multipart form: {error}.") from error
        await self._flush()
        await self._settle()
        await held(self._request)
        if self._shape.file_field not in self._seen:
            raise missing(self._shape.file_field)
        fields = {name: _text(name, text) for name, text in self._texts.items()}
        return Form(self._filename, fields)

    def _check_length(self) -> None:
        length = self._request.content_length
        if length is not None and length > self._shape.max_bytes + _ENVELOPE_BYTES:
            raise too_large(self._shape.what, self._shape.max_bytes)

    def _boundary(self) -> str:
        content_type = self._request.headers.get("Content-Type", "")
        value, parameters = parse_header(content_type)
        if value != "multipart/form-data":
            message = f"Invalid Content-Type header ({value[:80]}), expected multipart/form-data."
            raise ApiError(400, message)
        return parameters.get("boundary", "")

    async def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case FieldStart():
                    self._begin(event)
                case FieldData(data) if self._field == self._shape.file_field:
                    await self._store(data)
                case FieldData(data):
                    text = self._texts[self._field]
                    text += data
                    if len(text) > _MAX_TEXT_BYTES:
                        message = f"Invalid '{self._field}': at most {_MAX_TEXT_BYTES} bytes."
                        raise invalid(self._field, message)
                case FieldEnd():
                    self._field = ""

    def _begin(self, start: FieldStart) -> None:
        name = start.name
        if name != self._shape.file_field and name not in self._shape.text_fields:
            raise unknown([name])
        if name in self._seen:
            raise invalid(name, f"Invalid '{name}': the field occurs more than once.")
        self._seen.add(name)
        self._field = name
        if name == self._shape.file_field:
            self._filename = start.filename or ""
        elif start.filename is None:
            self._texts[name] = bytearray()
        else:
            raise invalid(name, f"Invalid '{name}': expected text, but got a file.")

    async def _store(self, data: memoryview) -> None:
        if not self.received and self._request.get(GARBLED):
            data = memoryview(bytes([data[0] ^ 1]) + data[1:])
        self.received += len(data)
        if self.received > self._shape.max_bytes:
            raise too_large(self._shape.what, self._shape.max_bytes)
        self._batch.append(data)
        self._batched += len(data)
        if self._batched >= _BATCH_BYTES:
            await self._flush()

    async def _flush(self) -> None:
        await self._settle()
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(self._executor, self._incoming.write, self._batch)
        # A request that fails meanwhile discards the file, and nobody asks for this result.
        self._writing.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._batch, self._batched = [], 0

    async def _settle(self) -> None:
        if self._writing is not None:
            await self._writing
            self._writing = None


def _text(name: str, text: bytearray) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise invalid(name, f"Invalid '{name}': not UTF-8.") from error
