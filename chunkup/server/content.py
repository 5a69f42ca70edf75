"""Bytes on disk: what is being received, and what is kept.

A file's content is a list of segments (the part files in their order), so that completing an
upload of many gigabytes copies nothing. Every name on disk is an id made by this server.
Nothing is flushed to the device: what was acknowledged survives the death of the process,
not of the machine.
"""

import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import xxhash

READ_BYTES = 1 << 20
# Folders of the store, and swept by it.
INCOMING, CONTENT = "incoming", "content"


class DiscardedError(Exception):
    """Bytes came for an `Incoming` that had been discarded."""


class StoppedError(Exception):
    """A long read was told to stop; its result is unknown."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A run of bytes in one segment: where it lies, where it starts, how long it is."""

    path: Path
    offset: int
    bytes: int


class Incoming:
    """One body while it arrives: a temporary file, its length so far and its XXH3-128.

    One thread writes at a time; `discard` may come from any thread at any moment, a running
    write included: it waits for that write, and later writes raise `DiscardedError`. So a
    file descriptor is never closed, and perhaps given to another file, under a writer.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._hash = xxhash.xxh3_128()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.bytes = 0

    def write(self, pieces: Iterable[memoryview]) -> None:
        """Append the pieces; blocks while the page cache is full.

        Raises:
            DiscardedError: the body was discarded before or between the pieces.
            OSError: the disk refused, as when it is full.
        """
        with self._lock:
            if self._fd < 0:
                raise DiscardedError
            for piece in pieces:
                self._hash.update(piece)
                rest = piece
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
                self.bytes += len(piece)

    def xxh3(self) -> str:
        """Return the digest of what was written so far, in hex."""
        return self._hash.hexdigest()

    def keep(self, path: Path) -> None:
        """Give the whole body its final name; from here on `discard` does nothing.

        Raises:
            DiscardedError: the body was discarded.
        """
        with self._lock:
            if self._fd < 0:
                raise DiscardedError
            # A body that cannot be renamed is discarded like any other.
            self._path.rename(path)
            self._close()

    def discard(self) -> None:
        """Remove the body unless it was kept; may be called again."""
        with self._lock:
            if self._fd >= 0:
                self._close()
                self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1


class Content:
    """The two directories: `incoming` for temporary names, `content` for whole segments.

    The constructor removes what an earlier run was receiving when it died.
    """

    def __init__(self, directory: Path) -> None:
        self._incoming = directory / INCOMING
        self._content = directory / CONTENT
        for folder in (self._incoming, self._content):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in self._incoming.iterdir():
            leftover.unlink()

    def receive(self) -> Incoming:
        """Open a new temporary file."""
        return Incoming(self._incoming / secrets.token_hex(16))

    def path(self, name: str) -> Path:
        """Return where the segment `name` lies; `name` is an id from a row, never from a URL."""
        return self._content / name

    def remove(self, names: Iterable[str]) -> None:
        """Delete segments; those already gone are none of our concern."""
        for name in names:
            self.path(name).unlink(missing_ok=True)

    def remove_all_but(self, names: set[str]) -> None:
        """Delete every segment that no row needs: the traces of a run that was killed."""
        with os.scandir(self._content) as entries:
            stray = [entry.name for entry in entries if entry.name not in names]
        self.remove(stray)


def read_slices(
    slices: Sequence[Slice], stopped: Callable[[], bool] = lambda: False
) -> Iterator[bytes]:
    """Yield the bytes of the slices in order, at most `READ_BYTES` at a time.

    Raises:
        StoppedError: `stopped` became true; it is asked before each read.
        FileNotFoundError: a segment was deleted meanwhile.
        EOFError: a segment is shorter than its row says.
    """
    for piece in slices:
        with piece.path.open("rb", buffering=0) as segment:
            if piece.offset:
                segment.seek(piece.offset)
            left = piece.bytes
            while left:
                if stopped():
                    raise StoppedError
                chunk = segment.read(min(left, READ_BYTES))
                if not chunk:
                    raise EOFError(f"{piece.path.name} is {left} bytes short")
                left -= len(chunk)
                yield chunk


def md5_of(slices: Sequence[Slice], stopped: Callable[[], bool] = lambda: False) -> str:
    """Return the MD5 of the slices as one content, in hex; raises as `read_slices` does."""
    digest = hashlib.md5(usedforsecurity=False)
    for chunk in read_slices(slices, stopped):
        digest.update(chunk)
    return digest.hexdigest()
