"""All that could show a secret, gathered as text, and a search of it for secrets in any shape."""

import base64
import copy
import pickle
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import chunkup

_PACKAGE = str(Path(chunkup.__file__).parent)
# As much of a secret as nobody may see.
_PIECE = 8


def shapes(secret: str) -> Iterator[str]:
    """A secret in pieces, as it is, encoded, escaped, backwards."""
    for at in range(len(secret) - _PIECE + 1):
        yield secret[at : at + _PIECE]
    yield secret[::-1][:_PIECE]
    yield secret.encode().hex()
    yield quote(secret, safe="")
    for before in range(3):
        # Whatever stands before it: what is sure of its base64 are the groups in the middle.
        whole = base64.b64encode(b"x" * before + secret.encode()).decode()
        yield whole[4:-4]


def leaks(text: str, secrets: Iterable[str]) -> list[str]:
    """What of the secrets stands in a text, with what stands around it."""
    return [
        f"{secret}: ...{text[max(0, at - 100) : at + 100]}..."
        for secret in secrets
        for shape in shapes(secret)
        if (at := text.find(shape)) >= 0
    ][:3]


def shown(error: BaseException) -> str:
    """All that an error shows anybody, its causes and the locals of our frames included."""
    inner = _from_inside(error.__traceback__)
    told = traceback.TracebackException(
        type(error), error, inner, capture_locals=True, lookup_lines=False
    )
    return "\n".join([*told.format(), *map(everything, _chain(error)), pickled(error)])


def everything(thing: object) -> str:
    """What an object says of itself and of what it is made of."""
    fields = getattr(thing, "__dict__", {})
    return f"{thing!r} {thing} {fields!r} {getattr(thing, '__notes__', '')}"


def pickled(thing: object) -> str:
    """What its pickle holds; nothing if it has none."""
    try:
        return pickle.dumps(copy.copy(thing)).decode("latin-1")
    except (TypeError, AttributeError, pickle.PicklingError):
        return ""


def written(folder: Path) -> str:
    """The bytes of every file below a folder, and the names of all of them."""
    return "\n".join(
        str(path) + (path.read_bytes().decode("latin-1") if path.is_file() else "")
        for path in sorted(folder.rglob("*"))
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _from_inside(trace: TracebackType | None) -> TracebackType | None:
    """Without the frames of the test, which knows the secrets."""
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        trace = trace.tb_next
    return trace
