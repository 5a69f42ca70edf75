"""One answer as the questions look at it, whatever its status."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from chunkup.errors import ChunkupError
from chunkup.models import Answer
from chunkup.text import printable
from chunkup.verdicts import read_answer

# A no to this moment and not to the request: it says nothing about the provider.
_NOT_NOW: Final = frozenset({408, 425, 429})
# Words of a server that are shown; the rest is in its own documentation.
_SHOWN: Final = 120


class Untold(Exception):
    """A question that has no answer, and what was seen instead."""


@dataclass(frozen=True)
class Reply:
    """What came back. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @cached_property
    def data(self) -> dict[str, Any]:
        """The body if it is a JSON object, else an empty one."""
        try:
            found = json.loads(self.raw)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def success(self) -> bool:
        """Whether the status is one."""
        return 200 <= self.status < 300

    @property
    def taken(self) -> bool:
        """Whether the server did it: a success that is an object, and no error in disguise."""
        return self.success and bool(self.data) and self.data.get("error") is None

    @property
    def absent(self) -> bool:
        """Whether the address itself is unknown here."""
        return self.status in {404, 405, 501}

    @property
    def answer(self) -> Answer:
        """What it says, as an unsuccessful answer."""
        return read_answer(self.status, self.headers, self.raw.decode("utf-8", "replace"))

    @property
    def seen(self) -> str:
        """The status, and a server's reason if it has one."""
        reason = "" if self.taken else self.answer.message
        return f"{self.status} {printable(reason, _SHOWN)}".strip()

    @property
    def tells(self) -> bool:
        """Whether it is a yes or a no: no trouble, no throttle, no page in place of an answer."""
        if self.success:
            return self.taken
        no = 400 <= self.status < 500 or self.status == 501
        return no and self.status not in _NOT_NOW

    def checked(self) -> "Reply":
        """Itself.

        Raises:
            Untold: It is neither a yes nor a no.
        """
        if not self.tells:
            raise Untold(self.seen if not self.success else f"{self.status} without a JSON object")
        return self

    def needed(self) -> "Reply":
        """Itself, where nothing can be asked without a yes.

        Raises:
            Untold: It is none.
        """
        if not self.checked().taken:
            raise Untold(self.seen)
        return self

    def whole(self, name: str) -> int | None:
        """A number of the body, if it has it and it is whole."""
        value = self.data.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def word(self, name: str) -> str | None:
        """A text of the body, if it has it."""
        value = self.data.get(name)
        return value if isinstance(value, str) else None

    def inner(self, name: str) -> dict[str, Any]:
        """An object of the body, empty if it has none."""
        value = self.data.get(name)
        return value if isinstance(value, dict) else {}


def told(error: ChunkupError) -> str:
    """An error in the way of an answer, in short."""
    return printable(error.message, _SHOWN)
