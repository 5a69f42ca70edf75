"""What differs between providers, as data, and what their answers mean.

The only file that knows a provider by name. An official specification of the errors does not
exist (the contract declares nothing but 200), so status decides first, and words in a message
are only hints.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

from chunkup.errors import (
    ChunkupError,
    Forbidden,
    NotFound,
    OutOfQuota,
    Rejected,
    ServerTrouble,
    Throttled,
    Unauthorized,
)
from chunkup.models import GIB, PART_SIZE, Answer, Limits
from chunkup.text import printable


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider's ways; ``base_url`` is where it is unless somebody says otherwise."""

    name: str
    base_url: str
    limits: Limits


# Limits: the API reference (8 GB an Upload, 64 MB a part, batch files of 200 MB), read
# 2026-11-21. "8 GB" is nowhere defined; the larger reading is the one to refuse beyond.
OPENAI: Final = Provider(
    name="openai",
    base_url="https://api.openai.com/v1",
    limits=Limits(part=PART_SIZE, upload=8 * GIB, by_purpose=(("batch", 200 * 10**6),)),
)

# text/jsonl: recorded from the real API. The others: its table for file search, 2026-11-21.
MIME_TYPES: Final = {
    ".jsonl": "text/jsonl",
    ".c": "text/x-c",
    ".cpp": "text/x-c++",
    ".cs": "text/x-csharp",
    ".css": "text/css",
    ".doc": "application/msword",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".go": "text/x-golang",
    ".html": "text/html",
    ".java": "text/x-java",
    ".js": "text/javascript",
    ".json": "application/json",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".php": "text/x-php",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".py": "text/x-python",
    ".rb": "text/x-ruby",
    ".sh": "application/x-sh",
    ".tex": "text/x-tex",
    ".ts": "application/typescript",
    ".txt": "text/plain",
}

# 409 is what the official SDKs retry as a lost lock; 425 asks for a replay.
_PASSING: Final = frozenset({408, 409, 425})


def interpret(status: int, headers: Mapping[str, str], body: str, *, what: str) -> ChunkupError:
    """The error that an unsuccessful answer is.

    Args:
        status: The HTTP status, not 2xx.
        headers: The answer's headers, looked up in lower case and as written.
        body: As much of the body as was read, whatever it is.
        what: The request in words, for the message: ``create the Upload``.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    answer = read_answer(status, lower, body)
    text = f"the server would not {what}: {status}"
    if answer.message:
        text += f" {answer.message}"
    wish = lower.get("x-should-retry", "").lower()
    if status == 429 and answer.code == "insufficient_quota":
        text += " (raise the account's limit; what was accepted is kept)"
        return OutOfQuota(text, answer=answer)
    if status == 429:
        return Throttled(text, answer=answer, retryable=wish != "false")
    if status >= 500 or status in _PASSING:
        return ServerTrouble(text, answer=answer, retryable=wish != "false")
    kinds: dict[int, type[Rejected]] = {401: Unauthorized, 403: Forbidden, 404: NotFound}
    repairs = {
        401: " (check the key that is set; what was accepted is kept)",
        403: " (check what the key may do in this project; what was accepted is kept)",
    }
    kind = kinds.get(status, Rejected)
    return kind(text + repairs.get(status, ""), answer=answer, retryable=wish == "true")


def read_answer(status: int, headers: Mapping[str, str], body: str) -> Answer:
    """What an unsuccessful answer says, whatever shape it has. ``headers`` in lower case."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    # The official shape nests under "error"; gateways use "message" or "detail" at the top.
    found = parsed.get("error", parsed) if isinstance(parsed, dict) else parsed
    fields = found if isinstance(found, dict) else {}
    message = fields.get("message") or fields.get("detail") or found or body
    return Answer(
        status=status,
        message=printable(" ".join(str(message).split())),
        code=_short(fields.get("code")),
        param=_short(fields.get("param")),
        request_id=_short(headers.get("x-request-id") or headers.get("apim-request-id")),
        retry_after=retry_after(headers),
    )


def _short(value: object) -> str | None:
    return printable(value, 200) if isinstance(value, str) and value else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait, or None. ``headers`` in lower case.

    In the order of the official SDKs: ``retry-after-ms``, then ``retry-after`` in seconds,
    then as a date, which is read against the same answer's own ``Date``.
    """
    if (ms := _number(headers.get("retry-after-ms"))) is not None:
        return ms / 1000
    wish = headers.get("retry-after")
    if (seconds := _number(wish)) is not None:
        return seconds
    then, now = http_date(wish), http_date(headers.get("date"))
    if then is None or now is None:
        return None
    return max(0.0, then - now)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def http_date(text: str | None) -> float | None:
    """Unix seconds of an HTTP date, or None."""
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class Complaint(StrEnum):
    """What a refused ``complete`` or part seems to be about."""

    EXPIRED = "expired"
    ABSENT = "gone"
    SIZE = "size"
    CHECKSUM = "checksum"
    CANCELLED = "cancelled"
    ENDED = "ended"
    OTHER = "other"


def complaint(answer: Answer) -> Complaint:
    """Guess the reason of a 4xx: by status where that says it, else by its words."""
    words = " ".join(filter(None, (answer.message, answer.code, answer.param))).lower()
    if "expired" in words:
        return Complaint.EXPIRED
    if "md5" in words or "checksum" in words:
        return Complaint.CHECKSUM
    if "cancelled" in words or "canceled" in words:
        return Complaint.CANCELLED
    if "not pending" in words or "completed" in words:
        return Complaint.ENDED
    if answer.status in {404, 410} or "no such" in words or "not found" in words:
        return Complaint.ABSENT
    if answer.status == 413 or any(word in words for word in ("bytes", "size", "exceed")):
        return Complaint.SIZE
    return Complaint.OTHER
