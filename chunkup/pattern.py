"""Patterns for files in folders, as shells and .gitignore have them.

A pattern without a ``/`` is for a name at any depth, one with a ``/`` for the whole path below the
folder that was named. ``*`` and ``?`` never match a ``/``; ``[ab]`` and ``[!ab]`` are one
character; ``**`` is any number of folders, and a ``/`` at the end means all that is below.

Each name of a path is read once, however many ``**`` there are: no pattern takes for ever.
"""

import fnmatch
import re
from collections.abc import Iterator, Sequence

from chunkup.errors import BadOption


class Pattern:
    """One pattern, as segments of a path; None stands for any number of folders.

    Raises:
        BadOption: It could match nothing.
    """

    def __init__(self, text: str) -> None:
        parts = [part for part in text.split("/") if part not in {"", "."}]
        self._below = text.endswith("/") or parts[-1:] == ["**"]
        while parts[-1:] == ["**"]:
            parts.pop()
        if not parts and "**" not in text:
            raise BadOption(f"{text!r} is a pattern that matches nothing", hint="such as '*.jsonl'")
        if "/" not in text.rstrip("/"):
            parts = ["**", *parts]
        self._parts = [
            None if part == "**" else re.compile(fnmatch.translate(part)) for part in parts
        ]

    def matches(self, here: Sequence[str], *, folder: bool) -> bool:
        """Whether it is for what is at this path below the folder that was named."""
        places = self._skipped({0})
        for name in here:
            if self._below and len(self._parts) in places:
                return True
            places = self._skipped({after for at in places for after in self._after(at, name)})
        return len(self._parts) in places and (folder or not self._below)

    def _after(self, at: int, name: str) -> Iterator[int]:
        """Where it goes on once this name is read; nowhere if the name does not fit."""
        if at == len(self._parts):
            return
        part = self._parts[at]
        if part is None:
            yield at
        elif part.match(name):
            yield at + 1

    def _skipped(self, places: set[int]) -> set[int]:
        """With those that are reached where ``**`` stands for no folder at all."""
        reached = set(places)
        for at, part in enumerate(self._parts):
            if part is None and at in reached:
                reached.add(at + 1)
        return reached
