"""Headers that open doors, and show nothing of what they hold to whoever prints them.

Programs print the variables of every frame of a traceback, and some servers and gateways repeat
in an error what they were sent. Neither is a place for a key.
"""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from chunkup.errors import ChunkupError

_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")
_Error = TypeVar("_Error", bound=BaseException)

_SHOWN: Final = "[hidden]"
# A shorter value is no secret, and may well be a word of the sentence that it stands in.
_LEAST: Final = 8
# What says who asks and how, and opens nothing.
_PLAIN: Final = frozenset(
    {
        *("accept", "accept-encoding", "content-type", "user-agent"),
        *("openai-beta", "openai-organization", "openai-project"),
    }
)


class Veiled(dict[str, str]):
    """Headers whose names alone can be seen."""

    def __repr__(self) -> str:
        return f"<headers: {', '.join(self)}>"

    def __rich_repr__(self) -> Iterator[str]:
        """What rich shows, which looks into everything else that is a dict."""
        yield from self

    def hide(self, text: str) -> str:
        """A text in which none of their values stands."""
        secrets = {
            word
            for name, value in self.items()
            if name.lower() not in _PLAIN and not name.lower().startswith("x-stainless-")
            # A scheme, such as Bearer, stands before the secret itself.
            for word in (value, *value.split())
            if len(word) >= _LEAST
        }
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, _SHOWN)
        return text


def unseen(make: Callable[_Given, _Made]) -> Callable[_Given, _Made]:
    """A function whose errors do not show what it was given, and what it worked with."""

    @wraps(make)
    def call(*args: _Given.args, **given: _Given.kwargs) -> _Made:
        try:
            return make(*args, **given)
        except ChunkupError as error:
            del args, given
            raise blank(error) from None

    return call


def blank(error: _Error) -> _Error:
    """The same, and those that it came from, without the frames in which headers lie open."""
    seen: BaseException | None = error
    while seen is not None:
        seen.__traceback__ = None
        seen = seen.__cause__ or seen.__context__
    return error
