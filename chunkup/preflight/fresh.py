"""A file that comes to be under its name all at once, or not at all, and over no other."""

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from chunkup import hidden
from chunkup.durable import sync_names
from chunkup.errors import BadOption, Busy, Stopped
from chunkup.models import Fingerprint
from chunkup.source import fingerprint_of
from chunkup.text import printable


def free(target: Path, mapping: Path) -> None:
    """See that a new file and what belongs to it can have these paths.

    Both are hidden still where a kill came before the first was there: then the second, which
    gets its name before, says nothing of anything, and is taken away.

    Raises:
        BadOption: Something is there already, or there is no such folder.
    """
    hidden.let_go(target)
    if hidden.let_go(mapping) and not os.path.lexists(target):
        mapping.unlink(missing_ok=True)
    for place in (target, mapping):
        if os.path.lexists(place):
            raise _taken(place)
        if not place.parent.is_dir():
            raise BadOption(f"there is no folder {printable(str(place.parent))}")


def _taken(target: Path) -> BadOption:
    return BadOption(f"{printable(str(target))} is there already", hint="give another path")


class Fresh:
    """What is written so far, under a hidden name in the same folder, for this user alone.

    Raises:
        Busy: Another process writes the same file now.
        Stopped: The disk takes no more, at any of its calls.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        name = hashlib.blake2b(os.fsencode(target.name), digest_size=10).hexdigest()
        self.path = os.fspath(target.parent / f"{hidden.PREFIX}new-{name}")

    def __enter__(self) -> Self:
        try:
            number = hidden.claim(Path(self.path))
            self._file = os.fdopen(number, "wb")
            os.ftruncate(number, 0)
        except BlockingIOError as error:
            raise Busy(
                f"another process is writing {printable(str(self._target))}",
                hint="wait for it, or give another path",
            ) from error
        except OSError as error:
            raise self._failed(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        with suppress(OSError):  # what is not written yet is not wanted any more
            self._file.close()
        with suppress(FileNotFoundError):
            os.unlink(self.path)  # noqa: PTH108  (a path as text, as the reading takes it)

    def write(self, data: bytes) -> None:
        """Append to it."""
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failed(error) from error

    def seal(self, mode: int) -> Fingerprint:
        """Have all of it on the disk, for those whom the bits of ``mode`` name."""
        try:
            self._file.flush()
            os.fchmod(self._file.fileno(), stat.S_IMODE(mode) & 0o777)
            os.fsync(self._file.fileno())
            return fingerprint_of(os.fstat(self._file.fileno()))
        except OSError as error:
            raise self._failed(error) from error

    def publish(self) -> None:
        """Give it its name, which outlives the power from then on.

        Raises:
            BadOption: Something came to be there meanwhile.
        """
        try:
            hidden.name(Path(self.path), self._target)
        except FileExistsError:
            raise _taken(self._target) from None
        except OSError as error:
            raise self._failed(error) from error
        sync_names(self._target.parent)

    def withdraw(self) -> None:
        """Take the name away again."""
        self._target.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> Stopped:
        return Stopped(
            f"{printable(str(self._target))} cannot be written: {error.strerror or error}; "
            "nothing of it is kept",
            hint="make room there, or give another path, and run the same command again",
        )
