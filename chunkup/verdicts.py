"""What the answers of servers mean: status, headers and body to an error.

An official specification of the errors does not exist (the contract declares nothing but 200),
so status decides first, and words in a message are only hints.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from html import unescape
from typing import Final

from chunkup.errors import (
    ChunkupError,
    Forbidden,
    NotFound,
    OutOfQuota,
    ProxyRefused,
    Rejected,
    ServerTrouble,
    Throttled,
    Unauthorized,
    WantsCertificate,
)
from chunkup.models import Answer
from chunkup.providers import REPEATS
from chunkup.text import printable

# Thirty years, in seconds: who asks for a longer wait asks for none that anybody could make.
FOREVER: Final = 1e9

# nginx's pages 496 and 495, which it sends as 400 (ngx_http_special_response.c, 1.22).
_NO_CERTIFICATE: Final = re.compile(
    r"<title>400 (?:No required SSL certificate was sent|The SSL certificate error)</title>"
)
_TITLE: Final = re.compile(r"<title[^<>]*>([^<]*)", re.IGNORECASE)
_TAG: Final = re.compile(r"<[^<>]*>")
# Not "could not be completed", which is said of requests.
_ENDED: Final = re.compile(r"not pending|(?<!be )completed|already (?:complete|finali[sz]ed)")


class Call(StrEnum):
    """What is asked of a server, as sentences about its refusals say it."""

    CREATE = "create the Upload"
    PART = "take a part"
    COMPLETE = "complete the Upload"
    CANCEL = "cancel the Upload"
    POST = "take the File"
    LIST = "list Files"
    RETRIEVE = "show the File"
    DELETE = "delete the File"
    CONTENT = "give the File's content"


# The verdicts: the error that a status is, and whether the same request may be sent again. All
# other 5xx are trouble that may pass, all else is refused. 409 is what the official SDKs retry as
# a lost lock, 425 asks for a replay; 501 and 505 say that no repetition will ever help.
_VERDICTS: Final[dict[int, tuple[type[ChunkupError], bool]]] = {
    401: (Unauthorized, False),
    403: (Forbidden, False),
    404: (NotFound, False),
    408: (ServerTrouble, True),
    409: (ServerTrouble, True),
    425: (ServerTrouble, True),
    407: (ProxyRefused, False),
    429: (Throttled, True),
    501: (Rejected, False),
    505: (Rejected, False),
}

# Statuses of a refusal that judges what was sent, and not the way it came or who sent it: the same
# content will always be refused.
FINAL: Final = frozenset({400, 413, 415, 422})

_NO_UPLOADS = (
    "this server seems to have no Uploads; check the base URL, which mostly ends in /v1, or do "
    "without them: --method files"
)
_NO_FILES = "this server seems to have no Files; check the base URL, which mostly ends in /v1"
_ELSEWHERE = "it points elsewhere, and no redirect is followed; check the base URL"

# What a person can do about a refusal, where that is known.
_REPAIRS: Final = {
    401: "check the key that is set; what was accepted is kept",
    403: "check what the key may do in this project; what was accepted is kept",
    407: "a proxy on the way wants a user name and a password; name it as "
    "http://USER:PASSWORD@HOST:PORT",
}
_REPAIRS_OF: Final[dict[tuple[str, int], str]] = {
    (Call.CREATE, 404): _NO_UPLOADS,
    (Call.CREATE, 405): _NO_UPLOADS,
    (Call.CREATE, 501): _NO_UPLOADS,
    (Call.POST, 404): _NO_FILES,
    (Call.POST, 405): _NO_FILES,
    (Call.LIST, 404): _NO_FILES,
    (Call.PART, 413): "smaller parts may be taken, see --part-size; what was accepted is kept",
}


def interpret(
    status: int, headers: Mapping[str, str], body: str, *, what: str, now: float | None = None
) -> ChunkupError:
    """The error that an unsuccessful answer is.

    Args:
        status: The HTTP status, not 2xx.
        headers: The answer's headers, looked up in lower case and as written.
        body: As much of the body as was read, whatever it is.
        what: The request, one of :class:`Call` or in other words.
        now: Unix seconds of the server's clock, for answers that do not tell it.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    answer = read_answer(status, lower, body, now=now)
    text = f"the server would not {what}: {status}"
    if answer.message:
        # Pages that servers make by themselves begin with the status.
        text += f" {answer.message.removeprefix(f'{status} ')}"
    if status == 429 and answer.code == "insufficient_quota":
        text += " (raise the account's limit; what was accepted is kept)"
        return OutOfQuota(text, answer=answer)
    if status == 400 and _NO_CERTIFICATE.search(body):
        text += " (--client-cert and --client-key name one; what was accepted is kept)"
        return WantsCertificate(text, answer=answer)
    repair = _REPAIRS_OF.get((what, status)) or _REPAIRS.get(status)
    if repair is None and 300 <= status < 400:
        repair = _ELSEWHERE
    if repair is not None:
        text += f" ({repair})"
    usual = (ServerTrouble, True) if status >= 500 else (Rejected, False)
    kind, retryable = _VERDICTS.get(status, usual)
    # The server's own word overrules the table.
    wish = {"true": True, "false": False}.get(lower.get("x-should-retry", "").strip().lower())
    return kind(text, answer=answer, retryable=retryable if wish is None else wish)


def read_answer(
    status: int, headers: Mapping[str, str], body: str, *, now: float | None = None
) -> Answer:
    """What an unsuccessful answer says, whatever shape it has. ``headers`` in lower case."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    # The official shape nests under "error"; gateways use "message" or "detail" at the top, and
    # Portkey's "html-message" for what is no JSON behind it.
    found = parsed.get("error", parsed) if isinstance(parsed, dict) else parsed
    fields = found if isinstance(found, dict) else {}
    said = (fields.get(name) for name in ("message", "detail", "html-message"))
    message = next(filter(None, said), None) or found or _words(body)
    code = fields.get("code")
    if isinstance(code, int) or (isinstance(code, str) and code.isdigit()):
        # Some gateways repeat the status there, and leave the word in the type.
        code = fields.get("type")
    return Answer(
        status=status,
        message=printable(" ".join(_text(message).split())),
        code=_short(code),
        param=_short(fields.get("param")),
        request_id=_short(headers.get("x-request-id") or headers.get("apim-request-id")),
        retry_after=retry_after(headers, now=now),
    )


def _text(value: object) -> str:
    try:
        return str(value)
    except RecursionError:
        return ""


def _words(body: str) -> str:
    """What a person reads of a body: of a page its title, or else its words without its tags.

    The words are hints about the reason as well, and a style sheet speaks of sizes.
    """
    if not body.lstrip().startswith("<"):
        return body
    title = _TITLE.search(body)
    return unescape(title[1] if title and title[1].strip() else _TAG.sub(" ", body))


def _short(value: object) -> str | None:
    return printable(value, 200) if isinstance(value, str) and value else None


def retry_after(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Seconds that the server asks to wait, or None. ``headers`` in lower case.

    In the order of the official SDKs: ``retry-after-ms``, then ``retry-after`` in seconds,
    then as a date, which is read against the same answer's own ``Date``, or against ``now`` if it
    has none. 0.0 for a moment that is over. Never more than :data:`FOREVER`.
    """
    if (ms := _number(headers.get("retry-after-ms"))) is not None:
        return min(ms / 1000, FOREVER)
    wish = headers.get("retry-after")
    if (seconds := _number(wish)) is not None:
        return min(seconds, FOREVER)
    then, told = http_date(wish), http_date(headers.get("date"))
    since = now if told is None else told
    if then is None or since is None:
        return None
    return min(max(0.0, then - since), FOREVER)


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
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def repeated(headers: Mapping[str, str]) -> bool:
    """Whether a gateway says that it sent a request on more than once, by itself."""
    return any(headers.get(name, "0").strip() not in {"", "0"} for name in REPEATS)


def owner_of(headers: Mapping[str, str]) -> str | None:
    """In whose name a server answered, or None: it knows the key's organization and project.

    ``openai-organization`` and ``openai-project``, as recorded from the real API.
    """
    names = [headers.get(f"openai-{what}") or "" for what in ("organization", "project")]
    return printable("/".join(names), 400) if any(names) else None


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
    if "cancelled" in words or "canceled" in words:
        return Complaint.CANCELLED
    if _ENDED.search(words):
        return Complaint.ENDED
    if "md5" in words or "checksum" in words:
        return Complaint.CHECKSUM
    if answer.status in {404, 410} or "no such" in words or "not found" in words:
        return Complaint.ABSENT
    if answer.status == 413 or any(word in words for word in ("bytes", "size", "exceed")):
        return Complaint.SIZE
    return Complaint.OTHER
