"""Refusals in the API's own shape, each raised where the reason is known.

The wording follows recorded answers of api.openai.com where such exist (unknown file, bad
purpose); for Uploads no refusal was ever published, and the words are those that other
implementations use: `is not pending`, `is expired`, `already cancelled`.
"""

from collections.abc import Iterable
from typing import Any

# Recorded order of the real message; `'x' is not one of [...]` shows it.
PURPOSES = ("fine-tune", "assistants", "batch", "user_data", "vision", "evals")

_SHOWN = 200


class ApiError(Exception):
    """One refusal: the HTTP status and the four fields of the API's error object.

    `kind` is the field called `type` on the wire: `invalid_request_error` for what a client
    can mend, `server_error` for what it cannot.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.kind = kind

    def body(self) -> dict[str, Any]:
        """Return the JSON object that goes over the wire."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }


def shown(value: object) -> str:
    """Return `value` as it may stand in a message: quoted, and short whatever was sent."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def bad_purpose(purpose: str) -> ApiError:
    """Return the refusal of a purpose, worded as api.openai.com words it."""
    message = f"{shown(purpose)} is not one of {list(PURPOSES)} - 'purpose'"
    return ApiError(400, message, param="purpose")


def missing(param: str) -> ApiError:
    """Return the refusal of a request that lacks `param`."""
    message = f"Missing required parameter: '{param}'."
    return ApiError(400, message, param=param, code="missing_required_parameter")


def unknown(params: Iterable[str]) -> ApiError:
    """Return the refusal of names that the API does not know; the first one is named."""
    first = min(params)
    message = f"Unknown parameter: {shown(first)}."
    return ApiError(400, message, param=first[:_SHOWN], code="unknown_parameter")


def wrong_type(param: str, expected: str, value: object) -> ApiError:
    """Return the refusal of a JSON value of another type than `expected`."""
    names = {bool: "a boolean", int: "an integer", float: "a decimal number", str: "a string"}
    names |= {list: "an array", dict: "an object"}
    got = names.get(type(value), "null")
    message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
    return ApiError(400, message, param=param, code="invalid_type")


def invalid(param: str, message: str) -> ApiError:
    """Return the refusal of a value of the right type that is out of bounds."""
    return ApiError(400, message, param=param, code="invalid_value")


def too_large(what: str, limit: int) -> ApiError:
    """Return the refusal of a body beyond `limit` bytes."""
    return ApiError(413, f"{what} is too large: at most {limit} bytes.", code="file_too_large")


def no_such_file(file_id: str) -> ApiError:
    """Return the refusal of an unknown, deleted or expired file, as recorded."""
    return ApiError(404, f"No such File object: {file_id[:_SHOWN]}", param="id")


def no_such_upload(upload_id: str) -> ApiError:
    """Return the refusal of an unknown upload, shaped like the recorded one for files."""
    return ApiError(404, f"No such Upload object: {upload_id[:_SHOWN]}", param="id")
