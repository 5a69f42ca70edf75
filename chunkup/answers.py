"""What a successful answer says, as our words; nothing in it is trusted.

Ids have to be there and have to be usable. All else is what servers differ in: it is taken if
it makes sense, and otherwise not known.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from chunkup.errors import BadAnswer, ServerTrouble
from chunkup.models import RemoteFile, Upload

# Gateways pack routes into ids, hundreds of characters of them; more is an attack.
_LONGEST: Final = 4096


def segment(text: str) -> str:
    """An id as one segment of a URL's path.

    Raises:
        BadAnswer: It would not stay one.
    """
    if text in {"", ".", ".."} or _broken(text):
        raise BadAnswer(f"the server gave {text!r} for an id, which cannot be one")
    return quote(text, safe="")


def nonsense(wanted: str) -> ServerTrouble:
    """A success that says nothing of use: a portal's page, or a gateway that failed."""
    return ServerTrouble(
        f"the server answered with success, but without {wanted}; is the base URL right?",
        retryable=True,
    )


def text_of(found: Mapping[str, Any], name: str) -> str:
    """A text that has to be there, such as an id.

    Raises:
        ServerTrouble: It is not, or nobody could show it, paste it or send it back as it is.
    """
    value = _optional(found, name)
    if not value or value in {".", ".."} or not value.isprintable():
        raise nonsense(f"a usable text for {name!r}")
    return value


def _broken(text: str) -> bool:
    """Whether a text cannot be sent back: JSON can spell half of a surrogate pair."""
    return any("\ud800" <= char <= "\udfff" for char in text)


def _optional(found: Mapping[str, Any], name: str) -> str | None:
    value = found.get(name)
    return value if isinstance(value, str) and len(value) <= _LONGEST else None


def _moment(found: Mapping[str, Any], name: str) -> int | None:
    value = found.get(name)
    sane = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53
    return int(value) if sane and value is not None else None


def read_upload(found: Mapping[str, Any]) -> Upload:
    """An Upload of an answer; ``created_at`` is 0 where the server does not say."""
    file = found.get("file")
    return Upload(
        id=text_of(found, "id"),
        created_at=_moment(found, "created_at") or 0,
        expires_at=_moment(found, "expires_at"),
        status=_optional(found, "status") or "pending",
        file=read_file(file) if isinstance(file, dict) else None,
    )


def unwrapped(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an answer is about: SiliconFlow puts it into ``data``, beside a code and a message."""
    inner = found.get("data")
    return inner if isinstance(inner, Mapping) and "id" not in found else found


def _when(found: Mapping[str, Any]) -> int:
    """When a File was made; 0 where the server does not say. OpenRouter says it in words."""
    said = found.get("created_at", found.get("createdAt"))
    if isinstance(said, str) and len(said) <= 40:
        try:
            moment = datetime.fromisoformat(said)
            return max(
                0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
            )
        except (ValueError, OverflowError):
            return 0
    return _moment({"at": said}, "at") or 0


def read_file(found: Mapping[str, Any]) -> RemoteFile:
    """A File of an answer; what compatible servers leave out is None or empty."""
    if not isinstance(found, Mapping):
        raise nonsense("a File")
    found = unwrapped(found)
    return RemoteFile(
        id=text_of(found, "id"),
        bytes=_moment(found, "bytes" if "bytes" in found else "size_bytes"),
        created_at=_when(found),
        filename=_optional(found, "filename") or "",
        purpose=_optional(found, "purpose") or "",
        status=_optional(found, "status"),
        expires_at=_moment(found, "expires_at"),
        status_details=_optional(found, "status_details"),
    )
