"""What can ail a machine: its system calls, its disks, its clock, its memory and processor.

Each needs something of the system that runs the tests. Where that is missing a test is skipped
and says what for; where ``CHUNKUP_ILLS`` names it (``strace mount cgroup``), it fails instead.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

import pytest

_SBIN: Final = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
_CGROUPS: Final = Path("/sys/fs/cgroup")


def _lacking(ill: str, why: str) -> NoReturn:
    if ill in os.environ.get("CHUNKUP_ILLS", "").split():
        pytest.fail(f"{ill} must be possible here, and is not: {why}", pytrace=False)
    pytest.skip(f"{ill}: {why}")


def tool(name: str) -> str:
    """The path of a program; the test is skipped where it is not installed."""
    found = shutil.which(name, path=_SBIN)
    if found is None:
        _lacking(name, "the program is not installed")
    return found


def strace(
    inject: str, *, trace: str | None = None, path: Path | None = None, log: Path | None = None
) -> tuple[str, ...]:
    """The words before a command whose system calls are to fail, be killed at, or take long.

    Args:
        inject: As strace's ``-e inject=``, such as ``fsync:error=EIO:when=2`` or
            ``rename,renameat,renameat2:signal=SIGKILL:when=1``. What an injection counts is
            counted for each thread by itself.
        trace: The calls to look at; those of ``inject`` where it is not given.
        path: Only calls on this path, or on descriptors that lead to it.
        log: Where strace writes what it saw; nowhere where it is not given.
    """
    calls = trace or inject.partition(":")[0]
    words = [tool("strace"), "-qq", "-f", "-o", str(log or "/dev/null"), "-e", f"trace={calls}"]
    if path is not None:
        words += ["-P", str(path)]
    return (*words, "-e", f"inject={inject}")


def clock(offset: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The words before a command with another wall clock, and what its environment gains.

    Time that only passes (``time.monotonic``) is left alone.

    Args:
        offset: As faketime's ``-f``, such as ``+2h`` or ``-3h``.
    """
    return (tool("faketime"), "-f", offset), {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def can_mount() -> bool:
    """Whether file systems can be mounted here."""
    return (
        sys.platform == "linux"
        and os.geteuid() == 0
        and all(shutil.which(name, path=_SBIN) for name in ("mount", "umount"))
    )


def _root(ill: str) -> None:
    if sys.platform != "linux":
        _lacking(ill, "it takes Linux")
    if os.geteuid() != 0:
        _lacking(ill, "it takes root")


@contextmanager
def mounted(at: Path, *, kind: str, options: str = "", device: str | None = None) -> Iterator[Path]:
    """A file system at this new folder until the block ends, whatever still holds it."""
    _root("mount")
    at.mkdir(parents=True, exist_ok=True)
    words = [tool("mount"), "-t", kind, *(["-o", options] if options else []), device or kind]
    done = subprocess.run([*words, str(at)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        _lacking("mount", done.stderr.strip())
    try:
        yield at
    finally:
        subprocess.run([tool("umount"), "--lazy", str(at)], check=True)


@contextmanager
def small_disk(at: Path, *, size: str = "1m", inodes: int | None = None) -> Iterator[Path]:
    """A file system in memory with only so much room, such as ``256k``, or so many names."""
    options = f"size={size}" + (f",nr_inodes={inodes}" if inodes is not None else "")
    with mounted(at, kind="tmpfs", options=options) as folder:
        yield folder


def remount(at: Path, options: str) -> None:
    """Change how it is mounted: ``ro``, ``rw``, ``size=2m``."""
    subprocess.run(
        [tool("mount"), "-o", f"remount,{options}", str(at)], check=True, capture_output=True
    )


@contextmanager
def failing_disk(at: Path, *, room: str = "8m", size: str = "64m") -> Iterator[Path]:
    """A disk that promises ``size`` and has ``room``: writes succeed, their ``fsync`` does not.

    The first failure is ENOSPC or EIO, as the kernel has it; from then on it is really broken.
    """
    under = at.with_name(at.name + "-under")
    with small_disk(under, size=room):
        image = under / "image"
        with image.open("wb") as file:
            file.truncate(_bytes(size))
        subprocess.run([tool("mkfs.ext4"), "-qF", "-O", "^has_journal", str(image)], check=True)
        found = subprocess.run(
            [tool("losetup"), "-f", "--show", str(image)],
            capture_output=True,
            text=True,
            check=False,
        )
        if found.returncode != 0:
            _lacking("mount", f"no loop device: {found.stderr.strip()}")
        device = found.stdout.strip()
        try:
            with mounted(at, kind="ext4", device=device) as folder:
                yield folder
        finally:
            subprocess.run([tool("losetup"), "-d", device], check=False)


def _bytes(size: str) -> int:
    return int(size[:-1]) << {"k": 10, "m": 20, "g": 30}[size[-1]]


class Cage:
    """A control group: what runs in it together has only so much of something."""

    def __init__(self, controller: str, folder: Path) -> None:
        self._folder = folder
        self._controller = controller

    def command(self, *command: str) -> tuple[str, ...]:
        """The words that run a command in here."""
        procs = self._folder / "cgroup.procs"
        return ("bash", "-c", f'echo $$ > {procs}; exec "$@"', "cage", *command)

    def read(self, name: str) -> str:
        """One of its files, such as ``memory.max_usage_in_bytes``."""
        return (self._folder / f"{self._controller}.{name}").read_text().strip()


@contextmanager
def cage(controller: str, **limits: str) -> Iterator[Cage]:
    """A control group of the first version until the block ends, when nothing runs in it.

    Args:
        controller: ``memory`` or ``cpu``.
        limits: Its files, such as ``limit_in_bytes="100M"`` or ``cfs_quota_us="20000"``.
    """
    _root("cgroup")
    # Version 1 calls the processor's files cpu.cfs_*, the memory's memory.*.
    folder = _CGROUPS / controller / f"chunkup-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        folder.mkdir()
        for name, value in limits.items():
            (folder / f"{controller}.{name}").write_text(value)
    except OSError as error:
        if folder.is_dir():
            folder.rmdir()
        _lacking("cgroup", str(error))
    try:
        yield Cage(controller, folder)
    finally:
        folder.rmdir()


def limited(command: Sequence[str], **limits: int) -> tuple[str, ...]:
    """A command with limits of its own, such as ``nofile=64`` or ``fsize=100000`` (bytes)."""
    return (tool("prlimit"), *(f"--{name}={value}" for name, value in limits.items()), *command)
