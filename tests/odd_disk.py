"""A file system that shows a folder, and gives no answer or an error when a test says so.

Run as a program it is the file system, with its orders on standard input, a line each:
``hang BYTES`` and ``fail BYTES`` (reads of what lies behind so many bytes of any file),
``hang stat`` (whoever asks what a file is), ``well``. It says ``held`` for each call that hangs.
"""

import asyncio
import errno
import os
import shutil
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from ills import _lacking, _root, tool

_NEVER: Final = 1 << 62


class OddDisk:
    """As a test holds it: files put into ``behind`` are those of ``at``."""

    def __init__(self, at: Path, behind: Path, process: asyncio.subprocess.Process) -> None:
        self.at = at
        self.behind = behind
        self._process = process

    async def order(self, words: str) -> None:
        """Give an order, and wait until it is in force."""
        assert self._process.stdin is not None
        self._process.stdin.write(words.encode() + b"\n")
        while await self._said() != "ok":
            pass

    async def held(self) -> None:
        """Wait until a call hangs."""
        while await self._said() != "held":
            pass

    async def _said(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            line = await self._process.stdout.readline()
        assert line, "the file system is gone"
        return line.decode().strip()


@asynccontextmanager
async def odd_disk(folder: Path) -> AsyncIterator[OddDisk]:
    """Such a file system in a folder of the test's own, until the block ends."""
    _root("fuse")
    tool("fusermount3")
    if not Path("/dev/fuse").exists():
        _lacking("fuse", "there is no /dev/fuse")
    try:
        import mfusepy  # noqa: F401, PLC0415  (only where it is needed)
    except (ImportError, OSError) as error:
        _lacking("fuse", str(error))
    at, behind = folder / "at", folder / "behind"
    at.mkdir()
    behind.mkdir()
    words = [sys.executable, __file__, str(at), str(behind)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *words, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
    )
    disk = OddDisk(at, behind, process)
    try:
        if await disk._said() != "mounted":
            _lacking("fuse", "it cannot be mounted")
        yield disk
    finally:
        if process.returncode is None:
            process.kill()  # which ends every call that hangs
        await process.wait()
        umount = shutil.which("umount") or "umount"
        await (await asyncio.create_subprocess_exec(umount, "--lazy", str(at))).wait()


class _Health:
    """What hangs and what fails; calls wait here."""

    def __init__(self, gone: Callable[[], int]) -> None:
        self._sick = {"hang": _NEVER, "fail": _NEVER, "stat": _NEVER}
        self._turn = threading.Condition()
        self._gone = gone

    def hold(self, kind: str, reached: int) -> None:
        with self._turn:
            if reached > self._sick[kind]:
                print("held", flush=True)
            while reached > self._sick[kind]:
                self._turn.wait(0.05)
                # As with other network file systems, who is killed need not wait. It takes a
                # thread of libfuse to hear of that, which has ten.
                if self._gone():
                    raise InterruptedError

    def fails(self, reached: int) -> bool:
        return reached > self._sick["fail"]

    def listen(self) -> None:
        for line in sys.stdin:
            kind, *more = line.split()
            with self._turn:
                if kind == "well":
                    self._sick.update(dict.fromkeys(self._sick, _NEVER))
                elif more == ["stat"]:
                    self._sick["stat"] = 0
                else:
                    self._sick[kind] = int(more[0])
                self._turn.notify_all()
            print("ok", flush=True)


class _Disk:
    """The calls that it takes to read a file, as mfusepy finds them by their names."""

    use_ns = True

    def __init__(self, behind: str, health: _Health) -> None:
        self._behind = behind
        self._health = health

    def init_with_config(self, _: Any, config: Any) -> None:
        # Every question comes here, and none is answered from what the system remembers.
        config.attr_timeout = config.entry_timeout = 0.0
        config.direct_io = config.use_ino = 1
        print("mounted", flush=True)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        if path != "/":
            self._health.hold("stat", 1)
        found = os.lstat(self._behind + path)
        names = ("mode", "ino", "nlink", "size", "uid", "gid")
        values = {f"st_{name}": getattr(found, f"st_{name}") for name in names}
        times = {f"st_{name}": getattr(found, f"st_{name}_ns") for name in ("mtime", "ctime")}
        return values | times

    def open(self, path: str, flags: int) -> int:
        return os.open(self._behind + path, flags)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._health.hold("hang", offset + size)
        if self._health.fails(offset + size):
            raise OSError(errno.EIO, "a bad block")
        return os.pread(fh, size, offset)

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0


def _serve(at: str, behind: str) -> None:
    import mfusepy  # noqa: PLC0415  (tests that need no such disk need no such package)

    health = _Health(mfusepy._libfuse.fuse_interrupted)
    threading.Thread(target=health.listen, daemon=True).start()
    mfusepy.FUSE(_Disk(behind, health), at, foreground=True)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2])
