"""Request bodies as values: JSON and form fields, checked as strictly as the API checks them.

Wordings and codes are those of api.openai.com for JSON bodies (`unknown_parameter`,
`missing_required_parameter`, `invalid_type`, `invalid_value`).
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from chunkup.server.errors import (
    PURPOSES,
    ApiError,
    bad_purpose,
    invalid,
    missing,
    shown,
    unknown,
    wrong_type,
)
from chunkup.server.rows import NewFile, NewUpload

MIN_FILE_SECONDS = 3_600
MAX_FILE_SECONDS = 2_592_000

MAX_NAME_BYTES = 1 << 10
"""Length of a filename at most: percent-encoded in a header, it must not burst an answer."""

ANCHOR_FIELD = "expires_after[anchor]"
SECONDS_FIELD = "expires_after[seconds]"


@dataclass(frozen=True, slots=True)
class CompleteRequest:
    """What a client sends to complete an upload; `md5` is hex, in either case."""

    part_ids: tuple[str, ...]
    md5: str | None


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`.

    Raises:
        ApiError: 400 when it is not JSON, an object in it has a key twice, or it is no object.
    """
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "We could not parse the JSON body of your request.") from error
    if not isinstance(value, dict):
        raise wrong_type("body", "an object", value)
    return value


def new_upload(body: dict[str, Any], *, max_bytes: int) -> NewUpload:
    """Read the body that creates an upload.

    Raises:
        ApiError: 400 naming the first parameter that is missing, unknown or wrong.
    """
    known = {"filename", "purpose", "bytes", "mime_type"}
    _check_names(body, known, optional={"expires_after"})
    size = _integer("bytes", body["bytes"])
    if not 0 < size <= max_bytes:
        raise invalid(
            "bytes", f"Invalid 'bytes': expected 1 to {max_bytes}, but got {shown(size)}."
        )
    return NewUpload(
        filename=_text("filename", body["filename"]),
        bytes=size,
        mime_type=_text("mime_type", body["mime_type"]),
        purpose=_purpose(_string("purpose", body["purpose"])),
        file_seconds=_expires_after(body),
    )


def complete_request(body: dict[str, Any]) -> CompleteRequest:
    """Read the body that completes an upload.

    Raises:
        ApiError: 400 naming the first parameter that is missing, unknown or wrong.
    """
    _check_names(body, {"part_ids"}, optional={"md5"})
    ids = body["part_ids"]
    if not isinstance(ids, list):
        raise wrong_type("part_ids", "an array of strings", ids)
    part_ids = tuple(_string("part_ids", part_id) for part_id in ids)
    if "md5" not in body:
        return CompleteRequest(part_ids, None)
    md5 = _string("md5", body["md5"])
    if not re.fullmatch("[0-9A-Fa-f]{32}", md5):
        raise invalid("md5", "Invalid 'md5': expected 32 hexadecimal digits.")
    return CompleteRequest(part_ids, md5)


def no_parameters(body: dict[str, Any]) -> None:
    """Refuse the body of a call that takes none, unless it is an empty object."""
    _check_names(body, set(), optional=set())


def new_file(filename: str, fields: Mapping[str, str]) -> NewFile:
    """Read the text fields that accompany a file sent in one request.

    Raises:
        ApiError: 400 naming the first field that is missing or wrong.
    """
    if not filename:
        raise invalid("file", "Invalid 'file': expected a file with a filename.")
    if "purpose" not in fields:
        raise missing("purpose")
    given = [name for name in (ANCHOR_FIELD, SECONDS_FIELD) if name in fields]
    if len(given) == 1:
        raise missing(SECONDS_FIELD if given == [ANCHOR_FIELD] else ANCHOR_FIELD)
    return NewFile(
        filename=_bounded("file", filename),
        purpose=_purpose(fields["purpose"]),
        file_seconds=_life(
            fields[ANCHOR_FIELD],
            whole_number(SECONDS_FIELD, fields[SECONDS_FIELD]),
            param=lambda key: f"expires_after[{key}]",
        )
        if given
        else None,
    )


def whole_number(param: str, text: str) -> int:
    """Return the integer in a form field or a query.

    Raises:
        ApiError: 400 when there is none, or one beyond 18 digits.
    """
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise wrong_type(param, "an integer", text)
    return int(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _check_names(body: dict[str, Any], required: set[str], *, optional: set[str]) -> None:
    if extra := body.keys() - required - optional:
        raise unknown(extra)
    for name in sorted(required):
        if name not in body:
            raise missing(name)


def _string(param: str, value: Any) -> str:
    if not isinstance(value, str):
        raise wrong_type(param, "a string", value)
    return value


def _text(param: str, value: Any) -> str:
    text = _string(param, value)
    if not text:
        raise invalid(param, f"Invalid '{param}': expected a string that is not empty.")
    return _bounded(param, text)


def _bounded(param: str, text: str) -> str:
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        # JSON can spell half of a surrogate pair, which is no text and cannot be stored.
        raise invalid(param, f"Invalid '{param}': not Unicode text.") from error
    if size > MAX_NAME_BYTES:
        raise invalid(param, f"Invalid '{param}': at most {MAX_NAME_BYTES} bytes.")
    return text


def _integer(param: str, value: Any) -> int:
    # To JSON Schema 5.0 is an integer.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(param, "an integer", value)
    return value


def _purpose(purpose: str) -> str:
    if purpose not in PURPOSES:
        raise bad_purpose(purpose)
    return purpose


def _expires_after(body: dict[str, Any]) -> int | None:
    if "expires_after" not in body:
        return None
    policy = body["expires_after"]
    if not isinstance(policy, dict):
        raise wrong_type("expires_after", "an object", policy)
    # The one object of the contract that does not forbid other properties.
    for name in ("anchor", "seconds"):
        if name not in policy:
            raise missing(f"expires_after.{name}")
    return _life(
        _string("expires_after.anchor", policy["anchor"]),
        _integer("expires_after.seconds", policy["seconds"]),
        param=lambda key: f"expires_after.{key}",
    )


def _life(anchor: str, seconds: int, *, param: Callable[[str], str]) -> int:
    if anchor != "created_at":
        name = param("anchor")
        raise invalid(name, f"Invalid value for '{name}': the only anchor is 'created_at'.")
    if not MIN_FILE_SECONDS <= seconds <= MAX_FILE_SECONDS:
        name = param("seconds")
        bounds = f"{MIN_FILE_SECONDS} to {MAX_FILE_SECONDS}"
        raise invalid(name, f"Invalid '{name}': expected {bounds}, but got {shown(seconds)}.")
    return seconds
