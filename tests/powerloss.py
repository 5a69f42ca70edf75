"""What a disk may hold after the power went, made from a record of what a program did to it.

The model is the strictest that POSIX allows. Sure is only what was synced: of a file its content,
by its own ``fsync``; of a folder its names, by the folder's. Of all else any part may be there
and any may be missing, in whatever order it was written: writes whole, torn between sectors, or
as zeros; names made, moved and removed, each by itself. A rename is one step, and so is a sector.
File systems in use promise more. What holds here rests on no such promise.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

import ills

SECTOR: Final = 512
_CALLS: Final = (
    *("open", "openat", "creat", "close", "lseek", "write", "pwrite64", "writev", "pwritev"),
    *("ftruncate", "truncate", "fallocate", "copy_file_range", "sendfile"),
    *("fsync", "fdatasync", "sync_file_range"),
    *("mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "symlink", "symlinkat"),
    *("rename", "renameat", "renameat2", "link", "linkat"),
)
_LINE: Final = re.compile(r"^(\d+) +(.*)$")
_WHOLE: Final = re.compile(r"^(\w+)\((.*)\) += (-?\d+)", re.DOTALL)
# Done when they return, and not before.
_AT_END: Final = {"fsync", "fdatasync", "open", "openat", "close", "lseek"}
_WORD: Final = re.compile(r'"([^"]*)"|([^,"\s]+)')


@dataclass(frozen=True, slots=True)
class Wrote:
    """Bytes to a file; ``node`` is the file, whatever its name is."""

    node: int
    at: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """A file's new length."""

    node: int
    size: int


@dataclass(frozen=True, slots=True)
class Named:
    """What names of a folder mean from now on, all of them at once; None is nothing."""

    folder: int
    changes: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, slots=True)
class Synced:
    """All that was done to this file or folder before is on the disk."""

    node: int


@dataclass(frozen=True, slots=True)
class Said:
    """What the program told whoever listens."""

    text: str


Step = Wrote | Cut | Named | Synced | Said


def strace(log: Path) -> tuple[str, ...]:
    """The words before a command that is to be recorded."""
    words = (ills.tool("strace"), "-qq", "-f", "-xx", "-s", "1000000", "-o", str(log))
    return (*words, "-e", f"trace={','.join(_CALLS)}", "-e", "signal=none")


@dataclass
class Record:
    """What a program did below the folder ``root``, which was empty; its working folder is that."""

    root: Path
    steps: list[Step] = field(default_factory=list)
    _paths: dict[str, int] = field(default_factory=dict)
    _folders: set[int] = field(default_factory=lambda: {0})
    _open: dict[int, int] = field(default_factory=dict)
    _at: dict[int, int] = field(default_factory=dict)
    _sizes: dict[int, int] = field(default_factory=dict)
    _nodes: Iterator[int] = field(default_factory=lambda: count(1))

    @classmethod
    def of(cls, log: Path, root: Path) -> "Record":
        record = cls(root)
        record._paths[str(root)] = 0
        for call, words, result in _calls(log):
            record._take(call, words, result)
        return record

    def said(self, until: int) -> str:
        """All that was told in the first so many steps."""
        return "".join(step.text for step in self.steps[:until] if isinstance(step, Said))

    def _take(self, call: str, words: list[str], result: int) -> None:
        match call.removesuffix("64"), words:
            case "open", [path, flags, *_]:
                self._opened(path, flags, result)
            case "openat", ["AT_FDCWD", path, flags, *_]:
                self._opened(path, flags, result)
            case "close", [fd]:
                self._open.pop(int(fd), None)
            case "lseek", [fd, *_]:
                self._at[int(fd)] = result
            case "write", ["1", data, _]:
                self.steps.append(Said(_bytes(data)[:result].decode()))
            case "write", [fd, data, _] if (node := self._open.get(int(fd))) is not None:
                at = self._at.get(int(fd), 0)
                self._wrote(node, at, _bytes(data)[:result])
                self._at[int(fd)] = at + result
            case "pwrite", [fd, data, _, at] if (node := self._open.get(int(fd))) is not None:
                self._wrote(node, int(at), _bytes(data)[:result])
            case "ftruncate", [fd, size] if (node := self._open.get(int(fd))) is not None:
                self.steps.append(Cut(node, int(size)))
            case (("fsync" | "fdatasync"), [fd]) if (node := self._open.get(int(fd))) is not None:
                self.steps.append(Synced(node))
            case "mkdir", [path, *_] if self._is_ours(_text(path)):
                self._folders.add(node := next(self._nodes))
                self._name((_text(path), node))
            case "unlink", [path]:
                self._name((_text(path), None))
            case ("rename", [old, new]) | ("link", [old, new]) if self._is_ours(_text(new)):
                node = self._paths[self._real(_text(old))]
                gone = ((_text(old), None),) if call == "rename" else ()
                self._name(*gone, (_text(new), node))
            case (("open" | "openat" | "write" | "pwrite" | "mkdir" | "unlink"), _):
                assert "AT_FDCWD" in words or call != "openat", words
            case (("ftruncate" | "fsync" | "fdatasync"), _):
                pass  # of something elsewhere
            case _:
                raise AssertionError(f"the model does not know {call}({words})")

    def _opened(self, path: str, flags: str, fd: int) -> None:
        self._open.pop(fd, None)
        self._at[fd] = 0
        real = self._real(_text(path))
        if not self._is_ours(real) or "O_TMPFILE" in flags:
            return
        assert "O_APPEND" not in flags
        if real not in self._paths:
            self._name((real, next(self._nodes)))
        elif "O_TRUNC" in flags:
            self.steps.append(Cut(self._paths[real], 0))
        self._open[fd] = self._paths[real]

    def _wrote(self, node: int, at: int, data: bytes) -> None:
        self.steps.append(Wrote(node, at, data))

    def _name(self, *changes: tuple[str, int | None]) -> None:
        ours = [(self._real(path), node) for path, node in changes]
        ours = [(path, node) for path, node in ours if self._is_ours(path)]
        if not ours:
            return
        (folder,) = {path.rpartition("/")[0] for path, _ in ours}
        names = tuple((path.rpartition("/")[2], node) for path, node in ours)
        self.steps.append(Named(self._paths[folder], names))
        for path, node in ours:
            if node is None:
                del self._paths[path]
            else:
                self._paths[path] = node

    def _real(self, path: str) -> str:
        return os.path.normpath(self.root / path)

    def _is_ours(self, path: str) -> bool:
        return f"{self._real(path)}/".startswith(f"{self.root}/")

    def lay(self, until: int, chance: Random, root: Path) -> None:
        """Put at ``root`` what may be left when the power goes after so many steps."""
        steps = self.steps[:until]
        # From nothing that is not sure to all of it: both ends show what the middle hides.
        share = chance.choice([0.0, 0.1, 0.5, 0.9, 1.0])
        torn = chance.choice([0.0, 0.3])
        sure: dict[int, int] = {}
        for number, step in enumerate(steps):
            if isinstance(step, Synced):
                sure[step.node] = number
        contents: dict[int, bytearray] = {}
        names: dict[int, dict[str, int]] = {}
        for number, step in enumerate(steps):
            match step:
                case Wrote(node, at, data):
                    content = contents.setdefault(node, bytearray())
                    if number < sure.get(node, -1) or chance.random() < share * (1 - torn):
                        _put(content, at, data)
                    elif chance.random() < torn:
                        _tear(content, at, data, chance)
                case Cut(node, size):
                    content = contents.setdefault(node, bytearray())
                    if number < sure.get(node, -1) or chance.random() < share:
                        del content[size:]
                        content.extend(bytes(size - len(content)))
                case Named(folder, changes):
                    if number < sure.get(folder, -1) or chance.random() < share:
                        entries = names.setdefault(folder, {})
                        for name, found in changes:
                            entries.pop(name, None)
                            if found is not None:
                                entries[name] = found
                case Synced() | Said():
                    pass
        self._lay(0, root, contents, names)

    def _lay(
        self,
        folder: int,
        path: Path,
        contents: dict[int, bytearray],
        names: dict[int, dict[str, int]],
    ) -> None:
        path.mkdir(mode=0o700)
        laid: dict[int, Path] = {}
        for name, node in names.get(folder, {}).items():
            if node in self._folders:
                self._lay(node, path / name, contents, names)
            elif node in laid:
                (path / name).hardlink_to(laid[node])
            else:
                laid[node] = path / name
                laid[node].touch(0o600)
                laid[node].write_bytes(contents.get(node, b""))


def _put(content: bytearray, at: int, data: bytes) -> None:
    content.extend(bytes(max(0, at - len(content))))
    content[at : at + len(data)] = data


def _tear(content: bytearray, at: int, data: bytes, chance: Random) -> None:
    """Only some of the sectors that were written; the file may have grown all the same."""
    if chance.random() < 0.5:
        content.extend(bytes(max(0, at + len(data) - len(content))))
    begin = at
    while begin < at + len(data):
        end = min((begin // SECTOR + 1) * SECTOR, at + len(data))
        if chance.random() < 0.5:
            _put(content, begin, data[begin - at : end - at])
        begin = end


def _calls(log: Path) -> Iterator[tuple[str, list[str], int]]:
    """The calls that succeeded, in the order in which they can have had an effect."""
    begun: dict[str, tuple[int, str]] = {}
    found: list[tuple[int, str, list[str], int]] = []
    with log.open() as lines:
        for number, line in enumerate(lines):
            matched = _LINE.match(line.rstrip("\n"))
            if matched is None:
                continue
            thread, text = matched.groups()
            start = number
            if text.endswith("<unfinished ...>"):
                begun[thread] = number, text.removesuffix("<unfinished ...>")
                continue
            if text.startswith("<... "):
                start, head = begun.pop(thread)
                text = head + text.partition("resumed>")[2]
            whole = _WHOLE.match(text)
            if whole is None or int(whole[3]) < 0:
                continue
            words = [quoted or bare for quoted, bare in _WORD.findall(whole[2])]
            found.append((number if whole[1] in _AT_END else start, whole[1], words, int(whole[3])))
    # What was under way when it was killed may have had its effect as well, and did not return.
    for _, call, words, result in sorted(found, key=lambda one: one[0]):
        yield call, words, result


def _bytes(word: str) -> bytes:
    return bytes.fromhex(word.replace("\\x", ""))


def _text(word: str) -> str:
    return word if word.startswith("/") else _bytes(word).decode()
