"""Which files are meant: those that are named, those in folders, those on a list.

All or nothing: what cannot be looked at is refused by its name, never left out unsaid. What is
left out by rule (hidden, empty, no regular file, behind a linked folder) is counted and told.
"""

import os
import shlex
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from chunkup.errors import BadOption, NoSuchFile, NotAFile, Refused, Unreadable
from chunkup.pattern import Pattern
from chunkup.source import inspect

IN_IT: Final = "give --recursive to upload what is in it"
# Far more than any list of paths has: a dataset that is taken for one ends here.
LONGEST_LIST: Final = 64 << 20

_NOTES: Final = {
    "hidden": ("1 hidden file or folder was left out", "{} hidden files and folders were left out"),
    "empty": ("1 empty file was left out", "{} empty files were left out"),
    "special": (
        "1 pipe, socket or device was left out",
        "{} pipes, sockets and devices were left out",
    ),
    "followed": ("1 link was followed to its file", "{} links were followed to their files"),
    "own": ("1 file of chunkup's own was left out", "{} files of chunkup's own were left out"),
    "entered": ("1 link to a folder was not followed", "{} links to folders were not followed"),
}
# Left out as it was wished, so this is told only where nothing remains.
_WISHED: Final = {
    "excluded": ("--exclude left out 1 file or folder", "--exclude left out {} files and folders"),
    "not included": ("1 file matches no --include", "{} files match no --include"),
}


@dataclass(frozen=True, slots=True)
class Gathered:
    """Files to upload, as they are called from here, and what a person should know of them.

    ``single`` says that it is one file that was named itself, so that its id needs no label.
    """

    paths: tuple[str, ...]
    notes: tuple[str, ...] = ()
    single: bool = False


def gather(
    given: Sequence[str],
    *,
    recursive: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    own: Sequence[str] = (),
) -> Gathered:
    """The files that paths mean: themselves, and with ``recursive`` those in folders.

    A folder's files come in the order of their names' bytes. What is named itself is taken as
    it is, be it hidden, a link, or no file at all: whoever uploads it says so.

    Args:
        given: Paths.
        recursive: Whether folders are taken for the files in and below them.
        include: Patterns; of folders, only files are taken that one of these matches.
        exclude: Patterns; of folders, nothing is taken that one of these matches, and no folder
            is entered that does. They go before ``include``.
        own: Files and folders that are none of the data, wherever in a folder they are: what is
            written while it is uploaded would change under it.

    What patterns are: :mod:`chunkup.pattern`.

    Raises:
        NotAFile: A folder, without ``recursive``.
        NoSuchFile: Nothing was found at all, or it vanished meanwhile.
        Unreadable: A folder cannot be read.
        BadOption: A pattern that could match nothing.
    """
    walk = _Walk(include, exclude, own)
    paths: list[str] = []
    bare: list[str] = []
    for path in given:
        if not os.path.isdir(path):  # noqa: PTH112  (a path as it was given, to be shown so)
            paths.append(path)
            continue
        if not recursive:
            raise NotAFile(f"{path} is a directory", hint=IN_IT)
        before = len(paths)
        paths += walk.below(path)
        if len(paths) == before:
            bare.append(path)
    if not paths:
        raise _nothing(bare, walk)
    notes = [*_told(_NOTES, walk.seen), *(f"nothing was found in {path}" for path in bare)]
    return Gathered(tuple(paths), tuple(notes), single=list(given) == paths and len(paths) == 1)


def listed(data: bytes, name: str, *, recursive: bool = False) -> tuple[str, ...]:
    r"""The paths on a list: one a line, or with NUL bytes in it, one before each of these.

    A line may end in CRLF; empty ones are skipped. Relative paths are relative to the working
    directory.

    Args:
        data: The list.
        name: What it is called, for errors.
        recursive: Whether folders may be on it.

    Raises:
        Refused: One of them can't be uploaded; the error names its line.
    """
    if len(data) > LONGEST_LIST:
        raise BadOption(
            f"{name} is longer than {LONGEST_LIST >> 20} MiB, so it is hardly a list of paths",
            hint="give a file as an argument of its own to upload it",
        )
    counted, end = ("entry", b"\0") if b"\0" in data else ("line", b"\n")
    paths = []
    for number, entry in enumerate(data.split(end), 1):
        path = os.fsdecode(entry if end == b"\0" else entry.removesuffix(b"\r"))
        if not path:
            continue
        try:
            _see(path, recursive=recursive)
        except Refused as error:
            said = f"{counted} {number} of {name}: {error.message}"
            raise type(error)(said, hint=error.hint) from error
        # A file of that name, since a list has standard input for nothing.
        paths.append("./-" if path == "-" else path)
    return tuple(paths)


def _see(path: str, *, recursive: bool) -> None:
    if os.path.isdir(path):  # noqa: PTH112  (as above)
        if not recursive:
            raise NotAFile(f"{path} is a directory", hint=IN_IT)
    else:
        inspect(path)


class _Walk:
    """Folders gone through one after the other; ``seen`` counts what was not taken as it is."""

    def __init__(
        self, include: Sequence[str] = (), exclude: Sequence[str] = (), own: Sequence[str] = ()
    ) -> None:
        self._own = {inode for path in own if (inode := _inode(path)) is not None}
        self._include = [Pattern(text) for text in include]
        self._exclude = [Pattern(text) for text in exclude]
        self.seen: Counter[str] = Counter()

    @property
    def choosy(self) -> bool:
        """Whether there are patterns."""
        return bool(self._include or self._exclude)

    def below(self, root: str) -> Iterator[str]:
        """The files of a folder and of those in it; no handle stays open meanwhile."""
        place: list[str] = []
        open_folders = [_entries(root)]
        while open_folders:
            entry = next(open_folders[-1], None)
            if entry is None:
                open_folders.pop()
                if place:
                    place.pop()
                continue
            here = [*place, entry.name]
            folder = entry.is_dir(follow_symlinks=False)
            if entry.name.startswith("."):
                self.seen["hidden"] += 1
            elif any(pattern.matches(here, folder=folder) for pattern in self._exclude):
                self.seen["excluded"] += 1
            elif self._own and _inode(entry.path) in self._own:
                self.seen["own"] += 1
            elif folder:
                open_folders.append(_entries(entry.path))
                place.append(entry.name)
            elif self._takes(entry, here):
                yield entry.path

    def _takes(self, entry: "os.DirEntry[str]", here: Sequence[str]) -> bool:
        wanted = not self._include or any(
            pattern.matches(here, folder=False) for pattern in self._include
        )
        link = entry.is_symlink()
        try:
            found = entry.stat()
        except OSError as error:
            if not wanted:
                self.seen["not included"] += 1
                return False
            raise (_leads_nowhere if link else _vanished)(entry.path, error) from error
        if stat.S_ISDIR(found.st_mode):
            self.seen["entered"] += 1
        elif not wanted:
            self.seen["not included"] += 1
        elif not stat.S_ISREG(found.st_mode):
            self.seen["special"] += 1
        elif not found.st_size:
            self.seen["empty"] += 1
        else:
            self.seen["followed"] += link
            return True
        return False


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  (a path as it was given, which may be no text)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _entries(folder: str) -> "Iterator[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as found:
            return iter(sorted(found, key=lambda entry: os.fsencode(entry.name)))
    except OSError as error:
        raise _vanished(folder, error) from error


def _vanished(path: str, error: OSError) -> Refused:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NoSuchFile(
            f"{path} vanished while its folder was looked through",
            hint="run the same command again when nobody changes that folder",
        )
    hint = f"chmod u+rx -- {shlex.quote(path)}" if isinstance(error, PermissionError) else None
    return Unreadable(f"{path} cannot be read: {error.strerror}", hint=hint)


def _leads_nowhere(path: str, error: OSError) -> Refused:
    name = os.path.basename(path)  # noqa: PTH119  (any text, no path of ours)
    return NoSuchFile(
        f"{path} is a link that leads to no file: {error.strerror}",
        hint=f"mend it, or leave it out with --exclude {shlex.quote(name)}",
    )


def _nothing(folders: Sequence[str], walk: _Walk) -> NoSuchFile:
    shown = ", ".join(folders[:5]) + (", ..." if folders[5:] else "")
    why = "; ".join(_told({**_NOTES, **_WISHED}, walk.seen))
    hint = "name the files themselves; of folders only visible ones with content are taken"
    if walk.choosy:
        hint = (
            "a pattern with a / is for the path below the folder that is named, one without for "
            "the name alone; quote it, or the shell replaces it"
        )
    return NoSuchFile(f"there is nothing to upload in {shown}{why and ': ' + why}", hint=hint)


def _told(kinds: dict[str, tuple[str, str]], seen: Counter[str]) -> Iterator[str]:
    for kind, (one, many) in kinds.items():
        if count := seen[kind]:
            yield one if count == 1 else many.format(count)
