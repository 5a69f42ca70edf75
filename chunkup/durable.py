"""Names that outlive the power: a folder is synced like a file, or what it lists may be gone."""

import os
from contextlib import suppress
from pathlib import Path


def sync_names(folder: Path) -> None:
    """Have a folder's names on the disk, where its file system can and its owner lets us."""
    with suppress(OSError):
        surely_sync_names(folder)


def surely_sync_names(folder: Path) -> None:
    """The same, and nothing less.

    Raises:
        OSError: It can't be done.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_private(folder: Path) -> None:
    """Make a folder and what is missing above it, for this user only, and to stay.

    The ``parents`` of mkdir would leave those above to the umask.

    Raises:
        OSError: It cannot be made.
    """
    if folder.is_dir():
        return
    if not folder.parent.exists():
        make_private(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_names(folder.parent)
