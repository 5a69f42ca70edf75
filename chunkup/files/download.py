"""A File's content into a file.

It appears under its name only when it is whole. Until then it has a hidden name in the same
folder, which the next download of the same File to the same place finds again.
"""

import asyncio
import hashlib
import os
import shlex
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from chunkup import hidden
from chunkup.durable import sync_names
from chunkup.errors import BadAnswer, BadOption, Busy, NotFound, Stopped
from chunkup.files.fetching import pieces
from chunkup.link import Workshop
from chunkup.models import RemoteFile
from chunkup.outlast import outlast
from chunkup.text import printable

_Result = TypeVar("_Result")

# Bytes that are asked for again, to see that what is here already is of the same content.
_OVERLAP: Final = 64 << 10


async def download(
    shop: Workshop,
    file: RemoteFile,
    to: str | os.PathLike[str],
    *,
    resume: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write a File's content to ``to`` and return that; see :meth:`chunkup.files.Files.download`.

    Raises:
        BadOption: ``to`` cannot be written; nothing was asked for.
        Busy: Another process is at it.
        BadAnswer: What came is not the File.
        Stopped: It broke off, or the disk is full; the same call goes on.
    """
    target = checked(to, overwrite=overwrite)
    landing = Landing(target, _mark(shop, file, target))
    threads = ThreadPoolExecutor(1, thread_name_prefix="chunkup-write")

    async def on_disk(act: Callable[[], _Result]) -> _Result:
        # Even who is cancelled waits: a descriptor must not be closed under a write to it.
        return await outlast(asyncio.get_running_loop().run_in_executor(threads, act))

    async def landed() -> bool:
        """Whether all of it, and nothing else, is on the disk now."""
        end = start = max(0, landing.held - _OVERLAP)
        async with aclosing(pieces(shop, file, start)) as found:
            async for at, block in found:
                if not await on_disk(partial(landing.put, at, block)):
                    return False
                end = at + len(block)
        return end == landing.held

    async def all_landed() -> None:
        for _ in range(2):
            if await landed():
                return
            landing.empty()
        raise BadAnswer(f"the content of File {printable(file.id)} changed while it was read")

    try:
        if not resume:
            landing.empty()
        await all_landed()
        await on_disk(partial(landing.publish, overwrite=overwrite))
    except (BadAnswer, NotFound):
        landing.remove()
        raise
    finally:
        landing.close()
        threads.shutdown(wait=False)
    return target


def checked(to: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """A path that a download may have.

    Raises:
        BadOption: It may not: there is something already, or no folder for it.
    """
    target = Path(to)
    shown = printable(str(target))
    try:
        found = target.lstat()
    except FileNotFoundError:
        if not target.parent.is_dir():
            raise BadOption(
                f"there is no folder {printable(str(target.parent))}",
                hint=f"mkdir -p -- {shlex.quote(str(target.parent))}",
            ) from None
        return target
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise BadOption(f"{shown} cannot be written: {why}") from error
    if not stat.S_ISREG(found.st_mode):
        raise BadOption(f"{shown} is there already, and is no regular file")
    hidden.let_go(target)
    if not overwrite:
        raise BadOption(f"{shown} is there already", hint="give another path, or --overwrite")
    return target


def _mark(shop: Workshop, file: RemoteFile, target: Path) -> str:
    """What tells this download from all others to the same folder."""
    base_url = shop.api.transport.endpoint.base_url
    words = (base_url, file.id, file.bytes, file.created_at, target.name)
    return hashlib.blake2b(repr(words).encode(), digest_size=10).hexdigest()


class Landing:
    """The hidden file, held by this process alone. Its calls may block.

    Attributes:
        held: Bytes of it.

    Raises:
        BadOption: It cannot be made.
        Busy: Another process has it.
    """

    def __init__(self, target: Path, mark: str) -> None:
        self._target = target
        self._path = target.parent / f"{hidden.PREFIX}{mark}"
        self._fd = -1
        try:
            self._fd = hidden.claim(self._path)
        except BlockingIOError as error:
            raise Busy(f"another process is downloading to {printable(str(target))}") from error
        except FileExistsError as error:
            raise Busy(
                f"somebody keeps laying other files beside {printable(str(target))}"
            ) from error
        except OSError as error:
            raise BadOption(
                f"{printable(str(target))} cannot be written: {error.strerror}"
            ) from error
        self.held = os.fstat(self._fd).st_size

    def put(self, at: int, block: bytes) -> bool:
        """Have ``block`` at its place; False if something else is there already.

        Raises:
            Stopped: The disk takes nothing.
        """
        here = min(len(block), max(0, self.held - at))
        if here and os.pread(self._fd, here, at) != block[:here]:
            return False
        rest = memoryview(block)[here:]
        while rest:
            written = self._tried(partial(os.pwrite, self._fd, rest, self.held))
            self.held += written
            rest = rest[written:]
        return True

    def empty(self) -> None:
        """Start over."""
        os.ftruncate(self._fd, 0)
        self.held = 0

    def publish(self, *, overwrite: bool) -> None:
        """Give it its name, whole, in one step.

        Raises:
            BadOption: Something came to be there meanwhile, and is not to be overwritten.
            Stopped: The disk failed.
        """
        self._tried(partial(os.fsync, self._fd))
        if overwrite:
            self._tried(partial(self._path.replace, self._target))
            sync_names(self._target.parent)
            return
        try:
            hidden.name(self._path, self._target)
        except FileExistsError:
            raise BadOption(
                f"{printable(str(self._target))} appeared while its content was fetched",
                hint="give another path, or --overwrite",
            ) from None
        except OSError as error:
            raise self._failed(error) from error
        # Of two names that change, the disk may have any one first.
        sync_names(self._target.parent)
        self._path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Leave nothing behind."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of it; what is empty is not worth keeping."""
        if not self.held and hidden.is_at(self._path, os.fstat(self._fd)):
            self.remove()
        os.close(self._fd)

    def _tried(self, act: Callable[[], _Result]) -> _Result:
        try:
            return act()
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> Stopped:
        return Stopped(
            f"{printable(str(self._target))} cannot be written: {error.strerror}; "
            f"the {self.held} bytes that are here are kept"
        )
