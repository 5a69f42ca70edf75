"""Standard input as a file: an upload's size is declared before it, and parts are read twice.

It is written to a folder of its own beside the journal, for this user only, and stays there
until its job is over: a killed upload goes on from it. Who writes one holds its lock until the
process ends, so that nobody else takes it for a leftover before its job is known.
"""

import asyncio
import errno
import os
import re
import secrets
import select
import shlex
import stat
import time
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Final, Self

from chunkup.durable import make_private, surely_sync_names
from chunkup.errors import (
    BadJournal,
    ChunkupError,
    EmptyFile,
    JournalTrouble,
    NotAFile,
    Unreadable,
)
from chunkup.hidden import is_at
from chunkup.outlast import outlast

# What a command calls it, in the place of a path.
STANDARD_INPUT: Final = "-"

_READ: Final = 1 << 20
# Written to the disk so often that the last time takes no longer than the others: a stop waits
# for it.
_UNSAFE: Final = 64 << 20
_TELL_EVERY: Final = 0.25
_NAME: Final = re.compile(r"[0-9a-f]{32}")
_OPEN: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_ELSEWHERE: Final = "name a journal in another place with --journal PATH; this is kept beside it"
# What is one record a line; the API goes by the extension.
_LINES: Final = frozenset({"batch", "fine-tune", "evals"})


def filename_for(purpose: str) -> str:
    """The File's name of standard input that was given none."""
    return "stdin.jsonl" if purpose in _LINES else "stdin"


class Spool:
    """The folder, and what of it this process wrote. Close it when its jobs are run."""

    def __init__(self, folder: Path) -> None:
        self._given = folder
        self._held: dict[str, int] = {}

    @classmethod
    def beside(cls, journal: Path) -> Self:
        """That of a journal: another journal's jobs are none of ours, and neither are its files."""
        return cls(journal.with_name(journal.name + "-spool"))

    @property
    def _folder(self) -> Path:
        # As a job's path has it, which has no links in it.
        return Path(os.path.realpath(self._given.parent)) / self._given.name

    async def take(self, descriptor: int = 0, *, tell: Callable[[int], None] | None = None) -> str:
        """The path of a new file with all that a descriptor gives; on an error, there is none.

        Args:
            descriptor: Where to read; standard input.
            tell: Hears now and then how many bytes there are.

        Raises:
            NotAFile: It is a terminal.
            EmptyFile: Nothing came.
            Unreadable: It cannot be read.
            BadJournal: The folder cannot be trusted.
            JournalTrouble: The disk is full or failing.
        """
        if os.isatty(descriptor):
            raise NotAFile(
                "standard input is a terminal, and nobody types a dataset",
                hint="cat FILE | chunkup upload - --purpose user_data",
            )
        path, handle = self._new(_made(self._folder))
        self._held[path] = handle
        try:
            size = await _copied(descriptor, handle, tell or _unheard)
        except BaseException as error:
            self.discard(path)
            if isinstance(error, OSError):
                raise _full(self._folder, error) from error
            raise
        if not size:
            self.discard(path)
            raise EmptyFile(
                "standard input is empty, and the API takes no empty files",
                hint="see that whatever writes to it does so, then run the same command",
            )
        return path

    def owns(self, path: str) -> bool:
        """Whether a file, there or not, is one of this folder's."""
        folder, name = os.path.split(path)
        return folder == str(self._folder) and _NAME.fullmatch(name) is not None

    def discard(self, path: str) -> None:
        """Remove a file, if it is one of this folder's; nothing else, wherever a link leads."""
        if not self.owns(path):
            return
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108  (a path as the journal has it)
        if (handle := self._held.pop(path, None)) is not None:
            os.close(handle)

    async def sweep(self, in_use: Callable[[], Awaitable[Collection[str]]]) -> int:
        """Remove what no job refers to and nobody holds; how many files that were.

        ``in_use`` gives the paths of all jobs that still need their files. It is asked once the
        leftovers are locked: whoever wrote one of them is gone by then, and has told the
        journal of its job or never will.
        """
        leftovers = {path: handle for path in self._paths() if (handle := _claim(path)) is not None}
        removed = 0
        try:
            needed = await in_use() if leftovers else ()
            for path, handle in leftovers.items():
                if path not in needed and is_at(Path(path), os.fstat(handle)):
                    os.unlink(path)  # noqa: PTH108  (as above)
                    removed += 1
        finally:
            for handle in leftovers.values():
                os.close(handle)
        return removed

    def close(self) -> None:
        """Let go of what was written here. It stays, and belongs to whoever needs it."""
        while self._held:
            os.close(self._held.popitem()[1])

    def _paths(self) -> list[str]:
        with suppress(OSError):
            return [str(path) for path in self._folder.iterdir() if _NAME.fullmatch(path.name)]
        return []

    def _new(self, folder: Path) -> tuple[str, int]:
        try:
            while True:
                path = str(folder / secrets.token_hex(16))
                handle = os.open(path, _OPEN | os.O_CREAT | os.O_EXCL, 0o600)
                try:
                    flock(handle, LOCK_EX)
                    # Somebody may have swept it away between the two.
                    if is_at(Path(path), os.fstat(handle)):
                        # A job that refers to the name is on the disk as well.
                        surely_sync_names(folder)
                        return path, handle
                except OSError:
                    os.close(handle)
                    os.unlink(path)  # noqa: PTH108  (as above)
                    raise
                os.close(handle)
        except OSError as error:
            raise _full(folder, error) from error


async def _copied(source: int, target: int, tell: Callable[[int], None]) -> int:
    """Copy in a thread of its own, all of it and onto the disk; the bytes.

    Whoever is cancelled meanwhile waits only for the read or write that is under way.
    """
    loop = asyncio.get_running_loop()
    told = time.monotonic()

    def progress(size: int) -> None:
        nonlocal told
        if time.monotonic() - told >= _TELL_EVERY:
            told = time.monotonic()
            loop.call_soon_threadsafe(tell, size)

    woken, wake = os.pipe()
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="chunkup-spool") as thread:
            copying = loop.run_in_executor(thread, _copy, source, target, woken, progress)
            try:
                return await asyncio.shield(copying)
            except asyncio.CancelledError:
                os.write(wake, b"!")
                with suppress(ChunkupError, OSError):
                    await outlast(copying)
                raise
    finally:
        os.close(woken)
        os.close(wake)


def _copy(source: int, target: int, woken: int, progress: Callable[[int], None]) -> int:
    # Not select(), which knows no descriptor above 1024; nor selectors, whose best refuse files.
    poll = select.poll()
    poll.register(source, select.POLLIN)
    poll.register(woken, select.POLLIN)
    size = unsafe = 0
    while True:
        if any(descriptor == woken for descriptor, _ in poll.poll()):
            return size
        try:
            chunk = os.read(source, _READ)
        except OSError as error:
            raise Unreadable(f"standard input cannot be read: {error.strerror}") from error
        if not chunk:
            break
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(target, rest) :]
        size += len(chunk)
        unsafe += len(chunk)
        if unsafe >= _UNSAFE:
            os.fsync(target)
            unsafe = 0
        progress(size)
    os.fsync(target)
    return size


def _made(folder: Path) -> Path:
    """The folder, for this user only; what is missing above it is made so too."""
    try:
        make_private(folder)
        found = folder.lstat()
    except OSError as error:
        raise BadJournal(
            f"the folder {folder} cannot be used: {error.strerror}", hint=_ELSEWHERE
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise BadJournal(f"{folder} is no folder of this user", hint=_ELSEWHERE)
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise BadJournal(
            f"others may look into {folder}, where standard input would be kept",
            hint=f"chmod 700 -- {shlex.quote(str(folder))}",
        )
    return folder


def _claim(path: str) -> int | None:
    """A leftover's descriptor, locked; None if somebody holds it or it is no file."""
    try:
        handle = os.open(path, _OPEN)
    except OSError:
        return None
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            flock(handle, LOCK_EX | LOCK_NB)
            return handle
    except OSError:
        pass
    os.close(handle)
    return None


def _full(folder: Path, error: OSError) -> ChunkupError:
    """What it means that nothing can be written there."""
    if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        why: type[ChunkupError] = BadJournal
    else:
        why = JournalTrouble
    return why(
        f"standard input cannot be kept in {folder}: {error.strerror}; nothing was sent",
        hint=_ELSEWHERE,
    )


def _unheard(_: int) -> None:
    """Nobody listens."""
