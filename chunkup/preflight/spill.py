"""Ids beyond memory: one file without a name, from which any share of them comes back in order."""

import os
import tempfile
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

import msgspec
from xxhash import xxh3_64_intdigest

from chunkup.errors import Stopped
from chunkup.text import printable

# An id, or the SHA-256 of a long one. Text and bytes are never equal, so that no id can pass for
# the digest of another.
Key = str | bytes
# An id with its line, and the byte at which that begins.
Entry = tuple[Key, int, int]

SHARES: Final = 256
# What is left of a digest once it has said the share.
BITS: Final = 56


def digest(key: Key) -> int:
    """64 bits that tell most ids apart, the same in every run."""
    return xxh3_64_intdigest(key.encode() if isinstance(key, str) else key)


def ending(key: Key, bits: int) -> int:
    """So many bits of the digest, other ones than those which say the share."""
    return (digest(key) // SHARES) & ((1 << bits) - 1)


class Spill:
    """The file. Ids come in portions, each of which is sorted into shares by digest.

    Beside it stands only where the shares begin in each portion: a kilobyte for 65,536 ids.

    Raises:
        Stopped: The folder for temporary files takes no more, at any of its calls.
    """

    def __init__(self) -> None:
        try:
            # The name is gone as soon as the file is made, so that nothing can be left behind.
            number, name = tempfile.mkstemp(prefix="chunkup-")
            self._file = os.fdopen(number, "w+b", buffering=0)
            os.unlink(name)  # noqa: PTH108  (a path as mkstemp gives it)
        except OSError as error:
            raise _full(error) from error
        self._portions: list[tuple[int, array[int]]] = []

    def add(self, portion: list[Entry]) -> None:
        """Put some on the disk; later ones come after them."""
        shares: list[list[Key | int]] = [[] for _ in range(SHARES)]
        for entry in portion:
            shares[digest(entry[0]) % SHARES] += entry
        encode = msgspec.msgpack.Encoder().encode
        starts, block = array("I", [0]), bytearray()
        for share in shares:
            block += encode(share)
            starts.append(len(block))
        try:
            self._portions.append((self._file.tell(), starts))
            rest = memoryview(block)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise _full(error) from error

    def share(self, number: int, halt: Callable[[], None]) -> Iterator[Entry]:
        """All of one share, in the order in which they came; ``halt`` may raise meanwhile."""
        decode = msgspec.msgpack.Decoder().decode
        for at, starts in self._portions:
            halt()
            start, stop = starts[number], starts[number + 1]
            try:
                block = os.pread(self._file.fileno(), stop - start, at + start)
            except OSError as error:
                raise _full(error) from error
            entries = iter(decode(block))
            yield from zip(entries, entries, entries, strict=True)

    def close(self) -> None:
        """Let go of the file, which is gone then."""
        self._file.close()


def _full(error: OSError) -> Stopped:
    folder = os.environ.get("TMPDIR", "")
    with suppress(OSError):
        folder = tempfile.gettempdir()
    return Stopped(
        f"the check keeps the ids of a large file in {printable(folder)} (TMPDIR), which cannot "
        f"hold them: {error.strerror}",
        hint="export TMPDIR=/a/folder/with/more/room, then run the same command again",
    )
