"""Content as a request body: a form of known length, hashed as it goes out."""

import asyncio
import fcntl
import secrets
import struct
import sys
import termios
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET, socket
from typing import Final

from aiohttp import Payload
from aiohttp.abc import AbstractStreamWriter
from xxhash import xxh3_128

from chunkup.errors import ChunkupError
from chunkup.outlast import outlast
from chunkup.pace import Ration

# getsockopt's name for the unsent queue on macOS; Linux has it as an ioctl.
_SO_NWRITE: Final = 0x1024
_SOL_SOCKET_MACOS: Final = 0xFFFF


class FormBody(Payload):
    """The body of one attempt to send content as a form; every attempt makes its own.

    Args:
        chunks: The content, ``size`` bytes in all.
        size: Length of the content in bytes.
        field: The form field that it is sent as.
        filename: The name that the content is sent under.
        mime_type: Its type.
        before: Other fields, which go out first: some servers read no field after the content.
        ending: Awaited with the content's digest before the end goes out. What it raises leaves
            the body unfinished, so that no server can take it.

    Attributes:
        content_size: ``size``.
        xxh3: XXH3-128 in hex of the content written, once all of it is; None before.
        ration: How many bytes a second all bodies together may send, if there is a limit.
        whole: Whether the very end was reached. A body without it is none to any server.
        repeated: Whether a gateway on the way says that it sent the request more than once.
        error: What went wrong while the content was read, if anything did. aiohttp reports it
            as a broken connection, which it is not.
    """

    def __init__(  # noqa: PLR0913  (what a form is made of)
        self,
        chunks: AsyncGenerator[bytes, None],
        size: int,
        *,
        field: str = "data",
        filename: str = "data",
        mime_type: str = "application/octet-stream",
        before: Sequence[tuple[str, str]] = (),
        ending: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        # 128 random bits: gateways look for the bare boundary anywhere in the content.
        boundary = secrets.token_hex(16)
        super().__init__(chunks, content_type=f"multipart/form-data; boundary={boundary}")
        self._chunks = chunks
        self.content_size = size
        fields = "".join(
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="{quoted(name)}"\r\n\r\n{value}\r\n'
            for name, value in before
        )
        self._head = (
            f"{fields}--{boundary}\r\n"
            f'Content-Disposition: form-data; name="{quoted(field)}"; '
            f'filename="{quoted(filename)}"\r\n'
            f"Content-Type: {mime_type}\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._size = self._total = len(self._head) + size + len(self._tail)
        self._ending = ending
        self._transport: asyncio.WriteTransport | None = None
        self._acknowledged = 0
        self._handed = 0
        self._waiting = False
        self.ration: Ration | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self.xxh3: str | None = None
        self.whole = False
        self.repeated = False
        self.error: ChunkupError | None = None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002  (aiohttp's signature)
        """Content is never text."""
        raise TypeError("content is never held in memory")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send it all; called by aiohttp."""
        await self.write_with_length(writer, None)

    async def write_with_length(
        self,
        writer: AbstractStreamWriter,
        content_length: int | None,  # noqa: ARG002  (aiohttp's signature)
    ) -> None:
        """Send it all; called by aiohttp with the length that it announced."""
        self._transport = writer.transport
        _linger(self._transport, on=False)
        digest = xxh3_128()
        self._idle.clear()
        try:
            await writer.write(self._head)
            self._waiting = True
            async for chunk in self._chunks:
                self._waiting = False
                digest.update(chunk)
                for piece in self._slices(chunk):
                    await self._leave(len(piece))
                    await writer.write(piece)
                    self._handed += len(piece)
                self._waiting = True
            self._waiting = False
            found = digest.hexdigest()
            if self._ending is not None:
                await self._ending(found)
            self.whole = True
            await writer.write(self._tail)
            self.xxh3 = found
        except ChunkupError as error:
            self.error = error
            raise
        finally:
            self._idle.set()

    def _slices(self, chunk: bytes) -> Iterator[bytes | memoryview]:
        """A chunk as it may go out: whole, unless that would take all others' turns."""
        at_once = len(chunk) if self.ration is None else self.ration.slice()
        if len(chunk) <= at_once:
            yield chunk
            return
        view = memoryview(chunk)
        for start in range(0, len(chunk), at_once):
            yield view[start : start + at_once]

    async def _leave(self, size: int) -> None:
        """Wait until so many bytes may go out; with no limit that is at once."""
        if self.ration is None:
            return
        wait = self.ration.turn(asyncio.get_running_loop().time(), size)
        if wait <= 0:
            return
        self._waiting = True
        try:
            await asyncio.sleep(wait)
        except asyncio.CancelledError:
            self.ration.give_back(size)
            raise
        finally:
            self._waiting = False

    @property
    def resting(self) -> bool:
        """Whether the peer had all that was written, and more may not go out yet, or is not read.

        As of the last call of :meth:`acknowledged`.
        """
        return self._waiting and self._acknowledged >= self._handed

    @property
    def begun(self) -> bool:
        """Whether there was a connection to write to: before, nothing can have arrived."""
        return self._transport is not None

    def acknowledged(self, written: int) -> int:
        """Bytes of the content that the peer has acknowledged.

        ``written`` is what aiohttp says it handed over, multipart frame included. What the
        program and its system still hold is no progress: on a slow link it hides minutes.
        """
        held = _held(self._transport, handed_over=written >= self._total)
        if held is not None:
            sent = written - held - len(self._head)
            self._acknowledged = min(self.content_size, max(0, sent))
        return self._acknowledged

    async def aclose(self, *, answered: bool = False) -> None:
        """Close the source's handle, whatever became of the attempt.

        aiohttp cancels the writing of an abandoned body but does not wait for it to end.

        Args:
            answered: The server has said its last word about all of it. Otherwise the
                connection is thrown away, and what waits in it, possibly for minutes, is not
                sent any more.
        """
        if answered and self.xxh3 is not None:
            _linger(self._transport, on=True)
        elif self._transport is not None and _socket(self._transport) is not None:
            self._transport.abort()
        try:
            await outlast(self._idle.wait())
        finally:
            await outlast(self._chunks.aclose())


def quoted(name: str) -> str:
    """A name as browsers write it into a form: raw UTF-8, with only what would end it escaped.

    WHATWG HTML, "multipart/form-data"; the official SDKs do the same. What aiohttp writes by
    itself is read differently by different servers.
    """
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _socket(transport: asyncio.WriteTransport | None) -> socket | None:
    """The connection's socket, while it is open."""
    found = transport.get_extra_info("socket") if transport is not None else None
    return found if found is not None and found.fileno() >= 0 else None


def _linger(transport: asyncio.WriteTransport | None, *, on: bool) -> None:
    """Whether the system still sends what it holds when the connection is closed."""
    if (connected := _socket(transport)) is not None:
        with suppress(OSError):
            connected.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", not on, 0))


def _held(transport: asyncio.WriteTransport | None, *, handed_over: bool) -> int | None:
    """Bytes that have not arrived yet; None if nobody can tell any longer.

    aiohttp knows of what the transport holds, until it has ``handed_over`` everything.
    """
    if transport is None:
        return 0
    connected = _socket(transport)
    if connected is None:
        return None
    held = transport.get_write_buffer_size() if handed_over else 0
    # Below TLS lies a second transport, which has no public name.
    below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return held + (below.get_write_buffer_size() if below is not None else 0) + _unsent(connected)


def _unsent(connected: socket) -> int:
    try:
        if sys.platform == "darwin":
            return int(connected.getsockopt(_SOL_SOCKET_MACOS, _SO_NWRITE))
        packed = fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except OSError:
        return 0
    return int(struct.unpack("i", packed)[0])
