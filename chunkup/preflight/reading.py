"""A file in blocks of whole lines, each of which it is read once and in order."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from typing import Final

from chunkup.errors import SourceChanged, SourceGone
from chunkup.models import MIB, Fingerprint
from chunkup.source import fingerprint_of, open_now

# One read. Larger ones leave the processor's cache, smaller ones cost more calls.
READ: Final = MIB
# The longest line that is held in memory, a few times over while it is looked at.
LONGEST: Final = 128 * MIB


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines with their ends, the file's last line perhaps without.

    ``data`` is None for a single line that is too long to be held.
    """

    offset: int
    size: int
    data: bytes | None


def blocks(
    path: str,
    fingerprint: Fingerprint,
    halt: Callable[[], None] = lambda: None,
    *,
    read_size: int = READ,
    longest: int = LONGEST,
) -> Iterator[Block]:
    """All of a file's lines. ``halt`` is called before every read, and may raise.

    Raises:
        SourceChanged: It is not the file of the fingerprint, before the first read or after the
            last one.
        SourceGone: It vanished, or a read failed.
    """
    with opened(path) as handle:
        see_unchanged(path, fingerprint, handle.fileno())
        yield from _blocks(handle, fingerprint.size, halt, read_size, longest)
        see_unchanged(path, fingerprint, handle.fileno())


@contextmanager
def opened(path: str) -> Iterator[FileIO]:
    """The file, whose every failure is said in our words.

    Raises:
        SourceGone: It vanished, or a read failed.
    """
    try:
        with open(path, "rb", buffering=0, opener=open_now) as handle:
            yield handle
    except OSError as error:
        raise SourceGone(
            f"{path} cannot be read any more: {error.strerror or error}", hint="check the path"
        ) from error


def see_unchanged(path: str, fingerprint: Fingerprint, descriptor: int) -> None:
    """See that this is the file that was found at first.

    Raises:
        SourceChanged: It is another one, or was written to.
    """
    if fingerprint_of(os.fstat(descriptor)) != fingerprint:
        raise SourceChanged(
            f"{path} changed while it was read; nothing of it was sent",
            hint="run the same command again when nobody writes to it",
        )


def _blocks(
    handle: FileIO, size: int, halt: Callable[[], None], read_size: int, longest: int
) -> Iterator[Block]:
    # The line that is not over yet: what there is of it, its length, and where it begins.
    begun: list[bytes] = []
    held = at = reached = 0
    while True:
        halt()
        # What is written behind the end meanwhile may never end, and is none of this file.
        chunk = handle.read(min(read_size, size - reached))
        if not chunk:
            break
        reached += len(chunk)
        end = chunk.rfind(b"\n") + 1
        if end and held > longest:
            first = chunk.index(b"\n") + 1
            yield Block(at, held + first, None)
            at += held + first
            chunk, end, held = chunk[first:], end - first, 0
        if end:
            data = b"".join((*begun, memoryview(chunk)[:end]))
            yield Block(at, len(data), data)
            at += len(data)
            chunk, held, begun = chunk[end:], 0, []
        if chunk:
            held += len(chunk)
            if held <= longest:
                begun.append(chunk)
            else:
                begun = []
    if held:
        yield Block(at, held, b"".join(begun) if held <= longest else None)
